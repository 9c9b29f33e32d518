"""Each fault that was found once has a test that fails when its remedy is taken out."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fault_mutations import Mutation
from fault_mutations import MUTATIONS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.fault)
def test_the_remedy_and_the_test_of_each_fault_are_there(mutation: Mutation) -> None:
    text = (ROOT / "flask_idlesession" / mutation.file).read_text(encoding="utf-8")
    assert text.count(mutation.old) == 1, f"{mutation.file} has changed; find another way to break it."
    tests = (ROOT / "tests" / mutation.path).read_text(encoding="utf-8")
    assert tests.count(f"def {mutation.test.partition('[')[0]}") == 1


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of all that the tests need, in which the package is broken once for each of them."""
    folder = tmp_path_factory.mktemp("faults")
    for name in ("tests", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.mark.soak
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.fault)
def test_the_test_fails_when_the_remedy_is_taken_out(mutation: Mutation, copy: Path) -> None:
    package = copy / "flask_idlesession"
    shutil.rmtree(package, ignore_errors=True)
    shutil.copytree(ROOT / "flask_idlesession", package, ignore=shutil.ignore_patterns("__pycache__"))
    path = package / mutation.file
    path.write_text(path.read_text(encoding="utf-8").replace(mutation.old, mutation.new), encoding="utf-8")
    name, _, parameters = mutation.test.partition("[")
    wanted = " and ".join([name, *parameters.rstrip("]").split("-")]) if parameters else name
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "0", "-p", "no:cacheprovider"]
    command += [f"tests/{mutation.path}", "-k", wanted]
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=180)
    broken = f"FAILED tests/{mutation.path}" in done.stdout or f"ERROR tests/{mutation.path}" in done.stdout
    assert done.returncode == 1 and broken, done.stdout[-3000:] + done.stderr[-1000:]
