"""The journal's format: turns records into frames of bytes, and gets out of a damaged file all that can be had.

A file is a preamble and then frames, each of which says something of many sessions at once::

    preamble   header, header again, guard, guard again
    frame      head, index, bodies, index again, head again
    head       mark, place, kind, count of rows, number of the frame, number of the last frame before it
               that ended or rotated a session, size of the bodies, checksum of the index, of the head
    index      the ids, then the sizes of the bodies, then their checksums, each of all bodies up to there

The index that tells *which* sessions a frame is about stands in it twice. So a flipped bit can lose one body, and never
the knowledge of whose it was. The mark is random for each file: nobody who may write a value into a session can write
one that looks like a frame.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from functools import lru_cache
from itertools import accumulate
from struct import Struct
from zlib import crc32

VERSION = 2

_MAGIC = b"idlesess"
_HEADER = Struct("<8sH6x8sI4x")  # Magic, version, mark, checksum.
_GUARD = Struct("<QQI12x")  # The last frame that was synced, the last that ends something, checksum.
_HEAD = Struct("<8scBxxIQQQII")
_HEAD_SUM = Struct("<I")
_ROW = 16 + 4 + 4

GUARD_AT = 2 * _HEADER.size
PREAMBLE = GUARD_AT + 2 * _GUARD.size

MARK_SIZE = 8
_FRONT, _BACK = b"<", b">"

#: The bytes of a row in the file beside the record's own.
ROW_OVERHEAD = 2 * _ROW

#: The most sessions that a frame has; and its most bytes, which one session may exceed.
_MOST_ROWS = 256
_MOST_BYTES = 1 << 18

#: The size of the pieces in which a file is read.
_WINDOW = 1 << 20


class Kind(IntEnum):
    """The meaning of a frame for its sessions."""

    #: They are these, at the time of the last compaction.
    BASE = 1
    #: They are now these.
    PUT = 2
    #: They are now these, and what they were before must never come back: a rotation.
    TURN = 3
    #: They are over.
    END = 4
    #: They were touched: the body is all that a touch changes.
    TOUCH = 5


_KINDS = frozenset(map(int, Kind))
_ENDING = (Kind.TURN, Kind.END)

#: Key and body of each session in a frame.
Rows = Sequence[tuple[int, bytes]]


class NotAJournal(Exception):
    """The file does not begin as a journal does."""


class OtherVersion(Exception):
    """The file is a journal in a format that this version of the package does not know."""


@dataclass(frozen=True, slots=True)
class Guard:
    """The known state of the disk: up to which frame it has all, and up to which end. It is written after the sync that
    it tells of, so it never claims too much. It shows that a file lost its tail.
    """

    synced: int = 0
    last_end: int = 0


@dataclass(frozen=True, slots=True)
class Frame:
    """The readable parts of one frame."""

    kind: Kind
    number: int
    #: The last frame before this one that ended or rotated a session.
    previous_end: int
    keys: Sequence[int]
    #: One for each key; None where it is lost.
    bodies: Sequence[bytes | None]
    #: Whether none is lost.
    is_intact: bool
    #: Whether all of the frame's bytes are there, right or wrong: false where the file ends in it.
    is_complete: bool = True


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A stretch of the file in which nothing was understood."""

    size: int
    #: Whether it is the last thing in the file: perhaps only a write that a crash cut short.
    at_end: bool


def pack_preamble(mark: bytes, guard: Guard) -> bytes:
    """Return the bytes with which a journal begins: the header twice, and the guard."""
    return _HEADER.pack(_MAGIC, VERSION, mark, _header_sum(VERSION, mark)) * 2 + pack_guard(mark, guard)


def pack_guard(mark: bytes, guard: Guard) -> bytes:
    """Return the bytes of the guard, which are written twice."""
    return _GUARD.pack(guard.synced, guard.last_end, _guard_sum(mark, guard)) * 2


def unpack_preamble(data: bytes) -> tuple[bytes, Guard | None] | None:
    """Return the file's mark and its guard (None if that cannot be read), or None if the header is lost.

    Raise :exc:`NotAJournal` or :exc:`OtherVersion` for a file that is none of ours.
    """
    for at in (0, _HEADER.size):
        if len(data) >= at + _HEADER.size:
            magic, version, mark, checksum = _HEADER.unpack_from(data, at)
            if magic == _MAGIC and checksum == _header_sum(version, mark):
                if version != VERSION:
                    raise OtherVersion(version)
                return mark, _unpack_guard(mark, data)
    if not any(map(_resembles_magic, (data[:8], data[_HEADER.size : _HEADER.size + 8]))):
        raise NotAJournal
    return None


def _resembles_magic(name: bytes) -> bool:
    """Return whether this may have been the magic: all of what a cut has left, or most of it after damage."""
    if len(name) < len(_MAGIC):
        return bool(name) and _MAGIC.startswith(name)
    return sum(a == b for a, b in zip(name, _MAGIC, strict=True)) >= len(_MAGIC) - 2


def _header_sum(version: int, mark: bytes) -> int:
    return crc32(b"%d %s" % (version, mark))


def _guard_sum(mark: bytes, guard: Guard) -> int:
    return crc32(b"%d %d" % (guard.synced, guard.last_end), crc32(mark))


def _unpack_guard(mark: bytes, data: bytes) -> Guard | None:
    for at in (GUARD_AT, GUARD_AT + _GUARD.size):
        if len(data) >= at + _GUARD.size:
            synced, last_end, checksum = _GUARD.unpack_from(data, at)
            guard = Guard(synced, last_end)
            if checksum == _guard_sum(mark, guard):
                return guard
    return None


def pack_frame(kind: Kind, rows: Rows, *, number: int, previous_end: int, mark: bytes) -> bytes:
    """Return the bytes of a frame that holds these rows."""
    bodies = [body for _, body in rows]
    count = len(rows)
    index = b"".join([key.to_bytes(16, "big") for key, _ in rows]) + _numbers(2 * count).pack(
        *map(len, bodies), *_running(bodies)
    )
    fields = (int(kind), count, number, previous_end, sum(map(len, bodies)), crc32(index))
    front, back = (_pack_head(mark, place, *fields) for place in (_FRONT, _BACK))
    return b"".join([front, index, *bodies, index, back])


def _running(bodies: Sequence[bytes]) -> list[int]:
    """Return the checksum of the first body, of the first two, and so on: the last one is that of them all."""
    checksum = 0
    return [checksum := crc32(body, checksum) for body in bodies]


def _pack_head(mark: bytes, place: bytes, *fields: int) -> bytes:
    unsigned = _HEAD.pack(mark, place, *fields, 0)[: -_HEAD_SUM.size]
    return unsigned + _HEAD_SUM.pack(crc32(unsigned))


@cache
def _numbers(count: int) -> Struct:
    return Struct(f"<{count}I")


@lru_cache(16)  # Where one application writes, the same sizes come again and again.
def _bodies(sizes: tuple[int, ...]) -> Struct:
    return Struct("s".join(map(str, sizes)) + "s")


@cache
def _ids(count: int) -> Struct:
    return Struct("16s" * count)


@dataclass(frozen=True, slots=True)
class _Head:
    kind: Kind
    count: int
    number: int
    previous_end: int
    size: int
    checksum: int

    @property
    def length(self) -> int:
        """The length of the whole frame."""
        return 2 * (_HEAD.size + self.count * _ROW) + self.size


class FrameReader:
    """Reads the frames of a file of ``end`` bytes, of which ``read(position, size)`` returns a piece."""

    def __init__(self, read: Callable[[int, int], bytes], *, mark: bytes, end: int) -> None:
        self._read = read
        self._mark = mark
        self._end = end
        self._window = b""
        self._window_at = 0
        #: Where the next frame begins, or where what was understood ends.
        self.position = PREAMBLE

    def __iter__(self) -> Iterator[Frame | Unreadable]:
        last = 0
        while self.position < self._end:
            found = self._find_head()
            if found is None:
                yield Unreadable(self._end - self.position, at_end=True)
                return
            start, head = found
            if start > self.position:
                yield Unreadable(start - self.position, at_end=False)
                self.position = start
            if head.number <= last:  # Left over from before: it has nothing to say any more.
                yield Unreadable(min(head.length, self._end - start), at_end=False)
            else:
                last = head.number
                yield self._read_frame(start, head) or Unreadable(head.length, at_end=start + head.length > self._end)
            if start + head.length > self._end:
                return
            self.position = start + head.length

    def _find_head(self) -> tuple[int, _Head] | None:
        """Return where the next frame begins that can be told, by the head at its front or its back."""
        at = self.position
        while at + _HEAD.size <= self._end:
            head = self._head_at(at, _FRONT)
            if head is not None:
                return at, head
            head = self._head_at(at, _BACK)
            if head is not None:
                start = at + _HEAD.size - head.length
                if start >= self.position:
                    return start, head
            following = self._next_mark(at + 1)
            if following is None:
                return None
            at = following
        return None

    def _head_at(self, at: int, place: bytes) -> _Head | None:
        data, offset = self._bytes_at(at, _HEAD.size)
        if len(data) < offset + _HEAD.size:
            return None
        mark, found, kind, count, number, previous_end, size, checksum, own = _HEAD.unpack_from(data, offset)
        if mark != self._mark or found != place or kind not in _KINDS:
            return None
        if own != crc32(data[offset : offset + _HEAD.size - _HEAD_SUM.size]):
            return None
        return _Head(Kind(kind), count, number, previous_end, size, checksum)

    def _next_mark(self, at: int) -> int | None:
        while at < self._end:
            data, offset = self._bytes_at(at, 2 * MARK_SIZE)
            found = data.find(self._mark, offset)
            if found >= 0:
                return self._window_at + found
            at = max(self._window_at + len(data) - MARK_SIZE + 1, at + 1)
        return None

    def _read_frame(self, start: int, head: _Head) -> Frame | None:
        """Return what is left of a frame; None if nothing tells which sessions it was about."""
        data, offset = self._bytes_at(start, head.length)
        index_size = head.count * _ROW
        front = offset + _HEAD.size
        bodies_at = front + index_size
        for at in (front, bodies_at + head.size):
            index = data[at : at + index_size]
            if len(index) == index_size and crc32(index) == head.checksum:
                break
        else:
            return None
        ids = _ids(head.count).unpack_from(index)
        numbers = _numbers(2 * head.count).unpack_from(index, 16 * head.count)
        sizes, checksums = numbers[: head.count], numbers[head.count :]
        complete = start + head.length <= self._end
        keys = list(map(int.from_bytes, ids))
        is_intact = checksums[-1:] == (crc32(memoryview(data)[bodies_at : bodies_at + head.size]),)
        if is_intact and complete:
            bodies: Sequence[bytes | None] = _bodies(sizes).unpack_from(data, bodies_at)
        else:
            bodies = _cut(data, bodies_at, sizes, checksums)
            is_intact = None not in bodies
        return Frame(head.kind, head.number, head.previous_end, keys, bodies, is_intact, complete)

    def _bytes_at(self, at: int, size: int) -> tuple[bytes, int]:
        """Return bytes, and the offset in them from which ``size`` are those at ``at``, or all there are."""
        if at < self._window_at or at + size > self._window_at + len(self._window):
            self._window = self._read(at, min(max(size, _WINDOW), self._end - at))
            self._window_at = at
        return self._window, at - self._window_at


def _cut(data: bytes, start: int, sizes: Sequence[int], checksums: Sequence[int]) -> list[bytes | None]:
    """Return the bodies that follow each other from ``start``, None for each that is not what it was."""
    ends = list(accumulate(sizes, initial=start))
    bodies = list(map(data.__getitem__, map(slice, ends, ends[1:])))  # The file may end before.
    return [
        body if crc32(body, before) == checksum and len(body) == size else None
        for body, before, checksum, size in zip(bodies, (0, *checksums), checksums, sizes, strict=False)
    ]


def pieces(rows: Rows) -> Iterator[Rows]:
    """Cut rows into what makes a frame of moderate size."""
    start, size = 0, 0
    for at, (_, body) in enumerate(rows):
        size += len(body)
        if at > start and (at - start == _MOST_ROWS or size > _MOST_BYTES):
            yield rows[start:at]
            start, size = at, len(body)
    if start < len(rows):
        yield rows[start:]


def is_ending(kind: Kind) -> bool:
    """Whether losing such a frame could bring back what must not come back."""
    return kind in _ENDING
