"""Remembers in the file how sessions ended."""

from collections.abc import Sequence
from typing import Any

from ...model.ids import SessionId
from ...model.record import Ending
from .. import columns as row
from .answers import wrong_answer
from .connection import Connection
from .file import SQLiteFile
from .statements import OF_MANY
from .statements import OF_ONE

#: How many endings are written or forgotten in one step.
_CHUNK = 128


class Endings:
    """How sessions ended. None is worth a sync: a power cut may cost the newest."""

    def __init__(self, file: SQLiteFile) -> None:
        self._file = file
        self._sql = file.sql

    def bury(self, endings: Sequence[Ending], *, until: float) -> None:
        """As :meth:`Store.bury`."""
        rows = [(each["sid"].bytes, *list(each.values())[1:]) for each in row.to_ending_rows(endings, until=until)]
        if not rows:
            return
        with self._file.writing() as connection:
            if len(rows) <= _CHUNK:
                self._bury(connection, rows)
            else:
                with connection.transaction():
                    for at in range(0, len(rows), _CHUNK):
                        self._bury(connection, rows[at : at + _CHUNK])
        self.keep_bounds(len(rows), now=max(ending.ended_at for ending in endings))

    def keep_bounds(self, number: int, *, now: float) -> None:
        """After ``number`` burials forget some that are too old or too many."""
        self._forget_due(now=now)
        if row.is_time_to_trim(number):
            for which in (OF_ONE, OF_MANY):
                self._trim(which)

    def find(self, sid: SessionId, *, now: float) -> Ending | None:
        """As :meth:`Store.ending`."""
        with self._file.reading() as connection:
            found = connection.rows(self._sql.exhume, (sid.bytes, now))
        return row.to_ending(sid, found[0]) if found else None

    def find_some(self, sids: Sequence[SessionId], *, now: float) -> list[Ending]:
        """As :meth:`Recalling.endings`."""
        by_bytes = {sid.bytes: sid for sid in sids}
        asked, found = list(by_bytes), []
        for at in range(0, len(asked), _CHUNK):
            chunk = asked[at : at + _CHUNK]
            with self._file.reading() as connection:
                found += connection.rows(self._sql.exhume_some(len(chunk)), (*chunk, now))
        if not {each[0] for each in found}.issubset(by_bytes):
            raise wrong_answer(f"{len(asked)} sessions", [each[0] for each in found])
        return [row.to_ending(by_bytes[each[0]], each) for each in found]

    def _forget_due(self, *, now: float) -> None:
        with self._file.reading() as connection:
            is_due = connection.rows(self._sql.is_forgettable, (now,))
        if is_due:
            with self._file.writing() as connection:
                connection.rows(self._sql.forget_due, (now, row.FORGOTTEN_AT_ONCE))

    def _trim(self, which: str) -> None:
        """Forget the oldest endings beyond the bound, in steps for which nobody waits long."""
        with self._file.reading() as connection:
            count = connection.rows(self._sql.count_endings[which])[0][0]
        excess = min(count - row.MOST_ENDINGS, row.TRIMMED_AT_ONCE)
        for at in range(0, excess, _CHUNK):
            with self._file.writing() as connection:
                connection.rows(self._sql.forget_oldest[which], (min(_CHUNK, excess - at),))

    def _bury(self, connection: Connection, rows: Sequence[Sequence[Any]]) -> None:
        connection.rows(self._sql.bury(len(rows)), [column for each in rows for column in each])
