"""Each fault that was found once has a test that fails when its remedy is taken out."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fault_mutations import Mutation
from fault_mutations import MUTATIONS
from support.mutated import break_package
from support.mutated import copy_the_tests
from support.mutated import edited

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.fault)
def test_the_remedy_and_the_test_of_each_fault_are_there(mutation: Mutation) -> None:
    assert edited(mutation.file, mutation.old, mutation.new)
    tests = (ROOT / "tests" / mutation.path).read_text(encoding="utf-8")
    assert tests.count(f"def {mutation.test.partition('[')[0]}") == 1


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of all that the tests need, in which the package is broken once for each of them."""
    folder = tmp_path_factory.mktemp("faults")
    copy_the_tests(folder)
    return folder


@pytest.mark.soak
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.fault)
def test_the_test_fails_when_the_remedy_is_taken_out(mutation: Mutation, copy: Path) -> None:
    break_package(copy, mutation.file, mutation.old, mutation.new)
    name, _, parameters = mutation.test.partition("[")
    wanted = " and ".join([name, *parameters.rstrip("]").split("-")]) if parameters else name
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "0", "-p", "no:cacheprovider"]
    command += [f"tests/{mutation.path}", "-k", wanted]
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=180)
    broken = f"FAILED tests/{mutation.path}" in done.stdout or f"ERROR tests/{mutation.path}" in done.stdout
    assert done.returncode == 1 and broken, done.stdout[-3000:] + done.stderr[-1000:]
