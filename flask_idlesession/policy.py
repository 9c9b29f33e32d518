"""How long sessions live: pure arithmetic on instants, without a clock and without a store."""

from dataclasses import dataclass
from dataclasses import replace
from datetime import timedelta
from math import inf
from math import isfinite
from typing import Any

from .errors import ConfigError
from .ids import new_session_id
from .ids import SessionId
from .record import SessionInfo

MINUTE = 60.0
DAY = 24 * 60 * MINUTE


def seconds(value: Any, *, name: str) -> float:
    """Return a duration given as an int, a float or a timedelta in seconds.

    Anything but a finite number above 0 is a :exc:`~flask_idlesession.ConfigError` that names ``name``.
    """
    if isinstance(value, timedelta):
        number = value.total_seconds()
    elif isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = inf
    else:
        raise ConfigError(
            f"{name} is {value!r}; it must be seconds above 0, as a number or a timedelta, not {type(value).__name__}."
        )
    if not isfinite(number) or number <= 0:
        raise ConfigError(f"{name} is {value!r}; it must be seconds above 0, and finite.")
    return number


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The timeouts that a new session starts with, in seconds."""

    idle_timeout: float = 30 * MINUTE
    lifetime: float = DAY
    #: A permanent session also ends this long after its last refresh.
    permanent_lifetime: float = 31 * DAY
    #: Whether each activity refreshes a permanent session, or only a write does.
    refresh_each_request: bool = True
    #: A session gets a new secret this often; None: only when somebody logs in or asks for it.
    rotation_interval: float | None = None
    #: Whether what a view wrote is saved although it raised, as Flask does.
    save_on_error: bool = True
    #: How long the token before such a rotation goes on being accepted.
    rotation_grace: float = 10.0

    def __post_init__(self) -> None:
        seconds(self.idle_timeout, name="idle_timeout")
        seconds(self.lifetime, name="lifetime")

    def begin(
        self, *, now: float, sid: SessionId | None = None, user_id: str | None = None, permanent: bool = False
    ) -> SessionInfo:
        """Return the info of a session that begins at ``now``."""
        return SessionInfo(
            sid=new_session_id() if sid is None else sid,
            user_id=user_id,
            created_at=now,
            last_seen_at=now,
            idle_timeout=self.idle_timeout,
            lifetime_ends_at=now + self.lifetime,
            refresh_by=now + self.permanent_lifetime if permanent else inf,
        )

    def seen(self, info: SessionInfo, *, now: float) -> SessionInfo:
        """Return the info of a session that was active at ``now``."""
        refreshed = isfinite(info.refresh_by) and self.refresh_each_request
        return replace(
            info,
            last_seen_at=max(info.last_seen_at, now),
            refresh_by=now + self.permanent_lifetime if refreshed else info.refresh_by,
        )

    def began_at(self, info: SessionInfo) -> float:
        """Return when the session's lifetime began: at its last log-in, or when it was created."""
        return info.lifetime_ends_at - self.lifetime

    def touches_at_once(self, info: SessionInfo, *, now: float) -> bool:
        """Return whether an arriving request should be noted before its view runs, and not only when its
        changes are saved: when so little life is left that a slow view might outlive its session.
        """
        return info.expires_at - now < info.idle_timeout / 2
