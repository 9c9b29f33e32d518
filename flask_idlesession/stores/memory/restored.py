"""Takes up what a start put into the shards, one shard after the other: all at once would take seconds."""

from typing import NamedTuple

from .eviction import Eviction
from .packed import HAS_USER
from .packed import MARKS_AT
from .packed import TIMES_SIZE
from .packed import user_of
from .shards import drop_expired
from .shards import first_expiry
from .shards import first_seen
from .shards import last_seen
from .shards import Shards
from .shards import size_of
from .shards import times_of
from .timing_wheel import TimingWheel
from .users import Users

#: How many restored sessions are filed together, and are later looked at again in one go.
_PIECE = 512

#: The number of shards from which the size of all restored sessions is estimated.
_SAMPLE = 16


class Taken(NamedTuple):
    """Numbers of a shard's sessions: those that were looked at, and those that were dropped."""

    seen: int
    dropped: int
    #: By how many bytes the sessions that are left are larger than they were taken for.
    more_bytes: int


class Restored:
    """Sessions in the shards that are in no wheel and under no user yet.

    The store's lock guards this; :attr:`places` is looked at without it.
    """

    def __init__(self, shards: Shards, *, by_expiry: TimingWheel, users: Users) -> None:
        self._shards = shards
        self._by_expiry = by_expiry
        self._users = users
        #: The shards with such sessions; always the same set.
        self.places: set[int] = set()
        self._at = 0.0
        #: The estimated bytes of each of these sessions until its shard is taken up.
        self._size = 0

    def begin(self, *, now: float) -> tuple[int, int]:
        """Find all such sessions; return how many there are, and about how many bytes they take."""
        self._at = now
        self.places.update(place for place, shard in enumerate(self._shards) if shard)
        count = sum(map(len, self._shards))
        some = [self._shards[place] for place in list(self.places)[:_SAMPLE]]
        self._size = sum(map(size_of, some)) // max(sum(map(len, some)), 1)
        return count, self._size * count

    def take_up(self, place: int, eviction: Eviction | None, *, stored: int) -> Taken:
        """File the sessions of a shard, and drop those that had expired at the start.

        ``eviction`` is None where nothing is ever evicted; ``stored`` is how many bytes all sessions take.
        """
        shard, now, dropped = self._shards[place], self._at, 0
        count, times = len(shard), times_of(shard)
        if last_seen(times) > now or first_expiry(times) <= now:
            dropped = drop_expired(shard, now)
            times = times_of(shard)
        more_bytes = size_of(shard) - self._size * count
        keys = list(shard)
        for start in range(0, len(keys), _PIECE):
            piece, of_piece = keys[start : start + _PIECE], times[TIMES_SIZE * start : TIMES_SIZE * (start + _PIECE)]
            # All are filed at the instant of the first of them. A key that is filed too early costs a second look when
            # that instant comes. To compute each one's place now would be most of the time that a start takes.
            self._by_expiry.file_all(piece, first_expiry(of_piece))
            logged_in = [key for key in piece if shard[key][MARKS_AT] & HAS_USER]
            self._users.enter_all(logged_in, lambda key: user_of(shard[key]))
            if eviction is not None:
                eviction.enter_all(piece, logged_in, seen_at=first_seen(of_piece))
                for key in [key for key in piece if len(shard[key]) >= eviction.large_from]:
                    eviction.note_size(key, shard[key], stored=stored + more_bytes)
        self.places.discard(place)  # Last: it is looked at without the lock.
        return Taken(count, dropped, more_bytes)
