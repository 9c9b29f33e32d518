"""Bars and sentences of how long sessions have been idle."""

from flask_idlesession.operations.idle_ages import asked_more
from flask_idlesession.operations.idle_ages import BARS
from flask_idlesession.operations.idle_ages import bars_of


def test_every_age_is_in_one_bar() -> None:
    ages = [0.0, 1.0, 89.9, 90.0, 1799.9, 1800.0, 5000.0]
    bars = bars_of(ages, timeout=1800)
    assert len(bars) == BARS + 1
    assert sum(bar.number for bar in bars) == len(ages)
    assert [bar.number for bar in bars if bar.number] == [3, 1, 1, 2]
    assert (bars[0].since, bars[0].until, bars[-1].since, bars[-1].until) == (0, 90, 1800, None)


def test_a_shorter_timeout_would_have_ended_those_that_were_idle_for_longer() -> None:
    ages = [0.0] * 6 + [700.0] * 3 + [1500.0]
    assert asked_more(ages, timeout=1800) == [(600, 0.4), (1200, 0.1)]


def test_sessions_with_a_longer_timeout_of_their_own_do_not_count_there() -> None:
    assert asked_more([0.0, 9000.0], timeout=1800) == [(600, 0.0), (1200, 0.0)]


def test_without_sessions_nothing_is_said() -> None:
    assert asked_more([], timeout=1800) == []
    assert [bar.number for bar in bars_of([], timeout=1800)] == [0] * (BARS + 1)
