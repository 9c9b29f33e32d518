"""Measures how long the calls of a store take, and which of them fail."""

import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import cast
from typing import ParamSpec
from typing import Protocol
from typing import TypeVar

from ..model.errors import StoreError
from ..model.ids import SessionId
from ..model.record import Change
from ..model.record import Ending
from ..model.record import Outcome
from ..model.record import Record
from ..model.record import SessionInfo
from ..process.background import cleaner
from .contract import Advising
from .contract import Chunked
from .contract import Count
from .contract import Counts
from .contract import EndNews
from .contract import Evicting
from .contract import HasClock
from .contract import HasFacts
from .contract import InProcess
from .contract import KeepsTallies
from .contract import Recalling
from .contract import Store
from .contract import TellsEnds
from .contract import Touch
from .contract import Traits

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Gauge(Protocol):
    """Is told of each call that is measured."""

    def note_call(self, verb: str, seconds: float) -> None:
        """Note a call that was answered."""

    def note_failure(self, error: StoreError) -> None:
        """Note a call that failed."""


class TimedStore:
    """A store that tells a gauge how long each call of another took.

    Listing sessions is not measured, for its caller takes its time between two of them. Neither are the questions of
    the cleaner, which go on while nothing happens; of its calls only those count that forget sessions. ``touch`` and
    ``fades_at`` take no round trip, and are not measured.
    """

    def __init__(self, store: Store, gauge: Gauge) -> None:
        self.store = store
        self._gauge = gauge

    @property
    def traits(self) -> Traits:
        """The traits of the other store."""
        return self.store.traits

    def __bool__(self) -> bool:
        return True

    def create(self, record: Record) -> None:
        """Keep a new record. Raise :exc:`~flask_idlesession.SessionExists` if its id is taken."""
        self._time("create", self.store.create, record)

    def load(self, sid: SessionId, *, now: float, touch: Touch | None = None) -> Record | None:
        """Return a copy of the record if it is live, else None; with ``touch``, note activity in the same step."""
        return self._time("load", self.store.load, sid, now=now, touch=touch)

    def commit(self, sid: SessionId, change: Change, *, now: float) -> Outcome:
        """Apply the change in one step, if the session is live and opens to the change's holder; return the outcome."""
        return self._time("commit", self.store.commit, sid, change, now=now)

    def delete(self, sid: SessionId) -> bool:
        """Forget the session; return whether there was one."""
        return self._time("delete", self.store.delete, sid)

    def delete_many(self, sids: Sequence[SessionId]) -> Sequence[SessionInfo]:
        """Forget these sessions in one step; return the infos of those that were there."""
        return self._time("delete_many", cast(Chunked, self.store).delete_many, sids)

    def find(self, *, now: float, user_id: str | None = None) -> Iterator[SessionInfo]:
        """Yield the infos of the sessions that are live at ``now``, in no order; with ``user_id``, only that user's."""
        return self._each(self.store.find(now=now, user_id=user_id))

    def find_unlisted(self, *, now: float, user_id: str | None = None) -> Iterator[SessionInfo]:
        """Yield the live sessions as :meth:`find` does, also those that no list names any more."""
        return self._each(cast(Evicting, self.store).find_unlisted(now=now, user_id=user_id))

    def prune(self, *, now: float, limit: int) -> Sequence[SessionInfo]:
        """Forget up to ``limit`` sessions that have expired; return their infos, each once."""
        return self._time("prune", self.store.prune, now=now, limit=limit)

    def next_expiry(self) -> float | None:
        """Return an instant before which :meth:`prune` has nothing to do; None if there is nothing to wait for."""
        return self._time("next_expiry", self.store.next_expiry)

    def bury(self, endings: Sequence[Ending], *, until: float) -> None:
        """Remember until the instant ``until`` how these sessions ended."""
        self._time("bury", self.store.bury, endings, until=until)

    def ending(self, sid: SessionId, *, now: float) -> Ending | None:
        """Return how the session ended, or None if that is not remembered at ``now``."""
        return self._time("ending", self.store.ending, sid, now=now)

    def endings(self, sids: Sequence[SessionId], *, now: float) -> Sequence[Ending]:
        """Return how these sessions ended, as far as that is remembered at ``now``."""
        return self._time("endings", cast(Recalling, self.store).endings, sids, now=now)

    def tell_ends(self, endings: Sequence[Ending]) -> None:
        """Tell all processes that subscribed how these sessions ended."""
        self._time("tell_ends", cast(TellsEnds, self.store).tell_ends, endings)

    def hear_ends(self) -> EndNews | None:
        """Return a new subscription; None where none can be had."""
        return cast(TellsEnds, self.store).hear_ends()

    def fades_at(self, sid: SessionId) -> float:
        """Return the instant when less than half of the idle timeout is left; ``inf`` if there is no session."""
        return cast(InProcess, self.store).fades_at(sid)

    def touch(self, sid: SessionId, holder: bytes, now: float) -> bool:
        """Note activity at ``now``, if nothing else has to be noted; return whether that was done."""
        return cast(InProcess, self.store).touch(sid, holder, now)

    def advice(self) -> Sequence[str]:
        """Return how the server should be set up and is not: one text for each fault."""
        return cast(Advising, self.store).advice()

    def facts(self) -> Mapping[str, object]:
        """Return what the other store tells of its server or file, by name."""
        return cast(HasFacts, self.store).facts()

    def clock_skew(self, now: float) -> float:
        """Return by how many seconds ``now`` is ahead of the server's clock."""
        return cast(HasClock, self.store).clock_skew(now)

    def add_tally(self, minute: int, amounts: Mapping[str, int], *, now: float) -> None:
        """Have the other store add these amounts."""
        cast(KeepsTallies, self.store).add_tally(minute, amounts, now=now)

    def tallies(self, *, since: int) -> Mapping[int, Mapping[str, int]]:
        """Return the amounts of each minute from ``since`` on."""
        return cast(KeepsTallies, self.store).tallies(since=since)

    def tally_totals(self) -> Mapping[str, int]:
        """Return the sums of all amounts."""
        return cast(KeepsTallies, self.store).tally_totals()

    def count(self) -> Count:
        """Return how many records the other store has."""
        return cast(Counts, self.store).count()

    def stored_bytes(self) -> int | None:
        """Return how many bytes the records take, if the other store can tell."""
        return cast(Counts, self.store).stored_bytes()

    def close(self) -> None:
        """Close the other store."""
        self.store.close()

    def _time(self, verb: str, method: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        began_at = time.perf_counter()
        try:
            answer = method(*args, **kwargs)
        except StoreError as error:
            self._gauge.note_failure(error)
            raise
        took = time.perf_counter() - began_at
        if cleaner.thread is not threading.current_thread() or verb == "prune" and answer:
            self._gauge.note_call(verb, took)
        return answer

    def _each(self, found: Iterator[SessionInfo]) -> Iterator[SessionInfo]:
        try:
            yield from found
        except StoreError as error:
            self._gauge.note_failure(error)
            raise
