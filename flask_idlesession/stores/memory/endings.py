"""Remembers how sessions ended, within bounds, in a form that the garbage collector skips."""

from collections.abc import Sequence
from struct import Struct

from ...model.ids import SessionId
from ...model.record import Ending
from ...model.record import EndReason

#: A dict that grows is copied in one go: many small ones never stop the world for long.
_PLACES = 192

#: How many endings of one session are remembered at least, if there were as many; twice as many at most.
_MOST = 50_000

#: The same of those of many sessions: a flood of sessions that end must not push out what a revocation left.
_MOST_OF_MANY = 50_000

#: When it ended, until when that is remembered, the reason's place, how long the user's id is; then the id, and who
#: ended it.
_HEAD = Struct("<ddBH")
_REASONS = tuple(EndReason)


class Endings:
    """How sessions ended. The store's lock guards :meth:`bury`; :meth:`find` needs none."""

    def __init__(self) -> None:
        self._of_one = _Generations(_MOST // _PLACES)
        self._of_many = _Generations(_MOST_OF_MANY // _PLACES)

    def bury(self, packed: Sequence[tuple[int, bytes]]) -> None:
        """Remember endings, as :func:`pack` returned them."""
        for key, ending in packed:
            (self._of_many if _is_of_many(key) else self._of_one).put(key, ending)

    def find(self, sid: SessionId, *, now: float) -> Ending | None:
        """Return how the session ended, if that is still remembered."""
        packed = (self._of_many if _is_of_many(sid.int) else self._of_one).get(sid.int)
        return None if packed is None else _unpack(sid, packed, now)


class _Generations:
    """Pairs of dicts, of which the older goes whole when the younger is full: nothing is looked for or moved."""

    __slots__ = ("_limit", "_young", "_old")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._young: list[dict[int, bytes]] = [{} for _ in range(_PLACES)]
        self._old: list[dict[int, bytes]] = [{} for _ in range(_PLACES)]

    def put(self, key: int, ending: bytes) -> None:
        place = key % _PLACES
        young = self._young[place]
        young[key] = ending
        if len(young) >= self._limit:
            self._old[place], self._young[place] = young, {}

    def get(self, key: int) -> bytes | None:
        place = key % _PLACES
        return self._young[place].get(key) or self._old[place].get(key)


def pack(endings: Sequence[Ending], *, until: float) -> list[tuple[int, bytes]]:
    """Return each ending's key and bytes, so that the lock need not be held for it."""
    return [(ending.sid.int, _pack(ending, until)) for ending in endings]


def _is_of_many(key: int) -> bool:
    """As :attr:`Ending.is_of_many`."""
    return key >> 76 & 0xF == 5


def _pack(ending: Ending, until: float) -> bytes:
    _, reason, ended_at, user_id, by = ending
    if user_id is None and by is None:
        return _HEAD.pack(ended_at, until, _REASONS.index(reason), 0)
    user = (user_id or "").encode()
    return _HEAD.pack(ended_at, until, _REASONS.index(reason), len(user)) + user + (by or "").encode()


def _unpack(sid: SessionId, packed: bytes, now: float) -> Ending | None:
    ended_at, until, reason, length = _HEAD.unpack_from(packed)
    if now >= until:
        return None
    text = packed[_HEAD.size :]
    user_id, by = text[:length].decode() or None, text[length:].decode() or None
    return Ending(sid=sid, reason=_REASONS[reason], ended_at=ended_at, user_id=user_id, by=by)
