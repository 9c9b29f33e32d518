"""Tells when the cleaner's thread asks a server again: after a while, or soon if it did not answer."""

import time
from collections.abc import Callable


class Pace:
    """The pace of one question, which no request waits for.

    It is asked each ``interval`` seconds, for answers change, and ``retry`` seconds after there was no answer.
    """

    def __init__(self, *, interval: float = 3600.0, retry: float = 60.0) -> None:
        self._interval = interval
        self._retry = retry
        self._due = 0.0

    def run(self, ask: Callable[[], bool]) -> float:
        """Ask if it is time to; return in how many seconds to come again. ``ask`` tells whether the server answered."""
        now = time.monotonic()
        if now >= self._due:
            self._due = now + (self._interval if ask() else self._retry)
        return self._due - now
