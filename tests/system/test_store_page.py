"""The store that the page on stores writes keeps the contract, as the page says."""

from collections.abc import Callable
from typing import Any

import pytest
from support.documents import CHECKOUT
from support.documents import programs_of

from flask_idlesession import Traits
from flask_idlesession.testing.store_contract import StoreContract

NAMES = programs_of(CHECKOUT / "docs/write-a-store.rst")[0].run()


class TestThePagesStore(StoreContract):
    @pytest.fixture
    def make_store(self) -> Callable[[], Any]:
        return NAMES["DictStore"]  # type: ignore[no-any-return]


def test_the_pages_test_class_inherits_the_suite() -> None:
    assert issubclass(NAMES["TestDictStore"], StoreContract)


def test_the_page_has_every_trait() -> None:
    page = (CHECKOUT / "docs/write-a-store.rst").read_text(encoding="utf-8")
    assert not [name for name in Traits.__dataclass_fields__ if f"\n``{name}``" not in page]
