"""Counts a store's failures, and tells the log of them: the first at once with its cause, then a count a minute."""

import logging
from collections import deque
from collections.abc import Callable
from math import inf

from ..model.errors import StoreError
from ..process.locks import ForkSafeLock

_logger = logging.getLogger("flask_idlesession")

#: Seconds for which failures are counted, and between two lines about them.
_MINUTE = 60.0


class Failures:
    """Failures of one kind. ``what`` begins the line about the first of them.

    ``_lock`` guards the counts; nothing is called under it.
    """

    def __init__(self, what: str, *, clock: Callable[[], float]) -> None:
        self._what = what
        self._clock = clock
        self._lock = ForkSafeLock()
        #: How many there were in each second of the last minute: pairs of the second and the count.
        self._seconds: deque[tuple[int, int]] = deque(maxlen=int(_MINUTE) + 1)
        self._told_at = -inf
        self._untold = 0
        self._last = ""

    @property
    def count(self) -> int:
        """The failures of the last minute."""
        now = self._clock()
        with self._lock:
            return sum(count for second, count in self._seconds if now - second < _MINUTE)

    def note(self, error: StoreError) -> None:
        """Count a failure, and tell it if none was told in the last minute."""
        self.tell_if_due()
        if not self.add(error):
            cause = "" if error.__cause__ is None else f" ({error.__cause__!r})"
            _logger.warning("%s: %s%s [ISW022]", self._what, error, cause)

    def add(self, error: StoreError) -> bool:
        """Count a failure; return whether a line of the last minute stands for it, and none is to be written now."""
        now = self._clock()
        with self._lock:
            second, count = self._seconds[-1] if self._seconds else (-1, 0)
            if second == int(now):
                self._seconds[-1] = (second, count + 1)
            else:
                self._seconds.append((int(now), 1))
            self._last = str(error)
            if now - self._told_at >= _MINUTE and not self._untold:
                self._told_at = now
                return False
            self._untold += 1
            return True

    def tell_if_due(self) -> bool:
        """Tell how many there were since the last line, once a minute; return whether there is more to tell later."""
        now = self._clock()
        with self._lock:
            if now - self._told_at < _MINUTE:
                return True
            untold, self._untold = self._untold, 0
            if untold:
                self._told_at = now
        if not untold:
            return False
        _logger.warning(
            "%s, %d more times since the last such line; the last time: %s [ISW022]",
            self._what,
            untold,
            self._last,
        )
        return True
