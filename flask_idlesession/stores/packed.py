"""Packs a record into one bytes object, which the garbage collector skips, and looks into it only when asked."""

from hmac import compare_digest as _equal
from math import inf
from struct import Struct
from typing import Any
from typing import NoReturn

from .. import engine
from ..ids import SessionId
from ..record import Change
from ..record import Labels
from ..record import merged
from ..record import Outcome
from ..record import Record
from ..record import SessionInfo
from ..record import Values

# This head (the four times that make its end, when it was created, its secret's digest, the length of what
# follows), the former digest and its end where there is one, the user's id where there is one, the labels as one
# msgpack map after its length where there are any, then the values as another.
_HEAD = Struct("<ddddd32sBH")
_TIMES = Struct("<dddd")
#: So much of a packed record, from its front, is all that a touch changes.
TOUCHED_SIZE = _TIMES.size
_SEEN = Struct("<d")
_REFRESH_AT, _NEVER = 24, _SEEN.pack(inf)
_MARKS = Struct("<BH")
#: Where the marks are, for what looks at a million records: there a call is too much.
MARKS_AT = _HEAD.size - _MARKS.size
_DIGEST_AT = MARKS_AT - 32
_FORMER = Struct("<32sd")

HAS_USER, _HAS_FORMER, _HAS_LABELS = 1, 2, 4
_LABELS_SIZE = Struct("<H")

_unpack_times, _pack_times, _pack_seen = _TIMES.unpack_from, _TIMES.pack, _SEEN.pack


#: Python 3.11 calls a function each time a member is named.
_DONE, _GONE = Outcome.DONE, Outcome.GONE

# An info is made by setting its slots: a frozen dataclass's own __init__ takes twice as long, and a flood of ends
# makes very many.
_new_info = object.__new__
_set_sid, _set_user_id, _set_created_at, _set_last_seen_at, _set_idle_timeout, _set_lifetime_ends_at = (
    getattr(SessionInfo, name).__set__
    for name in ("sid", "user_id", "created_at", "last_seen_at", "idle_timeout", "lifetime_ends_at")
)
_set_refresh_by, _set_labels = (getattr(SessionInfo, name).__set__ for name in ("refresh_by", "labels"))


class PackedRecord(Record):
    """A record that is unpacked as far as somebody looks."""

    __slots__ = ("_sid", "packed", "_info", "_values")
    __hash__ = None  # type: ignore[assignment]
    # A frozen dataclass makes each assignment a call; here only __init__ and what is kept of a look assign.
    __setattr__, __delattr__ = object.__setattr__, object.__delattr__

    _info: SessionInfo | None
    _values: Values | None

    def __init__(self, sid: SessionId, packed: bytes) -> None:
        self._sid = sid
        self.packed = packed
        self._info = self._values = None

    @property
    def info(self) -> SessionInfo:
        if self._info is None:
            self._info = unpack_info(self._sid, self.packed)
        return self._info

    @property
    def values(self) -> Values:
        if self._values is None:
            self._values = engine.unpack_own(self.packed[_values_at(self.packed) :])
        return self._values

    @property
    def secret_digest(self) -> bytes:
        return self.packed[_DIGEST_AT:MARKS_AT]

    @property
    def former_digest(self) -> bytes:
        return _unpack_former(self.packed)[0]

    @property
    def former_ends_at(self) -> float:
        return _unpack_former(self.packed)[1]

    @property
    def expires_at(self) -> float:
        return expiry(self.packed)

    @property
    def is_permanent(self) -> bool:
        return is_permanent(self.packed)

    @property
    def has_user(self) -> bool:
        return is_logged_in(self.packed)

    @property
    def is_plain(self) -> bool:
        packed = self.packed
        return not packed[MARKS_AT] & HAS_USER and packed[_REFRESH_AT:TOUCHED_SIZE] == _NEVER

    def holding(self, values: Values) -> Record:
        return self._plain(values)

    def judge(self, change: Change, *, now: float) -> Outcome:
        """As :meth:`Record.judge`; most changes have but a holder to be judged by."""
        if change.expect or change.rotation is not None or change.end_if_emptied:
            return super().judge(change, now=now)
        return _DONE if _opens(self.packed, change.holder, now) else _GONE

    def apply(self, change: Change, *, now: float) -> Record:
        """As :meth:`Record.apply`; most changes are made on the packed record."""
        if change.rotation is not None or change.labels:
            return super().apply(change, now=now)
        packed = self.packed
        if change.last_seen_at is not None or change.shortens:
            packed = _times_after(packed, change, now) + packed[TOUCHED_SIZE:]
        if not change.delta:
            return PackedRecord(self._sid, packed)
        values = merged(self.values, change.delta)
        after = PackedRecord(self._sid, packed[: _values_at(packed)] + engine.pack(values, _refuse))
        after._values = values
        return after

    def __eq__(self, other: object) -> bool:
        if isinstance(other, PackedRecord):
            return self._sid == other._sid and self._plain(self.values) == other._plain(other.values)
        return self._plain(self.values) == other

    def __repr__(self) -> str:
        return repr(self._plain(self.values))

    def __reduce__(self) -> tuple[Any, ...]:
        return PackedRecord, (self._sid, self.packed)

    def _plain(self, values: Values) -> Record:
        former_digest, former_ends_at = _unpack_former(self.packed)
        return Record(
            info=self.info,
            secret_digest=self.secret_digest,
            values=values,
            former_digest=former_digest,
            former_ends_at=former_ends_at,
        )


def pack(record: Record) -> bytes:
    """Return the record as one bytes object."""
    if isinstance(record, PackedRecord):
        return record.packed
    return _pack_head(record) + engine.pack(dict(record.values), _refuse)


def touched(packed: bytes, holder: bytes, now: float, seen_at: float) -> bytes | None:
    """Return the record after activity at ``seen_at``; None where it is not live, or does not open to ``holder``."""
    seen, idle_timeout, lifetime_ends_at, refresh_by = _unpack_times(packed)
    if now >= seen + idle_timeout or now >= lifetime_ends_at or now >= refresh_by:
        return None
    if not _equal(packed[_DIGEST_AT:MARKS_AT], holder) and not _opens(packed, holder, now):
        return None
    return _pack_seen(seen_at) + packed[_SEEN.size :] if seen_at > seen else packed


def simply_changed(packed: bytes, change: Change, now: float) -> bytes | None:
    """Return the record after a change that is simple; None where it is not live, or does not open to the holder."""
    seen_at = change.last_seen_at
    if seen_at is not None:
        after = touched(packed, change.holder, now, now if seen_at > now else seen_at)
    else:
        after = packed if _opens(packed, change.holder, now) else None
    if after is None or not change.delta:
        return after
    at = _values_at(after)
    values = engine.unpack_own(after[at:])
    for key, data in change.delta.items():
        if data is None:
            values.pop(key, None)
        else:
            values[key] = data
    return after[:at] + engine.pack_own(values)  # type: ignore[no-any-return]


def _opens(packed: bytes, holder: bytes, now: float) -> bool:
    """Whether the session is live, and whoever shows ``holder`` may read and write it."""
    seen, idle_timeout, lifetime_ends_at, refresh_by = _unpack_times(packed)
    if now >= seen + idle_timeout or now >= lifetime_ends_at or now >= refresh_by:
        return False
    if _equal(packed[_DIGEST_AT:MARKS_AT], holder):
        return True
    former_digest, former_ends_at = _unpack_former(packed)
    return now < former_ends_at and _equal(former_digest, holder)


def _times_after(packed: bytes, change: Change, now: float) -> bytes:
    """Return the times at the front of the record as :meth:`Record.apply` moves them."""
    seen, idle_timeout, lifetime_ends_at, refresh_by = _unpack_times(packed)
    if change.last_seen_at is not None:
        seen = max(seen, min(change.last_seen_at, now))
    if change.idle_timeout is not None:
        idle_timeout = change.idle_timeout
    if change.refresh_by is not None:
        refresh_by = change.refresh_by
    return _pack_times(seen, idle_timeout, lifetime_ends_at, refresh_by)


def is_permanent(packed: bytes) -> bool:
    """Whether the session also ends unless it is refreshed in time."""
    return packed[_REFRESH_AT:TOUCHED_SIZE] != _NEVER


def seen_at(packed: bytes) -> float:
    """When the session was last seen."""
    return _SEEN.unpack_from(packed)[0]  # type: ignore[no-any-return]


def seen_by(packed: bytes, now: float) -> bytes:
    """Return the record as last seen at ``now``."""
    return _pack_seen(now) + packed[_SEEN.size :]


def expiry(packed: bytes) -> float:
    """When the session is over."""
    seen, idle_timeout, lifetime_ends_at, refresh_by = _unpack_times(packed)
    return min(seen + idle_timeout, lifetime_ends_at, refresh_by)  # type: ignore[no-any-return]


def is_fading(packed: bytes, now: float) -> bool:
    """Whether the session is live, and less than half of its idle timeout is left to it."""
    seen, idle_timeout, lifetime_ends_at, refresh_by = _unpack_times(packed)
    later = now + idle_timeout / 2
    if later <= seen + idle_timeout and later <= lifetime_ends_at and later <= refresh_by:
        return False
    return now < expiry(packed)


def is_logged_in(packed: bytes) -> bool:
    """Whether the session has a user."""
    return bool(packed[MARKS_AT] & HAS_USER)


def user_of(packed: bytes) -> str:
    """The user of a session that has one."""
    length = packed[MARKS_AT + 1] | packed[MARKS_AT + 2] << 8  # Not by _values_at(): a start asks a million times.
    start = _HEAD.size + (_FORMER.size if packed[MARKS_AT] & _HAS_FORMER else 0)
    return packed[start : start + length].decode()


def unpack_info(sid: SessionId, packed: bytes) -> SessionInfo:
    """Return the session's info."""
    seen, idle_timeout, lifetime_ends_at, refresh_by, created_at, _, marks, _ = _HEAD.unpack_from(packed)
    info = _new_info(SessionInfo)
    _set_sid(info, sid)
    _set_user_id(info, user_of(packed) if marks & HAS_USER else None)
    _set_created_at(info, created_at)
    _set_last_seen_at(info, seen)
    _set_idle_timeout(info, idle_timeout)
    _set_lifetime_ends_at(info, lifetime_ends_at)
    _set_refresh_by(info, refresh_by)
    _set_labels(info, _labels(packed) if marks & _HAS_LABELS else {})
    return info


def _pack_head(record: Record) -> bytes:
    info = record.info
    marks, user, former, labels = 0, b"", b"", b""
    if info.user_id is not None:
        marks, user = HAS_USER, info.user_id.encode()
    if record.former_digest:
        marks |= _HAS_FORMER
        former = _FORMER.pack(record.former_digest, record.former_ends_at)
    if info.labels:
        marks |= _HAS_LABELS
        packed = engine.pack(dict(info.labels), _refuse)
        labels = _LABELS_SIZE.pack(len(packed)) + packed
    head = _HEAD.pack(
        info.last_seen_at,
        info.idle_timeout,
        info.lifetime_ends_at,
        info.refresh_by,
        info.created_at,
        record.secret_digest,
        marks,
        len(user),
    )
    return head + former + user + labels


def _unpack_former(packed: bytes) -> tuple[bytes, float]:
    """Return the former digest and when its grace ends."""
    return _FORMER.unpack_from(packed, _HEAD.size) if packed[MARKS_AT] & _HAS_FORMER else (b"", 0.0)


def _labels(packed: bytes) -> Labels:
    start = _labels_at(packed)
    (size,) = _LABELS_SIZE.unpack_from(packed, start)
    start += _LABELS_SIZE.size
    return engine.unpack(packed[start : start + size], _refuse)  # type: ignore[no-any-return]


def _labels_at(packed: bytes) -> int:
    length: int
    marks, length = _MARKS.unpack_from(packed, MARKS_AT)
    return _HEAD.size + length + (_FORMER.size if marks & _HAS_FORMER else 0)


def _values_at(packed: bytes) -> int:
    """Where the head and what belongs to it ends."""
    if not packed[MARKS_AT]:
        return _HEAD.size
    at = _labels_at(packed)
    if packed[MARKS_AT] & _HAS_LABELS:
        at += _LABELS_SIZE.size + _LABELS_SIZE.unpack_from(packed, at)[0]
    return at


def _refuse(*what: object) -> NoReturn:
    raise TypeError(f"A record's values are bytes by name, not {what!r}.")
