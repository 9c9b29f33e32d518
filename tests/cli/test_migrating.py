"""The command ``migrate``: what it prints is what is to be changed, and what it carries over goes on."""

from collections.abc import Callable
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import Result
from flask import Flask
from flask import session
from flask.testing import FlaskClient

from flask_idlesession import IdleSession
from flask_idlesession import revoke_user
from flask_idlesession import SessionManager
from flask_idlesession.cli import cli
from flask_idlesession.integrations.flask_session import Session

flask_session = pytest.importorskip("flask_session")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

KEY = "5b1c7f0e9a3d4c8e8f6a2d9b0c7e1f43"


@pytest.fixture(params=["redis", "sqlalchemy"])
def make(request: pytest.FixtureRequest, redis_server: Any, tmp_path: Path) -> Iterator[Callable[..., Flask]]:
    client = redis_server.client()
    client.flushall()
    made: list[Flask] = []

    def make(extension: Callable[[Flask], object], **config: Any) -> Flask:
        made.append(make_app(extension, tmp_path, request.param, client, **config))
        return made[-1]

    yield make
    for app in made:
        if "idlesession" in app.extensions:
            manager_of(app).close()
        if "sqlalchemy" in app.extensions:
            with app.app_context():
                app.extensions["sqlalchemy"].engine.dispose()
    client.close()


def make_app(
    extension: Callable[[Flask], object], folder: Path, kind: str, client: "redis.Redis", **config: Any
) -> Flask:
    app = Flask(__name__, instance_path=str(folder / "instance"))
    app.config.update(TESTING=True, SECRET_KEY=KEY, SESSION_TYPE=kind, **config)
    if kind == "redis":
        app.config["SESSION_REDIS"] = client
    else:
        from flask_sqlalchemy import SQLAlchemy

        app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{folder / 'old.db'}"
        app.config["SESSION_SQLALCHEMY"] = SQLAlchemy(app)
    extension(app)
    app.add_url_rule("/", view_func=lambda: dict(session))
    app.add_url_rule("/in/<name>", view_func=enter)
    app.add_url_rule("/out", view_func=leave)
    app.add_url_rule("/later", view_func=write)
    return app


def enter(name: str) -> str:
    session.update({"_user_id": name, "cart": [1, 2]})
    return "in"


def write() -> str:
    session["later"] = 1
    return "written"


def leave() -> str:
    session.clear()
    return "out"


def manager_of(app: Flask) -> SessionManager:
    manager: SessionManager = app.extensions["idlesession"].manager
    return manager


def run(app: Flask, *arguments: str) -> Result:
    return app.test_cli_runner().invoke(cli, ["migrate", *arguments])


def browser(app: Flask, value: str | None = None) -> FlaskClient:
    client = app.test_client()
    if value is not None:
        client.set_cookie("session", value)
    return client


def signed_in(app: Flask, name: str) -> str:
    client = browser(app)
    client.get(f"/in/{name}")
    cookie = client.get_cookie("session")
    assert cookie is not None
    return cookie.value


def lines_of(output: str, sign: str) -> list[str]:
    return [line.strip().removeprefix(sign).strip() for line in output.splitlines() if line.strip().startswith(sign)]


def test_what_is_printed_for_flask_session_is_what_switches_it(make: Callable[..., Flask]) -> None:
    printed = run(make(flask_session.Session), "--from", "flask-session", "--dry-run")
    assert printed.exit_code == 0, printed.output
    assert lines_of(printed.output, "- ") == ["from flask_session import Session"]
    (line,) = lines_of(printed.output, "+ ")
    names: dict[str, Any] = {}
    exec(line, names)
    assert names["Session"] is Session
    assert "SESSION_TYPE" in printed.output
    assert "IDLESESSION_STORE" in printed.output


def test_what_is_printed_for_files_has_the_date_for_pickles(tmp_path: Path) -> None:
    app = Flask(__name__)
    app.config.update(SECRET_KEY=KEY, SESSION_TYPE="filesystem", SESSION_FILE_DIR=str(tmp_path))
    _, line = lines_of(run(app, "--from", "flask-session", "--dry-run").output, "+ ")
    exec(line, {"app": app})
    assert date.fromisoformat(app.config["IDLESESSION_ADOPT_PICKLE_UNTIL"]) > date(2026, 1, 1)


def test_what_is_printed_for_flask_cookies_is_what_switches_them(tmp_path: Path) -> None:
    old = Flask(__name__)
    old.config.update(SECRET_KEY=KEY, TESTING=True)
    old.add_url_rule("/in/<name>", view_func=enter)
    lines = lines_of(run(old, "--from", "flask-cookie", "--dry-run").output, "+ ")
    app = Flask(__name__, instance_path=str(tmp_path))
    app.config.update(SECRET_KEY=KEY, TESTING=True)
    app.add_url_rule("/", view_func=lambda: dict(session))
    exec("\n".join(lines), {"app": app})
    assert browser(app, signed_in(old, "ada")).get("/").json == {"_user_id": "ada", "cart": [1, 2]}


def test_a_missing_key_is_a_line_of_its_own() -> None:
    app = Flask(__name__)
    app.config.update(SESSION_TYPE="redis")
    line, _ = lines_of(run(app, "--from", "flask-session", "--dry-run").output, "+ ")
    assert line.startswith('app.config["SECRET_KEY"] =')


def test_a_weak_key_and_a_missing_store_are_told() -> None:
    app = Flask(__name__)
    app.config.update(SECRET_KEY="dev", SESSION_TYPE="mongodb")
    assert "can be guessed" in run(app, "--from", "flask-cookie", "--dry-run").output
    assert "no store for mongodb" in run(app, "--from", "flask-session", "--dry-run").output


def test_no_value_of_a_setting_is_printed(make: Callable[..., Flask]) -> None:
    app = make(flask_session.Session)
    for source in ("flask-session", "flask-cookie"):
        assert KEY not in run(app, "--from", source, "--dry-run").output


def test_nothing_is_carried_by_an_application_that_was_not_switched(make: Callable[..., Flask]) -> None:
    refused = run(make(IdleSession), "--from", "flask-session")
    assert refused.exit_code == 2
    assert "--dry-run" in refused.output


def test_all_sessions_are_carried_over_and_their_users_go_on(make: Callable[..., Flask]) -> None:
    old = make(flask_session.Session)
    cookies = {name: signed_in(old, name) for name in ("ada", "grace", "edsger")}
    new = make(Session)
    done = run(new, "--from", "flask-session")
    assert "Sessions carried over: 3. Left as they were: 0." in done.output
    assert {info.user_id for info in manager_of(new).find()} == set(cookies)
    assert "Sessions carried over: 0. Left as they were: 3." in run(new, "--from", "flask-session").output
    for name, cookie in cookies.items():
        first, second = browser(new, cookie), browser(new, cookie)
        assert first.get("/").json == second.get("/").json == {"_permanent": True, "_user_id": name, "cart": [1, 2]}
    assert len(list(manager_of(new).find())) == 3


def test_a_carried_session_has_what_was_written_after_that(make: Callable[..., Flask]) -> None:
    old = make(flask_session.Session)
    cookie = signed_in(old, "ada")
    new = make(Session)
    run(new, "--from", "flask-session")
    browser(old, cookie).get("/later")
    assert browser(new, cookie).get("/").json["later"] == 1


def test_a_carried_session_has_ended_once_it_was_revoked_or_its_user_logged_out(make: Callable[..., Flask]) -> None:
    old = make(flask_session.Session)
    revoked, out, one = (signed_in(old, name) for name in ("ada", "grace", "edsger"))
    new = make(Session)
    run(new, "--from", "flask-session")
    with new.app_context():
        revoke_user("ada")
    browser(old, out).get("/out")
    (info,) = manager_of(new).find(user_id="edsger")
    manager_of(new).revoke(info.sid)
    for cookie in (revoked, out, one):
        assert browser(new, cookie).get("/").json == {}
        assert browser(new, cookie).get("/").json == {}
    assert list(manager_of(new).find()) == []


def test_cookies_of_flask_are_left_to_their_browsers(tmp_path: Path) -> None:
    app = Flask(__name__, instance_path=str(tmp_path))
    app.config.update(TESTING=True, SECRET_KEY=KEY, IDLESESSION_ADOPT=["flask"], IDLESESSION_STORE="sqlite:///s.db")
    IdleSession(app)
    assert "when their user comes next" in run(app, "--from", "flask-cookie").output
    manager_of(app).close()
