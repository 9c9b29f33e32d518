"""Remembers when sessions of this process asked for each endpoint, and judges which of them do so at a fixed beat."""

from collections import Counter
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from math import log2
from math import sqrt
from statistics import median
from typing import NamedTuple

from ..model.ids import SessionId
from ..process.forks import ForkAware
from ..process.forks import register
from ..process.forks import Stage
from ..process.locks import ForkSafeLock
from .polling import PROCESSES

#: How many endpoints are watched, of each how many sessions, and of each how many requests: some megabytes at most.
_ENDPOINTS = 200
_SESSIONS = 64
_REQUESTS = 12

#: Requests that follow within this number of seconds are one: a double click, or two tabs at once.
_AT_ONCE = 0.5

#: Seconds between two judgements, and after which a session that asks no more is forgotten.
JUDGED_EACH = 60.0
_FORGOTTEN = 1200.0
_FORGOTTEN_EARLY = 180.0

#: The number of requests from which on a session tells something.
_ENOUGH = 3

#: A session that asked once, and not again for this number of periods, has left.
_LEFT = 3

#: The part of a session's requests that must come at the beat, and its least number.
_LEAST_SHARE = 0.75
_LEAST_HITS = 2

#: The periods that are looked for, in seconds.
_SHORTEST, _LONGEST = 0.8, 900.0

#: A request is at the beat if it is this part of the period early or late, or this many seconds.
_EARLY_OR_LATE = 0.06
_LEAST_TOLERANCE = 0.15

#: The other requests of a beat may have gone to other processes: two may be this number of periods apart.
_MISSING = 12

#: How many periods are tried, and how many may be found for one endpoint.
_TRIED = 8
_FOUND = 2

#: Two periods fit as well if one has this part of the other's requests.
_AS_WELL = 0.85

#: The ratio between two classes of periods, for a first look.
_CLASS = log(1.06)


@dataclass(slots=True)
class Trail:
    """The instants at which one session asked for one endpoint, as far back as is remembered."""

    times: list[float]
    #: Whether a user's own doing was among them, as the browser said.
    is_opened: bool = False


class Beat(NamedTuple):
    """How well one session keeps to a period."""

    hits: int
    #: The hits that came one period after the request before them.
    direct: int
    #: The seconds by which they were early or late.
    mean_error: float
    largest_error: float


#: Sessions that keep to a period.
_Kept = list[tuple[Trail, Beat]]


class Beats(ForkAware):
    """The requests of this process that are activity, by endpoint and session. A forked child begins with none.

    A lock guards the trails; nothing is called under it.
    """

    def __init__(self) -> None:
        self._fork_safe = ForkSafeLock()
        self._lock = self._fork_safe.plain
        self._trails: dict[str, dict[SessionId, Trail]] = {}
        self._judged_at: float | None = None
        register(self, stage=Stage.STORES)

    def note(self, endpoint: str, sid: SessionId, *, at: float, is_opened: bool) -> None:
        """Note a request of a session. ``is_opened``: its user made it by hand."""
        with self._lock:
            sessions = self._trails.get(endpoint)
            if sessions is None:
                if self._judged_at is None:
                    self._judged_at = at
                if len(self._trails) >= _ENDPOINTS:
                    return
                sessions = self._trails[endpoint] = {}
            trail = sessions.get(sid)
            if trail is None:
                if len(sessions) < _SESSIONS:
                    sessions[sid] = Trail([at], is_opened=is_opened)
                return
            if is_opened:
                trail.is_opened = True
            times = trail.times
            if at - times[-1] < _AT_ONCE:
                return
            times.append(at)
            if len(times) > _REQUESTS:
                del times[0]

    def judge_if_due(self, *, now: float) -> Iterator[tuple[str, int]]:
        """Yield the names and amounts that tell what is known at present; nothing until a minute is over."""
        if self._judged_at is None or now - self._judged_at < JUDGED_EACH or not self._trails:
            return
        self._judged_at = now
        yield PROCESSES, 1
        for endpoint in list(self._trails):
            yield from amounts_of(endpoint, self._copy(endpoint, now=now), now=now)

    def after_fork_in_child(self) -> None:
        """Leave to the parent what it has seen."""
        self._trails = {}

    def _copy(self, endpoint: str, *, now: float) -> list[Trail]:
        """Return copies of the trails, and forget those that ended."""
        with self._lock:
            sessions = self._trails.get(endpoint, {})
            is_full = len(sessions) >= _SESSIONS
            for sid, trail in list(sessions.items()):
                is_brief = is_full and len(trail.times) < _ENOUGH
                if now - trail.times[-1] > (_FORGOTTEN_EARLY if is_brief else _FORGOTTEN):
                    del sessions[sid]
            if not sessions:
                self._trails.pop(endpoint, None)
            return [Trail(list(trail.times), trail.is_opened) for trail in sessions.values()]


def amounts_of(endpoint: str, trails: Sequence[Trail], *, now: float) -> Iterator[tuple[str, int]]:
    """Yield the names and amounts that these trails of one endpoint come to."""
    telling = [trail for trail in trails if len(trail.times) >= _ENOUGH]
    pairs = [trail.times for trail in trails if len(trail.times) == 2]
    if not telling:
        return
    yield f"beat.{endpoint}.judged", len(telling) + len(pairs)
    spread = evidence = 0.0
    found = list(_periods(telling))
    for period, kept in found:
        also = [pair for pair in pairs if beat_of(pair, period).hits]
        pairs = [pair for pair in pairs if pair not in also]
        yield f"beat.{endpoint}.{_milliseconds(period)}", len(kept) + len(also)
        spread += sum(beat.largest_error for _, beat in kept)
        evidence += sum(_evidence_of(trail, beat, period) for trail, beat in kept)
    if found:
        before = now - _LEFT * max(period for period, _ in found)
        yield f"beat.{endpoint}.sure", sum(len(kept) for _, kept in found)
        yield f"beat.{endpoint}.spread", round(1000 * spread)
        yield f"beat.{endpoint}.evidence", int(evidence)
        yield f"beat.{endpoint}.opened", sum(trail.is_opened for trail in trails)
        yield f"beat.{endpoint}.left", sum(len(trail.times) == 1 and trail.times[0] < before for trail in trails)


def _evidence_of(trail: Trail, beat: Beat, period: float) -> float:
    """Return how many bits of evidence a session gives: how improbable its hits would be by chance.

    The first one chose the period, and proves nothing. A request that missed is evidence against a beat.
    """
    bits = log2(period / (4 * max(beat.mean_error, period / 100)))
    return max(0.0, (beat.hits - 1) * bits - 2 * (len(trail.times) - 1 - beat.hits))


def _periods(trails: Sequence[Trail]) -> Iterator[tuple[float, _Kept]]:
    """Yield the periods at which sessions ask, that of most first, each with its sessions. One session has one."""
    left = list(trails)
    for number in range(_FOUND):
        period, kept = _best_period(left)
        if len(kept) < (max(3, len(trails) // 4) if number else 1):
            return
        yield period, kept
        gone = {id(trail) for trail, _ in kept}
        left = [trail for trail in left if id(trail) not in gone]


def _best_period(trails: Sequence[Trail]) -> tuple[float, _Kept]:
    """Return the period that most requests keep to, and the sessions that do.

    Two minutes fit a beat of one minute nearly as well, and so do 30 seconds: the period is the one that lies between
    most requests and those right before them.
    """
    tried = [(period, _at_beat(trails, period)) for period in _likely_periods(trails)]
    hits = [sum(beat.hits for _, beat in kept) for _, kept in tried]
    fitting = [each for each, count in zip(tried, hits, strict=True) if count >= _AS_WELL * max(hits)]
    return max(fitting, key=lambda each: sum(beat.direct for _, beat in each[1]), default=(0.0, []))


def _likely_periods(trails: Sequence[Trail]) -> list[float]:
    """Return the distances that are between many pairs of requests."""
    gaps = [
        gap
        for trail in trails
        for lag in (1, 2, 3)
        for earlier, later in zip(trail.times, trail.times[lag:], strict=False)
        if _SHORTEST <= (gap := later - earlier) <= _LONGEST
    ]
    classes: dict[int, list[float]] = {}
    for gap in gaps:
        classes.setdefault(int(log(gap) / _CLASS), []).append(gap)
    sizes = Counter({place: len(some) + len(classes.get(place + 1, ())) for place, some in classes.items()})
    return [median(classes[place] + classes.get(place + 1, [])) for place, _ in sizes.most_common(_TRIED)]


def _at_beat(trails: Sequence[Trail], period: float) -> _Kept:
    """Return the trails that keep to the period."""
    beats = ((trail, beat_of(trail.times, period)) for trail in trails)
    return [
        (trail, beat)
        for trail, beat in beats
        if beat.hits >= _LEAST_HITS and beat.hits >= _LEAST_SHARE * (len(trail.times) - 1)
    ]


def beat_of(times: Sequence[float], period: float) -> Beat:
    """Return how well requests keep to a period.

    A request is at the beat if the one before came one period earlier, or several: those between were of other
    processes. It is too if one of the two before that came one period earlier: other tabs ask in between.
    """
    tolerance = max(_EARLY_OR_LATE * period, _LEAST_TOLERANCE)
    errors: list[float] = []
    direct = 0
    for place in range(1, len(times)):
        gap = times[place] - times[place - 1]
        error = _error(gap, period, tolerance)
        direct += error is not None and gap < 1.5 * period
        for lag in (2, 3):
            if error is None and place >= lag:
                error = abs(times[place] - times[place - lag] - period)
                error = error if error <= tolerance else None
        if error is not None:
            errors.append(error)
    if not errors:
        return Beat(0, 0, 0.0, 0.0)
    return Beat(len(errors), direct, sum(errors) / len(errors), max(errors))


def _error(gap: float, period: float, tolerance: float) -> float | None:
    """Return how early or late a request is after one that came several periods earlier; None if it is not so."""
    missed = round(gap / period)
    if not 1 <= missed <= _MISSING:
        return None
    error = abs(gap - missed * period)
    return error / sqrt(missed) if error <= tolerance * (1.5 if missed > 1 else 1.0) else None


def _milliseconds(period: float) -> int:
    """Return the period in milliseconds, rounded so that few names are needed."""
    return round(period) * 1000 if period >= 10 else round(10 * period) * 100
