"""Reads an application's config, once, and checks it: every complaint names the key, the value, and what to write
instead.
"""

import difflib
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from datetime import date
from datetime import timedelta
from pathlib import Path
from typing import Any

from ..model.errors import ConfigError
from ..model.policy import Policy
from ..model.policy import PRESETS
from ..model.policy import seconds
from .checks import Activity
from .checks import hidden
from .checks import in_cookie
from .checks import one_of
from .checks import read_activity
from .checks import read_adopt
from .checks import read_bound
from .checks import read_codes
from .checks import read_date
from .checks import read_encryption_keys
from .checks import read_flag
from .checks import read_interval
from .checks import read_journal
from .checks import read_metrics
from .checks import read_metrics_token
from .checks import read_namespace
from .checks import read_prefix
from .checks import read_text
from .checks import Unshown
from .cookie import check_cookie
from .cookie import longest
from .cookie import read_cookie_name
from .foreign import foreign_settings
from .foreign import THEIRS

PREFIX = "IDLESESSION_"

#: The reactions to a session that comes from somewhere else than before.
REACTIONS = ("off", "log", "reauthenticate", "end")

#: Seconds that users have at least to answer a warning (WCAG 2.2, 2.2.1), unless the idle timeout is under twice that.
LEAST_WARNING = 20.0

#: Every key, with its default and what it is. The documentation's table is made from this.
KEYS: dict[str, tuple[Any, str]] = {
    "IDLESESSION_IDLE_TIMEOUT": (
        1800,
        "Seconds (or a timedelta) without activity after which a session ends. A session keeps the one it began with.",
    ),
    "IDLESESSION_LIFETIME": (86400, "Seconds (or a timedelta) after creation or log-in at which a session ends."),
    "IDLESESSION_PRESET": (
        None,
        "Both timeouts by the name of a rule: " + ", ".join(f'"{name}"' for name in PRESETS) + ". A timeout that "
        "is set by its own key counts more.",
    ),
    "IDLESESSION_ANONYMOUS_IDLE_TIMEOUT": (
        None,
        "The idle timeout of sessions in which nobody has logged in; None: the same.",
    ),
    "IDLESESSION_REMEMBER_LIFETIME": (
        30 * 86400,
        "Both timeouts of a session that was begun with log_in(remember=True).",
    ),
    "IDLESESSION_STORE": (
        "memory://",
        "Where the sessions are: a URL (memory://, sqlite:///…, redis://…, valkey://…, or one of SQLAlchemy's), or a "
        "ready store, Redis client, SQLAlchemy engine or cachelib cache.",
    ),
    "IDLESESSION_NAMESPACE": (
        "",
        "A word for applications that share one server, file or database: the store's names begin with it, and tokens "
        'are of it. Small letters, digits and underscores, 32 at most; "": the store\'s own names.',
    ),
    "IDLESESSION_ACTIVITY": (
        "all",
        'Which requests are activity: "all", "navigation" (a user went to a page), or a callable that is '
        "given the request. Static files and what is marked passive never are.",
    ),
    "IDLESESSION_TOUCH_INTERVAL": (
        0,
        "Seconds (or a timedelta) in which activity is written to the store once at most. A session never ends earlier "
        "for it, and at most that much later. 0: every time.",
    ),
    "IDLESESSION_ROTATION_INTERVAL": (
        None,
        "Seconds (or a timedelta) after which a session gets a new token by itself; None: only at log-in.",
    ),
    "IDLESESSION_TOKEN_REUSE": (
        "log",
        "The reaction to a token that is shown again a while after it was replaced, which means that somebody has a "
        'copy: "log" (a signal, a log line and an audit line) or "end" (and the session ends).',
    ),
    "IDLESESSION_SAVE_ON_ERROR": (True, "Whether what a view wrote is saved although it raised, as Flask does."),
    "IDLESESSION_CLEANUP_INTERVAL": (1.0, "Seconds within which an ended session is forgotten; at most 1."),
    "IDLESESSION_MAX_SESSIONS": (
        1_000_000,
        "How many sessions the memory store keeps before it evicts; None: no bound.",
    ),
    "IDLESESSION_MAX_BYTES": (
        1 << 30,
        "How many bytes the memory store's sessions may take. A user or an anonymous session with more than 1/64 of it "
        "loses first. None: no bound.",
    ),
    "IDLESESSION_MAX_SESSION_BYTES": (
        4 << 20,
        "How many bytes the keys and the encoded values of one session may have. A request that would store more is "
        "answered 503, and the store is not asked. None: no bound.",
    ),
    "IDLESESSION_MAX_ANONYMOUS_SESSIONS": (
        None,
        "About how many sessions without a user there may be. A request that would begin one more is answered without "
        "a session, and the log says so; users are not refused. None: no bound.",
    ),
    "IDLESESSION_UNCONFIRMED_IDLE_TIMEOUT": (
        None,
        "The idle timeout of a session without a user until its cookie comes back, against clients that keep no "
        "cookie. None: the same as after that.",
    ),
    "IDLESESSION_MAX_SESSIONS_PER_USER": (None, "How many sessions a user may have at once; None: any number."),
    "IDLESESSION_AT_MAX_SESSIONS_PER_USER": (
        "evict oldest",
        'The effect of one log-in more: "evict oldest" (the user\'s oldest session ends) or "refuse".',
    ),
    "IDLESESSION_JOURNAL": (
        None,
        "A file in which the memory store writes its sessions down, so that they outlive the process; None: none.",
    ),
    "IDLESESSION_DURABILITY": (
        "interval",
        'When new sessions and writes are on the disk: "always" (before they are answered), "interval" (within 0.1 s) '
        'or "none" (when the system sees fit). Ends and new tokens always are before they are answered.',
    ),
    "IDLESESSION_ENCRYPTION_KEYS": (
        None,
        "Keys (bytes or text, 32 bytes or more of randomness) under which every store keeps the values: the first "
        "encrypts, all decrypt. None: values are kept as they are.",
    ),
    "IDLESESSION_LOGIN_VIEW": (
        None,
        "The endpoint or URL of the log-in page, to which login_required leads; None: it answers 401.",
    ),
    "IDLESESSION_CLIENT_INFO": (
        "truncated",
        'The facts that are kept of where users log in from: their address and browser "full", "truncated" (the '
        "network, the browser's name and version) or None.",
    ),
    "IDLESESSION_BIND_ADDRESS": (
        "off",
        'The reaction to a request from another network than its session began in: "off" (nothing), "log", '
        '"reauthenticate" (it is no longer fresh: its user must log in again) or "end".',
    ),
    "IDLESESSION_BIND_AGENT": ("off", "The same for another browser."),
    "IDLESESSION_TOKEN_HEADER": (
        None,
        'A request header that carries the token for clients without cookies: "Authorization" (as a bearer token) or '
        "a name of your own; None: cookies alone.",
    ),
    "IDLESESSION_CLAIMS": (
        None,
        "The name of a cookie that gives chosen facts of the session (the user, roles, the end) to proxies and other "
        "services, as a signed JWT; None: no such cookie.",
    ),
    "IDLESESSION_CLAIMS_KEY": (None, "The key that signs it: at least 32 bytes of its own, or a private key in PEM."),
    "IDLESESSION_CLAIMS_LIFETIME": (
        300,
        "Seconds (or a timedelta) a JWT is valid; never longer than the session.",
    ),
    "IDLESESSION_KEEP_FORMS": (
        0,
        "Bytes of a form that are kept aside when it arrives after its session ended, for the same user to get back "
        "after logging in; 0: none.",
    ),
    "IDLESESSION_PAGES": (
        None,
        'The prefix below which the pages for users are served, such as "/session": the idle warning, the page after '
        "the end, and where a user is signed in. init_app() reads it; None: no pages.",
    ),
    "IDLESESSION_WARN_BEFORE": (
        120,
        "Seconds (or a timedelta) before its end at which the user of a session is warned; never more than half of the "
        "idle timeout.",
    ),
    "IDLESESSION_METRICS": (
        None,
        'The path at which figures of the sessions are served for Prometheus, such as "/metrics". init_app() reads it; '
        "None: no figures.",
    ),
    "IDLESESSION_METRICS_TOKEN": (
        None,
        "The bearer token that a request for the figures must show; None: the guard that IdleSession was given as "
        "dashboard= decides.",
    ),
    "IDLESESSION_OPENTELEMETRY": (
        False,
        "Whether this process tells OpenTelemetry's meter provider of its sessions.",
    ),
    "IDLESESSION_ADOPT": (
        (),
        'Which sessions from before are taken over, so that nobody is logged out by the switch: a list of "flask" '
        '(Flask\'s own, in its cookie) and "flask-session" (those of Flask-Session, where its settings say).',
    ),
    "IDLESESSION_ADOPT_FOR": (
        31 * 86400,
        "Seconds (or a timedelta) after it was made for which an old cookie is accepted; never longer than it was "
        "before.",
    ),
    "IDLESESSION_ADOPT_COOKIE": (
        None,
        "The name of the old cookie; None: SESSION_COOKIE_NAME, and the old cookie is replaced. With another name old "
        "cookies and old sessions stay until ours end, for a roll-back.",
    ),
    "IDLESESSION_ADOPT_PICKLE_UNTIL": (
        None,
        "The date until which old sessions are read that were pickled (2027-01-31, as a text or a date); None: none "
        "is. Anybody who can write to the old store can write such a session.",
    ),
    "IDLESESSION_AUDIT": (True, 'Whether each event of a session\'s life is logged to "flask_idlesession.audit".'),
    "IDLESESSION_TALLIES": (
        False,
        "Whether all workers count together what happens to sessions, by the minute, in the store. A page or an "
        "address that shows these tallies turns them on by itself.",
    ),
    "IDLESESSION_SILENCED_CHECKS": ((), 'Codes of findings that "flask idlesession check" leaves out.'),
}


#: Settings that had another name once.
_RENAMED = {"IDLESESSION_ORIGIN": "IDLESESSION_CLIENT_INFO"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of an application, read from its config and checked."""

    store: Any = field(repr=False)  # Its URL may have a password in it.
    namespace: str
    policy: Policy
    activity: Activity
    cleanup_interval: float
    max_sessions: int | None
    max_bytes: int | None
    journal: Path | None
    durability: str
    remember_lifetime: float
    encryption_keys: tuple[bytes, ...] = field(repr=False)
    login_view: str | None
    client_info: str | None
    bind_address: str
    bind_agent: str
    token_header: str | None
    claims: str | None
    claims_key: Any = field(repr=False)
    claims_lifetime: float
    keep_forms: int
    pages: str | None
    warn_before: float
    metrics: str | None
    metrics_token: bytes | None = field(repr=False)
    opentelemetry: bool
    audit: bool
    tallies: bool
    silenced_checks: frozenset[str]
    ends_reused: bool
    adopt: tuple[str, ...]
    adopt_for: float
    adopt_cookie: str | None
    adopt_pickle_until: date | None

    @property
    def by_key_alone(self) -> Iterator[str]:
        """Yield the settings that let somebody in who knows the secret key, or show them what is kept."""
        if self.keep_forms:
            yield "IDLESESSION_KEEP_FORMS"
        if "flask" in self.adopt:
            yield "IDLESESSION_ADOPT"


def read_settings(config: Mapping[str, Any]) -> Settings:
    """Return the settings in ``config``. Raise :exc:`~flask_idlesession.ConfigError` for what is wrong."""
    config = Unshown(config)
    got = Unshown((key, config.get(key, default)) for key, (default, _) in KEYS.items())
    _check_names(config)
    check_cookie(config)
    _check_binding(config)
    policy = _read_policy(config, got)
    return Settings(
        store=got["IDLESESSION_STORE"],
        namespace=read_namespace(got["IDLESESSION_NAMESPACE"]),
        policy=policy,
        activity=read_activity(got["IDLESESSION_ACTIVITY"]),
        cleanup_interval=read_interval(got["IDLESESSION_CLEANUP_INTERVAL"]),
        max_sessions=read_bound(got, "IDLESESSION_MAX_SESSIONS"),
        max_bytes=read_bound(got, "IDLESESSION_MAX_BYTES"),
        journal=read_journal(got["IDLESESSION_JOURNAL"]),
        durability=one_of(got, "IDLESESSION_DURABILITY", "always", "interval", "none"),
        remember_lifetime=in_cookie(got, "IDLESESSION_REMEMBER_LIFETIME"),
        encryption_keys=read_encryption_keys(got["IDLESESSION_ENCRYPTION_KEYS"]),
        login_view=read_text(got, "IDLESESSION_LOGIN_VIEW"),
        client_info=None
        if got["IDLESESSION_CLIENT_INFO"] is None
        else one_of(got, "IDLESESSION_CLIENT_INFO", "truncated", "full"),
        bind_address=one_of(got, "IDLESESSION_BIND_ADDRESS", *REACTIONS),
        bind_agent=one_of(got, "IDLESESSION_BIND_AGENT", *REACTIONS),
        token_header=read_text(got, "IDLESESSION_TOKEN_HEADER"),
        claims=read_text(got, "IDLESESSION_CLAIMS"),
        claims_key=hidden(got["IDLESESSION_CLAIMS_KEY"]),
        claims_lifetime=in_cookie(got, "IDLESESSION_CLAIMS_LIFETIME"),
        keep_forms=read_bound(got, "IDLESESSION_KEEP_FORMS", least=0) or 0,
        pages=None if got["IDLESESSION_PAGES"] is None else read_prefix(got["IDLESESSION_PAGES"]),
        warn_before=_read_warn_before(got, policy.idle_timeout),
        audit=read_flag(got, "IDLESESSION_AUDIT"),
        silenced_checks=read_codes(got["IDLESESSION_SILENCED_CHECKS"]),
        ends_reused=one_of(got, "IDLESESSION_TOKEN_REUSE", "log", "end") == "end",
        **_read_monitoring(got),
        **_read_adoption(got),
    )


def _read_monitoring(got: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields for those who watch the sessions."""
    return {
        "metrics": None if got["IDLESESSION_METRICS"] is None else read_metrics(got["IDLESESSION_METRICS"]),
        "metrics_token": read_metrics_token(got["IDLESESSION_METRICS_TOKEN"]),
        "opentelemetry": read_flag(got, "IDLESESSION_OPENTELEMETRY"),
        "tallies": read_flag(got, "IDLESESSION_TALLIES"),
    }


def _read_adoption(got: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields for the sessions of other packages."""
    return {
        "adopt": read_adopt(got["IDLESESSION_ADOPT"]),
        "adopt_for": in_cookie(got, "IDLESESSION_ADOPT_FOR"),
        "adopt_cookie": read_cookie_name(got, "IDLESESSION_ADOPT_COOKIE"),
        "adopt_pickle_until": read_date(got, "IDLESESSION_ADOPT_PICKLE_UNTIL"),
    }


def advice_on(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is to be said of settings that are taken, but not as they were meant: of each key a warning."""
    is_known = "flask-session" in (config.get("IDLESESSION_ADOPT") or ())
    for key, what in foreign_settings(config, known=KEYS):
        if is_known and key in THEIRS:
            yield key, f"{key} is understood for as long as IDLESESSION_ADOPT takes sessions over; then {what} [ISW007]"
            continue
        yield key, f"The setting {key} says nothing to flask_idlesession: {what} [ISW007]"
    if "PERMANENT_SESSION_LIFETIME" in config and longest(Unshown(config))[1]:
        yield (
            "PERMANENT_SESSION_LIFETIME",
            "PERMANENT_SESSION_LIFETIME is longer than 400 days, after which browsers forget any cookie (RFC 6265bis); "
            "it counts as 400 days. [ISW008]",
        )


def instead_of(name: str) -> str:
    """Return what to write instead of an argument of IdleSession that there is not: most are settings."""
    key = f"{PREFIX}{name.upper()}"
    if key not in KEYS:
        return "docs/settings.rst has what can be set, in app.config"
    return f'set app.config["{key}"] before IdleSession(app)'


def _check_names(config: Mapping[str, Any]) -> None:
    for key in config:
        if key in _RENAMED:
            raise ConfigError(f"{key} is called {_RENAMED[key]} now; rename it. [ISE019]")
        if key.startswith(PREFIX) and key not in KEYS:
            near = difflib.get_close_matches(key.upper(), KEYS, n=1, cutoff=0.0)[0]
            raise ConfigError(f"There is no setting {key}; did you mean {near}? [ISE017]")  # Its value may be a secret.


def _check_binding(config: Mapping[str, Any]) -> None:
    for key in ("IDLESESSION_BIND_ADDRESS", "IDLESESSION_BIND_AGENT"):
        if config.get(key, "off") != "off" and config.get("IDLESESSION_CLIENT_INFO", "truncated") is None:
            raise ConfigError(
                f"{key} is {config[key]!r}, but with IDLESESSION_CLIENT_INFO = None nothing is kept to compare with; "
                'set IDLESESSION_CLIENT_INFO = "truncated", or leave the sessions unbound.'
                " [ISE022]"
            )


def _read_policy(config: Mapping[str, Any], got: Mapping[str, Any]) -> Policy:
    idle_timeout, lifetime = _read_timeouts(config, got)
    return Policy(
        idle_timeout=idle_timeout,
        lifetime=lifetime,
        anonymous_idle_timeout=_optional(got, "IDLESESSION_ANONYMOUS_IDLE_TIMEOUT"),
        permanent_lifetime=longest(Unshown({"PERMANENT_SESSION_LIFETIME": timedelta(days=31), **config}))[0],
        refresh_each_request=bool(config.get("SESSION_REFRESH_EACH_REQUEST", True)),
        rotation_interval=_optional(got, "IDLESESSION_ROTATION_INTERVAL"),
        touch_interval=_read_touch_interval(got, idle_timeout),
        save_on_error=read_flag(got, "IDLESESSION_SAVE_ON_ERROR"),
        max_session_bytes=read_bound(got, "IDLESESSION_MAX_SESSION_BYTES"),
        max_anonymous_sessions=read_bound(got, "IDLESESSION_MAX_ANONYMOUS_SESSIONS"),
        unconfirmed_idle_timeout=_optional(got, "IDLESESSION_UNCONFIRMED_IDLE_TIMEOUT"),
        max_sessions_per_user=read_bound(got, "IDLESESSION_MAX_SESSIONS_PER_USER"),
        refuses_log_ins=one_of(got, "IDLESESSION_AT_MAX_SESSIONS_PER_USER", "evict oldest", "refuse") == "refuse",
    )


def _read_timeouts(config: Mapping[str, Any], got: Mapping[str, Any]) -> tuple[float, float]:
    """Return the idle timeout and the lifetime: what their own keys say, else what the preset does."""
    preset = got["IDLESESSION_PRESET"]
    if preset is not None:
        one_of(got, "IDLESESSION_PRESET", *PRESETS)
        idle_timeout, lifetime = PRESETS[preset]
        rule = {"IDLESESSION_IDLE_TIMEOUT": idle_timeout, "IDLESESSION_LIFETIME": lifetime}
        got = Unshown({**got, **rule, **config})
    lifetime = in_cookie(got, "IDLESESSION_LIFETIME")
    idle_timeout = in_cookie(got, "IDLESESSION_IDLE_TIMEOUT")
    if idle_timeout > lifetime:
        if "IDLESESSION_IDLE_TIMEOUT" in config:
            raise ConfigError(
                f"IDLESESSION_IDLE_TIMEOUT is {config['IDLESESSION_IDLE_TIMEOUT']!r}, which is longer than "
                f"IDLESESSION_LIFETIME ({got['IDLESESSION_LIFETIME']!r}) and would never be reached; "
                "shorten it, or raise the lifetime."
                " [ISE021]"
            )
        idle_timeout = lifetime
    return idle_timeout, lifetime


def _read_touch_interval(got: Mapping[str, Any], idle_timeout: float) -> float:
    value = got["IDLESESSION_TOUCH_INTERVAL"]
    if not isinstance(value, bool) and value in (0, timedelta()):
        return 0.0
    interval = seconds(value, name="IDLESESSION_TOUCH_INTERVAL")
    if interval > idle_timeout / 2:
        raise ConfigError(
            f"IDLESESSION_TOUCH_INTERVAL is {value!r}; it must be at most half of the idle timeout "
            f"({idle_timeout:g} seconds): a session may end so much later."
            " [ISE021]"
        )
    return interval


def _read_warn_before(got: Mapping[str, Any], idle_timeout: float) -> float:
    """Return how long before the end users are warned. They need 20 seconds to read and answer (WCAG 2.2, 2.2.1)."""
    value = got["IDLESESSION_WARN_BEFORE"]
    duration = seconds(value, name="IDLESESSION_WARN_BEFORE")
    if duration < LEAST_WARNING <= idle_timeout / 2:
        raise ConfigError(
            f"IDLESESSION_WARN_BEFORE is {value!r}; it must be at least {LEAST_WARNING:g} seconds, which is what users "
            "need to read the warning and answer it (WCAG 2.2, success criterion 2.2.1)."
            " [ISE021]"
        )
    return duration


def _optional(got: Mapping[str, Any], key: str) -> float | None:
    return None if got[key] is None else seconds(got[key], name=key)
