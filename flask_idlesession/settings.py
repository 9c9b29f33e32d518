"""Reads an application's config, once, and checks it: every complaint names the key, the value, the mend."""

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from .activity import Activity
from .errors import ConfigError
from .policy import DAY
from .policy import Policy
from .policy import seconds

PREFIX = "IDLESESSION_"

#: Every key, with its default and what it is. The documentation's table is made from this.
KEYS: dict[str, tuple[Any, str]] = {
    "IDLESESSION_IDLE_TIMEOUT": (1800, "Seconds (or a timedelta) without activity after which a session ends."),
    "IDLESESSION_LIFETIME": (86400, "Seconds (or a timedelta) after creation or log-in at which a session ends."),
    "IDLESESSION_STORE": (
        "memory://",
        "Where the sessions are: a URL (memory://, sqlite:///…, redis://…, valkey://…, or one of SQLAlchemy's), or a "
        "ready store, Redis client, SQLAlchemy engine or cachelib cache.",
    ),
    "IDLESESSION_ACTIVITY": (
        "all",
        'Which requests are activity: "all", "navigation" (a user went to a page), or a callable that is '
        "given the request. Static files and what is marked passive never are.",
    ),
    "IDLESESSION_ROTATION_INTERVAL": (
        None,
        "Seconds (or a timedelta) after which a session gets a new token by itself; None: only at log-in.",
    ),
    "IDLESESSION_SAVE_ON_ERROR": (True, "Whether what a view wrote is saved although it raised, as Flask does."),
    "IDLESESSION_CLEANUP_INTERVAL": (1.0, "Seconds within which an ended session is forgotten; at most 1."),
    "IDLESESSION_MAX_SESSIONS": (
        1_000_000,
        "How many sessions the memory store keeps before it evicts; None: no bound.",
    ),
    "IDLESESSION_MAX_BYTES": (1 << 30, "How many bytes the memory store's sessions may take; None: no bound."),
    "IDLESESSION_JOURNAL": (
        None,
        "A file in which the memory store writes its sessions down, so that they outlive the process; None: none.",
    ),
    "IDLESESSION_DURABILITY": (
        "interval",
        'When new sessions and writes are on the disk: "always" (before they are answered), "interval" (within 0.1 s) '
        'or "none" (when the system sees fit). Ends and new tokens always are before they are answered.',
    ),
}

#: Browsers keep no cookie for longer (RFC 6265bis, section 5.5).
_LONGEST_COOKIE = 400 * DAY


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What an application's config says, checked."""

    store: Any
    policy: Policy
    activity: Activity
    cleanup_interval: float
    max_sessions: int | None
    max_bytes: int | None
    journal: Path | None
    durability: str


def read_settings(config: Mapping[str, Any]) -> Settings:
    """Return the settings in ``config``. Raise :exc:`~flask_idlesession.ConfigError` for what is wrong."""
    _check_names(config)
    _check_cookie(config)
    return Settings(
        store=_get(config, "IDLESESSION_STORE"),
        policy=_read_policy(config),
        activity=_read_activity(_get(config, "IDLESESSION_ACTIVITY")),
        cleanup_interval=_read_interval(_get(config, "IDLESESSION_CLEANUP_INTERVAL")),
        max_sessions=_read_bound(config, "IDLESESSION_MAX_SESSIONS"),
        max_bytes=_read_bound(config, "IDLESESSION_MAX_BYTES"),
        journal=_read_journal(_get(config, "IDLESESSION_JOURNAL")),
        durability=_read_durability(_get(config, "IDLESESSION_DURABILITY")),
    )


def _get(config: Mapping[str, Any], key: str) -> Any:
    return config.get(key, KEYS[key][0])


def _check_names(config: Mapping[str, Any]) -> None:
    for key in config:
        if key.startswith(PREFIX) and key not in KEYS:
            near = difflib.get_close_matches(key.upper(), KEYS, n=1, cutoff=0.0)[0]
            raise ConfigError(f"{key} is {config[key]!r}, but there is no such setting; did you mean {near}?")


def _read_policy(config: Mapping[str, Any]) -> Policy:
    lifetime = _duration(config, "IDLESESSION_LIFETIME")
    idle_timeout = _duration(config, "IDLESESSION_IDLE_TIMEOUT")
    if idle_timeout > lifetime:
        if "IDLESESSION_IDLE_TIMEOUT" in config:
            raise ConfigError(
                f"IDLESESSION_IDLE_TIMEOUT is {config['IDLESESSION_IDLE_TIMEOUT']!r}, which is longer than "
                f"IDLESESSION_LIFETIME ({_get(config, 'IDLESESSION_LIFETIME')!r}) and would never be reached; "
                "shorten it, or raise the lifetime."
            )
        idle_timeout = lifetime
    return Policy(
        idle_timeout=idle_timeout,
        lifetime=lifetime,
        permanent_lifetime=_in_cookie(
            config.get("PERMANENT_SESSION_LIFETIME", timedelta(days=31)), "PERMANENT_SESSION_LIFETIME"
        ),
        refresh_each_request=bool(config.get("SESSION_REFRESH_EACH_REQUEST", True)),
        rotation_interval=_read_rotation(_get(config, "IDLESESSION_ROTATION_INTERVAL")),
        save_on_error=_read_flag(config, "IDLESESSION_SAVE_ON_ERROR"),
    )


def _duration(config: Mapping[str, Any], key: str) -> float:
    return _in_cookie(_get(config, key), key)


def _in_cookie(value: Any, key: str) -> float:
    duration = seconds(value, name=key)
    if duration > _LONGEST_COOKIE:
        raise ConfigError(
            f"{key} is {value!r}, but browsers keep no cookie for longer than 400 days (RFC 6265bis); "
            "it must be 34560000 seconds at most."
        )
    return duration


def _read_activity(value: Any) -> Activity:
    if value in ("all", "navigation") or callable(value):
        return value  # type: ignore[no-any-return]
    raise ConfigError(
        f'IDLESESSION_ACTIVITY is {value!r}; it must be "all", "navigation" or a callable that is given the request.'
    )


def _read_interval(value: Any) -> float:
    interval = seconds(value, name="IDLESESSION_CLEANUP_INTERVAL")
    if interval > 1:
        raise ConfigError(f"IDLESESSION_CLEANUP_INTERVAL is {value!r}; it must be 1 second at most.")
    return interval


def _read_rotation(value: Any) -> float | None:
    return None if value is None else seconds(value, name="IDLESESSION_ROTATION_INTERVAL")


def _read_flag(config: Mapping[str, Any], key: str) -> bool:
    value = _get(config, key)
    if isinstance(value, bool):
        return value
    raise ConfigError(f"{key} is {value!r}; it must be True or False.")


def _read_bound(config: Mapping[str, Any], key: str) -> int | None:
    value = _get(config, key)
    if value is None or isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    raise ConfigError(f"{key} is {value!r}; it must be a whole number above 0, or None for no bound.")


def _read_journal(value: Any) -> Path | None:
    if value is None:
        return None
    if isinstance(value, (str, os.PathLike)) and str(value):
        return Path(value)
    raise ConfigError(f"IDLESESSION_JOURNAL is {value!r}; it must be the path of a file, or None for no journal.")


def _read_durability(value: Any) -> str:
    if value in ("always", "interval", "none"):
        return str(value)
    raise ConfigError(f'IDLESESSION_DURABILITY is {value!r}; it must be "always", "interval" or "none".')


def _check_cookie(config: Mapping[str, Any]) -> None:
    """Refuse a prefixed cookie name that browsers would not accept with these settings (RFC 6265bis, 4.1.3)."""
    name = config.get("SESSION_COOKIE_NAME", "session")
    prefix = name.lower()
    if not prefix.startswith(("__host-", "__secure-", "__http-")):
        return
    needs: dict[str, tuple[bool, Any]] = {"SESSION_COOKIE_SECURE": (bool(config.get("SESSION_COOKIE_SECURE")), True)}
    if prefix.startswith("__host-"):
        root = config.get("SESSION_COOKIE_PATH") or config.get("APPLICATION_ROOT") or "/"
        needs["SESSION_COOKIE_PATH"] = (root == "/", "/")
        needs["SESSION_COOKIE_DOMAIN"] = (not config.get("SESSION_COOKIE_DOMAIN"), None)
    if prefix.startswith(("__http-", "__host-http-")):
        needs["SESSION_COOKIE_HTTPONLY"] = (bool(config.get("SESSION_COOKIE_HTTPONLY", True)), True)
    for key, (holds, needed) in needs.items():
        if not holds:
            raise ConfigError(
                f"{key} is {config.get(key)!r}, but browsers accept a cookie named {name!r} only with {key} = "
                f"{needed!r}; set that, or choose a SESSION_COOKIE_NAME without the prefix."
            )
