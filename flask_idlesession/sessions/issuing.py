"""Gives out tokens: for a session that is stored for the first time, for a log-in, and for a rotation."""

from typing import Protocol

from ..model.codec import Codec
from ..model.ids import Credential
from ..model.labels import AGAIN
from ..model.policy import Policy
from ..model.record import Delta
from ..model.record import Labels
from ..model.record import Record
from ..model.record import with_labels
from ..model.signals import session_logged_in
from ..model.signals import tell
from .anonymous import count_of
from .changes import begin_of
from .changes import NOTHING
from .changes import rotates
from .facts import Saved
from .lifecycle import Lifecycle
from .log_outs import drop
from .log_outs import LogOuts
from .remarks import Remarks
from .revocation import Revocation
from .rotation import rotated_at
from .session import Session


class Saves(Protocol):
    """The part of the package that saves a request's session."""

    policy: Policy
    codec: Codec

    def now(self) -> float:
        """Return the present instant."""

    def check_size(self, record: Record | None, delta: Delta) -> None:
        """Raise :exc:`~flask_idlesession.RecordRejected` if the session would be too large after this."""

    def client_of(self, session: Session, record: Record | None) -> Labels:
        """Return where the request comes from, if that is to be noted of its session."""


class Issuing:
    """Begins sessions, and finishes what gave one a new token. The answer then carries the token."""

    def __init__(
        self, saves: Saves, lifecycle: Lifecycle, revocation: Revocation, log_outs: LogOuts, remarks: Remarks
    ) -> None:
        self._saves = saves
        self._remarks = remarks
        self._lifecycle = lifecycle
        self._revocation = revocation
        self._log_outs = log_outs
        self._anonymous = count_of(lifecycle)

    def begin(self, session: Session) -> Saved | None:
        """Store a session that was not stored before; None if there is nothing to store."""
        intents, facts = session._intents, session._facts
        delta = session._delta() if intents.own is None else {**session._delta(), **intents.own}
        values = {key: data for key, data in delta.items() if data is not None}
        if not values and intents.user_id is None:
            return None
        shown = facts.credential
        if intents.user_id is None and shown is not None and self._log_outs.overtook(shown.sid, facts):
            return drop(session, values)
        self._saves.check_size(None, values)
        if intents.user_id is None and self._anonymous is not None and not self._anonymous.admits():
            return None
        credential, now = intents.credential or Credential.new(), self._saves.now()
        intents.credential = credential
        permanent = bool(session._peek("_permanent"))
        if permanent:
            self._remarks.note_permanence(session, policy=self._saves.policy)
        client = self._saves.client_of(session, None)
        info = begin_of(intents, policy=self._saves.policy, now=now, permanent=permanent, client=client)
        record = self._lifecycle.create(Record(info=info, secret_digest=credential.holder, values=values))
        return self.finish(session, record, Credential(record.info.sid, credential.secret))

    def finish(self, session: Session, record: Record, credential: Credential) -> Saved:
        """Note that there is a new token, and tell of a log-in if it was for one.

        A log-in is dropped if the user's sessions were revoked meanwhile: its password may have been checked before.
        """
        is_log_in = session._intents.user_id is not None
        if is_log_in and self._revocation.overtook(record.info, came_at=session._facts.came_at):
            return drop(session, {})
        info, before = record.info, session._record
        if is_log_in and before is not None and before.info.user_id == info.user_id:
            info = with_labels(info, {AGAIN: 1})
        session._settle_all(record, credential)
        if is_log_in:
            tell(session_logged_in, self._lifecycle.sender, info=info)
        return Saved.ISSUED

    def rotated(
        self, session: Session, record: Record, credential: Credential, *, now: float, active: bool
    ) -> Credential | None:
        """Return the session's new credential, if it gets one."""
        intents = session._intents_made or NOTHING
        if intents is NOTHING and self._saves.policy.rotation_interval is None:
            return None
        holder, policy, last = credential.holder, self._saves.policy, rotated_at(record, self._saves.codec)
        if rotates(record, intents, holder=holder, policy=policy, now=now, active=active, rotated_at=last):
            return intents.credential or credential.rotated()
        return None
