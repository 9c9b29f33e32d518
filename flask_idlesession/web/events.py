"""Lets one event at a time use the session of something that stays open: a message of a WebSocket, for example."""

from collections.abc import Iterator
from contextlib import contextmanager

from ..sessions.session import Session
from .current import current_runtime


@contextmanager
def in_event(session: Session, *, active: bool) -> Iterator[bool]:
    """Have an event use the session in the block; yield whether it opens one that is live.

    The session is read again. Each assignment is stored at once, changes in place at the end of the block. Only an
    ``active`` event is activity. No cookie can be set.
    """
    try:
        yield begin_event(session, active=active)
    finally:
        end_event(session)


def begin_event(session: Session, *, active: bool) -> bool:
    """Read the session for an event; return whether it is live. Raise StoreError if it cannot be read."""
    requests = current_runtime().requests
    facts = session._facts
    session._forget_reading()
    facts.is_active = active
    record = session._load()
    session._rest()
    if record is not None and active and not facts.is_touched:
        now = requests.now()
        if not requests.policy.may_wait(record.info, now=now):
            requests.touch(session, ago=0.0)
    return session._record is not None


def end_event(session: Session) -> None:
    """Store what the event changed in place."""
    session._finish_late()
    session._modified = False  # All that could be stored is stored.
