"""Turns a record, or how a session ended, into one row of an SQL table, and a row into what it was."""

from collections.abc import Sequence
from contextlib import suppress
from random import random
from typing import Any
from typing import NoReturn

from ..model import msgpack as engine
from ..model.errors import StoreError
from ..model.ids import SessionId
from ..model.record import Ending
from ..model.record import EndReason
from ..model.record import Labels
from ..model.record import NO_LABELS
from ..model.record import Record
from ..model.record import SessionInfo
from ..model.record import Values
from .contract import UnreadableRecord

#: The columns that make an info, in the order in which :func:`to_info` wants them, and those that a record
#: has besides. The values are one blob: with the row locked only the delta's keys change all the same, and
#: to read or write a row of 20 kB costs less than to look for a key in a second table.
INFO = ("sid", "user_id", "created_at", "last_seen_at", "idle_timeout", "lifetime_ends_at", "refresh_by", "labels")
RECORD = (*INFO, "secret_digest", "former_digest", "former_ends_at", "data")

#: The columns of an ending, in the order in which :func:`to_ending` wants them.
ENDING = ("sid", "user_id", "reason", "ended_by", "ended_at", "forget_at")

#: About how many endings of one session are remembered at most, and how many of many sessions. To count them takes
#: milliseconds, so that is done about once for every so many that are buried.
MOST_ENDINGS = 100_000
TRIMMED_EVERY = 1000

#: How many endings are forgotten at most in one step: because their time has come, and because there are too many.
FORGOTTEN_AT_ONCE = 256
TRIMMED_AT_ONCE = 4096

#: The first byte of the values' blob: what begins with another one was written by something else.
_FORMAT = b"\x01"

_ONLY_BYTES = frozenset((bytes,))


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
        "labels": engine.pack(dict(info.labels), _refuse) if info.labels else b"",
        "secret_digest": record.secret_digest,
        "former_digest": record.former_digest,
        "former_ends_at": record.former_ends_at,
        "data": to_data(record.values),
    }


def to_data(values: Values) -> bytes:
    """Return a record's values as the column ``data``."""
    return _FORMAT + engine.pack(dict(values), _refuse)


def to_info(sid: SessionId, row: Sequence[Any]) -> SessionInfo:
    """Return the info in a row that begins with the columns of :data:`INFO`. Labels that cannot be read are left
    out: a session that was spoilt is listed, and expires, like the others.
    """
    labels = NO_LABELS
    with suppress(StoreError):
        labels = _to_labels(sid, bytes(row[7]))
    return _to_info(sid, row, labels)


def to_record(sid: SessionId, row: Sequence[Any]) -> Record:
    """Return the record in a row that begins with the columns of :data:`RECORD`."""
    secret_digest, former_digest, former_ends_at, data = row[8:12]
    try:
        labels, values = _to_labels(sid, bytes(row[7])), _to_values(sid, bytes(data))
    except StoreError as error:
        raise UnreadableRecord(str(error), info=to_info(sid, row)) from error
    return Record(
        info=_to_info(sid, row, labels),
        secret_digest=bytes(secret_digest),
        values=values,
        former_digest=bytes(former_digest),
        former_ends_at=former_ends_at,
    )


def _to_info(sid: SessionId, row: Sequence[Any], labels: Labels) -> SessionInfo:
    _, user_id, created_at, last_seen_at, idle_timeout, lifetime_ends_at, refresh_by = row[:7]
    return SessionInfo(
        sid=sid,
        user_id=user_id,
        created_at=created_at,
        last_seen_at=last_seen_at,
        idle_timeout=idle_timeout,
        lifetime_ends_at=lifetime_ends_at,
        refresh_by=refresh_by,
        labels=labels,
    )


def to_ending_rows(endings: Sequence[Ending], *, until: float) -> list[dict[str, Any]]:
    """Return the endings' columns by name, one row for each session; ``sid`` is a UUID still."""
    rows = {
        ending.sid: {
            "sid": ending.sid,
            "user_id": ending.user_id,
            "reason": ending.reason.value,
            "ended_by": ending.by,
            "ended_at": ending.ended_at,
            "forget_at": until,
        }
        for ending in endings
    }
    # Always in one order, so that no two workers wait for each other.
    return [rows[sid] for sid in sorted(rows)]


def to_ending(sid: SessionId, row: Sequence[Any]) -> Ending:
    """Return the ending in a row that begins with the columns of :data:`ENDING`."""
    _, user_id, reason, by, ended_at = row[:5]
    try:
        return Ending(sid=sid, reason=EndReason(reason), ended_at=ended_at, user_id=user_id, by=by)
    except ValueError as error:
        raise StoreError(f"What is stored as the ending of session {sid} is nothing that this store wrote.") from error


def is_time_to_trim(endings: Sequence[Ending]) -> bool:
    """Return whether whoever buries these is to see to the bound, too: by chance, so that nothing is counted."""
    return random() * TRIMMED_EVERY < len(endings)


def _to_labels(sid: SessionId, data: bytes) -> Labels:
    if not data:
        return NO_LABELS
    labels = _unpack(sid, data, what="labels")
    if not all(isinstance(label, (str, int, float)) for label in labels.values()):
        raise StoreError(f"What is stored as the labels of session {sid} is not texts and numbers by name.")
    return labels


def _to_values(sid: SessionId, data: bytes) -> Values:
    values = _unpack(sid, data[1:] if data[:1] == _FORMAT else b"", what="values")
    if not _ONLY_BYTES.issuperset(map(type, values.values())):
        raise StoreError(f"What is stored as the values of session {sid} is not bytes by name.")
    return values


def _unpack(sid: SessionId, data: bytes, *, what: str) -> dict[str, Any]:
    try:
        unpacked = engine.unpack(data, _refuse)
    except (ValueError, TypeError) as error:
        raise StoreError(f"What is stored as the {what} of session {sid} is nothing that this store wrote.") from error
    if type(unpacked) is not dict:
        raise StoreError(f"What is stored as the {what} of session {sid} is nothing that this store wrote.")
    return unpacked


def _refuse(*what: object) -> NoReturn:
    raise TypeError(f"A record is made of texts, numbers and bytes, not {what!r}.")
