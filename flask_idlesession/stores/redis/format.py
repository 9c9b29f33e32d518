r"""The bytes in which Redis and Valkey keep a session and how one ended, and in which a script is told of a change.

A session is a hash. Its head (below) stands under the field ``\xff`` and its labels, where there are any, under
``\xfe``: neither is a text's UTF-8. Each value stands under its own key. A touch writes the head alone.

Instants are binary doubles, and so come back as they went.
"""

from collections.abc import Sequence
from contextlib import suppress
from math import inf
from math import isnan
from struct import error as StructError
from struct import Struct
from typing import NoReturn

from ...model import msgpack as engine
from ...model.ids import SessionId
from ...model.record import Change
from ...model.record import Ending
from ...model.record import EndReason
from ...model.record import LabelDelta
from ...model.record import Labels
from ...model.record import NO_LABELS
from ...model.record import Record
from ...model.record import SessionInfo
from ..contract import UnreadableRecord

HEAD = b"\xff"
LABELS = b"\xfe"

_VERSION = 1

# Version, last seen, idle timeout, end of the lifetime, refresh by, created, end of the former secret, id, and
# the marks of the last commits. After it the secret's digest and the former one, each after its
# length, and the owner: nothing, or "u" and the user's id.
_FIXED = Struct("<Bdddddd16s32s")

# Now, last seen, idle timeout, refresh by, end of the lifetime, end of the grace (not a number: none is told). Then
# whether it rotates, and whether it ends a session that it empties. Then four numbers of fields: those expected to hold
# something, those expected to be absent, those to write, those to remove.
_CHANGE = Struct("<ddddddBBIIII")

_SID = slice(_FIXED.size - 48, _FIXED.size - 32)

_NOT_TOLD = float("nan")
_NEVER_SEEN = float("-inf")

DOUBLE = Struct("<d")

# Now, and refresh by.
_VISIT = Struct("<dd")

#: How long a label's name is, or its value; each follows its length. In a delta a value of no bytes removes.
_LENGTH = Struct("<I")

#: How long a field's name is, and its value; both follow their lengths.
_LENGTHS = Struct("<II")

#: How a session ended: its id, when, until when that is remembered, the reason's place, how long the user's id is;
#: then that id, and who ended it.
_ENDING = Struct("<16sddBH")
_REASONS = tuple(EndReason)

#: The longest that a server is asked to keep what it would forget by itself, in seconds.
_LONGEST = 1e9


def to_owner(user_id: str | None) -> bytes:
    """Return what a head says of the user."""
    return b"" if user_id is None else b"u" + user_id.encode("utf-8", "surrogatepass")


def to_field(key: str) -> bytes:
    """Return the name of the hash's field that holds the value of ``key``."""
    return key.encode("utf-8", "surrogatepass")


def to_head(record: Record, *, mark: bytes) -> bytes:
    """Return the bytes of the hash's field that holds all of a record but its values and labels."""
    info = record.info
    fixed = _FIXED.pack(
        _VERSION,
        info.last_seen_at,
        info.idle_timeout,
        info.lifetime_ends_at,
        info.refresh_by,
        info.created_at,
        record.former_ends_at,
        info.sid.bytes,
        mark,
    )
    secret, former = record.secret_digest, record.former_digest
    return b"".join((fixed, bytes((len(secret),)), secret, bytes((len(former),)), former, to_owner(info.user_id)))


def to_labels(labels: LabelDelta) -> bytes:
    """Return labels, or a delta of them, one after the other."""
    parts: list[bytes] = []
    for name, value in labels.items():
        field, data = to_field(name), b"" if value is None else engine.pack(value, _refuse)
        parts += (_LENGTH.pack(len(field)), field, _LENGTH.pack(len(data)), data)
    return b"".join(parts)


def to_infos(told: list[bytes]) -> list[SessionInfo]:
    """Return the infos in heads, each of which is followed by its labels. A head that cannot be read is left out, and
    labels too: a session whose labels were spoilt is listed, and expires, like the others.
    """
    infos = []
    for head, labels in zip(told[::2], told[1::2], strict=True):
        with suppress(_Spoilt):
            infos.append(_parse(head, _labels_if_any(labels))[0])
    return infos


def sid_in(head: bytes) -> bytes:
    """Return the id in a head, as it stands there; no bytes if it is no head."""
    return head[_SID] if len(head) >= _FIXED.size else b""


def to_record(sid: SessionId, fields: dict[bytes, bytes]) -> Record:
    """Return the record in the hash of session ``sid``, and take the head and the labels out of the hash.

    Raise :exc:`UnreadableRecord` for what this store did not write.
    """
    head, packed = fields.pop(HEAD, b""), fields.pop(LABELS, b"")
    try:
        info, secret, former, former_ends_at = _parse(head, _labels_if_any(packed))
    except _Spoilt as error:
        raise unreadable(sid) from error
    if info.sid != sid:
        raise unreadable(sid)
    try:
        _to_labels(packed)
        values = {field.decode("utf-8", "surrogatepass"): value for field, value in fields.items()}
    except (ValueError, _Spoilt) as error:
        message = f"Session {sid} has values or labels that this store did not write."
        raise UnreadableRecord(message, info=info) from error
    return Record(info=info, secret_digest=secret, values=values, former_digest=former, former_ends_at=former_ends_at)


def unreadable(sid: SessionId) -> UnreadableRecord:
    """Return the error for a session of which nothing can be read."""
    info = SessionInfo(sid=sid, created_at=0.0, last_seen_at=0.0, idle_timeout=inf, lifetime_ends_at=inf)
    return UnreadableRecord(f"The key of session {sid} holds something that this version did not write.", info=info)


class _Spoilt(ValueError):
    """Bytes are not what this store writes."""


def _parse(head: bytes, labels: Labels) -> tuple[SessionInfo, bytes, bytes, float]:
    if len(head) < _FIXED.size + 2 or head[0] != _VERSION:
        raise _Spoilt("The head of the session was written by nothing that this version knows.")
    _, seen, idle, lifetime, refresh, created, former_ends_at, stored, _ = _FIXED.unpack_from(head)
    start = _FIXED.size + 1
    end = start + head[start - 1]
    try:
        former_end = end + 1 + head[end]
        user_id = _user_of(head[former_end:])
    except (IndexError, ValueError) as error:
        raise _Spoilt("The head of the session is cut off.") from error
    info = SessionInfo(
        sid=SessionId(bytes=stored),
        user_id=user_id,
        created_at=created,
        last_seen_at=seen,
        idle_timeout=idle,
        lifetime_ends_at=lifetime,
        refresh_by=refresh,
        labels=labels,
    )
    if isnan(info.expires_at):
        raise _Spoilt("The head of the session has no end.")
    return info, head[start:end], head[end + 1 : former_end], former_ends_at


def _labels_if_any(data: bytes) -> Labels:
    try:
        return _to_labels(data)
    except _Spoilt:
        return NO_LABELS


def _to_labels(data: bytes) -> Labels:
    if not data:
        return NO_LABELS
    try:
        return _parse_labels(data)
    except (StructError, ValueError, TypeError) as error:
        raise _Spoilt("The labels of the session are nothing that this store wrote.") from error


def _parse_labels(data: bytes) -> Labels:
    labels: dict[str, str | float] = {}
    at = 0
    while at < len(data):
        (length,) = _LENGTH.unpack_from(data, at)
        start = at + _LENGTH.size + length
        (size,) = _LENGTH.unpack_from(data, start)
        at = start + _LENGTH.size + size
        name = data[start - length : start].decode("utf-8", "surrogatepass")
        labels[name] = engine.unpack(data[at - size : at], _refuse)
    return labels


def to_grave(ending: Ending, *, until: float) -> bytes:
    """Return what is kept of how a session ended."""
    owner = to_owner(ending.user_id)
    fixed = ending.sid.bytes, ending.ended_at, until, _REASONS.index(ending.reason), len(owner)
    return _ENDING.pack(*fixed) + owner + to_owner(ending.by)


def to_ending(grave: bytes) -> tuple[Ending, float] | None:
    """Return how a session ended, and until when that is remembered; None for what no store wrote."""
    try:
        sid, ended_at, until, reason, length = _ENDING.unpack_from(grave)
        text = grave[_ENDING.size :]
        user_id, by = _user_of(text[:length]), _user_of(text[length:])
        ending = Ending(sid=SessionId(bytes=sid), reason=_REASONS[reason], ended_at=ended_at, user_id=user_id, by=by)
    except (StructError, ValueError, IndexError):
        return None
    return ending, until


def to_keep(endings: Sequence[Ending], *, until: float) -> bytes:
    """Return for how many milliseconds a server is to keep these at the least, counted from the first of them."""
    seconds = until - min(ending.ended_at for ending in endings)
    return b"%d" % (1000 * min(max(seconds, 0.0), _LONGEST))


def to_amounts(told: Sequence[bytes]) -> dict[str, int]:
    """Return the amounts in names and numbers, one after the other, without what is no number."""
    amounts = {}
    for name, amount in zip(told[::2], told[1::2], strict=True):
        with suppress(ValueError):
            amounts[name.decode()] = int(amount)
    return amounts


def to_visit(holder: bytes, *, now: float, refresh_by: float | None) -> bytes:
    """Return what the script :data:`VISIT` is told."""
    return _VISIT.pack(now, _NOT_TOLD if refresh_by is None else refresh_by) + holder


def to_fields(answer: bytes, *, at: int) -> dict[bytes, bytes]:
    """Return the hash in the answer of the script :data:`VISIT`, where it begins at ``at``.

    Raise ValueError if it does not end where the answer does.
    """
    fields: dict[bytes, bytes] = {}
    end = len(answer)
    while at <= end - _LENGTHS.size:
        length, size = _LENGTHS.unpack_from(answer, at)
        start = at + _LENGTHS.size
        middle = start + length
        at = middle + size
        fields[answer[start:middle]] = answer[middle:at]
    if at != end:
        raise ValueError("The lengths in the answer do not add up to its own.")
    return fields


def to_arguments(change: Change, *, now: float, mark: bytes) -> list[bytes]:
    """Return the arguments by which the script :data:`COMMIT` is told of a change."""
    rotation = change.rotation
    held: list[bytes] = []
    absent: list[bytes] = []
    written: list[bytes] = []
    removed: list[bytes] = []
    for mapping, some, none in ((change.expect, held, absent), (change.delta, written, removed)):
        for key, value in mapping.items():
            if value is None:
                none.append(to_field(key))
            else:
                some += (to_field(key), value)
    fixed = _CHANGE.pack(
        now,
        _NEVER_SEEN if change.last_seen_at is None else change.last_seen_at,
        _NOT_TOLD if change.idle_timeout is None else change.idle_timeout,
        _NOT_TOLD if change.refresh_by is None else change.refresh_by,
        _NOT_TOLD if rotation is None or rotation.lifetime_ends_at is None else rotation.lifetime_ends_at,
        _NOT_TOLD if rotation is None or rotation.grace_ends_at is None else rotation.grace_ends_at,
        rotation is not None,
        change.end_if_emptied,
        len(held),
        len(absent),
        len(written),
        len(removed),
    )
    told = [fixed + change.holder, mark, *held, *absent, *written, *removed]
    if rotation is not None:
        told += (rotation.secret_digest, to_owner(rotation.user_id))
    if change.labels:
        told.append(to_labels(change.labels))
    return told


def _user_of(owner: bytes) -> str | None:
    return owner[1:].decode("utf-8", "surrogatepass") if owner else None


def _refuse(*what: object) -> NoReturn:
    raise TypeError(f"A label is a text or a number, not {what!r}.")
