"""Opens and saves the session of one request: every call of the store that a request makes is here."""

import logging
from collections.abc import Callable
from collections.abc import Hashable
from collections.abc import Sequence
from dataclasses import replace
from math import inf
from typing import Any

from ..model.errors import RecordRejected
from ..model.errors import StoreError
from ..model.errors import TooManySessions
from ..model.ids import Credential
from ..model.ids import SessionId
from ..model.policy import BRIEF
from ..model.policy import Policy
from ..model.record import Change
from ..model.record import Delta
from ..model.record import Ending
from ..model.record import EndReason
from ..model.record import Labels
from ..model.record import NO_LABELS
from ..model.record import Outcome
from ..model.record import Record
from ..model.signals import log_in_refused
from ..model.signals import session_loaded
from ..model.signals import session_rotated
from ..model.signals import tell
from ..process.background import cleaner
from ..stores.contract import in_process
from ..stores.contract import Touch
from ..stores.contract import UnreadableRecord
from . import anonymous
from . import older as from_before
from .changes import change_of
from .changes import NOTHING
from .changes import plain_change
from .facts import Older
from .facts import RequestFacts
from .facts import Saved
from .habits import Habits
from .hints import hinted
from .issuing import Issuing
from .late_writes import LateWrites
from .lifecycle import Lifecycle
from .log_outs import drop
from .log_outs import LogOuts
from .remarks import Remarks
from .revocation import Revocation
from .rotation import with_rotation
from .session import Intents
from .session import Session
from .size import check_size

_logger = logging.getLogger("flask_idlesession")

#: Judges a user's request, and returns what its view may see of the record.
Guard = Callable[[Credential, Record], Record | None]

#: How many tokens of one request are looked up.
_MOST_SHOWN = 8

#: Of how many credentials it is remembered until when their sessions are fresh. Then all of that is forgotten.
_MOST_FRESH = 4096

#: Python 3.11 calls a function each time a member is named, and nearly every request ends with these.
_KEPT, _DONE = Saved.KEPT, Outcome.DONE


def _unknown(request: object) -> bool | None:
    return None


def _nowhere() -> Labels:
    return NO_LABELS


def _ignore(session: Session) -> None:
    return None


class Requests:
    """Opens and saves the sessions of requests, on the store of a :class:`~.lifecycle.Lifecycle`.

    ``activity`` tells of what carries a session whether it is the user's activity (None: too early to say). ``client``
    returns the labels of where the present request comes from. ``guard`` judges each request of a user's session.
    ``remarks`` hears of what operators and developers should know. ``watch_late`` hears of sessions that are looked at
    after their response began. ``note_failure`` hears of those that could not be read when their view looked at them.
    """

    def __init__(
        self,
        lifecycle: Lifecycle,
        revocation: Revocation,
        *,
        activity: Callable[[Any], bool | None] = _unknown,
        client: Callable[[], Labels] = _nowhere,
        guard: Guard | None = None,
        remarks: Remarks | None = None,
        watch_late: Callable[[Session], None] = _ignore,
        note_failure: Callable[[Session], None] = _ignore,
        session_class: type[Session] = Session,
    ) -> None:
        self.policy: Policy = lifecycle.policy
        self.codec = lifecycle.codec
        self.now = lifecycle.now
        self._arrives = lifecycle.arrives
        self._lifecycle = lifecycle
        self._revocation = revocation
        self._store = lifecycle.store
        self._pruner = lifecycle.pruner
        self._session_class, self._activity = session_class, activity
        self._client = client
        self._guard = guard
        self._remarks = Remarks(lifecycle) if remarks is None else remarks
        self.hints = self._remarks.hints
        if self.hints is not None:
            self._session_class = hinted(session_class)
        self.note_failure = note_failure
        self.late = LateWrites(self, watch=watch_late)
        self._refresh_for = self.policy.refreshed(0.0) if self.policy.refresh_each_request else None
        #: The store, if a look at it takes no round trip.
        self.near = in_process(self._store)
        self._is_simple = self.policy.is_simple
        #: The same, if a touch is all that has to be written of a request that did not look.
        self._near_and_simple = self.near if self._is_simple else None
        self._habits = Habits()
        self._log_outs = LogOuts(lifecycle, revocation)
        self._issuing = Issuing(self, lifecycle, revocation, self._log_outs, self._remarks)

    def set_permanent_lifetime(self, lifetime: float, *, is_refreshed: bool) -> None:
        """Let permanent sessions last for ``lifetime`` seconds from each later refresh: by each request if so."""
        self.policy = replace(self.policy, permanent_lifetime=lifetime, refresh_each_request=is_refreshed)
        self._refresh_for = self.policy.refreshed(0.0) if self.policy.refresh_each_request else None

    # A request comes.

    def open(self, credential: Credential | None, carrier: object = None, older: Older | None = None) -> Session:
        """Return the session that the credential opens, to be read when it is first looked at, or an empty one.

        ``older`` is what the request shows of a session from before, which is taken over at the first look.
        """
        now = self._arrives()
        came_at = now if now > self._revocation.revoked_at else self._revocation.arrival()
        return self._session_class(self, RequestFacts(came_at, credential, credential, carrier, older))

    def those_alive(self, credentials: Sequence[Credential]) -> list[Credential]:
        """Return those that open a live session, one for each session; this is no activity.

        While the store cannot say, it is the first: a request that needs its session then meets the failure.
        """
        opened: dict[SessionId, Credential] = {}
        for credential in credentials[:_MOST_SHOWN]:
            try:
                record = self.reload(credential)
            except StoreError:
                return [credentials[0]]
            if record is not None and (credential.sid not in opened or record.secret_digest == credential.holder):
                opened[credential.sid] = credential
        return list(opened.values())

    def may_fade(self, credential: Credential, session: Session) -> bool:
        """Return whether a view might outlive the session: less than half of its idle timeout is left, or only a round
        trip could tell.
        """
        came_at = session._facts.came_at
        # Activity only puts that off. A request that ignores its session costs 41 thousand cycles. With a question to
        # the store each time it would be 7 thousand more.
        fresh_until = self._lifecycle.fresh_until
        if came_at < fresh_until.get(credential, 0.0):
            return False
        if self.near is None:
            return True
        fades_at = self.near.fades_at(credential.sid)
        if fades_at < inf:  # Else there is no such session, or none yet: a journal is still another process's.
            if len(fresh_until) >= _MOST_FRESH:
                fresh_until.clear()
            fresh_until[credential] = fades_at
        return fades_at <= came_at

    def note_arrival(self, session: Session, *, kind: Hashable = None) -> None:
        """Count an arriving request as activity before its view runs.

        The session was live when its user came, so the view may take its time. Where activity is written at intervals,
        or requests of this ``kind`` write, the touch is left to :meth:`save`, unless little life is left.
        """
        facts = session._facts
        credential = facts.credential
        if credential is None:
            return
        facts.is_active = True
        if kind is not None:
            facts.kind, facts.is_to_write = kind, self._habits.writes(kind)
        try:
            record = session._load()
        except StoreError:
            return  # Whether the view needs its session is for the view to find out.
        if facts.seen_at is None:
            facts.seen_at = facts.came_at
        now = facts.seen_at
        if record is None or facts.is_touched or self.policy.may_wait(record.info, now=now):
            return
        if self.policy.touches_at_once(record.info, now=now):
            self._touch_at_once(session, record, credential, now=now)

    def _touch_at_once(self, session: Session, record: Record, credential: Credential, *, now: float) -> None:
        seen = self.policy.seen(record.info, now=now)
        refresh_by = None if seen.refresh_by == record.info.refresh_by else seen.refresh_by
        touch = Change(holder=credential.holder, last_seen_at=now, refresh_by=refresh_by)
        outcome = self._touch(credential, touch, now=now)
        if outcome is Outcome.DONE:
            session._record = record.apply(touch, now=now)
        elif outcome is Outcome.GONE:
            session._adopt(None)

    def touch(self, session: Session, *, ago: float) -> None:
        """Count activity that a page of the user tells of, ``ago`` seconds before now, and nothing else of the request.

        The end never moves to an earlier instant. Raise StoreError if that could not be stored: the page is to know.
        """
        facts, record, credential = session._facts, session._load(), session._facts.credential
        if record is None or credential is None:
            return
        now = self.now()
        seen = self.policy.seen(record.info, now=now - ago)
        refresh_by = None if seen.refresh_by <= record.info.refresh_by else seen.refresh_by
        touch = Change(holder=credential.holder, last_seen_at=seen.last_seen_at, refresh_by=refresh_by)
        if self.commit(credential, touch) is not _DONE:
            session._adopt(None)
            return
        session._record = record.apply(touch, now=now)
        facts.seen_at = seen.last_seen_at
        facts.is_active = facts.is_touched = facts.is_told = True

    # Its view looks at the session.

    def only_look(self, session: Session) -> None:
        """Let the request look at its session, and change nothing: not the session, and not the browser's cookie."""
        session._facts.only_looks = True

    def expect_write(self, session: Session) -> None:
        """Leave the touch to the change that the request is about to make: then it is written once."""
        session._facts.is_to_write = True

    def look(self, session: Session) -> Record | None:
        """Return what the session's credential opens, at the first look of its view or at the latest when it is saved.

        An active request touches the session in the same step.
        """
        facts = session._facts
        if facts.older is not None:
            return from_before.look(facts, facts.older, look_at_ours=self._look)
        return None if facts.credential is None else self._look(facts, facts.credential)

    def _look(self, facts: RequestFacts, credential: Credential) -> Record | None:
        if facts.is_active is None:
            facts.is_active = self._activity(facts.carrier)
        if not facts.is_active:
            return self._load(credential)
        facts.seen_at = now = self.now()
        touches_later = self.policy.touch_interval or facts.is_to_write
        record = self._load(credential) if touches_later else self._load_touched(credential, facts, now)
        if record is None:
            self._remarks.note_nothing(credential, now=now)
        elif self.policy.unconfirmed_idle_timeout is not None:
            return anonymous.confirmed(record, credential, self._lifecycle)
        return record

    def _load(self, credential: Credential) -> Record | None:
        self._pruner.prune_few(now=self.now())
        record = self.reload(credential)
        return None if record is None else self._admit(credential, record)

    def _load_touched(self, credential: Credential, facts: RequestFacts, now: float) -> Record | None:
        pruner = self._pruner
        if now >= pruner.due or cleaner.thread is None:
            pruner.prune_few(now=now)
        touch = Touch(credential.holder, None if self._refresh_for is None else now + self._refresh_for)
        try:
            record = self._store.load(credential.sid, now=now, touch=touch)
        except UnreadableRecord as error:
            self._lifecycle.give_up(error.info, error)
            return None
        except StoreError:  # It may refuse writes alone: a page that only reads its session is served then.
            return self._load(credential)
        facts.is_touched = True
        if record is None or (pruner.condemned and credential.sid in pruner.condemned):
            return None
        if self.near is None:  # Another process may have begun it, of which the pruner here knows nothing.
            pruner.note(record.expires_at)
        return record if self._guard is None and not session_loaded.receivers else self._admit(credential, record)

    def reload(self, credential: Credential) -> Record | None:
        """Return the live record that the credential opens now, or None. This is no activity."""
        now = self.now()
        record = self._lifecycle.look_up(credential.sid, now=now)
        if record is None or credential.sid in self._pruner.condemned:
            return None
        return record if record.opens_to(credential.holder, now=now) else None

    def _admit(self, credential: Credential, record: Record) -> Record | None:
        """Return what a request may see of what its credential opens."""
        seen: Record | None = record
        if self._guard is not None and record.has_user:
            seen = self._guard(credential, record)
        if seen is not None and session_loaded.receivers:
            tell(session_loaded, self._lifecycle.sender, info=seen.info)
        return seen

    def check_size(self, record: Record | None, delta: Delta) -> None:
        """Raise :exc:`~flask_idlesession.RecordRejected` if the session would be too large after this."""
        if not delta:
            return
        try:
            check_size(record, delta, limit=self.policy.max_session_bytes)
        except RecordRejected as error:
            self._remarks.note_rejection(error)
            raise

    def commit(self, credential: Credential, change: Change) -> Outcome:
        """Apply the change in one step."""
        outcome = self._store.commit(credential.sid, change, now=self.now())
        if change.shortens:
            self._lifecycle.forget_freshness()
        return outcome

    def ending(self, sid: SessionId) -> Ending | None:
        """Return how the session ended, while that is remembered."""
        return self._lifecycle.ending(sid)

    def admit(self, session: Session) -> None:
        """Log the session's user in at once, where the number of a user's sessions is limited.

        Raise :exc:`~flask_idlesession.TooManySessions`, and take the log-in back, if it is refused.
        """
        user_id = session._intents.user_id
        if self.policy.max_sessions_per_user is None or user_id is None:
            return
        try:
            with self._revocation.admission(user_id, session._sid):
                self.save(session, active=True)
        except TooManySessions:
            session._intents = Intents(end=session._intents.end)
            tell(log_in_refused, self._lifecycle.sender, user_id=user_id)
            raise

    # The request is over.

    def touch_alone(self, session: Session, *, active: bool) -> bool:
        """Note the activity of a request that changed nothing; return False where more is to be done: to :meth:`save`.

        Most requests end here, and their sessions are told apart from others by what costs least.
        """
        facts = session._facts
        if session._modified or session._saved is not None or session._live is not None and session._suspects:
            return False
        if facts.is_unsent or facts.was_sent or session._failure is not None:
            return False
        if session._intents_made is not None and session._intends:
            return False
        credential = facts.credential
        if credential is None or not active:
            return True
        if session._is_loaded:
            return facts.is_touched and self._is_simple and self._is_noted(session, facts)
        near, pruner = self._near_and_simple, self._pruner
        if near is None or session_loaded.receivers or pruner.condemned:
            return False
        now = self.now()
        if now >= pruner.due or cleaner.thread is None:
            pruner.prune_few(now=now)
        return near.touch(credential.sid, credential.holder, now)

    def save(self, session: Session, *, active: bool) -> Saved:
        """Store what a request did to its session, in one step; ``active``: the request is activity.

        Nothing is stored of a session that ended meanwhile: the log-out was final.
        """
        facts = session._facts
        if not session._modified and self.touch_alone(session, active=active):
            return _KEPT
        if session._failure is not None and not (session._intents_made or NOTHING).end:
            return _KEPT
        if not session._is_loaded:
            if facts.credential is None or not active:
                return _KEPT
            facts.is_active = True
            try:
                session._load()
            except StoreError:
                return _KEPT
        if (not active or facts.credential is None) and session._is_unchanged:
            return _KEPT
        saved = self._save(session, active=active)
        if saved is _KEPT and not facts.is_unsent:
            return saved
        if saved is Saved.ISSUED:
            facts.is_unsent = True
        elif facts.is_unsent and saved in (Saved.KEPT, Saved.REFRESHED):
            return Saved.ISSUED
        return saved

    def _is_noted(self, session: Session, facts: RequestFacts) -> bool:
        """Return whether all is stored of a request that only read, as of most: when it came, and where from."""
        record, seen_at = session._kept, facts.seen_at
        if record is None or seen_at is None or not 0 <= self.now() - seen_at < BRIEF:
            return False
        if record.is_plain:
            return True
        return not record.is_permanent and self._client().items() <= record.info.labels.items()

    def _save(self, session: Session, *, active: bool) -> Saved:
        intents, facts = session._intents_made, session._facts
        has_ended = intents is not None and intents.end and self.log_out(session)
        record = session._kept if session._written is None else session._record  # A property takes a call more.
        credential = facts.credential
        if record is None or credential is None:
            return self._issuing.begin(session) or (Saved.ENDED if has_ended else _KEPT)
        now = self.now()
        delta = session._delta()
        is_touched = facts.is_touched and (facts.is_told or 0 <= now - (facts.seen_at or 0.0) < BRIEF)
        empties = None in delta.values() and session._is_empty and session._user_id is None
        if intents is None and self._is_simple and record.is_plain and "_permanent" not in delta:
            change = plain_change(credential.holder, delta, now if active and not is_touched else None, empties)
            return self._save_plain(session, record, credential, change, now=now)
        done = {"active": active, "is_touched": is_touched, "empties": empties}
        return self._save_whole(session, record, credential, delta, now=now, **done)

    def _save_plain(
        self, session: Session, record: Record, credential: Credential, change: Change | None, *, now: float
    ) -> Saved:
        """Commit values and a touch, and nothing else: what most requests do that write."""
        if session._facts.kind is not None:
            self._note_habit(session, change)
        if change is None:
            return _KEPT
        self.check_size(record, change.delta)
        outcome = self._commit(credential, change, now=now)
        if outcome is _DONE or outcome is None:
            session._settle_values(change.delta)
            return _KEPT
        return self._note_refusal(session, record, change, outcome)

    def _save_whole(
        self, session: Session, record: Record, credential: Credential, delta: Delta, *, now: float, **done: bool
    ) -> Saved:
        active = done["active"]
        rotated = self._issuing.rotated(session, record, credential, now=now, active=active)
        change = self._change(session, record, delta, rotated, now=now, **done)
        if session._facts.kind is not None:
            self._note_habit(session, change)
        if change is None:
            return self._saved(record, active=active, refreshes=False)
        self.check_size(record, change.delta)
        if change.refresh_by is not None and not record.is_permanent:
            self._remarks.note_permanence(session, policy=self.policy)
        outcome = self._commit(credential, change, now=now)
        if outcome is Outcome.CONFLICT:  # Another request rotated first: its answer carries the new token.
            rotated = None
            change = self._change(session, record, delta, None, now=now, **done)
            outcome = _DONE if change is None else self._commit(credential, change, now=now)
        if change is None or outcome is None:
            return self._saved(record, active=active, refreshes=change is not None and change.refresh_by is not None)
        if outcome is not _DONE:
            return self._note_refusal(session, record, change, outcome)
        if change.is_simple and session._intents_made is None:
            session._settle_values(change.delta)
            return self._saved(record, active=active, refreshes=False)
        return self._finish(session, record.apply(change, now=now), change, rotated, active=active)

    def _note_habit(self, session: Session, change: Change | None) -> None:
        self._habits.note(session._facts.kind, wrote=change is not None and not change.is_touch)

    def _note_refusal(self, session: Session, record: Record, change: Change, outcome: Outcome) -> Saved:
        """Note that the session ended with this change, or before it."""
        if outcome is not Outcome.EMPTIED:
            return drop(session, change.delta)
        self._lifecycle.note_end(record.info, EndReason.LOGGED_OUT)
        session._settle_all(None, None)
        return Saved.ENDED

    def _finish(
        self, session: Session, after: Record, change: Change, rotated: Credential | None, *, active: bool
    ) -> Saved:
        """Note what a change that was more than values and a touch made of the session."""
        self._pruner.note(after.expires_at)
        before = session._record
        if change.idle_timeout is not None or (before is not None and after.expires_at < before.expires_at):
            self._lifecycle.forget_freshness()
        if rotated is not None:
            tell(session_rotated, self._lifecycle.sender, info=after.info)
            return self._issuing.finish(session, after, rotated)
        session._settle_all(after, session._facts.credential)
        return self._saved(after, active=active, refreshes=change.refresh_by is not None)

    def _change(
        self, session: Session, record: Record, delta: Delta, rotated: Credential | None, *, now: float, **done: bool
    ) -> Change | None:
        """Return all that the request does to its session, as one change; None if there is nothing to store."""
        intents, credential = session._intents_made, session._facts.credential
        wrote = bool(delta)
        if rotated is not None and credential is not None and not done["empties"]:
            asked = NOTHING if intents is None else intents
            delta = with_rotation(delta, record, credential, asked, policy=self.policy, codec=self.codec, now=now)
        return change_of(
            record,
            holder=b"" if credential is None else credential.holder,
            policy=self.policy,
            now=now,
            delta=delta,
            intents=NOTHING if intents is None else intents,
            wrote=session._modified or wrote,
            permanent=session._assigned_permanence() if wrote and "_permanent" in session._suspects else None,
            rotated=None if rotated is None else rotated.holder,
            client=NO_LABELS if intents is None and not record.has_user else self.client_of(session, record),
            **done,
        )

    def client_of(self, session: Session, record: Record | None) -> Labels:
        """Return where the request comes from, if that is to be noted of its session."""
        intents = session._intents_made
        if intents is not None and intents.user_id is not None:
            return self._client()
        is_seen = record is not None and record.has_user and session._facts.seen_at is not None
        return self._client() if is_seen else NO_LABELS

    def _commit(self, credential: Credential, change: Change, *, now: float) -> Outcome | None:
        if not change.delta and change.is_touch:
            return self._touch(credential, change, now=now)
        if cleaner.thread is None:
            self._pruner.note(self._pruner.due)  # After a fork.
        return self._store.commit(credential.sid, change, now=now)

    def _touch(self, credential: Credential, touch: Change, *, now: float) -> Outcome | None:
        """Commit a touch; None if the store failed. No request fails for a touch: at worst a session ends early."""
        try:
            return self._store.commit(credential.sid, touch, now=now)
        except StoreError as error:
            _logger.debug("A touch of session %s was not written: %s", credential.sid, error)
            return None

    def _saved(self, record: Record, *, active: bool, refreshes: bool) -> Saved:
        """Return what the holder must be told of a session whose token did not change."""
        if refreshes or (active and record.is_permanent and self.policy.refresh_each_request):
            return Saved.REFRESHED
        return _KEPT

    def log_out(self, session: Session) -> bool:
        """End the session that came with the request; return whether this did it.

        The token may have been replaced, or the session ended, while the view ran.
        """
        # Where the store failed when the view looked, there may be a session from before still.
        credential = session._facts.credential or from_before.take_over_to_end(session._facts)
        if credential is None:
            return False
        try:
            record = self.reload(credential)
            ended = record is not None and self._lifecycle.end(record.info, EndReason.LOGGED_OUT)
            self._log_outs.note(credential.sid)
        except StoreError:
            self._pruner.condemn(credential)
            raise
        session._record, session._facts.credential = None, None
        session._intents.end = False
        return ended
