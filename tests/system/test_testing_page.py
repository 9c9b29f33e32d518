"""The page "Test your timeouts": its files, typed into an empty folder as they stand, are a suite that passes."""

import os
import re
import subprocess
import sys
from pathlib import Path

from support.documents import blocks_of
from support.documents import CHECKOUT
from support.programs import need_packages

TEXT = (CHECKOUT / "docs/testing.rst").read_text(encoding="utf-8")
FILES = {block.caption: block.code for block in blocks_of(TEXT) if block.kind == "python"}


def test_the_page_is_a_suite_that_passes(tmp_path: Path) -> None:
    need_packages("freezegun", "time_machine")
    for name, code in FILES.items():
        (tmp_path / name).write_text(f"{code}\n", encoding="utf-8")
    written = sum(len(re.findall(r"^ *def test_", code, re.MULTILINE)) for code in FILES.values())
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout
    assert f"{written} passed" in done.stdout
    assert written == 11


def test_each_block_has_a_name_to_be_typed_under() -> None:
    assert len(FILES) == len([block for block in blocks_of(TEXT) if block.kind == "python"]) == 7
    assert all(FILES)


def test_thirty_idle_minutes_are_a_test_of_four_lines() -> None:
    (test,) = re.findall(r"^def test_the_user_is_logged_out.*\n(?:    .*\n?)+", FILES["test_timeouts.py"], re.MULTILINE)
    assert len(test.splitlines()) == 4
