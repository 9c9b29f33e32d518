"""Records as stores hold them, and how one change turns a record into the next: pure values."""

import hmac
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from enum import Enum
from math import inf
from typing import Any
from typing import NamedTuple
from typing import NoReturn
from typing import TypeVar

from .ids import is_of_many
from .ids import SessionId
from .labels import AUTHENTICATED_AT

#: The values of one session: each key's value as the codec made it.
Values = Mapping[str, bytes]

#: The changes of one request to the values: new bytes by key; None removes the key.
Delta = Mapping[str, bytes | None]

#: Facts of a session beside its values, which may be shown: where it was opened from, when its user logged in.
Labels = Mapping[str, str | float]

#: New labels by name; None removes the label.
LabelDelta = Mapping[str, str | float | None]

#: The most bytes that a user's id may take in UTF-8: every store can index that.
LONGEST_USER_ID = 1024

_T = TypeVar("_T")

#: The labels of a session that has none: a dict, which unlike a mapping proxy can be copied and pickled.
NO_LABELS: Labels = {}


class _Nothing(dict[str, Any]):
    """The empty dict of all changes: hashable, for a dataclass takes no other default, and nothing can be put in."""

    __hash__ = object.__hash__  # type: ignore[assignment]

    def _refuse(self, *args: object, **kwargs: object) -> NoReturn:
        raise TypeError("This dict is empty for ever; give the change one of its own.")

    __setitem__ = setdefault = update = __ior__ = _refuse


_NOTHING = _Nothing()


class Outcome(Enum):
    """The result of a commit."""

    DONE = "done"
    #: The session is not live, or the holder's secret is not its secret: nothing was written.
    GONE = "gone"
    #: A key of ``expect`` held other bytes, or the rotation came too late: nothing was written.
    CONFLICT = "conflict"
    #: Done, and as the change asked, a session left without values was ended by it.
    EMPTIED = "emptied"


class EndReason(Enum):
    """Why a session is over."""

    IDLE = "idle"
    LIFETIME = "lifetime"
    LOGGED_OUT = "logged out"
    REVOKED = "revoked"
    EVICTED = "evicted"


#: Python 3.11 takes a fifth of a microsecond to find an enum's member each time.
_IDLE, _LIFETIME, _EVICTED = EndReason.IDLE, EndReason.LIFETIME, EndReason.EVICTED


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionInfo:
    """The facts of a session that may be shown: no secret and no values. Instants are POSIX seconds."""

    sid: SessionId
    user_id: str | None = None
    created_at: float
    last_seen_at: float
    #: Seconds without activity after which the session ends.
    idle_timeout: float
    #: The end that no activity moves; only a log-in does.
    lifetime_ends_at: float
    #: A permanent session ends here unless a request refreshes it before; infinite for the others.
    refresh_by: float = inf
    #: A dict of its own, which can be copied and pickled.
    labels: Labels = field(default_factory=dict, hash=False)

    @property
    def expires_at(self) -> float:
        """The instant at which the session is over, if nothing more happens."""
        return min(self.last_seen_at + self.idle_timeout, self.lifetime_ends_at, self.refresh_by)

    def is_live(self, now: float) -> bool:
        """Return whether the session is live at ``now``. A session that is not live does not exist."""
        return now < self.expires_at

    @property
    def authenticated_at(self) -> float | None:
        """The instant at which its user last proved who they are; None while nobody did."""
        instant = self.labels.get(AUTHENTICATED_AT)
        return instant if isinstance(instant, float) else None

    @property
    def expiry_reason(self) -> EndReason:
        """The reason that time will have had, once the session has expired."""
        return _LIFETIME if self.lifetime_ends_at <= self.expires_at else _IDLE


class PlainInfo(SessionInfo):
    """Makes a :class:`SessionInfo`, which is frozen when it is whole.

    A frozen dataclass makes each assignment a call: ``SessionInfo(…)`` takes ten times as long, 2 µs. A store makes one
    for each session that it lists, and a request of a user makes one or more.
    """

    __slots__ = ()
    __setattr__, __delattr__ = object.__setattr__, object.__delattr__

    def __init__(
        self,
        sid: SessionId,
        user_id: str | None,
        created_at: float,
        last_seen_at: float,
        idle_timeout: float,
        lifetime_ends_at: float,
        refresh_by: float,
        labels: Labels,
    ) -> None:
        assign: Any = self
        assign.sid = sid
        assign.user_id = user_id
        assign.created_at = created_at
        assign.last_seen_at = last_seen_at
        assign.idle_timeout = idle_timeout
        assign.lifetime_ends_at = lifetime_ends_at
        assign.refresh_by = refresh_by
        assign.labels = labels
        assign.__class__ = SessionInfo


def only_live(infos: Iterable[SessionInfo], *, now: float) -> Iterator[SessionInfo]:
    """Yield the infos of the sessions that are live at ``now``."""
    return (info for info in infos if info.is_live(now))


def with_labels(info: SessionInfo, labels: Labels) -> SessionInfo:
    """Return the info with these labels besides its own."""
    return replace(info, labels={**info.labels, **labels})


class Ending(NamedTuple):
    """How a session ended: what is remembered of it for a while, without its data.

    A tuple because a flood of ends makes very many, and a frozen dataclass takes four times as long to make.
    """

    sid: SessionId
    reason: EndReason
    ended_at: float
    user_id: str | None = None
    #: The name of the one who revoked it, as the caller gave it; None if its own user ended it.
    by: str | None = None

    @classmethod
    def of_forgotten(cls, info: SessionInfo, *, now: float) -> "Ending":
        """Return how a session ended that a store forgot at ``now``: by time, or to make room if it was live still."""
        if now < info.expires_at:
            return cls(info.sid, _EVICTED, now, info.user_id)
        return cls(info.sid, info.expiry_reason, info.expires_at, info.user_id)

    @property
    def is_of_many(self) -> bool:
        """Whether it tells of sessions that were revoked together, and not of one.

        Its id is made from a name then (a UUID of version 5, RFC 9562); a session's is random.
        """
        return is_of_many(self.sid)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """A new secret, and with it the user and the start of a new lifetime."""

    secret_digest: bytes = field(repr=False)
    user_id: str | None
    #: The new end of the lifetime at a log-in; None leaves it where it is.
    lifetime_ends_at: float | None = None
    #: Until then the secret before this one goes on opening the session, for the requests that are on
    #: their way; such a holder cannot rotate in turn. None: the old token is dead at once.
    grace_ends_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """All that one request does to one session, applied in one step.

    With nothing but ``last_seen_at`` it is a touch.
    """

    #: The digest of the secret that the writer showed.
    holder: bytes = field(repr=False)
    #: When the request was active; None for a passive one.
    last_seen_at: float | None = None
    #: New bytes by key; None removes the key.
    delta: Delta = _NOTHING
    #: Commit only if these keys still hold these bytes (None: still absent).
    expect: Delta = _NOTHING
    #: A new idle timeout for this session, in seconds, when it changes.
    idle_timeout: float | None = None
    #: The new instant by which a permanent session must be refreshed (infinite: it is permanent no
    #: more), when it changes.
    refresh_by: float | None = None
    #: A new secret, and with it the user and the start of the lifetime.
    rotation: Rotation | None = None
    #: New labels by name; None removes the label.
    labels: LabelDelta = _NOTHING
    #: End the session if the delta leaves it without a value, as Flask's cookie session ends then.
    end_if_emptied: bool = False

    @property
    def is_simple(self) -> bool:
        """Whether it does nothing but write values and note activity, for the holder of the secret."""
        return (
            self.rotation is None
            and self.refresh_by is None
            and self.idle_timeout is None
            and not self.expect
            and not self.labels
            and not self.end_if_emptied
        )

    @property
    def shortens(self) -> bool:
        """Whether the session may end earlier by it than before."""
        return self.idle_timeout is not None or self.refresh_by is not None or self.rotation is not None

    @property
    def is_touch(self) -> bool:
        """Whether nothing is lost but a little life if this change is."""
        return not self.delta and not self.labels and self.rotation is None and self.idle_timeout is None


class PlainChange(Change):
    """Makes a :class:`Change` of values and a touch, as nearly each write is: as fast as :class:`PlainInfo`."""

    __slots__ = ()
    __setattr__, __delattr__ = object.__setattr__, object.__delattr__

    def __init__(self, holder: bytes, delta: Delta, last_seen_at: float | None, end_if_emptied: bool) -> None:
        assign: Any = self
        assign.holder = holder
        assign.last_seen_at = last_seen_at
        assign.delta = delta
        assign.expect = assign.labels = _NOTHING
        assign.idle_timeout = assign.refresh_by = assign.rotation = None
        assign.end_if_emptied = end_if_emptied
        assign.__class__ = Change


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A session as a store holds it: its info, its secret's digest and one encoded value per key."""

    info: SessionInfo
    secret_digest: bytes = field(repr=False)
    values: Values = field(repr=False)
    #: The secret's digest before the last rotation with a grace, and when that grace ends.
    former_digest: bytes = field(default=b"", repr=False)
    former_ends_at: float = 0.0

    @property
    def expires_at(self) -> float:
        """The instant at which the session is over, if nothing more happens."""
        return self.info.expires_at

    @property
    def size(self) -> int:
        """Bytes of the keys and the values, or a little more."""
        return sum(map(len, self.values)) + sum(map(len, self.values.values()))

    @property
    def is_permanent(self) -> bool:
        """Whether it also ends unless it is refreshed in time."""
        return self.info.refresh_by < inf

    @property
    def has_user(self) -> bool:
        """Whether it is a user's."""
        return self.info.user_id is not None

    @property
    def is_plain(self) -> bool:
        """Whether it is nobody's, and not permanent: there is nothing to note of activity but its instant."""
        return not self.has_user and not self.is_permanent

    def holding(self, values: Values) -> "Record":
        """Return the same with other values."""
        return replace(self, values=values)

    def rewound(self, *, now: float) -> "Record":
        """Return the record of a session that was seen in the future as seen at ``now``, and begun no later."""
        info = self.info
        earlier = replace(
            info,
            created_at=min(info.created_at, now),
            last_seen_at=min(info.last_seen_at, now),
            lifetime_ends_at=info.lifetime_ends_at - max(info.created_at - now, 0.0),
        )
        return replace(self, info=earlier, former_ends_at=min(self.former_ends_at, now))

    def opens_to(self, holder: bytes, *, now: float) -> bool:
        """Return whether a request that shows ``holder`` may read and write this session at ``now``."""
        return self._holds(holder) or self.is_former(holder, now=now)

    def is_former(self, holder: bytes, *, now: float) -> bool:
        """Return whether ``holder`` is the secret before the last rotation, in its grace."""
        return now < self.former_ends_at and hmac.compare_digest(self.former_digest, holder)

    def judge(self, change: Change, *, now: float) -> Outcome:
        """Return what a commit of ``change`` at ``now`` answers, before anything is written."""
        if now >= self.expires_at or not self.opens_to(change.holder, now=now):
            return Outcome.GONE
        if change.rotation is not None and change.rotation.grace_ends_at is not None and not self._holds(change.holder):
            return Outcome.CONFLICT
        for key, expected in change.expect.items():
            if self.values.get(key) != expected:
                return Outcome.CONFLICT
        if change.end_if_emptied and not merged(self.values, change.delta):
            return Outcome.EMPTIED
        return Outcome.DONE

    def apply(self, change: Change, *, now: float) -> "Record":
        """Return the record after a ``change`` that :meth:`judge` let pass.

        Of two touches the later stands, and none is from the future: a client's clock is not asked, but
        another host's may be ahead.
        """
        info, rotation = self.info, change.rotation
        seen = info.last_seen_at
        if change.last_seen_at is not None:
            seen = max(seen, min(change.last_seen_at, now))
        if not change.is_simple or seen > info.last_seen_at:  # Most changes leave the info as it is.
            info = _info_after(info, change, seen_at=seen)
        return Record(
            info=info,
            secret_digest=self.secret_digest if rotation is None else rotation.secret_digest,
            values=merged(self.values, change.delta) if change.delta else self.values,
            former_digest=self.former_digest if rotation is None else self._former(rotation),
            former_ends_at=self.former_ends_at if rotation is None else rotation.grace_ends_at or 0.0,
        )

    def _holds(self, holder: bytes) -> bool:
        return hmac.compare_digest(self.secret_digest, holder)

    def _former(self, rotation: Rotation) -> bytes:
        return b"" if rotation.grace_ends_at is None else self.secret_digest


def _info_after(info: SessionInfo, change: Change, *, seen_at: float) -> SessionInfo:
    user_id, lifetime_ends_at, rotation = info.user_id, info.lifetime_ends_at, change.rotation
    if rotation is not None:
        user_id = rotation.user_id
        if rotation.lifetime_ends_at is not None:
            lifetime_ends_at = rotation.lifetime_ends_at
    return PlainInfo(
        info.sid,
        user_id,
        info.created_at,
        seen_at,
        info.idle_timeout if change.idle_timeout is None else change.idle_timeout,
        lifetime_ends_at,
        info.refresh_by if change.refresh_by is None else change.refresh_by,
        merged(info.labels, change.labels) if change.labels else info.labels,
    )


def merged(before: Mapping[str, _T], delta: Mapping[str, _T | None]) -> dict[str, _T]:
    """Return the values after a delta: its keys have what it says, or are gone; the others are as they were."""
    after = dict(before)
    for key, value in delta.items():
        if value is None:
            after.pop(key, None)
        else:
            after[key] = value
    return after
