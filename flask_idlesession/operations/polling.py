"""Names the endpoints that pages ask for by themselves, at a fixed beat, from what all workers tallied."""

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field

#: The part of an endpoint's judged sessions that must ask at a beat, and those that may not have been opened by hand.
_LEAST_SHARE = 0.65
_MOST_OPENED = 0.2

#: The bits of evidence that are enough: by chance one endpoint in a million would reach them.
_ENOUGH = 20

#: Periods that differ by less than this part are one.
_ALIKE = 0.1

_PREFIX = "beat."
_NUMBERS = frozenset({"judged", "opened", "left", "sure", "spread", "evidence"})

#: The amount that has the number of processes that judged in a minute.
PROCESSES = "beat.(processes).judged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Poller:
    """An endpoint that pages ask for at a fixed beat, and that counts as activity of their users."""

    endpoint: str
    #: Seconds between two requests.
    period: float
    #: Seconds by which a request is early or late, about.
    spread: float
    #: The part of the sessions, of those that asked for it often enough to tell.
    share: float

    def told(self, place: str | None = None) -> str:
        """Return the finding as one sentence; ``place`` is what the endpoint is called in it."""
        return (
            f"{place or self.endpoint} comes every {_seconds(self.period)} s ± {_seconds(max(self.spread, 0.1))} s in "
            f"{self.share:.0%} of the sessions that ask for it again and again: mark its view @passive, or nobody who "
            "leaves such a page open ever goes idle."
        )


def pollers_in(by_minute: Mapping[int, Mapping[str, int]]) -> list[Poller]:
    """Return the pollers that the amounts of some minutes tell of, those of most sessions first.

    Each minute tells what the processes know at that time. Of each endpoint the minute counts that knows most of it.
    """
    beats: dict[str, _Beat] = {}
    for amounts in by_minute.values():
        for endpoint, beat in _beats_in(amounts).items():
            if endpoint not in beats or beat.judged >= beats[endpoint].judged:
                beats[endpoint] = beat
    found = [poller for endpoint, beat in beats.items() if (poller := _poller(endpoint, beat)) is not None]
    return sorted(found, key=lambda poller: (-poller.share, poller.endpoint))


@dataclass(slots=True)
class _Beat:
    """The numbers of one minute about an endpoint."""

    processes: int
    judged: int = 0
    opened: int = 0
    left: int = 0
    sure: int = 0
    spread: int = 0
    evidence: int = 0
    periods: dict[int, int] = field(default_factory=dict)


def _beats_in(amounts: Mapping[str, int]) -> dict[str, _Beat]:
    beats: dict[str, _Beat] = {}
    processes = max(amounts.get(PROCESSES, 1), 1)
    for name, amount in amounts.items():
        if name.startswith(_PREFIX) and name != PROCESSES:
            endpoint, _, what = name.removeprefix(_PREFIX).rpartition(".")
            beat = beats.setdefault(endpoint, _Beat(processes))
            if what.isdigit():
                beat.periods[int(what)] = amount
            elif what in _NUMBERS:
                setattr(beat, what, amount)
    return beats


def _poller(endpoint: str, beat: _Beat) -> Poller | None:
    on_beat = sum(beat.periods.values())
    # A session that left one process may go on in another.
    asked = beat.judged + beat.left / beat.processes
    if not on_beat or on_beat < _LEAST_SHARE * asked or beat.evidence < _ENOUGH:
        return None
    if beat.opened > _MOST_OPENED * beat.judged:
        return None
    return Poller(
        endpoint=endpoint,
        period=_commonest(beat.periods) / 1000,
        spread=beat.spread / max(beat.sure, 1) / 1000,
        share=min(on_beat / asked, 1.0),
    )


def _commonest(periods: Mapping[int, int]) -> float:
    """Return the mean of the periods around the one that has most sessions near it."""

    def near(period: int) -> dict[int, int]:
        return {other: count for other, count in periods.items() if abs(other - period) < _ALIKE * period}

    best = max((near(period) for period in periods), key=lambda group: sum(group.values()))
    return sum(period * count for period, count in best.items()) / sum(best.values())


def _seconds(number: float) -> str:
    """Return seconds as people say them: whole ones from ten on."""
    return f"{number:.0f}" if number >= 10 else f"{number:.1f}".removesuffix(".0")
