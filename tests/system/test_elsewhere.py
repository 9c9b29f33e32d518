"""Sessions in other homes than requests: a command, a Celery task, a plain script, and a second application."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from flask import current_app
from flask import Flask
from flask import session

from flask_idlesession import current_user_id
from flask_idlesession import IdleSession
from flask_idlesession import log_in
from flask_idlesession import revoke_user
from flask_idlesession import SessionManager
from flask_idlesession import SessionNotFound

KEY = "5b1c7f0e9a3d4c8e8f6a2d9b0c7e1f43"
OTHER_KEY = "c0a8f4e19b7d4e02a6f3b8d15e9c7a60"

SCRIPT = """
import sys
from flask_idlesession import SessionManager
from flask_idlesession.stores.sqlite import SQLiteStore

assert "flask_sqlalchemy" not in sys.modules
with SessionManager(SQLiteStore(sys.argv[1])) as sessions:
    for info in sessions.find():
        print(info.user_id, sorted(sessions.read(info.sid)))
    print(sessions.revoke_user("ada"))
"""


@pytest.fixture
def apps() -> Iterator[list[Flask]]:
    made: list[Flask] = []
    yield made
    for app in made:
        manager_of(app).close()


def make_app(apps: list[Flask], folder: Path, name: str = "app", **config: Any) -> Flask:
    app = Flask(name, instance_path=str(folder / name))
    app.config.update(TESTING=True, SECRET_KEY=KEY, IDLESESSION_STORE=f"sqlite:///{folder / 'sessions.db'}")
    app.config.update(config)
    IdleSession(app)
    apps.append(app)

    @app.get("/in/<name>")
    def enter(name: str) -> str:
        log_in(name)
        session["cart"] = [1]
        return str(session.sid)  # type: ignore[attr-defined]

    @app.get("/")
    def show() -> dict[str, Any]:
        return {**session, "user": current_user_id()}

    @app.get("/out")
    def leave() -> str:
        session.clear()
        return "out"

    @app.cli.command("lock")
    def lock() -> None:
        print(revoke_user("ada"), "ended")

    return app


def manager_of(app: Flask) -> SessionManager:
    manager: SessionManager = app.extensions["idlesession"].manager
    return manager


def test_a_command_ends_a_users_sessions(apps: list[Flask], tmp_path: Path) -> None:
    app = make_app(apps, tmp_path)
    client = app.test_client()
    client.get("/in/ada")
    assert app.test_cli_runner().invoke(args=["lock"]).output == "1 ended\n"
    assert client.get("/").json == {"user": None}


def test_a_plain_script_reads_and_ends_sessions(apps: list[Flask], tmp_path: Path) -> None:
    client = make_app(apps, tmp_path).test_client()
    client.get("/in/ada")
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "sessions.db")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == ["ada ['cart']", "1"]
    assert client.get("/").json == {"user": None}


def test_a_celery_task_writes_into_a_session_by_its_id(apps: list[Flask], tmp_path: Path) -> None:
    celery = pytest.importorskip("celery")
    worker = pytest.importorskip("celery.contrib.testing.worker")
    signals = pytest.importorskip("celery.signals")
    app = make_app(apps, tmp_path)
    leaves_logging: Any = lambda **_: None  # noqa: E731 - a worker would set up the logging of all tests.
    signals.setup_logging.connect(leaves_logging)
    tasks = celery.Celery("tasks", broker="memory://", backend="cache+memory://")

    @tasks.task(name="note_result")
    def note_result(sid: str, result: str) -> bool:
        with app.app_context():
            manager = current_app.extensions["idlesession"].manager
            try:
                manager.replace(UUID(sid), {**manager.read(UUID(sid)), "result": result})
            except SessionNotFound:
                return False
        return True

    client = app.test_client()
    sid = client.get("/in/ada").text
    with worker.start_worker(tasks, perform_ping_check=False, pool="solo"):
        sid = str(next(manager_of(app).find()).sid)
        assert note_result.delay(sid, "done").get(timeout=30) is True
        assert client.get("/").json == {"cart": [1], "result": "done", "user": "ada"}
        client.get("/out")
        assert note_result.delay(sid, "late").get(timeout=30) is False
    signals.setup_logging.disconnect(leaves_logging)
    assert client.get("/").json == {"user": None}


def test_two_applications_share_sessions_by_one_key_and_one_namespace(apps: list[Flask], tmp_path: Path) -> None:
    same = {"SESSION_COOKIE_DOMAIN": "example.com", "IDLESESSION_NAMESPACE": "office"}
    shop, wiki = make_app(apps, tmp_path, "shop", **same), make_app(apps, tmp_path, "wiki", **same)
    answer = shop.test_client().get("/in/ada", base_url="http://shop.example.com")
    cookie = answer.headers["Set-Cookie"]
    assert "Domain=example.com" in cookie
    header = {"Cookie": cookie.partition(";")[0]}

    def ask(app: Flask, path: str) -> Any:
        return app.test_client(use_cookies=False).get(path, base_url="http://wiki.example.com", headers=header).json

    assert ask(wiki, "/") == {"cart": [1], "user": "ada"}
    ask(wiki, "/out")
    assert ask(shop, "/") == ask(wiki, "/") == {"user": None}


@pytest.mark.parametrize("other", [{"SECRET_KEY": OTHER_KEY}, {"IDLESESSION_NAMESPACE": "wiki"}])
def test_nothing_is_shared_by_accident(apps: list[Flask], tmp_path: Path, other: dict[str, str]) -> None:
    same = {"SESSION_COOKIE_DOMAIN": "example.com", "IDLESESSION_NAMESPACE": "office"}
    shop, wiki = make_app(apps, tmp_path, "shop", **same), make_app(apps, tmp_path, "wiki", **{**same, **other})
    cookie = shop.test_client().get("/in/ada", base_url="http://shop.example.com").headers["Set-Cookie"]
    header = {"Cookie": cookie.partition(";")[0]}
    shown = wiki.test_client(use_cookies=False).get("/", base_url="http://wiki.example.com", headers=header)
    assert shown.json == {"user": None}
