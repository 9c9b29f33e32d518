"""Opens one SQLite file for many threads and processes: who may read it, who writes next, when it may fork."""

import logging
import os
import sqlite3
import threading
import time
import weakref
from contextlib import closing
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from ...model.errors import ConfigError
from ...model.errors import StoreUnavailable
from ...process.fair_lock import FairLock
from ...process.forks import ForkAware
from ...process.forks import register
from ...process.forks import Stage
from ...process.locks import ForkSafeLock
from ..private_files import check_file
from ..private_files import Place
from ..private_files import place_of
from ..private_files import prepare_folder
from ..private_files import quoted
from ..private_files import refusal
from .connection import ABOUT_A_RECORD
from .connection import Connection
from .connection import failure_of
from .connection import is_busy
from .connection import Rows
from .connection import Told
from .connection import too_busy
from .file_systems import file_system_of
from .file_systems import NETWORK_FILE_SYSTEMS
from .schema import bring_up_to_date
from .schema import check
from .statements import Statements

_logger = logging.getLogger("flask_idlesession")

#: Until fixed, SQLite could corrupt a WAL file when a writer restarted it while a second checkpoint ran
#: (https://sqlite.org/wal.html#walresetbug).
_FIXED = (3, 51, 3)
_FIXED_TOO = {(3, 50): (3, 50, 7), (3, 44): (3, 44, 6)}

#: After this number of writes a process moves the WAL into the database, where SQLite does not do so safely itself.
_CHECKPOINT_AFTER = 2000

#: How long a fork, or another file, waits for statements under way, at most.
_PATIENCE = 10.0

#: Seconds that a reader waits for its turn, which it does not need.
_MOMENT = 0.005

#: Seconds between two looks whether the file is still the one that was opened.
_LOOK_EVERY = 1.0

#: No database is shorter, if it is not empty.
_LEAST_BYTES = 512

#: The files that SQLite plays back into the database when it opens it.
_BESIDE = ("-wal", "-shm", "-journal")

#: Guards that no file is created by one thread and opened by another: to close a file drops every lock that
#: the process has on it (https://sqlite.org/howtocorrupt.html, 2.2). So a file that exists is never opened here.
_creation = ForkSafeLock()


def has_wal_reset_fault(version: tuple[int, int, int]) -> bool:
    """Return whether this version of SQLite has the fault of the WAL that is restarted."""
    return version < _FIXED_TOO.get(version[:2], _FIXED)


class _Places(NamedTuple):
    """Where the database is, and its log and the memory that its processes share, while they are open."""

    database: Place | None
    log: Place | None
    memory: Place | None


class SQLiteFile(ForkAware):
    """The connections of one process to one file. Each serves one thread at a time, in autocommit mode.

    There are as many as were ever needed at the same time, not one for each thread: a server that starts a
    thread for each request would open a file for each request. None is open while the process forks, as
    SQLite must not see one file from two processes with one memory: a fork waits until none is in use, closes
    them all, and parent and child open their own when they next need one.

    The threads of a process queue for writing before one of them asks SQLite, which knows no order.
    Another file at this path is noticed within a second, and opened in the place of the first.

    ``_lock`` guards the fields below it; a fork holds it. Nothing is called under it but the closing.
    """

    def __init__(self, path: str | os.PathLike[str], *, busy_timeout: float, table_prefix: str) -> None:
        if not str(path) or str(path).startswith((":memory:", "file:")):
            raise ConfigError(
                f"{str(path)!r} is not the path of a file, which an SQLite store needs to share sessions. [ISE025]"
            )
        self.path = Path(path).absolute()
        self.busy_timeout = busy_timeout
        self.sql = Statements(table_prefix)
        self.guards_checkpoints = has_wal_reset_fault(sqlite3.sqlite_version_info[:3])
        self.queue = FairLock()
        self._writes = 0  # Since the last checkpoint; about right is enough, so no lock guards it.
        self._lock = threading.Lock()
        self._turn = threading.Condition(self._lock)
        self._idle: list[Connection] = []
        self._used = 0
        self._is_resting = False
        self._era = 0
        self._places: _Places | None = None
        self._look_at = 0.0
        prepare_folder(self.path, of="session database")
        _check_file_system(self.path.parent)
        weakref.finalize(self, _close_all, self._idle)  # Python 3.13 warns of a connection that nobody closed.
        register(self, stage=Stage.STORES)

    # For the store.

    def try_to_open(self) -> None:
        """Open the file and make its tables, if nobody has to be waited for. Else the first use does so.

        Raise :exc:`~flask_idlesession.ConfigError` for a file that is none of ours.
        """
        with self._lock:
            self._reserve()
        connection = None
        try:
            with suppress(sqlite3.Error, OSError, StoreUnavailable):
                connection = self._open(is_durable=False, patience=0.0)
        finally:
            self._note_back(connection)

    def reading(self, *, patience: float | None = None) -> "_Use":
        """Lend a connection for a ``with`` block that only reads."""
        return _Use(self, None, self.busy_timeout if patience is None else patience, is_durable=False)

    def writing(self, *, patience: float | None = None) -> "_Use":
        """Lend a connection for a ``with`` block that writes, once it is this thread's turn."""
        return _Use(self, self.queue, self.busy_timeout if patience is None else patience, is_durable=False)

    def writing_through(self) -> "_Use":
        """The same, for what must be on disk before the block ends."""
        return _Use(self, self.queue, self.busy_timeout, is_durable=True)

    # Most calls are one statement: for these a block, with an object for it, takes twice as long as is needed.

    def read(self, statement: str, told: Told) -> Rows:
        """Run one statement that only reads; return its rows.

        A reader needs no turn. It waits a moment for one, so that it gets the connection that wrote last: another one
        must read its pages again.
        """
        if not self.queue.acquire(timeout=_MOMENT):
            return self._run(statement, told)
        try:
            return self._run(statement, told)
        finally:
            self.queue.release()

    def write(self, statement: str, told: Told) -> Rows:
        """Run one statement that writes, once it is this thread's turn; return its rows."""
        if not self.queue.acquire(timeout=self.busy_timeout):
            raise too_busy(self.path, self.busy_timeout)
        try:
            rows = self._run(statement, told)
        finally:
            self.queue.release()
        self.note_write()
        return rows

    def _run(self, statement: str, told: Told) -> Rows:
        try:
            connection = self.take(is_durable=False, patience=self.busy_timeout)
        except (sqlite3.Error, OSError, ConfigError) as error:
            raise failure_of(self.path, error) from error
        connection.patience = self.busy_timeout
        try:
            rows = connection.rows(statement, told)
        except BaseException as error:
            self.take_back(connection, error)
            raise
        self.give_back(connection)
        return rows

    def note_write(self, *, rows: int = 1) -> None:
        """Count a write, and make a checkpoint where it is time.

        A write of many rows is as many writes: a log that grew for long keeps all writers waiting when it is moved.
        """
        self._writes += rows
        if self.guards_checkpoints and self._writes >= _CHECKPOINT_AFTER:
            self._writes = 0
            self.checkpoint()

    def checkpoint(self) -> None:
        """Move the WAL into the database while nobody can write: SQLite's fault needs a writer that restarts the
        WAL during a checkpoint. Where another one writes, or the disk is full, it is left for later.
        """
        if not self.queue.acquire(timeout=self.busy_timeout):
            return
        taken: list[Connection] = []
        try:
            with suppress(sqlite3.Error, OSError, ConfigError, StoreUnavailable):
                self._take_into(taken, 2)  # In one step: a fork that came between would wait for the first.
                guard, other = (connection.plain for connection in taken)
                guard.execute("BEGIN IMMEDIATE")
                other.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
                guard.execute("COMMIT")
        finally:
            for connection in taken:
                if connection.plain.in_transaction:
                    self.throw_away(connection)
                else:
                    self.give_back(connection)
            self.queue.release()

    def close(self) -> None:
        """Close the connections that are not in use. The next use opens one again."""
        with self._turn:
            self._close_idle()

    # How connections come and go.

    def take(self, *, is_durable: bool, patience: float) -> Connection:
        """Lend a connection, which is to be given back."""
        if time.monotonic() >= self._look_at:
            self._look()
        with self._lock:
            self._reserve()
            connection = self._pick(is_durable=is_durable)
        if connection is not None:
            return connection
        try:
            return self._open(is_durable=is_durable, patience=patience)
        except BaseException:
            self._note_back(None)
            raise

    def give_back(self, connection: Connection) -> None:
        """Take back a connection after use."""
        if connection.era != self._era:
            self.throw_away(connection)
        else:
            self._note_back(connection)

    def take_back(self, connection: Connection, error: BaseException) -> None:
        """Take back a connection after an error. Raise what it means, if it is the driver's."""
        if isinstance(error, ABOUT_A_RECORD) and not connection.plain.in_transaction:
            self.give_back(connection)
        else:
            self.throw_away(connection)
        if isinstance(error, (sqlite3.Error, OSError, *ABOUT_A_RECORD)):
            raise failure_of(self.path, error) from error

    def throw_away(self, connection: Connection) -> None:
        """Take back a connection after an exception: it is closed, and with it whatever was half done undone."""
        try:
            with suppress(sqlite3.Error):
                connection.plain.close()
        finally:
            self._note_back(None)

    def _take_into(self, taken: list[Connection], number: int) -> None:
        """Lend several connections in one step."""
        with self._lock:
            self._reserve(number)
        for left in range(number, 0, -1):
            try:
                with self._lock:
                    connection = self._pick(is_durable=False)
                taken.append(connection or self._open(is_durable=False, patience=self.busy_timeout))
            except BaseException:
                for _ in range(left):
                    self._note_back(None)
                raise

    def _reserve(self, number: int = 1) -> None:
        """Wait until connections may be used, and note that ``number`` of them are. The lock is held."""
        while self._is_resting:
            self._turn.wait()
        self._used += number

    def _pick(self, *, is_durable: bool) -> Connection | None:
        """Return a connection that is open and not in use; None if there is none of this kind. The lock is held."""
        for at in range(len(self._idle) - 1, -1, -1):
            if self._idle[at].is_durable is is_durable:
                return self._idle.pop(at)
        return None

    def _note_back(self, connection: Connection | None) -> None:
        with self._lock:
            self._used -= 1
            if connection is not None:
                self._idle.append(connection)
            elif not self._used and not self._idle:
                self._note_nothing_open()
            if self._is_resting:
                self._turn.notify_all()

    def _close_idle(self) -> None:
        _close_all(self._idle)
        if not self._used:
            self._note_nothing_open()

    def _note_nothing_open(self) -> None:
        """Expect the database alone to be where it was: SQLite removes the other files with the last connection."""
        if self._places is not None:
            self._places = self._places._replace(log=None, memory=None)

    # How the file is opened.

    def _open(self, *, is_durable: bool, patience: float) -> Connection:
        era, known = self._era, self._places
        self._create_if_missing()
        self._check_files()
        if known is None:
            self._check_content()
        plain = sqlite3.connect(
            self.path, timeout=0.0, isolation_level=None, check_same_thread=False, cached_statements=64
        )
        connection = Connection(plain, patience=patience, is_durable=is_durable, era=era)
        try:
            self._set_up(connection)
        except BaseException:
            plain.close()
            raise
        return connection

    def _create_if_missing(self) -> None:
        if os.name == "posix":
            try:
                with _creation, suppress(FileExistsError):
                    os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
            except OSError as error:
                problem = f"The session database {quoted(self.path)} cannot be made: {error.strerror}."
                raise refusal(error, problem) from error

    def _check_files(self) -> None:
        for suffix in ("", *_BESIDE):
            check_file(self.path.with_name(self.path.name + suffix), of="session database")

    def _check_content(self) -> None:
        """Refuse a file that is none of ours, before anything is changed in it: not its journal mode either.

        Where a log lies beside it, the file is opened for reading alone: another program's log is not played back. Else
        it is not: a connection that only reads would leave a log of its own behind.
        """
        has_log = any(place_of(self.path.with_name(self.path.name + suffix)) for suffix in _BESIDE)
        uri = f"{self.path.as_uri()}?mode={'ro' if has_log else 'rw'}"
        try:
            if 0 < self.path.stat().st_size < _LEAST_BYTES:  # SQLite takes it for empty.
                raise sqlite3.DatabaseError("it is too short")
            with closing(sqlite3.connect(uri, uri=True, timeout=0.0)) as plain:
                check(Connection(plain, patience=0.0, is_durable=False, era=self._era), self.path)
        except sqlite3.OperationalError:
            return  # It waits for a lock, or to be repaired after a crash, which the next connection does.
        except sqlite3.DatabaseError as error:
            raise ConfigError(
                f"{quoted(self.path)} cannot be read as an SQLite database ({error}); name another file. [ISE025]"
            ) from error

    def _set_up(self, connection: Connection) -> None:
        connection.rows("PRAGMA synchronous = " + ("FULL" if connection.is_durable else "NORMAL"))
        connection.rows("PRAGMA secure_delete = ON")
        if self._places is None:
            check(connection, self.path)
            self._enter_wal(connection)
            bring_up_to_date(connection, self.path, prefix=self.sql.prefix)
        if self.guards_checkpoints:
            connection.rows("PRAGMA wal_autocheckpoint = 0")
        connection.rows("PRAGMA journal_size_limit = 16777216")
        connection.rows(self.sql.probe)  # From here on the log and the memory are open.
        self._check_files()  # Again: what was put there meanwhile is open now.
        places = self._find_places()
        with self._lock:
            if connection.era == self._era and (self._places is None or self._places.log is None):
                self._places = places

    def _enter_wal(self, connection: Connection) -> None:
        """Turn the file's WAL on. To turn it on SQLite does not wait for others that do so too, so we do."""
        give_up_at = time.monotonic() + connection.patience
        while True:
            try:
                if connection.rows("PRAGMA journal_mode") == [("wal",)]:
                    return
                connection.rows("PRAGMA auto_vacuum = INCREMENTAL")  # Only while the file is empty has it effect.
                if connection.rows("PRAGMA journal_mode = WAL") == [("wal",)]:
                    return
            except sqlite3.OperationalError as error:
                if not is_busy(error) or time.monotonic() >= give_up_at:
                    raise
            if time.monotonic() >= give_up_at:
                raise sqlite3.OperationalError(f"{self.path} could not be given a write-ahead log.")
            time.sleep(0.01)

    # Another file may come in its place.

    def _find_places(self) -> _Places:
        names = (self.path.with_name(self.path.name + suffix) for suffix in ("", "-wal", "-shm"))
        return _Places(*map(place_of, names))

    def _look(self) -> None:
        """Look whether the files are the ones that were opened; if not, say so, and open what is there."""
        self._look_at = time.monotonic() + _LOOK_EVERY
        expected = self._places
        if expected is None:
            return
        found = self._find_places()
        if expected.log is None:
            found = found._replace(log=None, memory=None)
        with self._turn:
            if found == expected or self._places is not expected or self._is_resting:
                return
            self._rest()  # As long as one is open, the next one that opens the file has the old log.
            self._era += 1
            self._places = None
            self._is_resting = False
            self._turn.notify_all()
        what = "was deleted" if found.database is None else "or a file that belongs to it was replaced or deleted"
        _logger.error(
            "The session database %s %s while it was in use. This process has lost its sessions, and "
            "opens the file that is at that path now. Stop all workers before you replace it."
            " [ISE088]",
            quoted(self.path),
            what,
        )

    # Around a fork.

    def before_fork(self) -> None:
        """Let nobody take a connection, wait until none is in use, and close them."""
        self._turn.acquire()
        while self._is_resting:
            self._turn.wait()
        self._rest()

    def after_fork_in_parent(self) -> None:
        """In the parent: go on."""
        self._is_resting = False
        self._turn.notify_all()
        self._turn.release()

    def after_fork_in_child(self) -> None:
        """In the child: only the thread that forked is here, and no thread that waited."""
        self.queue = FairLock()
        self._lock = threading.Lock()
        self._turn = threading.Condition(self._lock)
        self._used = 0
        self._is_resting = False

    def _rest(self) -> None:
        """Let nobody take a connection, wait until none is in use, and close them. The lock is held."""
        self._is_resting = True
        self._turn.wait_for(lambda: not self._used, timeout=_PATIENCE)
        self._close_idle()


class _Use:
    """The use of a connection, for a ``with`` block: what the driver raises in it is the store's failure."""

    __slots__ = ("_file", "_queue", "_patience", "_is_durable", "_connection")

    def __init__(self, file: SQLiteFile, queue: FairLock | None, patience: float, *, is_durable: bool) -> None:
        self._file = file
        self._queue = queue
        self._patience = patience
        self._is_durable = is_durable

    def __enter__(self) -> Connection:
        file, queue = self._file, self._queue
        if queue is not None and not queue.acquire(timeout=self._patience):
            raise too_busy(file.path, self._patience)
        try:
            self._connection = connection = file.take(is_durable=self._is_durable, patience=self._patience)
            connection.patience = self._patience
            return connection
        except BaseException as error:
            if queue is not None:
                queue.release()
            if isinstance(error, sqlite3.Error | OSError | ConfigError):
                raise failure_of(file.path, error) from error
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        file, connection = self._file, self._connection
        try:
            if error is None:
                file.give_back(connection)
            else:
                file.take_back(connection, error)
        finally:
            if self._queue is not None:
                self._queue.release()
        if error is None and self._queue is not None:
            file.note_write()


def _close_all(connections: list[Connection]) -> None:
    while connections:
        with suppress(sqlite3.Error):
            connections.pop().plain.close()


def _check_file_system(folder: Path) -> None:
    found = file_system_of(folder)
    if found in NETWORK_FILE_SYSTEMS:
        raise ConfigError(
            f"{quoted(folder)} is on a network file system ({found}), where SQLite's locks do not hold: put the "
            "session database on a local disk, or use Redis or an SQL server for many hosts."
            " [ISE025]"
        )
