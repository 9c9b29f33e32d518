"""Stores what a request did to its session, in one step, and says what its holder must be told."""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from enum import Enum
from itertools import islice
from math import inf
from math import isfinite
from typing import Any

from ..model.errors import DecodeError
from ..model.errors import StoreError
from ..model.errors import TooManySessions
from ..model.ids import Credential
from ..model.ids import SessionId
from ..model.labels import AGAIN
from ..model.labels import AUTHENTICATED_AT
from ..model.record import Change
from ..model.record import Delta
from ..model.record import EndReason
from ..model.record import LabelDelta
from ..model.record import merged
from ..model.record import NO_LABELS
from ..model.record import Outcome
from ..model.record import Record
from ..model.record import Rotation
from ..model.record import SessionInfo
from ..model.signals import log_in_refused
from ..model.signals import session_logged_in
from ..model.signals import session_rotated
from ..model.signals import tell
from . import csrf_tokens
from .lifecycle import Lifecycle
from .locking import RESERVED
from .revocation import Revocation
from .session import Intents
from .session import Session

_logger = logging.getLogger("flask_idlesession")

#: When the session last got a new secret, where that is done at intervals; absent until the first time.
_ROTATED_AT = RESERVED + "rotated_at"

#: Seconds for which the touch of a request's arrival is as good as one at its end.
_BRIEF = 0.1

#: With each log-out so many of those before are looked at, and forgotten if they are old enough.
_FORGET_LOG_OUTS = 4


class Saved(Enum):
    """What saving did to the session, as far as its holder must be told."""

    #: The token that the holder has is still the right one; nothing to say.
    KEPT = "kept"
    #: The token is still the right one, and its holder should keep it longer, or not so long any more.
    REFRESHED = "refreshed"
    #: There is a new token, for ``session.credential``.
    ISSUED = "issued"
    #: This request ended the session.
    ENDED = "ended"
    #: The session was over before its changes came; they were dropped.
    GONE = "gone"


_NOTHING: Delta = {}

#: Python 3.11 calls a function each time a member is named, and nearly every request ends with these.
_KEPT, _DONE = Saved.KEPT, Outcome.DONE


class Requests:
    """Reads and saves sessions on one store."""

    def __init__(self, lifecycle: Lifecycle, revocation: Revocation) -> None:
        self._lifecycle = lifecycle
        self._revocation = revocation
        self._policy = lifecycle.policy
        self._store = lifecycle.store
        self._now = lifecycle.now
        # When which session was logged out, for a few seconds. A hint, so no lock guards it.
        self._logged_out: dict[SessionId, float] = {}
        #: Tells whether the request that carries a session is its user's activity; None while nobody can know.
        self.activity: Callable[[Any], bool | None] = _unknown
        #: Hears of claims that open nothing.
        self.note_lost: Callable[[SessionId, float], None] | None = None

    def look(self, session: Session) -> Record | None:
        """Return what the session's credential opens, at the first look of its view or at the latest when it is saved.
        An active request touches it with that, where the store can do both in one step.
        """
        credential, lifecycle = session.credential, self._lifecycle
        if credential is None:
            return None
        is_active = session.is_active
        if is_active is None:
            session.is_active = is_active = self.activity(session.request)
        if not is_active:
            return lifecycle.load(credential)
        now = self._now()
        if lifecycle.visits:
            record = lifecycle.visit(credential, now)
            session.is_touched = True
        else:
            record = lifecycle.load(credential)
        session.seen_at = now
        if record is None and self.note_lost is not None:
            self.note_lost(credential.sid, now)
        return record

    def note_arrival(self, session: Session) -> None:
        """Count an arriving request as activity before its view runs: the session was live when its user came, so
        the view may take its time.

        Where the store cannot touch what it loads, the touch is left to :meth:`save`, which writes it with the rest,
        unless little life is left.
        """
        credential = session.credential
        if credential is None:
            return
        session.is_active = True
        try:
            record = session.load()
        except StoreError:
            return  # Whether the view needs its session is for the view to find out.
        if session.seen_at is None:
            session.seen_at = session.came_at
        now = session.seen_at
        if record is None or session.is_touched or self._policy.may_wait(record.info, now=now):
            return
        if not self._policy.touches_at_once(record.info, now=now):
            return
        seen = self._policy.seen(record.info, now=now)
        refresh_by = None if seen.refresh_by == record.info.refresh_by else seen.refresh_by
        touch = Change(holder=credential.holder, last_seen_at=now, refresh_by=refresh_by)
        outcome = self._lifecycle.touch(credential, touch, now=now)
        if outcome is Outcome.DONE:
            session.record = record.apply(touch, now=now)
        elif outcome is Outcome.GONE:
            session.adopt(None)

    def save(self, session: Session, *, active: bool) -> Saved:
        """Store what a request did to its session, in one step; ``active``: the request is activity.

        Of a session that ended meanwhile nothing is stored: the log-out was final.
        """
        credential = session.credential
        if not session.is_loaded:
            if credential is None or not active:
                return _KEPT
            if not session.modified and not session.intends and self._lifecycle.touch_alone(credential):
                return _KEPT
            session.is_active = True
            try:
                session.load()
            except StoreError:
                return _KEPT
        is_unchanged = session.is_unchanged
        if is_unchanged and (not active or credential is None):
            return _KEPT
        record = session.record
        is_plain = record is None or record.is_plain
        seen_at = self._unnoted(session, None if is_plain else record) if active and credential is not None else None
        if seen_at is None and is_unchanged:
            return _KEPT if is_plain or not self._is_refreshed(record) else Saved.REFRESHED
        if seen_at != inf and record is not None and (is_plain or not record.is_permanent):
            delta = _NOTHING if is_unchanged else session.plain_delta()
            if delta is not None:
                return self._save_values(session, record, delta, seen_at=seen_at)
        saved = self._save(session, active=active)
        if saved is Saved.ISSUED:
            session.is_unsent = True
        elif session.is_unsent and saved in (Saved.KEPT, Saved.REFRESHED):
            return Saved.ISSUED
        return saved

    def admit(self, session: Session) -> None:
        """Log the session's user in at once, where the number of a user's sessions is limited.

        Raise :exc:`~flask_idlesession.TooManySessions`, and take the log-in back, if it is refused.
        """
        user_id = session.intents.user_id
        if self._policy.max_sessions_per_user is None or user_id is None:
            return
        try:
            with self._revocation.admission(user_id, session.sid):
                self.save(session, active=True)
        except TooManySessions:
            session.intents = Intents(end=session.intents.end)
            tell(log_in_refused, self._lifecycle.sender, user_id=user_id)
            raise

    def _save(self, session: Session, *, active: bool) -> Saved:
        ended = self._end_intended(session)
        if session.record is None:
            return self._save_new(session) or (Saved.ENDED if ended else Saved.KEPT)
        return self._save_known(session, session.record, active=active)

    # The steps of save().

    def _unnoted(self, session: Session, record: Record | None) -> float | None:
        """Return the instant of activity that is yet to be noted of an active request; None if there is none, and
        infinite if that instant is not all. A session without a ``record`` has no labels.
        """
        now = self._now()
        if self._policy.rotation_interval is not None:
            return inf
        if record is not None and record.has_user and self._label(session, record.info, now=now):
            return inf
        return None if self._is_touched(session, now) else now

    def _save_values(self, session: Session, record: Record, delta: Delta, *, seen_at: float | None) -> Saved:
        """Commit what the keys of a session hold, and when it was seen, and nothing else: what most requests are."""
        credential = session.credential
        assert credential is not None
        if not delta and (seen_at is None or self._policy.may_wait(record.info, now=seen_at)):
            return _KEPT
        self._lifecycle.pruner.note(record.expires_at)
        change = Change(holder=credential.holder, last_seen_at=seen_at, delta=delta)
        if not delta:
            outcome = self._lifecycle.touch(credential, change, now=seen_at or self._now())
            return _KEPT if outcome is None or outcome is _DONE else self._drop(session, delta)
        if self._store.commit(credential.sid, change, now=self._now()) is not _DONE:
            return self._drop(session, delta)
        session.settle_values(delta)
        return _KEPT

    def _is_refreshed(self, record: Record | None) -> bool:
        """Whether activity has moved the end of a permanent session."""
        return record is not None and record.is_permanent and self._policy.refresh_each_request

    def _is_touched(self, session: Session, now: float) -> bool:
        """Whether the touch on arrival is enough: a view that took its time is activity once more."""
        return session.is_touched and session.seen_at is not None and 0 <= now - session.seen_at < _BRIEF

    def _end_intended(self, session: Session) -> bool:
        """End the session that came with the request, if its view said so; return whether this did it: the
        token may have been replaced, or the session ended, while the view ran.
        """
        credential = session.credential
        if not session.intents.end or credential is None:
            return False
        try:
            record = self._lifecycle.reload(credential)
            ended = record is not None and self._lifecycle.end(record.info, EndReason.LOGGED_OUT)
            self._note_log_out(credential.sid)
        except StoreError:
            self._lifecycle.pruner.condemn(credential)
            raise
        session.record, session.credential = None, None
        session.intents.end = False
        return ended

    def _save_new(self, session: Session) -> Saved | None:
        """Store a session that was not stored before; None if there is nothing to store."""
        intents = session.intents
        delta = session.delta() if intents.own is None else {**session.delta(), **intents.own}
        values = {key: data for key, data in delta.items() if data is not None}
        if not values and intents.user_id is None:
            return None
        if intents.user_id is None and session.credential is not None and self._was_replaced(session.credential):
            return self._drop(session, values)
        credential, now = intents.credential or Credential.new(), self._lifecycle.now()
        info = self._policy.begin(
            sid=credential.sid,
            now=now,
            user_id=intents.user_id,
            permanent=bool(session.peek("_permanent")),
            idle_timeout=intents.idle_timeout,
            lifetime=intents.lifetime,
        )
        info = replace(info, labels=merged({}, self._label(session, None, now=now)))
        record = self._lifecycle.create(Record(info=info, secret_digest=credential.holder, values=values))
        return self._finish_log_in(session, record, Credential(record.info.sid, credential.secret))

    def _save_known(self, session: Session, record: Record, *, active: bool) -> Saved:
        """Commit what a request changed in a session that was stored before."""
        credential, now = session.credential, self._lifecycle.now()
        assert credential is not None
        rotated = None
        if self._rotates(session, record, now=now, active=active):
            rotated = session.intents.credential or credential.rotated()
        change = self._change(session, record, now=now, active=active, rotated=rotated)
        if change == Change(holder=credential.holder):
            return Saved.KEPT
        if change.is_touch and (self._is_touched(session, now) or self._policy.may_wait(record.info, now=now)):
            outcome = None
        elif change.is_touch:
            outcome = self._lifecycle.touch(credential, change, now=now)
        else:
            outcome = self._store.commit(credential.sid, change, now=now)
        if outcome is Outcome.CONFLICT:  # Another request rotated first: its answer carries the new token.
            rotated, change = None, self._change(session, record, now=now, active=active)
            outcome = self._store.commit(credential.sid, change, now=now)
        if outcome is Outcome.EMPTIED:
            self._lifecycle.note_end(record.info, EndReason.LOGGED_OUT)
            session.settle(None, None)
            return Saved.ENDED
        if outcome is None:
            return Saved.REFRESHED if change.refresh_by is not None else Saved.KEPT
        if outcome is not Outcome.DONE:
            return self._drop(session, change.delta)
        after = record.apply(change, now=now)
        self._lifecycle.pruner.note(after.expires_at)
        if change.shortens:
            credential.fades_at = 0.0
        if rotated is not None:
            tell(session_rotated, self._lifecycle.sender, info=after.info)
            return self._finish_log_in(session, after, rotated)
        session.settle(after, credential)
        # A touch on arrival may have moved it already, by the very instant that the clock still shows.
        is_refreshed = active and self._is_refreshed(after)
        return Saved.REFRESHED if is_refreshed or change.refresh_by is not None else Saved.KEPT

    def _finish_log_in(self, session: Session, record: Record, credential: Credential) -> Saved:
        """Note that there is a new token; if it was for a log-in, tell that, unless the user's sessions were
        revoked while the request was under way: its credentials may have been checked before.
        """
        is_log_in = session.intents.user_id is not None
        if is_log_in and self._revocation.overtook(record.info, came_at=session.came_at):
            return self._drop(session, {})
        info = record.info
        if is_log_in and session.record is not None and session.record.info.user_id == info.user_id:
            info = replace(info, labels={**info.labels, AGAIN: 1})
        session.settle(record, credential)
        if is_log_in:
            tell(session_logged_in, self._lifecycle.sender, info=info)
        return Saved.ISSUED

    def _change(
        self, session: Session, record: Record, *, now: float, active: bool, rotated: Credential | None = None
    ) -> Change:
        """Return all that the request does to its session, as one change."""
        assert session.credential is not None
        delta = session.delta()
        refresh_by = self._refresh_by(
            session, record.info, now=now, active=active, wrote=session.modified or bool(delta)
        )
        emptied = bool(delta) and session.is_empty and record.info.user_id is None and session.intents.user_id is None
        if emptied or (rotated is not None and self._policy.rotation_interval is not None):
            delta[_ROTATED_AT] = None if emptied else self._lifecycle.codec.encode(now)
        if session.intents.own is not None:
            delta.update(session.intents.own)
        if rotated is not None and csrf_tokens.FORMER in record.values:
            delta[csrf_tokens.FORMER] = self._former_csrf_tokens(session, record)
        return Change(
            holder=session.credential.holder,
            last_seen_at=now if active or session.intents.user_id is not None else None,
            delta=delta,
            idle_timeout=self._idle_timeout(session, record.info),
            refresh_by=None if refresh_by == record.info.refresh_by else refresh_by,
            rotation=None if rotated is None else self._rotation(session, record.info, rotated, now=now),
            labels=self._label(session, record.info, now=now),
            end_if_emptied=emptied,
        )

    def _former_csrf_tokens(self, session: Session, record: Record) -> bytes:
        """Return what is kept of the CSRF tokens of before a rotation: those of open forms if nobody asked for it, and
        none if somebody logged in, for somebody else may have planted the session.
        """
        intents, codec = session.intents, self._lifecycle.codec
        if intents.user_id is not None or intents.rotate or session.credential is None:
            return csrf_tokens.no_former(codec)
        return csrf_tokens.with_former(record.values.get(csrf_tokens.FORMER), session.credential.secret, codec)

    def _refresh_by(self, session: Session, info: SessionInfo, *, now: float, active: bool, wrote: bool) -> float:
        """Return the instant by which the session must be refreshed, after this request."""
        was_permanent = isfinite(info.refresh_by)
        is_permanent = bool(session.peek("_permanent")) if session.wrote("_permanent") else was_permanent
        if not is_permanent:
            return inf
        if not was_permanent or active and (wrote or self._policy.refresh_each_request):
            return self._policy.refreshed(now)
        return info.refresh_by

    def _rotates(self, session: Session, record: Record, *, now: float, active: bool) -> bool:
        """Whether this request gives the session a new secret: for a log-in always; else not where another
        request just did, and this one came with the token from before.
        """
        if session.intents.user_id is not None:
            return True
        if session.credential is None or record.is_former(session.credential.holder, now=now):
            return False
        interval = self._policy.rotation_interval
        if interval is None or not active:
            return session.intents.rotate
        rotated_at = record.values.get(_ROTATED_AT)
        since = record.info.created_at
        if rotated_at is not None:
            try:
                since = self._lifecycle.codec.decode(rotated_at)
            except DecodeError:  # It was encrypted, and the keys were taken away.
                return True
        return session.intents.rotate or now - since >= interval

    def _rotation(self, session: Session, info: SessionInfo, credential: Credential, *, now: float) -> Rotation:
        user_id = session.intents.user_id
        if user_id is None:
            grace_ends_at = now + self._policy.rotation_grace
            return Rotation(secret_digest=credential.holder, user_id=info.user_id, grace_ends_at=grace_ends_at)
        lifetime = session.intents.lifetime or self._policy.lifetime
        return Rotation(secret_digest=credential.holder, user_id=user_id, lifetime_ends_at=now + lifetime)

    def _idle_timeout(self, session: Session, info: SessionInfo) -> float | None:
        """Return the new idle timeout, if it changes: where a user logs in to a session that was nobody's, and
        nothing was said of it, it becomes that of users.
        """
        chosen = session.intents.idle_timeout
        policy = self._policy
        if chosen is None and session.intents.user_id is not None and info.user_id is None:
            is_default = info.idle_timeout == policy.stored(policy.idle_timeout_for(None))
            chosen = policy.idle_timeout if is_default else None
        stored = None if chosen is None else policy.stored(chosen)
        return None if stored == info.idle_timeout else stored

    def _note_log_out(self, sid: SessionId) -> None:
        now = self._lifecycle.now()
        self._logged_out[sid] = now
        with suppress(RuntimeError):  # Another thread added one meanwhile: it will do this too.
            for old, since in list(islice(self._logged_out.items(), _FORGET_LOG_OUTS)):
                if now - since >= self._policy.rotation_grace:
                    self._logged_out.pop(old, None)

    def _was_replaced(self, credential: Credential) -> bool:
        """Whether a log-in or a log-out has just taken this token's place.

        The request was on its way then. A session of its own would push the new token out of the browser,
        or give one to somebody who logged out.
        """
        now = self._lifecycle.now()
        if now - self._logged_out.get(credential.sid, -inf) < self._policy.rotation_grace:
            return True
        info = self._lifecycle.look_up_info(credential.sid, now=now)
        if info is None:
            return False
        began_at = info.created_at if info.authenticated_at is None else info.authenticated_at
        return began_at > now - self._policy.rotation_grace

    def _drop(self, session: Session, delta: Delta) -> Saved:
        """The session ended, or its token was replaced, while the request was under way."""
        if delta or session.intents.rotate or session.intents.user_id is not None:
            _logger.warning(
                "What a request wrote to session %s was dropped: the session had ended, or was given a new token, "
                "before the request was finished. Keys: %s.",
                session.credential.sid if session.credential else None,
                ", ".join(map(repr, delta)) or "none",
            )
        session.credential = None
        session.adopt(None)
        return Saved.GONE

    def _label(self, session: Session, info: SessionInfo | None, *, now: float) -> LabelDelta:
        """Return the labels that this request gives to its session, as far as they are new. Where it came from
        is noted of a user's session, not of a passer-by's.
        """
        intents = session.intents
        user_id = intents.user_id or (None if info is None else info.user_id)
        is_log_in = intents.user_id is not None
        if user_id is None or not (is_log_in or session.seen_at is not None or intents.labels):
            return NO_LABELS
        known = NO_LABELS if info is None else info.labels
        labels: dict[str, str | float | None] = {}
        for name, value in self._lifecycle.origin().items() if is_log_in or session.seen_at is not None else ():
            labels[name] = value
            if f"first_{name}" not in known:
                labels[f"first_{name}"] = value
        if is_log_in:
            labels[AUTHENTICATED_AT] = now
        labels |= intents.labels or {}
        return {name: value for name, value in labels.items() if value != known.get(name)}


def _unknown(request: object) -> bool | None:
    return None
