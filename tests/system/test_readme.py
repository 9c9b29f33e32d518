"""README: its examples run, its settings are the settings, its two commands are there."""

import re
from pathlib import Path
from textwrap import dedent

import pytest
from flask import Flask
from flask import session

from flask_idlesession import IdleSession
from flask_idlesession import session_ended
from flask_idlesession.settings.keys import KEYS

README = (Path(__file__).parents[2] / "README.rst").read_text()
EXAMPLES = [dedent(code) for code in re.findall(r"^\.\. code-block:: python\n\n((?:    .*\n|\n)+)", README, re.M)]


def example(word):
    (found,) = (code for code in EXAMPLES if word in code)
    return found


@pytest.fixture
def app():
    app = Flask("readme")
    app.testing = True
    app.secret_key = "k" * 32
    IdleSession(app)
    return app


def run(code, **names):
    exec(compile(code, "README.rst", "exec"), names)
    return names


def test_the_first_example_counts_visits(monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "k" * 32)
    client = run(example("def count"), __name__="readme")["app"].test_client()
    assert [client.get("/").text for _ in range(3)] == ["visit 1", "visit 2", "visit 3"]


def test_a_passive_view_shows_the_time_run_down(app):
    run(example("def unread"), app=app, session=session)
    assert 0 < app.test_client().get("/unread").json["seconds_left"] <= 1800


def test_the_log_in_example_logs_in_and_out(app):
    run(example("def start"), app=app)
    client = app.test_client()
    client.post("/log-in")
    assert client.get_cookie("session") is not None
    assert client.post("/log-out").text == "good-bye; now you are None"
    assert client.get_cookie("session") is None


def test_the_account_example_lists_and_ends_sessions(app):
    names = run(example("def start"), app=app)
    run(example("def change_password"), **names)
    ada, elsewhere, guest = app.test_client(), app.test_client(), app.test_client()
    for client in (ada, elsewhere):
        client.post("/log-in")
    assert len(ada.get("/account").json) == 2
    assert guest.get("/account").status_code == guest.post("/password").status_code == 401
    assert ada.post("/password").text == "changed; 1 other sessions ended"
    assert elsewhere.get("/account").status_code == 401
    assert len(ada.get("/account").json) == 1


def test_the_concurrency_example_counts_and_pays(app):
    run(example("def vote"), app=app, session=session)
    client = app.test_client()
    assert [client.post("/vote").text for _ in range(3)] == ["1", "2", "3"]
    assert [client.post("/pay").text for _ in range(2)] == ["90", "80"]


def test_the_manager_example_runs_without_flask(capsys):
    run(example("SessionManager("))
    first, second = capsys.readouterr().out.splitlines()
    assert first == "{'name': 'Ada'}"
    assert second.startswith("There is no live session ")


def test_the_signal_example_hears_of_an_end(app, caplog):
    app.logger.setLevel("INFO")
    receiver = run(example("session_ended"), app=app)["note"]

    @app.get("/begin")
    def begin():
        session["a"] = 1
        return ""

    @app.get("/end")
    def end():
        session.clear()
        return ""

    client = app.test_client()
    client.get("/begin")
    client.get("/end")
    session_ended.disconnect(receiver, app)
    assert "ended: logged out" in caplog.text


def test_every_example_was_run():
    assert len(EXAMPLES) == 7


def test_the_settings_are_the_settings():
    rows = re.findall(r"   \* - ``(IDLESESSION_\w+)``\n     - (.*)\n     - (.*)\n", README)
    told = {key: ("none" if default is None else f"``{default!r}``", text) for key, (default, text) in KEYS.items()}
    assert {key: (default, text) for key, default, text in rows} == told


@pytest.mark.parametrize(
    "command",
    [
        "python -m pip install -e . && python -m flask --app example_app run",
        "python -m pip install -e '.[test]' && python -m pytest",
    ],
)
def test_the_two_commands_stand_on_a_line_of_their_own(command):
    assert README.count(f"\n    {command}\n") == 1
