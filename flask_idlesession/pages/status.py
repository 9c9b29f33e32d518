"""Says of a session, for scripts, whether it is live, for how long, and why it is over."""

import hmac
from dataclasses import dataclass
from hashlib import sha256
from math import ceil
from typing import cast

from flask import current_app

from ..model.record import EndReason
from ..model.record import SessionInfo

#: Characters of a user's mark: 96 bits.
_MARK_LENGTH = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The facts of a session that a script is told, in milliseconds: a browser's clock may be wrong."""

    #: "live"; "ended", with the reason where it is known; or "none": the browser has no session.
    state: str
    remaining_ms: int = 0
    lifetime_remaining_ms: int = 0
    #: Whether activity would put the end off: it does not when the lifetime is what ends the session.
    can_extend: bool = False
    reason: str | None = None

    def as_json(self) -> dict[str, object]:
        """Return the facts by their names in the JSON answer."""
        return {
            "state": self.state,
            "remaining_ms": self.remaining_ms,
            "lifetime_remaining_ms": self.lifetime_remaining_ms,
            "can_extend": self.can_extend,
            "reason": self.reason,
        }


NO_SESSION = Status(state="none")


def status_of(info: SessionInfo, *, now: float) -> Status:
    """Return the status of a session that a store holds."""
    if not info.is_live(now):
        return ended(info.expiry_reason)
    return Status(
        state="live",
        remaining_ms=_milliseconds(info.expires_at - now),
        lifetime_remaining_ms=_milliseconds(info.lifetime_ends_at - now),
        can_extend=info.expires_at < info.lifetime_ends_at,
    )


def ended(reason: EndReason | None) -> Status:
    """Return the status of a session that is over."""
    return Status(state="ended", reason=None if reason is None else spelled(reason))


def spelled(reason: EndReason) -> str:
    """Return a reason as it stands in an address and in JSON: "logged-out"."""
    return reason.value.replace(" ", "-")


def mark_of(user_id: str | None) -> str:
    """Return what stands for a user in a page, so that the page knows its user again; it tells nothing of them."""
    return "" if user_id is None else _mark(user_id, _keys()[-1])


def is_marked(user_id: str | None, mark: str) -> bool:
    """Return whether a page with this mark is the user's. One without a mark is anybody's."""
    if not mark:
        return True
    shown = mark.encode()
    return user_id is not None and any(hmac.compare_digest(_mark(user_id, key).encode(), shown) for key in _keys())


def _mark(user_id: str, key: bytes) -> str:
    return hmac.new(key, f"idlesession user {user_id}".encode(), sha256).hexdigest()[:_MARK_LENGTH]


def _keys() -> list[bytes]:
    """Return the application's keys, the present one last: a page may be older than the present one."""
    keys = (*(current_app.config.get("SECRET_KEY_FALLBACKS") or ()), cast(str | bytes, current_app.secret_key))
    return [key.encode() if isinstance(key, str) else key for key in keys]


def _milliseconds(seconds: float) -> int:
    """Return milliseconds, rounded up: nothing that is live has 0 left."""
    return max(1, ceil(seconds * 1000))
