"""Each code block of README and of the documentation runs, or is at least what its language takes."""

import ast
import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
from support.documents import Block
from support.documents import blocks_of
from support.documents import CHECKOUT
from support.documents import literal_blocks_of
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
    program.run()


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
