"""Notices that sessions of this application are kept, or were, in the memory of another process."""

import logging
from math import inf

from ..model.ids import SessionId
from ..process.locks import ForkSafeLock
from ..stores.contract import Store

_logger = logging.getLogger("flask_idlesession")

#: Seconds after the start for which it is looked at: it is then that those come back whose sessions were lost.
#: Of all that ended here meanwhile the store remembers how.
_WINDOW = 300.0

#: The number of different lost sessions that is a sign. Fewer may be cookies that somebody had kept.
_MANY = 10


class LostSessions:
    """Counts the different tokens that are genuine and whose sessions a memory store never had.

    That happens when a process was restarted, or when another host has sessions of the application in its own memory.
    :class:`~.other_processes.OtherProcesses` cannot see another host. ``_lock`` guards ``_seen``.
    """

    def __init__(self, store: Store, *, began_at: float) -> None:
        self._store = store
        self._until = began_at + _WINDOW
        self._seen: set[SessionId] = set()
        self._lock = ForkSafeLock()

    def note(self, sid: SessionId, now: float) -> None:
        """Note that a genuine token came and opened no session; warn when there were many. At most once."""
        if now >= self._until or sid in self._seen or self._knew(sid, now=now):
            return
        with self._lock:
            if now >= self._until:  # Another thread has just warned.
                return
            self._seen.add(sid)
            if len(self._seen) < _MANY:
                return
            self._until = -inf
            self._seen.clear()
        _logger.warning(
            "Since this process began, less than %d minutes ago, %d different sessions were asked for that it never "
            "had, with tokens that are genuine: they were lost when it was restarted, or are in the memory of "
            "another worker or host. Their users were logged out. Share sessions, and let them outlive the process: "
            'app.config["IDLESESSION_STORE"] = "sqlite:///sessions.db", or "redis://…" for many hosts; '
            'app.config["IDLESESSION_JOURNAL"] = "sessions.journal" is enough for one process.'
            " [ISW012]",
            _WINDOW // 60,
            _MANY,
        )

    def _knew(self, sid: SessionId, *, now: float) -> bool:
        """Whether the session was one of this process's: it has ended, or expired and was not pruned yet."""
        return self._store.load(sid, now=-inf) is not None or self._store.ending(sid, now=now) is not None
