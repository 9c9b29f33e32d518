"""Begins and ends sessions in a store, and tells both: what saving, pruning and revoking have in common."""

import logging
import weakref
from collections.abc import Callable
from dataclasses import replace
from math import inf
from typing import cast

from ..model.clock import Clock
from ..model.codec import Codec
from ..model.errors import DecodeError
from ..model.errors import SessionExists
from ..model.errors import StoreError
from ..model.ids import Credential
from ..model.ids import new_session_id
from ..model.ids import SessionId
from ..model.policy import Policy
from ..model.record import Change
from ..model.record import Ending
from ..model.record import EndReason
from ..model.record import Labels
from ..model.record import NO_LABELS
from ..model.record import Outcome
from ..model.record import Record
from ..model.record import SessionInfo
from ..model.signals import session_created
from ..model.signals import session_loaded
from ..model.signals import tell
from ..process.background import cleaner
from ..stores.contract import is_in_place_of
from ..stores.contract import Near
from ..stores.contract import Store
from ..stores.contract import UnreadableRecord
from ..stores.contract import Visited
from .endings import Endings
from .pruning import Pruner

_logger = logging.getLogger("flask_idlesession")

Guard = Callable[[Credential, Record], Record | None]

#: How many ids are tried for a new session. The second is hardly ever needed, the third never.
_ID_TRIES = 3

#: An instant at which nothing has expired yet.
_LONG_AGO = 0.0


class Lifecycle:
    """The steps of which every session's life consists, on one store; a :class:`~.persistence.Persistence`.

    ``sender`` is what signals name as theirs; it is not kept alive.
    """

    def __init__(
        self, store: Store, *, policy: Policy, codec: Codec, clock: Clock, cleanup_interval: float, sender: object
    ) -> None:
        self.store = store
        self.policy = policy
        self.codec = codec
        self.now = clock
        #: Tells where the present request came from, as far as that is to be kept.
        self.origin: Callable[[], Labels] = _nowhere
        #: Judges the requests of users, and returns what their view may see.
        self.guard: Guard | None = None
        self._sender = weakref.ref(sender)
        self._is_bounded = bool(getattr(store, "bounded", False))
        may_visit = isinstance(store, Visited) and is_in_place_of(store, "visit", "load", "commit")
        self._visited = cast(Visited, store) if may_visit else None
        #: Whether the store touches and returns a session in one step, and each request touches.
        self.visits = self._visited is not None and not policy.touch_interval
        touches_alone = self.visits and policy.rotation_interval is None
        is_near = isinstance(store, Near) and is_in_place_of(store, "fades_at", "load")
        #: The store, if a session in it can be looked at without a way to a server.
        self.near = cast(Near, store) if is_near else None
        touches_alone = touches_alone and is_near and is_in_place_of(store, "touch", "commit")
        self._touch = cast(Near, store).touch if touches_alone else None
        self._refresh_for = policy.refreshed(0.0) if policy.refresh_each_request else None
        self._endings = Endings(store, sender=self._sender)
        self.pruner = Pruner(store, clock=clock, interval=cleanup_interval, endings=self._endings)

    @property
    def sender(self) -> object:
        """What signals name as their sender."""
        return self._sender()

    def load(self, credential: Credential) -> Record | None:
        """Return the live record that the credential opens, or None: a request arrives with it."""
        self.pruner.prune_few(now=self.now())
        return self._admit(credential, self.reload(credential))

    def reload(self, credential: Credential) -> Record | None:
        """Return the live record that the credential opens now, or None."""
        now = self.now()
        record = self.look_up(credential.sid, now=now)
        if record is None or (self.pruner.condemned and credential.sid in self.pruner.condemned):
            return None
        return record if record.opens_to(credential.holder, now=now) else None

    def visit(self, credential: Credential, now: float) -> Record | None:
        """Return the live record that the credential opens, touched, or None: an active request arrives with it."""
        assert self._visited is not None
        pruner = self.pruner
        if now >= pruner.due or cleaner.thread is None:
            pruner.prune_few(now=now)
        refresh_by = None if self._refresh_for is None else now + self._refresh_for
        try:
            record = self._visited.visit(credential.sid, holder=credential.holder, now=now, refresh_by=refresh_by)
        except UnreadableRecord as error:
            self.give_up(error.info, error)
            return None
        if record is None or (pruner.condemned and credential.sid in pruner.condemned):
            return None
        if not self._is_bounded:  # Where it is, it is this process's own, which noted the session when it began.
            pruner.note(record.expires_at)
        return record if self.guard is None and not session_loaded.receivers else self._admit(credential, record)

    def fades_at(self, sid: SessionId) -> float:
        """Return the instant from which little life is left to a session, so that a view might outlive it; infinite
        where it would take a way to a server to know that.
        """
        return inf if self.near is None else self.near.fades_at(sid)

    def touch_alone(self, credential: Credential) -> bool:
        """Touch the session of an active request that asks nothing of it, if that takes no way to a server, and there
        is nothing else to do; return whether it was done.
        """
        touch, pruner = self._touch, self.pruner
        if touch is None or session_loaded.receivers or pruner.condemned:
            return False
        now = self.now()
        if now >= pruner.due or cleaner.thread is None:
            pruner.prune_few(now=now)
        return touch(credential.sid, credential.holder, now)

    def _admit(self, credential: Credential, record: Record | None) -> Record | None:
        """Return what a request may see of what its credential opens."""
        if record is not None and self.guard is not None and record.has_user:
            record = self.guard(credential, record)
        if record is not None and session_loaded.receivers:
            tell(session_loaded, self.sender, info=record.info)
        return record

    def look_up(self, sid: SessionId, *, now: float) -> Record | None:
        """Return the live record, or None. One that cannot be read is ended."""
        try:
            return self.store.load(sid, now=now)
        except UnreadableRecord as error:
            self.give_up(error.info, error)
            return None

    def look_up_info(self, sid: SessionId, *, now: float) -> SessionInfo | None:
        """Return the info of the live record, of one that cannot be read too, or None."""
        try:
            record = self.store.load(sid, now=now)
        except UnreadableRecord as error:
            return error.info
        return None if record is None else record.info

    def commit(self, credential: Credential, change: Change) -> Outcome:
        """Apply the change in one step."""
        return self.store.commit(credential.sid, change, now=self.now())

    def touch(self, credential: Credential, touch: Change, *, now: float) -> Outcome | None:
        """Commit a touch; None if the store failed, for which no request is: at worst a session ends early."""
        try:
            return self.store.commit(credential.sid, touch, now=now)
        except StoreError as error:
            _logger.debug("A touch of session %s was not written: %s", credential.sid, error)
            return None

    def create(self, record: Record) -> Record:
        """Store a new session under its id, or under another should that be taken; return it."""
        for _ in range(_ID_TRIES - 1):
            try:
                self.store.create(record)
                break
            except SessionExists:
                record = replace(record, info=replace(record.info, sid=new_session_id()))
        else:
            self.store.create(record)
        self.pruner.note(record.info.expires_at)
        if self._is_bounded:
            self.pruner.prune_evicted()
        tell(session_created, self.sender, info=record.info)
        return record

    def end(self, info: SessionInfo, reason: EndReason, *, by: str | None = None) -> bool:
        """Forget the session; return whether it was this call that ended it, which then is told."""
        return self._endings.end(info, reason, now=self.now(), by=by)

    def note_end(self, info: SessionInfo, reason: EndReason) -> None:
        """Tell the end of a session that the store has forgotten already."""
        self._endings.tell([(info, reason)], now=self.now())

    def abandon(self, credential: Credential, error: DecodeError) -> None:
        """End a session whose stored bytes cannot be decoded; the others are none the worse."""
        record = self.reload(credential)
        if record is not None:
            self.give_up(record.info, error)

    def give_up(self, info: SessionInfo, error: DecodeError | UnreadableRecord) -> None:
        """End a session whose stored bytes could not be decoded."""
        _logger.error("Session %s was ended, because what is stored of it cannot be read: %s", info.sid, error)
        self.end(info, EndReason.REVOKED)

    def ending(self, sid: SessionId) -> Ending | None:
        """Return how the session ended, while that is remembered; None for one that lives or never was."""
        now = self.now()
        ending = self.store.ending(sid, now=now)
        if ending is not None:
            return ending
        info = self.look_up_info(sid, now=_LONG_AGO)  # It may have expired and not been pruned yet.
        if info is None or info.is_live(now):
            return None
        return Ending(sid=sid, reason=info.expiry_reason, ended_at=info.expires_at, user_id=info.user_id)


def _nowhere() -> Labels:
    return NO_LABELS
