"""Says in one line at the start where sessions are kept, when they end, and how their cookie is set."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from ..settings.keys import Settings


def start_line(name: str, place: str, settings: Settings, config: Mapping[str, Any]) -> str:
    """Return the line for the application ``name``, whose sessions are in this :func:`place`."""
    policy = settings.policy
    ends = f"idle timeout {in_words(policy.idle_timeout)}, lifetime {in_words(policy.lifetime)}"
    if settings.adopt:
        kinds = " and ".join(settings.adopt)
        ends += f"; those of {kinds} are taken over for {in_words(settings.adopt_for)} after their cookie was made"
    cookie = f"cookie {config.get('SESSION_COOKIE_NAME', 'session')!r} with {', '.join(_flags(config))}"
    return f"The sessions of {name!r} are in {place}: {ends}; {cookie}."


def place(store: str, settings: Settings) -> str:
    """Return where sessions are: in this store, which is named without a password, and under which names."""
    if settings.journal is not None:
        store = f"{store} with the journal {str(settings.journal)!r}"
    return f"{store} with the namespace {settings.namespace!r}" if settings.namespace else store


def _flags(config: Mapping[str, Any]) -> list[str]:
    is_secure, is_http_only = config.get("SESSION_COOKIE_SECURE"), config.get("SESSION_COOKIE_HTTPONLY", True)
    flags = ["Secure" if is_secure else "Secure over HTTPS alone", "HttpOnly" if is_http_only else "no HttpOnly"]
    flags.append(f"SameSite={config.get('SESSION_COOKIE_SAMESITE') or 'unset'}")
    for key, name in (("SESSION_COOKIE_DOMAIN", "Domain"), ("SESSION_COOKIE_PATH", "Path")):
        if config.get(key):
            flags.append(f"{name}={config[key]}")
    if config.get("SESSION_COOKIE_PARTITIONED"):
        flags.append("Partitioned")
    return flags


def in_words(duration: float) -> str:
    """Return "30 min", "12 h", "1 day, 2:00:00"."""
    for seconds, word in ((86400, "d"), (3600, "h"), (60, "min")):
        if duration >= seconds and duration % seconds == 0:
            return f"{duration / seconds:g} {word}"
    return f"{duration:g} s" if duration < 86400 else str(timedelta(seconds=duration))
