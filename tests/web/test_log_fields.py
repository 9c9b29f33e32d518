"""Each line of the log has fields, for logs that programs read; the recipes of the page write them."""

import json
import logging
import subprocess
import sys
from datetime import datetime
from datetime import UTC
from pathlib import Path

import pytest
from flask import Flask
from flask import session
from support.programs import need_packages

from flask_idlesession import IdleSession
from flask_idlesession import log_in
from flask_idlesession import log_out

RECIPES = Path(__file__).parents[2] / "docs" / "recipes"


def make_app() -> Flask:
    app = Flask(__name__)
    app.config.update(SECRET_KEY="8f1c0b1d9a7e4f22b6c3", TESTING=True)
    IdleSession(app)

    @app.get("/in")
    def enter() -> str:
        log_in("ada")
        return str(session.sid)

    @app.get("/out")
    def leave() -> str:
        log_out()
        return ""

    @app.get("/warn")
    def warn() -> str:
        logging.getLogger("flask_idlesession").warning("Something happened.")
        return ""

    @app.get("/look")
    def look() -> str:
        session.get("a")
        return warn()

    return app


def fields(record: logging.LogRecord) -> tuple[object, ...]:
    return tuple(getattr(record, name) for name in ("session_id", "user_id", "reason", "endpoint"))


def test_a_line_within_a_request_tells_of_whom_it_is(caplog: pytest.LogCaptureFixture) -> None:
    client = make_app().test_client()
    client.get("/warn")
    client.get("/in")
    client.get("/warn")
    client.get("/look")
    lines = [fields(record) for record in caplog.records if record.getMessage() == "Something happened."]
    sid = lines[1][0]
    assert isinstance(sid, str)
    assert lines == [(None, None, None, "warn"), (sid, None, None, "warn"), (sid, "ada", None, "look")]


def test_an_audit_line_tells_the_session_that_it_is_about(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "flask_idlesession.audit")
    app = make_app()
    client, other = app.test_client(), app.test_client()
    client.get("/in")
    other.get("/in")
    client.get("/out")
    ended = [record for record in caplog.records if getattr(record, "audit", {}).get("event") == "logged out"]
    assert [fields(record)[1:] for record in ended] == [("ada", "logged out", "leave")]
    assert fields(ended[0])[0] == ended[0].audit["session"]  # type: ignore[attr-defined]


def test_a_line_outside_of_requests_has_no_fields(caplog: pytest.LogCaptureFixture) -> None:
    make_app()
    logging.getLogger("flask_idlesession").warning("Something happened.")
    assert fields(caplog.records[-1]) == (None, None, None, None)


def test_a_line_asks_the_store_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    app = make_app()
    client = app.test_client()
    client.get("/in")
    store, asked = app.extensions["idlesession"].manager.store, []
    real = store.load
    monkeypatch.setattr(store, "load", lambda sid, **given: asked.append("touch" not in given) or real(sid, **given))
    client.get("/warn")
    assert not any(asked)


PROGRAM = """
import runpy, sys
runpy.run_path(sys.argv[1])
sys.path.insert(0, sys.argv[2])
from test_log_fields import make_app
client = make_app().test_client()
client.get("/in")
client.get("/look")
client.get("/out")
"""


@pytest.mark.parametrize("recipe", ["log_as_json", "log_with_structlog"])
def test_a_recipe_writes_one_line_of_json_for_each_event(recipe: str) -> None:
    if recipe == "log_with_structlog":
        need_packages("structlog")
    command = [sys.executable, "-c", PROGRAM, str(RECIPES / f"{recipe}.py"), str(Path(__file__).parent)]
    paths = [str(Path(__file__).parents[1]), *filter(None, sys.path)]
    environ = {"PYTHONPATH": ":".join(paths)}
    told = subprocess.run(command, check=True, capture_output=True, text=True, env=environ).stderr
    lines = [json.loads(line) for line in told.splitlines()]
    warned = [line for line in lines if "Something happened." in line.values()]
    assert [(line["user_id"], line["endpoint"]) for line in warned] == [("ada", "look")]
    ended = [line for line in lines if line.get("reason") == "logged out"]
    assert [(line["session_id"], line["endpoint"]) for line in ended] == [(warned[0]["session_id"], "leave")]
    if recipe == "log_as_json":
        assert {datetime.fromisoformat(line["at"]).tzinfo for line in lines} == {UTC}
        assert "text" in warned[0] and "text" not in ended[0]
        assert (ended[0]["event"], ended[0]["user"]) == ("logged out", "ada")
