"""Bounds what visitors who never logged in take of a store: by their number, and until their cookie comes back."""

import time
from collections.abc import Iterator

from ..model.errors import StoreError
from ..model.ids import Credential
from ..model.record import Change
from ..model.record import Outcome
from ..model.record import Record
from ..model.record import SessionInfo
from ..process.background import cleaner
from ..stores.failures import Failures
from .lifecycle import Lifecycle

#: How many sessions are counted in one step, and the seconds until the next step: no request waits long for it.
_CHUNK = 256
_PAUSE = 0.005

#: Seconds between two counts, and the least time between them in a flood.
_INTERVAL = 60.0
_LEAST_INTERVAL = 1.0

#: A new count is due once this part of what was left is taken.
_PART = 8


class AnonymousCount:
    """About how many anonymous sessions there are, where they are bounded.

    The cleaner's thread counts them piece by piece, up to the bound. Those that this process begins meanwhile come on
    top. Another process notices them with its next count.
    """

    def __init__(self, lifecycle: Lifecycle, most: int) -> None:
        self._lifecycle = lifecycle
        self._most = most
        self._counted = 0
        self._begun = 0  # Since the last count began. About right is enough, so no lock guards it.
        self._counting: Iterator[SessionInfo] | None = None
        self._so_far = 0
        self._begun_before = 0
        self._counted_at = -_INTERVAL
        self._refused = Failures("A session of a visitor was not begun", clock=time.monotonic)
        cleaner.register(self)

    def admits(self) -> bool:
        """Return whether one more may begin. If so it is counted; if not, the log tells of it."""
        if self._counted + self._begun < self._most:
            self._begun += 1
            if self._is_due():
                cleaner.wake(within=_PAUSE)
            return True
        self._refused.note(
            StoreError(
                f"There are about {self._counted + self._begun} anonymous sessions, and "
                f"IDLESESSION_MAX_ANONYMOUS_SESSIONS is {self._most}. Users who log in are not refused. [ISW029]"
            )
        )
        return False

    def run(self) -> float:
        """Count some; return in how many seconds to come again. The cleaner calls this."""
        self._refused.tell_if_due()
        if self._counting is None:
            if not self._is_due():
                return _LEAST_INTERVAL if self._begun else _INTERVAL
            self._counting = iter(self._lifecycle.store.find(now=self._lifecycle.now()))
            self._so_far, self._begun_before = 0, self._begun
        try:
            return self._count(self._counting)
        except StoreError:
            self._finish(self._counted)
            return _INTERVAL

    def _is_due(self) -> bool:
        waited = time.monotonic() - self._counted_at
        left = max(self._most - self._counted, 0)
        return waited >= _INTERVAL or (waited >= _LEAST_INTERVAL and self._begun * _PART >= left)

    def _count(self, sessions: Iterator[SessionInfo]) -> float:
        for _ in range(_CHUNK):
            info = next(sessions, None)
            if info is None or self._so_far >= self._most:
                self._finish(self._so_far)
                return _LEAST_INTERVAL
            self._so_far += info.user_id is None
        return _PAUSE

    def _finish(self, count: int) -> None:
        self._begun -= self._begun_before
        self._counted, self._counting, self._counted_at = count, None, time.monotonic()


def count_of(lifecycle: Lifecycle) -> AnonymousCount | None:
    """Return the count of anonymous sessions; None if they are not bounded."""
    most = lifecycle.policy.max_anonymous_sessions
    return None if most is None else AnonymousCount(lifecycle, most)


def confirmed(record: Record, credential: Credential, lifecycle: Lifecycle) -> Record:
    """Give a visitor's session its full idle timeout, for its cookie came back; return the record after that."""
    policy = lifecycle.policy
    timeout = policy.stored(policy.idle_timeout_for(None))
    if record.has_user or record.info.idle_timeout != policy.stored(policy.first_idle_timeout):
        return record
    if timeout == record.info.idle_timeout:
        return record
    change, now = Change(holder=credential.holder, idle_timeout=timeout), lifecycle.now()
    try:
        outcome = lifecycle.store.commit(credential.sid, change, now=now)
    except StoreError:  # The next request does it.
        return record
    return record.apply(change, now=now) if outcome is Outcome.DONE else record
