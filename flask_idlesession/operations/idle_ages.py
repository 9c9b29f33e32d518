"""Draws how long sessions have been idle against the idle timeout: whether it is too long, or too short."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

#: The number of bars up to the idle timeout.
BARS = 20

#: The parts of the idle timeout that are tried as a shorter one.
_SHORTER = (1 / 3, 2 / 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """The sessions that have been idle for between ``since`` and ``until`` seconds; None: for longer."""

    since: float
    until: float | None
    number: int


def bars_of(ages: Sequence[float], *, timeout: float) -> list[Bar]:
    """Return the bars of these ages, which are in order.

    The last one is of sessions beyond the timeout, which have a longer one of their own.
    """
    bounds = [timeout * number / BARS for number in range(BARS + 1)]
    places = [bisect_left(ages, bound) for bound in bounds]
    bars = [
        Bar(since=bounds[number], until=bounds[number + 1], number=places[number + 1] - places[number])
        for number in range(BARS)
    ]
    return [*bars, Bar(since=timeout, until=None, number=len(ages) - places[-1])]


def asked_more(ages: Sequence[float], *, timeout: float) -> list[tuple[float, float]]:
    """Return for some shorter timeouts the part of the sessions, from 0 to 1, that would be over by now with them.

    Their users would have to log in again. Sessions beyond the present timeout have one of their own, and stay.
    """
    within = ages[: bisect_left(ages, timeout)]
    if not within:
        return []
    shorter = (timeout * part for part in _SHORTER)
    return [(each, (len(within) - bisect_left(within, each)) / len(within)) for each in shorter]
