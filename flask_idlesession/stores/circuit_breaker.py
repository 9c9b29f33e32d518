"""Stands before a store that may be out of reach, so that an outage costs microseconds a request."""

import logging
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import cast
from typing import ParamSpec
from typing import TypeVar

from ..model.errors import StoreError
from ..model.ids import SessionId
from ..model.record import Change
from ..model.record import Ending
from ..model.record import Outcome
from ..model.record import Record
from ..model.record import SessionInfo
from ..process.locks import ForkSafeLock
from .contract import Chunked
from .contract import HasClock
from .contract import InProcess
from .contract import Store
from .contract import Touch
from .contract import Traits
from .contract import UnreadableRecord

_logger = logging.getLogger("flask_idlesession")

_P = ParamSpec("_P")
_T = TypeVar("_T")

#: So many failures in a row are an outage; one alone may be a connection that went stale.
_OUTAGE = 3

#: A failure that took so many seconds was a wait in vain: the same request shall not wait again.
_LONG_WAIT = 0.5

#: Seconds between two tries while it lasts: all that its end can be noticed late.
_REST = 1.0


class CircuitBreaker:
    """A store that asks another, and while that one is down answers :exc:`~flask_idlesession.StoreError`
    at once, letting one call a second through to see whether it is back (Nygard, *Release It!*, 2007).

    An outage is logged once when it begins and once when it ends. ``_lock`` guards the count of failures;
    of two calls that find it time to try, both may.
    """

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.store = store
        self._clock = clock
        self._failures = 0
        self._failed_at = 0.0
        self._try_at = 0.0
        self._last_error = ""
        self._lock = ForkSafeLock()

    @property
    def traits(self) -> Traits:
        """What the other store can do."""
        return self.store.traits

    @property
    def is_down(self) -> bool:
        """Whether the store is taken to be out of reach."""
        return self._failures >= _OUTAGE

    @property
    def down_for(self) -> float:
        """Seconds since the first failure of those that there were in a row; 0 if the last call succeeded."""
        return self._clock() - self._failed_at if self._failures else 0.0

    def create(self, record: Record) -> None:
        self._call(self.store.create, record)

    def load(self, sid: SessionId, *, now: float, touch: Touch | None = None) -> Record | None:
        return self._call(self.store.load, sid, now=now, touch=touch)

    def commit(self, sid: SessionId, change: Change, *, now: float) -> Outcome:
        return self._call(self.store.commit, sid, change, now=now)

    def delete(self, sid: SessionId) -> bool:
        return self._call(self.store.delete, sid)

    def delete_many(self, sids: Sequence[SessionId]) -> Sequence[SessionInfo]:
        return self._call(cast(Chunked, self.store).delete_many, sids)

    def fades_at(self, sid: SessionId) -> float:
        return cast(InProcess, self.store).fades_at(sid)

    def touch(self, sid: SessionId, holder: bytes, now: float) -> bool:
        return cast(InProcess, self.store).touch(sid, holder, now)

    def clock_skew(self, now: float) -> float:
        return self._call(cast(HasClock, self.store).clock_skew, now)

    def find(self, *, now: float, user_id: str | None = None) -> Iterator[SessionInfo]:
        if self._failures:
            self._refuse_early()
        found = self.store.find(now=now, user_id=user_id)
        while (info := self._call(next, found, None)) is not None:
            yield info

    def prune(self, *, now: float, limit: int) -> Sequence[SessionInfo]:
        return self._call(self.store.prune, now=now, limit=limit)

    def next_expiry(self) -> float | None:
        return self._call(self.store.next_expiry)

    def bury(self, endings: Sequence[Ending], *, until: float) -> None:
        self._call(self.store.bury, endings, until=until)

    def ending(self, sid: SessionId, *, now: float) -> Ending | None:
        return self._call(self.store.ending, sid, now=now)

    def close(self) -> None:
        self.store.close()

    def _call(self, method: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        if self._failures:
            self._refuse_early()
        began_at = self._clock()
        try:
            result = method(*args, **kwargs)
        except UnreadableRecord:
            raise  # One session is spoilt; the store is not.
        except StoreError as error:
            self._note_failure(error, began_at)
            raise
        if self._failures:
            self._note_success()
        return result

    def _refuse_early(self) -> None:
        """Raise unless it is time to try again."""
        now = self._clock()
        if now >= self._try_at:
            if self.is_down:
                self._try_at = now + _REST
            return
        raise StoreError(f"The session store has been down for {now - self._failed_at:.0f} s: {self._last_error}")

    def _note_failure(self, error: StoreError, began_at: float) -> None:
        with self._lock:
            self._failures += 1
            failures = self._failures
        self._last_error = str(error)
        now = self._clock()
        if failures == 1:
            self._failed_at = now
        if failures == _OUTAGE or now - began_at >= _LONG_WAIT:
            self._try_at = now + _REST
        if failures == _OUTAGE:
            _logger.error(
                "The session store is down: %s (%r). Requests that need their session are answered 503 until it is "
                "back; no cookie is taken away.",
                error,
                error.__cause__,
            )

    def _note_success(self) -> None:
        with self._lock:
            failures, self._failures = self._failures, 0
        if failures >= _OUTAGE:
            _logger.warning("The session store is back after %.1f s.", self._clock() - self._failed_at)
