"""README, the pages and the example application pass mypy, as strict as it can be, as they stand."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.documents import blocks_of
from support.documents import CHECKOUT
from support.documents import modules_of
from support.documents import PAGES
from support.documents import Program
from support.documents import programs_of
from support.programs import need_packages
from support.versions import FLASK

PROGRAMS = [program for page in PAGES for program in programs_of(page)]

#: Pages whose blocks are files, which a later block of the same name replaces.
FILES = ("tutorial.rst", "testing.rst")


def source_of(program: Program) -> str:
    """Return a program as one file. A line of it has the number that it has on its page."""
    source = ""
    for part in program.parts:
        source += "\n" * (part.line - 1 - source.count("\n")) + f"{part.code}\n"
    return source


def folders_of(page: Path) -> Iterator[dict[str, str]]:
    """Yield the files that a reader has typed before a file is replaced, and at the end."""
    files: dict[str, str] = {}
    for block in blocks_of(page.read_text(encoding="utf-8")):
        if block.kind == "python" and block.caption:
            if block.caption in files:
                yield dict(files)
            files[block.caption] = f"{block.code}\n"
    yield files


def check(folder: Path, *options: str) -> str:
    """Return what mypy has to say of a folder."""
    need_packages("mypy")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--disable-error-code=import-untyped",
            "--cache-dir",
            str(CHECKOUT / ".mypy_cache"),
            *options,
            ".",
        ],
        cwd=folder,
        env={**os.environ, "MYPYPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
    )
    return done.stdout + done.stderr


@pytest.mark.skipif(FLASK < (3, 1), reason="Flask's own commands have types since 3.1.")
def test_the_programs_of_all_pages_are_typed(tmp_path: Path) -> None:
    for number, program in enumerate(PROGRAMS):
        name = re.sub(r"\W", "_", program.page.stem.lower())
        (tmp_path / f"{name}_{number}.py").write_text(source_of(program), encoding="utf-8")
        for module, code in modules_of(program.page).items():
            (tmp_path / f"{module}.py").write_text(code, encoding="utf-8")
    assert f"no issues found in {len(list(tmp_path.iterdir()))} source files" in check(tmp_path)


@pytest.mark.parametrize("name", FILES)
def test_the_files_of_a_page_are_typed(name: str, tmp_path: Path) -> None:
    states = list(folders_of(CHECKOUT / "docs" / name))
    assert states[-1]
    for number, files in enumerate(states):
        folder = tmp_path / str(number)
        folder.mkdir()
        for path, code in files.items():
            (folder / path).write_text(code, encoding="utf-8")
        assert "no issues found" in (said := check(folder)), said


def test_the_example_application_is_typed() -> None:
    assert "no issues found" in (said := check(CHECKOUT / "example_app")), said


def test_the_session_is_known_with_all_that_it_has(tmp_path: Path) -> None:
    (tmp_path / "view.py").write_text(
        "from flask_idlesession import Session, session\n"
        "\n"
        "reveal_type(session)\n"
        "reveal_type(session.seconds_left)\n"
        "reveal_type(session['cart'])\n"
        "session.idle_timeout = 60\n"
        "session.modify('visits', lambda visits: visits + 1, default=0)\n"
        "with session.exclusive():\n"
        "    session['cart'] = [*session.get('cart', []), 'tea']\n"
        "session.second_left\n"
    )
    said = check(tmp_path)
    for revealed in ("flask_idlesession.sessions.session.Session", "float", "Any"):
        assert re.search(rf'Revealed type is "(?:builtins\.)?{revealed}"', said)
    assert [line for line in said.splitlines() if "error:" in line] == [
        'view.py:10: error: "Session" has no attribute "second_left"; maybe "seconds_left"?  [attr-defined]'
    ]


def test_a_fault_of_a_page_is_told_with_its_line(tmp_path: Path) -> None:
    page = tmp_path / "page.rst"
    page.write_text("A page\n\n.. code-block:: python\n\n   x = 1\n\n.. check\n\n   x.y\n")
    (tmp_path / "page_0.py").write_text(source_of(programs_of(page)[0]))
    assert 'page_0.py:9: error: "int" has no attribute "y"' in check(tmp_path)
