"""Keeps at hand what all workers tallied in the last 24 hours, and draws it in steps: of a minute, or of fifteen."""

import time
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from .latency import Histogram
from .latency import histogram_of_all
from .tallies import ENDED
from .tallies import Tallies

HOUR, DAY = 60, 24 * 60

#: The minutes of one step, by the minutes that are shown.
STEPS = {HOUR: 1, DAY: 15}

#: The reasons of ends, as they are named in JSON.
REASONS = tuple(name.partition(".")[2] for name in ENDED.values())

#: The calls of the store that requests wait for.
_VERBS = ("load", "commit", "create", "delete")

#: Minutes that are read again each time, and the seconds after which all are: a worker that could not add what it
#: counted does so later.
_RECENT, _ALL_AFTER = 15, 600.0

#: Seconds for which the requests of one process share what was read.
_FRESH = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Minute:
    """The tallies of one minute, or of several."""

    created: int = 0
    #: The ends by reason, in the order of :data:`REASONS`.
    ended: tuple[int, ...] = (0,) * len(REASONS)
    #: How long calls of the store took.
    calls: Histogram
    errors: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """The steps of a span of time, the oldest first."""

    #: When the first step begins, in POSIX seconds, and the seconds of one step.
    begins_at: int
    step: int
    #: The sessions that were live at the end of each step, as follows from what began and ended; empty if unknown.
    live: Sequence[int]
    steps: Sequence[Minute]


class Minutes:
    """The last 24 hours of an application's tallies, as far as the process had to read them."""

    def __init__(self, tallies: Tallies) -> None:
        self._tallies = tallies
        self._known: dict[int, Minute] = {}
        # Until when the recent minutes, and by spans all of them, need not be read again.
        self._fresh_until = -inf
        self._whole_until = {HOUR: -inf, DAY: -inf}

    def series(self, span: int, *, live: int | None) -> Series:
        """Return the steps of the last ``span`` minutes. ``live``: the sessions that are live now.

        Raise :exc:`~flask_idlesession.StoreError` if the store does not answer.
        """
        present, known = int(self._tallies.counter.clock() // 60), self._read(span)
        step = STEPS[span]
        begin = present - span + 1
        steps = [
            total_of([known[each] for each in range(at, at + step) if each in known])
            for at in range(begin, present + 1, step)
        ]
        lives = [] if live is None else _lives(steps, live)
        return Series(begins_at=begin * 60, step=step * 60, live=lives, steps=steps)

    def last(self, minutes: int) -> Minute:
        """Return the sum of the last minutes, an hour's at most."""
        present, known = int(self._tallies.counter.clock() // 60), self._read(HOUR)
        return total_of([minute for at, minute in known.items() if present - minutes < at <= present])

    def _read(self, span: int) -> Mapping[int, Minute]:
        """Read what is not known, or may have changed."""
        began_at = time.monotonic()
        is_whole = began_at < self._whole_until[span]
        if is_whole and began_at < self._fresh_until:
            return self._known
        amounts = self._tallies.read(minutes=_RECENT if is_whole else span)
        known = {**self._known, **{minute: _minute(each) for minute, each in amounts.items()}}
        oldest = int(self._tallies.counter.clock() // 60) - DAY
        self._known = {minute: each for minute, each in known.items() if minute > oldest}
        self._fresh_until = began_at + _FRESH
        if not is_whole:
            self._whole_until[span] = began_at + _ALL_AFTER
        return self._known


def total_of(minutes: Sequence[Minute]) -> Minute:
    """Return the sums over some minutes."""
    if len(minutes) == 1:
        return minutes[0]
    calls = [minute.calls.counts for minute in minutes]
    return Minute(
        created=sum(minute.created for minute in minutes),
        ended=tuple(sum(column) for column in zip(*(minute.ended for minute in minutes), strict=True))
        or (0,) * len(REASONS),
        calls=Histogram(
            counts=[sum(column) for column in zip(*calls, strict=True)] or histogram_of_all({}).counts,
            total=sum(minute.calls.total for minute in minutes),
        ),
        errors=sum(minute.errors for minute in minutes),
    )


def _minute(amounts: Mapping[str, int]) -> Minute:
    waited = tuple(f"store.{verb}." for verb in _VERBS)
    return Minute(
        created=amounts.get("created", 0),
        ended=tuple(amounts.get(name, 0) for name in ENDED.values()),
        calls=histogram_of_all({name: amount for name, amount in amounts.items() if name.startswith(waited)}),
        errors=sum(amount for name, amount in amounts.items() if name.startswith("store_errors.")),
    )


def _lives(steps: Sequence[Minute], live: int) -> list[int]:
    lives = []
    for step in reversed(steps):
        lives.append(live)
        live = max(live - step.created + sum(step.ended), 0)
    return lives[::-1]
