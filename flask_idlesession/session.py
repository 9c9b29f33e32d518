"""The dict that a view sees: reads lazily, notes what the view asks for, and tells what it changed."""

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace
from datetime import timedelta
from typing import Any
from typing import Protocol

from flask.sessions import SessionMixin

from .codec import ATOMS
from .codec import Codec
from .errors import DecodeError
from .ids import Claim
from .ids import SessionId
from .policy import Policy
from .policy import seconds
from .record import Record

#: Keys that begin so are the package's own, in the store beside the view's; no view sees them.
RESERVED = "__idlesession_"


class _Unread:
    """Stands for a value that is stored and was not decoded yet."""


_UNREAD = _Unread()


class Keeper(Protocol):
    """What a session needs of the manager that opened it."""

    codec: Codec
    policy: Policy

    def now(self) -> float: ...
    def load(self, claim: Claim) -> Record | None: ...
    def abandon(self, claim: Claim, error: DecodeError) -> None: ...


@dataclass(slots=True)
class Intents:
    """What a request asks for beside the values, until it is saved."""

    #: End the session that came with the request; what is in the dict now belongs to a new one.
    end: bool = False
    #: Give the session a new secret.
    rotate: bool = False
    #: Bind this user, which is a log-in.
    user_id: str | None = None
    idle_timeout: float | None = None


class Session(SessionMixin):
    """A mutable mapping of str to values, stored under one key each.

    Nothing is asked of the store before the first look. A value is encoded when it is assigned, so that
    one which cannot be kept raises there; what was read and can change in place is compared once more at
    save. ``record`` is the session as it was loaded or last saved, None while nothing is stored;
    ``claim`` is the right to it.
    """

    accessed = False
    modified = False

    def __init__(self, keeper: Keeper, claim: Claim | None = None) -> None:
        self._keeper = keeper
        self._is_loaded = False
        self.claim = claim
        self.record: Record | None = None
        self.intents = Intents()
        #: When the request that carries this session counted as activity; None as long as it did not.
        self.seen_at: float | None = None
        self.adopt(None)
        self._is_loaded = claim is None

    # The mapping.

    def __getitem__(self, key: str) -> Any:
        value = self._look()[key]
        return self._read(key) if value is _UNREAD else value

    def __setitem__(self, key: str, value: Any) -> None:
        if not isinstance(key, str):
            raise TypeError(f"A session's keys are strings; {key!r} is a {type(key).__name__}.")
        if key.startswith(RESERVED):
            raise KeyError(f"Keys that begin with {RESERVED!r} are reserved; {key!r} needs another name.")
        live = self._look()
        data = self._keeper.codec.encode(value, path=f"session[{key!r}]")
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
        return f"<{type(self).__name__} {dict(self) if self._is_loaded else '(not read yet)'}>"

    def copy(self) -> dict[str, Any]:
        """Return the keys and values as a plain dict."""
        return dict(self)

    def popitem(self) -> tuple[str, Any]:
        """Remove the key that came last, and return it with its value, as a dict does."""
        for key in reversed(self):
            return key, self.pop(key)
        raise KeyError("popitem(): the session is empty")

    def clear(self) -> None:
        """Empty the session **and end it**: the token that the browser holds is dead once this request is
        saved. What is put in afterwards starts a new session, with an id and a token of its own.
        """
        self._look()
        self._start_afresh()
        self.intents = Intents(end=self.record is not None)
        self.modified = True

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
        if self.new or self.record is None:
            return self._keeper.policy.idle_timeout
        return self.record.info.idle_timeout

    @idle_timeout.setter
    def idle_timeout(self, value: float | timedelta) -> None:
        duration = seconds(value, name="session.idle_timeout")
        if duration != self.idle_timeout:
            self.intents.idle_timeout = duration
            self.modified = True

    @property
    def seconds_left(self) -> float:
        """Seconds until this session is over, if nothing more happens. A request that counts as activity
        is counted already; a passive one (a poll) sees the time run down.
        """
        policy, now = self._keeper.policy, self._keeper.now()
        if self.new or self.record is None:
            info = policy.begin(now=now, permanent=bool(self.peek("_permanent")))
        else:
            info = self.record.info
            if self.seen_at is not None:
                info = policy.seen(info, now=now)
        return max(replace(info, idle_timeout=self.idle_timeout).expires_at - now, 0.0)

    def rotate(self) -> None:
        """Give the session a new token with this response. Its id and its values stay."""
        self._look()
        self.intents.rotate = True
        self.modified = True

    def log_in(self, user_id: str) -> None:
        """Bind the user: the session gets a new token, and both its clocks start anew.

        The token of before opens nothing any more, so one that an attacker planted is worth nothing
        (session fixation; OWASP ASVS 5.0, 7.2.4).
        """
        if not isinstance(user_id, str) or not user_id:
            raise TypeError(f"log_in() needs the user's id as a string that is not empty, not {user_id!r}.")
        self._look()
        self.intents.user_id = user_id
        self.modified = True

    # For the manager.

    @property
    def is_loaded(self) -> bool:
        """Whether the store was asked."""
        return self._is_loaded

    def load(self) -> Record | None:
        """Ask the store, once; return the record."""
        if not self._is_loaded:
            self.adopt(None if self.claim is None else self._keeper.load(self.claim))
        return self.record

    def peek(self, key: str) -> Any:
        """Return a value that the view assigned or read, without this being a look of the view's."""
        value = self._live.get(key)
        return self._read(key) if value is _UNREAD else value

    def wrote(self, key: str) -> bool:
        """Return whether the view assigned or removed this key."""
        return key in self._suspects

    @property
    def is_empty(self) -> bool:
        """Whether no key is left."""
        return not self._live

    def delta(self) -> dict[str, bytes | None]:
        """Return the new bytes of each key whose bytes changed, and None for each that is gone.

        Raise :exc:`~flask_idlesession.EncodeError` if a value was changed in place into something that
        cannot be kept.
        """
        delta: dict[str, bytes | None] = {}
        for key in self._suspects:
            if key not in self._live:
                if key in self._stored:
                    delta[key] = None
                continue
            data = self._encoded.get(key)
            if data is None:
                data = self._keeper.codec.encode(self._live[key], path=f"session[{key!r}]")
            if data != self._stored.get(key):
                delta[key] = data
        return delta

    def adopt(self, record: Record | None) -> None:
        """Show what ``record`` holds, in place of what there was."""
        self._is_loaded = True
        self.record = record
        self._stored = {} if record is None else _visible(record.values)
        self._live: dict[str, Any] = dict.fromkeys(self._stored, _UNREAD)
        self._encoded: dict[str, bytes] = {}
        self._suspects: dict[str, None] = {}

    def settle(self, record: Record | None, claim: Claim | None) -> None:
        """Note that all was saved: ``record`` is what the store holds now. The view's objects stay."""
        self.record, self.claim = record, claim
        self.intents = Intents()
        self._stored = {} if record is None else _visible(record.values)
        self._encoded = {}
        self._suspects = {
            key: None for key, value in self._live.items() if value is not _UNREAD and type(value) not in ATOMS
        }

    def _look(self) -> dict[str, Any]:
        """Return the live keys for the view, which thereby has accessed the session."""
        self.accessed = True
        if not self._is_loaded:
            self.load()
        return self._live

    def _read(self, key: str) -> Any:
        try:
            value = self._keeper.codec.decode(self._stored[key])
        except DecodeError as error:
            if self.claim is not None:
                self._keeper.abandon(self.claim, error)
            self.adopt(None)
            raise KeyError(key) from error
        self._live[key] = value
        if type(value) not in ATOMS:
            self._suspects[key] = None
        return value

    def _start_afresh(self) -> None:
        self._live, self._encoded, self._suspects, self._stored = {}, {}, {}, {}


def _visible(values: Mapping[str, bytes]) -> dict[str, bytes]:
    return {key: data for key, data in values.items() if not key.startswith(RESERVED)}
