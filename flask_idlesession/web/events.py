"""Lets one event at a time use the session of something that stays open: a message of a WebSocket, for example."""

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from flask import current_app
from flask import Flask

from ..model.record import Ending
from ..model.record import SessionInfo
from ..model.signals import session_rotated
from ..sessions.session import Session
from .current import current_manager
from .current import current_runtime
from .ends import on_session_end

if TYPE_CHECKING:
    from ..sessions.end_watch import EndHandle


#: The reason that is told where the session goes on, and the browser has got a new token.
NEW_TOKEN = "new token"


@contextmanager
def in_event(session: Session, *, active: bool) -> Iterator[bool]:
    """Have an event use the session in the block; yield whether it opens one that is live.

    The session is read again. Each assignment is stored at once, changes in place at the end of the block. Only an
    ``active`` event is activity. No cookie can be set.
    """
    is_live = begin_event(session, active=active)
    try:
        yield is_live
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


class Follower:
    """Calls ``end`` once with the reason when a session ends, or when its browser gets a new token.

    A stream that the old token opened must not go on with the new one's rights. ``end`` must not wait: it is called by
    the thread that watches all sessions, or by the one that serves the log-in.
    """

    def __init__(self, session: Session, end: Callable[[str], None]) -> None:
        self._end: Callable[[str], None] | None = end
        self._sid = session.sid
        self._handle: EndHandle | None = None
        if self._sid is not None:
            self._handle = on_session_end(self._note_end, sid=self._sid)
            app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
            session_rotated.connect(self._note_rotation, app)

    @property
    def has_session(self) -> bool:
        """Whether there was a session to follow."""
        return self._handle is not None

    def reason(self) -> str:
        """Return the reason, where the session was found to be over for its holder."""
        ending = None if self._sid is None else current_manager().lifecycle.ending(self._sid)
        return NEW_TOKEN if ending is None else ending.reason.value

    def close(self) -> None:
        """Follow no more."""
        self._end = None
        if self._handle is not None:
            self._handle.close()
            session_rotated.disconnect(self._note_rotation)

    def _note_end(self, ending: Ending) -> None:
        self._call(ending.reason.value)

    def _note_rotation(self, app: Flask, info: SessionInfo, **_: object) -> None:
        if info.sid == self._sid:
            self._call(NEW_TOKEN)

    def _call(self, reason: str) -> None:
        end, self._end = self._end, None
        if end is not None:
            end(reason)
