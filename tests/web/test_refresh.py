"""SESSION_REFRESH_EACH_REQUEST may be changed while the application runs, as with Flask's own sessions."""

from flask import Flask
from flask import session

from flask_idlesession import IdleSession


def test_the_refresh_of_permanent_sessions_follows_the_setting() -> None:
    app = Flask("refreshed")
    app.config["SECRET_KEY"] = "2c1f0fd0a3c3ff60e8a8a9d7b0c1d5f1"
    IdleSession(app)

    @app.post("/begin")
    def begin() -> str:
        session.permanent = True
        session["a"] = 1
        return ""

    @app.get("/read")
    def read() -> str:
        return str(session["a"])

    for refreshes in (True, False, True):
        app.config["SESSION_REFRESH_EACH_REQUEST"] = refreshes
        client = app.test_client()
        client.post("/begin")
        assert ("Set-Cookie" in client.get("/read").headers) is refreshes
