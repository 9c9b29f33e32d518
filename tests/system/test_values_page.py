"""The tables of the page on values are true, value by value, on our session and on Flask's."""

import logging
import os
import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
from flask import Flask
from flask import session
from support.documents import CHECKOUT
from support.documents import programs_of

from flask_idlesession import EncodeError
from flask_idlesession import IdleSession

PAGE = CHECKOUT / "docs/values.rst"
NAMES = programs_of(PAGE)[0].run()

#: Where the names of other packages come from.
PACKAGES = {"numpy": "numpy", "PydanticModel": "pydantic", "OrmUser": "sqlalchemy"}

REFUSED = object()


def rows_of(table: str) -> Iterator[tuple[str, str]]:
    """Yield the two cells of each row of a table, without the marks of literals."""
    text = PAGE.read_text(encoding="utf-8").partition(f".. table: {table}\n")[2].partition("\n\n\n")[0]
    rows = re.findall(r"^   \* - (.*)\n     - (.*)$", text, re.MULTILINE)
    assert len(rows) > 10
    for first, second in rows[1:]:
        yield first.strip("`"), second.strip("`")


def names_for(expression: str) -> dict[str, Any]:
    """Return the names of the page, and those of the packages that the expression needs."""
    names = dict(NAMES)
    for name, package in PACKAGES.items():
        if name in expression:
            try:
                module = import_module(package)
            except ImportError:
                if os.environ.get("CI") == "true":
                    raise
                pytest.skip(f"{package} is not installed.")
            names[name] = MAKERS[name](module)
    return names


def orm_user(sqlalchemy: Any) -> Any:
    orm = import_module("sqlalchemy.orm")
    columns = {"__tablename__": "users", "id": sqlalchemy.Column(sqlalchemy.Integer, primary_key=True)}
    return type("User", (orm.declarative_base(),), columns)


MAKERS = {
    "numpy": lambda module: module,
    "PydanticModel": lambda module: type("Model", (module.BaseModel,), {"__annotations__": {"name": str}}),
    "OrmUser": orm_user,
}


def come_back(value: Any, *, ours: bool = True, debug: bool = False) -> Any:
    """Return what a later request finds in the session; REFUSED if it may not be stored."""
    app = Flask("values")
    app.config.update(SECRET_KEY="k" * 32, TESTING=True)
    app.debug = debug
    if ours:
        IdleSession(app)
    found = []
    app.add_url_rule("/put", "put", lambda: session.update(value=value) or "")
    app.add_url_rule("/get", "get", lambda: found.append(session["value"]) or "")
    client = app.test_client()
    try:
        client.get("/put")
    except TypeError:
        return REFUSED
    client.get("/get")
    return found[0]


def shown(value: Any) -> Any:
    """Return a value and the types in it, to compare."""
    if isinstance(value, dict):
        return type(value), [(shown(key), shown(item)) for key, item in value.items()]
    if isinstance(value, list | tuple):
        return type(value), [shown(item) for item in value]
    return type(value), value


@pytest.mark.parametrize(("stored", "flasks"), list(rows_of("same")))
def test_it_comes_back_as_it_was(stored: str, flasks: str, caplog: pytest.LogCaptureFixture) -> None:
    value = eval(stored, names_for(stored))
    assert shown(come_back(value, debug=True)) == shown(value)
    assert not [line for line in caplog.records if line.levelno >= logging.WARNING]
    expected = REFUSED if flasks == "refused" else eval(flasks, dict(NAMES))
    assert shown(come_back(value, ours=False)) == shown(expected)


@pytest.mark.parametrize(("stored", "plainer"), list(rows_of("plainer")))
def test_it_comes_back_plainer_as_from_flasks_session_and_a_hint_says_so(
    stored: str, plainer: str, caplog: pytest.LogCaptureFixture
) -> None:
    value, expected = eval(stored, names_for(stored)), eval(plainer, dict(NAMES))
    assert shown(come_back(value)) == shown(come_back(value, ours=False)) == shown(expected)
    come_back(value, debug=True)
    assert len([line for line in caplog.records if "[ISH004]" in line.getMessage()]) == 1


@pytest.mark.parametrize(("stored", "instead"), list(rows_of("refused")))
def test_it_is_refused_as_by_flasks_session_and_the_message_has_the_recipe(stored: str, instead: str) -> None:
    names = names_for(stored)
    value = eval(stored, names)
    assert come_back(value) is REFUSED
    assert come_back(value, ours=False) is REFUSED
    app = Flask("values")
    app.secret_key = "k" * 32
    IdleSession(app)
    with app.test_request_context(), pytest.raises(EncodeError) as raised:
        session["cart"] = {"items": [0, value]}
    message = str(raised.value)
    assert message.startswith("session['cart']['items'][1] is a ") and "which a session cannot keep; " in message
    said = {"value.id": "its primary key", "value.value": "its .value", '"plain data"': "plain data"}
    assert said.get(instead, instead) in message
    kept = eval(instead, {**names, "value": value})
    assert shown(come_back(kept)) == shown(kept)


@pytest.mark.parametrize(
    ("stored", "name"), [("numpy.bool_(True)", r"numpy\.bool_?"), ("numpy.int64(1)", r"numpy\.int64")]
)
def test_a_type_of_numpy_is_not_called_by_the_name_of_a_built_in_one(stored: str, name: str) -> None:
    with pytest.raises(EncodeError, match=f"is a {name}, which"):
        NAMES_CODEC.encode(eval(stored, names_for(stored)))


def test_no_table_is_empty() -> None:
    assert [len(list(rows_of(table))) for table in ("same", "plainer", "refused")] == [22, 12, 11]


NAMES_CODEC = import_module("flask_idlesession").Codec()
