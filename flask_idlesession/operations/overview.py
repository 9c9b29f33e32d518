"""Puts together what an operator sees of an application at one moment."""

import time
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from ..model.clock import Clock
from ..model.errors import StoreError
from ..model.policy import Policy
from ..process.background import cleaner
from ..stores.contract import Store
from .census import Census
from .census import CensusTaker
from .checks import Finding
from .health import kind_of
from .idle_ages import asked_more
from .idle_ages import Bar
from .idle_ages import bars_of
from .minutes import Minute
from .minutes import Minutes
from .minutes import Series
from .polling import Poller
from .tallies import Tallies

#: Minutes over which the tiles say how fast sessions begin and end, and how fast the store is.
RECENT = 10

#: Seconds for which findings, and the number of processes, need not be looked for again.
_FINDINGS_FRESH, _WORKERS_FRESH = 60.0, 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The findings of the checks, and the endpoints that pages ask for by themselves."""

    findings: Sequence[Finding]
    pollers: Sequence[Poller]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The figures of one moment. None: the store does not answer."""

    at: float
    kind: str
    idle_timeout: float
    census: Census | None
    bars: Sequence[Bar]
    #: Shorter idle timeouts, each with the part of the sessions that would be over by now with it.
    asked_more: Sequence[tuple[float, float]]
    series: Series | None
    #: The last :data:`RECENT` minutes, and the last hour.
    recent: Minute | None
    hour: Minute | None
    #: Whether the tallies are those of all workers.
    is_shared: bool
    #: Seconds since the cleaner of this process finished a pass; None before its first.
    cleaned_ago: float | None
    #: The processes of this host that serve the application.
    workers: int
    found: Found


class OverviewReader:
    """Reads overviews of one application. ``look`` runs the checks, ``count_workers`` counts processes."""

    def __init__(
        self,
        store: Store,
        tallies: Tallies,
        *,
        clock: Clock,
        policy: Policy,
        look: Callable[[], Sequence[Finding]],
        count_workers: Callable[[], int],
    ) -> None:
        self.census_taker = CensusTaker(store)
        self._kind = kind_of(store)
        self._tallies = tallies
        self._minutes = Minutes(tallies)
        self._clock = clock
        self._policy = policy
        self._look = look
        self._count_workers = count_workers
        self._found = Found(findings=(), pollers=())
        self._found_until = self._workers_until = -inf
        self._workers = 1

    def read(self, *, span: int) -> Overview:
        """Return what is to be seen now, and of the last ``span`` minutes. An outage is an answer, no error."""
        census, minutes = None, self._minutes
        series = recent = hour = None
        try:
            census = self.census_taker.census(now=self._clock())
            series = minutes.series(span, live=census.live)
            recent, hour = minutes.last(RECENT), minutes.last(60)
        except StoreError:
            pass  # The page says so, and the log of the store's failures why.
        timeout = self._policy.idle_timeout
        ages = () if census is None else census.ages
        return Overview(
            at=self._clock(),
            kind=self._kind,
            idle_timeout=timeout,
            census=census,
            bars=bars_of(ages, timeout=timeout),
            asked_more=asked_more(ages, timeout=timeout),
            series=series,
            recent=recent,
            hour=hour,
            is_shared=self._tallies.is_shared,
            cleaned_ago=cleaner.last_pass_ago,
            workers=self._processes(),
            found=self._findings() if census is not None else self._found,
        )

    def _findings(self) -> Found:
        began_at = time.monotonic()
        if began_at >= self._found_until:
            self._found_until = began_at + _FINDINGS_FRESH  # Before they are looked for: one request does that.
            try:
                self._found = Found(findings=self._look(), pollers=self._tallies.pollers())
            except StoreError:
                self._found_until = -inf
        return self._found

    def _processes(self) -> int:
        began_at = time.monotonic()
        if began_at >= self._workers_until:
            self._workers_until = began_at + _WORKERS_FRESH
            self._workers = max(self._count_workers(), 1)
        return self._workers
