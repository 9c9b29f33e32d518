"""Notices that the clock was set back since the sessions were written, and takes those from the future for seen now."""

import logging
import threading
from contextlib import suppress
from typing import Protocol

from ..model.errors import StoreError
from ..process.forks import ForkAware
from ..process.forks import register
from ..process.forks import Stage

_logger = logging.getLogger("flask_idlesession")

#: Seconds between two notes of the time. By so much another process may be ahead without its clock being wrong.
_NOTED_EVERY = 60.0

#: Seconds after which the first look is tried again, if another process has the store just then.
_TRIED_AGAIN = 1.0

#: Callers ask with an instant before this to see what has expired, too. It is no time of day.
_FIRST_INSTANT = 1.0


class Noted(Protocol):
    """A place of sessions without a clock of its own, which keeps the latest instant that anybody has seen there."""

    @property
    def place(self) -> str:
        """The place, as a warning names it."""

    def latest(self) -> float | None:
        """Return the instant that was noted last; None if none was."""

    def note_latest(self, now: float) -> None:
        """Note an instant."""

    def rewind(self, now: float) -> None:
        """Take the sessions that were seen later than now for seen now."""


class ClockWitness(ForkAware):
    """The latest instant that the processes of a place have seen, written down each minute.

    A session that was last seen in the future would live too long by as much as the clock was ahead. At the first use
    the latest instant may be later than now. Then all such sessions are taken for seen now, as the journal does.

    ``_lock`` lets the first use end before another call asks.
    """

    def __init__(self, noted: Noted) -> None:
        self._noted = noted
        self._lock = threading.Lock()
        self._is_first = True
        #: Before this instant there is nothing to do.
        self.due = _FIRST_INSTANT
        register(self, stage=Stage.STORES)

    def note(self, now: float) -> None:
        """Write the time down, if nobody has to be waited for. At first, see what time was written before."""
        with self._lock:
            if now < self.due:
                return
            with suppress(StoreError):
                if self._is_first:
                    self._look_back(now)
                self._is_first = False
                self._noted.note_latest(now)
            self.due = now + (_TRIED_AGAIN if self._is_first else _NOTED_EVERY)

    def after_fork_in_child(self) -> None:
        """Take a new lock: a thread of the parent may have held the old one."""
        self._lock = threading.Lock()

    def _look_back(self, now: float) -> None:
        latest = self._noted.latest()
        if latest is None or latest <= now + _NOTED_EVERY:
            return
        _logger.warning(
            "The clock was ahead by %.0f s when %s was last written. Sessions that were seen later than now are taken "
            "for seen now."
            " [ISW111]",
            latest - now,
            self._noted.place,
        )
        self._noted.rewind(now)
