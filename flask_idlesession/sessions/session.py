"""The dict that a view sees: reads lazily, notes what the view asks for, and tells what it changed."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from dataclasses import replace
from datetime import timedelta
from typing import Any

from flask.sessions import SessionMixin

from ..model.codec import ATOMS
from ..model.errors import DecodeError
from ..model.errors import EncodeError
from ..model.errors import IdleSessionError
from ..model.errors import StoreError
from ..model.errors import TooManySessions
from ..model.ids import Credential
from ..model.ids import SessionId
from ..model.policy import seconds
from ..model.record import Delta
from ..model.record import Ending
from ..model.record import LONGEST_USER_ID
from ..model.record import merged
from ..model.record import NO_LABELS
from ..model.record import Record
from ..model.record import SessionInfo
from .locking import Lease
from .locking import modify
from .locking import RESERVED
from .locking import visible
from .persistence import Persistence

#: Where a session that a form began keeps the id of the one before, which had ended: it can say why still.
AFTER = RESERVED + "after"


class _Unread:
    """Stands for a value that is stored and was not decoded yet."""


_UNREAD = _Unread()


@dataclass(slots=True)
class Intents:
    """What a request asks for beside the values, until it is saved."""

    #: End the session that came with the request; what is in the dict now belongs to a new one.
    end: bool = False
    #: Give the session a new secret.
    rotate: bool = False
    #: Bind this user, which is a log-in.
    user_id: str | None = None
    #: For this session alone, where they are not the usual ones.
    idle_timeout: float | None = None
    lifetime: float | None = None
    #: Labels to set, or with None to remove.
    labels: dict[str, str | float | None] | None = None
    #: What the session's next token will be, where that was needed before the session is saved.
    credential: Credential | None = None
    #: Values of the package's own to set, or with None to remove, by reserved key.
    own: dict[str, bytes | None] | None = None


class Session(SessionMixin):
    """A mutable mapping of str to values, stored under one key each.

    Nothing is asked of the store before the first look. A value is encoded when it is assigned, so that
    one which cannot be kept raises there; what was read and can change in place is compared once more at
    save. ``record`` is the session as it was loaded or last saved, None while nothing is stored;
    ``credential`` is the right to it.
    """

    # By slots, for Python 3.11 is slow to find what an instance has in place of its class.
    __slots__ = (
        "keeper",
        "shown",
        "credential",
        "request",
        "came_at",
        "is_loaded",
        "is_active",
        "seen_at",
        "is_touched",
        "is_unsent",
        "was_sent",
        "accessed",
        "modified",
        "_is_exclusive",
        "_record",
        "_written",
        "_intents",
        "_live",
        "_saved",
        "_stored",
        "_encoded",
        "_suspects",
    )
    _stored: Mapping[str, bytes]
    _encoded: dict[str, bytes]
    _suspects: dict[str, None]

    def __init__(self, keeper: Persistence, credential: Credential | None, request: Any, came_at: float) -> None:
        self.keeper = keeper
        #: The right that its request came with, and the one that its holder has by now.
        self.shown = self.credential = credential
        #: What carries the session, until it is saved.
        self.request = request
        #: When the request came. A user's sessions that were revoked since are not logged in to by it.
        self.came_at = came_at
        #: Whether the store was asked.
        self.is_loaded = credential is None
        #: Whether its request is activity; None until that is known.
        self.is_active: bool | None = None
        #: When the request that carries this session counted as activity; None as long as it did not.
        self.seen_at: float | None = None
        #: Whether that is noted in the store already.
        self.is_touched = False
        #: Whether it has a token that its holder was not told yet.
        self.is_unsent = False
        #: Whether a response of this request got the token, which may have been thrown away.
        self.was_sent = False
        self.accessed = self.modified = self._is_exclusive = False
        # The record, and what was saved of its values since it was looked at.
        self._record: Record | None = None
        self._written: Delta | None = None
        self._intents: Intents | None = None
        # The keys that the view sees, with their values or _UNREAD; None until it looks.
        self._live: dict[str, Any] | None = None
        # The same where all of it was saved: whoever looks again gets the same objects.
        self._saved: dict[str, Any] | None = None

    # The mapping.

    def __getitem__(self, key: str) -> Any:
        value = self._look()[key]
        return self._read(key) if value is _UNREAD else value

    def get(self, key: str, default: Any = None) -> Any:
        value = self._look().get(key, default)
        if value is not _UNREAD:
            return value
        try:
            return self._read(key)
        except KeyError:
            return default

    def __setitem__(self, key: str, value: Any) -> None:
        check_key(key)
        live = self._look()
        try:
            data = self.keeper.codec.encode(value)
        except EncodeError:  # It is to name the path; to make one for each value would take as long as to encode it.
            data = self.keeper.codec.encode(value, path=f"session[{key!r}]")
        if type(value) in ATOMS:
            self._encoded[key] = data
        else:
            self._encoded.pop(key, None)
        live[key] = value
        self._suspects[key] = None
        self.modified = True

    def __delitem__(self, key: str) -> None:
        del self._look()[key]
        self._suspects[key] = None
        self.modified = True

    def __iter__(self) -> Iterator[str]:
        return iter(self._look())

    def __reversed__(self) -> Iterator[str]:
        return reversed(self._look())

    def __len__(self) -> int:
        return len(self._look())

    def __contains__(self, key: object) -> bool:
        return key in self._look()

    def __or__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return dict(self) | dict(other)

    def __ror__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return dict(other) | dict(self)

    def __ior__(self, other: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> "Session":
        self.update(other)
        return self

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {dict(self) if self.is_loaded else '(not read yet)'}>"

    def copy(self) -> dict[str, Any]:
        """Return the keys and values as a plain dict."""
        return dict(self)

    __copy__ = copy

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[str, Any]:
        return deepcopy(dict(self), memo)

    def popitem(self) -> tuple[str, Any]:
        """Remove the key that came last, and return it with its value, as a dict does."""
        for key in reversed(self):
            return key, self.pop(key)
        raise KeyError("popitem(): the session is empty")

    def clear(self) -> None:
        """Empty the session **and end it**: the token that the browser holds is dead once this request is
        saved. What is put in afterwards starts a new session, with an id and a token of its own.
        """
        with suppress(StoreError):  # Whoever logs out does not have to be read first.
            self._look()
        record, is_loaded = self.record, self.is_loaded
        self.adopt(None)
        self._lay_out()
        self.record = record
        self.intents = Intents(end=record is not None or not is_loaded)
        self.modified = True

    # When others may be writing too.

    def modify(self, key: str, fn: Callable[[Any], Any], default: Any = None) -> Any:
        """Replace the value of ``key`` by ``fn(value)``, at once and in one step, whatever other requests do
        meanwhile; return the new value. ::

            session.modify("visits", lambda visits: visits + 1, default=0)

        ``fn`` gets the value that is stored (or what this request assigned and has not saved yet), or
        ``default``; it may be called several times, and what it returns is kept. Raise
        :exc:`~flask_idlesession.SessionNotFound` if the session ended meanwhile, and
        :exc:`~flask_idlesession.ConflictError` if others were faster for good.
        """
        if self.new or self.credential is None or self.record is None:
            self[key] = value = fn(self.get(key, default))
            return value
        check_key(key)
        unsaved = self.delta()
        value = default

        def change_value(stored: bytes | None) -> bytes:
            nonlocal value
            data = unsaved.get(key, stored)
            value = fn(default if data is None else self.keeper.codec.decode(data))
            return self.keeper.codec.encode(value, path=f"session[{key!r}]")

        data = modify(self.keeper, self.credential, key, change_value, stored=self._stored.get(key))
        self[key] = value
        self._note_stored({key: data})
        return value

    @contextmanager
    def exclusive(self, *, timeout: float = 10.0, lease: float = 30.0) -> Iterator["Session"]:
        """Be alone with this session in the block: other blocks and views that ask for the same wait. ::

            with session.exclusive():
                session["stock"] = reserve(session["stock"])

        What was assigned before is saved on entry, and the session is read anew; what the block did is
        saved on exit, also after an exception (unless ``IDLESESSION_SAVE_ON_ERROR`` is off). Requests that
        do not ask go on meanwhile.

        Wait for ``timeout`` seconds at most, then raise :exc:`~flask_idlesession.LeaseTimeout`. Whoever
        takes more than ``lease`` seconds, or dies, loses the right: then
        :exc:`~flask_idlesession.ConflictError` is raised on exit, and nothing of the block is saved.
        """
        if self.new or self.credential is None or self._is_exclusive:
            yield self  # Nobody else knows of it; or a block around this one has the right already.
            return
        right = Lease(self.keeper, self.credential, seconds=lease)
        self.adopt(right.take(self.delta(), timeout=timeout))
        self._is_exclusive = True
        try:
            yield self
        except BaseException:
            if not self.keeper.policy.save_on_error:
                self.forget_changes()
            raise
        finally:
            self._is_exclusive = False
            self._leave(right)

    def _leave(self, right: Lease) -> None:
        """Save what was done in an exclusive block, and give the right back."""
        delta: Delta = {}
        try:
            if not self.intents.end:
                delta = self.delta()
        finally:
            try:
                right.give_back(delta)
            except IdleSessionError:
                self.forget_changes()
                raise
        self._note_stored(delta)

    def _note_stored(self, delta: Delta) -> None:
        """Note that the store holds this by now, and goes on holding the rest."""
        if self.record is None:
            return
        values = merged(self.record.values, delta)
        self.record = self.record.holding(values)
        self._stored = {} if self.intents.end else visible(values)

    # What a session knows of itself.

    @property
    def new(self) -> bool:  # type: ignore[override]
        """Whether nothing is stored of this session yet."""
        self._look()
        return self.record is None or self.intents.end

    @property
    def sid(self) -> SessionId | None:
        """The session's id, which may be logged; None while nothing is stored of it."""
        return None if self.new or self.record is None else self.record.info.sid

    @property
    def user_id(self) -> str | None:
        """The user that logged in, or None."""
        if self.intents.user_id is not None or self.new or self.record is None:
            return self.intents.user_id
        return self.record.info.user_id

    @property
    def idle_timeout(self) -> float:
        """Seconds without activity after which this session ends; assign an int, a float or a timedelta
        to change it for this session. The lifetime bounds it.
        """
        if self.intents.idle_timeout is not None:
            return self.intents.idle_timeout
        policy = self.keeper.policy
        if self.new or self.record is None:
            return policy.idle_timeout_for(self.user_id)
        return self.record.info.idle_timeout - policy.stored(0.0)

    @idle_timeout.setter
    def idle_timeout(self, value: float | timedelta) -> None:
        duration = seconds(value, name="session.idle_timeout")
        if duration != self.idle_timeout:
            self.intents.idle_timeout = duration
            self.modified = True

    @property
    def info(self) -> SessionInfo | None:
        """What may be shown of this session, this request included; None while nothing is stored of it."""
        if self.new or self.record is None:
            return None
        info = self.record.info
        if self.seen_at is not None:
            info = self.keeper.policy.seen(info, now=self.seen_at)
        return replace(info, user_id=self.user_id, idle_timeout=self.idle_timeout)

    @property
    def seconds_left(self) -> float:
        """Seconds until this session is over, if nothing more happens. A request that counts as activity
        is counted already; a passive one (a poll) sees the time run down.
        """
        policy, now = self.keeper.policy, self.keeper.now()
        info = self.info
        if info is None:
            new = policy.begin(now=now, permanent=bool(self.peek("_permanent")), lifetime=self.intents.lifetime)
            info = replace(new, idle_timeout=self.idle_timeout)
        elif self.seen_at is not None:
            info = policy.seen(info, now=now)
        return max(info.expires_at - now, 0.0)

    def rotate(self) -> None:
        """Give the session a new token with this response. Its id and its values stay."""
        self._look()
        self.intents.rotate = True
        self.modified = True

    def log_in(
        self,
        user_id: str,
        *,
        keep: bool = True,
        permanent: bool = False,
        idle_timeout: float | None = None,
        lifetime: float | None = None,
        labels: Mapping[str, str | float | None] = NO_LABELS,
    ) -> None:
        """Bind the user: the session gets a new token, and both its clocks start anew.

        The token of before opens nothing any more, so one that an attacker planted is worth nothing
        (session fixation; OWASP ASVS 5.0, 7.2.4). ``keep``: whether what the session holds is kept; of what
        another user's session holds nothing is: that one ends. ``permanent``: the browser keeps the cookie when it is
        closed. ``idle_timeout`` and ``lifetime`` in seconds are for this session alone, and ``labels`` are noted of
        it. Where a user may have so many sessions only, the log-in is done at once; raise
        :exc:`~flask_idlesession.TooManySessions`, and leave who was logged in, if it is refused.
        """
        check_user_id(user_id)
        switches = self.user_id not in (None, user_id)
        if switches:
            self.clear()
        elif not keep:
            for key in list(self):
                del self[key]
        if permanent:
            self.permanent = True
        intents = self.intents
        intents.user_id, intents.lifetime, intents.labels = user_id, lifetime, dict(labels)
        if idle_timeout is not None:
            intents.idle_timeout = idle_timeout
        self.modified = True
        try:
            self.keeper.admit(self)
        except TooManySessions:
            if switches:
                self.adopt(self.record)
                self.intents = Intents()
            raise

    @property
    def ended(self) -> Ending | None:
        """How the session ended whose token this request shows: for the log-in page, to say why the user is no
        longer logged in. None where it did not end, or that is no longer known (after an hour).
        """
        if not self.new:
            after = None if self.user_id is not None else self.get_own(AFTER)
            return None if after is None else self.keeper.ending(SessionId(bytes=after))
        if self.shown is None or self.intents.end:
            return None
        return self.keeper.ending(self.shown.sid)

    # For the manager.

    @property
    def record(self) -> Record | None:
        """The session as it was loaded or last saved; None while nothing is stored."""
        if self._written is not None:  # Made when somebody looks: most requests end with what they wrote.
            assert self._record is not None
            self._record = self._record.holding(merged(self._record.values, self._written))
            self._written = None
        return self._record

    @record.setter
    def record(self, record: Record | None) -> None:
        self._record, self._written = record, None

    @property
    def intents(self) -> Intents:
        """What the request asks for beside the values."""
        if self._intents is None:  # Most ask for nothing.
            self._intents = Intents()
        return self._intents

    @intents.setter
    def intents(self, intents: Intents) -> None:
        self._intents = intents

    @property
    def intends(self) -> bool:
        """Whether the request asks for anything beside the values."""
        return self._intents is not None and self._intents != Intents()

    def load(self) -> Record | None:
        """Ask the store, once; return the record."""
        if not self.is_loaded:
            self.adopt(self.keeper.look(self))
        return self.record

    def peek(self, key: str) -> Any:
        """Return a value that the view assigned or read, without this being a look of the view's."""
        value = self._unfold().get(key)
        return self._read(key) if value is _UNREAD else value

    def wrote(self, key: str) -> bool:
        """Return whether the view assigned or removed this key."""
        if self._live is None and self._saved is None:
            return False
        self._unfold()
        return key in self._suspects

    def get_own(self, key: str) -> bytes | None:
        """Return what the package keeps in this session under a reserved key, beside the view's values."""
        own = self.intents.own
        if own is not None and key in own:
            return own[key]
        return None if self.new or self.record is None else self.record.values.get(key)

    def put_own(self, key: str, data: bytes | None) -> None:
        """Keep something under a reserved key, or nothing any more. It is saved with the rest."""
        if data != self.get_own(key):
            self.intents.own = {**(self.intents.own or {}), key: data}

    @property
    def is_empty(self) -> bool:
        """Whether no key is left."""
        return not self._unfold()

    @property
    def is_unchanged(self) -> bool:
        """Whether it is plain, without a look at any value, that there is nothing to save but a touch."""
        if self.modified or self.is_unsent or self._saved is not None or (self._live is not None and self._suspects):
            return False
        return not self.intends

    def plain_delta(self) -> dict[str, bytes | None] | None:
        """Return the delta if what some keys hold is all that there is to save, and some are left; else None."""
        if not self._live or self.is_unsent or "_permanent" in self._suspects:
            return None
        return None if self.intends else self.delta()

    def delta(self) -> dict[str, bytes | None]:
        """Return the new bytes of each key whose bytes changed, and None for each that is gone.

        Raise :exc:`~flask_idlesession.EncodeError` if a value was changed in place into something that
        cannot be kept.
        """
        delta: dict[str, bytes | None] = {}
        if self._live is None and self._saved is None:
            return delta
        live = self._unfold()
        for key in self._suspects:
            if key not in live:
                if key in self._stored:
                    delta[key] = None
                continue
            data = self._encoded.get(key)
            if data is None:
                data = self.keeper.codec.encode(live[key], path=f"session[{key!r}]")
            if data != self._stored.get(key):
                delta[key] = data
        return delta

    def adopt(self, record: Record | None) -> None:
        """Show what ``record`` holds, in place of what there was."""
        self.is_loaded = True
        self.record = record
        self._live = self._saved = None

    def settle(self, record: Record | None, credential: Credential | None) -> None:
        """Note that all was saved: ``record`` is what the store holds now. The view's objects stay."""
        self.record, self.credential = record, credential
        self._intents = None
        if self._live is not None:
            self._saved, self._live = self._live, None

    def settle_values(self, delta: Delta) -> None:
        """Note that this much was saved, and nothing else was to be. The view's objects stay."""
        self._written = delta
        self._saved, self._live = self._live, None

    def forget_changes(self) -> None:
        """Take back all that the view did and that was not saved yet, but for a log-out: that is final."""
        self.adopt(self.record)
        self.intents = Intents(end=self.intents.end)

    def _look(self) -> dict[str, Any]:
        """Return the live keys for the view, which thereby has accessed the session."""
        self.accessed = True
        return self._unfold()

    def _unfold(self) -> dict[str, Any]:
        """Return the live keys, which are laid out when they are first asked for."""
        return self._lay_out() if self._live is None else self._live

    def _lay_out(self) -> dict[str, Any]:
        """Lay out the keys that there are, and return them; ask the store first if that was not done yet."""
        if self.is_loaded:
            record = self.record
        else:
            self._record = record = self.keeper.look(self)
            self.is_loaded = True
        stored = {} if record is None else record.values
        if RESERVED in " ".join(stored):  # One look at all of them: most sessions have none such.
            stored = visible(stored)
        self._stored, self._encoded, self._suspects = stored, {}, {}
        if self._saved is None:
            self._live = live = dict.fromkeys(stored, _UNREAD)
        else:
            self._live = live = self._saved
            self._saved = None
            for key, value in live.items():
                if value is not _UNREAD and type(value) not in ATOMS:
                    self._suspects[key] = None
        return live

    def _read(self, key: str) -> Any:
        try:
            value = self.keeper.codec.decode(self._stored[key])
        except DecodeError as error:
            if self.credential is not None:
                self.keeper.abandon(self.credential, error)
            self.adopt(None)
            raise KeyError(key) from error
        self._unfold()[key] = value
        if type(value) not in ATOMS:
            self._suspects[key] = None
        return value


def check_key(key: object) -> None:
    """Raise TypeError or ValueError for what cannot be a key of a session."""
    if not isinstance(key, str):
        raise TypeError(f"A session's keys are strings; {key!r} is a {type(key).__name__}.")
    if key.startswith(RESERVED):
        raise ValueError(f"Keys that begin with {RESERVED!r} are reserved; {key!r} needs another name.")
    if not key.isascii() and any("\ud800" <= letter <= "\udfff" for letter in key):
        raise ValueError(f"A session's keys are text that UTF-8 can hold; {key!r} has half a character in it.")


def check_user_id(user_id: object) -> None:
    """Raise TypeError or ValueError for what cannot be a user's id."""
    if not isinstance(user_id, str) or not user_id:
        raise TypeError(f"log_in() and create() need the user's id as a string that is not empty, not {user_id!r}.")
    if len(user_id.encode(errors="replace")) > LONGEST_USER_ID:
        raise ValueError(f"log_in() and create() need an id of {LONGEST_USER_ID} bytes at most, not {user_id[:40]!r}….")
    if any("\ud800" <= letter <= "\udfff" for letter in user_id):
        raise ValueError(f"log_in() and create() need an id that UTF-8 can hold; {user_id!r} has half a character.")
