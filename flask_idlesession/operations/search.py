"""Searches live sessions for an operator, by user, address or id, and never looks at more than some thousands."""

import time
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from ..model.ids import SessionId
from ..model.networks import may_be_within
from ..model.networks import Network
from ..model.record import only_live
from ..model.record import SessionInfo
from ..stores.contract import Store
from .census import real

#: The most sessions that one answer shows.
MOST_SHOWN = 100

#: The most sessions of a user that are looked at, and the seconds that a search takes at most.
_MOST_OF_ONE = 1000
_MOST_SECONDS = 0.06

#: After this number of sessions, other threads get their turn.
_PIECE, _PAUSE = 128, 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The sessions that a search found, the one last seen first."""

    infos: Sequence[SessionInfo]
    #: How many sessions were looked at.
    seen: int
    #: How many of them met the search; some of these may not be among ``infos``.
    met: int
    #: Whether all that there are were looked at.
    is_complete: bool


def by_user(store: Store, user_id: str, *, now: float) -> Found:
    """Return a user's sessions."""
    return _search(store.find(now=now, user_id=user_id), None, most=_MOST_OF_ONE)


def by_address(store: Store, network: Network, *, now: float) -> Found:
    """Return sessions that were last seen from this network, or may have been, as far as the time allows."""
    return _search(store.find(now=now), network, most=None)


def latest(store: Store, *, now: float) -> Found:
    """Return the sessions that were last seen, of some thousands."""
    return _search(store.find(now=now), None, most=_MOST_OF_ONE)


def by_id(info: SessionInfo | None, *, now: float) -> Found:
    """Return the session with an id that was looked up, if it is live."""
    infos = list(real(only_live([] if info is None else [info], now=now)))
    return Found(infos=infos, seen=len(infos), met=len(infos), is_complete=True)


def _search(infos: Iterator[SessionInfo], network: Network | None, *, most: int | None) -> Found:
    """Look at sessions until the time is over, or ``most`` have been looked at. Other threads get their turn."""
    found: list[SessionInfo] = []
    sessions, seen, give_up_at = real(infos), 0, time.monotonic() + _MOST_SECONDS
    while True:
        piece = list(islice(sessions, _PIECE))
        seen += len(piece)
        found += [info for info in piece if network is None or may_be_within(info.labels.get("address"), network)]
        is_complete = len(piece) < _PIECE
        if is_complete or (most is not None and seen >= most) or time.monotonic() >= give_up_at:
            break
        time.sleep(_PAUSE)
    found.sort(key=lambda info: info.last_seen_at, reverse=True)
    return Found(infos=found[:MOST_SHOWN], seen=seen, met=len(found), is_complete=is_complete)


def named_by(text: str) -> SessionId | None:
    """Return the session id that a text is; None if it is none."""
    try:
        return SessionId(text)
    except ValueError:
        return None
