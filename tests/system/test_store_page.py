"""The store that the page on stores writes keeps the contract, as the page says."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.documents import blocks_of
from support.documents import CHECKOUT
from support.documents import programs_of

from flask_idlesession import Traits
from flask_idlesession.testing.store_contract import StoreContract

PAGE = (CHECKOUT / "docs/write-a-store.rst").read_text(encoding="utf-8")
NAMES = programs_of(CHECKOUT / "docs/write-a-store.rst")[0].run()


class TestThePagesStore(StoreContract):
    @pytest.fixture
    def make_store(self) -> Callable[[], Any]:
        return NAMES["DictStore"]  # type: ignore[no-any-return]


def test_the_files_of_the_page_are_a_suite_that_passes(tmp_path: Path) -> None:
    files = {block.caption: block.code for block in blocks_of(PAGE) if block.caption}
    assert files.keys() == {"dict_store.py", "test_dict_store.py"}
    for name, code in files.items():
        (tmp_path / name).write_text(f"{code}\n", encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-W",
        "error",
        "--strict-markers",
        "-k",
        "create or commit_never",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout


def test_the_page_has_every_trait() -> None:
    assert not [name for name in Traits.__dataclass_fields__ if f"\n``{name}``" not in PAGE]
