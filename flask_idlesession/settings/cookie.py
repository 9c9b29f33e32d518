"""Checks the settings of the session's cookie: with wrong ones a browser keeps no cookie, and tells nobody."""

import re
from collections.abc import Mapping
from typing import Any

from ..model.errors import ConfigError
from ..model.policy import seconds
from .checks import LONGEST_COOKIE

#: The characters of a cookie's name (RFC 6265, 4.1.1), and of a domain's labels.
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_LABEL = re.compile(r"(?!-)[^\W_]([\w-]{0,61}[^\W_])?")

#: Characters that end a path's attribute, or that no path of a request has.
_NOT_IN_PATH = re.compile(r"[\x00-\x20\x7f;?#\\]")

#: The settings from which the cookie is made.
COOKIE_KEYS = (
    "SESSION_COOKIE_NAME",
    "SESSION_COOKIE_DOMAIN",
    "SESSION_COOKIE_PATH",
    "SESSION_COOKIE_SAMESITE",
    "SESSION_COOKIE_SECURE",
    "SESSION_COOKIE_HTTPONLY",
    "SESSION_COOKIE_PARTITIONED",
    "APPLICATION_ROOT",
)

_SAME_SITE = ("lax", "none", "strict")

_FLAGS = (
    "SESSION_COOKIE_SECURE",
    "SESSION_COOKIE_HTTPONLY",
    "SESSION_COOKIE_PARTITIONED",
    "SESSION_REFRESH_EACH_REQUEST",
)


def check_cookie(config: Mapping[str, Any]) -> None:
    """Raise :exc:`~flask_idlesession.ConfigError` for a cookie that browsers would not accept, or not send back, with
    these settings (RFC 6265bis, 4.1 and 5.6).
    """
    name = config.get("SESSION_COOKIE_NAME", "session")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(
            f"SESSION_COOKIE_NAME is {name!r}; it must be a name of ASCII letters, digits, hyphens and underscores, "
            'such as "session". [ISE010]'
        )
    for key in _FLAGS:
        if isinstance(config.get(key), str):
            raise ConfigError(
                f"{key} is the text {config[key]!r}, and any text counts as true; it must be True or False. [ISE011]"
            )
    _check_same_site(config)
    _check_path(config)
    _check_domain(config.get("SESSION_COOKIE_DOMAIN"))
    _check_prefix(name, config)


def read_cookie_name(got: Mapping[str, Any], key: str) -> str | None:
    """Return a cookie's name, or None."""
    value = got[key]
    if value is None or isinstance(value, str) and _NAME.fullmatch(value):
        return value
    raise ConfigError(f"{key} is {value!r}; it must be the name of a cookie, or None.")


def longest(config: Mapping[str, Any]) -> tuple[float, bool]:
    """Return for how many seconds a permanent session's cookie is kept, and whether that is less than was asked for.

    Flask takes any number, and "never expires" is often written as ten years.
    """
    asked = seconds(config["PERMANENT_SESSION_LIFETIME"], name="PERMANENT_SESSION_LIFETIME")
    return min(asked, LONGEST_COOKIE), asked > LONGEST_COOKIE


def _check_same_site(config: Mapping[str, Any]) -> None:
    value, is_secure = config.get("SESSION_COOKIE_SAMESITE"), bool(config.get("SESSION_COOKIE_SECURE"))
    if value is None:
        return
    if not isinstance(value, str) or value.lower() not in _SAME_SITE:
        raise ConfigError(f'SESSION_COOKIE_SAMESITE is {value!r}; it must be "Lax", "Strict", "None" or None. [ISE012]')
    if value.lower() == "none" and not (is_secure or config.get("SESSION_COOKIE_PARTITIONED")):
        raise ConfigError(
            f"SESSION_COOKIE_SECURE is {config.get('SESSION_COOKIE_SECURE')!r}, but browsers accept a cookie with "
            f'SESSION_COOKIE_SAMESITE = "{value}" only with SESSION_COOKIE_SECURE = True; set that, or take "Lax". '
            "[ISE013]"
        )


def _check_path(config: Mapping[str, Any]) -> None:
    key = "SESSION_COOKIE_PATH" if config.get("SESSION_COOKIE_PATH") else "APPLICATION_ROOT"
    value = config.get(key) or "/"
    if not isinstance(value, str) or not value.startswith("/") or _NOT_IN_PATH.search(value):
        raise ConfigError(
            f"{key} is {value!r}, and browsers would not send the cookie back from each page; it must be a path that "
            'begins with a slash, such as "/". [ISE014]'
        )


def _check_domain(value: Any) -> None:
    if not value:  # Flask has taken False for none.
        return
    if isinstance(value, str) and all(_LABEL.fullmatch(label) for label in value.removeprefix(".").split(".")):
        return
    raise ConfigError(
        f'SESSION_COOKIE_DOMAIN is {value!r}; it must be the domain alone, such as "example.com", without scheme, port '
        "and path, or None for the host that serves the page. [ISE015]"
    )


def _check_prefix(name: str, config: Mapping[str, Any]) -> None:
    """Refuse what browsers do not accept for a name that promises something by its prefix."""
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
                f"{needed!r}; set that, or choose a SESSION_COOKIE_NAME without the prefix. [ISE016]"
            )
