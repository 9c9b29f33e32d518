"""Each test of this folder can fail: it does when the package is broken in the way that it watches for."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mutations import Mutation
from mutations import MUTATIONS

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def names_of_tests() -> list[str]:
    names = []
    for path in HERE.glob("test_*.py"):
        if path.name != "test_mutations.py":
            names += [node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]
    return [name for name in names if name.startswith("test_")]


def test_each_test_has_a_mutation_and_each_mutation_one_test() -> None:
    names = names_of_tests()
    for mutation in MUTATIONS:
        assert len([name for name in names if name.startswith(mutation.test)]) == 1, mutation.test
    assert len({mutation.test for mutation in MUTATIONS}) == len(MUTATIONS) == len(names)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.test)
def test_what_is_to_be_broken_is_there(mutation: Mutation) -> None:
    text = (ROOT / "flask_idlesession" / mutation.file).read_text()
    assert text.count(mutation.old) == 1, f"{mutation.file} has changed; find another way to break it."


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of all that the tests need, whose package each of them breaks anew."""
    folder = tmp_path_factory.mktemp("mutated")
    for name in ("tests", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "setup.cfg", folder)
    return folder


@pytest.mark.soak
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.test)
def test_the_test_fails_when_the_package_is_broken(mutation: Mutation, copy: Path) -> None:
    package = copy / "flask_idlesession"
    shutil.rmtree(package, ignore_errors=True)
    shutil.copytree(ROOT / "flask_idlesession", package, ignore=shutil.ignore_patterns("__pycache__"))
    path = package / mutation.file
    path.write_text(path.read_text().replace(mutation.old, mutation.new))
    (name,) = (name for name in names_of_tests() if name.startswith(mutation.test))
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "tests/asvs", "-k", name]
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "FAILED tests/asvs/" in done.stdout, done.stdout[-3000:] + done.stderr[-1000:]
