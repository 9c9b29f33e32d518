"""Keeps records in a table of an SQL server: PostgreSQL, MariaDB or MySQL, or an SQLite engine, by SQLAlchemy."""

import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from contextlib import nullcontext
from functools import partial
from typing import Any
from typing import TypeVar
from weakref import finalize

from sqlalchemy import ColumnElement
from sqlalchemy import Connection
from sqlalchemy import create_engine
from sqlalchemy import delete
from sqlalchemy import Engine
from sqlalchemy import func
from sqlalchemy import insert
from sqlalchemy import inspect
from sqlalchemy import literal
from sqlalchemy import make_url
from sqlalchemy import MetaData
from sqlalchemy import or_
from sqlalchemy import Select
from sqlalchemy import select
from sqlalchemy import update
from sqlalchemy.dialects import mysql
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import IntegrityError
from sqlalchemy.exc import SQLAlchemyError

from ...model.errors import ConfigError
from ...model.errors import SessionExists
from ...model.errors import StoreError
from ...model.ids import new_session_id
from ...model.ids import SessionId
from ...model.record import Change
from ...model.record import Ending
from ...model.record import LONGEST_USER_ID
from ...model.record import Outcome
from ...model.record import Record
from ...model.record import SessionInfo
from ...process.forks import ForkAware
from ...process.forks import register
from ...process.forks import Stage
from ...process.socket_timeout import Watchdog
from .. import columns as row
from ..contract import Touch
from ..contract import Traits
from .tables import ENDLESS
from .tables import Instant
from .tables import make_endings
from .tables import make_sessions
from .tables import print_ddl

T = TypeVar("T")

#: What begins a transaction with the isolation that the store is written for, whatever the server's default is.
_BEGIN = {
    "postgresql": ("BEGIN ISOLATION LEVEL READ COMMITTED",),
    "mysql": ("SET TRANSACTION ISOLATION LEVEL READ COMMITTED", "START TRANSACTION"),
    "mariadb": ("SET TRANSACTION ISOLATION LEVEL READ COMMITTED", "START TRANSACTION"),
    "sqlite": ("BEGIN IMMEDIATE",),
}

#: What the servers call "try again": serialization failure, deadlock, record changed since it was read.
_TRANSIENT: frozenset[object] = frozenset({"40001", "40P01", 1213, 1020})

#: Without a WAL, SQLite lets nobody write while others read, and tells those it cannot make wait.
_SQLITE_BUSY = 5

#: How often a statement is tried at most that the server broke off for another's sake, or whose connection was lost.
_TRIES = 6

#: How often a commit is tried without a lock, before it takes its turn with one.
_WITHOUT_LOCK = 3

#: How many sessions are looked at in one step of find() and prune().
_CHUNK = 256

#: Any number will do that nobody else locks by.
_LOCK = 0x49646C65


class SQLAlchemyStore(ForkAware):
    """The store of many hosts that share an SQL server, in the tables ``idlesession_session`` and ``…_ending``.

    Of ``engine`` the pool is used, each connection in autocommit mode and for no longer than one call. Nothing is
    sent before the first call, which creates the tables unless ``create_table`` is false; :meth:`ddl` prints them,
    and ``metadata`` is for Alembic.

    With PostgreSQL a call that takes longer than ``timeout`` seconds is broken off; PyMySQL does that by itself.

    A change is one UPDATE that names the version it read; only what meets others again and again takes a lock.
    """

    traits = Traits(chunked=True)

    def __init__(
        self, engine: Engine, *, table_prefix: str = "idlesession_", create_table: bool = True, timeout: float = 2.0
    ) -> None:
        if engine.dialect.name not in _BEGIN:
            raise ConfigError(
                f"An SQLAlchemy store works on {', '.join(_BEGIN)}; this engine is for {engine.dialect.name}."
            )
        self.metadata = MetaData()
        self.table = make_sessions(self.metadata, table_prefix)
        self.endings = make_endings(self.metadata, table_prefix)
        self._origin = engine
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._watchdog = Watchdog(timeout=timeout)
        self._is_prepared = not create_table
        register(self, stage=Stage.STORES)
        least, greatest = ("min", "max") if engine.dialect.name == "sqlite" else ("least", "greatest")
        self._least, self._greatest = getattr(func, least), getattr(func, greatest)
        self._info = [self.table.c[name] for name in row.INFO]
        self._record = [self.table.c[name] for name in row.RECORD]
        self._ending = [self.endings.c[name] for name in row.ENDING]

    @classmethod
    def from_url(cls, url: str, *, timeout: float = 1.0, table_prefix: str = "idlesession_") -> "SQLAlchemyStore":
        """Return a store with an engine of its own, set up to answer or fail within about ``timeout`` seconds."""
        engine = create_engine(url, **engine_options(url, timeout=timeout))
        store = cls(engine, table_prefix=table_prefix, timeout=timeout)
        finalize(store, engine.dispose)  # Drivers warn of a connection that nobody closed.
        return store

    def __repr__(self) -> str:
        return f"<SQLAlchemyStore {self._origin.url.render_as_string()}>"

    def ddl(self) -> str:
        """Return the statements that create the tables, for this engine's kind of server."""
        return print_ddl(self.metadata, self._origin.dialect)

    def create(self, record: Record) -> None:
        user_id = record.info.user_id
        if user_id is not None and len(user_id.encode()) > LONGEST_USER_ID:
            raise StoreError(f"A user id of more than {LONGEST_USER_ID} bytes cannot be stored: {user_id[:40]!r}…")
        # Not 1: a commit that read a session of this id before it was ended must not take this one for that.
        version = new_session_id().int >> 67
        columns = {**row.to_row(record), "due_at": record.info.expires_at, "version": version}
        tries = []

        def work(connection: Connection) -> None:
            tries.append(1)
            connection.execute(insert(self.table), columns)

        try:
            self._call(work)
        except SessionExists:
            # It may be this very one, sent by a connection that was lost before it could say so.
            if len(tries) == 1 or self._fetch(record.info.sid) != record:
                raise SessionExists(f"There is a session {record.info.sid} already.") from None

    def load(self, sid: SessionId, *, now: float, touch: Touch | None = None) -> Record | None:
        if touch is not None:
            return self._touched(sid, touch, now=now)
        record = self._fetch(sid)
        return record if record is not None and record.info.is_live(now) else None

    def commit(self, sid: SessionId, change: Change, *, now: float) -> Outcome:
        if change.rotation is None and not (change.delta or change.expect or change.labels or change.end_if_emptied):
            return self._touch(sid, change, now=now)
        for _ in range(_WITHOUT_LOCK):
            outcome = self._call(lambda connection: self._try(connection, sid, change, now))
            if outcome is not None:
                return outcome
        outcome = self._transact(lambda connection: self._try(connection, sid, change, now, lock=True))
        assert outcome is not None, "Nobody else writes to a row that is locked."
        return outcome

    def delete(self, sid: SessionId) -> bool:
        statement = delete(self.table).where(self.table.c.sid == sid)
        return self._call(lambda connection: connection.execute(statement).rowcount) > 0

    def delete_many(self, sids: Sequence[SessionId]) -> list[SessionInfo]:
        return self._transact(lambda connection: self._delete_many(connection, sorted(sids))) if sids else []

    def find(self, *, now: float, user_id: str | None = None) -> Iterator[SessionInfo]:
        for found in self._rows() if user_id is None else self._rows_of(user_id):
            info = row.to_info(found[0], found)
            if info.is_live(now):
                yield info

    def prune(self, *, now: float, limit: int) -> list[SessionInfo]:
        gone: list[SessionInfo] = []
        due = select(self.table.c.sid).where(self.table.c.due_at <= now).limit(1)
        while limit > 0 and not gone and self._call(lambda connection: connection.execute(due).first()):
            seen, gone = self._transact(lambda connection: self._forget_expired(connection, now=now, limit=limit))
            if not seen:
                break  # Another worker is at the same ones.
        return gone

    def next_expiry(self) -> float | None:
        statement = select(func.min(self.table.c.due_at))
        due_at = self._call(lambda connection: connection.execute(statement).scalar())
        return due_at if due_at is not None and due_at < ENDLESS else None

    def bury(self, endings: Sequence[Ending], *, until: float) -> None:
        if endings:
            self._transact(lambda connection: self._bury(connection, endings, until=until))

    def ending(self, sid: SessionId, *, now: float) -> Ending | None:
        table = self.endings.c
        statement = select(*self._ending).where(table.sid == sid, table.forget_at > now)
        found = self._call(lambda connection: connection.execute(statement).first())
        if found is None:
            return None
        if found[0] != sid:
            raise StoreError(f"The server was asked for session {sid} and answered with another one.")
        return row.to_ending(sid, found)

    def close(self) -> None:
        """Close the connections that are not in use, in this process. The next call opens one again."""
        self._origin.dispose()

    def after_fork_in_child(self) -> None:
        """Leave the parent's connections to the parent."""
        _parent_pools.append(self._origin.pool)
        self._origin.dispose(close=False)

    # The steps of the above.

    def _fetch(self, sid: SessionId) -> Record | None:
        statement = select(*self._record).where(self.table.c.sid == sid)
        found = self._call(lambda connection: connection.execute(statement).first())
        if found is None:
            return None
        if found[0] != sid:
            raise StoreError(f"The server was asked for session {sid} and answered with another one.")
        return row.to_record(sid, found)

    def _delete_many(self, connection: Connection, sids: Sequence[SessionId]) -> list[SessionInfo]:
        statement = select(*self._info).where(self.table.c.sid.in_(sids)).order_by(self.table.c.sid)
        if self._origin.dialect.name != "sqlite":
            statement = statement.with_for_update()
        infos = [row.to_info(found[0], found) for found in connection.execute(statement)]
        if infos:
            connection.execute(delete(self.table).where(self.table.c.sid.in_([info.sid for info in infos])))
        return infos

    def _touched(self, sid: SessionId, touch: Touch, *, now: float) -> Record | None:
        record = self._fetch(sid)
        if record is None:
            return None
        refresh_by = touch.refresh_by if record.is_permanent else None
        change = Change(holder=touch.holder, last_seen_at=now, refresh_by=refresh_by)
        if record.judge(change, now=now) is not Outcome.DONE or self._touch(sid, change, now=now) is not Outcome.DONE:
            return None
        return record.apply(change, now=now)

    def _touch(self, sid: SessionId, change: Change, *, now: float) -> Outcome:
        """Change the info alone, in one statement: the conditions are Record.judge's, the rest is Record.apply's."""
        table = self.table.c
        seen: Any = table.last_seen_at
        if change.last_seen_at is not None:
            seen = self._greatest(table.last_seen_at, min(change.last_seen_at, now), type_=table.last_seen_at.type)
        values: dict[str, Any] = {"last_seen_at": seen}
        if change.idle_timeout is not None or change.refresh_by is not None:
            idle = _given(change.idle_timeout) if change.idle_timeout is not None else table.idle_timeout
            refresh = _given(change.refresh_by) if change.refresh_by is not None else table.refresh_by
            # MariaDB takes a column that was just set as it is now, the others as it was: alike for these.
            ends = self._least(table.due_at, seen + idle, table.lifetime_ends_at, refresh)
            values |= {"idle_timeout": idle, "refresh_by": refresh, "due_at": ends, "version": table.version + 1}
        statement = (
            update(self.table)
            .where(table.sid == sid, self._expires_at() > now)
            .where(
                or_(
                    table.secret_digest == change.holder,
                    (table.former_digest == change.holder) & (table.former_ends_at > now),
                )
            )
            .values(values)
        )
        return Outcome.DONE if self._call(lambda connection: connection.execute(statement).rowcount) else Outcome.GONE

    def _try(
        self, connection: Connection, sid: SessionId, change: Change, now: float, *, lock: bool = False
    ) -> Outcome | None:
        """Return what became of the commit; None if another one came between reading and writing."""
        table = self.table.c
        statement = select(*self._record, table.due_at, table.version).where(table.sid == sid)
        if lock and self._origin.dialect.name != "sqlite":
            statement = statement.with_for_update()
        found = connection.execute(statement).first()
        if found is None:
            return Outcome.GONE
        record = row.to_record(sid, found)
        outcome = record.judge(change, now=now)
        here = (table.sid == sid, table.version == found.version)
        if outcome is Outcome.EMPTIED:
            return outcome if _write(connection, delete(self.table).where(*here)) else None
        if outcome is not Outcome.DONE:
            return outcome
        after = record.apply(change, now=now)
        values = row.to_row(after)
        del values["sid"]
        values["last_seen_at"] = self._greatest(
            table.last_seen_at, after.info.last_seen_at
        )  # A touch asks for no version.
        values |= {"due_at": min(found.due_at, after.info.expires_at), "version": found.version + 1}
        return outcome if _write(connection, update(self.table).where(*here).values(values)) else None

    def _forget_expired(self, connection: Connection, *, now: float, limit: int) -> tuple[int, list[SessionInfo]]:
        """Forget up to ``limit`` of the sessions whose turn it is, and file those anew that live on."""
        table = self.table.c
        statement = select(*self._info).where(table.due_at <= now).order_by(table.due_at).limit(limit + _CHUNK)
        if self._origin.dialect.name != "sqlite":
            statement = statement.with_for_update(skip_locked=self._skips_locked())
        infos = [row.to_info(found[0], found) for found in connection.execute(statement)]
        gone = [info for info in infos if not info.is_live(now)][:limit]
        kept = [info.sid for info in infos if info.is_live(now)]
        if gone:
            connection.execute(delete(self.table).where(table.sid.in_([info.sid for info in gone])))
        if kept:
            connection.execute(update(self.table).where(table.sid.in_(kept)).values(due_at=self._expires_at()))
        return len(infos), gone

    def _bury(self, connection: Connection, endings: Sequence[Ending], *, until: float) -> None:
        connection.execute(self._upsert(), row.to_ending_rows(endings, until=until))
        table = self.endings.c
        due = table.forget_at <= max(ending.ended_at for ending in endings)
        self._forget_endings(connection, select(table.sid).where(due).limit(row.FORGOTTEN_AT_ONCE))
        if row.is_time_to_trim(endings):
            count = connection.execute(select(func.count()).select_from(self.endings)).scalar() or 0
            if count > row.MOST_ENDINGS:
                excess = min(count - row.MOST_ENDINGS, row.TRIMMED_AT_ONCE)
                self._forget_endings(connection, select(table.sid).limit(excess))

    def _upsert(self) -> Any:
        """Return the statement that writes an ending, over that which is there of the same session."""
        others = row.ENDING[1:]
        if self._origin.dialect.name in ("mysql", "mariadb"):
            replacing = mysql.insert(self.endings)
            return replacing.on_duplicate_key_update({name: replacing.inserted[name] for name in others})
        make = postgresql.insert if self._origin.dialect.name == "postgresql" else sqlite.insert
        inserting = make(self.endings)
        return inserting.on_conflict_do_update(
            index_elements=["sid"], set_={name: inserting.excluded[name] for name in others}
        )

    def _forget_endings(self, connection: Connection, statement: Select[Any]) -> None:
        """Forget the first to go of those that ``statement`` finds, but for what another worker is forgetting."""
        statement = statement.order_by(self.endings.c.forget_at)
        if self._origin.dialect.name != "sqlite":
            statement = statement.with_for_update(skip_locked=self._skips_locked())
        sids = connection.execute(statement).scalars().all()
        if sids:
            connection.execute(delete(self.endings).where(self.endings.c.sid.in_(sids)))

    def _skips_locked(self) -> bool:
        """Return whether the server knows SKIP LOCKED; on one that does not, workers wait for each other."""
        dialect: Any = self._origin.dialect
        version: tuple[int, ...] = dialect.server_version_info or (0,)
        if dialect.name == "postgresql":
            return version >= (9, 5)
        return version >= ((10, 6) if dialect.is_mariadb else (8, 0, 1))

    def _expires_at(self) -> ColumnElement[float]:
        table = self.table.c
        ends: ColumnElement[float] = self._least(
            table.last_seen_at + table.idle_timeout, table.lifetime_ends_at, table.refresh_by, type_=table.due_at.type
        )
        return ends

    def _rows(self) -> Iterator[Sequence[Any]]:
        """Yield all rows, some at a time: who takes long over them must not keep a connection."""
        statement = select(*self._info).order_by(self.table.c.sid).limit(_CHUNK)
        rows = self._all(statement)
        while rows:
            yield from rows
            rows = self._all(statement.where(self.table.c.sid > rows[-1][0])) if len(rows) == _CHUNK else []

    def _rows_of(self, user_id: str) -> Sequence[Sequence[Any]]:
        return self._all(select(*self._info).where(self.table.c.user_id == user_id))

    def _all(self, statement: Any) -> Sequence[Sequence[Any]]:
        return self._call(lambda connection: connection.execute(statement).all())

    # Connections.

    def _call(self, work: Callable[[Connection], T]) -> T:
        """Return what ``work`` does with a connection; it is done again if the server broke it off."""
        if not self._is_prepared:
            self._prepare()
        return self._insist(work)

    def _transact(self, work: Callable[[Connection], T]) -> T:
        """Return what ``work`` does in one transaction; it is done again if the server broke it off."""
        return self._call(partial(self._in_transaction, work))

    def _insist(self, work: Callable[[Connection], T]) -> T:
        give_up_at = time.monotonic() + self._watchdog.timeout
        for left in reversed(range(_TRIES)):
            try:
                with self._lend() as connection:
                    return work(connection)
            except IntegrityError as error:
                raise SessionExists("There is such a session already.") from error
            except SQLAlchemyError as error:
                if not left or not _is_transient(error) or time.monotonic() >= give_up_at:
                    raise _store_error("failed", error) from _told(error)
        raise AssertionError("unreachable")

    @contextmanager
    def _lend(self) -> Iterator[Connection]:
        """Lend a connection. One that was left amid a reply is never used again: the next might get that reply."""
        pool = self._origin.pool
        try:
            with self._engine.connect() as connection:
                fileno = getattr(connection.connection.dbapi_connection, "fileno", None)
                try:
                    with nullcontext() if fileno is None else self._watchdog.watch(fileno()):
                        yield connection
                except SQLAlchemyError:
                    raise
                except BaseException:
                    connection.invalidate()
                    raise
        finally:
            if pool is not self._origin.pool:  # It was closed meanwhile, and what has come back to it is still open.
                pool.dispose()

    def _in_transaction(self, work: Callable[[Connection], T], connection: Connection) -> T:
        for statement in _BEGIN[self._origin.dialect.name]:
            connection.exec_driver_sql(statement)
        try:
            answer = work(connection)
        except SQLAlchemyError:
            try:
                connection.exec_driver_sql("ROLLBACK")
            except SQLAlchemyError:
                connection.invalidate()
            raise
        try:
            connection.exec_driver_sql("COMMIT")
        except SQLAlchemyError as error:
            raise _store_error("may or may not have kept a change", error) from _told(error)
        return answer

    def _prepare(self) -> None:
        """Create the tables if need be, one process at a time."""
        if not self._insist(lambda connection: all(map(inspect(connection).has_table, self.metadata.tables))):
            self._insist(_CREATE[self._origin.dialect.name](self))
        self._is_prepared = True

    def _create_in_transaction(self) -> Callable[[Connection], None]:
        def work(connection: Connection) -> None:
            if connection.dialect.name == "postgresql":
                connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
            self.metadata.create_all(connection)

        return partial(self._in_transaction, work)

    def _create_under_lock(self) -> Callable[[Connection], None]:
        def work(connection: Connection) -> None:
            name = f"{self.table.name}.{_LOCK}"
            connection.execute(select(func.get_lock(name, 10)))
            try:
                self.metadata.create_all(connection)
            finally:
                connection.execute(select(func.release_lock(name)))

        return work


_CREATE: dict[str, Callable[[SQLAlchemyStore], Callable[[Connection], None]]] = {
    "postgresql": SQLAlchemyStore._create_in_transaction,
    "sqlite": SQLAlchemyStore._create_in_transaction,
    "mysql": SQLAlchemyStore._create_under_lock,
    "mariadb": SQLAlchemyStore._create_under_lock,
}


def engine_options(url: str, *, timeout: float) -> dict[str, Any]:
    """Return what to call :func:`sqlalchemy.create_engine` with, for calls of one statement that end in time."""
    options: dict[str, Any] = {"isolation_level": "AUTOCOMMIT", "hide_parameters": True}
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        options |= {"pool_timeout": timeout, "pool_size": 10, "max_overflow": 20, "pool_use_lifo": True}
        options |= {"pool_recycle": 1800, "pool_reset_on_return": None, "skip_autocommit_rollback": True}
    milliseconds = max(int(timeout * 1000), 1)
    if parsed.drivername in ("postgresql", "postgresql+psycopg", "postgresql+psycopg2"):
        limits = f"-c statement_timeout={milliseconds} -c lock_timeout={milliseconds}"
        limits += f" -c idle_in_transaction_session_timeout={10 * milliseconds}"
        given = parsed.query.get("options")
        options["connect_args"] = {
            "connect_timeout": max(int(timeout), 2),
            "tcp_user_timeout": milliseconds,
            "options": f"{given} {limits}" if isinstance(given, str) else limits,
        }
    elif parsed.get_driver_name() == "pymysql":
        options["connect_args"] = dict.fromkeys(("connect_timeout", "read_timeout", "write_timeout"), timeout)
    return options


def _told(error: SQLAlchemyError) -> BaseException:
    """Return what the driver raised: SQLAlchemy's own error also shows the values that were sent."""
    return (error.orig if isinstance(error, DBAPIError) else None) or error


def _store_error(what: str, error: SQLAlchemyError) -> StoreError:
    return StoreError(f"The session database {what}: {_told(error)}")


def _given(seconds: float) -> ColumnElement[float]:
    return literal(seconds, Instant())


def _write(connection: Connection, statement: Any) -> bool:
    """Return whether the statement met its row. It is not tried again when the connection is lost: it may be done."""
    try:
        return bool(connection.execute(statement).rowcount)
    except DBAPIError as error:
        if error.connection_invalidated:
            raise _store_error("may or may not have kept a change", error) from _told(error)
        raise


def _is_transient(error: SQLAlchemyError) -> bool:
    if not isinstance(error, DBAPIError):
        return False
    if error.connection_invalidated:
        return True
    if getattr(error.orig, "sqlite_errorcode", 0) & 0xFF == _SQLITE_BUSY:
        return True
    told = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)
    return (told or next(iter(error.orig.args if error.orig else ()), None)) in _TRANSIENT


#: Pools of parents, which a child neither uses nor closes, nor lets the collector close.
_parent_pools: list[object] = []
