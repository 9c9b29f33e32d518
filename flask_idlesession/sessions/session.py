"""The session that a view sees: a mapping, and what the view may ask of its session beside the values."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import replace
from datetime import timedelta
from typing import Any
from typing import Protocol

from flask.sessions import SessionMixin

from ..model.errors import IdleSessionError
from ..model.errors import RecordRejected
from ..model.errors import StoreError
from ..model.errors import TooManySessions
from ..model.ids import Credential
from ..model.ids import SessionId
from ..model.policy import Policy
from ..model.policy import seconds
from ..model.record import Delta
from ..model.record import Ending
from ..model.record import LONGEST_USER_ID
from ..model.record import merged
from ..model.record import NO_LABELS
from ..model.record import Record
from ..model.record import SessionInfo
from .exclusive_block import ExclusiveBlock
from .facts import RequestFacts
from .locking import Commits
from .locking import Lease
from .locking import modify
from .locking import RESERVED
from .locking import visible
from .values import check_key
from .values import Refusing
from .values import SessionValues

#: How many exceptions are looked at, each the cause of the one before.
_DEEPEST_CAUSE = 10

#: Where a session that a form began keeps the id of the one before, which had ended: it can say why still.
AFTER = RESERVED + "after"


class AfterResponse(Protocol):
    """The part of the package that stores changes after the response has begun."""

    def watch(self, session: "Session") -> None:
        """Note that the session is looked at."""

    def write(self, session: "Session", delta: Delta) -> None:
        """Store these new bytes at once, or note their keys for a warning."""

    def set_idle_timeout(self, session: "Session", idle_timeout: float) -> None:
        """Store at once after how many idle seconds the session ends."""

    def end(self, session: "Session") -> None:
        """End the session at once."""

    def finish(self, session: "Session") -> None:
        """Store changes in place, and log the keys that could not be stored."""


class Persistence(Commits, Protocol):
    """The object that reads and writes a session in the store."""

    policy: Policy

    @property
    def late(self) -> AfterResponse:
        """The part that stores changes after the response has begun."""

    def look(self, session: "Session") -> Record | None:
        """Return the live record that the session's credential opens, or None: its request looks at it."""

    def expect_write(self, session: "Session") -> None:
        """Take it that the session is about to be changed: a first look need not note activity."""

    def admit(self, session: "Session") -> None:
        """Log the session's user in at once, where the number of a user's sessions is limited."""

    def ending(self, sid: SessionId) -> Ending | None:
        """Return how the session ended, while that is remembered."""

    def note_failure(self, session: "Session") -> None:
        """Note that a view looked at the session, and met a failure of the store."""

    def check_size(self, record: Record | None, delta: Delta) -> None:
        """Raise :exc:`~flask_idlesession.RecordRejected` if the session would be too large after this."""


@dataclass(slots=True)
class Intents:
    """The wishes of a request beside the values, until it is saved."""

    #: End the session that came with the request; what is in the dict now belongs to a new one.
    end: bool = False
    #: Give the session a new secret; without grace, that of before is dead at once.
    rotate: bool = False
    no_grace: bool = False
    #: Bind this user, which is a log-in.
    user_id: str | None = None
    #: For this session alone, where they are not the usual ones.
    idle_timeout: float | None = None
    lifetime: float | None = None
    #: Labels to set, or with None to remove.
    labels: dict[str, str | float | None] | None = None
    #: The session's next credential, where that was needed before the session is saved.
    credential: Credential | None = None
    #: Values of the package's own to set, or with None to remove, by reserved key.
    own: dict[str, bytes | None] | None = None


class Session(SessionValues, SessionMixin):
    """``flask.session``: a mutable mapping of str to values that are stored on the server.

    Beside the mapping it has few public names, because a template that says ``session.user`` is to find the
    application's own key: :attr:`new`, :attr:`modified`, :attr:`permanent`, :attr:`accessed`, :attr:`sid`,
    :attr:`idle_timeout`, :attr:`seconds_left`, :meth:`modify`, :meth:`exclusive` and :meth:`rotate`.
    """

    __slots__ = ("_persistence", "_facts", "_intents_made", "_alone")

    def __init__(self, persistence: Persistence, facts: RequestFacts) -> None:
        # Those of the base, too: each request makes a session, and to ask super() would be a third of that (0.15 µs).
        self._codec = persistence.codec
        self._is_loaded = facts.credential is None and facts.older is None
        self._modified = self._is_late = self.accessed = False
        self._failure = self._kept = self._written = self._live = self._saved = None
        self._persistence = persistence
        self._facts = facts
        self._intents_made: Intents | None = None
        self._alone: object | None = None

    def clear(self) -> None:
        """Empty the session **and end it**: the token that the browser holds is dead once this request is saved.

        Values that are put in afterwards start a new session, with an id and a token of its own.
        """
        with suppress(StoreError):  # A user who logs out does not have to be read first.
            self._look()
        record, is_loaded = self._record, self._is_loaded and not self._is_refused
        self._adopt(None)
        self._lay_out()
        self._record = record
        self._intents = Intents(end=record is not None or not is_loaded)
        self._modified = True
        if self._is_late:
            self._persistence.late.end(self)

    # When others may be writing too.

    def modify(self, key: str, fn: Callable[[Any], Any], default: Any = None) -> Any:
        """Replace the value of ``key`` by ``fn(value)`` in one step, whatever other requests do; return the new value.
        ::

            session.modify("visits", lambda visits: visits + 1, default=0)

        ``fn`` gets the value that is stored (or what this request assigned and has not saved yet), or ``default``. It
        may be called several times; what it returns last is stored. Raise
        :exc:`~flask_idlesession.SessionNotFound` if the session ended meanwhile, and
        :exc:`~flask_idlesession.ConflictError` if others were faster 200 times.
        """
        credential = self._facts.credential
        if self.new or credential is None or self._record is None:
            self[key] = value = self._changed(key, fn, self.get(key, default))
            return value
        check_key(key)
        unsaved = self._delta()
        value = default

        def change_value(stored: bytes | None) -> bytes:
            nonlocal value
            data = unsaved.get(key, stored)
            value = self._changed(key, fn, default if data is None else self._codec.decode(data), before=data)
            data = self._codec.encode(value, path=f"session[{key!r}]")
            self._persistence.check_size(self._record, {key: data})
            return data

        data = modify(self._persistence, credential, key, change_value, stored=self._stored.get(key))
        self._note_stored({key: data})  # Before the assignment, which is written through where it is late.
        self[key] = value
        return value

    def _changed(self, key: str, fn: Callable[[Any], Any], value: Any, *, before: bytes | None = None) -> Any:
        """Return ``fn(value)``. Raise TypeError if that is None because ``fn`` changed the value in place.

        ``before`` is the value's bytes, where they are known.
        """
        may_change = isinstance(value, list | dict | set)
        if may_change and before is None:
            before = self._codec.encode(value, path=f"session[{key!r}]")
        result = fn(value)
        if result is None and may_change and self._codec.encode(value, path=f"session[{key!r}]") != before:
            raise TypeError(
                f"session.modify({key!r}, …) was given a function that changes a {type(value).__name__} in place and "
                "returns None; it must return the new value, as lambda cart: [*cart, item] does. [ISE058]"
            )
        return result

    def exclusive(self, *, timeout: float = 10.0, lease: float = 30.0) -> "ExclusiveBlock[Session]":
        """Be alone with this session in the block: other blocks and views that ask for the same wait. ::

            with session.exclusive():
                session["stock"] = reserve(session["stock"])

        Assignments before the block are saved on entry, and the session is read again. Those of the block are saved on
        exit, also after an exception (unless ``IDLESESSION_SAVE_ON_ERROR`` is off). Requests that do not ask go on
        meanwhile.

        Wait for ``timeout`` seconds at most, then raise :exc:`~flask_idlesession.LeaseTimeout`. A block that takes
        more than ``lease`` seconds loses the right: then :exc:`~flask_idlesession.ConflictError` is raised on exit,
        and nothing of the block is saved.

        In an ``async`` view use ``async with``: other tasks run while it waits.
        """
        return ExclusiveBlock(self, timeout=timeout, lease=lease)

    def rotate(self, *, grace: bool = True) -> None:
        """Give the session a new token with this response. Its id and its values stay.

        Requests that are under way may use the old token for ten seconds more; without ``grace`` it is dead at once.
        """
        self._require_response("session.rotate()")
        self._look_to_change()
        self._intents.rotate = True
        self._intents.no_grace = self._intents.no_grace or not grace
        self._modified = True

    # Facts of the session.

    @property
    def new(self) -> bool:  # type: ignore[override]
        """Whether nothing is stored of this session yet."""
        self._look()
        return self._is_new

    @property
    def modified(self) -> bool:
        """Whether the view changed something, also in place. Assigning True is allowed, and never needed."""
        return self._modified or bool(self._delta())

    @modified.setter
    def modified(self, value: bool) -> None:
        self._modified = value

    @property
    def sid(self) -> SessionId | None:
        """The session's id, which may be logged; None while nothing is stored of it."""
        return self._sid

    @property
    def _sid(self) -> SessionId | None:
        return None if self.new or self._record is None else self._record.info.sid

    @property
    def idle_timeout(self) -> float:
        """Seconds without activity after which this session ends.

        Assign an int, a float or a timedelta to change it for this session. The lifetime bounds it.
        """
        self._look()
        return self._idle_timeout

    @idle_timeout.setter
    def idle_timeout(self, value: float | timedelta) -> None:
        duration = seconds(value, name="session.idle_timeout")
        if duration == self.idle_timeout:
            return
        self._look_to_change()
        if self._is_late:
            self._persistence.late.set_idle_timeout(self, duration)
        else:
            self._intents.idle_timeout = duration
            self._modified = True

    @property
    def seconds_left(self) -> float:
        """Seconds until this session is over, if nothing more happens.

        A request that counts as activity is counted already; a passive one (a poll) sees the time run down.
        """
        self._look()
        policy, now = self._persistence.policy, self._persistence.now()
        info = self._info
        if info is None:
            new = policy.begin(now=now, permanent=bool(self._peek("_permanent")), lifetime=self._intents.lifetime)
            info = replace(new, idle_timeout=self._idle_timeout)
        elif self._facts.seen_at is not None:
            info = policy.seen(info, now=now)
        return max(info.expires_at - now, 0.0)

    # For the package.

    def _fetch(self) -> Record | None:
        return self._persistence.look(self)

    @property
    def _intents(self) -> Intents:
        """The request's wishes beside the values."""
        if self._intents_made is None:  # Most ask for nothing.
            self._intents_made = Intents()
        return self._intents_made

    @_intents.setter
    def _intents(self, intents: Intents) -> None:
        self._intents_made = intents

    @property
    def _intends(self) -> bool:
        """Whether the request asks for anything beside the values."""
        return self._intents_made is not None and self._intents_made != Intents()

    @property
    def _is_new(self) -> bool:
        self._unfold()
        return self._record is None or self._intents_made is not None and self._intents_made.end

    @property
    def _is_unchanged(self) -> bool:
        """Whether it is plain, without a look at any value, that there is nothing to save but a touch."""
        if self._modified or self._saved is not None or (self._live is not None and self._suspects):
            return False
        return not self._facts.is_unsent and not self._intends

    @property
    def _user_id(self) -> str | None:
        """The user that logged in, or None."""
        intended = self._intended_user_id
        if intended is not None:
            return intended
        return None if self._is_new or self._record is None else self._record.info.user_id

    @property
    def _intended_user_id(self) -> str | None:
        """The user that this request logs in, or None."""
        return None if self._intents_made is None else self._intents_made.user_id

    @property
    def _idle_timeout(self) -> float:
        if self._intents.idle_timeout is not None:
            return self._intents.idle_timeout
        policy = self._persistence.policy
        if self._is_new or self._record is None:
            return policy.idle_timeout_for(self._user_id)
        return self._record.info.idle_timeout - policy.stored(0.0)

    @property
    def _info(self) -> SessionInfo | None:
        """The info of this session, this request included; None while nothing is stored of it."""
        if self._is_new or self._record is None:
            return None
        info = self._record.info
        if self._facts.seen_at is not None:
            info = self._persistence.policy.seen(info, now=self._facts.seen_at)
        return replace(info, user_id=self._user_id, idle_timeout=self._idle_timeout)

    @property
    def _ending(self) -> Ending | None:
        """How the session ended whose token this request shows; None if it did not, or that is forgotten."""
        facts = self._facts
        if not self._is_new:
            after = None if self._user_id is not None else self._get_own(AFTER)
            return None if after is None else self._persistence.ending(SessionId(bytes=after))
        if facts.shown is None or self._intents.end or self._is_refused:
            return None
        return self._persistence.ending(facts.shown.sid)

    def _log_in(
        self,
        user_id: str,
        *,
        keep: bool = True,
        permanent: bool = False,
        idle_timeout: float | None = None,
        lifetime: float | None = None,
        labels: Mapping[str, str | float | None] = NO_LABELS,
    ) -> None:
        """Bind the user: the session gets a new token, and both its clocks start again.

        The token of before opens nothing any more, so one that an attacker planted is worth nothing (session fixation;
        OWASP ASVS 5.0, 7.2.4). ``keep`` keeps the values of an anonymous session. Another user's session is ended, and
        none of its values are kept. ``permanent``: the browser keeps the cookie when it is closed. ``idle_timeout``
        and ``lifetime`` in seconds are for this session alone, and ``labels`` are noted of it.

        Where the number of a user's sessions is limited, the log-in is done at once. Raise
        :exc:`~flask_idlesession.TooManySessions` if it is refused; the user of before stays logged in then.
        """
        check_user_id(user_id)
        self._require_response("log_in()")
        self._persistence.expect_write(self)
        self._look_to_change()
        switches = self._user_id not in (None, user_id)
        if switches:
            self.clear()
        elif not keep:
            for key in list(self._unfold()):
                del self[key]
        if permanent:
            self.permanent = True
        intents = self._intents
        intents.user_id, intents.lifetime, intents.labels = user_id, lifetime, dict(labels)
        if idle_timeout is not None:
            intents.idle_timeout = idle_timeout
        self._modified = True
        try:
            self._persistence.admit(self)
        except TooManySessions:
            if switches:
                self._adopt(self._record)
                self._intents = Intents()
            raise

    def _next_credential(self) -> Credential:
        """Return the credential that the session has once this response arrives."""
        is_new, intents, credential, record = self._is_new, self._intents, self._facts.credential, self._record
        if is_new or credential is None or record is None:
            intents.credential = intents.credential or Credential.new()
            return intents.credential
        # A request that came with the token from before a rotation cannot rotate, but can log in.
        is_former = record.is_former(credential.holder, now=self._persistence.now())
        if intents.user_id is not None or (intents.rotate and (intents.no_grace or not is_former)):
            intents.credential = intents.credential or credential.rotated()
            return intents.credential
        return credential

    def _get_own(self, key: str) -> bytes | None:
        """Return what the package keeps in this session under a reserved key, beside the view's values."""
        self._look()
        own = self._intents.own
        if own is not None and key in own:
            return own[key]
        return None if self._is_new or self._record is None else self._record.values.get(key)

    def _put_own(self, key: str, data: bytes | None) -> None:
        """Keep something under a reserved key, or nothing any more. It is saved with the rest."""
        if data == self._get_own(key) or self._is_refused:
            return
        if self._is_late:
            self._persistence.late.write(self, {key: data})
        else:
            self._intents.own = {**(self._intents.own or {}), key: data}

    def _assigned_permanence(self) -> bool | None:
        """Return whether the view made the session permanent; None if it said nothing of that."""
        return bool(self._peek("_permanent")) if self._wrote("_permanent") else None

    def _settle_all(self, record: Record | None, credential: Credential | None) -> None:
        """Note that all was saved, the intents too: the store has ``record`` now, and ``credential`` opens it."""
        self._facts.credential = credential
        self._settle(record)
        self._intents_made = None

    def _forget_changes(self) -> None:
        """Take back all that the view did and that was not saved yet, except a log-out: that is final."""
        self._adopt(self._record)
        self._intents = Intents(end=self._intents.end)

    def _forget_reading(self) -> None:
        facts = self._facts
        super()._forget_reading()
        self._is_loaded = facts.credential is None
        facts.seen_at, facts.is_touched, facts.is_told = None, False, False

    # While the store fails.

    @property
    def _is_refused(self) -> bool:
        """Whether the session could not be read, and is empty while that is answered."""
        return isinstance(self._live, Refusing)

    def _look_to_change(self) -> None:
        """Look at the session, which is to be changed. Raise StoreError if it could not be read."""
        self._look()
        if self._is_refused and self._failure is not None:
            raise self._failure

    def _lay_out_nothing(self, error: StoreError, handled: BaseException | None) -> dict[str, Any]:
        is_first, self._failure = self._failure is None, error
        if self._facts.is_over or _is_of_store(handled):
            return self._refuse(error)
        if is_first:
            self._persistence.note_failure(self)
        raise error

    def _refuse(self, error: StoreError) -> dict[str, Any]:
        """Show nothing, and let nothing be assigned, since the application is about to answer the failure."""
        self._adopt(None)
        self._failure = error
        self._stored, self._encoded, self._suspects = {}, {}, {}
        self._live = live = Refusing(error)
        return live

    # After the response has begun.

    def _write_through(self, key: str, data: bytes | None) -> None:
        if self._alone is None and data != self._stored.get(key):  # A block is saved as a whole.
            self._persistence.late.write(self, {key: data})

    def _note_late_look(self) -> None:
        self._persistence.late.watch(self)

    def _require_response(self, what: str) -> None:
        """Raise RuntimeError where the response has begun: ``what`` needs a cookie, and none can be set any more."""
        if self._is_late:
            raise RuntimeError(
                f"{what} was called after the response had begun, in a stream or a copied context. The browser can get "
                "no new token any more; call it in the view, before the response begins. [ISE005]"
            )
        if is_of_event(self._facts.carrier):
            raise RuntimeError(
                f"{what} was called in an event of Flask-SocketIO, and an event cannot set a cookie: the browser would "
                "not get its new token. Call it in a view; the script sends a request there. [ISE005]"
            )

    def _finish_late(self) -> None:
        """Store changes in place, and log the keys that could not be stored: the stream or the context is over."""
        self._persistence.late.finish(self)

    def _lose(self, keys: Iterable[str]) -> None:
        """Note keys that are assigned too late to be stored."""
        self._facts.lost = {**(self._facts.lost or {}), **dict.fromkeys(keys)}

    def _take_lost(self) -> list[str]:
        """Return the keys that were noted so, once."""
        lost, self._facts.lost = list(self._facts.lost or ()), None
        return lost

    def _note_committed(self, record: Record) -> None:
        """Note that this is what the store holds now. The view's objects stay."""
        self._record = record
        self._stored = visible(record.values)

    def _ask_alone(self, *, seconds: float) -> tuple[Lease, Delta] | None:
        """Return the right to be alone, and what is to be saved with it.

        None: nobody else knows of the session, or a block around this one has the right already.
        """
        credential = self._facts.credential
        if self.new or credential is None or self._alone is not None:
            return None
        delta = self._delta()
        self._persistence.check_size(self._record, delta)
        return Lease(self._persistence, credential, seconds=seconds), delta

    def _begin_alone(self, record: Record, *, owner: object) -> None:
        """Begin an exclusive block with what the session holds now."""
        self._adopt(record)
        self._alone = owner

    def _end_alone(self, right: Lease, *, is_failed: bool) -> None:
        """End an exclusive block."""
        if is_failed and not self._persistence.policy.save_on_error:
            self._forget_changes()
        self._alone = None
        self._leave(right)

    def _leave(self, right: Lease) -> None:
        """Save what was done in an exclusive block, and give the right back."""
        delta: Delta = {}
        try:
            if not self._intents.end:
                delta = self._delta()
                self._persistence.check_size(self._record, delta)
        except RecordRejected:
            delta = {}
            self._forget_changes()
            raise
        finally:
            try:
                right.give_back(delta)
            except IdleSessionError:
                self._forget_changes()
                raise
        self._note_stored(delta)

    def _note_stored(self, delta: Delta) -> None:
        """Note that the store holds this by now, and goes on holding the rest."""
        if self._record is None:
            return
        values = merged(self._record.values, delta)
        self._record = self._record.holding(values)
        self._stored = {} if self._intents.end else visible(values)


def is_of_event(carrier: object) -> bool:
    """Return whether an event of Flask-SocketIO uses the session, which gives the request this attribute.

    Such an event has a response that is thrown away, and so it can set no cookie.
    """
    return hasattr(carrier, "namespace")


def _is_of_store(handled: BaseException | None) -> bool:
    """Return whether an exception is a failure of the store, or was raised because of one."""
    for _ in range(_DEEPEST_CAUSE):
        if handled is None or isinstance(handled, StoreError):
            break
        handled = handled.__cause__ or handled.__context__
    return isinstance(handled, StoreError)


def check_user_id(user_id: object) -> None:
    """Raise TypeError or ValueError for what cannot be a user's id."""
    if not isinstance(user_id, str) or not user_id:
        kind = "an empty one" if user_id == "" else f"of the type {type(user_id).__name__}"
        raise TypeError(f"A user's id is a text that is not empty; this one is {kind}. [ISE050]")
    if len(user_id.encode(errors="replace")) > LONGEST_USER_ID:
        raise ValueError(f"A user's id has {LONGEST_USER_ID} bytes at most; shorten {user_id[:40]!r}…. [ISE050]")
    if any("\ud800" <= letter <= "\udfff" for letter in user_id):
        raise ValueError(f"A user's id is a text that UTF-8 can hold; {user_id!r} has half a character in it. [ISE050]")
