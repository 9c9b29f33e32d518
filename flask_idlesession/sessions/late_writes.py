"""Stores changes that come after the response has begun: from a stream, a copied context, a teardown function."""

import logging
from collections.abc import Callable
from collections.abc import Iterable
from typing import Protocol

from ..model.errors import EncodeError
from ..model.errors import StoreError
from ..model.ids import Credential
from ..model.policy import Policy
from ..model.record import Change
from ..model.record import Delta
from ..model.record import Outcome
from . import csrf_tokens
from .changes import refreshed_by
from .locking import RESERVED
from .session import Session

_logger = logging.getLogger("flask_idlesession")

#: The key in which Flask keeps whether a session is permanent, which is a matter of its cookie, too.
_PERMANENT = "_permanent"

_TIMEOUT = "session.idle_timeout"

#: How the package's own keys are called in the warning.
_SPOKEN = {csrf_tokens.FORMER: "csrf_token()", _TIMEOUT: _TIMEOUT}


class Saves(Protocol):
    """The part of the package that commits changes and ends sessions."""

    policy: Policy

    def now(self) -> float:
        """Return the present instant."""

    def commit(self, credential: Credential, change: Change) -> Outcome:
        """Apply the change in one step."""

    def log_out(self, session: Session) -> bool:
        """End the session that came with the request; return whether this did it."""


class LateWrites:
    """Commits each late assignment to a stored session by itself, since nothing is saved after the response.

    No cookie can be set any more. Changes that need one are not stored, and one warning names their keys. ``watch`` is
    called with each session that is looked at so late; it has the session finished when the context ends.
    """

    def __init__(self, saves: Saves, *, watch: Callable[[Session], None]) -> None:
        self._saves = saves
        self.watch = watch

    def write(self, session: Session, delta: Delta) -> None:
        """Store these new bytes at once, or note their keys for the warning."""
        record, credential = session._record, session._facts.credential
        if record is None or credential is None:
            session._lose(delta)
            return
        refresh_by = None
        if _PERMANENT in delta:
            refresh_by = self._refreshed_by(session)
            session._lose([_PERMANENT])  # The cookie stays as it is.
        change = Change(holder=credential.holder, delta=delta, refresh_by=refresh_by)
        if not self._is_done(session, change):
            session._lose(delta)

    def set_idle_timeout(self, session: Session, idle_timeout: float) -> None:
        """Store at once after how many idle seconds the session ends."""
        credential = session._facts.credential
        stored = self._saves.policy.stored(idle_timeout)
        if credential is None or not self._is_done(session, Change(holder=credential.holder, idle_timeout=stored)):
            session._lose([_TIMEOUT])

    def end(self, session: Session) -> None:
        """End the session at once. The browser keeps its cookie, whose token opens nothing any more."""
        self._saves.log_out(session)

    def finish(self, session: Session) -> None:
        """Store changes in place, and log the keys that could not be stored: the stream or the context is over."""
        delta: Delta = {}
        try:
            delta = session._delta()
            if delta:
                self.write(session, delta)
        except EncodeError as error:
            _logger.error(
                "A value was changed in place after the response had begun, and not stored: %s [ISE003]", error
            )
        except StoreError as error:
            _logger.error(
                "Values were changed in place after the response had begun, and were not stored: %s Keys: %s. [ISE004]",
                error,
                _named(delta),
            )
        lost = session._take_lost()
        if lost:
            _logger.warning(
                "These keys were assigned after the response had begun, and were not stored: %s. They would need a new "
                "cookie: the session was not stored yet, had ended, or had another token by then. Assign them in the "
                "view, before the response begins. [ISW005]",
                _named(lost),
            )

    def _refreshed_by(self, session: Session) -> float:
        assert session._record is not None
        info, policy, now = session._record.info, self._saves.policy, self._saves.now()
        permanent = bool(session._peek(_PERMANENT))
        return refreshed_by(info, policy=policy, now=now, active=False, wrote=True, permanent=permanent)

    def _is_done(self, session: Session, change: Change) -> bool:
        """Commit the change; return False where the session is over, or has another token by now."""
        record, credential = session._record, session._facts.credential
        if record is None or credential is None:
            return False
        if self._saves.commit(credential, change) is Outcome.DONE:
            session._note_committed(record.apply(change, now=self._saves.now()))
            return True
        session._facts.credential = session._record = None
        return False


def _named(keys: Iterable[str]) -> str:
    return ", ".join(_SPOKEN.get(key) or repr(key.removeprefix(RESERVED)) for key in keys)
