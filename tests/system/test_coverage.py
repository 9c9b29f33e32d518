"""How much of the package the tests run: no less than setup.cfg says. This run is marked, for it takes minutes."""

import configparser
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.documents import CHECKOUT
from support.programs import need_packages

SETUP = configparser.ConfigParser()
SETUP.read(CHECKOUT / "setup.cfg")


def test_there_is_a_floor() -> None:
    assert SETUP.getint("coverage:report", "fail_under") >= 80
    assert SETUP.getboolean("coverage:run", "branch")


@pytest.mark.soak
def test_the_tests_run_as_much_of_the_package_as_the_floor_says(tmp_path: Path) -> None:
    need_packages("coverage")
    environment = {**os.environ, "COVERAGE_FILE": str(tmp_path / "coverage"), "PYTEST_ADDOPTS": "-p no:cacheprovider"}

    def coverage(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "coverage", *arguments]
        return subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True)

    ran = coverage("run", "-m", "pytest", "-q")  # A plain run, which leaves out what is marked.
    assert ran.returncode in (0, 1), ran.stdout[-2000:]  # One that measures time may fail where everything is slower.
    coverage("combine", "-q")  # It leaves out the file of a program that was killed while it wrote it.
    report = coverage("report")
    assert report.returncode == 0, report.stdout
