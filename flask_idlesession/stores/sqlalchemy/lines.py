"""Sends statements on one connection, by the driver's own cursor."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from contextlib import suppress
from typing import Any
from typing import TypeVar

from sqlalchemy import Dialect
from sqlalchemy import Pool

from ...model.errors import IdleSessionError
from ...process.socket_timeout import Guard
from ...process.socket_timeout import Watchdog
from .compiled import Statement
from .engines import enter_autocommit
from .engines import greet
from .errors import Lost
from .errors import told

T = TypeVar("T")

#: Where a pool keeps what guards a connection, and what its driver is to be told with each statement.
_GUARD, _OPTIONS = "idlesession guard", "idlesession options"


class Line:
    """A connection that was taken from a pool. One call uses it at a time."""

    __slots__ = (
        "pool",
        "guard",
        "recycle_at",
        "is_lost",
        "_lent",
        "_connection",
        "_dialect",
        "_raised",
        "_cursor",
        "_options",
        "_leave",
    )

    def __init__(
        self, lent: Any, *, pool: Pool, dialect: Dialect, raised: tuple[type[Exception], ...], recycle_at: float
    ) -> None:
        #: The pool that it was taken from, which the engine may have replaced since.
        self.pool = pool
        self.recycle_at = recycle_at
        self.guard: Guard | None = None
        #: Whether the connection is no more.
        self.is_lost = False
        self._lent = lent
        self._connection: Any = lent.dbapi_connection
        self._dialect = dialect
        self._raised = raised
        self._cursor: Any = None
        self._options: dict[str, Any] = {}
        self._leave: Callable[[], None] | None = None

    @property
    def is_usable(self) -> bool:
        """Whether another call can use it."""
        return self._cursor is not None and not self.is_lost

    def guard_by(self, watchdog: Watchdog) -> Guard | None:
        """Have the watchdog guard the socket, where the driver tells its number."""
        fileno = getattr(self._connection, "fileno", None)
        if fileno is not None:
            with self._telling():
                self.guard = self._lent.info.get(_GUARD) or watchdog.guard(fileno())
                self._lent.info[_GUARD] = self.guard
        return self.guard

    def begin(self, *, limit: float | None, names: bool) -> None:
        """Make the connection ready: in autocommit mode, and if it is new with the server's ``limit`` for a call.

        ``names``: the driver may give a name to what it prepares.
        """
        with self._telling():
            self._leave = enter_autocommit(self._connection, self._dialect)
            options = self._lent.info.get(_OPTIONS)
            if options is None:
                options = greet(self._connection, driver=self._dialect.driver, timeout=limit)
                self._lent.info[_OPTIONS] = options
            self._options = options if names or "prepare" not in options else {**options, "prepare": False}
            self._cursor = self._connection.cursor()

    def end(self) -> None:
        """Give the connection back to its pool, as it was."""
        try:
            with self._telling():
                self._cursor.close()
                if self._leave is not None:
                    self._leave()
        except IdleSessionError:
            self.drop()
        else:
            self._lent.close()

    def drop(self) -> None:
        """Close the connection."""
        with suppress(*self._raised):
            self._lent.invalidate()

    def rows(self, statement: Statement, values: dict[str, Any]) -> list[Sequence[Any]]:
        """Send a statement; return the rows of its answer."""
        return self._send(statement, values, statement.read)

    def number(self, statement: Statement, values: dict[str, Any]) -> int:
        """Send a statement; return the number that MariaDB hands back with the answer, 0 if none."""
        return self._send(statement, values, _number)

    def count(self, statement: Statement, values: dict[str, Any]) -> int:
        """Send a statement; return how many rows it met."""
        return self._send(statement, values, _count)

    def say(self, text: str) -> None:
        """Send a statement that has neither values nor an answer."""
        with self._telling():
            self._cursor.execute(text)

    def _send(self, statement: Statement, values: dict[str, Any], read: Callable[[Any], T]) -> T:
        try:
            self._cursor.execute(statement.text, statement.bind(values), **self._options)
            return read(self._cursor)
        except self._raised as error:
            raise self._told(error) from error

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Raise what an error of the driver means."""
        try:
            yield
        except self._raised as error:
            raise self._told(error) from error

    def _told(self, error: Exception) -> IdleSessionError:
        meant = told(error, dialect=self._dialect, connection=self._connection)
        self.is_lost |= isinstance(meant, Lost)
        return meant


def _number(cursor: Any) -> int:
    return cursor.lastrowid or 0


def _count(cursor: Any) -> int:
    return int(cursor.rowcount)
