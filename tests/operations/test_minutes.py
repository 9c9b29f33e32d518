"""The last hour, and the last day, as all workers tallied them."""

from typing import Any

import pytest

from flask_idlesession.operations import minutes as module
from flask_idlesession.operations.minutes import DAY
from flask_idlesession.operations.minutes import HOUR
from flask_idlesession.operations.minutes import Minutes

PRESENT = 28_333_333


class Tallied:
    """Stands for what all workers tallied; it notes what was read."""

    def __init__(self) -> None:
        self.counter = type("Counter", (), {"clock": staticmethod(lambda: PRESENT * 60 + 5.0)})
        self.amounts: dict[int, dict[str, int]] = {}
        self.asked: list[int] = []

    def read(self, *, minutes: int) -> dict[int, dict[str, int]]:
        self.asked.append(minutes)
        return {at: amounts for at, amounts in self.amounts.items() if at > PRESENT - minutes}


@pytest.fixture
def tallied() -> Any:
    return Tallied()


def test_each_minute_has_a_step_and_the_live_sessions_follow_from_their_ends(tallied: Any) -> None:
    tallied.amounts = {
        PRESENT: {"created": 2, "ended.idle": 1},
        PRESENT - 1: {"created": 5},
        PRESENT - 59: {"ended.revoked": 3, "store_errors.unavailable": 4},
        PRESENT - 60: {"created": 99},
    }
    series = Minutes(tallied).series(HOUR, live=10)
    assert (series.begins_at, series.step, len(series.steps)) == ((PRESENT - 59) * 60, 60, 60)
    assert series.live[-4:] == [4, 4, 9, 10] and series.live[0] == 4
    assert [step.created for step in series.steps[-2:]] == [5, 2]
    assert series.steps[0].ended[module.REASONS.index("revoked")] == 3 and series.steps[0].errors == 4


def test_a_day_has_a_step_for_fifteen_minutes(tallied: Any) -> None:
    tallied.amounts = {PRESENT - ago: {"created": 1} for ago in range(DAY)}
    series = Minutes(tallied).series(DAY, live=None)
    assert (len(series.steps), series.step, series.live) == (96, 900, [])
    assert {step.created for step in series.steps} == {15}


def test_only_calls_that_requests_wait_for_count(tallied: Any) -> None:
    tallied.amounts = {PRESENT: {"store.load.1000": 9, "store.load.sum": 8000, "store.prune.inf": 50}}
    calls = Minutes(tallied).series(HOUR, live=0).steps[-1].calls
    assert calls.count == 9 and calls.quantile(0.99) <= 0.001


def test_the_last_minutes_are_summed(tallied: Any) -> None:
    tallied.amounts = {PRESENT - ago: {"created": 1, "store.load.1000": 1} for ago in range(60)}
    assert Minutes(tallied).last(10).created == 10
    assert Minutes(tallied).last(10).calls.count == 10
    tallied.amounts = {}
    assert Minutes(tallied).last(10).created == 0


def test_what_is_known_is_not_read_again(tallied: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tallied.amounts = {PRESENT - ago: {"created": 1} for ago in range(60)}
    minutes = Minutes(tallied)
    for _ in range(3):
        minutes.series(HOUR, live=0)
    assert tallied.asked == [HOUR]
    monkeypatch.setattr(minutes, "_fresh_until", 0.0)
    tallied.amounts[PRESENT]["created"] = 7
    assert minutes.series(HOUR, live=0).steps[-1].created == 7
    minutes.series(DAY, live=0)
    assert tallied.asked == [HOUR, 15, DAY]
