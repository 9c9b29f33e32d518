"""The house stands: imports point down, one module reads the wall clock, and only some know Flask."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "flask_idlesession"
ROOT = Path(__file__).parent.parent / PACKAGE

#: Each module's floor. A module of a floor imports from its own and from those below. A new one goes where its
#: imports let it, as low as they do; every store is on the fourth.
FLOORS = {
    "": 7,
    "extension": 6,
    "interface": 5,
    "accounts": 5,
    "audit": 5,
    "flask_login_signals": 5,
    "origin": 5,
    "binding": 5,
    "activity": 5,
    "exclusive": 5,
    "settings": 5,
    "transport": 5,
    "csrf": 5,
    "claims": 5,
    "form_keeper": 5,
    "config_values": 5,
    "cli": 5,
    "pages": 5,
    "manager": 4,
    "saver": 4,
    "revocation": 4,
    "lifecycle": 4,
    "endings": 4,
    "pruner": 4,
    "breaker": 4,
    "health": 4,
    "strays": 4,
    "clock_check": 3,
    "peers": 4,
    "stores": 4,
    "session": 3,
    "concurrency": 3,
    "csrf_tokens": 3,
    "keeper": 3,
    "store": 3,
    "policy": 3,
    "cleaner": 3,
    "tokens": 3,
    "record": 2,
    "errors": 1,
    "ids": 1,
    "codec": 1,
    "engine": 1,
    "keyring": 1,
    "locks": 1,
    "signals": 1,
    "clock": 1,
    "testing": 1,
    "stores.wheel": 1,
}

#: The modules below the fifth floor that may know Flask, and the one that may know what time it is.
KNOWS_FLASK = {"session"}
KNOWS_THE_TIME = {"clock"}

FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "base", "misc", "core"}


def name_of(path: Path) -> str:
    """Return a module's name within the package; that of the package itself is empty."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PATHS = sorted(ROOT.rglob("*.py"))
MODULES = {name_of(path): path for path in PATHS}


def tree_of(name: str) -> ast.Module:
    return ast.parse(MODULES[name].read_text(encoding="utf-8"))


def floor_of(name: str) -> int | None:
    """Return the floor of a module: its own, or that of the package which it is in."""
    while name not in FLOORS and "." in name:
        name = name.rpartition(".")[0]
    return FLOORS.get(name)


def imports_of(name: str, tree: ast.Module) -> Iterator[str]:
    """Yield the full name of everything that a module imports, wherever in it: in functions and for typing too."""
    is_package = MODULES[name].name == "__init__.py"
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


def goes_up(name: str, imported: str) -> bool:
    here, there = floor_of(name), floor_of(imported)
    return here is None or there is None or there > here


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


def test_every_module_has_a_floor() -> None:
    homeless = [name for name in MODULES if floor_of(name) is None]
    assert not homeless, "Give each of these a floor in FLOORS, as low as its imports let it be."


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_down(name: str) -> None:
    up = sorted(imported for imported in house_imports(name, tree_of(name)) if goes_up(name, imported))
    assert not up, f"{name or PACKAGE} is on floor {floor_of(name)} and imports from above."


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


def test_below_the_fifth_floor_only_the_session_knows_flask() -> None:
    below = {name for name in MODULES if (floor_of(name) or 0) < 5}
    assert {name for name in below if knows_flask(name, tree_of(name))} == KNOWS_FLASK


def test_no_module_is_named_for_having_no_subject() -> None:
    assert not {name for name in MODULES if FORBIDDEN_NAMES & set(name.strip("_").split("."))}


def test_only_the_face_imports_without_using() -> None:
    """A module's ``import x as x`` hands a name on, which is the face's work (and the engine's, of one name)."""
    handing_on = {
        name
        for name in MODULES
        for node in ast.walk(tree_of(name))
        if isinstance(node, ast.ImportFrom) and any(alias.asname == alias.name for alias in node.names)
    }
    assert handing_on <= {"", "engine"}


@pytest.mark.parametrize("name", MODULES)
def test_a_module_opens_with_one_sentence(name: str) -> None:
    docstring = ast.get_docstring(tree_of(name))
    assert docstring, "A module says first what it knows that no other does."
    first = docstring.split("\n\n")[0]
    assert first[0].isupper() or not first[0].isalpha()
    assert first.rstrip().endswith((".", ":"))


# The test itself can fail.


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("ids", "from .record import Record"),
        ("record", "from . import store"),
        ("store", "from flask_idlesession.manager import SessionManager"),
        ("store", "import flask_idlesession.extension"),
        ("codec", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .session import Session"),
        ("policy", "def f():\n    from .stores.memory import MemoryStore"),
        ("stores.memory", "from ..extension import IdleSession"),
        ("stores.wheel", "from .memory import MemoryStore"),
        ("stores", "from .. import interface"),
        ("manager", "from . import IdleSession"),
    ],
)
def test_an_import_that_points_up_is_seen(name: str, source: str) -> None:
    assert any(goes_up(name, imported) for imported in house_imports(name, ast.parse(source)))


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
    assert knows_flask("ids", ast.parse(source))
