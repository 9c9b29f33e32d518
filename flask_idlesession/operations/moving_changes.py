"""Tells two states of one session apart, and which change turns the one into the other."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from ..model.record import Change
from ..model.record import Record
from ..model.record import Rotation

_T = TypeVar("_T")

#: Bytes of a state.
STATE_SIZE = 8


def state_of(record: Record) -> bytes:
    """Return what tells a record from the same session's record before and after."""
    info = replace(record.info, labels=dict(sorted(record.info.labels.items())))
    former = record.former_digest, record.former_ends_at
    text = repr((info, record.secret_digest, sorted(record.values.items()), former))
    return hashlib.blake2b(text.encode(), digest_size=STATE_SIZE).digest()


def change_between(there: Record, record: Record) -> Change | None:
    """Return the change that makes ``record`` of ``there``, if it finds that as it was; None if no change can.

    None is for a session that was rotated several times within a grace, and for one that was begun again.
    """
    before, after = there.info, record.info
    delta = _difference(there.values, record.values)
    change = Change(
        holder=there.secret_digest,
        last_seen_at=after.last_seen_at,
        delta=delta,
        expect={key: there.values.get(key) for key in delta},
        idle_timeout=None if before.idle_timeout == after.idle_timeout else after.idle_timeout,
        refresh_by=None if before.refresh_by == after.refresh_by else after.refresh_by,
        rotation=_rotation_between(there, record),
        labels=_difference(before.labels, after.labels),
    )
    return change if state_of(there.apply(change, now=after.last_seen_at)) == state_of(record) else None


def _rotation_between(there: Record, record: Record) -> Rotation | None:
    if _who(there) == _who(record):
        return None
    return Rotation(
        secret_digest=record.secret_digest,
        user_id=record.info.user_id,
        lifetime_ends_at=record.info.lifetime_ends_at,
        grace_ends_at=record.former_ends_at if record.former_digest else None,
    )


def _who(record: Record) -> tuple[object, ...]:
    info = record.info
    return record.secret_digest, info.user_id, info.lifetime_ends_at, record.former_digest, record.former_ends_at


def _difference(before: Mapping[str, _T], after: Mapping[str, _T]) -> dict[str, _T | None]:
    """Return what has to be put, and with None what has to be removed."""
    delta: dict[str, _T | None] = {key: value for key, value in after.items() if before.get(key) != value}
    return delta | dict.fromkeys(before.keys() - after.keys())
