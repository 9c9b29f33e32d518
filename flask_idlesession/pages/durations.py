"""Writes durations and instants for people, in the language of the request."""

from collections.abc import Callable
from datetime import datetime
from datetime import UTC
from math import ceil

from markupsafe import Markup

from .texts import Texts

_DAY, _HOUR, _MINUTE = 86400, 3600, 60

_Phrase = Callable[[Texts, int], str]

# As each language has them: a phrase is more than a number with a unit ("vor 2 Tagen", "2 Tage").
_LONG: tuple[tuple[int, _Phrase], ...] = (
    (_DAY, lambda texts, n: texts.count("{n} day", "{n} days", n)),
    (_HOUR, lambda texts, n: texts.count("{n} hour", "{n} hours", n)),
    (_MINUTE, lambda texts, n: texts.count("{n} minute", "{n} minutes", n)),
    (1, lambda texts, n: texts.count("{n} second", "{n} seconds", n)),
)
_AGO: tuple[tuple[int, _Phrase], ...] = (
    (_DAY, lambda texts, n: texts.count("{n} day ago", "{n} days ago", n)),
    (_HOUR, lambda texts, n: texts.count("{n} hour ago", "{n} hours ago", n)),
    (_MINUTE, lambda texts, n: texts.count("{n} minute ago", "{n} minutes ago", n)),
)
_AHEAD: tuple[tuple[int, _Phrase], ...] = (
    (_DAY, lambda texts, n: texts.count("in {n} day", "in {n} days", n)),
    (_HOUR, lambda texts, n: texts.count("in {n} hour", "in {n} hours", n)),
    (_MINUTE, lambda texts, n: texts.count("in {n} minute", "in {n} minutes", n)),
)


def in_words(seconds: float, texts: Texts) -> str:
    """Return a duration by its two largest units: ``5400`` is "1 hour 30 minutes"."""
    rest, parts = max(1, round(seconds)), []
    for unit, phrase in _LONG:
        count, rest = divmod(rest, unit)
        if count:
            parts.append(phrase(texts, count))
        if len(parts) == 2:
            break
    return " ".join(parts)


def ago(instant: float, texts: Texts, *, now: float) -> Markup:
    """Return how long ago an instant was, with the instant itself for programs and for those who point at it."""
    phrase = _largest(int(now - instant), _AGO, texts)
    return _marked(instant, texts.say("just now") if phrase is None else phrase)


def ahead(instant: float, texts: Texts, *, now: float) -> Markup:
    """Return in how much time an instant is, rounded up to a minute."""
    minutes = max(1, ceil((instant - now) / _MINUTE))
    return _marked(instant, _largest(minutes * _MINUTE, _AHEAD, texts) or "")


def _largest(seconds: int, phrases: tuple[tuple[int, _Phrase], ...], texts: Texts) -> str | None:
    """Return the phrase with the largest unit of which there is one; None below a minute."""
    return next((phrase(texts, seconds // unit) for unit, phrase in phrases if seconds >= unit), None)


def _marked(instant: float, phrase: str) -> Markup:
    time = datetime.fromtimestamp(instant, UTC).replace(microsecond=0)
    shown = time.strftime("%Y-%m-%d %H:%M UTC")
    return Markup('<time datetime="{}" title="{}">{}</time>').format(time.isoformat(), shown, phrase)
