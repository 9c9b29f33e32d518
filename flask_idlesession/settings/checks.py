"""Checks single values of an application's config. A complaint names the key and what to write instead."""

import os
import re
from collections.abc import Callable
from collections.abc import Mapping
from datetime import date
from datetime import datetime
from pathlib import Path
from typing import Any
from typing import Literal

from ..model.errors import ConfigError
from ..model.messages import CODES
from ..model.policy import DAY
from ..model.policy import seconds

#: Which requests are activity: ``IDLESESSION_ACTIVITY``. The callable is given Flask's request.
Activity = Literal["all", "navigation"] | Callable[[Any], bool]

#: Browsers keep no cookie for longer (RFC 6265bis, section 5.5).
LONGEST_COOKIE = 400 * DAY

#: The sessions from before that can be taken over.
ADOPTABLE = ("flask", "flask-session")

#: Bytes that a key of ours must have: 256 bits.
_KEY_SIZE = 32


class Unshown(dict[str, Any]):
    """Config that a traceback with its locals does not show: there are keys in it."""

    def __repr__(self) -> str:
        return "<config>"


class Key(bytes):
    """A key that a traceback with its locals does not show."""

    def __repr__(self) -> str:
        return "<key>"

    __str__ = __repr__


def hidden(key: Any) -> Any:
    """Return a key as bytes that are not shown; what is no key as it is."""
    return Key(key.encode() if isinstance(key, str) else key) if isinstance(key, str | bytes) else key


def in_cookie(got: Mapping[str, Any], key: str) -> float:
    """Return a duration that a browser would keep a cookie for."""
    duration = seconds(got[key], name=key)
    if duration > LONGEST_COOKIE:
        raise ConfigError(
            f"{key} is {got[key]!r}, but browsers keep no cookie for longer than 400 days (RFC 6265bis); "
            "it must be 34560000 seconds at most."
            " [ISE021]"
        )
    return duration


def one_of(got: Mapping[str, Any], key: str, *known: str) -> str:
    """Return one of some words."""
    value = got[key]
    if isinstance(value, str) and value in known:
        return value
    *others, last = (f'"{word}"' for word in known)
    raise ConfigError(f"{key} is {value!r}; it must be {', '.join(others)} or {last}.")


def read_prefix(value: Any) -> str:
    """Return the path below which the pages are served."""
    return _read_path(value, key="IDLESESSION_PAGES", such_as="/session")


def read_metrics(value: Any) -> str:
    """Return the path at which the figures are served."""
    return _read_path(value, key="IDLESESSION_METRICS", such_as="/metrics")


def _read_path(value: Any, *, key: str, such_as: str) -> str:
    if isinstance(value, str) and re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", value):
        return value
    raise ConfigError(
        f"{key} is {value!r}; it must be a path that begins with a slash and does not end with one, "
        f'such as "{such_as}".'
    )


def read_metrics_token(value: Any) -> bytes | None:
    """Return the token as bytes that are not shown. It has the signs that a bearer token may have (RFC 6750, 2.1)."""
    if value is None:
        return None
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    if isinstance(text, str) and re.fullmatch(r"[A-Za-z0-9._~+/-]+=*", text):
        return Key(text.encode())
    value = text = None  # No frame shows it.
    raise ConfigError(
        'IDLESESSION_METRICS_TOKEN must be a text of letters, digits and "-._~+/", or None; it is shown as a bearer '
        "token, which has no other signs (RFC 6750). "
        "Make one with: python -c 'import secrets; print(secrets.token_urlsafe(32))'"
    )


def read_namespace(value: Any) -> str:
    """Return the word that keeps applications on one server apart."""
    if isinstance(value, str) and re.fullmatch(r"[a-z0-9_]{0,32}", value):
        return value
    raise ConfigError(
        f"IDLESESSION_NAMESPACE is {value!r}; it must be a word of 1 to 32 small letters, digits and underscores, "
        'or "" for none.'
    )


def read_text(got: Mapping[str, Any], key: str) -> str | None:
    """Return a text that is not empty, or None."""
    value = got[key]
    if value is None or isinstance(value, str) and value.strip():
        return value
    raise ConfigError(f"{key} is {value!r}; it must be a text, or None.")


def read_activity(value: Any) -> Activity:
    """Return the rule of what is activity."""
    if value in ("all", "navigation") or callable(value):
        return value  # type: ignore[no-any-return]
    raise ConfigError(
        f'IDLESESSION_ACTIVITY is {value!r}; it must be "all", "navigation" or a callable that is given the request.'
    )


def read_interval(value: Any) -> float:
    """Return the seconds between two passes of the cleaner."""
    interval = seconds(value, name="IDLESESSION_CLEANUP_INTERVAL")
    if interval > 1:
        raise ConfigError(f"IDLESESSION_CLEANUP_INTERVAL is {value!r}; it must be 1 second at most. [ISE021]")
    return interval


def read_flag(got: Mapping[str, Any], key: str) -> bool:
    """Return a bool."""
    value = got[key]
    if isinstance(value, bool):
        return value
    raise ConfigError(f"{key} is {value!r}; it must be True or False.")


def read_bound(got: Mapping[str, Any], key: str, *, least: int = 1) -> int | None:
    """Return a count, or None for no bound."""
    value = got[key]
    if value is None or isinstance(value, int) and not isinstance(value, bool) and value >= least:
        return value
    raise ConfigError(f"{key} is {value!r}; it must be a whole number above {least - 1}, or None for no bound.")


def read_adopt(value: Any) -> tuple[str, ...]:
    """Return which kinds of sessions are taken over."""
    kinds = value if isinstance(value, list | tuple | set | frozenset) else (value,)
    if isinstance(value, str) or not all(isinstance(kind, str) and kind in ADOPTABLE for kind in kinds):
        known = " and ".join(f'"{kind}"' for kind in ADOPTABLE)
        raise ConfigError(f"IDLESESSION_ADOPT is {value!r}; it must be a list of {known}, or empty.")
    return tuple(kind for kind in ADOPTABLE if kind in kinds)


def read_date(got: Mapping[str, Any], key: str) -> date | None:
    """Return a day, which may be written as in "2027-01-31"."""
    value = got[key]
    try:
        if isinstance(value, str):
            return date.fromisoformat(value)
    except ValueError:
        pass
    if isinstance(value, datetime):
        return value.date()
    if value is None or isinstance(value, date):
        return value
    raise ConfigError(f'{key} is {value!r}; it must be a date, such as "2027-01-31", or None.')


def read_journal(value: Any) -> Path | None:
    """Return the path of a file, or None."""
    if value is None:
        return None
    if isinstance(value, (str, os.PathLike)) and str(value):
        return Path(value)
    raise ConfigError(f"IDLESESSION_JOURNAL is {value!r}; it must be the path of a file, or None for no journal.")


def read_encryption_keys(value: Any) -> tuple[bytes, ...]:
    """Return keys of 32 bytes or more each; no message shows any of them."""
    if value is None:
        return ()
    value = [value] if isinstance(value, str | bytes) else value
    if not isinstance(value, list | tuple) or not all(isinstance(key, str | bytes) for key in value) or not value:
        raise ConfigError(
            "IDLESESSION_ENCRYPTION_KEYS must be a list of keys (bytes or text), the one that encrypts first, or None."
            " [ISE030]"
        )
    value = keys = tuple(map(hidden, value))
    for number, key in enumerate(keys, 1):
        if len(key) < _KEY_SIZE:
            raise ConfigError(
                f"Key {number} of IDLESESSION_ENCRYPTION_KEYS has {len(key)} bytes; it must have {_KEY_SIZE} or more. "
                "Make one with: python -c 'import secrets; print(secrets.token_urlsafe(32))'"
                " [ISE030]"
            )
    return keys


def read_codes(value: Any) -> frozenset[str]:
    """Return codes of messages, all of which there are."""
    codes = value if isinstance(value, list | tuple | set | frozenset) else (value,)
    for code in codes:
        if not isinstance(code, str) or code not in CODES:
            raise ConfigError(
                f"IDLESESSION_SILENCED_CHECKS is {value!r}, but {code!r} is no code; "
                'it must be a list of codes, such as ["ISW108"].'
            )
    return frozenset(codes)
