"""A census counts exactly where sessions are few, and by a fair sample where they are many."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from support.many_infos import a_store
from support.many_infos import an_info
from support.many_infos import NOW

from flask_idlesession import StoreUnavailable
from flask_idlesession.model.labels import TURN
from flask_idlesession.model.record import Record
from flask_idlesession.model.record import SessionInfo
from flask_idlesession.operations import census
from flask_idlesession.operations.census import CensusTaker
from flask_idlesession.operations.census import some_of
from flask_idlesession.stores.memory import MemoryStore


class Fewer:
    """A store that cannot count."""

    def __init__(self, store: MemoryStore) -> None:
        self.traits = replace(store.traits, counts=False)
        self.find = store.find


def test_few_sessions_are_counted_to_the_unit() -> None:
    infos = [an_info("ada", idle=600), an_info("ada"), an_info("bob"), an_info(), an_info(**{TURN: 1})]
    taken = CensusTaker(a_store(infos)).census(now=NOW)
    assert (taken.live, taken.is_live_exact, taken.is_sample, taken.is_least) == (4, True, False, False)
    assert (taken.signed_in, taken.users, taken.seen) == (3, 2, 4)
    assert taken.ages == [0.0, 0.0, 0.0, 600.0]
    assert taken.stored_bytes is not None and taken.stored_bytes > 100


def test_nothing_is_counted_in_an_empty_store() -> None:
    taken = CensusTaker(MemoryStore()).census(now=NOW)
    assert (taken.live, taken.users, taken.ages, taken.is_sample) == (0, 0, [], False)


@pytest.fixture
def _sees_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(census, "MOST_SEEN", 400)
    monkeypatch.setattr(census, "_MOST_SECONDS", 60.0)
    monkeypatch.setattr(census, "_SECONDS_FOR_USERS", 60.0)


@pytest.mark.usefixtures("_sees_few")
def test_many_are_estimated_by_a_fair_sample() -> None:
    """Of 6,000 sessions 4,000 are of 2,000 users; a third has been idle for long, and those were begun first."""
    infos = [
        an_info(None if number < 2000 else f"u{number % 2000}", idle=0 if number % 3 else 900) for number in range(6000)
    ]
    infos.sort(key=lambda info: info.last_seen_at)
    taken = CensusTaker(a_store(infos)).census(now=NOW)
    assert (taken.seen, taken.is_sample, taken.live, taken.is_live_exact) == (400, True, 6000, True)
    assert 3400 < taken.signed_in < 4600
    assert 1600 < taken.users < 2400
    assert 0.25 < sum(age > 0 for age in taken.ages) / 400 < 0.42


@pytest.mark.usefixtures("_sees_few")
def test_a_store_that_cannot_count_says_how_many_there_are_at_least() -> None:
    store: Any = Fewer(a_store([an_info() for _ in range(500)]))
    taken = CensusTaker(store).census(now=NOW)
    assert (taken.live, taken.is_least, taken.is_live_exact, taken.stored_bytes) == (400, True, False, None)


def test_requests_share_a_census_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    store = a_store([an_info()])
    taker = CensusTaker(store)
    first = taker.census(now=NOW)
    store.create(Record(info=an_info(), secret_digest=b"d" * 32, values={}))
    assert taker.census(now=NOW) is first
    taker.forget()
    assert taker.census(now=NOW).live == 2
    monkeypatch.setattr(census, "_FRESH", 0.0)
    store.create(Record(info=an_info(), secret_digest=b"d" * 32, values={}))
    assert taker.census(now=NOW).live == 3


def test_an_outage_is_raised_and_forgotten() -> None:
    store, answers = a_store([an_info()]), count()

    class Failing(Fewer):
        def __init__(self) -> None:
            super().__init__(store)
            self.find = self._find  # type: ignore[assignment,method-assign]

        def _find(self, *, now: float, user_id: str | None = None) -> Iterator[SessionInfo]:
            if next(answers) == 0:
                raise StoreUnavailable("down")
            return store.find(now=now, user_id=user_id)

    failing: Any = Failing()
    taker = CensusTaker(failing)
    with pytest.raises(StoreUnavailable):
        taker.census(now=NOW)
    assert taker.census(now=NOW).live == 1


def test_some_are_taken_by_number_and_by_time() -> None:
    infos = [an_info() for _ in range(200)]
    assert some_of(iter(infos), most=200, seconds=60) == (infos, False)
    assert some_of(iter(infos), most=199, seconds=60) == (infos[:199], True)
    assert some_of(iter(infos), most=200, seconds=0) == (infos[:128], True)
    assert some_of(iter(infos[:128]), most=200, seconds=0) == (infos[:128], False)
    assert some_of(iter([]), most=200, seconds=0) == ([], False)
