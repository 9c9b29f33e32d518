"""An application hears of the ends of its sessions, in its own context."""

import threading
from typing import Any

import pytest
from flask import current_app
from flask import Flask
from flask import session

from flask_idlesession import Ending
from flask_idlesession import EndReason
from flask_idlesession import IdleSession
from flask_idlesession import log_in
from flask_idlesession import log_out
from flask_idlesession import on_session_end
from flask_idlesession import revoke_user
from flask_idlesession.testing import FakeClock


@pytest.fixture
def app(clock: FakeClock) -> Flask:
    app = Flask(__name__)
    app.config.update(SECRET_KEY="of the tests of ends, long enough", IDLESESSION_IDLE_TIMEOUT=100)
    IdleSession(app, clock=clock)
    heard: list[tuple[Ending, str]] = []
    came = threading.Semaphore(0)

    def note(ending: Ending) -> None:
        heard.append((ending, current_app.name))
        came.release()

    def wait() -> tuple[Ending, str]:
        assert came.acquire(timeout=5)
        return heard.pop(0)

    app.extensions["heard"] = wait

    @app.post("/enter")
    def enter() -> str:
        log_in("ada")
        return ""

    @app.post("/follow")
    def follow() -> str:
        on_session_end(note, sid=session.sid)
        return str(session.sid)

    @app.post("/leave")
    def leave() -> str:
        log_out()
        return ""

    @app.post("/empty")
    def empty() -> str:
        session.clear()
        return ""

    return app


def followed(app: Flask) -> tuple[Any, str]:
    client = app.test_client()
    client.post("/enter")
    return client, client.post("/follow").text


@pytest.mark.parametrize("path", ["/leave", "/empty"])
def test_a_log_out_is_told_in_the_applications_context(app: Flask, path: str) -> None:
    client, sid = followed(app)
    client.post(path)
    ending, name = app.extensions["heard"]()
    assert (str(ending.sid), ending.reason, name) == (sid, EndReason.LOGGED_OUT, app.name)


def test_a_revocation_and_an_expiry_are_told(app: Flask, clock: FakeClock) -> None:
    followed(app)
    with app.app_context():
        revoke_user("ada")
    assert app.extensions["heard"]()[0].reason is EndReason.REVOKED
    followed(app)
    clock.advance(100)
    assert app.extensions["heard"]()[0].reason is EndReason.IDLE


def test_a_session_that_gets_a_new_token_goes_on_being_followed(app: Flask) -> None:
    client, sid = followed(app)
    client.post("/enter")
    assert client.post("/follow").text == sid
    client.post("/leave")
    assert str(app.extensions["heard"]()[0].sid) == str(app.extensions["heard"]()[0].sid) == sid


def test_what_is_no_function_is_refused(app: Flask) -> None:
    wrong: Any = "a function's name"
    with app.app_context(), pytest.raises(TypeError, match="function to call"):
        on_session_end(wrong)
