"""Notices a token that was replaced a while ago and is shown again: a copy of it is in somebody's hands."""

import logging

from ..model.errors import StoreError
from ..model.ids import Credential
from ..model.ids import SessionId
from ..model.record import EndReason
from ..model.record import SessionInfo
from ..model.signals import tell
from ..model.signals import token_reused
from .lifecycle import Lifecycle

_logger = logging.getLogger("flask_idlesession")

#: Seconds between two times that this is told of one session.
_QUIET = 60.0

#: How many sessions are remembered for that.
_MOST = 1024

#: Seconds after a log-in for which its old token may still be on the wire.
_ON_THE_WIRE = 10.0

#: The name under which such an end is told.
_BY = "token reuse"


class TokenReuse:
    """Tells of each session whose replaced token is shown (RFC 9700, 4.14.2); with ``ends`` it ends the session."""

    def __init__(self, lifecycle: Lifecycle, *, ends: bool) -> None:
        self._lifecycle = lifecycle
        self._ends = ends
        # When it was last told of a session. A hint, so no lock guards it.
        self._told: dict[SessionId, float] = {}

    def note(self, credential: Credential, *, now: float) -> None:
        """Look whether the session lives with another secret, if that was not told a short time ago.

        The look is dropped where the store fails: the request needs no session.
        """
        if now - self._told.get(credential.sid, -_QUIET) < _QUIET:
            return
        try:
            info = self._lifecycle.look_up_info(credential.sid, now=now)
            if info is not None and not _is_on_the_wire(info, now):
                self._tell(info, now)
        except StoreError as error:
            _logger.debug("Whether a token of session %s was replaced is not known: %s", credential.sid, error)

    def _tell(self, info: SessionInfo, now: float) -> None:
        if len(self._told) >= _MOST:
            self._told.clear()
        self._told[info.sid] = now
        _logger.warning(
            "A request showed a token of session %s that was replaced: somebody has a copy of it%s. [ISW014]",
            info.sid,
            ", and the session was ended" if self._ends else "",
        )
        tell(token_reused, self._lifecycle.sender, info=info)
        if self._ends:
            self._lifecycle.end(info, EndReason.REVOKED, by=_BY)


def _is_on_the_wire(info: SessionInfo, now: float) -> bool:
    began_at = info.created_at if info.authenticated_at is None else info.authenticated_at
    return now - began_at < _ON_THE_WIRE
