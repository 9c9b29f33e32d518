"""A site that does its part of OWASP ASVS 5.0 as docs/security.rst says, and browsers that visit it."""

from base64 import urlsafe_b64decode
from typing import Any

from flask import abort
from flask import Flask
from flask import jsonify
from flask import request
from flask import session
from werkzeug.test import TestResponse

from flask_idlesession import authentication_age
from flask_idlesession import csrf_protect
from flask_idlesession import csrf_token
from flask_idlesession import current_user_id
from flask_idlesession import device_of
from flask_idlesession import fresh_login_required
from flask_idlesession import IdleSession
from flask_idlesession import log_in
from flask_idlesession import log_out
from flask_idlesession import login_required
from flask_idlesession import reauthenticate
from flask_idlesession import revoke_all
from flask_idlesession import revoke_others
from flask_idlesession import revoke_own
from flask_idlesession import revoke_user
from flask_idlesession import revoke_where
from flask_idlesession import session_ending
from flask_idlesession import SessionId
from flask_idlesession import sessions_of
from flask_idlesession.stores.contract import Store
from flask_idlesession.testing import FakeClock

#: The settings that docs/security.rst recommends.
HARDENED = {
    "SESSION_COOKIE_NAME": "__Host-id",
    "SESSION_COOKIE_SECURE": True,
    "SESSION_COOKIE_SAMESITE": "Lax",
    "IDLESESSION_PRESET": "nist-aal2",
    "IDLESESSION_ANONYMOUS_IDLE_TIMEOUT": 600,
}

CHROME = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36"
)


def ask(app: Flask) -> None:
    """Send one request, and raise what the application raises. (A test_request_context() that cannot be entered would
    be left behind for the tests after this one.)"""
    app.config["PROPAGATE_EXCEPTIONS"] = True
    app.test_client().get("/who")


class Browser:
    """One browser with its cookies, on one site."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.client = app.test_client()
        self.name: str = app.config["SESSION_COOKIE_NAME"]

    def get(self, path: str, **how: Any) -> TestResponse:
        return self.client.get(path, headers={"User-Agent": CHROME, **how.pop("headers", {})}, **how)

    def post(self, path: str, **how: Any) -> TestResponse:
        return self.client.post(path, headers={"User-Agent": CHROME, **how.pop("headers", {})}, **how)

    def enter(self, user: str = "ada") -> "Browser":
        assert self.post(f"/in/{user}").status_code == 200
        return self

    @property
    def who(self) -> str:
        """The user for whom the site takes this browser."""
        return self.get("/who").text

    @property
    def token(self) -> str:
        cookie = self.client.get_cookie(self.name)
        return "" if cookie is None else cookie.value

    @property
    def secret(self) -> bytes:
        return urlsafe_b64decode(self.token.partition(".")[0])[16:]

    def with_token(self, token: str) -> "Browser":
        """Return another browser, into which somebody put this cookie."""
        other = Browser(self.app)
        other.client.set_cookie(self.name, token, secure=True)
        return other

    def copy(self) -> "Browser":
        return self.with_token(self.token)


def open_bank(*, clock: FakeClock, store: Store | None = None, **config: Any) -> Flask:
    """Return the site, with these settings beside the recommended ones; None takes one of those away."""
    app = Flask("bank")
    settings = {key: value for key, value in {**HARDENED, **config}.items() if value is not None}
    app.config.update(TESTING=True, PREFERRED_URL_SCHEME="https", SECRET_KEY="of the bank's tests", **settings)
    IdleSession(app, clock=clock, store=store)
    _add_accounts(app)
    _add_own_sessions(app)
    _add_administration(app)
    return app


def _add_accounts(app: Flask) -> None:
    @app.get("/who")
    def who() -> str:
        return f"{current_user_id()}"

    @app.get("/peek")
    def peek() -> str:
        return str(session.get("cart", "empty"))

    @app.post("/cart/<what>")
    def put(what: str) -> str:
        session["cart"] = what * request.args.get("times", 1, type=int)
        return what

    @app.post("/in/<user>")
    def enter(user: str) -> str:
        lifetime = request.args.get("lifetime", type=float)
        log_in(
            user,
            level="password",
            lifetime=lifetime,
            labels={"idp_sid": request.args.get("idp_sid", "none")},
            remember="remember" in request.args,
        )
        return user

    @app.post("/again")
    def again() -> str:
        reauthenticate(level=request.args.get("level"))
        return str(authentication_age())

    @app.post("/rotate")
    def rotate() -> str:
        session.rotate()  # type: ignore[attr-defined]
        return "rotated"

    @app.post("/out")
    def leave() -> str:
        log_out()
        return "bye"

    @app.get("/account")
    @login_required
    def account() -> str:
        return f"The account of {current_user_id()}"

    @app.post("/email")
    @fresh_login_required(max_age=300)
    def change_email() -> str:
        return "changed"

    @app.post("/wire")
    @fresh_login_required(max_age=60, level="passkey")
    def wire() -> str:
        return "wired"

    @app.get("/form")
    def form() -> str:
        return csrf_token()

    @app.post("/pay")
    @csrf_protect
    def pay() -> str:
        return "paid"

    @app.get("/ended")
    def ended() -> str:
        ending = session_ending()  # type: ignore[attr-defined]
        return "no" if ending is None else f"{ending.reason.value} by {ending.by}"


def _add_own_sessions(app: Flask) -> None:
    @app.get("/sessions")
    @login_required
    def show() -> Any:
        mine = sessions_of(current_user_id() or "")
        return jsonify([{"id": str(info.sid), "device": device_of(info)} for info in mine])

    @app.post("/sessions/<uuid:sid>/end")
    @fresh_login_required(max_age=300)
    def end(sid: SessionId) -> str:
        if not revoke_own(sid):
            abort(404)
        return "ended"

    @app.post("/password")
    @fresh_login_required(max_age=300)
    def change_password() -> str:
        return str(revoke_others())


def _add_administration(app: Flask) -> None:
    @app.post("/disable/<user>")
    def disable(user: str) -> str:
        return str(revoke_user(user, by="the administrator"))

    @app.post("/everybody/out")
    def everybody_out() -> str:
        return str(revoke_all(by="the administrator"))

    @app.post("/back-channel/<idp_sid>")
    def back_channel(idp_sid: str) -> str:
        return str(revoke_where(idp_sid=idp_sid))


def infos(app: Flask) -> list[Any]:
    return list(app.extensions["idlesession"].manager.find())
