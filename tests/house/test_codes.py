"""Messages have codes: each error, and each line of the log that is a warning or worse, leads to docs/errors.rst."""

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from flask_idlesession import ConfigError
from flask_idlesession import IdleSessionError
from flask_idlesession.model.messages import CODES

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "flask_idlesession"
MODULES = [path for path in sorted(PACKAGE.rglob("*.py")) if "testing" not in path.parts]

CODE = re.compile(r"\bIS[EWH]\d{3}\b")

#: The calls that write a line that somebody is to read.
LEVELS = {"warning", "error", "critical", "exception", "warn"}

#: Errors of Python's own that an application meets where it called the package in a wrong way.
BUILT_IN = {"TypeError", "ValueError", "RuntimeError", "PermissionError", "click.UsageError", "click.BadParameter"}

#: Modules whose errors of Python's own are for this package alone: each is caught, or is a fault of its own.
INTERNAL = {
    "integrations/old_values.py",
    "model/codec.py",
    "model/msgpack.py",
    "model/record.py",
    "operations/other_processes.py",
    "stores/cachelib.py",
    "stores/columns.py",
    "stores/memory/packed.py",
    "stores/redis/format.py",
}

#: Lines that hand on a text that has a code already.
HANDED_ON = {
    "extension.py: advice",
    "operations/neighbours.py: warning",
    "operations/store_advice.py: '%s%s'",
    "stores/cachelib.py: _WARNING.format(kind=kind)",
}


def place_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def calls_in(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def lines_without_code(tree: ast.AST) -> Iterator[str]:
    """Yield the first argument of each call that logs, where there is no code in any of them."""
    for call in calls_in(tree):
        if isinstance(call.func, ast.Attribute) and call.func.attr in LEVELS:
            logs = re.search(r"logger|notices", ast.unparse(call.func.value))
            if logs and not any(CODE.search(ast.unparse(argument)) for argument in call.args):
                texts = [ast.unparse(argument) for argument in call.args]
                yield texts[1] if call.func.attr == "warn" else texts[0]


def built_in_without_code(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        raised = node.exc if isinstance(node, ast.Raise) else None
        if isinstance(raised, ast.Call) and ast.unparse(raised.func) in BUILT_IN:
            text = ast.unparse(raised)
            if not CODE.search(text):
                yield text


def all_errors(kind: type[IdleSessionError]) -> Iterator[type[IdleSessionError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from all_errors(each)


@pytest.mark.parametrize("path", MODULES, ids=place_of)
def test_each_line_of_the_log_has_a_code(path: Path) -> None:
    found = {f"{place_of(path)}: {text}" for text in lines_without_code(ast.parse(path.read_text(encoding="utf-8")))}
    assert not found - HANDED_ON, "End each with a code in brackets; model/messages.py and docs/errors.rst have them."


@pytest.mark.parametrize("path", [path for path in MODULES if place_of(path) not in INTERNAL], ids=place_of)
def test_an_error_of_pythons_own_has_a_code(path: Path) -> None:
    assert not list(built_in_without_code(ast.parse(path.read_text(encoding="utf-8")))), "End each with a code."


def test_each_error_of_the_package_has_a_code() -> None:
    for path in MODULES:
        if "raise" in path.read_text(encoding="utf-8") and path.name != "__init__.py":
            import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    kinds = set(all_errors(IdleSessionError))
    assert len(kinds) > 20 and all(kind.CODE in CODES for kind in kinds)
    without = {kind.__name__ for kind in kinds - {IdleSessionError} if kind.CODE == IdleSessionError.CODE}
    assert not without, "Give each of these kinds a CODE."


def test_a_message_without_a_code_gets_that_of_its_kind_and_one_with_a_code_keeps_it() -> None:
    assert str(ConfigError("A is 1; it must be 2.")) == "A is 1; it must be 2. [ISE018]"
    assert str(ConfigError("A is 1; it must be 2. [ISE020]")) == "A is 1; it must be 2. [ISE020]"
    assert str(ConfigError(str(ConfigError("A is 1.")))) == "A is 1. [ISE018]"


def test_each_code_that_a_module_names_is_listed() -> None:
    named = {code for path in MODULES for code in CODE.findall(path.read_text(encoding="utf-8"))}
    assert named == set(CODES)


def test_each_listed_code_is_given_somewhere() -> None:
    outside = [path for path in MODULES if place_of(path) != "model/messages.py"]
    given = {code for path in outside for code in CODE.findall(path.read_text(encoding="utf-8"))}
    assert set(CODES) == given, "Take a code out of the list that no message has."


def sections() -> dict[str, tuple[str, str]]:
    """Return the title and the text of each code's section."""
    page = (ROOT / "docs" / "errors.rst").read_text(encoding="utf-8")
    found = re.findall(r"^\.\. _(IS\w+):\n\n(.*)\n-+\n((?:.|\n)*?)(?=^\.\. _IS|\Z)", page, re.MULTILINE)
    return {code: (title, text) for code, title, text in found}


def test_the_page_has_the_title_the_meaning_and_the_remedy_of_each_code() -> None:
    found = sections()
    assert list(found) == list(CODES), "The page has the codes in the order of the list."
    for code, (title, text) in found.items():
        assert title == f"{code}: {CODES[code]}"
        assert ":Meaning:" in text and ":What to do:" in text, code
        assert ":Message:" in text or ":Found by:" in text or code == IdleSessionError.CODE, code


# The tests can fail.


@pytest.mark.parametrize(
    "line", ["_logger.warning('No code.')", "self.notices.warn('key', 'No code.')", "_logger.exception('%s', 1)"]
)
def test_a_line_without_a_code_is_seen(line: str) -> None:
    assert list(lines_without_code(ast.parse(line)))


def test_a_line_with_a_code_passes_and_so_does_what_is_no_line() -> None:
    assert not list(lines_without_code(ast.parse("_logger.warning('A code. [ISW001]'); self.warning('x'); warn('x')")))


def test_a_built_in_error_without_a_code_is_seen() -> None:
    assert list(built_in_without_code(ast.parse("raise TypeError(f'{a} is no text.')")))
    assert not list(built_in_without_code(ast.parse("raise TypeError(f'{a} is no text. [ISE050]')")))
