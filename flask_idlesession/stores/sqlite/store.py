"""Keeps records in one SQLite file, which all the workers of one host share."""

import os
import sqlite3
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from contextlib import suppress
from math import isfinite
from types import TracebackType
from typing import Any

from ...model.errors import ConfigError
from ...model.errors import SessionExists
from ...model.errors import StoreError
from ...model.ids import SessionId
from ...model.record import Change
from ...model.record import Ending
from ...model.record import Outcome
from ...model.record import Record
from ...model.record import SessionInfo
from .. import columns as row
from ..contract import Touch
from ..contract import Traits
from .file import has_wal_reset_fault
from .file import SQLiteFile

#: "Idle", as the file's application id: what says that a database is one of ours.
_APPLICATION_ID = 0x49646C65

# due_at is when prune() is to look at a session, never after it expires: a touch leaves it where it is, so that
# it moves nothing in an index, and prune() moves it on when its turn comes.
_SCHEMA = (
    """CREATE TABLE session (
        sid BLOB NOT NULL PRIMARY KEY,
        user_id TEXT,
        created_at REAL NOT NULL,
        last_seen_at REAL NOT NULL,
        idle_timeout REAL NOT NULL,
        lifetime_ends_at REAL NOT NULL,
        refresh_by REAL NOT NULL,
        labels BLOB NOT NULL,
        secret_digest BLOB NOT NULL,
        former_digest BLOB NOT NULL,
        former_ends_at REAL NOT NULL,
        due_at REAL NOT NULL,
        data BLOB NOT NULL
    )""",
    "CREATE INDEX session_due_at ON session (due_at)",
    "CREATE INDEX session_user_id ON session (user_id) WHERE user_id IS NOT NULL",
    """CREATE TABLE ending (
        sid BLOB NOT NULL PRIMARY KEY,
        user_id TEXT,
        reason TEXT NOT NULL,
        ended_by TEXT,
        ended_at REAL NOT NULL,
        forget_at REAL NOT NULL
    ) WITHOUT ROWID""",
    "CREATE INDEX ending_forget_at ON ending (forget_at)",
)

#: The statements that lead from one version of the schema (PRAGMA user_version) to the next, beginning with none.
MIGRATIONS: tuple[tuple[str, ...], ...] = (_SCHEMA,)

_INFO = ", ".join(row.INFO)
_RECORD = ", ".join(row.RECORD)

_INSERT = (
    f"INSERT INTO session ({_RECORD}, due_at) VALUES (:{', :'.join(row.RECORD)}, :due_at) ON CONFLICT (sid) DO NOTHING"
)
_LOAD = f"SELECT {_RECORD}, due_at FROM session WHERE sid = ?"
_CHANGED = ", ".join(f"{name} = :{name}" for name in (*row.RECORD[1:], "due_at"))
_UPDATE = f"UPDATE session SET {_CHANGED} WHERE sid = :sid"
_WRITE = "UPDATE session SET last_seen_at = ?, data = ? WHERE sid = ?"

_ENDING = ", ".join(row.ENDING)
_BURY = f"INSERT OR REPLACE INTO ending ({_ENDING}) VALUES (:{', :'.join(row.ENDING)})"
_EXHUME = f"SELECT {_ENDING} FROM ending WHERE sid = ? AND forget_at > ?"
_FORGET_DUE = """DELETE FROM ending WHERE sid IN (
    SELECT sid FROM ending WHERE forget_at <= ? ORDER BY forget_at LIMIT ?)"""
# The endings of many sessions (Ending.is_of_many) are told by their ids: they are UUIDs of version 5.
_OF_ONE, _OF_MANY = "substr(sid, 7, 1) NOT BETWEEN x'50' AND x'5F'", "substr(sid, 7, 1) BETWEEN x'50' AND x'5F'"
_COUNT_ENDINGS = "SELECT count(*) FROM ending WHERE {}"
_FORGET_OLDEST = "DELETE FROM ending WHERE sid IN (SELECT sid FROM ending WHERE {} ORDER BY forget_at LIMIT ?)"

# A change of the info's times alone, in one statement: the conditions are Record.judge's, the rest is Record.apply's.
# Numbers in the place of names are found faster. What does not mention due_at leaves its index alone.
_SEEN, _IDLE, _REFRESH = "max(last_seen_at, ?4)", "coalesce(?5, idle_timeout)", "coalesce(?6, refresh_by)"
_OPENS = """sid = ?1 AND ?2 < min(last_seen_at + idle_timeout, lifetime_ends_at, refresh_by)
    AND (secret_digest = ?3 OR (former_digest = ?3 AND ?2 < former_ends_at))"""
_TOUCH = f"UPDATE session SET last_seen_at = {_SEEN} WHERE {_OPENS}"
_MOVE = f"""UPDATE session SET last_seen_at = {_SEEN}, idle_timeout = {_IDLE}, refresh_by = {_REFRESH},
    due_at = min(due_at, {_SEEN} + {_IDLE}, lifetime_ends_at, {_REFRESH}) WHERE {_OPENS}"""
#: A touch of a session that is not permanent, and what it holds then.
_VISIT = f"{_TOUCH} AND refresh_by = 9e999 RETURNING {_RECORD}"

#: Since when SQLite returns rows that it changed.
_HAS_RETURNING = sqlite3.sqlite_version_info >= (3, 35)

#: How many sessions are looked at in one step of find() and prune().
_CHUNK = 256

#: After so many writes of one process it moves the WAL into the database, where SQLite does not do so safely itself.
_CHECKPOINT_AFTER = 500

_LONG_AGO = float("-inf")


class SQLiteStore:
    """The store of the workers of one host, in the file ``path``. It needs no server.

    The file, and its folder where there is none, are created for their owner alone. A call waits up to
    ``busy_timeout`` seconds for the writes of others. What ends a session or replaces its secret is on disk before
    the call returns; other writes survive the end of any process, and may be lost with the power.
    """

    traits = Traits(chunked=True, has_facts=True)

    def __init__(self, path: str | os.PathLike[str], *, busy_timeout: float = 5.0) -> None:
        self._file = SQLiteFile(path, busy_timeout=busy_timeout)
        self._writes = 0  # Since the last checkpoint; about right is enough, so no lock guards it.
        with self._connection() as connection:
            self._prepare(connection)

    def __repr__(self) -> str:
        return f"<SQLiteStore {str(self._file.path)!r}>"

    def create(self, record: Record) -> None:
        with self._writing() as connection:
            cursor = connection.execute(_INSERT, _columns(record, due_at=record.info.expires_at))
            if cursor.rowcount:
                return
        raise SessionExists(f"There is a session {record.info.sid} already.")

    def load(self, sid: SessionId, *, now: float, touch: Touch | None = None) -> Record | None:
        if touch is not None:
            return self._touched(sid, touch, now)
        with self._connection() as connection:
            record = self._load(connection, sid)
        return record if record is not None and record.info.is_live(now) else None

    def _touched(self, sid: SessionId, touch: Touch, now: float) -> Record | None:
        holder = touch.holder
        if _HAS_RETURNING:
            with self._writing() as connection:
                found = connection.execute(_VISIT, (sid.bytes, now, holder, now)).fetchall()
            if found:
                return row.to_record(sid, found[0])
        with self._writing() as connection, _transaction(connection):
            record = self._load(connection, sid)
            refresh_by = touch.refresh_by if record is not None and record.is_permanent else None
            change = Change(holder=holder, last_seen_at=now, refresh_by=refresh_by)
            if record is None or record.judge(change, now=now) is not Outcome.DONE:
                return None
            self._touch(connection, sid, change, now)
            return record.apply(change, now=now)

    def commit(self, sid: SessionId, change: Change, *, now: float) -> Outcome:
        if change.rotation is not None or change.end_if_emptied:
            with self._writing_through() as connection:
                return self._commit(connection, sid, change, now)
        with self._writing() as connection:
            if change.delta or change.expect or change.labels:
                return self._commit(connection, sid, change, now)
            return self._touch(connection, sid, change, now)

    def delete(self, sid: SessionId) -> bool:
        with self._writing_through() as connection:
            return connection.execute("DELETE FROM session WHERE sid = ?", (sid.bytes,)).rowcount > 0

    def delete_many(self, sids: Sequence[SessionId]) -> list[SessionInfo]:
        gone: list[SessionInfo] = []
        with self._writing_through() as connection, _transaction(connection):
            for sid in sids:
                found = connection.execute(f"SELECT {_INFO} FROM session WHERE sid = ?", (sid.bytes,)).fetchone()
                if found is not None:
                    connection.execute("DELETE FROM session WHERE sid = ?", (sid.bytes,))
                    gone.append(row.to_info(sid, found))
        return gone

    def find(self, *, now: float, user_id: str | None = None) -> Iterator[SessionInfo]:
        for found in self._rows() if user_id is None else self._rows_of(user_id):
            info = row.to_info(SessionId(bytes=found[0]), found)
            if info.is_live(now):
                yield info

    def prune(self, *, now: float, limit: int) -> list[SessionInfo]:
        gone: list[SessionInfo] = []
        while limit > 0 and not gone and self._is_due(now):
            with self._writing() as connection, _transaction(connection):
                gone = _forget_expired(connection, now=now, limit=limit)
        if gone:
            self._shrink()
        return gone

    def next_expiry(self) -> float | None:
        with self._connection() as connection:
            due_at = connection.execute("SELECT min(due_at) FROM session").fetchone()[0]
        return due_at if due_at is not None and isfinite(due_at) else None

    def bury(self, endings: Sequence[Ending], *, until: float) -> None:
        if not endings:
            return
        rows = [{**columns, "sid": columns["sid"].bytes} for columns in row.to_ending_rows(endings, until=until)]
        now = max(ending.ended_at for ending in endings)
        with self._writing() as connection, _transaction(connection):
            connection.executemany(_BURY, rows)
            connection.execute(_FORGET_DUE, (now, row.FORGOTTEN_AT_ONCE))
        if row.is_time_to_trim(endings):
            self._trim_endings(_OF_ONE)
            self._trim_endings(_OF_MANY)

    def ending(self, sid: SessionId, *, now: float) -> Ending | None:
        with self._connection() as connection:
            found = connection.execute(_EXHUME, (sid.bytes, now)).fetchone()
        return None if found is None else row.to_ending(sid, found)

    def facts(self) -> dict[str, object]:
        """Return the file's ``path`` and ``mode``, SQLite's ``version``, and whether that ``has_wal_fault``."""
        return {
            "path": str(self._file.path),
            "mode": self._file.path.stat().st_mode & 0o777,
            "version": sqlite3.sqlite_version,
            "has_wal_fault": has_wal_reset_fault(sqlite3.sqlite_version_info),
        }

    def close(self) -> None:
        self._file.close()

    # The steps of the above.

    def _touch(self, connection: sqlite3.Connection, sid: SessionId, change: Change, now: float) -> Outcome:
        seen = _LONG_AGO if change.last_seen_at is None else min(change.last_seen_at, now)
        told: tuple[Any, ...] = (sid.bytes, now, change.holder, seen)
        if change.shortens:
            cursor = connection.execute(_MOVE, (*told, change.idle_timeout, change.refresh_by))
        else:
            cursor = connection.execute(_TOUCH, told)
        return Outcome.DONE if cursor.rowcount else Outcome.GONE

    def _load(self, connection: sqlite3.Connection, sid: SessionId) -> Record | None:
        found = connection.execute(_LOAD, (sid.bytes,)).fetchone()
        return None if found is None else row.to_record(sid, found)

    def _commit(self, connection: sqlite3.Connection, sid: SessionId, change: Change, now: float) -> Outcome:
        with _transaction(connection):
            found = connection.execute(_LOAD, (sid.bytes,)).fetchone()
            if found is None:
                return Outcome.GONE
            record = row.to_record(sid, found)
            outcome = record.judge(change, now=now)
            if outcome is Outcome.EMPTIED:
                connection.execute("DELETE FROM session WHERE sid = ?", (sid.bytes,))
            if outcome is Outcome.DONE:
                after = record.apply(change, now=now)
                if change.is_simple:
                    told = (after.info.last_seen_at, row.to_data(after.values), sid.bytes)
                    connection.execute(_WRITE, told)
                else:
                    connection.execute(_UPDATE, _columns(after, due_at=min(found[-1], after.info.expires_at)))
            return outcome

    def _rows(self) -> Iterator[Sequence[Any]]:
        """Yield all rows, some at a time: who takes long over them must not keep the WAL from being moved."""
        after = b""
        while True:
            with self._connection() as connection:
                rows = connection.execute(
                    f"SELECT {_INFO} FROM session WHERE sid > ? ORDER BY sid LIMIT ?", (after, _CHUNK)
                ).fetchall()
            yield from rows
            if len(rows) < _CHUNK:
                return
            after = rows[-1][0]

    def _rows_of(self, user_id: str) -> Sequence[Sequence[Any]]:
        with self._connection() as connection:
            return connection.execute(f"SELECT {_INFO} FROM session WHERE user_id = ?", (user_id,)).fetchall()

    def _is_due(self, now: float) -> bool:
        """Return whether prune() has anything to look at: most calls find nothing, and need not wait to write."""
        with self._connection() as connection:
            return connection.execute("SELECT 1 FROM session WHERE due_at <= ? LIMIT 1", (now,)).fetchone() is not None

    def _trim_endings(self, which: str) -> None:
        """Forget the oldest endings beyond the bound, in steps for which nobody waits long."""
        with self._connection() as connection:
            count = connection.execute(_COUNT_ENDINGS.format(which)).fetchone()[0]
        excess = min(count - row.MOST_ENDINGS, row.TRIMMED_AT_ONCE)
        for at in range(0, excess, _CHUNK):
            with self._writing() as connection:
                connection.execute(_FORGET_OLDEST.format(which), (min(_CHUNK, excess - at),))

    def _shrink(self) -> None:
        """Give pages back to the file system while a quarter of the file is unused; the rest is used again."""
        with self._writing() as connection:
            free = connection.execute("PRAGMA freelist_count").fetchone()[0]
            used = connection.execute("PRAGMA page_count").fetchone()[0] - free
            if free > 64 and free * 3 > used:
                # Each step gives one page back, and only a script is stepped to its end.
                connection.executescript(f"PRAGMA incremental_vacuum({min(free - used // 8, 1024)})")

    # Connections.

    def _connection(self) -> "_Use":
        return _Use(self._file)

    def _writing(self) -> "_Use":
        return _Use(self._file, after=self._note_write)

    def _note_write(self) -> None:
        self._writes += 1
        if self._file.guards_checkpoints and self._writes >= _CHECKPOINT_AFTER:
            self._writes = 0
            self._checkpoint()

    @contextmanager
    def _writing_through(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection whose writes are on disk when it is given back."""
        with self._writing() as connection:
            connection.execute("PRAGMA synchronous = FULL")
            yield connection
            connection.execute("PRAGMA synchronous = NORMAL")

    def _checkpoint(self) -> None:
        """Move the WAL into the database while nobody can write: SQLite's fault needs a writer that starts the WAL
        anew during a checkpoint. Whoever finds another one writing, or the disk full, leaves it for later."""
        with suppress(StoreError), self._connection() as guard, self._connection() as connection:
            guard.execute("PRAGMA busy_timeout = 0")
            try:
                with _transaction(guard):
                    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
            guard.execute(f"PRAGMA busy_timeout = {int(self._file.busy_timeout * 1000)}")

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Create the tables, or bring those of an older version up to date, once over all processes."""
        with _transaction(connection):
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            known = connection.execute("PRAGMA application_id").fetchone()[0] == _APPLICATION_ID
            if not known and connection.execute("SELECT 1 FROM sqlite_master").fetchone():
                raise ConfigError(f"{self._file.path} is a database of something else; name another file.")
            if version > len(MIGRATIONS):
                raise ConfigError(
                    f"The session database {self._file.path} was written by a newer flask_idlesession (its version is "
                    f"{version}, this one knows {len(MIGRATIONS)}); install that one, or name another file."
                )
            for statements in MIGRATIONS[version:]:
                for statement in statements:
                    connection.execute(statement)
            if version < len(MIGRATIONS):
                connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
                connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")


class _Use:
    """The use of a connection, for a ``with`` block: what the driver raises in it is the store's failure. ``after`` is
    called when the connection was given back.
    """

    __slots__ = ("_file", "_after", "_connection")

    def __init__(self, file: SQLiteFile, *, after: Callable[[], None] | None = None) -> None:
        self._file = file
        self._after = after

    def __enter__(self) -> sqlite3.Connection:
        try:
            self._connection = self._file.take()
        except (sqlite3.Error, OSError) as error:
            raise _failure(self._file, error) from error
        return self._connection

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._file.give_back(self._connection)
            if self._after is not None:
                self._after()
            return
        self._file.throw_away(self._connection)
        if isinstance(error, sqlite3.Error | OSError):
            raise _failure(self._file, error) from error


def _failure(file: SQLiteFile, error: Exception) -> StoreError:
    return StoreError(f"The session database {file.path} failed: {error}")


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Be the only writer. After an exception nothing was written."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _columns(record: Record, *, due_at: float) -> dict[str, Any]:
    return {**row.to_row(record), "sid": record.info.sid.bytes, "due_at": due_at}


def _forget_expired(connection: sqlite3.Connection, *, now: float, limit: int) -> list[SessionInfo]:
    """Forget up to ``limit`` of the sessions whose turn it is, and file those anew that live on."""
    found = connection.execute(
        f"SELECT {_INFO} FROM session WHERE due_at <= ? ORDER BY due_at LIMIT ?", (now, limit + _CHUNK)
    ).fetchall()
    infos = [row.to_info(SessionId(bytes=each[0]), each) for each in found]
    gone = [info for info in infos if not info.is_live(now)][:limit]
    kept = [info for info in infos if info.is_live(now)]
    connection.executemany("DELETE FROM session WHERE sid = ?", [(info.sid.bytes,) for info in gone])
    connection.executemany(
        "UPDATE session SET due_at = ? WHERE sid = ?", [(info.expires_at, info.sid.bytes) for info in kept]
    )
    return gone
