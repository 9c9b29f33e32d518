"""Each code block of README and of the documentation runs, or is at least what its language takes."""

import ast
import builtins
import json
import re
import shlex
import symtable
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.documents import Block
from support.documents import blocks_of
from support.documents import CHECKOUT
from support.documents import COMMENTS
from support.documents import literal_blocks_of
from support.documents import modules_of
from support.documents import PAGES
from support.documents import Program
from support.documents import programs_of

EXTRAS = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["optional-dependencies"]

PROGRAMS = [program for page in PAGES for program in programs_of(page)]
BLOCKS = [
    pytest.param(block, id=f"{page.name}:{block.line}")
    for page in PAGES
    for block in blocks_of(page.read_text(encoding="utf-8"))
]


def test_there_are_programs() -> None:
    assert len(PROGRAMS) > 10


@pytest.mark.parametrize("program", PROGRAMS, ids=str)
def test_python_runs_as_it_stands(program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECRET_KEY", "7c0e5b0f0ff35dd8a1b0a6fd8f5a3a3f6b6f0d2c9b7f4e21")
    modules = modules_of(program.page)
    for name, code in modules.items():
        (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    try:
        program.run()
    finally:
        for name in modules:
            sys.modules.pop(name, None)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_imports_what_it_uses(page: Path) -> None:
    """A reader does not see what runs before a block: an import stands in the block, or further up on the page."""
    missing = dict(imports_unseen(page.read_text(encoding="utf-8")))
    assert not missing


def imports_unseen(text: str) -> Iterator[tuple[int, set[str]]]:
    """Yield the line of each block that uses a name that only a comment imports, and those names.

    A block with a file's name is a file: it imports all that it uses.
    """
    hidden: set[str] = set()
    seen: set[str] = set()
    for block in blocks_of(text):
        if block.kind in COMMENTS:
            hidden |= imports_in(block.code)
        elif block.kind == "python":
            own = imports_in(block.code)
            seen |= set() if block.caption else own
            if missing := (unbound_in(block.code) & hidden) - (own if block.caption else seen):
                yield block.line, missing


def imports_in(code: str) -> set[str]:
    nodes = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Import | ast.ImportFrom)]
    return {(alias.asname or alias.name).partition(".")[0] for node in nodes for alias in node.names}


def unbound_in(code: str) -> set[str]:
    """Return the names that a program uses, and binds nowhere."""
    top = symtable.symtable(code, "a page", "exec")
    bound = {
        symbol.get_name()
        for symbol in top.get_symbols()
        if symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace()
    }
    return set(_globals_of(top)) - bound - set(dir(builtins))


def _globals_of(table: symtable.SymbolTable) -> Iterator[str]:
    for symbol in table.get_symbols():
        if symbol.is_global() or table.get_type() == "module":
            yield symbol.get_name()
    for inner in table.get_children():
        yield from _globals_of(inner)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_stands_in_a_block_that_says_so(page: Path) -> None:
    """What stands after a double colon is not run: a picture of signs, an output."""
    for line, code in literal_blocks_of(page.read_text(encoding="utf-8")):
        try:
            tree = ast.parse(code)
        except SyntaxError:
            continue
        made = [node for node in tree.body if not isinstance(node, ast.Expr)]
        assert not made, f"line {line}: write '.. code-block:: python'."


# The other languages.

LANGUAGES = {"python", "console", "html+jinja", "json", "text", "toml", "ini", "nginx", "docker", "yaml", "javascript"}
LANGUAGES |= {"http", "sql", "given", "check", "continues", "pytest"}


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_says_its_language(block: Block) -> None:
    assert block.kind in LANGUAGES


@pytest.mark.parametrize("block", [each for each in BLOCKS if each.values[0].kind in ("json", "toml", "html+jinja")])
def test_a_block_is_what_its_language_takes(block: Block) -> None:
    if block.kind == "json":
        for line in re.split(r"\n(?=\{)", block.code):
            json.loads(line)
    elif block.kind == "toml":
        tomllib.loads(block.code)
    else:
        from flask import Flask

        Flask("page").jinja_env.parse(block.code)


def commands_of(block: Block) -> list[str]:
    """Return what a reader types: the lines with a prompt, without it, joined where they go on."""
    joined = block.code.replace("\\\n", " ")
    return [line[2:].strip() for line in joined.splitlines() if line.startswith("$ ")]


def is_ours(words: list[str]) -> bool:
    """Return whether ``flask idlesession`` has this command, with these options."""
    cli = pytest.importorskip("flask_idlesession.cli", reason="There are no commands yet.")
    command = cli.cli.commands.get(words[0])
    if command is None:
        return False
    known = {spelled for option in command.params for spelled in [*option.opts, *option.secondary_opts, "--help"]}
    return {word.partition("=")[0] for word in words if word.startswith("--")} <= known


@pytest.mark.parametrize("block", [each for each in BLOCKS if each.values[0].kind == "console"])
def test_a_command_is_one_that_there_is(block: Block) -> None:
    commands = commands_of(block)
    assert commands, "Begin each command with '$ '."
    for command in commands:
        words = shlex.split(command, comments=True)
        for word in words:
            asked = re.fullmatch(r"(?:flask-idlesession|flask_idlesession|\.)\[([\w,]+)\]", word)
            assert asked is None or set(asked[1].split(",")) <= set(EXTRAS), command
        if words[:2] == ["flask", "idlesession"]:
            assert is_ours(words[2:]), command
        path = next((word for word in words if re.match(r"(?:tests|docs|benchmarks)/", word)), None)
        if path is not None and "=" not in path:
            parent = CHECKOUT / path.partition("::")[0]
            assert parent.exists() or parent.parent.exists(), command


def test_an_import_that_only_a_comment_has_is_seen() -> None:
    text = ".. given\n\n   from flask import Flask\n\n.. code-block:: python\n\n   app = Flask('app')\n"
    assert list(imports_unseen(text)) == [(7, {"Flask"})]
    shown = text.replace("   app =", "   from flask import Flask\n   app =")
    assert not list(imports_unseen(f"{shown}\n.. code-block:: python\n\n   b = Flask('b')\n"))
    assert list(imports_unseen(f"{shown}\n.. code-block:: python\n   :caption: b.py\n\n   b = Flask('b')\n"))


# The reader of pages.

PAGE = """\
A page
======

.. code-block:: python
   :caption: one

   x = 1

.. check

   assert x == 1

.. given

   y = 2

.. continues

.. code-block:: python

   z = x + y

- a list

  .. code-block:: python

     alone = 5

.. code-block:: console

   $ ls \\
       -l
   a file
"""


def test_blocks_make_programs(tmp_path: Path) -> None:
    page = tmp_path / "page.rst"
    page.write_text(PAGE)
    first, second = programs_of(page)
    assert first.run()["z"] == 3
    assert "x" not in second.run()
    assert [str(first), str(second)] == ["page.rst:7", "page.rst:27"]
    assert [part.line for part in first.parts] == [7, 11, 15, 21]


def test_a_check_that_fails_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.rst"
    page.write_text(PAGE.replace("x == 1", "x == 2"))
    with pytest.raises(AssertionError):
        programs_of(page)[0].run()


def test_a_comment_without_its_block_is_an_error(tmp_path: Path) -> None:
    page = tmp_path / "page.rst"
    page.write_text(f"{PAGE}\n.. continues\n")
    with pytest.raises(ValueError, match="no block of Python follows"):
        programs_of(page)


def test_commands_are_read_without_their_output() -> None:
    (block,) = (each for each in blocks_of(PAGE) if each.kind == "console")
    assert [shlex.split(command) for command in commands_of(block)] == [["ls", "-l"]]


def test_a_literal_block_is_found_with_its_line() -> None:
    text = "Look::\n\n    a = 1\n\nThen\n\n::\n\n    b = 2\n"
    assert list(literal_blocks_of(text)) == [(3, "a = 1"), (9, "b = 2")]
