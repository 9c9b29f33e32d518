"""Stands before a store that may be out of reach, so that an outage costs microseconds a request."""

import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import cast
from typing import ParamSpec
from typing import TypeVar

from ..model.errors import RecordRejected
from ..model.errors import StoreError
from ..model.ids import SessionId
from ..model.record import Change
from ..model.record import Ending
from ..model.record import Outcome
from ..model.record import Record
from ..model.record import SessionInfo
from .circuit import Circuit
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
from .contract import UnreadableRecord
from .failures import Failures

_P = ParamSpec("_P")
_T = TypeVar("_T")


class CircuitBreaker:
    """A store that asks another, and while that one is down raises :exc:`~flask_idlesession.StoreUnavailable` at once
    (Nygard, *Release It!*, 2007).

    A failed call alone is no outage, for it may be about one session's data: a probe of the store decides. An outage is
    logged when it begins and when it ends; of other failures the first is logged, then their number once a minute.
    """

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.store = store
        self._failures = Failures("A call of the session store failed or was refused", clock=clock)
        self._circuit = Circuit(store, self._failures, clock=clock)
        #: Whether a call has more to do than to ask the store. A hint, so no lock guards it.
        self._is_troubled = False

    @property
    def traits(self) -> Traits:
        """The traits of the other store."""
        return self.store.traits

    @property
    def is_down(self) -> bool:
        """Whether the store is taken to be out of reach."""
        return self._circuit.is_down

    @property
    def refuses_writes(self) -> bool:
        """Whether the store is taken to be one that cannot be written."""
        return self._circuit.refuses_writes

    @property
    def down_for(self) -> float:
        """Seconds since the failure that began an outage; 0 if there is none."""
        return self._circuit.down_for

    @property
    def failures(self) -> int:
        """How many calls failed or were refused in the last minute."""
        return self._failures.count

    def create(self, record: Record) -> None:
        """Keep a new record. Raise :exc:`~flask_idlesession.SessionExists` if its id is taken."""
        self._write(self.store.create, record)

    def load(self, sid: SessionId, *, now: float, touch: Touch | None = None) -> Record | None:
        """Return a copy of the record if it is live, else None; with ``touch``, note activity in the same step."""
        if touch is None:
            return self._read(self.store.load, sid, now=now)
        return self._write(self.store.load, sid, now=now, touch=touch)

    def commit(self, sid: SessionId, change: Change, *, now: float) -> Outcome:
        """Apply the change in one step, if the session is live and opens to the change's holder; return the outcome."""
        return self._write(self.store.commit, sid, change, now=now)

    def delete(self, sid: SessionId) -> bool:
        """Forget the session; return whether there was one."""
        return self._write(self.store.delete, sid)

    def delete_many(self, sids: Sequence[SessionId]) -> Sequence[SessionInfo]:
        """Forget these sessions in one step; return the infos of those that were there."""
        return self._write(cast(Chunked, self.store).delete_many, sids)

    def endings(self, sids: Sequence[SessionId], *, now: float) -> Sequence[Ending]:
        """Return how these sessions ended, as far as that is remembered at ``now``."""
        return self._read(cast(Recalling, self.store).endings, sids, now=now)

    def tell_ends(self, endings: Sequence[Ending]) -> None:
        """Tell all processes that subscribed how these sessions ended."""
        self._read(cast(TellsEnds, self.store).tell_ends, endings)

    def hear_ends(self) -> EndNews | None:
        """Return a new subscription; None where none can be had."""
        return self._read(cast(TellsEnds, self.store).hear_ends)

    def add_tally(self, minute: int, amounts: Mapping[str, int], *, now: float) -> None:
        """Add these amounts to those of the minute. A failure is not taken for an outage: no session is concerned."""
        if self._is_troubled:
            self._admit(writes=True)
        cast(KeepsTallies, self.store).add_tally(minute, amounts, now=now)

    def tallies(self, *, since: int) -> Mapping[int, Mapping[str, int]]:
        """Return the amounts of each minute from ``since`` on. A failure is not taken for an outage."""
        if self._is_troubled:
            self._admit(writes=False)
        return cast(KeepsTallies, self.store).tallies(since=since)

    def tally_totals(self) -> Mapping[str, int]:
        """Return the sums of all amounts. A failure is not taken for an outage."""
        if self._is_troubled:
            self._admit(writes=False)
        return cast(KeepsTallies, self.store).tally_totals()

    def find_unlisted(self, *, now: float, user_id: str | None = None) -> Iterator[SessionInfo]:
        """Yield the live sessions as :meth:`find` does, also those that no list names any more."""
        return self._each(cast(Evicting, self.store).find_unlisted(now=now, user_id=user_id))

    def advice(self) -> Sequence[str]:
        """Return how the server should be set up and is not: one text for each fault."""
        return self._read(cast(Advising, self.store).advice)

    def count(self) -> Count:
        """Return how many records there are."""
        return self._read(cast(Counts, self.store).count)

    def stored_bytes(self) -> int | None:
        """Return how many bytes the records take, or the file or server that holds them."""
        return self._read(cast(Counts, self.store).stored_bytes)

    def facts(self) -> Mapping[str, object]:
        """Return what the other store tells of its server or file, by name."""
        return self._read(cast(HasFacts, self.store).facts)

    def fades_at(self, sid: SessionId) -> float:
        """Return the instant when less than half of the idle timeout is left; ``inf`` if there is no session."""
        return cast(InProcess, self.store).fades_at(sid)

    def touch(self, sid: SessionId, holder: bytes, now: float) -> bool:
        """Note activity at ``now``, if nothing else has to be noted; return whether that was done."""
        return cast(InProcess, self.store).touch(sid, holder, now)

    def clock_skew(self, now: float) -> float:
        """Return by how many seconds ``now`` is ahead of the server's clock."""
        return self._read(cast(HasClock, self.store).clock_skew, now)

    def find(self, *, now: float, user_id: str | None = None) -> Iterator[SessionInfo]:
        """Yield the infos of the sessions that are live at ``now``, in no order; with ``user_id``, only that user's."""
        return self._each(self.store.find(now=now, user_id=user_id))

    def prune(self, *, now: float, limit: int) -> Sequence[SessionInfo]:
        """Forget up to ``limit`` sessions that have expired; return their infos, each once."""
        return self._write(self.store.prune, now=now, limit=limit)

    def next_expiry(self) -> float | None:
        """Return an instant before which :meth:`prune` has nothing to do; None if there is nothing to wait for."""
        return self._read(self.store.next_expiry)

    def bury(self, endings: Sequence[Ending], *, until: float) -> None:
        """Remember until the instant ``until`` how these sessions ended."""
        self._write(self.store.bury, endings, until=until)

    def ending(self, sid: SessionId, *, now: float) -> Ending | None:
        """Return how the session ended, or None if that is not remembered at ``now``."""
        return self._read(self.store.ending, sid, now=now)

    def close(self) -> None:
        """Close the other store."""
        self.store.close()

    def _each(self, found: Iterator[SessionInfo]) -> Iterator[SessionInfo]:
        while (info := self._read(next, found, None)) is not None:
            yield info

    def _read(self, method: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        if self._is_troubled:
            self._admit(writes=False)
        try:
            return method(*args, **kwargs)
        except StoreError as error:
            self._note_failure(error)
            raise

    def _write(self, method: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        if self._is_troubled:
            self._admit(writes=True)
        try:
            return method(*args, **kwargs)
        except StoreError as error:
            self._note_failure(error)
            raise

    def _admit(self, *, writes: bool) -> None:
        if not self._failures.tell_if_due() and self._circuit.is_up:
            self._is_troubled = False
            return
        self._circuit.admit(writes=writes)

    def _note_failure(self, error: StoreError) -> None:
        if isinstance(error, UnreadableRecord):
            return  # One session is spoilt. It is ended, and that is logged.
        if isinstance(error, RecordRejected):
            self._failures.note(error)
        else:
            self._circuit.suspect(error)
        self._is_troubled = True
