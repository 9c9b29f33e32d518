"""The values of a record, or of a change, by the names that they have in the statements about one session."""

from collections.abc import Sequence
from math import inf
from typing import Any

from ...model.record import Change
from ...model.record import Record
from .. import columns as row
from ..contract import Touch
from .tables import ENDLESS

#: A row as it was read: the columns of :data:`columns.RECORD`, and the version.
Row = Sequence[Any]

_SEEN, _IDLE, _REFRESH, _DATA = map(row.RECORD.index, ("last_seen_at", "idle_timeout", "refresh_by", "data"))

#: Stands for an instant that is earlier than all, of a session that is not touched.
_UNSEEN = -ENDLESS


def of_times(change: Change, *, now: float) -> dict[str, Any]:
    """Return the times that a change sets. None leaves one as it is."""
    seen_at = change.last_seen_at
    return {
        "last_seen_at_": _UNSEEN if seen_at is None else min(seen_at, now),
        "idle_timeout_": change.idle_timeout,
        "refresh_by_": change.refresh_by,
    }


def of_record(record: Record, *, version: int) -> dict[str, Any]:
    """Return all columns of a record, whose row has or gets this version."""
    columns = {**row.to_row(record), "due_at": record.info.expires_at, "version": version}
    return {f"{name}_": value for name, value in columns.items()}


def as_row(values: dict[str, Any], *, version: int) -> Row:
    """Return the row of these values, as it would be read."""
    return [*(values[f"{name}_"] for name in row.RECORD), version]


def as_changed(found: Row, change: Change, *, now: float, data: bytes, version: int) -> Row:
    """Return a row after its times and its values were changed, as it would be read."""
    changed = [*found[:_DATA], data, version]
    if change.last_seen_at is not None:
        changed[_SEEN] = max(found[_SEEN], min(change.last_seen_at, now))
    if change.idle_timeout is not None:
        changed[_IDLE] = change.idle_timeout
    if change.refresh_by is not None:
        changed[_REFRESH] = change.refresh_by
    return changed


def to_change(touch: Touch, *, refresh_by: float, now: float) -> Change:
    """Return the change that a touch is. Only a permanent session, whose ``refresh_by`` is finite, is refreshed."""
    refreshed = touch.refresh_by if refresh_by < inf else None
    return Change(holder=touch.holder, last_seen_at=now, refresh_by=refreshed)
