"""The accessibility statement: each line of it has a test that is there, and each check of a browser one in Firefox too
where the statement says so.
"""

import re
from collections.abc import Mapping
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "accessibility.rst").read_text(encoding="utf-8")

#: The checks that have a test in Firefox.
IN_FIREFOX = {1, 2, 3, 4, 5, 6, 7, 8, 22}


def names_in(text: str) -> list[str]:
    return re.findall(r"``(test_\w+)``", text)


def defined_in(*paths: Path) -> set[str]:
    return {name for path in paths for name in re.findall(r"def (test_\w+)\(", path.read_text(encoding="utf-8"))}


def checks() -> Mapping[int, tuple[bool, list[str]]]:
    """Return the checks of the table by number: whether Firefox runs them, and their tests."""
    table = PAGE.partition("The checks in a browser")[2]
    rows = [row.split("\n     - ") for row in re.split(r"\n   \* - ", table)[2:]]
    return {int(number): (firefox == "yes", names_in(tests)) for number, _, firefox, tests in rows}


def test_each_test_of_the_accessibility_statement_is_there() -> None:
    named = set(names_in(PAGE))
    assert len(named) > 15
    assert named - defined_in(*TESTS.rglob("test_*.py")) == set()


def test_each_of_the_28_checks_has_its_test() -> None:
    table = checks()
    assert sorted(table) == list(range(1, 29))
    assert all(tests for _, tests in table.values())
    assert {number for number, (is_in_firefox, _) in table.items() if is_in_firefox} == IN_FIREFOX


def test_each_check_that_is_said_to_run_in_firefox_does() -> None:
    sources = defined_in(TESTS / "pages" / "test_firefox.py")
    for number in IN_FIREFOX:
        assert set(checks()[number][1]) & sources, number
