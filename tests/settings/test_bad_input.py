"""What bad input gets: an anonymous request, and nothing else. One test for each line of what is promised."""

import logging
import threading
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask import session
from hypothesis import given
from hypothesis import HealthCheck
from hypothesis import settings
from hypothesis import strategies as st
from itsdangerous import Signer
from itsdangerous import URLSafeTimedSerializer
from werkzeug.test import EnvironBuilder
from werkzeug.test import TestResponse

from flask_idlesession import Change
from flask_idlesession import IdleSession
from flask_idlesession import log_in
from flask_idlesession.model.ids import Credential
from flask_idlesession.testing import FakeClock
from flask_idlesession.web.tokens import Tokens

KEY = "of the tests of bad input"

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture
def app(clock: FakeClock) -> Flask:
    app = Flask(__name__)
    app.config["TESTING"] = True  # What a view raises reaches the test.
    app.secret_key = KEY
    IdleSession(app, clock=clock)

    @app.get("/get")
    def get() -> str:
        return str(session.get("a"))

    @app.get("/set/<value>")
    def put(value: str) -> str:
        session["a"] = value
        return "set"

    @app.get("/ignore")
    def ignore() -> str:
        return "ignored"

    @app.get("/clear")
    def clear() -> str:
        session.clear()
        return "cleared"

    @app.get("/in")
    def enter() -> str:
        log_in("ada")
        return "in"

    return app


def infos(app: Flask) -> list[Any]:
    return list(app.extensions["idlesession"].manager.find())


def show(app: Flask, cookie: str, path: str = "/get") -> TestResponse:
    return app.test_client(use_cookies=False).get(path, headers={"Cookie": cookie})


def assert_anonymous(app: Flask, cookie: str) -> None:
    """The cookie opens nothing, stores nothing and sets nothing; and it is not adopted by a write."""
    before = infos(app)
    for path, text in (("/get", "None"), ("/ignore", "ignored"), ("/clear", "cleared")):
        response = show(app, cookie, path)
        assert (response.status_code, response.text) == (200, text)
        assert "Set-Cookie" not in response.headers
    assert infos(app) == before


def token_of(app: Flask, path: str = "/set/1") -> str:
    line = app.test_client().get(path).headers["Set-Cookie"]
    return line.partition("=")[2].partition(";")[0]


GARBAGE = [
    "session=",
    "session=garbage",
    "session=" + "A" * 64 + "." + "A" * 43,
    "session=" + "A" * 100_000,
    "session=" + "A" * 50_000 + "." + "A" * 50_000,
    "session=" + "." * 1000,
    "session=\x00\x01\x7f",
    "session=é",
    "session=%00%ff",
    'session="quoted"',
    'session="\\305\\222"',
    'session="unfinished',
    "session",
    "session=;session",
    "session=[];session.b={}",
    "=session",
    "; ;;session=a;;",
    "session=None",
    "session=../../etc/passwd",
    "session=" + "{" * 2000,
    "xsession=1; sessionx=2",
]


@pytest.mark.parametrize("cookie", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_is_an_anonymous_request(app: Flask, cookie: str) -> None:
    assert_anonymous(app, cookie)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(max_codepoint=255)) | st.from_regex(r"\A[\w-]{64}\.[\w-]{43}\Z"))
def test_no_cookie_that_was_not_signed_is_anything_else(app: Flask, value: str) -> None:
    header = f"session={value}".encode("latin-1", "ignore").decode("latin-1").replace("\r", "").replace("\n", "")
    response = show(app, header)
    assert (response.status_code, response.text) == (200, "None")
    assert "Set-Cookie" not in response.headers and infos(app) == []


def test_a_truncated_or_lengthened_token_is_an_anonymous_request(app: Flask) -> None:
    token = token_of(app)
    for bent in (token[:-1], token[:64], token[65:], token[1:], token + "A", token + token, token.replace(".", "")):
        assert_anonymous(app, f"session={bent}")
    assert show(app, f"session={token}").text == "1"


def test_an_unsigned_token_is_an_anonymous_request(app: Flask) -> None:
    token = token_of(app)
    payload = token.partition(".")[0]
    for signature in ("", ".", "." + "A" * 43, ".none"):
        assert_anonymous(app, f"session={payload}{signature}")


def test_a_token_of_another_key_or_kind_is_an_anonymous_request(app: Flask) -> None:
    (info,) = (token_of(app), infos(app))[1]
    payload = urlsafe_b64encode(info.sid.bytes + bytes(32))
    foreign = [
        Tokens(["another key"]).issue(Credential.new()),
        Signer(KEY, salt="another").sign(payload).decode(),
        URLSafeTimedSerializer(KEY, salt="cookie-session").dumps({"a": "1"}),
        Signer(KEY).sign(str(info.sid)).decode(),
        str(info.sid),
        info.sid.hex,
    ]
    for token in foreign:
        assert_anonymous(app, f"session={token}")


def test_a_replayed_token_of_a_session_that_ended_is_an_anonymous_request(app: Flask, clock: FakeClock) -> None:
    client = app.test_client()
    client.get("/set/1")
    cookie = client.get_cookie("session")
    assert cookie is not None
    client.get("/clear")
    assert_anonymous(app, f"session={cookie.value}")
    expired = token_of(app)
    clock.advance(1800)
    assert_anonymous(app, f"session={expired}")
    app.extensions["idlesession"].manager.prune()
    assert_anonymous(app, f"session={expired}")


def test_a_replayed_token_from_before_a_log_in_is_an_anonymous_request(app: Flask) -> None:
    client = app.test_client()
    client.get("/set/1")
    cookie = client.get_cookie("session")
    assert cookie is not None
    client.get("/in")
    assert_anonymous(app, f"session={cookie.value}")
    assert client.get("/get").text == "1"


def test_two_cookies_that_open_two_sessions_are_an_anonymous_request(app: Flask) -> None:
    one, other = token_of(app), token_of(app, "/set/2")
    for values in ((one, other), (other, one), ("garbage", one, other)):
        assert_anonymous(app, "; ".join(f"session={value}" for value in values))
    assert [show(app, f"session={token}").text for token in (one, other)] == ["1", "2"]


def test_a_well_signed_token_of_an_unknown_session_is_an_anonymous_request(app: Flask) -> None:
    assert_anonymous(app, f"session={Tokens([KEY]).issue(Credential.new())}")


def test_a_well_signed_token_with_a_wrong_secret_is_an_anonymous_request(app: Flask) -> None:
    token = token_of(app)
    credential = Tokens([KEY]).read(token)
    assert credential is not None
    assert_anonymous(app, f"session={Tokens([KEY]).issue(Credential(credential.sid, bytes(32)))}")
    assert_anonymous(app, f"session={Tokens([KEY]).issue(credential.rotated())}")
    assert show(app, f"session={token}").text == "1"


def test_an_id_that_somebody_chose_is_never_adopted(app: Flask) -> None:
    chosen = Credential.new()
    response = show(app, f"session={Tokens([KEY]).issue(chosen)}", "/set/1")
    assert response.headers["Set-Cookie"].startswith("session=")
    (info,) = infos(app)
    assert info.sid != chosen.sid


def test_a_write_with_a_dead_token_starts_a_new_session(app: Flask) -> None:
    for cookie in ("session=garbage", f"session={Tokens([KEY]).issue(Credential.new())}"):
        response = show(app, cookie, "/set/1")
        fresh = response.headers["Set-Cookie"].partition(";")[0]
        assert show(app, fresh).text == "1"


# How much is logged.


def test_bad_cookies_are_logged_at_most_once_a_minute_with_their_number(
    app: Flask, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(121):
        for cookie in ("session=garbage", "session=a; session=b"):
            show(app, cookie)
        clock.advance(1)
    lines = [record.getMessage() for record in caplog.records if record.name == "flask_idlesession"]
    assert [line.partition("(")[2].partition(" ")[0] for line in lines] == ["1", "120", "120"]


def test_a_log_line_shows_nothing_of_the_cookie(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    token = token_of(app)
    show(app, f"session={token[:-1]}")
    show(app, "session=\x1b[31mred%0aline")
    assert len(caplog.records) == 1
    assert token[:20] not in caplog.text and "red" not in caplog.text


def test_dead_tokens_and_requests_without_a_cookie_are_not_logged(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "flask_idlesession")
    for cookie in (f"session={Tokens([KEY]).issue(Credential.new())}", "other=1", ""):
        show(app, cookie)
    assert caplog.records == []


def test_threads_that_bring_bad_cookies_together_log_little(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    together(16, lambda number: [show(app, "session=garbage") for _ in range(20)])
    assert len([record for record in caplog.records if record.name == "flask_idlesession"]) == 1


# Floods and clocks.


def test_ten_thousand_reads_without_cookies_store_nothing_and_set_nothing(app: Flask) -> None:
    environ = EnvironBuilder("/get").get_environ()
    names: set[str] = set()
    for _ in range(10_000):
        list(app.wsgi_app({**environ}, lambda status, headers, exc_info=None: names.update(dict(headers))))
    store = app.extensions["idlesession"].manager.store
    assert names == {"Content-Type", "Content-Length", "Vary"}
    assert infos(app) == [] and len(store) == 0


@pytest.mark.parametrize("step", [3600, 365 * 86400])
def test_a_clock_that_steps_back_logs_nobody_out_and_prolongs_by_no_more_than_the_step(
    app: Flask, clock: FakeClock, step: float
) -> None:
    client = app.test_client()
    client.get("/set/1")
    clock.advance(100)
    client.get("/get")
    clock.advance(-step)
    for _ in range(3):
        assert client.get("/get").text == "1"
        clock.advance(10)
    clock.advance(step - 30 + 1799)
    assert client.get("/get").text == "1"
    clock.advance(1800)
    assert client.get("/get").text == "None"


def test_a_session_that_is_idle_through_a_step_back_ends_within_the_step(app: Flask, clock: FakeClock) -> None:
    client = app.test_client()
    client.get("/set/1")
    clock.advance(-3600)
    clock.advance(3600 + 1800 - 1)
    (info,) = infos(app)
    assert info.is_live(clock())
    clock.advance(1)
    assert client.get("/get").text == "None"


# What cannot be decoded.


def spoil(app: Flask, sid: Any, *, key: str = "a") -> None:
    """Put bytes that are no value into a session, behind the manager's back."""
    manager = app.extensions["idlesession"].manager
    digest = manager.store.load(sid, now=manager.now()).secret_digest
    manager.store.commit(sid, Change(holder=digest, delta={key: b"\xc1"}), now=manager.now())


def test_a_value_that_cannot_be_decoded_is_absent_and_logged_by_its_session(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    broken, other = app.test_client(), app.test_client()
    broken.get("/set/1")
    (info,) = infos(app)
    other.get("/set/2")
    spoil(app, info.sid)
    assert broken.get("/get").text == "None"
    assert [other.get("/get").text, broken.get("/get").text] == ["2", "None"]
    assert info.sid in [left.sid for left in infos(app)]
    records = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(records) == 2 and all(str(info.sid) in record.getMessage() for record in records)


def test_a_value_that_cannot_be_decoded_can_be_written_again(app: Flask) -> None:
    @app.get("/both")
    def both() -> str:
        before = session.get("a")
        session["a"] = "new"
        return str(before)

    client = app.test_client()
    client.get("/set/1")
    (info,) = infos(app)
    spoil(app, info.sid)
    assert client.get("/both").text == "None"
    assert client.get("/get").text == "new"
    assert [left.sid for left in infos(app)] == [info.sid]


@pytest.mark.parametrize("look", ["dict(session)", "list(session.items())", "[*session.values()]", "session.copy()"])
def test_a_value_that_cannot_be_decoded_is_left_out_of_each_look_at_all(app: Flask, look: str) -> None:
    @app.get("/more")
    def more() -> str:
        session["b"] = "fine"
        return "more"

    @app.get("/all")
    def show() -> str:
        return repr(eval(look)) + repr(session)

    client = app.test_client()
    client.get("/set/1")
    client.get("/more")
    (info,) = infos(app)
    spoil(app, info.sid)
    answer = client.get("/all")
    assert answer.status_code == 200 and "fine" in answer.text and "'a'" not in answer.text
    assert client.get("/get").text == "None" and infos(app)[0].sid == info.sid


def test_a_spoilt_value_that_nobody_reads_harms_nobody(app: Flask) -> None:
    client = app.test_client()
    client.get("/set/1")
    (info,) = infos(app)
    spoil(app, info.sid, key="unread")
    assert client.get("/get").text == "1"


def test_a_permanence_that_cannot_be_decoded_ends_no_request(app: Flask) -> None:
    @app.get("/permanent")
    def permanent() -> str:
        session.permanent = True
        return "permanent"

    @app.get("/is-permanent")
    def is_permanent() -> str:
        return str(session.permanent)

    client = app.test_client()
    client.get("/permanent")
    (info,) = infos(app)
    spoil(app, info.sid, key="_permanent")
    app.extensions["idlesession"].manager.now.advance(1)
    assert client.get("/ignore").status_code == 200
    assert client.get("/is-permanent").text == "False"
    assert client.get("/ignore").status_code == 200


def together(count: int, work: Callable[[int], object]) -> None:
    """Run the work in so many threads that begin at once; raise what the first of them raised."""
    barrier, errors = threading.Barrier(count), []

    def run(number: int) -> None:
        barrier.wait()
        try:
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
