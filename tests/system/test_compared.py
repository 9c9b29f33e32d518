"""The page "Compared" says what the trials see."""

import subprocess
import sys
from importlib.util import find_spec

import pytest
from support.documents import CHECKOUT
from support.programs import find_program
from support.programs import need_packages

from benchmarks import behaviour

TABLE = (CHECKOUT / "docs/compared/behaviour.inc").read_text(encoding="utf-8")


def cells(table: str) -> dict[str, list[str]]:
    """Return the cells of each row after its first, by that."""
    rows = [row.split("\n     - ") for row in table.split("   * - ")[1:]]
    return {first: [cell.strip() for cell in others] for first, *others in rows}


def test_the_trials_of_flasks_cookie_and_ours_see_what_the_page_says() -> None:
    need_packages("redis")
    find_program("redis-server")
    ways = [behaviour.COOKIE, behaviour.REDIS]
    seen = cells(behaviour.table(behaviour.run(ways)))
    assert seen == {name: [row[0], row[-1]] for name, row in cells(TABLE).items()}


@pytest.mark.skipif(not (find_spec("flask_session") and find_spec("django")), reason="needs the extra bench")
def test_all_trials_see_what_the_page_says() -> None:
    need_packages("redis")
    find_program("redis-server")
    command = [sys.executable, "-m", "benchmarks.behaviour"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    seen, told = cells(done.stdout), cells(TABLE)
    assert {name: row for name, row in seen.items() if name != "Trial"} == {
        name: row for name, row in told.items() if name != "Trial"
    }
