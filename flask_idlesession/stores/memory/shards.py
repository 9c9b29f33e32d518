"""Keeps packed records in many small dicts, and looks at the times of all that are in one of them."""

import sys
from array import array
from math import inf
from operator import add
from typing import Literal

from .packed import expiry
from .packed import seen_at
from .packed import seen_by
from .packed import TIMES_SIZE

#: A dict that grows is copied in one go: many small ones never stop the world for long. It grows by doubling. With a
#: million sessions, the default bound, this number of dicts is nearly full.
SHARDS = 192

#: The bytes of a session beside its record: object heads, its dict entries, its place in the wheels.
OVERHEAD = 180

#: The packed records by their keys: that of a key is in the dict at ``key % SHARDS``.
Shards = tuple[dict[int, bytes], ...]


def make_shards() -> Shards:
    """Return shards without a record."""
    return tuple({} for _ in range(SHARDS))


def size_of(shard: dict[int, bytes]) -> int:
    """Return how many bytes the sessions of a shard take."""
    return sum(map(len, shard.values())) + OVERHEAD * len(shard)


def drop_expired(shard: dict[int, bytes], now: float) -> int:
    """Drop what has expired, and clamp what was last seen in the future: the clock may have been set back
    between two runs. Return how many were dropped."""
    times = times_of(shard)
    if not times or (last_seen(times) <= now < first_expiry(times)):
        return 0
    before = len(shard)
    for key, packed in list(shard.items()):
        if seen_at(packed) > now:
            shard[key] = packed = seen_by(packed, now)
        if expiry(packed) <= now:
            del shard[key]
    return before - len(shard)


# The times at the front of records, one after the other: to look at a million of them by themselves takes too long.


def times_of(shard: dict[int, bytes]) -> bytes:
    """Return the times of every record of a shard, in its order."""
    return b"".join([packed[:TIMES_SIZE] for packed in shard.values()])


def first_seen(times: bytes) -> float:
    """Return when the one was last seen that was not seen for longest."""
    return min(_instants(times)[0::3])


def last_seen(times: bytes) -> float:
    """Return when one of them was last seen."""
    return max(_instants(times)[0::3])


def first_expiry(times: bytes) -> float:
    """Return when the first of them is over, or an instant before: an idle timeout may not be where most are."""
    instants = _instants(times)
    first: float = min(map(add, instants[0::3], _array("f", times)[4::6]), default=inf)
    return min(first, min(instants[1::3], default=inf))


def _instants(times: bytes) -> "array[float]":
    """Return of each session when it was last seen, the end that no activity moves, and something else."""
    return _array("d", times)


def _array(kind: Literal["d", "f"], numbers: bytes) -> "array[float]":
    found = array(kind, numbers)
    if sys.byteorder == "big":  # pragma: no cover
        found.byteswap()
    return found
