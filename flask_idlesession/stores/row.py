"""Turns a record into one row of an SQL table, and a row into a record."""

from collections.abc import Sequence
from typing import Any
from typing import NoReturn

from .. import engine
from ..errors import StoreError
from ..ids import SessionId
from ..record import Record
from ..record import SessionInfo
from ..record import Values

#: The columns that make an info, in the order in which :func:`to_info` wants them, and those that a record
#: has besides. The values are one blob: with the row locked only the delta's keys change all the same, and
#: to read or write a row of 20 kB costs less than to look for a key in a second table.
INFO = ("sid", "user_id", "created_at", "last_seen_at", "idle_timeout", "lifetime_ends_at", "refresh_by")
RECORD = (*INFO, "secret_digest", "former_digest", "former_ends_at", "data")

#: The first byte of the values' blob: what begins with another one was written by something else.
_FORMAT = b"\x01"


def to_row(record: Record) -> dict[str, Any]:
    """Return the record's columns by name; ``sid`` is a UUID still."""
    info = record.info
    return {
        "sid": info.sid,
        "user_id": info.user_id,
        "created_at": info.created_at,
        "last_seen_at": info.last_seen_at,
        "idle_timeout": info.idle_timeout,
        "lifetime_ends_at": info.lifetime_ends_at,
        "refresh_by": info.refresh_by,
        "secret_digest": record.secret_digest,
        "former_digest": record.former_digest,
        "former_ends_at": record.former_ends_at,
        "data": _FORMAT + engine.pack(dict(record.values), _refuse),
    }


def to_info(sid: SessionId, row: Sequence[Any]) -> SessionInfo:
    """Return the info in a row that begins with the columns of :data:`INFO`."""
    _, user_id, created_at, last_seen_at, idle_timeout, lifetime_ends_at, refresh_by = row[:7]
    return SessionInfo(
        sid=sid,
        user_id=user_id,
        created_at=created_at,
        last_seen_at=last_seen_at,
        idle_timeout=idle_timeout,
        lifetime_ends_at=lifetime_ends_at,
        refresh_by=refresh_by,
    )


def to_record(sid: SessionId, row: Sequence[Any]) -> Record:
    """Return the record in a row that begins with the columns of :data:`RECORD`."""
    secret_digest, former_digest, former_ends_at, data = row[7:11]
    return Record(
        info=to_info(sid, row),
        secret_digest=bytes(secret_digest),
        values=_to_values(sid, bytes(data)),
        former_digest=bytes(former_digest),
        former_ends_at=former_ends_at,
    )


def _to_values(sid: SessionId, data: bytes) -> Values:
    try:
        values = engine.unpack(data[1:], _refuse) if data[:1] == _FORMAT else None
    except (ValueError, TypeError) as error:
        raise StoreError(f"What is stored as the values of session {sid} is nothing that this store wrote.") from error
    if type(values) is not dict or not all(type(value) is bytes for value in values.values()):
        raise StoreError(f"What is stored as the values of session {sid} is not bytes by name.")
    return values


def _refuse(*what: object) -> NoReturn:
    raise TypeError(f"A record's values are bytes by name, not {what!r}.")
