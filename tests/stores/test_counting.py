"""A database counts its sessions exactly where they are few, and by their random ids where they are many."""

from collections.abc import Iterable
from contextlib import closing
from random import Random
from uuid import UUID

import pytest
from sqlalchemy import create_engine

from flask_idlesession.model.record import Record
from flask_idlesession.model.record import SessionInfo
from flask_idlesession.stores.contract import Count
from flask_idlesession.stores.sqlalchemy import counting
from flask_idlesession.stores.sqlalchemy import SQLAlchemyStore

NOW = 1_700_000_000.0


def count_of(ids: Iterable[UUID]) -> Count:
    """Return the count of a store with these sessions."""
    engine = create_engine("sqlite://")
    try:
        with closing(SQLAlchemyStore(engine)) as store:
            for sid in ids:
                info = SessionInfo(
                    sid=sid, created_at=NOW, last_seen_at=NOW, idle_timeout=60.0, lifetime_ends_at=NOW + 3600
                )
                store.create(Record(info=info, secret_digest=b"d" * 32, values={}))
            return store.count()
    finally:
        engine.dispose()


@pytest.fixture(autouse=True)
def looks_at_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "_SOME", 100)
    monkeypatch.setattr(counting, "_AGREES", 0.5)


def test_few_are_counted() -> None:
    random = Random(1)
    found = count_of(UUID(int=random.getrandbits(128), version=4) for _ in range(99))
    assert found == Count(99, is_exact=True)


def test_many_are_estimated_by_their_random_ids() -> None:
    random = Random(1)
    found = count_of(UUID(int=random.getrandbits(128), version=4) for _ in range(800))
    assert not found.is_exact
    assert 640 < found.number < 960


def test_ids_that_are_not_random_are_counted() -> None:
    assert count_of(UUID(int=number) for number in range(300)) == Count(300, is_exact=True)
