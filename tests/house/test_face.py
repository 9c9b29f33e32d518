"""The face of the package: it hands on every name, and imports a module when one of its names is asked for."""

import ast
import subprocess
import sys
from pathlib import Path

import flask
import pytest

import flask_idlesession

SOURCE = ast.parse(Path(flask_idlesession.__file__).with_suffix(".pyi").read_text(encoding="utf-8"))

#: What type checkers are told: the names, and the modules that they are from.
TYPED = {
    alias.name: node.module
    for node in ast.walk(SOURCE)
    if isinstance(node, ast.ImportFrom) and node.level
    for alias in node.names
}


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def test_type_checkers_are_told_of_each_name() -> None:
    assert set(TYPED) == set(flask_idlesession.__all__)
    assert set(TYPED) <= set(dir(flask_idlesession))


@pytest.mark.parametrize("name", flask_idlesession.__all__)
def test_a_name_is_what_its_module_defines(name: str) -> None:
    __import__(f"flask_idlesession.{TYPED[name]}")
    module = sys.modules[f"flask_idlesession.{TYPED[name]}"]
    assert getattr(flask_idlesession, name) is getattr(module, name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'session_store'"):
        _ = flask_idlesession.session_store
    with pytest.raises(ImportError):
        from flask_idlesession import session_store  # noqa: F401


def test_the_session_is_flasks_own_and_is_handed_on_by_its_name_alone() -> None:
    from flask_idlesession import session

    assert session is flask.session
    assert "session" not in flask_idlesession.__all__
    declared = {node.target.id: node.annotation.id for node in SOURCE.body if isinstance(node, ast.AnnAssign)}
    assert declared == {"session": "Session"}


def test_a_star_leaves_the_names_of_flask_alone() -> None:
    assert not set(flask_idlesession.__all__) & {name for name in vars(flask) if not name.startswith("_")}


def test_a_module_is_imported_when_one_of_its_names_is_asked_for() -> None:
    code = (
        "import sys, flask_idlesession as face; print('flask_idlesession.accounts.saved_forms' in sys.modules); "
        "face.kept_form; print('flask_idlesession.accounts.saved_forms' in sys.modules, 'kept_form' in vars(face))"
    )
    assert run(code).split() == ["False", "True", "True"]


def test_what_few_applications_use_is_not_imported_for_all() -> None:
    code = "import sys; from flask_idlesession import IdleSession; print(*sys.modules)"
    few = {"accounts.log_in", "accounts.saved_forms", "web.jwt_cookie", "model.encryption", "operations.health"}
    few |= {"stores.circuit_breaker", "accounts.binding", "stores.journal"}
    imported = set(run(code).split())
    assert not {f"flask_idlesession.{name}" for name in few} & imported
    assert "zoneinfo" not in imported
