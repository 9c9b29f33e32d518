"""Knows which settings contradict each other without being wrong: one of them has no effect."""

from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

from .keys import Settings

#: Settings that say something only together with another one, which has to be set.
_NEEDS = {
    "IDLESESSION_AT_MAX_SESSIONS_PER_USER": "IDLESESSION_MAX_SESSIONS_PER_USER",
    "IDLESESSION_CLAIMS_KEY": "IDLESESSION_CLAIMS",
    "IDLESESSION_CLAIMS_LIFETIME": "IDLESESSION_CLAIMS",
    "IDLESESSION_DURABILITY": "IDLESESSION_JOURNAL",
    "IDLESESSION_METRICS_TOKEN": "IDLESESSION_METRICS",
    "IDLESESSION_WARN_BEFORE": "IDLESESSION_PAGES",
}

#: Settings of the memory store.
_OF_MEMORY = ("IDLESESSION_MAX_SESSIONS", "IDLESESSION_MAX_BYTES")


def contradictions_in(config: Mapping[str, Any], settings: Settings) -> Iterator[str]:
    """Yield of each pair of settings that contradict each other how they do."""
    for key, needed in _NEEDS.items():
        if config.get(key) is not None and config.get(needed) is None:
            yield f"{key} is set, and {needed} is not."
    store = settings.store
    if isinstance(store, str) and not store.lower().startswith("memory:"):
        for key in _OF_MEMORY:
            if config.get(key) is not None:
                yield f"{key} bounds sessions in memory, and IDLESESSION_STORE names another store."
    yield from _in_times(config, settings)
    limit = config.get("MAX_CONTENT_LENGTH")
    if isinstance(limit, int) and settings.keep_forms > limit:
        yield f"IDLESESSION_KEEP_FORMS ({settings.keep_forms}) is more than MAX_CONTENT_LENGTH ({limit}) lets in."


def _in_times(config: Mapping[str, Any], settings: Settings) -> Iterator[str]:
    policy = settings.policy
    anonymous, rotation = policy.anonymous_idle_timeout, policy.rotation_interval
    if "PERMANENT_SESSION_LIFETIME" in config and policy.permanent_lifetime < policy.idle_timeout:
        yield "PERMANENT_SESSION_LIFETIME is shorter than the idle timeout, which a permanent session never reaches."
    if anonymous is not None and anonymous > policy.lifetime:
        yield "IDLESESSION_ANONYMOUS_IDLE_TIMEOUT is longer than the lifetime, and is never reached."
    if rotation is not None and rotation >= policy.lifetime:
        yield "IDLESESSION_ROTATION_INTERVAL is not shorter than the lifetime, and is never reached."
    if settings.remember_lifetime < policy.lifetime:
        yield "IDLESESSION_REMEMBER_LIFETIME is shorter than the lifetime: remembered sessions end before others."
