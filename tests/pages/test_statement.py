"""The accessibility statement: each line of it has a test that is there."""

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]


def test_each_test_of_the_accessibility_statement_is_there() -> None:
    page = (TESTS.parent / "docs" / "accessibility.rst").read_text(encoding="utf-8")
    named = set(re.findall(r"``(test_\w+)``", page))
    assert len(named) > 15
    sources = [path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py")]
    there = {name for source in sources for name in re.findall(r"def (test_\w+)\(", source)}
    assert named - there == set()
