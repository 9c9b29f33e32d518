"""Adds up what all workers count, in the store that they share, and reads it back.

These are the names of the amounts. None has a user, a session or an address in it. Amounts of a beat are no sums over
time: each minute has what the processes knew then, and their totals mean nothing.

====================================  ==================================================================================
``created``                           sessions that began
``ended.REASON``                      ended sessions: ``idle``, ``lifetime``, ``logged-out``, ``revoked``, ``evicted``
``log_ins``                           log-ins
``log_ins_refused``                   log-ins of users who have as many sessions as they may have
``bad_tokens``                        requests with a cookie, or a token header, that is no token of the application
``requests.ENDPOINT``                 requests of an endpoint: of 200 at most, else ``(others)``; ``(none)`` without one
``store.VERB.MICROSECONDS``           calls of the store that took as long or less, and longer than the bucket before
                                      (:data:`.latency.BOUNDS`); ``inf`` for those that took longer
``store.VERB.sum``                    the microseconds that these calls took together
``store_errors.KIND``                 calls that failed: ``unavailable``, ``rejected``, ``unreadable``, ``other``
``beat.ENDPOINT.judged``              sessions that asked for it more than once in the last 20 minutes
``beat.ENDPOINT.MILLISECONDS``        those of the judged sessions that asked at this period
``beat.ENDPOINT.sure``                those of them that asked three times or more
``beat.ENDPOINT.opened``              sessions whose users opened it by hand, as their browsers said
``beat.ENDPOINT.left``                sessions that asked once, and no more
``beat.ENDPOINT.spread``              milliseconds by which the sure ones were early or late at most: their sum
``beat.ENDPOINT.evidence``            bits that speak for a beat and against chance: their sum
``beat.(processes).judged``           processes that have judged in this minute
====================================  ==================================================================================
"""

import atexit
import time
from collections.abc import Mapping
from math import inf
from weakref import WeakSet

from ..model.errors import StoreError
from ..model.messages import Notices
from ..model.record import EndReason
from ..model.signals import log_in_refused
from ..model.signals import session_created
from ..model.signals import session_ended
from ..model.signals import session_logged_in
from ..process.background import cleaner
from ..stores.contract import keeps_tallies
from ..stores.contract import KeepsTallies
from ..stores.contract import Store
from ..stores.memory.tallies import TalliesInMemory
from .beats import Beats
from .event_counter import EventCounter
from .event_counter import SOON
from .health import kind_of
from .polling import Poller
from .polling import pollers_in

#: Seconds between two times that a process adds what it counted. If it is killed, it loses so much.
FLUSHED_EACH = 10.0

#: The names of ends, by their reasons.
ENDED: Mapping[EndReason, str] = {reason: f"ended.{reason.value.replace(' ', '-')}" for reason in EndReason}


class Tallies:
    """The tallies of one application, over all its processes. It does not keep the application alive.

    Each process adds what it counted every :data:`FLUSHED_EACH` seconds and at exit, in the background; nothing is
    written while nothing happened. A failure disturbs no request: what was not written is added with the next try. Of
    a store that keeps none (:attr:`is_shared` is False) the tallies are those of this process alone.
    """

    def __init__(self, app: object, store: Store, counter: EventCounter, *, notices: Notices) -> None:
        self.counter = counter
        #: The requests of this process in which polls are looked for.
        self.beats = Beats()
        #: Objects that count for these tallies, and live as long.
        self.kept: list[object] = []
        kept = keeps_tallies(store)
        #: Whether the tallies are those of all processes that share the store.
        self.is_shared = kept is not None
        self._notices = notices
        if kept is None:
            notices.warn(
                "tallies",
                "The store is a %s, which keeps no tallies. Each process has those of its own requests alone. [ISW030]",
                kind_of(store),
            )
        self._keeper: KeepsTallies | _OfThisProcess = _OfThisProcess() if kept is None else kept
        self._due = inf
        for signal, receiver in (
            (session_created, self._note_created),
            (session_ended, self._note_end),
            (session_logged_in, self._note_log_in),
            (log_in_refused, self._note_refusal),
        ):
            signal.connect(receiver, app)
        cleaner.register(self)
        _all.add(self)

    # The reading part: any worker answers for all.

    def read(self, *, minutes: int = 60) -> Mapping[int, Mapping[str, int]]:
        """Return the amounts by name of each of the last ``minutes`` minutes (POSIX seconds // 60) that has any.

        The present minute is among them, and at most 24 hours are kept. Counts of this process are in it up to now,
        those of others up to ten seconds ago. Raise :exc:`~flask_idlesession.StoreError` if the store does not answer.
        """
        self.flush()
        return self._keeper.tallies(since=int(self.counter.clock() // 60) - minutes + 1)

    def totals(self) -> Mapping[str, int]:
        """Return the sums of all amounts since the store began, by name: none ever falls, whichever worker answers.

        Raise :exc:`~flask_idlesession.StoreError` if the store does not answer.
        """
        self.flush()
        return self._keeper.tally_totals()

    def pollers(self, *, minutes: int = 15) -> list[Poller]:
        """Return the endpoints that pages asked for at a fixed beat in the last ``minutes`` minutes.

        One that is passive is not among them, for its requests are no activity.

        Raise :exc:`~flask_idlesession.StoreError` if the store does not answer.
        """
        return pollers_in(self.read(minutes=minutes))

    # The writing part.

    def run(self) -> float:
        """Add what was counted if it is time to; return in how many seconds to come again. The cleaner calls this.

        While nothing is counted it need not come: the first count wakes it.
        """
        if not self.counter.are_waiting:
            self._due = inf
            return inf
        now = time.monotonic()
        if self._due == inf:
            self._due = now + FLUSHED_EACH - SOON
        elif now >= self._due:
            self._due = inf if self.flush() else now + FLUSHED_EACH
        return self._due - now

    def flush_without_cleaner(self) -> None:
        """Add what was counted if it is time to and no thread does so: a server may run none."""
        if cleaner.thread is None:
            self.run()

    def flush(self) -> bool:
        """Add what this process counted to the store's tallies; return whether that is done."""
        now = self.counter.clock()
        for name, amount in self.beats.judge_if_due(now=now):
            self.counter.count(name, amount)
        taken = self.counter.take()
        while taken:
            minute = min(taken)
            try:
                self._keeper.add_tally(minute, taken[minute], now=now)
            except StoreError as error:
                self.counter.put_back(taken)
                self._notices.warn("tallies", "The tallies cannot be kept: %s [ISW030]", error)
                return False
            del taken[minute]
        return True

    def _note_created(self, sender: object, **_: object) -> None:
        self.counter.count("created")

    def _note_end(self, sender: object, reason: EndReason, **_: object) -> None:
        self.counter.count(ENDED[reason])

    def _note_log_in(self, sender: object, **_: object) -> None:
        self.counter.count("log_ins")

    def _note_refusal(self, sender: object, **_: object) -> None:
        self.counter.count("log_ins_refused")


class _OfThisProcess:
    """Keeps tallies where the store does not."""

    def __init__(self) -> None:
        self._kept = TalliesInMemory()
        self.add_tally = self._kept.add
        self.tally_totals = self._kept.totals

    def tallies(self, *, since: int) -> Mapping[int, Mapping[str, int]]:
        return self._kept.since(since)


def summed(by_minute: Mapping[int, Mapping[str, int]]) -> dict[str, int]:
    """Return the sums of the amounts of all these minutes, by name."""
    sums: dict[str, int] = {}
    for amounts in by_minute.values():
        for name, amount in amounts.items():
            sums[name] = sums.get(name, 0) + amount
    return sums


_all: "WeakSet[Tallies]" = WeakSet()


def _flush_all() -> None:
    """Add what was counted until the end of the process, the cleaner's last pass included."""
    if not _all:
        return
    cleaner.stop()
    for tallies in list(_all):
        tallies.flush()


atexit.register(_flush_all)
