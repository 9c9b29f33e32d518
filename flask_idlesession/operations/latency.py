"""Knows how long calls of the store take: a histogram for each verb, kept as amounts that can be added."""

from bisect import bisect_left
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass

#: The upper bounds of the buckets, in seconds.
BOUNDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

#: The names of the buckets: their upper bounds in microseconds. The bucket "inf" has the calls that took
#: longer than all.
_BUCKETS = (*(str(round(bound * 1e6)) for bound in BOUNDS), "inf")

_PREFIX = "store."
_SUM = "sum"


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """How long the calls of one verb took."""

    #: The number of calls that took as long as each of :data:`BOUNDS` or less; last, of all calls.
    counts: Sequence[int]
    #: The seconds that all calls took together.
    total: float

    @property
    def count(self) -> int:
        """The number of calls."""
        return self.counts[-1]

    def quantile(self, share: float) -> float | None:
        """Return the seconds that this share of the calls took at most, interpolated within its bucket.

        None without calls. Calls beyond the last bound count as that bound.
        """
        if not self.count:
            return None
        rank, below = share * self.count, 0
        for place, bound in enumerate(BOUNDS):
            if self.counts[place] >= rank:
                lower = BOUNDS[place - 1] if place else 0.0
                return lower + (bound - lower) * (rank - below) / max(self.counts[place] - below, 1)
            below = self.counts[place]
        return BOUNDS[-1]


def names_of(verb: str) -> tuple[tuple[str, ...], str]:
    """Return the names of the amounts of one verb: those of the buckets, and that of the sum (in microseconds)."""
    return tuple(f"{_PREFIX}{verb}.{bucket}" for bucket in _BUCKETS), f"{_PREFIX}{verb}.{_SUM}"


def bucket_of(seconds: float) -> int:
    """Return the place of the bucket for a call that took so long."""
    return bisect_left(BOUNDS, seconds)


def histograms(amounts: Mapping[str, int]) -> dict[str, Histogram]:
    """Return the histogram of each verb that is among the amounts, by verb."""
    verbs = sorted({name.split(".")[1] for name in amounts if name.startswith(_PREFIX)})
    return {verb: _histogram(verb, amounts) for verb in verbs}


def histogram_of_all(amounts: Mapping[str, int]) -> Histogram:
    """Return one histogram of the calls of all verbs."""
    several = list(histograms(amounts).values())
    counts = [sum(column) for column in zip(*(one.counts for one in several), strict=True)]
    return Histogram(counts=counts or [0] * len(_BUCKETS), total=sum(one.total for one in several))


def _histogram(verb: str, amounts: Mapping[str, int]) -> Histogram:
    buckets, total = names_of(verb)
    counts, reached = [], 0
    for name in buckets:
        reached += amounts.get(name, 0)
        counts.append(reached)
    return Histogram(counts=counts, total=amounts.get(total, 0) / 1e6)
