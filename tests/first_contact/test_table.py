"""Each row of the table has tests, and each of them fails when the package is broken as the table says."""

from pathlib import Path

import pytest
import test_first_contact
from support.mutated import copy_the_tests
from support.mutated import edited
from support.mutated import Mutation
from support.mutated import run_broken
from table import MUTATIONS
from table import TABLE

TESTS = [name for name in vars(test_first_contact) if name.startswith("test_")]


def test_each_row_and_each_test_has_an_edit() -> None:
    assert list(TABLE) == [f"A{number}" for number in range(1, 27)]
    assert all(TABLE.values())
    for mutation in MUTATIONS:
        assert len([name for name in TESTS if name.startswith(mutation.test)]) == 1, mutation.test
    assert not [name for name in TESTS if not any(name.startswith(mutation.test) for mutation in MUTATIONS)]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: f"{mutation.test} {mutation.file}")
def test_the_text_to_be_broken_is_there_once(mutation: Mutation) -> None:
    assert edited(mutation.file, mutation.old, mutation.new)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with all that the tests need, in which each of them breaks a package of its own."""
    folder = tmp_path_factory.mktemp("mutated")
    copy_the_tests(folder)
    return folder


@pytest.mark.soak
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: f"{mutation.test} {mutation.file}")
def test_the_test_fails_when_the_package_is_broken(mutation: Mutation, copy: Path) -> None:
    has_failed, printed = run_broken(mutation, copy, tests="tests/first_contact")
    assert has_failed, printed
