"""The house stands: imports point down, one module reads the wall clock, and only some know Flask."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "flask_idlesession"
ROOT = Path(__file__).parents[2] / PACKAGE

#: Each room's floor. A room imports from lower floors and from itself.
FLOORS = {
    "": 8,
    "extension": 7,
    "testing": 7,
    "pages": 6,
    "cli": 6,
    "integrations": 6,
    "accounts": 5,
    "web": 4,
    "sessions": 3,
    "operations": 3,
    "stores": 2,
    "settings": 2,
    "model": 1,
    "process": 1,
}

#: The one module that looks above itself: it stands where an application puts an extension, and so it is one.
IS_AN_EXTENSION = {("integrations.flask_session", "extension")}

#: The arrows between two rooms of one floor.
BESIDE: set[tuple[str, str]] = set()

#: The modules below the fourth floor that may know Flask, and the one that may know what time it is.
KNOWS_FLASK = {"sessions.session"}
KNOWS_THE_TIME = {"model.clock"}

FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "base", "misc", "core"}


def name_of(path: Path) -> str:
    """Return a module's name within the package; that of the package itself is empty."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PATHS = sorted(ROOT.rglob("*.py"))
MODULES = {name_of(path): path for path in PATHS}


def tree_of(name: str) -> ast.Module:
    return ast.parse(MODULES[name].read_text(encoding="utf-8"))


def room_of(name: str) -> str:
    return name.partition(".")[0]


def imports_of(name: str, tree: ast.Module) -> Iterator[str]:
    """Yield the full name of everything that a module imports, wherever in it: in functions and for typing too."""
    is_package = name in MODULES and MODULES[name].name == "__init__.py"
    here = [PACKAGE, *name.split(".")] if name else [PACKAGE]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + is_package] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{source}.{alias.name}".removeprefix(f"{PACKAGE}.")
                yield f"{PACKAGE}.{inner}" if source.startswith(PACKAGE) and inner in MODULES else source


def house_imports(name: str, tree: ast.Module) -> set[str]:
    """Return the modules of the package that a module imports, by their names within it."""
    imported = {full for full in imports_of(name, tree) if full == PACKAGE or full.startswith(f"{PACKAGE}.")}
    return {full.removeprefix(PACKAGE).removeprefix(".") for full in imported} - {name}


def is_forbidden(name: str, imported: str) -> bool:
    """Whether a module may not import another: its room is above, or beside and not drawn in the table."""
    here, there = room_of(name), room_of(imported)
    if (name, imported) in IS_AN_EXTENSION:
        return False
    if here == there or (here, there) in BESIDE:
        return False
    return there not in FLOORS or here not in FLOORS or FLOORS[there] >= FLOORS[here]


def names_the_time(tree: ast.Module) -> bool:
    """Whether a module reads the wall clock."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if (node.value.id, node.attr) in {("time", "time"), ("time", "time_ns")}:
                return True
            if node.value.id in {"datetime", "date"} and node.attr in {"now", "utcnow", "today"}:
                return True
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            return bool({alias.name for alias in node.names} & {"time", "time_ns"})
    return False


def knows_flask(name: str, tree: ast.Module) -> bool:
    return any(full.partition(".")[0] == "flask" for full in imports_of(name, tree))


def test_every_module_is_in_a_room() -> None:
    homeless = [name for name in MODULES if room_of(name) not in FLOORS]
    assert not homeless, "Move each of these into one of the rooms of FLOORS."


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_down(name: str) -> None:
    imported = house_imports(name, tree_of(name))
    assert not sorted(other for other in imported if is_forbidden(name, other)), f"{name or PACKAGE} imports these."


def test_no_module_imports_itself_round_a_corner() -> None:
    graph = {name: house_imports(name, tree_of(name)) for name in MODULES}
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, f"A circle: {' -> '.join([*way[way.index(name) :], name])}"
        if name in done:
            return
        for imported in sorted(graph.get(name, ())):
            visit(imported, (*way, name))
        done.add(name)

    for name in graph:
        visit(name, ())


def test_one_module_reads_the_wall_clock() -> None:
    assert {name for name in MODULES if names_the_time(tree_of(name))} == KNOWS_THE_TIME


def test_below_the_fourth_floor_only_the_session_knows_flask() -> None:
    below = {name for name in MODULES if FLOORS[room_of(name)] < 4}
    assert {name for name in below if knows_flask(name, tree_of(name))} == KNOWS_FLASK


def test_no_module_is_named_for_having_no_subject() -> None:
    assert not {name for name in MODULES if FORBIDDEN_NAMES & set(name.strip("_").split("."))}


def test_only_the_face_imports_without_using() -> None:
    """To hand a name on (``import x as x``) is the work of a room's face, and of ``msgpack`` for one name."""
    handing_on = {
        name
        for name in MODULES
        for node in ast.walk(tree_of(name))
        if isinstance(node, ast.ImportFrom) and any(alias.asname == alias.name for alias in node.names)
    }
    assert {name for name in handing_on if MODULES[name].name != "__init__.py"} <= {"model.msgpack"}


@pytest.mark.parametrize("name", MODULES)
def test_a_module_opens_with_one_sentence(name: str) -> None:
    docstring = ast.get_docstring(tree_of(name))
    assert docstring, "A module says first what it knows that no other does."
    first = docstring.split("\n\n")[0]
    assert first[0].isupper() or not first[0].isalpha()
    assert first.rstrip().endswith((".", ":"))


def test_no_two_files_of_tests_have_one_name() -> None:
    """Folders of tests are no packages, so pytest tells files by their names alone."""
    names = [path.name for path in (ROOT.parent / "tests").rglob("test_*.py")]
    assert not sorted({name for name in names if names.count(name) > 1})


# The test itself can fail.


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("model.ids", "from ..sessions.session import Session"),
        ("stores.contract", "from flask_idlesession.sessions.manager import SessionManager"),
        ("stores.contract", "import flask_idlesession.extension"),
        (
            "model.codec",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..stores.memory import MemoryStore",
        ),
        ("model.policy", "def f():\n    from ..stores.memory import MemoryStore"),
        ("model.record", "from ..process.locks import Lock"),
        ("stores.memory.store", "from ...extension import IdleSession"),
        ("stores.memory.store", "from ...settings.keys import Settings"),
        ("sessions.manager", "from ..operations.health import Health"),
        ("operations.health", "from ..sessions.manager import SessionManager"),
        ("pages.status", "from ..integrations.flask_login import FlaskLogin"),
        ("sessions.manager", "from .. import IdleSession"),
    ],
)
def test_an_import_that_points_up_is_seen(name: str, source: str) -> None:
    assert any(is_forbidden(name, imported) for imported in house_imports(name, ast.parse(source)))


@pytest.mark.parametrize(
    "source", ["import time\ntime.time()", "from time import time", "from datetime import datetime\ndatetime.now()"]
)
def test_a_look_at_the_wall_clock_is_seen(source: str) -> None:
    assert names_the_time(ast.parse(source))
    assert not names_the_time(ast.parse("import time\ntime.monotonic()"))


@pytest.mark.parametrize(
    "source", ["import flask", "from flask.json.tag import JSONTag", "def f():\n  import flask.app"]
)
def test_an_import_of_flask_is_seen(source: str) -> None:
    assert knows_flask("model.ids", ast.parse(source))
