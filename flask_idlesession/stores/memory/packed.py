"""Packs a record into one bytes object, which the garbage collector skips, and looks into it only when asked."""

from functools import lru_cache
from hmac import compare_digest as _equal
from math import inf
from struct import Struct
from typing import Any
from typing import NoReturn

from ...model import msgpack as engine
from ...model.ids import SessionId
from ...model.record import Change
from ...model.record import Labels
from ...model.record import merged
from ...model.record import Outcome
from ...model.record import PlainInfo
from ...model.record import Record
from ...model.record import SessionInfo
from ...model.record import Values

# A packed record, in this order. The marks are bits, one for each field that may be absent.
#
#   always             last seen, the end that no activity moves, idle timeout, lifetime, digest of the secret, marks
#   _ODD_TIMEOUT       the idle timeout, if a float of 32 bits is not exactly it
#   _OWN_CREATION      the creation, if it is not exactly the lifetime before the lifetime's end
#   PERMANENT         the lifetime's end, and the end unless the session is refreshed
#   _HAS_FORMER        the former digest, and its end
#   HAS_USER           the length of the user's id, and the id
#   _HAS_LABELS        the length of the labels, and the labels as one msgpack map
#   always             the values as another msgpack map
_HEAD = Struct("<ddff32sB")
_TIMES = Struct("<ddf")
_INSTANT, _INSTANTS = Struct("<d"), Struct("<dd")
_SHORT = Struct("<f")
_FORMER = Struct("<32sd")
_SIZE = Struct("<H")
_ODD_TIMEOUT, _OWN_CREATION, PERMANENT, _HAS_FORMER, HAS_USER, _HAS_LABELS = (1 << bit for bit in range(6))
_MORE_TIMES = _ODD_TIMEOUT | _OWN_CREATION | PERMANENT
_UP_TO_USER = HAS_USER - 1
_NOT_PLAIN = HAS_USER | PERMANENT
#: So much of a packed record, from its front, are the times that all of them have.
TIMES_SIZE = _TIMES.size + _SHORT.size
#: Where the marks are, for what looks at a million records: there a call is too much.
MARKS_AT = _HEAD.size - 1
_DIGEST = slice(MARKS_AT - 32, MARKS_AT)
_NEVER = _INSTANT.pack(inf)
_PARTS = ((_ODD_TIMEOUT, 8), (_OWN_CREATION, 8), (PERMANENT, 16), (_HAS_FORMER, _FORMER.size))
#: Where a part is, by the marks of those before it.
_AT = tuple(_HEAD.size + sum(size for mark, size in _PARTS if marks & mark) for marks in range(HAS_USER))

_unpack_times, _unpack_head, _pack_seen = _TIMES.unpack_from, _HEAD.unpack_from, _INSTANT.pack
_unpack_instant, _unpack_instants, _pack_instants = _INSTANT.unpack_from, _INSTANTS.unpack_from, _INSTANTS.pack

#: When it was last seen, the idle timeout, the lifetime's end, until when it is to be refreshed, when it was created.
_Times = tuple[float, float, float, float, float]


#: Python 3.11 calls a function each time a member is named.
_DONE, _GONE = Outcome.DONE, Outcome.GONE

_new = object.__new__


class PackedRecord(Record):
    """A record that is unpacked as far as somebody looks."""

    __slots__ = ("_sid", "packed", "_info", "_values")
    __hash__ = None  # type: ignore[assignment]
    # A frozen dataclass makes each assignment a call; here only __init__ and what is kept of a look assign.
    __setattr__, __delattr__ = object.__setattr__, object.__delattr__

    _sid: SessionId
    packed: bytes
    _info: SessionInfo | None
    _values: Values | None

    def __new__(cls, **fields: Any) -> Record:  # type: ignore[misc]
        """Return a plain record: :func:`dataclasses.replace` makes its copy so."""
        return Record(**fields)

    @property
    def info(self) -> SessionInfo:
        """The info of the session, unpacked when it is first asked for."""
        if self._info is None:
            self._info = unpack_info(self._sid, self.packed)
        return self._info

    @property
    def values(self) -> Values:
        """The encoded values by key, unpacked when they are first asked for."""
        if self._values is None:
            self._values = engine.unpack_own(self.packed[_values_at(self.packed) :])
        return self._values

    @property
    def secret_digest(self) -> bytes:
        """The digest of the secret that opens the session."""
        return self.packed[_DIGEST]

    @property
    def former_digest(self) -> bytes:
        """The digest of the secret before the last rotation; empty if there is none."""
        return _unpack_former(self.packed)[0]

    @property
    def former_ends_at(self) -> float:
        """The instant at which the former secret stops opening the session."""
        return _unpack_former(self.packed)[1]

    @property
    def expires_at(self) -> float:
        """The instant at which the session expires."""
        return expiry(self.packed)

    @property
    def size(self) -> int:
        """How many bytes the packed record has."""
        return len(self.packed)

    @property
    def is_permanent(self) -> bool:
        """Whether the session also ends unless it is refreshed in time."""
        return is_permanent(self.packed)

    @property
    def has_user(self) -> bool:
        """Whether a user is logged in."""
        return is_logged_in(self.packed)

    @property
    def is_plain(self) -> bool:
        """Whether the session is nobody's and not permanent: a touch changes nothing but one instant."""
        return not self.packed[MARKS_AT] & _NOT_PLAIN

    def holding(self, values: Values) -> Record:
        """Return this record with other values."""
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
            packed = _times_moved(packed, change, now)
        if not change.delta:
            return packed_record(self._sid, packed)
        values = merged(self.values, change.delta)
        after = packed_record(self._sid, packed[: _values_at(packed)] + engine.pack(values, _refuse))
        after._values = values
        return after

    def __eq__(self, other: object) -> bool:
        if isinstance(other, PackedRecord):
            return self._sid == other._sid and self._plain(self.values) == other._plain(other.values)
        return self._plain(self.values) == other

    def __repr__(self) -> str:
        return repr(self._plain(self.values))

    def __reduce__(self) -> tuple[Any, ...]:
        return packed_record, (self._sid, self.packed)

    def _plain(self, values: Values) -> Record:
        former_digest, former_ends_at = _unpack_former(self.packed)
        return Record(
            info=self.info,
            secret_digest=self.secret_digest,
            values=values,
            former_digest=former_digest,
            former_ends_at=former_ends_at,
        )


def packed_record(sid: SessionId, packed: bytes) -> PackedRecord:
    """Return the record that was packed so. By the slots, as a record's own ``__init__`` takes twice as long."""
    record = _new(PackedRecord)
    record._sid = sid
    record.packed = packed
    record._info = record._values = None
    return record


def pack(record: Record) -> bytes:
    """Return the record as one bytes object."""
    if isinstance(record, PackedRecord):
        return record.packed
    return _pack_head(record) + engine.pack(dict(record.values), _refuse)


def touched(packed: bytes, holder: bytes, now: float, seen_at: float) -> bytes | None:
    """Return the record after activity at ``seen_at``; None where it is not live, or does not open to ``holder``."""
    seen, ends_at, idle_timeout = _unpack_times(packed)
    if now >= ends_at or now >= seen + (idle_timeout or _odd_timeout(packed)):
        return None
    if not _equal(packed[_DIGEST], holder) and not _opens(packed, holder, now):
        return None
    # The first such bytes are those at the front; a slice behind them, to be joined, would be one more copy of it all.
    return packed.replace(_pack_seen(seen), _pack_seen(seen_at), 1) if seen_at > seen else packed


def touched_alone(packed: bytes, holder: bytes, now: float) -> bytes | None:
    """Return the record after activity, if it is live, nobody's, not permanent, and ``holder`` is its digest."""
    seen, ends_at, idle_timeout = _unpack_times(packed)
    if (
        now >= ends_at
        or now >= seen + (idle_timeout or _odd_timeout(packed))
        or packed[MARKS_AT] & _NOT_PLAIN
        or not _equal(packed[_DIGEST], holder)
    ):
        return None
    return packed.replace(_pack_seen(seen), _pack_seen(now), 1) if now > seen else packed


def simply_changed(packed: bytes, change: Change, now: float) -> bytes | None:
    """Return the record after a change that is simple; None where it is not live, or does not open to the holder."""
    holder, seen_at, delta = change.holder, change.last_seen_at, change.delta
    if seen_at is None:
        after = packed if _opens(packed, holder, now) else None
    else:
        after = touched(packed, holder, now, now if seen_at > now else seen_at)
    if after is None or not delta:
        return after
    at = _values_at(after)
    values = engine.unpack_own(after[at:])
    for key, data in delta.items():
        if data is None:
            values.pop(key, None)
        else:
            values[key] = data
    return after[:at] + engine.pack_own(values)  # type: ignore[no-any-return]


def _opens(packed: bytes, holder: bytes, now: float) -> bool:
    """Whether the session is live, and a request that shows ``holder`` may read and write it."""
    seen, ends_at, idle_timeout = _unpack_times(packed)
    if now >= ends_at or now >= seen + (idle_timeout or _odd_timeout(packed)):
        return False
    if _equal(packed[_DIGEST], holder):
        return True
    former_digest, former_ends_at = _unpack_former(packed)
    return now < former_ends_at and _equal(former_digest, holder)


def _times_moved(packed: bytes, change: Change, now: float) -> bytes:
    """Return the record with its times as :meth:`Record.apply` moves them."""
    (seen,) = _unpack_instant(packed)
    later, refresh_by = change.last_seen_at, change.refresh_by
    if later is not None and later > seen < now:
        seen = later if later < now else now
    if refresh_by is None:
        refresh_by = _refresh_by(packed)
    if change.idle_timeout is None:
        return _refreshed(packed, seen, refresh_by)
    _, _, lifetime_ends_at, _, created_at = _times_of(packed)
    return _with_times(packed, (seen, change.idle_timeout, lifetime_ends_at, refresh_by, created_at))


def _refreshed(packed: bytes, seen: float, refresh_by: float) -> bytes:
    marks = packed[MARKS_AT]
    if marks & PERMANENT and refresh_by < inf:
        at = _AT[marks & (PERMANENT - 1)]
        (lifetime_ends_at,) = _unpack_instant(packed, at)
        front = _pack_instants(seen, refresh_by if refresh_by < lifetime_ends_at else lifetime_ends_at)
        instants = _pack_instants(lifetime_ends_at, refresh_by)
        return front + packed[_INSTANTS.size : at] + instants + packed[at + _INSTANTS.size :]
    if not marks & PERMANENT and refresh_by == inf:
        return seen_by(packed, seen)
    _, idle_timeout, lifetime_ends_at, _, created_at = _times_of(packed)
    return _with_times(packed, (seen, idle_timeout, lifetime_ends_at, refresh_by, created_at))


def _with_times(packed: bytes, times: _Times) -> bytes:
    marks = packed[MARKS_AT]
    return _front(times, packed[_DIGEST], marks & ~_MORE_TIMES) + packed[_AT[marks & _MORE_TIMES] :]


def _front(times: _Times, digest: bytes, marks: int) -> bytes:
    """Return the head, and after it the times that do not fit into one."""
    seen, idle_timeout, lifetime_ends_at, refresh_by, created_at = times
    lifetime = lifetime_ends_at - created_at
    if refresh_by == inf and _are_short(idle_timeout, lifetime) and lifetime_ends_at - lifetime == created_at:
        return _HEAD.pack(seen, lifetime_ends_at, idle_timeout, lifetime, digest, marks)
    more = b""
    if not _is_short(idle_timeout):
        marks |= _ODD_TIMEOUT
        more, idle_timeout = _INSTANT.pack(idle_timeout), 0.0
    if not _is_short(lifetime) or lifetime_ends_at - lifetime != created_at:
        marks |= _OWN_CREATION
        more, lifetime = more + _INSTANT.pack(created_at), 0.0
    if refresh_by < inf:
        marks |= PERMANENT
        more += _pack_instants(lifetime_ends_at, refresh_by)
    return _HEAD.pack(seen, min(lifetime_ends_at, refresh_by), idle_timeout, lifetime, digest, marks) + more


@lru_cache(64)  # Most sessions of an application have the same.
def _are_short(idle_timeout: float, lifetime: float) -> bool:
    return _is_short(idle_timeout) and _is_short(lifetime)


def _is_short(seconds: float) -> bool:
    """Whether a float of 32 bits is exactly these seconds, which are not none: that stands for others."""
    try:
        return seconds != 0 and _SHORT.unpack(_SHORT.pack(seconds))[0] == seconds
    except OverflowError:
        return False


def _times_of(packed: bytes) -> _Times:
    seen, ends_at, idle_timeout, lifetime, _, marks = _unpack_head(packed)
    if not marks & _MORE_TIMES:
        return seen, idle_timeout, ends_at, inf, ends_at - lifetime
    refresh_by = inf
    if marks & _ODD_TIMEOUT:
        idle_timeout = _odd_timeout(packed)
    if marks & PERMANENT:
        ends_at, refresh_by = _unpack_instants(packed, _AT[marks & (PERMANENT - 1)])
    if marks & _OWN_CREATION:
        return seen, idle_timeout, ends_at, refresh_by, _unpack_instant(packed, _AT[marks & (_OWN_CREATION - 1)])[0]
    return seen, idle_timeout, ends_at, refresh_by, ends_at - lifetime


def _odd_timeout(packed: bytes) -> float:
    """The idle timeout of a session that has none in its head."""
    return _unpack_instant(packed, _HEAD.size)[0]  # type: ignore[no-any-return]


def _refresh_by(packed: bytes) -> float:
    marks = packed[MARKS_AT]
    return _unpack_instants(packed, _AT[marks & (PERMANENT - 1)])[1] if marks & PERMANENT else inf


def pack_touch(packed: bytes) -> bytes:
    """Return all that a touch changes of the record."""
    return packed[: _INSTANT.size] + (_INSTANT.pack(_refresh_by(packed)) if is_permanent(packed) else _NEVER)


def with_touch(packed: bytes, touch: bytes) -> bytes:
    """Return the record after a touch, as :func:`pack_touch` returned it."""
    return _refreshed(packed, *_unpack_instants(touch))


def is_permanent(packed: bytes) -> bool:
    """Whether the session also ends unless it is refreshed in time."""
    return bool(packed[MARKS_AT] & PERMANENT)


def seen_at(packed: bytes) -> float:
    """When the session was last seen."""
    return _unpack_instant(packed)[0]  # type: ignore[no-any-return]


def seen_by(packed: bytes, now: float) -> bytes:
    """Return the record as last seen at ``now``."""
    return _pack_seen(now) + packed[_INSTANT.size :]


def expiry(packed: bytes) -> float:
    """When the session is over."""
    seen, ends_at, idle_timeout = _unpack_times(packed)
    idle_at = seen + (idle_timeout or _odd_timeout(packed))
    return idle_at if idle_at < ends_at else ends_at  # type: ignore[no-any-return]


def fades_at(packed: bytes) -> float:
    """From when on less than half of its idle timeout is left to the session."""
    seen, ends_at, idle_timeout = _unpack_times(packed)
    idle_timeout = idle_timeout or _odd_timeout(packed)
    idle_at = seen + idle_timeout
    return (idle_at if idle_at < ends_at else ends_at) - idle_timeout / 2  # type: ignore[no-any-return]


def is_logged_in(packed: bytes) -> bool:
    """Whether the session has a user."""
    return bool(packed[MARKS_AT] & HAS_USER)


def user_of(packed: bytes) -> str:
    """The user of a session that has one."""
    at = _AT[packed[MARKS_AT] & _UP_TO_USER]
    length = packed[at] | packed[at + 1] << 8  # Not by a Struct: a start asks a million times.
    return packed[at + 2 : at + 2 + length].decode()


def unpack_info(sid: SessionId, packed: bytes) -> SessionInfo:
    """Return the session's info."""
    seen, lifetime_ends_at, idle_timeout, lifetime, _, marks = _unpack_head(packed)
    refresh_by, created_at = inf, lifetime_ends_at - lifetime
    if marks & _MORE_TIMES:
        seen, idle_timeout, lifetime_ends_at, refresh_by, created_at = _times_of(packed)
    user_id = user_of(packed) if marks & HAS_USER else None
    labels = _labels(packed) if marks & _HAS_LABELS else {}
    return PlainInfo(sid, user_id, created_at, seen, idle_timeout, lifetime_ends_at, refresh_by, labels)


def _pack_head(record: Record) -> bytes:
    info = record.info
    marks, user, former, labels = 0, b"", b"", b""
    if record.former_digest:
        marks |= _HAS_FORMER
        former = _FORMER.pack(record.former_digest, record.former_ends_at)
    if info.user_id is not None:
        marks |= HAS_USER
        user = info.user_id.encode()
        user = _SIZE.pack(len(user)) + user
    if info.labels:
        marks |= _HAS_LABELS
        labels = engine.pack(dict(info.labels), _refuse)
        labels = _SIZE.pack(len(labels)) + labels
    times = (info.last_seen_at, info.idle_timeout, info.lifetime_ends_at, info.refresh_by, info.created_at)
    return _front(times, record.secret_digest, marks) + former + user + labels


def _unpack_former(packed: bytes) -> tuple[bytes, float]:
    """Return the former digest and when its grace ends."""
    marks = packed[MARKS_AT]
    return _FORMER.unpack_from(packed, _AT[marks & (_HAS_FORMER - 1)]) if marks & _HAS_FORMER else (b"", 0.0)


def _labels(packed: bytes) -> Labels:
    start = _labels_at(packed)
    (size,) = _SIZE.unpack_from(packed, start)
    start += _SIZE.size
    return engine.unpack(packed[start : start + size], _refuse)  # type: ignore[no-any-return]


def _labels_at(packed: bytes) -> int:
    marks = packed[MARKS_AT]
    at = _AT[marks & _UP_TO_USER]
    return at + _SIZE.size + _SIZE.unpack_from(packed, at)[0] if marks & HAS_USER else at


def _values_at(packed: bytes) -> int:
    """Where the head and what belongs to it ends."""
    marks = packed[MARKS_AT]
    if marks < HAS_USER:
        return _AT[marks]
    at = _labels_at(packed)
    if marks & _HAS_LABELS:
        at += _SIZE.size + _SIZE.unpack_from(packed, at)[0]
    return at


def _refuse(*what: object) -> NoReturn:
    raise TypeError(f"A record's values are bytes by name, not {what!r}.")
