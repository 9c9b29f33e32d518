"""Writes durations for people: "30 minutes" in a sentence, "29:58" on a clock."""

from math import ceil


def in_words(seconds: float) -> str:
    """Return a duration as a sentence says it: ``90`` is "1 minute 30 seconds"."""
    parts = zip(_split(round(seconds)), ("hour", "minute", "second"), strict=True)
    return " ".join(f"{count} {unit}{'s' * (count != 1)}" for count, unit in parts if count) or "0 seconds"


def on_clock(seconds: float) -> str:
    """Return a duration as a clock counts it down: ``90`` is "1:30". The script's ``onClock`` does the same."""
    hours, minutes, rest = _split(ceil(seconds))
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _split(seconds: int) -> tuple[int, int, int]:
    minutes, rest = divmod(seconds, 60)
    return *divmod(minutes, 60), rest
