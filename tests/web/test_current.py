"""Where an application has no idle sessions, or another package has replaced them, each function says what to do."""

import sys
import types
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import uuid4

import flask
import pytest
from flask import Flask
from flask.sessions import SecureCookieSessionInterface
from flask.sessions import SessionMixin
from werkzeug.exceptions import HTTPException

import flask_idlesession as face
from flask_idlesession import ConfigError
from flask_idlesession import IdleSession

FUNCTIONS: dict[str, Callable[[], Any]] = {
    "authentication_age": face.authentication_age,
    "authentication_level": face.authentication_level,
    "check_csrf": lambda: face.check_csrf("x"),
    "csrf_protect": face.csrf_protect(lambda: "in"),
    "csrf_token": face.csrf_token,
    "current_user_id": face.current_user_id,
    "exclusive": face.exclusive(lambda: "in"),
    "forget_form": face.forget_form,
    "fresh_login_required": face.fresh_login_required()(lambda: "in"),
    "is_authenticated": face.is_authenticated,
    "is_form_kept": face.is_form_kept,
    "kept_form": face.kept_form,
    "log_in": lambda: face.log_in("ada"),
    "log_in remember": lambda: face.log_in("ada", remember=True),
    "log_out": face.log_out,
    "login_required": face.login_required(lambda: "in"),
    "reauthenticate": face.reauthenticate,
    "remember_form": face.remember_form,
    "remembered_form": face.remembered_form,
    "on_session_end": lambda: face.on_session_end(print),
    "revoke": lambda: face.revoke(uuid4()),
    "revoke_all": face.revoke_all,
    "revoke_others": face.revoke_others,
    "revoke_own": lambda: face.revoke_own(uuid4()),
    "revoke_user": lambda: face.revoke_user("ada"),
    "revoke_where": lambda: face.revoke_where(user_id="ada"),
    "session_ending": face.session_ending,
    "session_info": face.session_info,
    "sessions_of": lambda: face.sessions_of("ada"),
    "until_session_ends": lambda: list(face.until_session_ends(["part"])),
}

#: Functions that work for themselves: they mark views, or read what they are given.
NEED_NO_APPLICATION = {"active", "device_of", "never_kept", "passive"}


def test_the_list_has_each_public_function() -> None:
    functions = {name for name in face.__all__ if isinstance(getattr(face, name), types.FunctionType)}
    assert functions - NEED_NO_APPLICATION == {name.partition(" ")[0] for name in FUNCTIONS}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_without_the_extension_each_function_says_to_call_it(name: str, method: str) -> None:
    app = Flask("shop")
    app.config.update(SECRET_KEY="k" * 32, TESTING=True)
    with app.test_request_context(method=method):
        flask.session["cart"] = [1]
        with pytest.raises(ConfigError, match=r"^The application 'shop' has no idle sessions; call IdleSession\(app\)"):
            FUNCTIONS[name]()
        assert dict(flask.session) == {"cart": [1]}, "Nothing is done to the session that there is."


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_without_a_secret_key_each_function_finds_an_empty_session_or_says_why(name: str, method: str) -> None:
    app = Flask("shop")
    app.config["TESTING"] = True
    IdleSession(app)
    with app.test_request_context(method=method):
        said = ""
        with suppress(HTTPException):  # 401 or 403: nobody is logged in, and no form has a token.
            try:
                FUNCTIONS[name]()
            except RuntimeError as error:
                said = str(error)
    assert not said or "no secret key was set" in said


@pytest.mark.parametrize("name", ["log_in", "log_out", "current_user_id", "csrf_token", "session_info", "exclusive"])
def test_a_session_of_another_extension_is_named(name: str) -> None:
    app = Flask("shop")
    app.config.update(SECRET_KEY="k" * 32, TESTING=True)
    IdleSession(app)
    app.session_interface = SecureCookieSessionInterface()
    with app.test_request_context():
        flask.session["cart"] = [1]
        with pytest.raises(ConfigError, match=r"is a flask\.sessions\.SecureCookieSession.*app\.session_interface"):
            FUNCTIONS[name]()
        assert dict(flask.session) == {"cart": [1]}


@pytest.mark.parametrize("name", ["log_in", "log_out", "current_user_id", "csrf_token", "session_info", "exclusive"])
def test_in_an_event_of_flask_socketio_the_setting_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("flask_socketio")
    managed = type("_ManagedSession", (dict, SessionMixin), {"__module__": "flask_socketio"})
    monkeypatch.setitem(sys.modules, "flask_socketio", module)
    app = Flask("shop")
    app.config.update(SECRET_KEY="k" * 32, TESTING=True)
    IdleSession(app)
    with app.test_request_context() as context:
        slot = "session" if isinstance(vars(context).get("session"), SessionMixin) else "_session"
        setattr(context, slot, managed())
        with pytest.raises(ConfigError, match=r"SocketIO\(app, manage_session=False\)"):
            FUNCTIONS[name]()
