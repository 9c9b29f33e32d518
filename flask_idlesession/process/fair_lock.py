"""A lock whose waiters are served in the order in which they came, each within a time of its own."""

import threading
import time
from collections import deque

#: Seconds after which the lock is handed to the thread that waits longest. Before, it is free until that thread runs,
#: and one that comes just then has it first. A lock that is always handed over is nobody's while its next owner wakes.
#: That costs a server with sessions in SQLite a tenth of its requests.
_LONG = 0.005


class _Waiter:
    """A thread that waits."""

    __slots__ = ("turn", "came_at", "is_served")

    def __init__(self) -> None:
        #: Is released to wake the thread.
        self.turn = threading.Lock()
        self.turn.acquire()
        self.came_at = time.monotonic()
        #: Whether the lock was handed to it.
        self.is_served = False


class FairLock:
    """A lock that nobody waits for much longer than those who come later. It is not re-entrant.

    ``_lock`` is the lock itself. ``_mutex`` guards the changes of the queue, and nothing is waited for under it. A
    thread that comes enters the queue before it looks at the lock once more. A thread that lets go looks at the queue
    after that. So one of both sees the other, and where nobody waits neither takes the mutex.
    """

    __slots__ = ("_lock", "_mutex", "_waiting")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._mutex = threading.Lock()
        self._waiting: deque[_Waiter] = deque()  # Of these only the first one is ever woken.

    def acquire(self, *, timeout: float) -> bool:
        """Wait for the lock, for ``timeout`` seconds at most; return whether it is held now."""
        return self._lock.acquire(False) or self._wait(timeout)

    def release(self) -> None:
        """Let go of the lock: hand it to a thread that has waited for long, or wake the first one."""
        if not self._waiting or not self._hand_over():
            self._lock.release()
            if self._waiting:
                self._wake_first()

    def _wait(self, timeout: float) -> bool:
        waiter = _Waiter()
        give_up_at = waiter.came_at + timeout
        with self._mutex:
            self._waiting.append(waiter)
        try:
            while not self._take(waiter):
                if not waiter.turn.acquire(timeout=max(give_up_at - time.monotonic(), 0.0)):
                    return not self._leave(waiter)
        except BaseException:  # A signal's handler raised: nobody is here to take the turn.
            if not self._leave(waiter):
                self.release()
            raise
        return True

    def _take(self, waiter: _Waiter) -> bool:
        """Take the lock if it is free, or was handed over; return whether it is the waiter's."""
        with self._mutex:
            if waiter.is_served:
                return True
            if not self._lock.acquire(False):
                return False
            self._waiting.remove(waiter)
            return True

    def _leave(self, waiter: _Waiter) -> bool:
        """Wait no more; return False if the lock was handed over in this moment."""
        with self._mutex:
            if waiter.is_served:
                return False
            self._waiting.remove(waiter)
        if not self._lock.locked():  # It may have been woken for nothing.
            self._wake_first()
        return True

    def _hand_over(self) -> bool:
        """Hand the lock to the first thread if it has waited for long; return whether that was done."""
        with self._mutex:
            if not self._waiting or time.monotonic() - self._waiting[0].came_at < _LONG:
                return False
            first = self._waiting.popleft()
            first.is_served = True
            _wake(first)
            return True

    def _wake_first(self) -> None:
        with self._mutex:
            if self._waiting:
                _wake(self._waiting[0])


def _wake(waiter: _Waiter) -> None:
    if waiter.turn.locked():  # Else it was woken before, and has not run since.
        waiter.turn.release()
