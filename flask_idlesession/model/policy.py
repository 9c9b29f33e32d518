"""How long sessions live: pure arithmetic on instants, without a clock and without a store."""

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace
from datetime import timedelta
from math import inf
from math import isfinite
from typing import Any

from .errors import ConfigError
from .ids import new_session_id
from .ids import SessionId
from .record import Labels
from .record import PlainInfo
from .record import SessionInfo

MINUTE = 60.0
HOUR = 60 * MINUTE
DAY = 24 * HOUR

#: Seconds for which the touch of a request's arrival is as good as one at its end.
BRIEF = 0.1

#: Idle timeout and lifetime as the rules have them. NIST SP 800-63B-4, 2.1.3, 2.2.3 and 2.3.3 (at AAL1 an idle
#: timeout is optional, so it is as long as the lifetime); OWASP ASVS 4.0.3, 3.3.2 (5.0 leaves the numbers to NIST).
PRESETS: Mapping[str, tuple[float, float]] = {
    "nist-aal1": (30 * DAY, 30 * DAY),
    "nist-aal2": (HOUR, DAY),
    "nist-aal3": (15 * MINUTE, 12 * HOUR),
    "asvs-l1": (30 * DAY, 30 * DAY),
    "asvs-l2": (30 * MINUTE, 12 * HOUR),
    "asvs-l3": (15 * MINUTE, 12 * HOUR),
}


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
            " [ISE020]"
        )
    if not isfinite(number) or number <= 0:
        raise ConfigError(f"{name} is {value!r}; it must be seconds above 0, and finite. [ISE020]")
    return number


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The timeouts that a new session starts with, in seconds."""

    idle_timeout: float = 30 * MINUTE
    lifetime: float = DAY
    #: That of sessions in which nobody logged in; None: the same.
    anonymous_idle_timeout: float | None = None
    #: A permanent session also ends this long after its last refresh.
    permanent_lifetime: float = 31 * DAY
    #: Whether each activity refreshes a permanent session, or only a write does.
    refresh_each_request: bool = True
    #: A session gets a new secret this often; None: only when somebody logs in or asks for it.
    rotation_interval: float | None = None
    #: Whether what a view wrote is saved although it raised, as Flask does.
    save_on_error: bool = True
    #: Activity is written down at most this often; a session then lives up to so much longer, never less long.
    touch_interval: float = 0.0
    #: How many sessions a user may have at once; None: any number.
    max_sessions_per_user: int | None = None
    #: Whether a log-in past that is refused; if not, the user's oldest session ends.
    refuses_log_ins: bool = False
    #: How long the token before such a rotation goes on being accepted.
    rotation_grace: float = 10.0
    #: How many bytes the keys and the encoded values of one session may have; None: any number.
    max_session_bytes: int | None = 4 << 20
    #: About how many sessions without a user there may be; None: any number.
    max_anonymous_sessions: int | None = None
    #: The idle timeout of a session without a user until its cookie comes back; None: the same as after that.
    unconfirmed_idle_timeout: float | None = None

    def __post_init__(self) -> None:
        seconds(self.idle_timeout, name="idle_timeout")
        seconds(self.lifetime, name="lifetime")

    def begin(
        self,
        *,
        now: float,
        sid: SessionId | None = None,
        user_id: str | None = None,
        permanent: bool = False,
        idle_timeout: float | None = None,
        lifetime: float | None = None,
        labels: Labels | None = None,
    ) -> SessionInfo:
        """Return the info of a session that begins at ``now``, with these timeouts in place of the usual ones."""
        idle_timeout = self.idle_timeout_for(user_id) if idle_timeout is None else idle_timeout
        return PlainInfo(
            new_session_id() if sid is None else sid,
            user_id,
            created_at=now,
            last_seen_at=now,
            idle_timeout=self.stored(idle_timeout),
            lifetime_ends_at=now + (self.lifetime if lifetime is None else lifetime),
            refresh_by=self.refreshed(now) if permanent else inf,
            labels={} if labels is None else labels,
        )

    def idle_timeout_for(self, user_id: str | None) -> float:
        """Return the idle timeout that a session of this user begins with."""
        return self.idle_timeout if user_id is not None else self.anonymous_idle_timeout or self.idle_timeout

    @property
    def is_simple(self) -> bool:
        """Whether a touch is all that a request that only looks has to write."""
        return self.touch_interval == 0 and self.rotation_interval is None and self.unconfirmed_idle_timeout is None

    @property
    def first_idle_timeout(self) -> float:
        """The idle timeout of a session without a user until its cookie comes back."""
        usual = self.idle_timeout_for(None)
        return usual if self.unconfirmed_idle_timeout is None else min(usual, self.unconfirmed_idle_timeout)

    def stored(self, idle_timeout: float) -> float:
        """Return the idle timeout to store. The touch interval is added, because a touch may be written that late."""
        return idle_timeout + self.touch_interval

    def refreshed(self, now: float) -> float:
        """Return until when a permanent session lasts that was refreshed now."""
        return now + self.permanent_lifetime + self.touch_interval

    def seen(self, info: SessionInfo, *, now: float) -> SessionInfo:
        """Return the info of a session that was active at ``now``."""
        refreshed = isfinite(info.refresh_by) and self.refresh_each_request
        return replace(
            info,
            last_seen_at=max(info.last_seen_at, now),
            refresh_by=self.refreshed(now) if refreshed else info.refresh_by,
        )

    def may_wait(self, info: SessionInfo, *, now: float) -> bool:
        """Return whether activity at ``now`` need not be written down: some was just before."""
        return now - info.last_seen_at < self.touch_interval

    def is_refreshed(self, info: SessionInfo, *, refresh_by: float) -> bool:
        """Return whether ``info`` says already that it must be refreshed by then, as nearly as activity is noted.

        It does not where the permanent lifetime was changed since.
        """
        if refresh_by == info.refresh_by:
            return True
        lag = refresh_by - info.refresh_by
        return self.refresh_each_request and 0 <= lag <= max(self.touch_interval, BRIEF)

    def touches_at_once(self, info: SessionInfo, *, now: float) -> bool:
        """Return whether an arriving request should be noted before its view runs, and not only when its
        changes are saved: when so little life is left that a slow view might outlive its session. A store that is
        :class:`~..stores.contract.Near` says the same.
        """
        return info.expires_at - now < info.idle_timeout / 2
