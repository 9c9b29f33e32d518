"""README: its example runs as it is pasted, its two commands are there, and what it names is there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.documents import CHECKOUT
from support.documents import programs_of

README = (CHECKOUT / "README.rst").read_text(encoding="utf-8")


def test_the_example_counts_visits() -> None:
    (program,) = programs_of(CHECKOUT / "README.rst")
    client = program.run()["app"].test_client()
    assert [client.get("/").text for _ in range(3)] == ["visit 1", "visit 2", "visit 3"]


def test_the_example_runs_as_it_is_pasted(tmp_path: Path) -> None:
    (program,) = programs_of(CHECKOUT / "README.rst")
    (tmp_path / "app.py").write_text(program.parts[0].code)
    done = subprocess.run(
        [sys.executable, "-m", "flask", "routes"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "count" in done.stdout
    assert not done.stderr


def test_the_example_has_six_lines_beside_flasks_own() -> None:
    (program,) = programs_of(CHECKOUT / "README.rst")
    setup = program.parts[0].code.partition("@app.get")[0]
    assert len([line for line in setup.splitlines() if line]) == 6


@pytest.mark.parametrize(
    "command",
    [
        "python -m pip install -e . && python -m flask --app example_app run",
        "python -m pip install -e '.[test]' && python -m pytest",
    ],
)
def test_the_two_commands_stand_on_a_line_of_their_own(command: str) -> None:
    assert README.count(f"\n    {command}\n") == 1


def test_the_pages_that_it_names_are_there() -> None:
    named = set(re.findall(r"(?:``|image:: )(docs/[\w./-]+|[A-Z]+\.rst)", README))
    assert any(path.endswith(".png") for path in named)
    assert len(named) > 8
    assert not {path for path in named if not (CHECKOUT / path).exists()}
