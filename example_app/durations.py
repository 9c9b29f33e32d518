"""Writes durations for people: "30 minutes"."""


def in_words(seconds: float) -> str:
    """Return a duration as a sentence says it: ``90`` is "1 minute 30 seconds"."""
    minutes, rest = divmod(round(seconds), 60)
    parts = zip((*divmod(minutes, 60), rest), ("hour", "minute", "second"), strict=True)
    return " ".join(f"{count} {unit}{'s' * (count != 1)}" for count, unit in parts if count) or "0 seconds"
