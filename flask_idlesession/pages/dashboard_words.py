"""Writes the dashboard's figures for people: short, and in the language of the request."""

from collections.abc import Sequence
from datetime import datetime
from datetime import UTC

from ..model.record import Ending
from ..model.record import EndReason
from ..operations.census import Census
from ..operations.minutes import Minute
from ..operations.overview import Overview
from ..operations.overview import RECENT
from .durations import ago
from .durations import in_words
from .texts import Texts

#: A space that is narrow, and where no line breaks: SI's sign between groups of digits.
_GROUP = "\u202f"

_UNKNOWN = "–"


def tiles_of(overview: Overview, texts: Texts) -> list[tuple[str, str, str, str]]:
    """Return the figures as pairs: a name for the script, what it is, the figure, and what is to be said to it."""
    census, recent, hour = overview.census, overview.recent, overview.hour
    created, ended = (None, None) if hour is None else (hour.created, sum(hour.ended))
    return [
        ("live", texts.say("Live now"), _live(census, texts), _with_user(census, texts)),
        ("users", texts.say("Users"), _users(census, texts), _sample(census, texts)),
        ("begun", texts.say("Begun per minute"), _rate(recent, "created"), _in_an_hour(created, texts)),
        ("ended", texts.say("Ended per minute"), _rate(recent, "ended"), _in_an_hour(ended, texts)),
        ("store", texts.say("Store, p50 / p99"), _latency(recent), _errors(overview, texts)),
        ("bytes", texts.say("Size"), size(None if census is None else census.stored_bytes), overview.kind),
        ("cleaner", texts.say("Cleaner"), _cleaner(overview, texts), texts.say("since its last pass")),
        ("workers", texts.say("Workers"), number(overview.workers), texts.say("on this host")),
    ]


def number(value: int) -> str:
    """Return a whole number with its digits in groups."""
    return f"{value:,}".replace(",", _GROUP)


def size(value: int | None) -> str:
    """Return a number of bytes by the largest unit of which there is one."""
    if value is None:
        return _UNKNOWN
    for unit, least in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= least:
            return f"{value / least:.1f}{_GROUP}{unit}"
    return f"{value}{_GROUP}B"


def milliseconds(seconds: float | None) -> str:
    """Return a duration of calls, with as many digits as say something."""
    if seconds is None:
        return _UNKNOWN
    value = seconds * 1000
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def clock(instant: float) -> str:
    """Return the time of day, in UTC as all instants of the dashboard."""
    return datetime.fromtimestamp(instant, UTC).strftime("%H:%M:%S UTC")


def shorter_timeouts(overview: Overview, texts: Texts) -> list[str]:
    """Return what shorter idle timeouts would have done."""
    return [
        texts.say(
            "At {time}, {part} % more would have been asked to log in again.",
            time=in_words(timeout, texts),
            part=_percent(part),
        )
        for timeout, part in overview.asked_more
    ]


def ending_facts(ending: Ending, texts: Texts, *, now: float) -> Sequence[tuple[str, str]]:
    """Return how a session ended, as names and what they are."""
    facts = [
        (texts.say("User"), texts.say("Anonymous") if ending.user_id is None else ending.user_id),
        (texts.say("Ended"), ago(ending.ended_at, texts, now=now)),
        (texts.say("Reason"), _reason(ending.reason, texts)),
    ]
    return facts if ending.by is None else [*facts, (texts.say("By"), ending.by)]


def _reason(reason: EndReason, texts: Texts) -> str:
    match reason:
        case EndReason.IDLE:
            return texts.say("Idle")
        case EndReason.LIFETIME:
            return texts.say("Lifetime")
        case EndReason.LOGGED_OUT:
            return texts.say("Logged out")
        case EndReason.REVOKED:
            return texts.say("Revoked")
        case EndReason.EVICTED:
            return texts.say("Evicted")


def rows_of(overview: Overview) -> Sequence[Sequence[str]]:
    """Return the series as rows of a table: the time, then the figures of the plots."""
    series = overview.series
    if series is None:
        return []
    rows = []
    for place, step in enumerate(series.steps):
        live = number(series.live[place]) if series.live else _UNKNOWN
        at = datetime.fromtimestamp(series.begins_at + place * series.step, UTC).strftime("%H:%M")
        calls = (milliseconds(step.calls.quantile(share)) for share in (0.5, 0.99))
        rows.append([at, live, number(step.created), *map(number, step.ended), *calls])
    return rows


def _percent(part: float) -> str:
    value = 100 * part
    return f"{value:.0f}" if value >= 10 or value == round(value) else f"{value:.1f}"


def _live(census: Census | None, texts: Texts) -> str:
    if census is None:
        return _UNKNOWN
    if census.is_least:
        return texts.say("over {n}", n=number(census.live))
    return number(census.live) if census.is_live_exact else texts.say("about {n}", n=number(_rounded(census.live)))


def _users(census: Census | None, texts: Texts) -> str:
    if census is None:
        return _UNKNOWN
    if census.is_sample:
        return texts.say("about {n}", n=number(_rounded(census.users)))
    return number(census.users)


def _with_user(census: Census | None, texts: Texts) -> str:
    if census is None:
        return texts.say("The store does not answer.")
    if census.is_sample:
        return texts.say("about {n} with a user", n=number(_rounded(census.signed_in)))
    return texts.say("{n} with a user", n=number(census.signed_in))


def _sample(census: Census | None, texts: Texts) -> str:
    if census is None or not census.is_sample:
        return texts.say("of all sessions")
    return texts.say("from a sample of {n}", n=number(census.seen))


def _rate(recent: Minute | None, what: str) -> str:
    if recent is None:
        return _UNKNOWN
    total = recent.created if what == "created" else sum(recent.ended)
    value = total / RECENT
    return number(round(value)) if value >= 100 else f"{value:.1f}"


def _in_an_hour(total: int | None, texts: Texts) -> str:
    return _UNKNOWN if total is None else texts.say("{n} in 60 minutes", n=number(total))


def _latency(recent: Minute | None) -> str:
    if recent is None or not recent.calls.count:
        return _UNKNOWN
    p50, p99 = (milliseconds(recent.calls.quantile(share)) for share in (0.5, 0.99))
    return f"{p50} / {p99}{_GROUP}ms"


def _errors(overview: Overview, texts: Texts) -> str:
    total = 0 if overview.recent is None else overview.recent.errors
    return texts.count("{n} error in 10 minutes", "{n} errors in 10 minutes", total)


def _cleaner(overview: Overview, texts: Texts) -> str:
    ago = overview.cleaned_ago
    return _UNKNOWN if ago is None else f"{ago:.1f}{_GROUP}s" if ago < 60 else in_words(ago, texts)


def _rounded(value: int) -> int:
    """Return an estimate without the digits that say nothing: three are left."""
    places = max(len(str(value)) - 3, 0)
    return round(value, -places)
