"""Visitors who never log in may be bounded: by number, and by a short idle timeout until their cookie comes back."""

import logging
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from flask import session

from flask_idlesession import ConfigError
from flask_idlesession import current_user_id
from flask_idlesession import IdleSession
from flask_idlesession import log_in
from flask_idlesession import MemoryStore
from flask_idlesession.process.background import cleaner
from flask_idlesession.sessions import anonymous
from flask_idlesession.stores.redis import RedisStore
from flask_idlesession.stores.sqlalchemy import SQLAlchemyStore
from flask_idlesession.stores.sqlite import SQLiteStore
from flask_idlesession.testing import FakeClock

KINDS = ["memory", "sqlite", "redis", "postgresql"]


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    kind = request.param
    if kind == "redis":
        with closing(request.getfixturevalue("redis_server").client()) as client:
            yield RedisStore(client, prefix=f"{uuid4()}:")
        return
    if kind == "memory":
        yield MemoryStore()
        return
    url = request.getfixturevalue(kind).url if kind == "postgresql" else ""
    made = (
        SQLAlchemyStore.from_url(url, table_prefix=f"t{uuid4().hex[:8]}_")
        if url
        else SQLiteStore(tmp_path / "own/s.db")
    )
    with closing(made) as store:
        yield store


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


_apps: list[Flask] = []


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """Leave no cleaner whose clock is ahead: the next test has the same server."""
    yield
    while _apps:
        _apps.pop().extensions["idlesession"].manager.lifecycle.pruner.close()


def make_app(store: Any, clock: FakeClock, **config: Any) -> Flask:
    app = Flask(__name__)
    _apps.append(app)
    app.config.update(TESTING=True, SECRET_KEY="k" * 32, **config)
    IdleSession(app, store=store, clock=clock)

    @app.get("/visit")
    def visit() -> str:
        session["n"] = session.get("n", 0) + 1
        return str(session["n"])

    @app.get("/look")
    def look() -> str:
        return f"{session.get('n')} {current_user_id()}"

    @app.get("/static-page")
    def page() -> str:
        return "nothing of the session"

    @app.get("/in/<user>")
    def come_in(user: str) -> str:
        log_in(user)
        return "in"

    return app


def live(store: Any, clock: FakeClock) -> int:
    return len(list(store.find(now=clock())))


# By number.


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that counts once, as the cleaner does in passing."""
    monkeypatch.setattr(cleaner, "register", lambda task: None)

    def count(app: Flask) -> None:
        counter = app.extensions["idlesession"].runtime().requests._issuing._anonymous
        counter._counted_at = -1e9
        while counter.run() == anonymous._PAUSE:
            pass

    return count


def test_visitors_beyond_the_bound_get_no_session_and_users_do(
    store: Any, clock: FakeClock, count: Any, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(store, clock, IDLESESSION_MAX_ANONYMOUS_SESSIONS=5)
    first = app.test_client()
    assert first.get("/visit").text == "1"
    answers = [app.test_client().get("/visit") for _ in range(8)]
    assert [answer.status_code for answer in answers] == [200] * 8
    assert ["Set-Cookie" in answer.headers for answer in answers] == [True] * 4 + [False] * 4
    assert live(store, clock) == 5
    said = [record for record in caplog.records if "[ISW029]" in record.getMessage()]
    assert len(said) == 1 and said[0].levelno == logging.WARNING
    assert "IDLESESSION_MAX_ANONYMOUS_SESSIONS is 5" in said[0].getMessage()
    for user in "ab":
        client = app.test_client()
        client.get(f"/in/{user}")
        assert client.get("/look").text == f"None {user}"
    assert first.get("/visit").text == "2", "A session that is there goes on."
    count(app)
    assert "Set-Cookie" not in app.test_client().get("/visit").headers


def test_there_is_room_again_once_sessions_have_ended(store: Any, clock: FakeClock, count: Any) -> None:
    app = make_app(store, clock, IDLESESSION_MAX_ANONYMOUS_SESSIONS=3, IDLESESSION_IDLE_TIMEOUT=60)
    for _ in range(5):
        app.test_client().get("/visit")
    clock.advance(61)
    count(app)
    answers = [app.test_client().get("/visit") for _ in range(5)]
    assert sum("Set-Cookie" in answer.headers for answer in answers) == 3


def test_the_sessions_of_another_process_are_counted_and_users_are_not(
    store: Any, clock: FakeClock, count: Any
) -> None:
    other = make_app(store, clock)
    for number in range(4):
        other.test_client().get("/visit")
        other.test_client().get(f"/in/{number}")
    app = make_app(store, clock, IDLESESSION_MAX_ANONYMOUS_SESSIONS=6)
    app.extensions["idlesession"].runtime()
    count(app)
    answers = [app.test_client().get("/visit") for _ in range(5)]
    assert sum("Set-Cookie" in answer.headers for answer in answers) == 2


def test_the_cleaner_counts_by_itself(clock: FakeClock) -> None:
    app = make_app(MemoryStore(), clock, IDLESESSION_MAX_ANONYMOUS_SESSIONS=100)
    app.test_client().get("/visit")
    assert app.extensions["idlesession"].runtime().requests._issuing._anonymous in cleaner._present()


def test_a_count_ends_at_the_bound_and_goes_in_steps(clock: FakeClock, count: Any) -> None:
    store = MemoryStore()
    app = make_app(store, clock, IDLESESSION_MAX_ANONYMOUS_SESSIONS=3000)
    counter = app.extensions["idlesession"].runtime().requests._issuing._anonymous
    others = make_app(store, clock)
    for _ in range(600):
        others.test_client().get("/visit")
    assert [counter.run() for _ in range(3)] == [anonymous._PAUSE, anonymous._PAUSE, anonymous._LEAST_INTERVAL]
    assert counter._counted == 600


@pytest.mark.parametrize("value", [0, -1, "5", True])
def test_a_bound_that_is_no_number_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match="IDLESESSION_MAX_ANONYMOUS_SESSIONS is"):
        make_app(MemoryStore(), FakeClock(), IDLESESSION_MAX_ANONYMOUS_SESSIONS=value)
    _apps.clear()


# Until the cookie comes back.


UNCONFIRMED = {"IDLESESSION_UNCONFIRMED_IDLE_TIMEOUT": 30, "IDLESESSION_IDLE_TIMEOUT": 600}


def test_a_session_whose_cookie_never_comes_back_ends_early(store: Any, clock: FakeClock) -> None:
    app = make_app(store, clock, **UNCONFIRMED)
    client = app.test_client()
    client.get("/visit")
    clock.advance(29)
    assert live(store, clock) == 1
    clock.advance(2)
    assert live(store, clock) == 0
    assert client.get("/look").text == "None None"


@pytest.mark.parametrize("path", ["/look", "/visit", "/static-page"])
def test_a_session_whose_cookie_comes_back_once_has_its_full_idle_timeout(
    store: Any, clock: FakeClock, path: str
) -> None:
    app = make_app(store, clock, **UNCONFIRMED)
    client = app.test_client()
    client.get("/visit")
    clock.advance(29)
    client.get(path)
    clock.advance(599)
    assert client.get("/look").text.endswith("None") and client.get("/look").text != "None None"
    clock.advance(601)
    assert client.get("/look").text == "None None"


def test_a_user_who_logs_in_with_the_first_request_has_the_full_idle_timeout(store: Any, clock: FakeClock) -> None:
    app = make_app(store, clock, **UNCONFIRMED)
    client = app.test_client()
    client.get("/in/ada")
    clock.advance(599)
    assert client.get("/look").text == "None ada"


def test_a_visitor_who_logs_in_later_has_the_users_idle_timeout(store: Any, clock: FakeClock) -> None:
    app = make_app(store, clock, **UNCONFIRMED, IDLESESSION_ANONYMOUS_IDLE_TIMEOUT=100)
    client = app.test_client()
    client.get("/visit")
    client.get("/in/ada")
    clock.advance(599)
    assert client.get("/look").text == "1 ada"


def test_without_the_setting_the_first_page_may_be_read_for_the_whole_idle_timeout(clock: FakeClock) -> None:
    client = make_app(MemoryStore(), clock, IDLESESSION_IDLE_TIMEOUT=600).test_client()
    client.get("/visit")
    clock.advance(599)
    assert client.get("/look").text == "1 None"
