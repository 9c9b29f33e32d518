"""A lock whose waiters are served in the order in which they came, each within a time of its own."""

import threading
from collections import deque


class FairLock:
    """A lock that is handed to the thread that waits longest. It is not re-entrant.

    ``_mutex`` guards the two fields below it, and nothing is waited for under it.
    """

    __slots__ = ("_mutex", "_is_held", "_waiting")

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._is_held = False
        self._waiting: deque[threading.Lock] = deque()  # Each of a thread, which is released when its turn comes.

    def acquire(self, *, timeout: float) -> bool:
        """Wait for the lock, for ``timeout`` seconds at most; return whether it is held now."""
        with self._mutex:
            if not self._is_held:
                self._is_held = True
                return True
            turn = threading.Lock()
            turn.acquire()
            self._waiting.append(turn)
        try:
            if turn.acquire(timeout=timeout):
                return True
        except BaseException:  # A signal's handler raised: nobody is here to take the turn.
            if not self._leave(turn):
                self.release()
            raise
        return not self._leave(turn)

    def release(self) -> None:
        """Hand the lock on."""
        with self._mutex:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._is_held = False

    def _leave(self, turn: threading.Lock) -> bool:
        """Wait no more; return False if the lock was handed over in this moment."""
        with self._mutex:
            if turn in self._waiting:
                self._waiting.remove(turn)
                return True
            return False
