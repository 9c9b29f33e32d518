"""The page "Compared" says what the trials see, and shows each row that is measured."""

import subprocess
import sys
from importlib.util import find_spec

import pytest
from support.documents import blocks_of
from support.documents import CHECKOUT
from support.programs import find_program
from support.programs import need_packages

from benchmarks import behaviour
from benchmarks import switches

FOLDER = CHECKOUT / "docs/compared"
TABLE = (FOLDER / "behaviour.inc").read_text(encoding="utf-8")
SWITCHES = (FOLDER / "switches.inc").read_text(encoding="utf-8")
COSTS = (FOLDER / "costs.inc").read_text(encoding="utf-8")

THE_OTHERS = pytest.mark.skipif(
    not (find_spec("flask_session") and find_spec("django")), reason="needs the extra bench"
)


def cells(table: str) -> dict[str, list[str]]:
    """Return the cells of each row after its first, by that."""
    rows = [row.split("\n     - ") for row in table.split("   * - ")[1:]]
    return {first: [cell.strip() for cell in others] for first, *others in rows}


def first_column(table: str) -> list[str]:
    """Return how the rows of a table with rulers are called."""
    _, _, heads, *rest = (line for line in table.splitlines() if line)
    lines = rest[rest.index(next(line for line in rest if line.startswith("="))) + 1 :]
    width = table.splitlines()[2].index(" ")
    return [line[:width].strip() for line in lines if not line.startswith("=")][:-1] if heads else []


def run(module: str, *arguments: str) -> str:
    command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout


def need_redis() -> None:
    need_packages("redis")
    find_program("redis-server")


def test_the_trials_of_flasks_cookie_and_ours_see_what_the_page_says() -> None:
    need_redis()
    ways = [behaviour.COOKIE, behaviour.REDIS]
    seen = cells(behaviour.table(behaviour.run(ways)))
    assert seen == {name: [row[0], row[-1]] for name, row in cells(TABLE).items()}


@THE_OTHERS
@pytest.mark.soak
def test_all_trials_see_what_the_page_says() -> None:
    need_redis()
    seen, told = cells(run("behaviour")), cells(TABLE)
    assert {name: row for name, row in seen.items() if name != "Trial"} == {
        name: row for name, row in told.items() if name != "Trial"
    }


@THE_OTHERS
def test_a_switch_costs_the_lines_and_the_users_that_the_page_says() -> None:
    need_redis()
    seen, told = cells(switches.table(switches.run())), cells(SWITCHES)
    times = switches.HEADS[-1]
    assert seen.pop(times)
    assert told.pop(times)
    assert seen == told


def test_a_switch_to_this_package_logs_nobody_out() -> None:
    ours = [
        column for column in zip(*cells(SWITCHES).values(), strict=True) if column[0].endswith("to flask_idlesession")
    ]
    assert len(ours) == 2
    assert not [column for column in ours if "logged out" in column]


@THE_OTHERS
def test_what_sessions_cost_can_be_measured_again() -> None:
    need_redis()
    told = first_column(COSTS)
    assert len(told) == 7
    assert first_column(run("costs", "--quick")) == told


def test_each_table_has_its_command() -> None:
    page = (CHECKOUT / "docs/compared.rst").read_text(encoding="utf-8")
    commands = "\n".join(block.code for block in blocks_of(page) if block.kind == "console")
    for path in FOLDER.glob("*.inc"):
        assert f"python -m benchmarks.{path.stem} --write docs/compared/{path.name}" in commands
