"""Reads the figures that monitoring is told: how many sessions there are, what became of others, how the store is."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice

from ..model.clock import Clock
from ..model.errors import StoreError
from ..process.background import cleaner
from ..stores.circuit_breaker import CircuitBreaker
from ..stores.contract import counts
from ..stores.contract import Store
from .tallies import Tallies

#: A count that took this many seconds or more stands for fifty times as long. So at most a fiftieth of the time goes
#: into counting.
_LONG = 0.1
_STANDS = 50.0

#: How many sessions of a store that cannot count are listed to be counted, and for how many seconds that stands at
#: least.
_MOST_LISTED = 10_000
_LISTED_STANDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The figures of one application's sessions, at one moment. None: it is not known."""

    #: How many sessions there are; those count as well that expired within the last second and are not forgotten yet.
    live: int | None
    #: Bytes that the sessions take, or the file or server that holds them.
    stored_bytes: int | None
    #: The counts of all processes together, by the names of :mod:`.tallies`. None of these numbers ever falls.
    totals: Mapping[str, int] | None
    #: Whether calls of the store are refused, because it is down or cannot be written.
    is_circuit_open: bool
    #: Seconds since the cleaner of this process finished a pass.
    cleaned_ago: float | None


class FiguresReader:
    """Reads the figures of one store. ``tallies`` is None where nothing is counted.

    Several threads may read at once; then each may count.
    """

    def __init__(self, store: Store, *, tallies: Tallies | None, clock: Clock) -> None:
        self._store = store
        self._tallies = tallies
        self._clock = clock
        self._live: int | None = None
        self._live_until = 0.0

    def read(self) -> Figures:
        """Return the figures of now. An outage is an answer: what only the store knows is then None."""
        live = stored_bytes = totals = None
        is_up = True
        try:
            live = self._count()
            stored_bytes = self._bytes()
            totals = None if self._tallies is None else self._tallies.totals()
        except StoreError:
            is_up, live, stored_bytes = False, None, None
        store = self._store
        is_refused = isinstance(store, CircuitBreaker) and (store.is_down or store.refuses_writes)
        return Figures(
            live=live,
            stored_bytes=stored_bytes,
            totals=totals,
            is_circuit_open=is_refused or not is_up,
            cleaned_ago=cleaner.last_pass_ago,
        )

    def _count(self) -> int | None:
        began_at = time.monotonic()
        if began_at < self._live_until:
            return self._live
        counting = counts(self._store)
        least = 0.0 if counting is not None else _LISTED_STANDS
        self._live = self._list() if counting is None else counting.count().number
        now = time.monotonic()
        took = now - began_at
        self._live_until = now + max(_STANDS * took if took >= _LONG else 0.0, least)
        return self._live

    def _list(self) -> int | None:
        """Count the sessions by a list of them; None if they are many."""
        found = self._store.find(now=self._clock())
        number = sum(1 for _ in islice(found, _MOST_LISTED + 1))
        return None if number > _MOST_LISTED else number

    def _bytes(self) -> int | None:
        counting = counts(self._store)
        return None if counting is None else counting.stored_bytes()
