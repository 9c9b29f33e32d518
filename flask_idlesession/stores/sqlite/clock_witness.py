"""Notices that the clock was set back since the sessions were written, and takes those from the future for seen now."""

import logging
import threading
from contextlib import suppress

from ...model.errors import StoreError
from ...process.forks import ForkAware
from ...process.forks import register
from ...process.forks import Stage
from ..private_files import quoted
from .file import SQLiteFile

_logger = logging.getLogger("flask_idlesession")

#: Seconds between two notes of the time. By so much another process may be ahead without its clock being wrong.
_NOTED_EVERY = 60.0

#: Seconds after which the first look is tried again, if another process has the file just then.
_TRIED_AGAIN = 1.0

#: Sessions looked at in one step.
_CHUNK = 2000

#: Callers ask with an instant before this to see what has expired, too. It is no time of day.
_FIRST_INSTANT = 1.0


class ClockWitness(ForkAware):
    """The latest instant that the processes of a file have seen, written down each minute.

    A session that was last seen in the future would live too long by as much as the clock was ahead. At the first use
    the latest instant in the file may be later than now. Then all such sessions are taken for seen now, as the journal
    does.

    ``_lock`` lets the first use end before another call asks.
    """

    def __init__(self, file: SQLiteFile) -> None:
        self._file = file
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
                with self._file.writing(patience=0.0) as connection:
                    connection.rows(self._file.sql.note_latest, (now,))
            self.due = now + (_TRIED_AGAIN if self._is_first else _NOTED_EVERY)

    def after_fork_in_child(self) -> None:
        """Take a new lock: a thread of the parent may have held the old one."""
        self._lock = threading.Lock()

    def _look_back(self, now: float) -> None:
        with self._file.reading(patience=0.0) as connection:
            latest = connection.rows(self._file.sql.latest)
        if not latest or latest[0][0] <= now + _NOTED_EVERY:
            return
        _logger.warning(
            "The clock was ahead by %.0f s when the session database %s was last written. Sessions that were seen "
            "later than now are taken for seen now."
            " [ISW111]",
            latest[0][0] - now,
            quoted(self._file.path),
        )
        with self._file.reading() as connection:
            last = connection.rows(self._file.sql.last_row)[0][0] or 0
        for row in range(0, last, _CHUNK):
            with self._file.writing() as connection:
                connection.rows(self._file.sql.seen_now, (*[now] * 7, row, row + _CHUNK))
