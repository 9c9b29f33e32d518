"""Carries sessions from one store to another as they are stored: encrypted values stay so, and nobody is logged out."""

from collections.abc import Iterator
from enum import Enum

from ..model.errors import SessionExists
from ..model.record import Record
from ..stores.contract import Store


class Fate(Enum):
    """The result of carrying a session to the target."""

    CARRIED = "carried"
    #: The target has the same or a newer state, or knows that the session has ended.
    LEFT = "left"
    #: It ended at the source after an earlier pass had carried it.
    ENDED = "ended"


def move(source: Store, target: Store, *, now: float) -> Iterator[Fate]:
    """Carry each live session, and yield what became of it. The source stays as it is.

    A pass that broke off is called again: it goes on. A later pass carries what changed meanwhile. Of two states of one
    session the target's stays where it was seen later.
    """
    for info in source.find(now=now):
        record = source.load(info.sid, now=now)
        if record is not None:
            yield Fate.CARRIED if _put(record, target, now=now) else Fate.LEFT
    for info in list(target.find(now=now)):
        if source.ending(info.sid, now=now) is not None and source.load(info.sid, now=now) is None:
            target.delete(info.sid)
            yield Fate.ENDED


def _put(record: Record, target: Store, *, now: float) -> bool:
    """Return whether the target has this state by this call."""
    sid = record.info.sid
    if target.ending(sid, now=now) is not None:
        return False
    try:
        target.create(record)
    except SessionExists:
        there = target.load(sid, now=now)
        if there is not None and (there.info.last_seen_at > record.info.last_seen_at or _is_same(there, record)):
            return False
        target.delete(sid)
        target.create(record)
    return True


def _is_same(one: Record, other: Record) -> bool:
    return (one.info, one.secret_digest, dict(one.values)) == (other.info, other.secret_digest, dict(other.values))
