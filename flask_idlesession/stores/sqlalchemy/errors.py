"""Tells what a driver's error means: an outage, one session's data, or that the same call may succeed if sent again."""

from typing import Any

from sqlalchemy import Dialect
from sqlalchemy.exc import DBAPIError

from ...model.errors import RecordRejected
from ...model.errors import SessionExists
from ...model.errors import StoreError
from ...model.errors import StoreUnavailable

#: Serialization failure and deadlock (PostgreSQL, SQL:2016), deadlock and "record changed" (MariaDB, MySQL).
_BEATEN: frozenset[object] = frozenset({"40001", "40P01", 1213, 1020})

#: Without a WAL, SQLite lets nobody write while others read, and tells those it cannot make wait.
_SQLITE_BUSY = 5

#: The server reads and does not write: it is read-only, its disk is full, or the user may not write.
_READS_ONLY: frozenset[object] = frozenset({"25006", "53100", "42501", 1021, 1114, 1142, 1290, 1792, 1836})
_SQLITE_READS_ONLY = frozenset({8, 13})

#: A value is too large or of a wrong kind. PostgreSQL's class 22 is "data exception".
_REJECTED: frozenset[object] = frozenset({"23502", "23514", "54000", 1048, 1118, 1153, 1264, 1301, 1366, 1406})

#: A prepared statement is there already, or no more: something between shares connections or resets them.
_NAMES_MIXED: frozenset[object] = frozenset({"26000", "42P05"})

#: The errors that a driver raises when a text or a number cannot be sent.
UNSENDABLE = (UnicodeError, OverflowError)


class Lost(StoreUnavailable):
    """The connection was lost amid a call, which may or may not have been done."""


class Beaten(StoreUnavailable):
    """The server broke the call off for another's sake. Nothing of it was done."""


class NamesMixed(Beaten):
    """The server knows the prepared statement by another name, or not at all. Nothing was done."""


class ReadsOnly(StoreUnavailable):
    """The server answers and does not write."""


class CrossedAnswer(StoreUnavailable):
    """The answer is about another session than the call was. The connection is not used again."""


def told(error: BaseException, *, dialect: Dialect, connection: Any = None) -> StoreError | SessionExists:
    """Return what an error of the driver means that came on ``connection``, or while one was opened (None)."""
    cause: BaseException = error
    if isinstance(error, DBAPIError) and error.orig is not None:
        cause = error.orig  # SQLAlchemy's own error also shows the values that were sent.
    return _kind(error, cause, dialect, connection)(f"The session database failed: {cause}")


def _kind(
    error: BaseException, cause: BaseException, dialect: Dialect, connection: Any
) -> type[StoreError] | type[SessionExists]:
    if isinstance(cause, UNSENDABLE):
        return RecordRejected
    dbapi: Any = dialect.dbapi
    if not isinstance(cause, dbapi.Error) or (connection is None and not isinstance(error, DBAPIError)):
        return StoreUnavailable
    if _is_lost(error, cause, dialect, connection):
        return Lost
    code, sqlite_code = _code(cause), getattr(cause, "sqlite_errorcode", 0) & 0xFF
    if code in _BEATEN or sqlite_code == _SQLITE_BUSY:
        return Beaten
    if code in _NAMES_MIXED:
        return NamesMixed
    if code in _READS_ONLY or sqlite_code in _SQLITE_READS_ONLY:
        return ReadsOnly
    if code in _REJECTED or isinstance(cause, dbapi.DataError) or (isinstance(code, str) and code.startswith("22")):
        return RecordRejected
    return SessionExists if isinstance(cause, dbapi.IntegrityError) else StoreUnavailable


def _is_lost(error: BaseException, cause: Any, dialect: Dialect, connection: Any) -> bool:
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    return bool(connection is not None and dialect.is_disconnect(cause, connection, None))


def _code(error: Any) -> object:
    """Return the SQLSTATE (PostgreSQL's drivers) or the error's number (those of MariaDB and MySQL)."""
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    if state:
        return state
    first = next(iter(error.args), None)
    return first.get("C") if isinstance(first, dict) else first  # pg8000 has the fields of PostgreSQL's message.
