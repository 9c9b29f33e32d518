"""The way of a request is short: few files decide, and no module or function is long."""

import ast
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from flask import Flask
from flask import session

import flask_idlesession
from flask_idlesession import IdleSession
from flask_idlesession import session_loaded
from flask_idlesession.testing import FakeClock

ROOT = Path(flask_idlesession.__file__).parent

#: The places that decide in a request, top to bottom: what opens a session, looks at it, changes it and saves it.
DECIDE = {
    "web/interface.py": ("open_session", "save_session"),
    "sessions/requests.py": ("open", "look", "save"),
    "sessions/changes.py": ("change_of", "rotates"),
    "sessions/session.py": ("_fetch",),
    "sessions/values.py": ("_delta",),
    "stores/memory/store.py": ("load", "commit"),
}

#: Through how many files of the package a request may go.
MOST_FILES = {"/ignore": 10, "/read": 10, "/write": 13}

#: Lines of code (no docstrings, comments, blank lines) that a module and a function may have.
MOST_LINES, MOST_LINES_OF_A_FUNCTION = 450, 40

#: Modules that are tables, or a suite of tests.
LONG = {"testing/store_contract.py", "settings/keys.py"}

PATHS = sorted(ROOT.rglob("*.py"))


def traced(path: str) -> dict[str, set[str]]:
    """Return the functions of the package that one request calls, by the file that they are in."""
    app = Flask("traced")
    app.secret_key = "of-the-tests-of-the-house-0123456789"
    IdleSession(app, clock=FakeClock())
    app.add_url_rule("/ignore", "ignore", lambda: "ignored")
    app.add_url_rule("/read", "read", lambda: str(session.get("a")))
    app.add_url_rule("/write", "write", lambda: session.update(a=session.get("a", 0) + 1) or "written")
    client = app.test_client()
    for _ in range(3):  # What is done for first requests is no part of the way.
        client.get("/write")
        client.get(path)
    called: dict[str, set[str]] = {}

    def note(frame: FrameType, event: str, value: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(f"{ROOT}/"):
            file = Path(frame.f_code.co_filename).relative_to(ROOT).as_posix()
            called.setdefault(file, set()).add(frame.f_code.co_name)

    sys.setprofile(note)
    try:
        client.get(path)
    finally:
        sys.setprofile(None)
    return called


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The application uses no other package that is followed, and no test before left a receiver of signals."""
    monkeypatch.delitem(sys.modules, "flask_login", raising=False)
    monkeypatch.setattr(session_loaded, "receivers", {})


@pytest.mark.parametrize("path", MOST_FILES)
def test_a_request_goes_through_few_files(path: str) -> None:
    files = traced(path)
    assert len(files) <= MOST_FILES[path], sorted(files)


def test_what_decides_in_a_request_is_where_the_design_says() -> None:
    called: dict[str, set[str]] = {}
    for path in MOST_FILES:
        for file, names in traced(path).items():
            called.setdefault(file, set()).update(names)
    for file, names in DECIDE.items():
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert set(names) <= defined, file
        assert called.get(file), f"No request comes to {file}."


def test_nothing_on_the_way_of_a_request_is_set_from_outside() -> None:
    """The parts get what they need when they are made: only their own methods assign their attributes."""
    for file in ("web/interface.py", "sessions/requests.py", "sessions/lifecycle.py", "sessions/manager.py"):
        for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
            targets = node.targets if isinstance(node, ast.Assign) else []
            for target in targets:
                if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Attribute):
                    inner = ast.unparse(target.value)
                    assert not inner.startswith(("self._lifecycle", "self._requests", "runtime.")), ast.unparse(node)


def lines_of_code(tree: ast.AST) -> int:
    """Return how many lines have code on them, without docstrings."""
    lines: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            continue
        if isinstance(node, ast.stmt | ast.expr) and not _is_docstring(node, tree):
            lines.update((node.lineno, node.end_lineno or node.lineno))
    return len(lines)


def _is_docstring(node: ast.AST, tree: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and node in _docstrings(tree)


def _docstrings(tree: ast.AST) -> set[ast.AST]:
    found = _known.get(tree)
    if found is None:
        found = _known[tree] = {
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        }
    return found


_known: dict[ast.AST, set[ast.AST]] = {}


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_module_and_no_function_is_long(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if path.relative_to(ROOT).as_posix() not in LONG:
        assert lines_of_code(tree) <= MOST_LINES, f"{path.name} is full: move one idea into another module of its room."
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and path.name != "store_contract.py":
            assert lines_of_code(node) <= MOST_LINES_OF_A_FUNCTION, node.name
