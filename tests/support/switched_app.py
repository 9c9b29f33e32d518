"""The application that a test switches, in its older or newer version: ``VERSION``, ``KIND`` and others are in the
environment.
"""

import os
from typing import Any

from flask import Flask
from flask import session

from flask_idlesession import IdleSession
from flask_idlesession.integrations.flask_session import Session

KEY = "5b1c7f0e9a3d4c8e8f6a2d9b0c7e1f43"


def make_app() -> Flask:
    folder, kind, url = os.environ["FOLDER"], os.environ["KIND"], os.environ.get("URL", "")
    app = Flask("switched", instance_path=os.path.join(folder, "instance"))
    app.config["SECRET_KEY"] = KEY
    app.config.update(config_of(app, kind, folder, url))
    if os.environ["VERSION"] == "new":
        if os.environ["NAMES"] == "other":
            app.config.update(SESSION_COOKIE_NAME="sid", IDLESESSION_ADOPT_COOKIE="session")
        if kind == "flask":
            app.config.update(IDLESESSION_ADOPT=["flask"], IDLESESSION_STORE="sqlite:///sessions.db")
            IdleSession(app)
        else:
            Session(app)
    elif kind != "flask":
        import flask_session

        flask_session.Session(app)
    add_views(app)
    return app


def config_of(app: Flask, kind: str, folder: str, url: str) -> dict[str, Any]:
    """What the older version has set, and the date that pickles need."""
    config: dict[str, Any] = {"SESSION_TYPE": kind.split()[0], "SESSION_USE_SIGNER": kind.endswith("signed")}
    if kind == "flask":
        return {"SESSION_COOKIE_NAME": "session"}
    if kind.startswith("redis"):
        import redis

        config["SESSION_REDIS"] = redis.Redis.from_url(url)
    elif kind == "filesystem":
        config.update(SESSION_FILE_DIR=os.path.join(folder, "files"), SESSION_FILE_THRESHOLD=100_000)
        config["IDLESESSION_ADOPT_PICKLE_UNTIL"] = "2999-12-31"
    else:
        from flask_sqlalchemy import SQLAlchemy

        app.config["SQLALCHEMY_DATABASE_URI"] = url
        config["SESSION_SQLALCHEMY"] = SQLAlchemy(app)
    return config


def add_views(app: Flask) -> None:
    @app.get("/")
    def show() -> dict[str, Any]:
        keys = [key for key in session if key.startswith("k")]
        return {"version": os.environ["VERSION"], "user": session.get("_user_id"), "keys": keys}

    @app.get("/in/<name>")
    def enter(name: str) -> str:
        session["_user_id"] = name
        session["k0"] = "x" * 40
        return "in"

    @app.get("/write/<key>")
    def write(key: str) -> str:
        session[key] = 1
        return os.environ["VERSION"]

    @app.get("/out")
    def out() -> str:
        session.clear()
        return os.environ["VERSION"]
