"""One connection to an SQLite file: how it waits for other processes, and what its errors mean."""

import sqlite3
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from random import SystemRandom
from typing import Any
from typing import TypeVar

from ...model.errors import ConfigError
from ...model.errors import RecordRejected
from ...model.errors import StoreError
from ...model.errors import StoreUnavailable
from ..private_files import quoted

#: The module's own state is the application's: tests seed it, and no thread of ours is to change it.
_chance = SystemRandom()

#: Seconds between two tries to get a lock that another process has. SQLite's own waits grow to a tenth of a second, so
#: that a request which was unlucky twice waits for long.
_PAUSE = 0.001

#: The errors while another process has the lock.
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)

#: The errors about one record's data: it is too large, or of a kind that SQLite cannot hold.
ABOUT_A_RECORD = (
    sqlite3.DataError,
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    OverflowError,
    UnicodeEncodeError,
)

Rows = list[tuple[Any, ...]]
Told = Sequence[Any]
_T = TypeVar("_T")


class Connection:
    """A connection in autocommit mode. It waits ``patience`` seconds for another process that has the lock."""

    __slots__ = ("plain", "patience", "is_durable", "era")

    def __init__(self, plain: sqlite3.Connection, *, patience: float, is_durable: bool, era: int) -> None:
        self.plain = plain
        self.patience = patience
        #: Whether what it writes is on disk before a statement returns.
        self.is_durable = is_durable
        #: Counts the files that there were at the path: which of them this is connected to.
        self.era = era

    def rows(self, statement: str, told: Told = ()) -> Rows:
        """Run a statement to its end, and return its rows."""
        try:
            return self.plain.execute(statement, told).fetchall()
        except sqlite3.OperationalError as error:
            if self.plain.in_transaction or not is_busy(error):
                raise
            return self._try_again(lambda: self.plain.execute(statement, told).fetchall(), error)

    def run_script(self, statements: str) -> None:
        """Run statements to their ends, rows without columns included, each a transaction of its own."""
        try:
            self.plain.executescript(statements)
        except sqlite3.OperationalError as error:
            if not is_busy(error):
                raise
            self._try_again(lambda: self.plain.executescript(statements), error)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Be the only writer. After an exception nothing was written."""
        self.rows("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self.plain.in_transaction:
                self.plain.execute("ROLLBACK")
            raise
        self.plain.execute("COMMIT")

    def _try_again(self, run: Callable[[], _T], error: sqlite3.OperationalError) -> _T:
        """Run something once the lock is free."""
        give_up_at = time.monotonic() + self.patience
        while time.monotonic() < give_up_at:
            time.sleep(_chance.uniform(0.5, 1.5) * _PAUSE)
            try:
                return run()
            except sqlite3.OperationalError as again:
                if not is_busy(again):
                    raise
                error = again
        raise error


def is_busy(error: Exception) -> bool:
    """Return whether another process has the lock that was asked for."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _BUSY


def too_busy(path: Path, patience: float) -> StoreUnavailable:
    """Return the store's error for a call that has waited too long for its turn to write."""
    return StoreUnavailable(f"Others have written to the session database {quoted(path)} for {patience} s.")


def failure_of(path: Path, error: Exception) -> StoreError:
    """Return the store's error for an error of the driver."""
    if isinstance(error, ABOUT_A_RECORD):
        return RecordRejected(f"The session database {quoted(path)} does not take this record: {error}.")
    if isinstance(error, ConfigError):
        return StoreUnavailable(str(error))
    return StoreUnavailable(f"The session database {quoted(path)} failed: {error}.")
