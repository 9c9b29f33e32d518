"""Lends the connections of an engine, one for each call, and sends what may be sent again.

To check a connection out of SQLAlchemy's pool for each call, and to have SQLAlchemy run the statement, takes ten times
the processor time.
"""

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from ...model.errors import IdleSessionError
from ...model.errors import StoreError
from ...process.socket_timeout import Watchdog
from .engines import enter_autocommit
from .engines import is_direct
from .errors import Beaten
from .errors import CrossedAnswer
from .errors import Lost
from .errors import NamesMixed
from .errors import told
from .errors import UNSENDABLE
from .hearing import DRIVERS
from .hearing import Hearing
from .kinds import BEGIN
from .lines import Line

T = TypeVar("T")

#: How often a call is sent at most that the server broke off for another's sake, or whose connection was lost.
_TRIES = 6

#: How many connections of an engine of the store's own are kept ready, and for how many seconds each.
_KEPT = 10
_RECYCLED = 1800.0


class Connections:
    """The connections of one engine, each in autocommit mode while it is lent.

    Those of an application's engine go back to its pool after each call, as they came.
    """

    def __init__(self, engine: Engine, *, timeout: float) -> None:
        self.engine = engine
        self._timeout = timeout
        self._watchdog = Watchdog(timeout=timeout)
        driver: Any = engine.dialect.dbapi
        self._raised: tuple[type[Exception], ...] = (driver.Error, SQLAlchemyError, OSError, *UNSENDABLE)
        #: The connections of an engine of the store's own that are ready. Nobody else uses its pool.
        self.ready: deque[Line] = deque()
        self._keeps = False
        self._is_closed = False
        #: Whether the driver may name what it has prepared.
        self._names = True

    def own(self) -> None:
        """Take the engine for the store's alone: keep connections ready, and have its server keep to the timeout."""
        self._keeps = True

    def ask(self, work: Callable[[Line], T]) -> T:
        """Return what ``work`` does with a connection. It is done again if the connection was lost."""
        try:
            return self._lend(work)
        except (Lost, Beaten) as error:
            return self._insist(partial(self._lend, work), (Lost, Beaten), error)

    def tell(self, work: Callable[[Line], T]) -> T:
        """Return what ``work`` does with a connection. Raise :exc:`Lost` if it may or may not have been done."""
        try:
            return self._lend(work)
        except Beaten as error:
            return self._insist(partial(self._lend, work), (Beaten,), error)

    def transact(self, work: Callable[[Line], T]) -> T:
        """Return what ``work`` does in one transaction. Raise :exc:`Lost` if that may or may not have been kept."""

        def transaction(line: Line) -> T:
            try:
                for text in BEGIN[self.engine.dialect.name]:
                    line.say(text)
                answer = work(line)
            except Lost as error:
                raise Beaten(str(error)) from error.__cause__
            except IdleSessionError:
                _roll_back(line)
                raise
            line.say("COMMIT")
            return answer

        return self.tell(transaction)

    def open(self, work: Callable[[Connection], T]) -> T:
        """Return what ``work`` does with a connection of SQLAlchemy's, which is slow, and knows how to make tables."""
        engine = self.engine.execution_options(isolation_level="AUTOCOMMIT")

        def attempt() -> T:
            pool = engine.pool
            try:
                with engine.connect() as connection:
                    return work(connection)
            except self._raised as error:
                raise told(error, dialect=self.engine.dialect) from error
            finally:
                if self._is_closed or pool is not self.engine.pool:  # The pool got the connection back too late.
                    pool.dispose()

        try:
            return attempt()
        except (Lost, Beaten) as error:
            return self._insist(attempt, (Lost, Beaten), error)

    @property
    def can_hear(self) -> bool:
        """Whether a connection can be told what happens on the server."""
        return self.engine.dialect.name == "postgresql" and self.engine.dialect.driver in DRIVERS

    def hear(self, channel: str) -> Hearing | None:
        """Return a subscription on a connection that the pool has no more; None behind a pooler."""
        try:
            lent = self.engine.raw_connection()
            lent.detach()
        except self._raised as error:
            raise told(error, dialect=self.engine.dialect) from error
        connection: Any = lent.dbapi_connection
        try:
            enter_autocommit(connection, self.engine.dialect)
            if is_direct(connection, None):
                hearing = Hearing(connection, channel, watchdog=self._watchdog, raised=self._raised)
                connection = None
                return hearing
        except self._raised as error:
            raise told(error, dialect=self.engine.dialect) from error
        finally:
            if connection is not None:
                with suppress(*self._raised):
                    connection.close()
        return None

    def close(self) -> None:
        """Close the connections, those in use when their calls are done. A call that comes later has one of its own."""
        self._is_closed = True
        self._drop_ready()

    def _drop_ready(self) -> None:
        drop_all(self.ready)
        self.engine.dispose()

    def leave_to_parent(self) -> None:
        """In a child, leave the connections alone that it got from its parent."""
        _of_parents.extend((self.engine.pool, self.ready))
        self.ready = deque()
        self.engine.dispose(close=False)

    def _insist(self, attempt: Callable[[], T], again: tuple[type[StoreError], ...], error: StoreError) -> T:
        """Return what another attempt does, after one that failed with ``error``."""
        give_up_at = time.monotonic() + self._timeout
        for _ in range(_TRIES - 1):
            if isinstance(error, NamesMixed):
                self._names = False
                drop_all(self.ready)
            try:
                return attempt()
            except again as another:
                error = another
                if time.monotonic() >= give_up_at:
                    break
        raise error

    def _lend(self, work: Callable[[Line], T]) -> T:
        line = self._take()
        answer = self._work_on(line, work)
        self._give_back(line, None)
        return answer

    def _work_on(self, line: Line, work: Callable[[Line], T]) -> T:
        """Return what the work returns; after an error give the connection back.

        A connection that was left in the middle of an answer is never used again: the next call might get that answer.
        """
        try:
            if line.guard is not None:
                self._watchdog.watch(line.guard)
            return work(line)
        except IdleSessionError as error:
            self._give_back(line, error)
            raise
        except BaseException:
            line.drop()
            raise

    def _take(self) -> Line:
        while self.ready:
            try:
                line = self.ready.pop()
            except IndexError:  # Another thread was quicker.
                break
            if time.monotonic() < line.recycle_at:
                return line
            line.drop()
        return self._open()

    def _give_back(self, line: Line, error: IdleSessionError | None) -> None:
        is_whole = line.guard is None or self._watchdog.release(line.guard)
        is_of_pool = line.pool is self.engine.pool
        is_done_with = self._is_closed or isinstance(error, CrossedAnswer)
        if not is_of_pool or not is_whole or not line.is_usable or is_done_with:
            line.drop()
        elif self._keeps and len(self.ready) < _KEPT:
            self.ready.append(line)
            if self._is_closed or line.pool is not self.engine.pool:  # Just now.
                drop_all(self.ready)
        else:
            line.end()
        if line.is_lost and is_of_pool:  # The server has ended the others, too.
            self._drop_ready()

    def _open(self) -> Line:
        """Take a connection from the pool, and make it ready."""
        pool, recycle_at = self.engine.pool, time.monotonic() + _RECYCLED
        try:
            lent = self.engine.raw_connection()
        except self._raised as error:
            raise told(error, dialect=self.engine.dialect) from error
        line = Line(lent, pool=pool, dialect=self.engine.dialect, raised=self._raised, recycle_at=recycle_at)
        self._work_on(line, self._make_ready)
        return line

    def _make_ready(self, line: Line) -> None:
        guard = line.guard_by(self._watchdog)
        if guard is not None:
            self._watchdog.watch(guard)
        line.begin(limit=self._timeout if self._keeps else None, names=self._names)


def drop_all(lines: deque[Line]) -> None:
    """Close these connections."""
    while lines:
        with suppress(IndexError):  # Another thread may be quicker.
            lines.pop().drop()


def _roll_back(line: Line) -> None:
    try:
        line.say("ROLLBACK")
    except IdleSessionError:
        line.is_lost = True


#: Pools and connections of parents, which a child neither uses nor closes, nor lets the collector close.
_of_parents: list[object] = []
