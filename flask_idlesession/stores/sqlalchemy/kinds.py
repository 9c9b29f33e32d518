"""Says in each kind of server's own words what the servers say differently."""

from collections.abc import Iterator
from collections.abc import Sequence
from itertools import count
from secrets import randbits
from typing import Any
from typing import Protocol
from typing import TypeVar

from sqlalchemy import BigInteger
from sqlalchemy import bindparam
from sqlalchemy import case
from sqlalchemy import cast
from sqlalchemy import ColumnElement
from sqlalchemy import Delete
from sqlalchemy import Dialect
from sqlalchemy import func
from sqlalchemy import LargeBinary
from sqlalchemy import literal_column
from sqlalchemy import Select
from sqlalchemy import select
from sqlalchemy import Subquery
from sqlalchemy import Table
from sqlalchemy import Update
from sqlalchemy.types import TypeEngine

from .compiled import Statement
from .errors import CrossedAnswer
from .tables import Instant

#: The begin of a transaction with the isolation that the store is written for, whatever the server's default is.
BEGIN = {
    "postgresql": ("BEGIN ISOLATION LEVEL READ COMMITTED",),
    "mysql": ("SET TRANSACTION ISOLATION LEVEL READ COMMITTED", "START TRANSACTION"),
    "mariadb": ("SET TRANSACTION ISOLATION LEVEL READ COMMITTED", "START TRANSACTION"),
    "sqlite": ("BEGIN IMMEDIATE",),
}

T = TypeVar("T")

#: The answer of :meth:`Kind.prove` if the row's version was another than was thought.
UNKNOWN = -1

#: Numbers for MariaDB to tell back, each for one statement: an even one, and the odd one behind it.
_tokens = count(2 * randbits(48) + 2, 2)

_OFF: Any = literal_column("'off'")


class Asks(Protocol):
    """A connection that is lent, as far as it sends statements."""

    def rows(self, statement: Statement, values: dict[str, Any]) -> list[Sequence[Any]]:
        """Return the rows that the statement returns."""

    def number(self, statement: Statement, values: dict[str, Any]) -> int:
        """Return how many rows the statement changed."""


def given(name: str, type_: TypeEngine[Any]) -> Any:
    """Return what stands for a value that is given with the call: by its column's name and an underscore."""
    return bindparam(f"{name}_", type_=type_)


def numbered(name: str, size: int, type_: TypeEngine[Any]) -> list[Any]:
    """Return what stands for ``size`` values that are given with the call, as :func:`in_turn` names them."""
    return [given(f"{name}_{number}", type_) for number in range(size)]


def in_turn(name: str, values: Sequence[Any], *, size: int) -> dict[str, Any]:
    """Return values by their names; the last one stands for those that are missing."""
    return {f"{name}_{number}_": values[min(number, len(values) - 1)] for number in range(size)}


def in_batches(values: Sequence[T], sizes: Sequence[int]) -> Iterator[tuple[int, Sequence[T]]]:
    """Yield the values in batches, and with each the least of ``sizes`` that has room for it."""
    at = 0
    while at < len(values):
        size = next((each for each in sizes if each >= len(values) - at), sizes[-1])
        yield size, values[at : at + size]
        at += size


class Kind:
    """One kind of server, as an SQLAlchemy dialect describes it once it has been connected."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.is_postgresql = dialect.name == "postgresql"
        self.is_mysql = dialect.name in ("mysql", "mariadb")
        self.is_sqlite = dialect.name == "sqlite"
        #: Whether an INSERT, an UPDATE and a DELETE return the row that they met.
        self.insert_returns: bool = getattr(dialect, "insert_returning", False)
        self.update_returns: bool = getattr(dialect, "update_returning", False)
        self.delete_returns: bool = getattr(dialect, "delete_returning", False)

    @property
    def proves(self) -> bool:
        """Whether an UPDATE alone can prove that it met its row. If not, the row is read in the same transaction."""
        return self.update_returns or self.is_mysql

    def made(self, clause: Any, *, answers: Sequence[Any] = ()) -> Statement:
        """Return the statement, which answers with these columns."""
        return Statement(clause, self.dialect, answers=answers)

    def least(self, *values: Any) -> ColumnElement[float]:
        """Return the earliest of some instants."""
        made: ColumnElement[float] = (func.min if self.is_sqlite else func.least)(*values, type_=Instant())
        return made

    def greatest(self, *values: Any) -> ColumnElement[float]:
        """Return the latest of some instants."""
        made: ColumnElement[float] = (func.max if self.is_sqlite else func.greatest)(*values, type_=Instant())
        return made

    def joined(self, first: ColumnElement[bytes], second: ColumnElement[bytes]) -> ColumnElement[bytes]:
        """Return the bytes of both, one after the other."""
        if self.is_mysql:
            joined: Any = func.concat(first, second, type_=LargeBinary())
            return joined  # type: ignore[no-any-return]
        both: ColumnElement[bytes] = first.op("||", return_type=LargeBinary())(second)
        return cast(both, LargeBinary()) if self.is_sqlite else both

    def locking(self, found: Select[Any]) -> Select[Any]:
        """Return a SELECT whose rows nobody else changes until the transaction ends."""
        return found if self.is_sqlite else found.with_for_update()

    def locking_free(self, found: Select[Any]) -> Select[Any]:
        """Return the same, which passes over rows that somebody else has locked, if the server can."""
        return found if self.is_sqlite else found.with_for_update(skip_locked=self._skips_locked())

    def hasty(self, changing: Any) -> Any:
        """Return a change that does not wait for the disk, where that can be said of one statement."""
        return changing.where(no_wait().c.waits == _OFF) if self.is_postgresql else changing

    def deleting(self, deleted: Delete, *, answers: Sequence[Any]) -> Statement:
        """Return a DELETE that answers with what it deleted, if it can."""
        return self.made(deleted.returning(*answers), answers=answers) if self.delete_returns else self.made(deleted)

    # Changes of one row, which prove that they were done.

    def version(self, table: Table, *, adds: int) -> ColumnElement[int]:
        """Return what becomes of the row's version.

        MariaDB's UPDATE returns no row. There the row hands a number to the connection, LAST_INSERT_ID(number), which
        comes back with the answer: ``token_`` if its version was ``version_``, and else one more.
        """
        version: Any = table.c.version
        if not self.is_mysql:
            return version + literal_column(str(adds))  # type: ignore[no-any-return]
        token = given("token", BigInteger())
        is_known = version == given("version", BigInteger())
        told = func.last_insert_id(case((is_known, token), else_=token + literal_column("1")))
        return case((told == literal_column("0"), version), else_=version + literal_column(str(adds)))

    def changing(self, table: Table, changed: Update, *values: tuple[Any, Any]) -> Statement:
        """Return an UPDATE that sets these values in this order, for :meth:`prove`."""
        made, columns = changed.ordered_values(*values), [table.c.sid, table.c.version]
        return self.made(made.returning(*columns), answers=columns) if self.update_returns else self.made(made)

    def prove(self, line: Asks, statement: Statement, values: dict[str, Any]) -> int | None:
        """Send an UPDATE of one session. Return the row's version after it, :data:`UNKNOWN`, or None if it met none."""
        if self.update_returns:
            rows = line.rows(statement, values)
            if not rows:
                return None
            check(rows[0][0], values["sid_"])
            return int(rows[0][1])
        token = next(_tokens)
        told = line.number(statement, {**values, "token_": token})
        if not told:
            return None
        if told not in (token, token + 1):
            raise CrossedAnswer("The session database gave the answer to another statement.")
        return UNKNOWN if told != token else int(values["version_"]) + 1

    def do(self, line: Asks, statement: Statement, values: dict[str, Any]) -> None:
        """Send a change of a row that this transaction has locked."""
        if statement.answers:
            line.rows(statement, values)
        else:
            line.number(statement, {"token_": next(_tokens), **values})

    def _skips_locked(self) -> bool:
        dialect: Any = self.dialect
        version: tuple[int, ...] = dialect.server_version_info or (0,)
        if self.is_postgresql:
            return version >= (9, 5)
        return version >= ((10, 6) if dialect.is_mariadb else (8, 0, 1))


def no_wait() -> Subquery:
    """PostgreSQL: one row, for the sake of which the transaction that it is in does not wait for the disk.

    The setting ends with the transaction. SET on a connection would reach others, behind a pooler.
    """
    off: Any = literal_column("set_config('synchronous_commit', 'off', true)")
    return select(off.label("waits")).subquery("hasty")


def one_row() -> Subquery:
    """Return one row, beside which there is another one or NULL."""
    return select(literal_column("1").label("one")).subquery("one")


def check(told: object, sid: object) -> None:
    """Raise :exc:`CrossedAnswer` unless the answer is about the session that was asked for."""
    if told != sid:
        raise CrossedAnswer(f"The session database was asked about session {sid} and answered about another one.")
