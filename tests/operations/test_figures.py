"""Figures for monitoring: a count is cheap on every store, and an outage is an answer."""

from collections.abc import Iterator
from typing import Any

import pytest
from support.own_time import give_own_time

from flask_idlesession import MemoryStore
from flask_idlesession import SessionInfo
from flask_idlesession import SessionManager
from flask_idlesession import StoreUnavailable
from flask_idlesession.operations import figures
from flask_idlesession.operations.figures import FiguresReader
from flask_idlesession.stores.contract import Traits
from flask_idlesession.testing import FakeClock


class UncountedStore(MemoryStore):
    """A store that can list its sessions, and cannot count them."""

    lists = 0

    @property
    def traits(self) -> Traits:
        return Traits()

    def find(self, *, now: float, user_id: str | None = None) -> Iterator[SessionInfo]:
        self.lists += 1
        return super().find(now=now, user_id=user_id)


class SlowStore(MemoryStore):
    """A store that takes its time to count: ``instant`` is what the clock tells."""

    counted = 0
    instant = 1000.0
    takes = 0.0
    fails = False

    def count(self) -> Any:
        self.counted += 1
        if self.fails:
            raise StoreUnavailable("Nobody answers.")
        self.instant += self.takes
        return super().count()


def filled(store: MemoryStore, number: int) -> tuple[SessionManager, FakeClock]:
    clock = FakeClock()
    manager = SessionManager(store, clock=clock)
    for _ in range(number):
        manager.create({})
    return manager, clock


def test_a_count_that_takes_long_stands_for_fifty_times_as_long(monkeypatch: pytest.MonkeyPatch) -> None:
    store = SlowStore()
    give_own_time(monkeypatch, figures, monotonic=lambda: store.instant)
    manager, clock = filled(store, 2)
    with manager:
        reader = FiguresReader(store, tallies=None, clock=clock)
        store.takes = 0.2
        assert reader.read().live == 2
        manager.create({})
        for _ in range(10):
            store.instant += 0.9
            assert reader.read().live == 2 and store.counted == 1
        store.instant += 1.1
        assert reader.read().live == 3


def test_a_quick_count_is_of_this_moment() -> None:
    store = SlowStore()
    manager, clock = filled(store, 0)
    with manager:
        reader = FiguresReader(store, tallies=None, clock=clock)
        for number in range(1, 6):
            manager.create({})
            assert reader.read().live == number


def test_a_store_that_cannot_count_lists_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    store = UncountedStore()
    manager, clock = filled(store, 3)
    with manager:
        reader = FiguresReader(store, tallies=None, clock=clock)
        assert [reader.read().live for _ in range(5)] == [3] * 5
        assert store.lists == 1
        assert reader.read().stored_bytes is None
        monkeypatch.setattr(figures, "_LISTED_STANDS", 0.0)
        again = FiguresReader(store, tallies=None, clock=clock)
        clock.advance(10**9)
        assert again.read().live == 0, "A list has live sessions alone."


def test_more_sessions_than_are_listed_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "_MOST_LISTED", 5)
    for number, told in ((5, 5), (6, None)):
        manager, clock = filled(UncountedStore(), number)
        with manager:
            assert FiguresReader(manager.store, tallies=None, clock=clock).read().live == told


def test_an_outage_is_an_answer_and_no_old_number_is_told() -> None:
    store = SlowStore()
    manager, clock = filled(store, 2)
    with manager:
        store.fails = True
        found = FiguresReader(store, tallies=None, clock=clock).read()
    assert found.is_circuit_open and found.live is None and found.stored_bytes is None and found.totals is None
