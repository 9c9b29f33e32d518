"""The bound of one session's bytes: refused before a store is asked, with the largest keys named."""

import json

import pytest
from flask import Flask
from flask import session

from flask_idlesession import ConfigError
from flask_idlesession import IdleSession
from flask_idlesession import log_in
from flask_idlesession import MemoryStore
from flask_idlesession import Policy
from flask_idlesession import RecordRejected
from flask_idlesession import SessionManager
from flask_idlesession.sessions.size import check_size
from flask_idlesession.testing.store_contract import a_record

LIMIT = 10_000


class Counting(MemoryStore):
    """A memory store that counts what is written to it."""

    writes = 0

    def create(self, record):
        self.writes += 1
        super().create(record)

    def commit(self, sid, change, *, now):
        self.writes += bool(change.delta)
        return super().commit(sid, change, now=now)


@pytest.fixture
def store():
    return Counting()


@pytest.fixture
def app(store):
    app = Flask(__name__)
    app.config.update(TESTING=True, SECRET_KEY="of the tests of sizes", IDLESESSION_MAX_SESSION_BYTES=LIMIT)
    IdleSession(app, store=store)

    @app.get("/put/<key>/<int:size>")
    def put(key, size):
        session[key] = "x" * size
        return "kept"

    @app.get("/drop/<key>")
    def drop(key):
        session.pop(key)
        return "dropped"

    @app.get("/append/<int:size>")
    def append(size):
        session.setdefault("list", []).append("x" * size)
        return "appended"

    @app.get("/modify/<key>/<int:size>")
    def modify(key, size):
        session.modify(key, lambda text: text + "x" * size, default="")
        return "modified"

    @app.get("/exclusive/<key>/<int:size>")
    def exclusive(key, size):
        with session.exclusive():
            session[key] = "x" * size
        return "done"

    @app.get("/before-exclusive/<int:size>")
    def before(size):
        session["before"] = "x" * size
        with session.exclusive():
            return "done"

    @app.get("/in/<int:size>")
    def enter(size):
        session["draft"] = "x" * size
        log_in("ada")
        return "in"

    @app.get("/sizes")
    def sizes():
        return {key: len(json.dumps(session[key])) for key in session if key != "_"}

    return app


@pytest.fixture
def client(app):
    return app.test_client()


def test_the_first_write_may_be_too_large(client, store, caplog):
    answer = client.get("/put/draft/10000")
    assert answer.status_code == 503 and "Retry-After" not in answer.headers and "Set-Cookie" not in answer.headers
    assert store.writes == 0 and len(store) == 0
    assert "'draft' (10008 bytes)" in caplog.text and f"IDLESESSION_MAX_SESSION_BYTES is {LIMIT}" in caplog.text


@pytest.mark.parametrize("path", ["/put/d/3000", "/modify/d/3000", "/exclusive/d/3000", "/before-exclusive/3000"])
def test_a_session_that_grows_is_refused_at_the_bound_and_keeps_what_it_had(client, store, path):
    for key, size in (("a", 4000), ("b", 3000), ("c", 500)):
        assert client.get(f"/put/{key}/{size}").status_code == 200
    before, writes = client.get("/sizes").json, store.writes
    assert client.get(path).status_code == 503
    assert client.get("/sizes").json == before and store.writes - writes <= 2, "Only a lease may have come and gone."
    assert client.get("/put/a/10").status_code == 200
    assert client.get(path).status_code == 200


def test_a_value_that_grows_in_place_is_refused_too(client):
    answers = [client.get("/append/900").status_code for _ in range(20)]
    assert answers == sorted(answers) and {*answers} == {200, 503} and answers.count(200) == 11


def test_a_log_in_with_too_much_beside_it_is_refused_whole(client):
    client.get("/put/a/10")
    assert client.get("/in/10000").status_code == 503
    assert client.get("/in/100").text == "in"


def test_the_largest_keys_are_named_and_the_log_has_one_line_a_minute(client, caplog):
    for key, size in (("a", 1000), ("b", 4000), ("c", 2000), ("d", 500)):
        client.get(f"/put/{key}/{size}")
    for _ in range(5):
        client.get("/put/e/3000")
    (line,) = caplog.messages
    assert line.index("'b' (4") < line.index("'e' (3") < line.index("'c' (2")
    assert "'a'" not in line and "'d'" not in line and "xxx" not in line


def test_a_session_that_is_above_a_bound_that_was_lowered_may_shrink_and_not_grow():
    record = a_record(values={"a": b"x" * 60, "b": b"x" * 60})
    for delta in ({"a": None}, {"a": b"x" * 50}, {"a": b"", "c": b"x" * 40}, {}):
        check_size(record, delta, limit=100)
    for delta in ({"a": b"x" * 61}, {"c": b""}):
        with pytest.raises(RecordRejected, match="'a'"):
            check_size(record, delta, limit=100)


@pytest.mark.parametrize("values", [{"k": b"x" * 99}, {"k": b"x" * 49, "l": b"x" * 49}])
def test_the_bound_is_exact(values):
    check_size(None, values, limit=100)
    check_size(a_record(values={"k": b"x" * 10}), values, limit=100)
    for stored in (None, a_record(values={"k": b"x" * 10})):
        with pytest.raises(RecordRejected):
            check_size(stored, values | {"m": b""}, limit=100)


def test_four_mebibytes_are_the_default_and_none_is_no_bound():
    assert Policy().max_session_bytes == 4 << 20
    with SessionManager(policy=Policy(max_session_bytes=None)) as manager:
        assert len(manager.read(manager.create({"a": "x" * (5 << 20)}))["a"]) == 5 << 20


def test_a_manager_keeps_the_bound_too():
    with SessionManager(policy=Policy(max_session_bytes=LIMIT)) as manager:
        with pytest.raises(RecordRejected, match="'a'"):
            manager.create({"a": "x" * LIMIT})
        sid = manager.create({"a": "x" * 5000})
        with pytest.raises(RecordRejected, match="'b'"):
            manager.replace(sid, {"b": "x" * LIMIT})
        manager.replace(sid, {"b": "x" * 9000})


@pytest.mark.parametrize("value", [0, -1, "4M", True, 1.5])
def test_another_value_is_refused_at_the_start(value):
    app = Flask(__name__)
    app.config.update(SECRET_KEY="of the tests of sizes", IDLESESSION_MAX_SESSION_BYTES=value, TESTING=True)
    with pytest.raises(ConfigError, match="IDLESESSION_MAX_SESSION_BYTES"):
        IdleSession(app)
