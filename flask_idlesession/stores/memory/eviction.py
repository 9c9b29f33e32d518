"""Knows which session goes first when a store is full."""

from ...model.record import SessionInfo
from .heavy_owners import HeavyOwners
from .packed import HAS_USER
from .packed import is_logged_in
from .packed import MARKS_AT
from .packed import seen_at
from .packed import user_of
from .shards import OVERHEAD
from .shards import SHARDS
from .shards import Shards
from .timing_wheel import TimingWheel
from .timing_wheel import Truth
from .users import hash_of
from .users import Users

#: How many entries of a wheel are looked at in one step. Where most sessions were touched since they were
#: filed, the first is not found among so few; what is evicted is then the least recently seen of these.
_BUDGET = 256

#: How many entries of a crowded wheel are looked at each time one more is left behind.
_SETTLED = 8


class Eviction:
    """The order in which sessions make room: those of an owner of more than a fair share, the largest first; then the
    least recently seen, anonymous ones before those of users.

    The store's lock guards this.
    """

    def __init__(self, shards: Shards, users: Users, *, max_bytes: int | None) -> None:
        self._shards = shards
        self._users = users
        self._anonymous = TimingWheel()
        self._logged_in = TimingWheel()
        self._heavy = HeavyOwners(max_bytes, size_of=self._size_of)
        #: A session of this number of bytes, or more, is to be noted when it is written.
        self.large_from = self._heavy.large_from

    def enter(self, key: int, info: SessionInfo) -> None:
        """Note a session that began, or that is another user's now."""
        self._order_of(info).file(key, info.last_seen_at)

    def enter_all(self, keys: list[int], logged_in: list[int], *, seen_at: float) -> None:
        """Note restored sessions, of which these have users; none was last seen before that instant."""
        users = set(logged_in)
        self._logged_in.file_all(logged_in, seen_at)
        self._anonymous.file_all([key for key in keys if key not in users] if users else keys, seen_at)

    def leave(self, info: SessionInfo, *, is_crowded_from: int) -> None:
        """Note that a session is gone, or another user's. With more entries than that, drop some of dead ones."""
        wheel = self._order_of(info)
        if len(wheel) > is_crowded_from:
            wheel.settle(truth=self._seen_in(wheel), budget=_SETTLED)

    def forget_size(self, key: int) -> None:
        """Note that a session is gone."""
        self._heavy.forget(key)

    def note_size(self, key: int, packed: bytes, *, stored: int) -> None:
        """Note a session that was written, if its owner may have more than a fair share of the ``stored`` bytes."""
        user = hash_of(user_of(packed)) if packed[MARKS_AT] & HAS_USER else None
        if len(packed) >= self.large_from:
            self._heavy.note_large(key, user)
        if user is not None and (keys := self._users.many_of(user)) is not None:
            self._heavy.note_many(user, keys, stored=stored)

    def first(self) -> int | None:
        """Return the session that is to go; None if there is none."""
        key = self._heavy.largest_session(self._users.keys_of)
        if key is None:
            key = self._first_of(self._anonymous)
        return self._first_of(self._logged_in) if key is None else key

    def _first_of(self, wheel: TimingWheel) -> int | None:
        first = wheel.first(truth=self._seen_in(wheel), budget=_BUDGET)
        return None if first is None else first[0]

    def _size_of(self, key: int) -> int:
        packed = self._shards[key % SHARDS].get(key)
        return 0 if packed is None else len(packed) + OVERHEAD

    def _order_of(self, info: SessionInfo) -> TimingWheel:
        return self._anonymous if info.user_id is None else self._logged_in

    def _seen_in(self, wheel: TimingWheel) -> Truth:
        """Return what tells when a session was last seen; None if it is forgotten or not in ``wheel``."""
        logged_in = wheel is self._logged_in

        def seen(key: int) -> float | None:
            packed = self._shards[key % SHARDS].get(key)
            if packed is None or is_logged_in(packed) is not logged_in:
                return None
            return seen_at(packed)

        return seen
