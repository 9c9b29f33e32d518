"""In debug mode a developer is told, once, what their values become and which keys are in the way."""

import logging
from collections import namedtuple
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import IntEnum
from enum import StrEnum
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from flask import session
from markupsafe import Markup

from flask_idlesession import IdleSession
from flask_idlesession import log_in

Pair = namedtuple("Pair", "a b")


@dataclass
class Point:
    x: int
    y: int


class Colour(StrEnum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


class Name(str):
    pass


def an_app(*, debug: bool = True, **config: Any) -> Flask:
    app = Flask("hinted")
    app.config.update(SECRET_KEY="k" * 32, **config)
    app.debug = debug
    IdleSession(app)
    return app


def lines(caplog: pytest.LogCaptureFixture, code: str) -> list[str]:
    return [line.getMessage() for line in caplog.records if f"[{code}]" in line.getMessage()]


def put(app: Flask, **values: Any) -> None:
    with app.test_client() as client, client.session_transaction() as transaction:
        transaction.update(values)


@pytest.mark.parametrize(
    ("value", "path", "before", "after"),
    [
        (Point(1, 2), "session['v']", "Point", "dict"),
        ([Point(1, 2)], "session['v'][0]", "Point", "dict"),
        ({"a": [1, {"b": Pair(1, 2)}]}, "session['v']['a'][1]['b']", "Pair", "tuple"),
        (Colour.RED, "session['v']", "Colour", "str"),
        ({"k": Level.LOW}, "session['v']['k']", "Level", "int"),
        ((Name("ada"),), "session['v'][0]", "Name", "str"),
        (OrderedDict(a=1), "session['v']", "OrderedDict", "dict"),
        ({Colour.RED: 1}, "the key 'red' of session['v']", "Colour", "str"),
        ({Colour.RED}, "session['v'] has <Colour.RED: 'red'>, which", "Colour", "str"),
    ],
    ids=repr,
)
def test_a_value_that_comes_back_as_another_type_is_told_once(
    value: Any, path: str, before: str, after: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = an_app()
    put(app, v=value)
    put(app, v=value)
    (line,) = lines(caplog, "ISH004")
    assert line.startswith(f"{path} is a {before}, and comes back as a {after}: ")


def test_what_comes_back_as_it_was_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    values = [1, "a", 1.5, None, True, b"x", [1], (1,), {"a": 1}, {1: 2}, {1}, frozenset("a"), UUID(int=1), 2**90]
    values += [Decimal("1.5"), datetime(2024, 1, 1), Markup("<b>"), [(1, {"a": {2, 3}})]]
    put(an_app(), **{f"v{number}": value for number, value in enumerate(values)})
    assert lines(caplog, "ISH004") == []


def test_a_value_that_is_put_into_a_list_is_told_when_it_is_saved(caplog: pytest.LogCaptureFixture) -> None:
    app = an_app()
    app.add_url_rule("/begin", "begin", lambda: session.update(v=[]) or "")
    app.add_url_rule("/append", "append", lambda: session["v"].append(Point(1, 2)) or "")
    client = app.test_client()
    client.get("/begin")
    client.get("/append")
    (line,) = lines(caplog, "ISH004")
    assert line.startswith("session['v'][0] is a Point, and comes back as a dict")


def test_a_registered_type_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    app = an_app()
    codec: Any = app.session_interface.serializer  # type: ignore[attr-defined]
    codec.register(Point, name="point", dump=lambda point: [point.x, point.y], load=lambda parts: Point(*parts))
    put(app, v=Point(1, 2))
    assert lines(caplog, "ISH004") == []


@pytest.mark.parametrize("key", ["new", "sid", "permanent", "modified", "items", "idle_timeout", "rotate"])
def test_a_key_that_is_a_public_name_is_told_at_once(key: str, caplog: pytest.LogCaptureFixture) -> None:
    app = an_app()
    with app.test_request_context():
        session[key] = 1
        (line,) = lines(caplog, "ISH005")
        session[key] = 2
        assert len(lines(caplog, "ISH005")) == 1
    assert line.startswith(f"session['{key}'] has the name") and f"session.{key}" in line


@pytest.mark.parametrize("key", ["user_id", "info", "record", "user", "_permanent", "_flashes", "log_in", "cart"])
def test_a_key_of_the_applications_own_is_not_told(key: str, caplog: pytest.LogCaptureFixture) -> None:
    put(an_app(), **{key: 1})
    assert lines(caplog, "ISH005") == []


def test_a_session_that_grows_large_is_told_with_its_largest_keys(caplog: pytest.LogCaptureFixture) -> None:
    app = an_app()
    put(app, small="x" * 1000, cart="x" * 20_000)
    assert lines(caplog, "ISH003") == []
    with app.test_client() as client:
        for number in range(4):
            with client.session_transaction() as transaction:
                transaction[f"page {number}"] = "x" * 10_000
    (line,) = lines(caplog, "ISH003")
    assert "'page 0' (10009 bytes)" in line and "xxx" not in line


@pytest.mark.parametrize(("running", "journal", "told"), [("true", None, 1), ("", None, 0), ("true", "a.journal", 0)])
def test_sessions_that_the_reloader_ended_are_told(
    running: str, journal: str | None, told: int, caplog: pytest.LogCaptureFixture, monkeypatch: Any, tmp_path: Any
) -> None:
    monkeypatch.setenv("WERKZEUG_RUN_MAIN", running)
    before = an_app()
    before.add_url_rule("/", view_func=lambda: session.update(a=1) or "")
    cookie = before.test_client().get("/").headers["Set-Cookie"].partition(";")[0]
    after = an_app(IDLESESSION_JOURNAL=journal and str(tmp_path / journal))
    after.add_url_rule("/", view_func=lambda: str(session.get("a")))
    for _ in range(3):
        assert after.test_client(use_cookies=False).get("/", headers={"Cookie": cookie}).text == "None"
    assert len(lines(caplog, "ISH006")) == told
    after.extensions["idlesession"].manager.close()


def test_a_session_that_was_logged_out_is_no_sign_of_the_reloader(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WERKZEUG_RUN_MAIN", "true")
    app = an_app()
    app.add_url_rule("/", "begin", lambda: session.update(a=1) or "")
    app.add_url_rule("/end", "end", lambda: session.clear() or "")
    app.add_url_rule("/look", "look", lambda: str(session.get("a")))
    client = app.test_client()
    cookie = client.get("/").headers["Set-Cookie"].partition(";")[0]
    client.get("/end")
    assert app.test_client(use_cookies=False).get("/look", headers={"Cookie": cookie}).text == "None"
    assert lines(caplog, "ISH006") == []


def test_without_debug_mode_there_are_no_hints(caplog: pytest.LogCaptureFixture, monkeypatch: Any) -> None:
    monkeypatch.setenv("WERKZEUG_RUN_MAIN", "true")
    app = an_app(debug=False)
    put(app, new=1, v=Point(1, 2), large="x" * 100_000)
    put(app)
    put(app, v=1)
    put(app, v=1)
    assert not [line for line in caplog.records if "[ISH" in line.getMessage()]


# Permanent sessions are told in every mode.


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("begun_before", [False, True])
def test_a_permanent_session_under_a_shorter_idle_timeout_is_told_once(
    debug: bool, begun_before: bool, caplog: pytest.LogCaptureFixture
) -> None:
    app = an_app(debug=debug, PERMANENT_SESSION_LIFETIME=7 * 86400)
    with app.test_client() as client:
        for _ in range(2):
            if begun_before:
                with client.session_transaction() as transaction:
                    transaction["a"] = 1
            with client.session_transaction() as transaction:
                transaction.permanent = True
    (line,) = lines(caplog, "ISW023")
    assert "kept for 7 d" in line and "ends after 30 min without activity" in line


def test_a_permanent_session_that_lasts_as_long_as_its_cookie_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    app = an_app(PERMANENT_SESSION_LIFETIME=600)
    put(app, _permanent=True)
    other = an_app()
    other.add_url_rule("/", view_func=lambda: log_in("ada", remember=True) or "")
    other.test_client().get("/")
    with other.test_client() as client, client.session_transaction() as transaction:
        transaction.permanent = True
        transaction.idle_timeout = 86400  # type: ignore[attr-defined]
    assert lines(caplog, "ISW023") == []


def test_a_hint_is_a_line_of_the_log_and_no_warning_of_pythons(caplog: pytest.LogCaptureFixture) -> None:
    put(an_app(), new=1)
    (record,) = [record for record in caplog.records if "[ISH005]" in record.getMessage()]
    assert record.name == "flask_idlesession" and record.levelno == logging.WARNING
