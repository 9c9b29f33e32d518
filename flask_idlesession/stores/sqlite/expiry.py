"""Forgets sessions that have expired, and gives back their room, in steps for which no request waits long."""

from collections.abc import Sequence
from contextlib import suppress
from math import isfinite
from typing import Any

from ...model.errors import StoreError
from ...model.record import SessionInfo
from ..contract import REMEMBERED
from .answers import delete_some
from .answers import info_of
from .answers import infos_of
from .endings import Endings
from .file import SQLiteFile
from .statements import HAS_RETURNING

#: How many sessions are looked at in one step.
_CHUNK = 128

#: How often prune() looks further in one call, while it finds but sessions that live on.
_ROUNDS = 8

#: To delete a session counts as 16 writes: the log is moved into the database after each 128 of them. That takes
#: 5 ms, in which nobody writes; after each 500 it takes 16 ms, and a request in a hundred waits for it.
_ROW = 16

#: How many pages are given back to the file system in one step.
_PAGES = 64


class Expiry:
    """Prunes the file. Each step is a statement, or two."""

    def __init__(self, file: SQLiteFile, endings: Endings) -> None:
        self._file = file
        self._sql = file.sql
        self._endings = endings

    def prune(self, *, now: float, limit: int) -> list[SessionInfo]:
        """As :meth:`Store.prune`."""
        gone: list[SessionInfo] = []
        for _ in range(_ROUNDS):
            if gone or limit <= 0:
                break
            with self._file.reading() as connection:
                due = connection.rows(self._sql.list_due, (now, min(limit, _CHUNK)))
            if not due:
                break
            gone = self._forget(due, now)
        if gone:
            self._file.note_write(rows=_ROW * len(gone))
            with suppress(StoreError):  # These are over all the same, and are to be told.
                self._endings.keep_bounds(len(gone), now=now)
                self._shrink()
        return gone

    def next(self) -> float | None:
        """As :meth:`Store.next_expiry`."""
        with self._file.reading() as connection:
            due_at = connection.rows(self._sql.first_due)[0][0]
        return due_at if isinstance(due_at, float) and isfinite(due_at) else None

    def _forget(self, due: Sequence[Sequence[Any]], now: float) -> list[SessionInfo]:
        """Forget those of the sessions that have expired, and return them; file the others again."""
        live: list[bytes] = []
        expired: list[bytes] = []
        spoilt: list[bytes] = []
        for found in due:
            info = info_of(found)
            if info is None:
                spoilt.append(found[0])
            else:
                (live if info.is_live(now) else expired).append(found[0])
        if live:
            with self._file.writing() as connection:
                connection.rows(self._sql.postpone(len(live)), live)
        if spoilt:
            with self._file.writing() as connection:
                delete_some(connection, self._sql, spoilt)
        return self._forget_expired(expired, now) if expired else []

    def _forget_expired(self, ids: Sequence[bytes], now: float) -> list[SessionInfo]:
        """Forget these but for those that were touched meanwhile.

        How they ended is noted first: a request, or the end of this process, may come between the two statements. In a
        transaction other processes would wait while Python's threads take turns.
        """
        with self._file.writing() as connection:
            connection.rows(self._sql.bury_expired(len(ids)), (now + REMEMBERED, *ids, now))
            if HAS_RETURNING:
                return infos_of(connection.rows(self._sql.delete_expired(len(ids)), (*ids, now)), ids)
            with connection.transaction():
                infos = infos_of(connection.rows(self._sql.list_some(len(ids)), ids), ids)
                connection.rows(self._sql.delete_expired(len(ids)), (*ids, now))
                return [info for info in infos if not info.is_live(now)]

    def _shrink(self) -> None:
        """Give some pages back to the file system while a quarter of the file is unused; the rest is used again."""
        with self._file.reading() as connection:
            free = connection.rows("PRAGMA freelist_count")[0][0]
            used = connection.rows("PRAGMA page_count")[0][0] - free
        if free > 64 and free * 3 > used:
            with self._file.writing() as connection:
                # Each step gives one page back, and only a script is stepped to its end.
                connection.run_script(f"PRAGMA incremental_vacuum({min(free - used // 8, _PAGES)})")
