"""Counts who is there now: the live sessions, their users, and how long they have been idle.

Nothing here walks over all sessions of a large store. The ids of sessions are random, and the stores of the package
list by them. So the first thousands that a store finds are a fair sample.
"""

import time
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from math import inf
from random import SystemRandom

from ..model.labels import TURN
from ..model.record import SessionInfo
from ..stores.contract import counts
from ..stores.contract import Store

#: The most sessions that are looked at, and the most seconds that this takes.
MOST_SEEN = 4096
_MOST_SECONDS = 0.08

#: After this number of sessions, other threads get their turn: a busy thread makes every request wait.
_PIECE, _PAUSE = 128, 0.001

#: The users of the sample by whom it is estimated how many sessions a user has, and the most seconds for that.
_USERS_ASKED, _SECONDS_FOR_USERS = 32, 0.04

#: A user with more sessions than this is taken to have this number.
_MOST_OF_ONE = 100

#: Seconds for which all requests of a process share one count: where it is exact, and where it is a sample.
_FRESH, _FRESH_SAMPLE = 1.0, 10.0

#: Seconds after which one that was begun and not finished is taken for lost.
_LONGEST = 2.0

_chance = SystemRandom()


@dataclass(frozen=True, slots=True, kw_only=True)
class Census:
    """The numbers of one moment. Of a sample all but ``seen`` are estimates."""

    at: float
    #: How many live sessions were looked at.
    seen: int
    #: Whether there are more sessions than were looked at.
    is_sample: bool
    #: The live sessions. ``is_least``: no store tells how many more there are.
    live: int
    is_least: bool
    #: Whether the number of live sessions is exact, which it may be beside a sample.
    is_live_exact: bool
    #: The sessions with a user, and the users.
    signed_in: int
    users: int
    #: The idle ages of the sessions that were looked at, in seconds, the least first.
    ages: Sequence[float]
    #: The bytes that the sessions take, or the file or server with them; None if nothing tells.
    stored_bytes: int | None


class CensusTaker:
    """Takes a census of one store, and shares it among the requests of the process for some seconds."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._latest: Census | None = None
        # Instants of the latest, and of the one that is being taken. Hints, so no lock guards them: a lock that is held
        # while the store answers would hold up a fork.
        self._taken_at = self._began_at = -inf

    def census(self, *, now: float) -> Census:
        """Return a census of at most some seconds ago. Raise :exc:`~flask_idlesession.StoreError` in an outage."""
        latest, began_at = self._latest, time.monotonic()
        if latest is not None:
            fresh = _FRESH_SAMPLE if latest.is_sample else _FRESH
            is_being_taken = began_at - self._began_at < _LONGEST
            if began_at - self._taken_at < fresh or is_being_taken:
                return latest
        self._began_at = began_at
        try:
            self._latest = census = self._take(now)
            self._taken_at = began_at
        finally:
            self._began_at = -inf
        return census

    def forget(self) -> None:
        """Take another one the next time: sessions were ended on purpose."""
        self._latest = None

    def _take(self, now: float) -> Census:
        seen, has_more = some_of(real(self._store.find(now=now)), most=MOST_SEEN, seconds=_MOST_SECONDS)
        counting = counts(self._store)
        live, is_exact = len(seen), not has_more
        if has_more and counting is not None:
            told = counting.count()
            live, is_exact = max(told.number, live), told.is_exact
        signed_in = [info.user_id for info in seen if info.user_id is not None]
        part = len(seen) / live if live else 1.0
        return Census(
            at=now,
            seen=len(seen),
            is_sample=has_more,
            live=live,
            is_least=has_more and counting is None,
            is_live_exact=is_exact,
            signed_in=round(len(signed_in) / part),
            users=self._users(signed_in, part, now) if has_more else len(set(signed_in)),
            ages=sorted(max(now - info.last_seen_at, 0.0) for info in seen),
            stored_bytes=None if counting is None else counting.stored_bytes(),
        )

    def _users(self, signed_in: Sequence[str], part: float, now: float) -> int:
        """Return about how many users there are: each session of the sample stands for its part of a user's sessions
        (Horvitz and Thompson, 1952).
        """
        shares, began_at = [], time.monotonic()
        for user_id in _chance.sample(signed_in, min(len(signed_in), _USERS_ASKED)):
            found = sum(1 for _ in islice(self._store.find(now=now, user_id=user_id), _MOST_OF_ONE))
            shares.append(1 / max(found, 1))
            if time.monotonic() - began_at > _SECONDS_FOR_USERS:
                break
        return round(len(signed_in) / part * sum(shares) / len(shares)) if shares else 0


def real(infos: Iterator[SessionInfo]) -> Iterator[SessionInfo]:
    """Yield the infos of sessions, without the records that are none."""
    return (info for info in infos if TURN not in info.labels)


def some_of(infos: Iterator[SessionInfo], *, most: int, seconds: float) -> tuple[list[SessionInfo], bool]:
    """Return the first sessions, ``most`` at most and as many as can be had in this number of seconds.

    Return besides whether there are more. Other threads get their turn in between.
    """
    found: list[SessionInfo] = []
    give_up_at = time.monotonic() + seconds
    while True:
        piece = list(islice(infos, min(_PIECE, most + 1 - len(found))))
        found += piece
        if len(found) > most:
            return found[:most], True
        if len(piece) < _PIECE:
            return found, False
        if time.monotonic() >= give_up_at:
            return found, next(infos, None) is not None
        time.sleep(_PAUSE)
