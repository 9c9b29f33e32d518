"""Tells how often the session server is asked in the background: each hour, and soon again if it did not answer."""

import time
from collections.abc import Callable

#: Seconds between two questions, for answers change; and until the next one if the server did not answer.
_INTERVAL = 3600.0
_RETRY = 60.0


class Pace:
    """The pace of one question. The cleaner's thread asks it, so that no request waits for the answer."""

    def __init__(self) -> None:
        self._due = 0.0

    def run(self, ask: Callable[[], bool]) -> float:
        """Ask if it is time to; return in how many seconds to come again. ``ask`` tells whether the server answered."""
        now = time.monotonic()
        if now >= self._due:
            self._due = now + (_INTERVAL if ask() else _RETRY)
        return self._due - now
