"""An application whose users log in and out, for the tests of sockets and streams that stay open."""

from typing import Any

from flask import Flask
from flask import session

from flask_idlesession import IdleSession
from flask_idlesession import log_in
from flask_idlesession import revoke_user
from flask_idlesession import sessions_of
from flask_idlesession.testing import FakeClock

#: Seconds without activity that end a session here.
TIMEOUT = 100


class UsersSite:
    """The application, in this process, and its clients."""

    def __init__(self, name: str, clock: FakeClock, **config: Any) -> None:
        self.app = app = Flask(name)
        app.config.update(SECRET_KEY="2c1f0fd0a3c3ff60e8a8a9d7b0c1d5f1", IDLESESSION_IDLE_TIMEOUT=TIMEOUT, **config)
        IdleSession(app, clock=clock)

        @app.post("/enter/<name>")
        def enter(name: str) -> str:
            log_in(name)
            return ""

        @app.post("/put/<key>/<value>")
        def put(key: str, value: str) -> str:
            session[key] = value
            return ""

        @app.get("/all")
        def show() -> dict[str, Any]:
            return dict(session)

    def browser(self, user: str | None = None) -> Any:
        browser = self.app.test_client()
        if user is not None:
            browser.post(f"/enter/{user}")
        return browser

    def revoke(self, user: str) -> None:
        with self.app.app_context():
            revoke_user(user)

    def is_signed_in(self, user: str) -> bool:
        with self.app.app_context():
            return bool(sessions_of(user))
