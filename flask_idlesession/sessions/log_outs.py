"""Tells a request that came before a log-out, and is saved after it, from a new visitor's, and drops its writes."""

import logging
from contextlib import suppress
from itertools import islice

from ..model.clock import TOLERANCE
from ..model.ids import SessionId
from ..model.record import Delta
from ..model.record import EndReason
from .changes import NOTHING
from .facts import RequestFacts
from .facts import Saved
from .lifecycle import Lifecycle
from .revocation import Revocation
from .session import Session

_logger = logging.getLogger("flask_idlesession")

#: With each log-out a few of those before are looked at, and forgotten if they are old enough.
_FORGET = 4


class LogOuts:
    """The log-outs of the last seconds in this process; for those of other processes the store is asked."""

    def __init__(self, lifecycle: Lifecycle, revocation: Revocation) -> None:
        self._lifecycle = lifecycle
        self._revocation = revocation
        self._remembered_for = lifecycle.policy.rotation_grace
        # When which session was logged out. A hint, so no lock guards it.
        self._logged_out: dict[SessionId, float] = {}

    def note(self, sid: SessionId) -> None:
        """Note a log-out as earlier than each request that comes from now on, also on a clock that stands still."""
        self._revocation.revoked_at = now = self._revocation.arrival()
        self._logged_out[sid] = now
        with suppress(RuntimeError):  # Another thread added one meanwhile: it will do this too.
            for old, since in list(islice(self._logged_out.items(), _FORGET)):
                if now - since >= self._remembered_for:
                    self._logged_out.pop(old, None)

    def overtook(self, sid: SessionId, facts: RequestFacts) -> bool:
        """Return whether the request came before its session was logged out, or while a log-in replaced its token.

        Such a request was on its way then. A session of its own would push the new token out of the browser, or give
        one to a user who logged out. A request that came after the log-out is a new visitor's. An instant in the
        future was noted by a clock that was ahead, and came before the request.
        """
        now, logged_out_at = self._lifecycle.now(), self._logged_out.get(sid)
        if logged_out_at is not None:
            return facts.came_at <= logged_out_at
        info = self._lifecycle.look_up_info(sid, now=now)
        if info is None:
            ending = self._lifecycle.store.ending(sid, now=now)
            if ending is None or ending.reason is not EndReason.LOGGED_OUT:
                return False
            return facts.came_at < ending.ended_at <= now + TOLERANCE
        began_at = info.created_at if info.authenticated_at is None else info.authenticated_at
        return now - self._remembered_for < began_at <= now + TOLERANCE


def drop(session: Session, delta: Delta) -> Saved:
    """Forget what a request did to a session that ended, or whose token was replaced, while it was under way."""
    intents, credential = session._intents_made or NOTHING, session._facts.credential
    if delta or intents.rotate or intents.user_id is not None:
        _logger.warning(
            "The writes of a request to session %s were dropped: the session ended, or was given a new token, "
            "before the request was finished. Keys: %s. [ISW011]",
            credential.sid if credential else None,
            ", ".join(map(repr, delta)) or "none",
        )
    session._facts.credential = None
    session._adopt(None)
    return Saved.GONE
