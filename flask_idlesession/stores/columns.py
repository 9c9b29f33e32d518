"""Turns a record, or how a session ended, into one row of an SQL table, and a row into what it was.

The values are one blob: a byte for the format, and a map in msgpack. More maps may follow it. Each is a delta, which a
store can put behind the blob without reading it.
"""

from collections.abc import Sequence
from contextlib import suppress
from hmac import compare_digest
from random import SystemRandom
from typing import Any
from typing import NoReturn

from ..model import msgpack as engine
from ..model.errors import RecordRejected
from ..model.errors import StoreError
from ..model.ids import SessionId
from ..model.record import Delta
from ..model.record import Ending
from ..model.record import EndReason
from ..model.record import Labels
from ..model.record import LONGEST_USER_ID
from ..model.record import merged
from ..model.record import NO_LABELS
from ..model.record import Record
from ..model.record import SessionInfo
from ..model.record import Values
from .contract import UnreadableRecord
from .row_record import info_of
from .row_record import row_record

_chance = SystemRandom()

#: The columns that make an info, in the order in which :func:`to_info` wants them, and those that a record has besides.
#: The values are one blob. The row is locked, so only the delta's keys change all the same. To read or write a row of
#: 20 kB costs less than to look for a key in a second table.
INFO = ("sid", "user_id", "created_at", "last_seen_at", "idle_timeout", "lifetime_ends_at", "refresh_by", "labels")
RECORD = (*INFO, "secret_digest", "former_digest", "former_ends_at", "data")

#: The columns of an ending, in the order in which :func:`to_ending` wants them.
ENDING = ("sid", "user_id", "reason", "ended_by", "ended_at", "forget_at")

#: About how many endings of one session are remembered at most, and how many of many sessions. To count them takes
#: milliseconds, so that is done about once in :data:`TRIMMED_EVERY` burials.
MOST_ENDINGS = 100_000
TRIMMED_EVERY = 1000

#: How many endings are forgotten at most in one step: because their time has come, and because there are too many.
FORGOTTEN_AT_ONCE = 256
TRIMMED_AT_ONCE = 4096

#: Bytes that the labels of one session may take as msgpack: MariaDB's column has no room for more.
LONGEST_LABELS = 65_535

#: Characters that are kept of who ended a session.
_LONGEST_BY = 10_000

#: The first byte of the values' blob: what begins with another one was written by something else.
_FORMAT = b"\x01"

#: The bytes with which msgpack begins a larger map, or a text, bytes or nil, and how many bytes of its size follow.
_MAPS = {0xDE: 2, 0xDF: 4}
_TEXTS_AND_BYTES = {0xC0: 0, 0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}

_ONLY_BYTES = frozenset((bytes,))
#: SQLite returns a whole number as an int if one statement changes and returns it.
_NUMBERS = frozenset((float, int))

#: The types of the columns of :data:`RECORD` after the id, in rows that were read and could be. They are a few.
_well_typed: set[tuple[type, ...]] = set()


def to_row(record: Record) -> dict[str, Any]:
    """Return the record's columns by name; ``sid`` is a UUID still.

    Raise :exc:`~flask_idlesession.RecordRejected` for what no column can hold.
    """
    info = record.info
    if info.user_id is not None and not is_user_id(info.user_id):
        raise RecordRejected(
            f"A user id that is not text, or of more than {LONGEST_USER_ID} bytes, cannot be stored: "
            f"{info.user_id[:40]!r}…"
        )
    return {
        "sid": info.sid,
        "user_id": info.user_id,
        "created_at": info.created_at,
        "last_seen_at": info.last_seen_at,
        "idle_timeout": info.idle_timeout,
        "lifetime_ends_at": info.lifetime_ends_at,
        "refresh_by": info.refresh_by,
        "labels": _from_labels(info),
        "secret_digest": record.secret_digest,
        "former_digest": record.former_digest,
        "former_ends_at": record.former_ends_at,
        "data": to_data(record.values),
    }


def is_user_id(user_id: str) -> bool:
    """Return whether a session can be this user's: the id is text, and an index can hold it."""
    try:
        return len(user_id.encode()) <= LONGEST_USER_ID
    except UnicodeEncodeError:
        return False


def to_data(values: Values) -> bytes:
    """Return a record's values as the column ``data``."""
    return _FORMAT + to_more(values)


def to_more(delta: Delta) -> bytes:
    """Return what can be put behind the column ``data``, to have the delta applied."""
    return _pack(dict(delta), what="keys and values")


def ends_at(row: Sequence[Any]) -> float:
    """Return when the session expires whose row begins with the columns of :data:`INFO`."""
    _, _, _, last_seen_at, idle_timeout, lifetime_ends_at, refresh_by = row[:7]
    return float(min(last_seen_at + idle_timeout, lifetime_ends_at, refresh_by))


def opens(row: Sequence[Any], holder: bytes, *, now: float) -> bool:
    """Return whether the holder opens the session whose row begins with the columns of :data:`RECORD`, live at ``now``.

    The values need not be readable.
    """
    secret_digest, former_digest, former_ends_at = row[8:11]
    if now >= ends_at(row):
        return False
    return compare_digest(secret_digest, holder) or (now < former_ends_at and compare_digest(former_digest, holder))


def to_info(sid: SessionId, row: Sequence[Any]) -> SessionInfo:
    """Return the info in a row that begins with the columns of :data:`INFO`.

    Labels that cannot be read are left out: a session whose row is damaged is listed, and expires, like the others.
    """
    labels = NO_LABELS
    with suppress(StoreError):
        labels = _to_labels(sid, row[7])
    try:
        return _to_info(sid, row, labels)
    except StoreError:  # It has no end that could be told, so it is over.
        return SessionInfo(sid=sid, created_at=0.0, last_seen_at=0.0, idle_timeout=0.0, lifetime_ends_at=0.0)


def to_record(sid: SessionId, row: Sequence[Any]) -> Record:
    """Return the record in a row that begins with the columns of :data:`RECORD`."""
    try:
        if tuple(map(type, row[1:12])) not in _well_typed:
            row = _checked(sid, row)
        labels = row[7]
        return row_record(
            sid, row, labels=_to_labels(sid, labels) if labels else NO_LABELS, values=_to_values(sid, row[11])
        )
    except StoreError as error:
        raise UnreadableRecord(str(error), info=to_info(sid, row)) from error


def _checked(sid: SessionId, row: Sequence[Any]) -> Sequence[Any]:
    """Return the row with bytes where they are to be, and remember its types. Raise StoreError if one is another."""
    _check_facts(sid, row)
    if type(row[10]) not in _NUMBERS:
        raise _spoilt(sid, what="secrets")
    whats = {7: "labels", 8: "secrets", 9: "secrets", 11: "values"}
    checked = [_to_bytes(sid, value, what=whats[at]) if at in whats else value for at, value in enumerate(row)]
    _well_typed.add(tuple(map(type, checked[1:12])))
    return checked


def _to_info(sid: SessionId, row: Sequence[Any], labels: Labels) -> SessionInfo:
    _check_facts(sid, row)
    return info_of(sid, row, labels)


def _check_facts(sid: SessionId, row: Sequence[Any]) -> None:
    user_id = row[1]
    if not _NUMBERS.issuperset(map(type, row[2:7])) or not (user_id is None or type(user_id) is str):
        raise _spoilt(sid, what="user and times")


def to_ending_rows(endings: Sequence[Ending], *, until: float) -> list[dict[str, Any]]:
    """Return the endings' columns by name, one row for each session; ``sid`` is a UUID still."""
    rows = {
        ending.sid: {
            "sid": ending.sid,
            "user_id": ending.user_id if ending.user_id is None or is_user_id(ending.user_id) else None,
            "reason": ending.reason.value,
            "ended_by": None if ending.by is None else ending.by[:_LONGEST_BY].encode(errors="replace").decode(),
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
        raise StoreError(f"The stored ending of session {sid} is not in this store's format.") from error


def is_time_to_trim(number: int) -> bool:
    """Return whether the bound must be kept after ``number`` burials: by chance, so that nothing is counted."""
    return _chance.random() * TRIMMED_EVERY < number


def _from_labels(info: SessionInfo) -> bytes:
    data = _pack(dict(info.labels), what="labels") if info.labels else b""
    if len(data) > LONGEST_LABELS:
        raise RecordRejected(
            f"The labels of session {info.sid} take {len(data)} bytes; a store keeps {LONGEST_LABELS} at most."
        )
    return data


def _to_labels(sid: SessionId, column: Any) -> Labels:
    data = _to_bytes(sid, column, what="labels")
    if not data:
        return NO_LABELS
    labels = _unpack(sid, data, what="labels")
    if not all(isinstance(label, (str, int, float)) for label in labels.values()):
        raise StoreError(f"The stored labels of session {sid} are not texts and numbers by name.")
    return labels


def _to_values(sid: SessionId, column: Any) -> Values:
    data = _to_bytes(sid, column, what="values")
    if data[:1] != _FORMAT:
        raise _spoilt(sid, what="values")
    try:
        values = _unpack(sid, data[1:], what="values")
    except StoreError:
        values = _merged(sid, data[1:])
    if not _ONLY_BYTES.issuperset(map(type, values.values())):
        raise StoreError(f"The stored values of session {sid} are not bytes by name.")
    return values


def _merged(sid: SessionId, data: bytes) -> dict[str, Any]:
    """Return the values after the first map and the deltas behind it."""
    try:
        parts = _split(data)
    except LookupError as error:
        raise _spoilt(sid, what="values") from error
    if not parts:
        raise _spoilt(sid, what="values")
    values: dict[str, Any] = {}
    for part in parts:
        values = merged(values, _unpack(sid, part, what="values"))
    return values


def _split(data: bytes) -> list[bytes]:
    """Return the maps that lie one behind the other. Their keys are texts, and their values bytes or nil."""
    parts, end = [], 0
    while end < len(data):
        start, first = end, data[end]
        width = 0 if first & 0xF0 == 0x80 else _MAPS[first]
        end += 1 + width
        pairs = int.from_bytes(data[start + 1 : end]) if width else first & 0x0F
        for _ in range(2 * pairs):
            end = _behind(data, end)
        parts.append(data[start:end])
    return parts


def _behind(data: bytes, at: int) -> int:
    """Return where the text, the bytes or the nil ends that begins there."""
    first = data[at]
    if first & 0xE0 == 0xA0:
        return at + 1 + (first & 0x1F)
    width = _TEXTS_AND_BYTES[first]
    return at + 1 + width + int.from_bytes(data[at + 1 : at + 1 + width])


def _pack(mapping: dict[str, Any], *, what: str) -> bytes:
    try:
        return engine.pack(mapping, _refuse)
    except (ValueError, TypeError) as error:
        raise RecordRejected(f"The {what} of a session cannot be stored: {error}") from error


def _unpack(sid: SessionId, data: bytes, *, what: str) -> dict[str, Any]:
    try:
        unpacked = engine.unpack(data, _refuse)
    except (ValueError, TypeError) as error:
        raise _spoilt(sid, what=what) from error
    if type(unpacked) is not dict:
        raise _spoilt(sid, what=what)
    return unpacked


def _to_bytes(sid: SessionId, column: Any, *, what: str) -> bytes:
    if type(column) is bytes:
        return column
    if type(column) not in (memoryview, bytearray):  # bytes() would make something of a number, too.
        raise _spoilt(sid, what=what)
    return bytes(column)


def _spoilt(sid: SessionId, *, what: str) -> StoreError:
    return StoreError(f"The stored {what} of session {sid} are not in this store's format.")


def _refuse(*what: object) -> NoReturn:
    raise TypeError(f"A record is made of texts, numbers and bytes, not {what!r}.")
