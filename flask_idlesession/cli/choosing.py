"""Chooses sessions by the criteria that the commands ``list`` and ``revoke`` have in common."""

from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field
from ipaddress import ip_network
from ipaddress import IPv4Network
from ipaddress import IPv6Network
from typing import TYPE_CHECKING
from uuid import UUID

import click

if TYPE_CHECKING:
    from ..model.record import SessionInfo
    from ..sessions.manager import SessionManager
    from .group import View

Network = IPv4Network | IPv6Network


def session_id(text: str) -> UUID:
    """Return a session's id. Another text is not shown, for it may be a token."""
    try:
        return UUID(text)
    except ValueError:
        raise click.BadParameter(
            'A session id is a UUID, and this is none. "flask idlesession list --user ID" has the ids of live '
            'sessions. The audit log has those of ended sessions, in the field "session". [ISE110]'
        ) from None


def label(text: str) -> tuple[str, str]:
    """Return ``NAME=VALUE`` as a pair."""
    name, equals, wanted = text.partition("=")
    if not name or not equals:
        raise click.BadParameter(f"{text!r} is no label; write NAME=VALUE. [ISE110]")
    return name, wanted


def network(text: str) -> Network:
    """Return an IP address, or a network such as 192.0.2.0/24, as a network."""
    try:
        return ip_network(text, strict=False)
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is no address and no network; write 192.0.2.7 or 192.0.2.0/24. [ISE110]"
        ) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Criteria:
    """Which sessions are meant: those for which all of this holds."""

    user_id: str | None = None
    #: Seconds without activity that are exceeded.
    idle_over: float | None = None
    network: Network | None = None
    labels: tuple[tuple[str, str], ...] = field(default=())

    def choose(self, view: "View | SessionManager") -> "Iterator[SessionInfo]":
        """Yield the live sessions that meet them, in no order."""
        from ..model.labels import TURN

        now = view.now()
        for info in view.store.find(now=now, user_id=self.user_id):
            if TURN not in info.labels and self._admit(info, now=now):
                yield info

    def _admit(self, info: "SessionInfo", *, now: float) -> bool:
        from ..model.networks import may_be_within

        if self.idle_over is not None and now - info.last_seen_at <= self.idle_over:
            return False
        if self.network is not None and not may_be_within(info.labels.get("address"), self.network):
            return False
        return all(_is(info.labels.get(name), wanted) for name, wanted in self.labels)


def _is(value: object, wanted: str) -> bool:
    """Whether a label, which is a text or a number, has the value that was typed."""
    if value is None or isinstance(value, str):
        return value == wanted
    try:
        return float(wanted) == value
    except ValueError:
        return False
