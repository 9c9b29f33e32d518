"""Breaks a copy of the package in one place, and runs a test that must notice: the proof that the test can fail."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Mutation:
    """In ``file`` the text ``old``, which is there once, becomes ``new``: then ``test`` fails."""

    test: str
    file: str
    old: str
    new: str

    def count(self) -> int:
        """Return how often the package has the text that is to be broken."""
        return (ROOT / "flask_idlesession" / self.file).read_text(encoding="utf-8").count(self.old)


def copy_the_tests(folder: Path) -> None:
    """Copy to a folder what the tests need beside the package."""
    for name in ("tests", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "setup.cfg", folder)


def run_broken(mutation: Mutation, folder: Path, *, tests: str) -> tuple[bool, str]:
    """Break the package in the folder, and run the mutation's test, which is in ``tests``.

    Return whether the test failed, and what pytest printed.
    """
    package = folder / "flask_idlesession"
    shutil.rmtree(package, ignore_errors=True)
    shutil.copytree(ROOT / "flask_idlesession", package, ignore=shutil.ignore_patterns("__pycache__"))
    path = package / mutation.file
    path.write_text(path.read_text(encoding="utf-8").replace(mutation.old, mutation.new), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-n", "0", tests]
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [*command, "-k", mutation.test], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )
    return done.returncode == 1 and f"FAILED {tests}" in done.stdout, done.stdout[-3000:] + done.stderr[-1000:]
