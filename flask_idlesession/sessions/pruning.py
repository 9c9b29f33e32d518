"""Prunes: each request deletes a few expired sessions of an in-process store, the cleaner deletes the rest."""

import time
from collections.abc import Callable
from contextlib import suppress
from math import inf

from ..model.clock import Clock
from ..model.errors import StoreError
from ..model.ids import Credential
from ..model.ids import SessionId
from ..model.record import EndReason
from ..model.record import SessionInfo
from ..process.background import cleaner
from ..stores.contract import Store
from .endings import Endings

#: How many expired sessions a request forgets, while there are any: too few to be felt. Once the
#: cleaner has fallen behind, because busy threads leave it no turn, it is a millisecond's worth of them.
_BY_REQUEST = 4
_BY_REQUEST_BEHIND = 128

#: How many the cleaner forgets before it looks at the time, and how long it goes on before it rests.
_BY_CLEANER = 64
_SLICE = 0.001

#: How long it goes on once it has fallen behind. Each time it comes it waits that long for the interpreter
#: lock, where other threads are busy: with shorter slices it would have too small a share to catch up.
_LONG_SLICE = 0.005

#: How much longer than it worked the cleaner rests where a server, or other processes, wait for the same file.
_REST = 2

#: How long it leaves a shared store to the cleaners of other processes, after they have forgotten what it came for.
_ASIDE = 0.05

#: The cleaner lets what expires in this part of its interval come together in one pass.
_GATHER = 1 / 8

#: How many log-outs from before are owed at once. Anybody can show the id of a session that may not exist.
_MOST_OWED = 1000

#: Python 3.11 takes a fifth of a microsecond to find an enum's member each time.
_EVICTED, _LIFETIME, _IDLE = EndReason.EVICTED, EndReason.LIFETIME, EndReason.IDLE


class Pruner:
    """Prunes one store, and tells each session's end.

    ``interval`` is the seconds within which the cleaner forgets what has expired.
    """

    def __init__(self, store: Store, *, clock: Clock, interval: float, endings: Endings) -> None:
        self._store = store
        self._clock = clock
        self._interval = interval
        self._endings = endings
        #: Whether requests forget a few also where the cleaner runs: one that must ask a server has better to do.
        self._is_near = store.traits.in_process
        #: Before this instant there is nothing to do. Only a hint, so no lock guards it.
        self.due = inf
        self._looked = inf
        #: How many seconds ago the last forgotten session expired; a hint too.
        self._behind = 0.0
        #: Sessions whose users logged out while the store was down. Only this process knows of them.
        self.condemned: dict[SessionId, Credential] = {}
        #: The same of sessions from before that were not taken over yet: each with the call that ends it.
        self._owed: dict[SessionId, Callable[[], None]] = {}
        cleaner.register(self)

    def close(self) -> None:
        """Leave the cleaner."""
        cleaner.unregister(self)

    def note(self, expires_at: float) -> None:
        """Note that a session now ends at this instant; the cleaner wakes earlier if it must."""
        if expires_at < self.due:
            self.due = expires_at
        elif cleaner.is_running:
            return
        self._wake_cleaner()

    def prune_few(self, *, now: float) -> None:
        """Forget a few of those that have expired, if any has: what a request does in passing.

        In a store that is not in this process's memory the cleaner forgets them, if there is one. Before :attr:`due` it
        does nothing but to see to it that there is a cleaner.
        """
        if cleaner.thread is None:
            self.note(self.due)  # After a fork.
        if now < self.due:
            return
        if self._is_near or not cleaner.is_running:
            self.prune_some()
        else:
            self._wake_cleaner()  # It may have slept through a suspend, for it counts on another clock.

    def prune_evicted(self) -> None:
        """Tell the end of the sessions that the store has evicted to make room: a few here, the rest by the cleaner.

        It does not look when the next one expires. That takes a tenth of a log-in, and :attr:`due` holds still.
        """
        with suppress(StoreError):  # The request came for something else.
            if self._prune(limit=_BY_REQUEST) == _BY_REQUEST:
                self.note(0.0)

    def prune_some(self) -> None:
        """Forget a few that have expired."""
        with suppress(StoreError):  # The request came for something else.
            limit = _BY_REQUEST_BEHIND if self._is_behind() else _BY_REQUEST
            if self._prune(limit=limit) < limit:
                before = self.due
                if self._look_ahead() < before:
                    self._wake_cleaner()  # Another process that shares the store has a session that ends sooner.

    def condemn(self, credential: Credential) -> None:
        """Take the session for ended, and have the store forget it as soon as it can."""
        self.condemned[credential.sid] = credential
        self.note(0.0)

    def owe(self, sid: SessionId, end: Callable[[], None]) -> None:
        """Call ``end``, which raises StoreError if the store fails, as soon as the store does not."""
        if len(self._owed) < _MOST_OWED:
            self._owed[sid] = end
            self.note(0.0)

    def settle(self) -> None:
        """End the sessions whose users logged out while the store was down. Raise StoreError if it still is."""
        self._delete_condemned()
        for sid, end in list(self._owed.items()):
            end()
            self._owed.pop(sid, None)  # Another pass may have been quicker.

    def prune_all(self) -> int:
        """Forget all that has expired; return how many sessions that was."""
        count, due = 0, 0.0
        while due == 0.0:
            ended, due = self._step()
            count += ended
        return count

    def run(self) -> float:
        """Prune for a moment; return in how many seconds to come again. The cleaner calls this."""
        began_at = time.monotonic()
        try:
            self.settle()
            ended, due = self._step()
            while due == 0.0:
                if not ended and not self._is_near:
                    return _ASIDE
                worked = time.monotonic() - began_at
                if worked >= (_LONG_SLICE if self._is_behind() else _SLICE):
                    # Elsewhere it keeps the server, or the file, from requests while it works.
                    return _SLICE if self._is_near else _REST * worked
                ended, due = self._step()
        except StoreError:
            if not self._is_near:
                self.due = self._clock() + self._interval  # No request need wake the cleaner before.
            return self._interval
        # Not self.due, which a request may have set to what it found before one that is due earlier came.
        return max(due - self._clock(), self._interval * _GATHER)

    def _delete_condemned(self) -> None:
        for sid, credential in list(self.condemned.items()):
            now = self._clock()
            record = self._store.load(sid, now=now)
            if record is not None and record.opens_to(credential.holder, now=now):
                self._endings.end(record.info, EndReason.LOGGED_OUT, now=now)
            self.condemned.pop(sid, None)  # Another pass may have been quicker.

    def _step(self) -> tuple[int, float]:
        """Forget some; return how many that was, and when there is more to do (0.0: at once).

        The store may have looked only at sessions that were touched meanwhile, and come to none that has expired. One
        that says so twice, and has moved on by nothing, is given a rest.
        """
        ended = self._prune(limit=_BY_CLEANER)
        if ended == _BY_CLEANER:
            return ended, 0.0
        before, due = self._looked, self._look_ahead()
        self._looked = due
        return ended, 0.0 if due <= self._clock() and (ended or due != before) else due

    def _prune(self, *, limit: int) -> int:
        now = self._clock()
        ended = self._store.prune(now=now, limit=limit)
        if ended:
            self._behind = now - ended[-1].expires_at
            self._endings.note_pruned([_with_reason(info, now) for info in ended], now=now)
        return len(ended)

    def _wake_cleaner(self) -> None:
        cleaner.wake(within=max(self.due - self._clock(), self._interval * _GATHER))

    def _is_behind(self) -> bool:
        return self._behind > self._interval * _GATHER

    def _look_ahead(self) -> float:
        """Note and return before which instant there is nothing to do; 0 if there is more to do at once."""
        due = self._store.next_expiry()
        self.due = inf if due is None else due
        return self.due


def _with_reason(info: SessionInfo, now: float) -> tuple[SessionInfo, EndReason]:
    expires_at = info.expires_at
    if now < expires_at:
        return info, _EVICTED
    return info, _LIFETIME if info.lifetime_ends_at <= expires_at else _IDLE
