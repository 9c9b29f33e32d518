"""Bounds the bytes of one session, so that no client fills a store or makes it refuse a call."""

from ..model.errors import RecordRejected
from ..model.record import Delta
from ..model.record import merged
from ..model.record import Record
from ..model.record import Values

#: How many of the largest keys an error names.
_NAMED = 3


def check_size(record: Record | None, delta: Delta, *, limit: int | None) -> None:
    """Raise :exc:`~flask_idlesession.RecordRejected` if the session would hold more bytes than ``limit``.

    ``record`` is what is stored of it, None for nothing. A change that makes the session smaller is always let through.
    """
    if limit is None or not delta:
        return
    added = 0
    for key, data in delta.items():
        added += len(key) + len(data or b"")
    before = 0 if record is None else record.size
    if before + added <= limit:
        return
    stored: Values = {} if record is None else record.values
    after = merged(stored, delta)
    size = size_of(after)
    if size <= limit or size <= size_of(stored):
        return
    raise RecordRejected(
        f"The session would hold {size} bytes, and IDLESESSION_MAX_SESSION_BYTES is {limit}. Its largest keys are "
        f"{largest_keys(after)}. Keep less under them, or raise the setting. [ISE082]"
    )


def size_of(values: Values) -> int:
    """Return the bytes of the keys and the values."""
    return sum(map(_size, values.items()))


def largest_keys(values: Values) -> str:
    """Return the largest keys with their bytes, fit for a message."""
    largest = sorted(values.items(), key=_size, reverse=True)[:_NAMED]
    return ", ".join(f"{key!r} ({_size((key, data))} bytes)" for key, data in largest)


def _size(item: tuple[str, bytes]) -> int:
    key, data = item
    return len(key) + len(data)
