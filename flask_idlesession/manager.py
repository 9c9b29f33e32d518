"""Carries a session through its life, from creation to end: without HTTP, and without Flask."""

import logging
import time
import weakref
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from enum import Enum
from math import inf
from math import isfinite
from types import TracebackType
from typing import Any

from .cleaner import cleaner
from .clock import Clock
from .clock import system_clock
from .codec import Codec
from .errors import DecodeError
from .errors import SessionExists
from .errors import SessionNotFound
from .ids import Claim
from .ids import SessionId
from .policy import Policy
from .policy import seconds
from .record import Change
from .record import Delta
from .record import EndReason
from .record import Outcome
from .record import Record
from .record import Rotation
from .record import SessionInfo
from .session import Session
from .signals import session_created
from .signals import session_ended
from .signals import session_loaded
from .signals import session_rotated
from .signals import tell
from .store import Store
from .stores.memory import MemoryStore

_logger = logging.getLogger("flask_idlesession")

#: How many expired sessions a request forgets, while there are any: too few to be felt.
_BY_REQUEST = 4

#: How many the cleaner forgets before it looks at the time, and how long it goes on before it rests.
_BY_CLEANER = 64
_SLICE = 0.001

#: The cleaner lets what expires in this part of its interval come together in one pass.
_GATHER = 1 / 8


class Saved(Enum):
    """What saving did to the session, as far as its holder must be told."""

    #: The token that the holder has is still the right one; nothing to say.
    KEPT = "kept"
    #: The token is still the right one, and its holder should keep it longer, or not so long any more.
    REFRESHED = "refreshed"
    #: There is a new token, in ``session.claim``.
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
        self._sender = None if sender is None else weakref.ref(sender)
        self._interval = cleanup_interval
        self._is_bounded = bool(getattr(self.store, "bounded", False))
        #: Not before this instant has prune() anything to do. Only a hint, so no lock guards it.
        self._due = inf
        cleaner.register(self)

    def __enter__(self) -> "SessionManager":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the cleaner, and close the store. Idempotent."""
        cleaner.unregister(self)
        self.store.close()

    def now(self) -> float:
        """Return the present instant, as this manager's clock tells it."""
        return self._clock()

    # Alone: plain data by session id.

    def create(self, data: Mapping[str, Any] | None = None, *, user_id: str | None = None) -> SessionId:
        """Start a session that holds ``data``; return its id."""
        values = self._encode_all({} if data is None else data)
        return self._create(Claim.new(), values, user_id=user_id).info.sid

    def read(self, sid: SessionId) -> dict[str, Any]:
        """Return the session's data. Reading is not activity.

        Raise :exc:`~flask_idlesession.SessionNotFound` if there is no live session of that id.
        """
        record = self._find_record(sid)
        try:
            return {key: self.codec.decode(data) for key, data in record.values.items()}
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
            removed: Delta = {key: None for key in record.values if key not in values}
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
        """Forget everything that has expired; return how much that was."""
        count = 0
        while ended := self._prune(limit=_BY_CLEANER):
            count += len(ended)
        self._due = self._next_due()
        return count

    # For a request: what its token claims, and what it did.

    def open(self, claim: Claim | None) -> Session:
        """Return the session that is claimed, to be read when it is first looked at, or an empty one."""
        return Session(self, claim)

    def load(self, claim: Claim) -> Record | None:
        """Return the live record that ``claim`` opens, or None."""
        now = self.now()
        if now >= self._due:
            self._forget_few()
        if not cleaner.is_running:
            self._wake_cleaner(now)
        record = self.store.load(claim.sid, now=now)
        if record is None or not record.opens_to(claim.holder, now=now):
            return None
        tell(session_loaded, self.sender, info=record.info)
        return record

    def note_arrival(self, session: Session) -> None:
        """Count an arriving request as activity, before its view runs.

        The touch is usually left to :meth:`save`, which writes it with the rest. When little life is
        left it is written now: the session was live when its user came, so the view may take its time.
        """
        record = session.load()
        now = self.now()
        session.seen_at = now
        if record is None or session.claim is None or not self.policy.touches_at_once(record.info, now=now):
            return
        seen = self.policy.seen(record.info, now=now)
        change = Change(
            holder=session.claim.holder, last_seen_at=now, refresh_by=_changed(record.info.refresh_by, seen.refresh_by)
        )
        if self.store.commit(session.claim.sid, change, now=now) is Outcome.DONE:
            session.record = replace(record, info=seen)
        else:
            session.adopt(None)

    def save(self, session: Session, *, active: bool) -> Saved:
        """Store what a request did to its session, in one step; ``active``: the request is activity.

        Of a session that ended meanwhile nothing is stored: the log-out was final.
        """
        if active and session.claim is not None:
            session.load()
        if not session.is_loaded:
            return Saved.KEPT
        ended = self._end_intended(session)
        if session.record is None:
            return self._save_new(session) or (Saved.ENDED if ended else Saved.KEPT)
        return self._save_known(session, session.record, active=active)

    def abandon(self, claim: Claim, error: DecodeError) -> None:
        """End a session whose stored bytes cannot be decoded; the others are none the worse."""
        record = self.store.load(claim.sid, now=self.now())
        if record is not None:
            self._abandon(record.info, error)

    # The steps of save().

    def _end_intended(self, session: Session) -> bool:
        """End the session that came with the request, if its view said so."""
        if not session.intents.end or session.record is None:
            return False
        self._end(session.record.info, EndReason.LOGGED_OUT)
        session.record, session.claim = None, None
        session.intents.end = False
        return True

    def _save_new(self, session: Session) -> Saved | None:
        """Store a session that was not stored before; None if there is nothing to store."""
        user_id = session.intents.user_id
        values = {key: data for key, data in session.delta().items() if data is not None}
        if not values and user_id is None:
            return None
        claim = Claim.new()
        record = self._create(
            claim,
            values,
            user_id=user_id,
            permanent=bool(session.peek("_permanent")),
            idle_timeout=session.intents.idle_timeout,
        )
        session.settle(record, Claim(record.info.sid, claim.secret))
        return Saved.ISSUED

    def _save_known(self, session: Session, record: Record, *, active: bool) -> Saved:
        """Commit what a request changed in a session that was stored before."""
        claim, now = session.claim, self.now()
        assert claim is not None
        delta = session.delta()
        refresh_by = self._refresh_by(session, record.info, now=now, active=active, wrote=bool(delta))
        rotated = claim.rotated() if session.intents.rotate or session.intents.user_id is not None else None
        change = Change(
            holder=claim.holder,
            last_seen_at=now if active or session.intents.user_id is not None else None,
            delta=delta,
            idle_timeout=session.intents.idle_timeout,
            refresh_by=_changed(record.info.refresh_by, refresh_by),
            rotation=None if rotated is None else self._rotation(session, record.info, rotated, now=now),
            end_if_emptied=bool(delta) and session.is_empty and record.info.user_id is None,
        )
        if change == Change(holder=claim.holder):
            return Saved.KEPT
        outcome = self.store.commit(claim.sid, change, now=now)
        if outcome is Outcome.EMPTIED:
            tell(session_ended, self.sender, info=record.info, reason=EndReason.LOGGED_OUT)
            session.settle(None, None)
            return Saved.ENDED
        if outcome is not Outcome.DONE:
            return self._drop(session, change)
        after = record.apply(change, now=now)
        session.settle(after, rotated or claim)
        if after.info.expires_at < self._due:
            self._wake_cleaner(now, after.info.expires_at)
        if rotated is not None:
            tell(session_rotated, self.sender, info=after.info)
            return Saved.ISSUED
        return Saved.KEPT if change.refresh_by is None else Saved.REFRESHED

    def _refresh_by(self, session: Session, info: SessionInfo, *, now: float, active: bool, wrote: bool) -> float:
        """Return the instant by which the session must be refreshed, after this request."""
        was_permanent = isfinite(info.refresh_by)
        is_permanent = bool(session.peek("_permanent")) if session.wrote("_permanent") else was_permanent
        if not is_permanent:
            return inf
        if not was_permanent or active and (wrote or self.policy.refresh_each_request):
            return now + self.policy.permanent_lifetime
        return info.refresh_by

    def _rotation(self, session: Session, info: SessionInfo, claim: Claim, *, now: float) -> Rotation:
        if session.intents.user_id is None:
            return Rotation(secret_digest=claim.holder, user_id=info.user_id)
        return Rotation(
            secret_digest=claim.holder,
            user_id=session.intents.user_id,
            lifetime_ends_at=now + self.policy.lifetime,
        )

    def _drop(self, session: Session, change: Change) -> Saved:
        """The session ended, or its token was replaced, while the request was under way."""
        if change.delta or change.rotation is not None:
            _logger.warning(
                "What a request wrote to session %s was dropped: the session had ended, or was given a new token, "
                "before the request was finished. Keys: %s.",
                session.claim.sid if session.claim else None,
                ", ".join(map(repr, change.delta)) or "none",
            )
        session.claim = None
        session.adopt(None)
        return Saved.GONE

    # Creation, ends, and forgetting.

    def _create(
        self,
        claim: Claim,
        values: Mapping[str, bytes],
        *,
        user_id: str | None,
        permanent: bool = False,
        idle_timeout: float | None = None,
    ) -> Record:
        """Store a new session under the claim's id, or under another should that be taken."""
        now = self.now()
        info = self.policy.begin(sid=claim.sid, now=now, user_id=user_id, permanent=permanent)
        if idle_timeout is not None:
            info = replace(info, idle_timeout=idle_timeout)
        record = Record(info=info, secret_digest=claim.holder, values=values)
        for _ in range(3):
            with suppress(SessionExists):
                self.store.create(record)
                break
            record = replace(record, info=replace(record.info, sid=Claim.new().sid))
        else:
            self.store.create(record)
        if info.expires_at < self._due or not cleaner.is_running:
            self._wake_cleaner(now, info.expires_at)
        if self._is_bounded:
            self._forget_few()
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

    def _forget_few(self) -> None:
        if len(self._prune(limit=_BY_REQUEST)) < _BY_REQUEST:
            self._due = self._next_due()

    def _prune(self, *, limit: int) -> list[SessionInfo]:
        now = self.now()
        ended = list(self.store.prune(now=now, limit=limit))
        for info in ended:
            reason = EndReason.EVICTED if info.is_live(now) else info.expiry_reason
            tell(session_ended, self.sender, info=info, reason=reason)
        return ended

    def _next_due(self) -> float:
        due = self.store.next_expiry()
        return inf if due is None else due

    def clean(self) -> float:
        """Prune for a moment; return in how many seconds to come again. The cleaner calls this."""
        rest_at = time.monotonic() + _SLICE
        while len(self._prune(limit=_BY_CLEANER)) == _BY_CLEANER:
            if time.monotonic() >= rest_at:
                return _SLICE
        self._due = self._next_due()
        return max(self._due - self.now(), self._interval * _GATHER)

    def _wake_cleaner(self, now: float, due: float | None = None) -> None:
        if due is not None:
            self._due = min(self._due, due)
        cleaner.wake(within=max(self._due - now, self._interval * _GATHER))

    # What the above say again and again.

    @property
    def sender(self) -> object:
        """What signals name as their sender."""
        sender = None if self._sender is None else self._sender()
        return self if sender is None else sender

    def _find_record(self, sid: SessionId) -> Record:
        if not isinstance(sid, SessionId):
            raise TypeError(f"A session id is a uuid.UUID; {sid!r} is a {type(sid).__name__}.")
        record = self.store.load(sid, now=self.now())
        if record is None:
            raise SessionNotFound(f"There is no live session {sid}.")
        return record

    def _encode_all(self, data: Mapping[str, Any]) -> dict[str, bytes]:
        return {key: self.codec.encode(value, path=f"data[{key!r}]") for key, value in data.items()}


def _changed(before: float, after: float) -> float | None:
    """Return ``after`` if it says something new."""
    return None if after == before else after
