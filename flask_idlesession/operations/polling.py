"""Names the endpoints that pages ask for by themselves, at a fixed beat, from what all workers tallied."""

from collections.abc import Mapping
from dataclasses import dataclass

#: The part of an endpoint's judged sessions that must ask at a beat, and those that may not have been opened by hand.
_LEAST_SHARE = 0.6
_MOST_OPENED = 0.2

#: The bits of evidence that are enough: by chance one endpoint in some 16,000 would reach them.
_ENOUGH = 14

#: Periods that differ by less than this part are one.
_ALIKE = 0.1

_PREFIX = "beat."
_JUDGED, _OPENED, _SPREAD, _EVIDENCE = "judged", "opened", "spread", "evidence"


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


def pollers_in(amounts: Mapping[str, int]) -> list[Poller]:
    """Return the pollers that the amounts of some minutes tell of, those of most sessions first."""
    beats: dict[str, dict[str, int]] = {}
    for name, amount in amounts.items():
        if name.startswith(_PREFIX):
            endpoint, _, what = name.removeprefix(_PREFIX).rpartition(".")
            beats.setdefault(endpoint, {})[what] = amount
    found = [poller for endpoint, beat in beats.items() if (poller := _poller(endpoint, beat)) is not None]
    return sorted(found, key=lambda poller: (-poller.share, poller.endpoint))


def _poller(endpoint: str, beat: Mapping[str, int]) -> Poller | None:
    judged = beat.get(_JUDGED, 0)
    periods = {int(what): count for what, count in beat.items() if what.isdigit()}
    on_beat = sum(periods.values())
    if not judged or on_beat < _LEAST_SHARE * judged or beat.get(_EVIDENCE, 0) < _ENOUGH:
        return None
    if beat.get(_OPENED, 0) > _MOST_OPENED * judged:
        return None
    return Poller(
        endpoint=endpoint,
        period=_commonest(periods) / 1000,
        spread=beat.get(_SPREAD, 0) / on_beat / 1000,
        share=min(on_beat / judged, 1.0),
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
