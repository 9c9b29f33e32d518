"""Keeps records in one SQLite file, which all the workers of one host share."""

import os
import sqlite3
import threading
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from typing import NamedTuple

from ...model.errors import SessionExists
from ...model.ids import SessionId
from ...model.record import Change
from ...model.record import Ending
from ...model.record import merged
from ...model.record import Outcome
from ...model.record import Record
from ...model.record import SessionInfo
from ...model.record import Values
from .. import columns as row
from ..clock_witness import ClockWitness
from ..contract import Count
from ..contract import Touch
from ..contract import Traits
from .answers import changed
from .answers import delete_some
from .answers import info_of
from .answers import is_about
from .answers import wrong_answer
from .connection import Connection
from .endings import Endings
from .expiry import Expiry
from .file import has_wal_reset_fault
from .file import SQLiteFile
from .latest import Latest
from .statements import HAS_RETURNING
from .tallies import Tallies

#: How many sessions are looked at in one step: no request waits long for it.
_CHUNK = 128

#: A record of more bytes is not kept until its request writes.
_LARGEST_KNOWN = 1 << 16

_SEEN_AT, _DATA = row.RECORD.index("last_seen_at"), row.RECORD.index("data")


class _Known(NamedTuple):
    """A row as this thread read or wrote it last, and the values in it."""

    sid: SessionId
    columns: Sequence[Any]
    values: Values


class _Step(NamedTuple):
    """A statement that makes a change, and what the row is after it, as far as that is known."""

    statement: str
    told: Sequence[Any]
    known: _Known | None


class SQLiteStore:
    """The store of the workers of one host, in the file ``path``. It needs no server.

    The file, and its folder where there is none, are created for their owner alone. A call waits up to
    ``busy_timeout`` seconds for the writes of others. The end of a session, and a new secret, are on disk before the
    call returns. Other writes survive the end of any process, and may be lost with the power. Two applications that
    share a file take two values of ``table_prefix``.

    A change is one statement, which compares what the row holds with what this thread read: so SQLite's lock is held
    for the statement alone, and not while Python's threads take turns. Where another thread or process was quicker, the
    change is made in a transaction.
    """

    traits = Traits(chunked=True, has_facts=True, recalls=True, buries=True, counts=True, keeps_tallies=True)

    def __init__(self, path: str | os.PathLike[str], *, busy_timeout: float = 5.0, table_prefix: str = "") -> None:
        self._file = SQLiteFile(path, busy_timeout=busy_timeout, table_prefix=table_prefix)
        self._sql = self._file.sql
        self._witness = ClockWitness(Latest(self._file))
        self._endings = Endings(self._file)
        self._expiry = Expiry(self._file, self._endings)
        self._tallies = Tallies(self._file)
        self._thread = threading.local()
        self._file.try_to_open()

    def __repr__(self) -> str:
        return f"<SQLiteStore {str(self._file.path)!r}>"

    def create(self, record: Record) -> None:
        """Keep a new record. Raise :exc:`~flask_idlesession.SessionExists` if its id is taken."""
        sid = record.info.sid  # It tells no time: one that is carried from another store was seen long ago.
        with self._file.writing() as connection:
            if changed(connection, self._sql.insert, (sid.bytes, *_columns(record), record.info.expires_at), sid):
                return
        raise SessionExists(f"There is a session {sid} already.")

    def load(self, sid: SessionId, *, now: float, touch: Touch | None = None) -> Record | None:
        """Return the record if it is live at ``now``, else None; with ``touch``, note activity in the same step.

        Raise :exc:`UnreadableRecord` if what the file holds is no record.
        """
        self._note(now)
        if touch is not None:
            return self._touched(sid, touch, now)
        record = self._read(sid)
        return record if record is not None and record.info.is_live(now) else None

    def commit(self, sid: SessionId, change: Change, *, now: float) -> Outcome:
        """Apply the change in one step, if the session is live and opens to the change's holder; return the outcome."""
        self._note(now)
        step = self._step_of(sid, change, now) if HAS_RETURNING else None
        is_final = change.rotation is not None or change.end_if_emptied
        if step is not None and not is_final and is_about(sid, self._file.write(step.statement, step.told)):
            self._thread.known = step.known
            return Outcome.DONE
        with self._file.writing_through() if is_final else self._file.writing() as connection:
            if is_final and step is not None and changed(connection, step.statement, step.told, sid):
                self._thread.known = step.known
                return Outcome.DONE
            self._thread.known = None
            return self._commit(connection, sid, change, now)[0]

    def delete(self, sid: SessionId) -> bool:
        """Forget the session, and return when that is on the disk; return whether there was one."""
        with self._file.writing_through() as connection:
            return changed(connection, self._sql.delete, (sid.bytes,), sid)

    def delete_many(self, sids: Sequence[SessionId]) -> list[SessionInfo]:
        """Forget these sessions, and return when that is on the disk; return the infos of those that were there."""
        ids = [sid.bytes for sid in dict.fromkeys(sids)]
        if not ids:
            return []
        with self._file.writing_through() as connection:
            if len(ids) <= _CHUNK and HAS_RETURNING:
                return delete_some(connection, self._sql, ids)
            with connection.transaction():
                chunks = [ids[at : at + _CHUNK] for at in range(0, len(ids), _CHUNK)]
                return [info for chunk in chunks for info in delete_some(connection, self._sql, chunk)]

    def find(self, *, now: float, user_id: str | None = None) -> Iterator[SessionInfo]:
        """Yield the infos of the sessions that are live at ``now``, in no order; with ``user_id``, only that user's."""
        self._note(now)
        for found in self._rows() if user_id is None else self._rows_of(user_id):
            info = info_of(found)
            if info is not None and info.is_live(now):
                yield info

    def prune(self, *, now: float, limit: int) -> list[SessionInfo]:
        """Forget up to ``limit`` sessions that have expired; return their infos, each once over all processes."""
        self._note(now)
        return self._expiry.prune(now=now, limit=limit)

    def next_expiry(self) -> float | None:
        """Return an instant before which :meth:`prune` has nothing to do; None if there is nothing to wait for."""
        return self._expiry.next()

    def bury(self, endings: Sequence[Ending], *, until: float) -> None:
        """Remember until the instant ``until`` how these sessions ended."""
        self._endings.bury(endings, until=until)

    def ending(self, sid: SessionId, *, now: float) -> Ending | None:
        """Return how the session ended, or None if that is not remembered at ``now``."""
        return self._endings.find(sid, now=now)

    def facts(self) -> dict[str, object]:
        """Return the file's ``path`` and ``mode``, SQLite's ``version``, and whether that ``has_wal_fault``."""
        return {
            "path": str(self._file.path),
            "mode": self._file.path.stat().st_mode & 0o777,
            "version": sqlite3.sqlite_version,
            "has_wal_fault": has_wal_reset_fault(sqlite3.sqlite_version_info[:3]),
        }

    def count(self) -> Count:
        """Return how many records there are. SQLite counts a million in an index within some 20 ms."""
        with self._file.reading() as connection:
            ((number,),) = connection.rows(self._sql.count)
        return Count(number, is_exact=True)

    def stored_bytes(self) -> int | None:
        """Return the size of the file, with that of the log beside it."""
        path, beside = self._file.path, Path(f"{self._file.path}-wal")
        return sum(each.stat().st_size for each in (path, beside) if each.exists())

    def endings(self, sids: Sequence[SessionId], *, now: float) -> list[Ending]:
        """Return how these sessions ended, as far as that is remembered."""
        return self._endings.find_some(sids, now=now)

    def add_tally(self, minute: int, amounts: Mapping[str, int], *, now: float) -> None:
        """Add these amounts to those of the minute and to the totals, in one step."""
        self._tallies.add(minute, amounts, now=now)

    def tallies(self, *, since: int) -> dict[int, dict[str, int]]:
        """Return the amounts of each minute from ``since`` on."""
        return self._tallies.since(since)

    def tally_totals(self) -> dict[str, int]:
        """Return the sums of all amounts."""
        return self._tallies.totals()

    def close(self) -> None:
        """Close the connections that are not in use. The next use opens one again."""
        self._file.close()

    # The steps of the above.

    def _note(self, now: float) -> None:
        if now >= self._witness.due:
            self._witness.note(now)

    def _read(self, sid: SessionId) -> Record | None:
        """Return the record, live or not."""
        found = self._file.read(self._sql.load, (sid.bytes,))
        return self._seen(sid, found[0]) if found else None

    def _touched(self, sid: SessionId, touch: Touch, now: float) -> Record | None:
        holder, refresh_by = touch.holder, touch.refresh_by
        if HAS_RETURNING:
            found = self._file.write(self._sql.visit, (now, refresh_by, sid.bytes, holder, now, refresh_by))
            if found:
                return self._seen(sid, found[0])
        before = self._read(sid)
        if before is None or not before.info.is_live(now) or not before.opens_to(holder, now=now):
            return None
        change = Change(holder=holder, last_seen_at=now, refresh_by=refresh_by if before.is_permanent else None)
        with self._file.writing() as connection:
            return self._commit(connection, sid, change, now)[1]

    def _seen(self, sid: SessionId, columns: Sequence[Any]) -> Record:
        """Return the record in a row, and keep it until this thread writes: most write what they have just read."""
        record = _record_of(sid, columns)
        self._thread.known = _Known(sid, columns, record.values) if len(columns[_DATA]) <= _LARGEST_KNOWN else None
        return record

    def _step_of(self, sid: SessionId, change: Change, now: float) -> _Step | None:
        """Return the statement that makes a change if the row is as this thread knows it; None if it does not know."""
        known: _Known | None = getattr(self._thread, "known", None)
        if change.is_simple and not change.delta and change.last_seen_at is not None:
            return _Step(self._sql.touch, (min(change.last_seen_at, now), sid.bytes, change.holder, now), known)
        if known is None or known.sid != sid:
            return None
        return self._write_of(known, change, now) if change.is_simple else self._replacement_of(known, change, now)

    def _write_of(self, known: _Known, change: Change, now: float) -> _Step | None:
        """Return the statement that writes values. Whether the session is live and the holder's, it asks itself."""
        sid, before, _ = known
        values = merged(known.values, change.delta)
        seen_at, data = before[_SEEN_AT], row.to_data(values)
        if change.last_seen_at is not None:
            seen_at = max(seen_at, min(change.last_seen_at, now))
        told = (seen_at, data, sid.bytes, change.holder, now, before[_DATA])
        columns = (*before[:_SEEN_AT], seen_at, *before[_SEEN_AT + 1 : _DATA], data)
        return _Step(self._sql.write, told, _Known(sid, columns, values))

    def _replacement_of(self, known: _Known, change: Change, now: float) -> _Step | None:
        sid, before, _ = known
        record = row.to_record(sid, before)
        if record.judge(change, now=now) is not Outcome.DONE:
            return None
        after = record.apply(change, now=now)
        columns = (sid.bytes, *_columns(after))
        as_read = (*before[1:_SEEN_AT], *before[_SEEN_AT + 1 : _DATA + 1])
        told = (*columns[1:], after.info.expires_at, sid.bytes, *as_read)
        return _Step(self._sql.replace, told, _Known(sid, columns, after.values))

    def _commit(
        self, connection: Connection, sid: SessionId, change: Change, now: float
    ) -> tuple[Outcome, Record | None]:
        """Make a change whatever the row holds; return the outcome, and if it is DONE the record after it."""
        with connection.transaction():
            found = connection.rows(self._sql.load, (sid.bytes,))
            if not found:
                return Outcome.GONE, None
            record = _record_of(sid, found[0])
            outcome = record.judge(change, now=now)
            if outcome is Outcome.EMPTIED:
                changed(connection, self._sql.delete, (sid.bytes,), sid)
            if outcome is not Outcome.DONE:
                return outcome, None
            after = record.apply(change, now=now)
            if change.is_simple:
                told: Sequence[Any] = (after.info.last_seen_at, row.to_data(after.values), sid.bytes)
                changed(connection, self._sql.save, told, sid)
            else:
                changed(connection, self._sql.update, (*_columns(after), after.info.expires_at, sid.bytes), sid)
            return outcome, after

    def _rows(self) -> Iterator[Sequence[Any]]:
        """Yield all rows, some at a time: who takes long over them must not keep the WAL from being moved."""
        after = b""
        while True:
            with self._file.reading() as connection:
                rows = connection.rows(self._sql.page, (after, _CHUNK))
            yield from rows
            if len(rows) < _CHUNK:
                return
            after = rows[-1][0]

    def _rows_of(self, user_id: str) -> Sequence[Sequence[Any]]:
        with self._file.reading() as connection:
            return connection.rows(self._sql.of_user, (user_id,))


def _record_of(sid: SessionId, columns: Sequence[Any]) -> Record:
    """Return the record in a row that was asked for."""
    if columns[0] != sid.bytes:
        raise wrong_answer(sid, columns[0])
    return row.to_record(sid, columns)


def _columns(record: Record) -> tuple[Any, ...]:
    """Return the columns of a record after its id."""
    return tuple(row.to_row(record).values())[1:]
