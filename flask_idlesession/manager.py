"""Carries a session through its life, from creation to end: without HTTP, and without Flask."""

import logging
import weakref
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from enum import Enum
from itertools import islice
from math import inf
from math import isfinite
from types import TracebackType
from typing import Any

from .clock import Clock
from .clock import system_clock
from .codec import Codec
from .concurrency import RESERVED
from .errors import DecodeError
from .errors import SessionExists
from .errors import SessionNotFound
from .errors import StoreError
from .ids import Claim
from .ids import new_session_id
from .ids import SessionId
from .policy import Policy
from .policy import seconds
from .pruner import Pruner
from .record import Change
from .record import Delta
from .record import EndReason
from .record import Outcome
from .record import Record
from .record import Rotation
from .record import SessionInfo
from .session import check_key
from .session import check_user_id
from .session import Session
from .signals import session_created
from .signals import session_ended
from .signals import session_loaded
from .signals import session_rotated
from .signals import tell
from .store import Store
from .stores.memory import MemoryStore

_logger = logging.getLogger("flask_idlesession")

#: When the session last got a new secret, where that is done at intervals; absent until the first time.
_ROTATED_AT = RESERVED + "rotated_at"

#: With each log-out so many of those before are looked at, and forgotten if they are old enough.
_FORGET_LOG_OUTS = 4

#: How many ids are tried for a new session. The second is hardly ever needed, the third never.
_ID_TRIES = 3


class Saved(Enum):
    """What saving did to the session, as far as its holder must be told."""

    #: The token that the holder has is still the right one; nothing to say.
    KEPT = "kept"
    #: The token is still the right one, and its holder should keep it longer, or not so long any more.
    REFRESHED = "refreshed"
    #: There is a new token, for ``session.claim``.
    ISSUED = "issued"
    #: This request ended the session.
    ENDED = "ended"
    #: The session was over before its changes came; they were dropped.
    GONE = "gone"


class SessionManager:
    """Sessions in a store, from creation to end.

    Usable alone: :meth:`create`, :meth:`read`, :meth:`replace` and :meth:`remove` work on plain data by
    session id. The rest serves :class:`~flask_idlesession.IdleSession`, which adds the token.

    The cleaner starts with the manager and leaves it with :meth:`close`; a ``with`` block does that.
    ``sender`` is what signals name as theirs, the manager itself by default; it is not kept alive.
    """

    def __init__(
        self,
        store: Store | None = None,
        *,
        idle_timeout: float | timedelta | None = None,
        lifetime: float | timedelta | None = None,
        policy: Policy | None = None,
        cleanup_interval: float = 1.0,
        codec: Codec | None = None,
        clock: Clock = system_clock,
        sender: object | None = None,
    ) -> None:
        self.store: Store = MemoryStore() if store is None else store
        self.policy = Policy() if policy is None else policy
        if idle_timeout is not None:
            self.policy = replace(self.policy, idle_timeout=seconds(idle_timeout, name="idle_timeout"))
        if lifetime is not None:
            self.policy = replace(self.policy, lifetime=seconds(lifetime, name="lifetime"))
        self.codec = Codec() if codec is None else codec
        self._clock = clock
        self._sender = weakref.ref(self if sender is None else sender)
        self._is_bounded = bool(getattr(self.store, "bounded", False))
        # When which session was logged out, for a few seconds. A hint, so no lock guards it.
        self._logged_out: dict[SessionId, float] = {}
        self._pruner = Pruner(self.store, clock=clock, interval=cleanup_interval, sender=self._sender)

    def __enter__(self) -> "SessionManager":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the cleaner, and close the store. Idempotent."""
        self._pruner.close()
        self.store.close()

    def now(self) -> float:
        """Return the present instant, as this manager's clock tells it."""
        return self._clock()

    # Alone: plain data by session id.

    def create(self, data: Mapping[str, Any] | None = None, *, user_id: str | None = None) -> SessionId:
        """Start a session that holds ``data``; return its id."""
        if user_id is not None:
            check_user_id(user_id)
        values = self._encode_all({} if data is None else data)
        info = self.policy.begin(now=self.now(), user_id=user_id)
        return self._create(Record(info=info, secret_digest=Claim.new().holder, values=values)).info.sid

    def read(self, sid: SessionId) -> dict[str, Any]:
        """Return the session's data. Reading is not activity.

        Raise :exc:`~flask_idlesession.SessionNotFound` if there is no live session of that id.
        """
        record = self._find_record(sid)
        try:
            return {key: self.codec.decode(data) for key, data in record.values.items() if not key.startswith(RESERVED)}
        except DecodeError as error:
            self._abandon(record.info, error)
            raise SessionNotFound(f"The session {sid} could not be read, and was ended.") from error

    def replace(self, sid: SessionId, data: Mapping[str, Any]) -> None:
        """Put ``data`` in place of all that the session held; this is activity.

        Raise :exc:`~flask_idlesession.SessionNotFound` if there is no live session of that id.
        """
        values = self._encode_all(data)
        while True:
            record, now = self._find_record(sid), self.now()
            theirs = [key for key in record.values if not key.startswith(RESERVED)]
            removed: Delta = {key: None for key in theirs if key not in values}
            change = Change(holder=record.secret_digest, last_seen_at=now, delta={**removed, **values})
            # GONE may mean that the secret was rotated in between: _find_record tells that from an end.
            if self.store.commit(sid, change, now=now) is Outcome.DONE:
                return

    def remove(self, sid: SessionId, *, reason: EndReason = EndReason.REVOKED) -> None:
        """End the session.

        Raise :exc:`~flask_idlesession.SessionNotFound` if there is no live session of that id.
        """
        if not self._end(self._find_record(sid).info, reason):
            raise SessionNotFound(f"There is no live session {sid}.")

    def find(self, *, user_id: str | None = None) -> Iterator[SessionInfo]:
        """Yield the live sessions, in no order; with ``user_id``, that user's."""
        return self.store.find(now=self.now(), user_id=user_id)

    def prune(self) -> int:
        """Forget everything that has expired; return how many sessions that was."""
        return self._pruner.prune_all()

    # For a request: what its token claims, and what it did.

    def open(self, claim: Claim | None) -> Session:
        """Return the session that is claimed, to be read when it is first looked at, or an empty one."""
        return Session(self, claim)

    def load(self, claim: Claim) -> Record | None:
        """Return the live record that the claim opens, or None: a request arrives with it."""
        self._pruner.prune_few(now=self.now())
        record = self.reload(claim)
        if record is not None:
            tell(session_loaded, self.sender, info=record.info)
        return record

    def reload(self, claim: Claim) -> Record | None:
        """Return the live record that the claim opens now, or None."""
        now = self.now()
        record = self.store.load(claim.sid, now=now)
        if record is None or self._pruner.has_condemned(claim.sid):
            return None
        return record if record.opens_to(claim.holder, now=now) else None

    def commit(self, claim: Claim, change: Change) -> Outcome:
        """Apply the change in one step."""
        return self.store.commit(claim.sid, change, now=self.now())

    def note_arrival(self, session: Session) -> None:
        """Count an arriving request as activity, before its view runs.

        The touch is usually left to :meth:`save`, which writes it with the rest. When little life is
        left it is written now: the session was live when its user came, so the view may take its time.
        """
        try:
            record = session.load()
        except StoreError:
            return  # Whether the view needs its session is for the view to find out.
        now = self.now()
        session.seen_at = now
        if record is None or session.claim is None or not self.policy.touches_at_once(record.info, now=now):
            return
        seen = self.policy.seen(record.info, now=now)
        refresh_by = None if seen.refresh_by == record.info.refresh_by else seen.refresh_by
        touch = Change(holder=session.claim.holder, last_seen_at=now, refresh_by=refresh_by)
        outcome = self._touch(session.claim, touch, now=now)
        if outcome is Outcome.DONE:
            session.record = record.apply(touch, now=now)
        elif outcome is Outcome.GONE:
            session.adopt(None)

    def save(self, session: Session, *, active: bool) -> Saved:
        """Store what a request did to its session, in one step; ``active``: the request is activity.

        Of a session that ended meanwhile nothing is stored: the log-out was final.
        """
        if active and session.claim is not None:
            with suppress(StoreError):
                session.load()
        if not session.is_loaded:
            return Saved.KEPT
        ended = self._end_intended(session)
        if session.record is None:
            return self._save_new(session) or (Saved.ENDED if ended else Saved.KEPT)
        return self._save_known(session, session.record, active=active)

    def abandon(self, claim: Claim, error: DecodeError) -> None:
        """End a session whose stored bytes cannot be decoded; the others are none the worse."""
        record = self.reload(claim)
        if record is not None:
            self._abandon(record.info, error)

    # The steps of save().

    def _end_intended(self, session: Session) -> bool:
        """End the session that came with the request, if its view said so; return whether this did it: the
        token may have been replaced, or the session ended, while the view ran.
        """
        claim = session.claim
        if not session.intents.end or claim is None:
            return False
        try:
            record = self.reload(claim)
            ended = record is not None and self._end(record.info, EndReason.LOGGED_OUT)
            self._note_log_out(claim.sid)
        except StoreError:
            self._pruner.condemn(claim)
            raise
        session.record, session.claim = None, None
        session.intents.end = False
        return ended

    def _save_new(self, session: Session) -> Saved | None:
        """Store a session that was not stored before; None if there is nothing to store."""
        intents = session.intents
        values = {key: data for key, data in session.delta().items() if data is not None}
        if not values and intents.user_id is None:
            return None
        if intents.user_id is None and session.claim is not None and self._was_replaced(session.claim):
            return self._drop(session, values)
        claim = Claim.new()
        info = self.policy.begin(
            sid=claim.sid, now=self.now(), user_id=intents.user_id, permanent=bool(session.peek("_permanent"))
        )
        if intents.idle_timeout is not None:
            info = replace(info, idle_timeout=intents.idle_timeout)
        record = self._create(Record(info=info, secret_digest=claim.holder, values=values))
        session.settle(record, Claim(record.info.sid, claim.secret))
        return Saved.ISSUED

    def _save_known(self, session: Session, record: Record, *, active: bool) -> Saved:
        """Commit what a request changed in a session that was stored before."""
        claim, now = session.claim, self.now()
        assert claim is not None
        rotated = claim.rotated() if self._rotates(session, record, now=now, active=active) else None
        change = self._change(session, record, now=now, active=active, rotated=rotated)
        if change == Change(holder=claim.holder):
            return Saved.KEPT
        if change.is_touch:
            outcome = self._touch(claim, change, now=now)
        else:
            outcome = self.store.commit(claim.sid, change, now=now)
        if outcome is Outcome.CONFLICT:  # Another request rotated first: its answer carries the new token.
            rotated, change = None, self._change(session, record, now=now, active=active)
            outcome = self.store.commit(claim.sid, change, now=now)
        if outcome is Outcome.EMPTIED:
            tell(session_ended, self.sender, info=record.info, reason=EndReason.LOGGED_OUT)
            session.settle(None, None)
            return Saved.ENDED
        if outcome is None:
            return Saved.KEPT
        if outcome is not Outcome.DONE:
            return self._drop(session, change.delta)
        after = record.apply(change, now=now)
        session.settle(after, rotated or claim)
        self._pruner.note(after.info.expires_at)
        if rotated is not None:
            tell(session_rotated, self.sender, info=after.info)
            return Saved.ISSUED
        # A touch on arrival may have moved it already, by the very instant that the clock still shows.
        is_refreshed = active and self.policy.refresh_each_request and isfinite(after.info.refresh_by)
        return Saved.REFRESHED if is_refreshed or change.refresh_by is not None else Saved.KEPT

    def _change(
        self, session: Session, record: Record, *, now: float, active: bool, rotated: Claim | None = None
    ) -> Change:
        """Return all that the request does to its session, as one change."""
        assert session.claim is not None
        delta = session.delta()
        refresh_by = self._refresh_by(
            session, record.info, now=now, active=active, wrote=session.modified or bool(delta)
        )
        emptied = bool(delta) and session.is_empty and record.info.user_id is None and session.intents.user_id is None
        if emptied or (rotated is not None and self.policy.rotation_interval is not None):
            delta[_ROTATED_AT] = None if emptied else self.codec.encode(now)
        return Change(
            holder=session.claim.holder,
            last_seen_at=now if active or session.intents.user_id is not None else None,
            delta=delta,
            idle_timeout=session.intents.idle_timeout,
            refresh_by=None if refresh_by == record.info.refresh_by else refresh_by,
            rotation=None if rotated is None else self._rotation(session, record.info, rotated, now=now),
            end_if_emptied=emptied,
        )

    def _refresh_by(self, session: Session, info: SessionInfo, *, now: float, active: bool, wrote: bool) -> float:
        """Return the instant by which the session must be refreshed, after this request."""
        was_permanent = isfinite(info.refresh_by)
        is_permanent = bool(session.peek("_permanent")) if session.wrote("_permanent") else was_permanent
        if not is_permanent:
            return inf
        if not was_permanent or active and (wrote or self.policy.refresh_each_request):
            return now + self.policy.permanent_lifetime
        return info.refresh_by

    def _rotates(self, session: Session, record: Record, *, now: float, active: bool) -> bool:
        """Whether this request gives the session a new secret: for a log-in always; else not where another
        request just did, and this one came with the token from before.
        """
        if session.intents.user_id is not None:
            return True
        if session.claim is None or record.is_former(session.claim.holder, now=now):
            return False
        interval = self.policy.rotation_interval
        if interval is None or not active:
            return session.intents.rotate
        rotated_at = record.values.get(_ROTATED_AT)
        since = record.info.created_at if rotated_at is None else self.codec.decode(rotated_at)
        return session.intents.rotate or now - since >= interval

    def _rotation(self, session: Session, info: SessionInfo, claim: Claim, *, now: float) -> Rotation:
        user_id = session.intents.user_id
        if user_id is None:
            grace_ends_at = now + self.policy.rotation_grace
            return Rotation(secret_digest=claim.holder, user_id=info.user_id, grace_ends_at=grace_ends_at)
        return Rotation(secret_digest=claim.holder, user_id=user_id, lifetime_ends_at=now + self.policy.lifetime)

    def _touch(self, claim: Claim, touch: Change, *, now: float) -> Outcome | None:
        """Commit a touch; None if the store failed, for which no request is: at worst a session ends early."""
        try:
            return self.store.commit(claim.sid, touch, now=now)
        except StoreError as error:
            _logger.debug("A touch of session %s was not written: %s", claim.sid, error)
            return None

    def _note_log_out(self, sid: SessionId) -> None:
        now = self.now()
        self._logged_out[sid] = now
        with suppress(RuntimeError):  # Another thread added one meanwhile: it will do this too.
            for old, since in list(islice(self._logged_out.items(), _FORGET_LOG_OUTS)):
                if now - since >= self.policy.rotation_grace:
                    self._logged_out.pop(old, None)

    def _was_replaced(self, claim: Claim) -> bool:
        """Whether a log-in or a log-out has just taken this token's place.

        The request was on its way then. A session of its own would push the new token out of the browser,
        or give one to somebody who logged out.
        """
        now = self.now()
        if now - self._logged_out.get(claim.sid, -inf) < self.policy.rotation_grace:
            return True
        record = self.store.load(claim.sid, now=now)
        return record is not None and self.policy.began_at(record.info) > now - self.policy.rotation_grace

    def _drop(self, session: Session, delta: Delta) -> Saved:
        """The session ended, or its token was replaced, while the request was under way."""
        if delta or session.intents.rotate or session.intents.user_id is not None:
            _logger.warning(
                "What a request wrote to session %s was dropped: the session had ended, or was given a new token, "
                "before the request was finished. Keys: %s.",
                session.claim.sid if session.claim else None,
                ", ".join(map(repr, delta)) or "none",
            )
        session.claim = None
        session.adopt(None)
        return Saved.GONE

    # Creation and ends.

    def _create(self, record: Record) -> Record:
        """Store a new session under its id, or under another should that be taken; return it."""
        for _ in range(_ID_TRIES - 1):
            try:
                self.store.create(record)
                break
            except SessionExists:
                record = replace(record, info=replace(record.info, sid=new_session_id()))
        else:
            self.store.create(record)
        self._pruner.note(record.info.expires_at)
        if self._is_bounded:
            self._pruner.prune_evicted()
        tell(session_created, self.sender, info=record.info)
        return record

    def _end(self, info: SessionInfo, reason: EndReason) -> bool:
        """Forget the session; tell it if it was this call that ended it."""
        ended = self.store.delete(info.sid)
        if ended:
            tell(session_ended, self.sender, info=info, reason=reason)
        return ended

    def _abandon(self, info: SessionInfo, error: DecodeError) -> None:
        _logger.error("Session %s was ended, because what is stored of it cannot be read: %s", info.sid, error)
        self._end(info, EndReason.REVOKED)

    # What the above say again and again.

    @property
    def sender(self) -> object:
        """What signals name as their sender."""
        return self._sender()

    def _find_record(self, sid: SessionId) -> Record:
        if not isinstance(sid, SessionId):
            raise TypeError(f"A session id is a uuid.UUID; {sid!r} is a {type(sid).__name__}.")
        record = self.store.load(sid, now=self.now())
        if record is None:
            raise SessionNotFound(f"There is no live session {sid}.")
        return record

    def _encode_all(self, data: Mapping[str, Any]) -> dict[str, bytes]:
        for key in data:
            check_key(key)
        return {key: self.codec.encode(value, path=f"data[{key!r}]") for key, value in data.items()}
