"""Shows users where they are signed in, as they would say it themselves."""

from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass

from ..accounts.client import device_of
from ..model.ids import SessionId
from ..model.labels import ADDRESS
from ..model.record import EndReason
from ..model.record import SessionInfo
from .durations import ago
from .durations import ahead
from .texts import Texts

#: Sessions that one page shows at most: those that were used last.
MOST_ROWS = 100

_PHONES = ("iPhone", "iPad", "Android", "Phone", "Mobile")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One session, in words."""

    id: SessionId
    device: str
    is_this: bool
    is_phone: bool
    #: Names and values, in the order in which they are shown.
    facts: Sequence[tuple[str, str]]


def rows_of(infos: Sequence[SessionInfo], texts: Texts, *, this: SessionId | None, now: float) -> list[Row]:
    """Return the sessions as rows: this device's first, then those used last."""
    ordered = sorted(infos, key=lambda info: (info.sid != this, -info.last_seen_at))
    return [_row(info, texts, is_this=info.sid == this, now=now) for info in ordered[:MOST_ROWS]]


def _row(info: SessionInfo, texts: Texts, *, is_this: bool, now: float) -> Row:
    device = device_of(info)
    return Row(
        id=info.sid,
        device=_in_words(device, texts),
        is_this=is_this,
        is_phone=any(word in device for word in _PHONES),
        facts=list(_facts(info, texts, now=now)),
    )


def _facts(info: SessionInfo, texts: Texts, *, now: float) -> Iterator[tuple[str, str]]:
    address = info.labels.get(ADDRESS)
    if address:
        yield texts.say("Network"), str(address)
    signed_in_at = info.created_at if info.authenticated_at is None else info.authenticated_at
    yield texts.say("Signed in"), ago(signed_in_at, texts, now=now)
    yield texts.say("Last active"), ago(info.last_seen_at, texts, now=now)
    is_fixed = info.expiry_reason is EndReason.LIFETIME
    ends = texts.say("Ends") if is_fixed else texts.say("Ends if not used")
    yield ends, ahead(info.expires_at, texts, now=now)


def _in_words(device: str, texts: Texts) -> str:
    """Return "Chrome on macOS" in the language of the page."""
    browser, on, system = device.partition(" on ")
    browser = texts.say("A browser") if browser == "A browser" else browser
    return texts.say("{browser} on {system}", browser=browser, system=system) if on else browser
