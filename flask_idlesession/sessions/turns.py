"""Lets one log-in of a user at a time go on, over all workers."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import suppress
from random import SystemRandom
from uuid import uuid5

from ..model.errors import SessionExists
from ..model.errors import StoreError
from ..model.ids import new_secret
from ..model.ids import SessionId
from ..model.labels import TURN
from ..model.record import Change
from ..model.record import Record
from ..model.record import SessionInfo
from ..process.fair_lock import FairLock
from ..process.forks import ForkAware
from ..process.forks import register
from ..process.forks import Stage
from ..stores.revocation_marks import NAMES
from .lifecycle import Lifecycle

#: The module's own state is the application's: tests seed it, and no thread of ours is to change it.
_chance = SystemRandom()

#: Seconds that log-ins of one user wait for the one whose turn it is; after them its process is taken for dead.
_TURN = 5.0

#: Seconds between two looks at whether it is one's turn.
_PAUSE = 0.005

#: An instant at which nothing has expired yet.
_LONG_AGO = 0.0


class Turns(ForkAware):
    """The turns of users' log-ins. A record that is created is the turn of one process.

    The threads of a process queue for it, so that one of them asks the store, and each has its turn in the end.
    ``_mutex`` guards the queues.
    """

    def __init__(self, lifecycle: Lifecycle) -> None:
        self._lifecycle = lifecycle
        self._store = lifecycle.store
        self._mutex = threading.Lock()
        #: Each user's queue, and how many threads are in it.
        self._queues: dict[str, tuple[FairLock, int]] = {}
        register(self, stage=Stage.LOCKS)

    @contextmanager
    def of(self, user_id: str) -> Iterator[None]:
        """Be the only one, over all workers, who logs in as this user."""
        came_at = time.monotonic()
        with self._queue(user_id, until=came_at + 2 * _TURN):
            sid = uuid5(NAMES, f"turn of {user_id}")
            while not self.take(sid):
                if time.monotonic() - came_at > 2 * _TURN:
                    raise _too_long()
                time.sleep(_chance.uniform(_PAUSE / 2, _PAUSE))
            taken_at = time.monotonic()
            try:
                yield
            finally:
                if time.monotonic() - taken_at < _TURN / 2:  # Else it may be another's by now; it ends by itself.
                    with suppress(StoreError):
                        self._store.delete(sid)

    def take(self, sid: SessionId) -> bool:
        """Return whether this turn is the caller's now."""
        now = self._lifecycle.now()
        info = SessionInfo(
            sid=sid,
            created_at=now,
            last_seen_at=now,
            idle_timeout=_TURN,
            lifetime_ends_at=now + _TURN,
            labels={TURN: 1},
        )
        try:
            self._store.create(Record(info=info, secret_digest=new_secret(), values={}))
        except SessionExists:
            self._forget_dead_turn(sid, now=now)
            return False
        return True

    def after_fork_in_child(self) -> None:
        """Begin with no queue: the threads in the parent's queues are not here."""
        self._mutex, self._queues = threading.Lock(), {}

    @contextmanager
    def _queue(self, user_id: str, *, until: float) -> Iterator[None]:
        """Be the first in this process's queue of the user."""
        queues = self._queues
        with self._mutex:
            queue, number = queues.get(user_id, (FairLock(), 0))
            queues[user_id] = queue, number + 1
        try:
            if not queue.acquire(timeout=max(until - time.monotonic(), 0.0)):
                raise _too_long()
            try:
                if number:  # It waited for a thread of this process. Now those of another have a chance.
                    time.sleep(_PAUSE)
                yield
            finally:
                queue.release()
        finally:
            with self._mutex:
                queue, number = queues[user_id]
                if number > 1:
                    queues[user_id] = queue, number - 1
                else:
                    del queues[user_id]

    def _forget_dead_turn(self, sid: SessionId, *, now: float) -> None:
        """Forget the turn if it is over and was not given back, or was taken while a clock was ahead.

        Another worker may forget it, too, and take the next turn: the digest tells one turn from another.
        """
        turn = self._lifecycle.look_up(sid, now=_LONG_AGO)
        if turn is not None and not now - _TURN < turn.info.created_at < now + _TURN:
            change = Change(holder=turn.secret_digest, end_if_emptied=True)
            self._store.commit(sid, change, now=turn.info.created_at)


def _too_long() -> StoreError:
    return StoreError("Somebody else was logging in as this user all the time.")
