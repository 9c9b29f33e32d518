"""Each test of this folder can fail: it does when the package is broken in the way that it watches for."""

import ast
from pathlib import Path

import pytest
from mutations import MUTATIONS
from support.mutated import copy_the_tests
from support.mutated import edited
from support.mutated import Mutation
from support.mutated import run_broken

HERE = Path(__file__).parent


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
def test_the_text_to_be_broken_is_there_once(mutation: Mutation) -> None:
    assert edited(mutation.file, mutation.old, mutation.new)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with all that the tests need, in which each of them breaks a package of its own."""
    folder = tmp_path_factory.mktemp("mutated")
    copy_the_tests(folder)
    return folder


@pytest.mark.soak
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.test)
def test_the_test_fails_when_the_package_is_broken(mutation: Mutation, copy: Path) -> None:
    has_failed, printed = run_broken(mutation, copy, tests="tests/asvs")
    assert has_failed, printed
