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


def edited(file: str, old: str, new: str) -> str:
    """Return the text of a module of the package in which ``old``, which is there once, has become ``new``."""
    text = (ROOT / "flask_idlesession" / file).read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{file} has changed; find another way to break it."
    broken = text.replace(old, new)
    if file.endswith(".py"):
        compile(broken, file, "exec")  # A module that cannot be imported fails each test, whatever that watches for.
    return broken


def break_package(folder: Path, file: str, old: str, new: str) -> None:
    """Put a copy of the package into the folder, edited in this way."""
    package = folder / "flask_idlesession"
    shutil.rmtree(package, ignore_errors=True)
    shutil.copytree(ROOT / "flask_idlesession", package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / file).write_text(edited(file, old, new), encoding="utf-8")


def copy_the_tests(folder: Path) -> None:
    """Copy to a folder what the tests need beside the package."""
    for name in ("tests", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)


def run_broken(mutation: Mutation, folder: Path, *, tests: str) -> tuple[bool, str]:
    """Break the package in the folder, and run the mutation's test, which is in ``tests``.

    Return whether the test failed, and what pytest printed.
    """
    break_package(folder, mutation.file, mutation.old, mutation.new)
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-n", "0", tests]
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [*command, "-k", mutation.test], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )
    return done.returncode == 1 and f"FAILED {tests}" in done.stdout, done.stdout[-3000:] + done.stderr[-1000:]
