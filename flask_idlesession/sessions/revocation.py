"""Ends sessions from outside, by id, user or criteria, and keeps a user's sessions to a number."""

from collections.abc import Iterable
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_network

from ..model.clock import TOLERANCE
from ..model.errors import StoreError
from ..model.errors import TooManySessions
from ..model.ids import SessionId
from ..model.labels import TURN
from ..model.networks import may_be_within
from ..model.record import Ending
from ..model.record import EndReason
from ..model.record import SessionInfo
from ..stores.contract import endings_of
from ..stores.contract import evicting
from ..stores.revocation_marks import EVERYBODY
from ..stores.revocation_marks import mark_of
from ..stores.revocation_marks import MEMORY
from .lifecycle import Lifecycle
from .turns import Turns

#: Seconds between two instants that are told apart.
_TICK = 1e-6


class Revocation:
    """Revokes the sessions of one store."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        self._lifecycle = lifecycle
        self._now = lifecycle.now
        self._store = lifecycle.store
        self._policy = lifecycle.policy
        self.turns = Turns(lifecycle)
        #: When sessions were last revoked or logged out by this process: a request that comes later is later, also on
        #: a clock that stands still.
        self.revoked_at = 0.0

    def arrival(self) -> float:
        """Return the instant of a request that comes now: after every revocation that this process has seen."""
        now = self._now()
        return now if now > self.revoked_at else self.revoked_at + _TICK

    def sessions_of(self, user_id: str) -> list[SessionInfo]:
        """Return the user's live sessions, the one last seen first. O(that user's)."""
        found = self._store.find(now=self._lifecycle.now(), user_id=user_id)
        return sorted(found, key=lambda info: info.last_seen_at, reverse=True)

    def revoke(self, sid: SessionId, *, by: str | None = None) -> bool:
        """End the session; return whether there was one and this call ended it."""
        info = self._lifecycle.look_up_info(sid, now=self._lifecycle.now())
        return info is not None and self._lifecycle.end(info, EndReason.REVOKED, by=by)

    def revoke_user(self, user_id: str, *, keep: SessionId | None = None, by: str | None = None) -> int:
        """End all of the user's sessions but ``keep``, log-ins that are under way included; return how many."""
        return self._revoke(mark_of(user_id), user_id, keep=keep, by=by)

    def revoke_all(self, *, keep: SessionId | None = None, by: str | None = None) -> int:
        """End every session but ``keep``, log-ins that are under way included; return how many."""
        return self._revoke(EVERYBODY, None, keep=keep, by=by)

    def revoke_where(
        self,
        *,
        user_id: str | None = None,
        idle_for: float | None = None,
        address: str | None = None,
        keep: SessionId | None = None,
        by: str | None = None,
        **labels: str | float,
    ) -> int:
        """End the sessions for which all of this holds; return how many.

        ``idle_for``: without activity for at least this many seconds. ``address``: last seen from this address or
        network; where addresses are kept truncated, all that may be. ``labels``: with these labels, as ``idp_sid="…"``
        for a back-channel log-out. Without ``user_id`` all sessions are looked at.
        """
        if idle_for is None and address is None and user_id is None and not labels:
            raise TypeError("revoke_where() needs a criterion; to end every session call revoke_all(). [ISE053]")
        network = None if address is None else ip_network(address, strict=False)
        now = self._lifecycle.now()
        chosen = [
            info
            for info in self._found(user_id, now=now)
            if (idle_for is None or now - info.last_seen_at >= idle_for)
            and (network is None or may_be_within(info.labels.get("address"), network))
            and all(info.labels.get(name) == value for name, value in labels.items())
        ]
        return self._end_all(chosen, keep=keep, by=by)

    def overtook(self, info: SessionInfo, *, came_at: float) -> bool:
        """Whether the user's sessions were revoked after the request came that has just logged in; then its
        session, which the revocation may not have seen yet, is ended.

        A revocation that lies in the future was noted by a clock that was ahead: it came before.
        """
        assert info.user_id is not None
        markers = mark_of(info.user_id), EVERYBODY
        now = self._lifecycle.now()
        for ending in endings_of(self._store, markers, now=now):
            if came_at <= ending.ended_at <= max(now, came_at) + TOLERANCE and ending.by != str(info.sid):
                self._lifecycle.end(info, EndReason.REVOKED)
                return True
        return False

    @contextmanager
    def admission(self, user_id: str, sid: SessionId | None) -> Iterator[None]:
        """Let one log-in of the user at a time go on in the block, once there is room for it.

        Raise :exc:`~flask_idlesession.TooManySessions` where the limit is to refuse; else the user's oldest
        sessions end.
        """
        limit = self._policy.max_sessions_per_user
        if limit is None:
            yield
            return
        with self.turns.of(user_id):
            others = [info for info in self.sessions_of(user_id) if info.sid != sid]
            others.sort(key=lambda info: info.authenticated_at or info.created_at)
            excess = others[: max(len(others) - limit + 1, 0)]
            if excess and self._policy.refuses_log_ins:
                raise TooManySessions(
                    f"The user has {len(others)} sessions, and IDLESESSION_MAX_SESSIONS_PER_USER is {limit}: "
                    "one of them has to end before another can begin."
                )
            self._lifecycle.end_all(excess, EndReason.EVICTED)
            yield

    def _revoke(self, marker: SessionId, user_id: str | None, *, keep: SessionId | None, by: str | None) -> int:
        """End the sessions, and remember the instant for log-ins under way. A store that cannot remember it may still
        end sessions: that it could not is raised after them.
        """
        failure = None
        try:
            self._remember(marker, user_id, keep)
        except StoreError as error:
            failure = error
        count = self._end_all(self._found(user_id, now=self._lifecycle.now()), keep=keep, by=by)
        if failure is not None:
            raise failure
        return count

    def _found(self, user_id: str | None, *, now: float) -> Iterator[SessionInfo]:
        """Yield the live sessions, of the user if one is given: also those that the store's lists have lost."""
        listed = set()
        for info in self._store.find(now=now, user_id=user_id):
            listed.add(info.sid)
            yield info
        store = evicting(self._store)
        if store is not None:
            for info in store.find_unlisted(now=now, user_id=user_id):
                if info.sid not in listed:
                    yield info

    def _remember(self, marker: SessionId, user_id: str | None, keep: SessionId | None) -> None:
        self.revoked_at = now = self.arrival()
        marks = self._lifecycle.marks
        if marks is not None:
            marks.note_revocation(user_id, now=now)
        kept = None if keep is None else str(keep)
        ending = Ending(sid=marker, reason=EndReason.REVOKED, ended_at=now, user_id=user_id, by=kept)
        self._store.bury([ending], until=now + MEMORY)

    def _end_all(self, infos: Iterable[SessionInfo], *, keep: SessionId | None, by: str | None) -> int:
        meant = (info for info in infos if info.sid != keep and TURN not in info.labels)
        return self._lifecycle.end_all(meant, EndReason.REVOKED, by=by)
