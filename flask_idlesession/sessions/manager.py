"""Carries a session through its life, from creation to end: without HTTP, and without Flask."""

from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from types import TracebackType
from typing import Any
from typing import TYPE_CHECKING

from ..model.clock import Clock
from ..model.clock import system_clock
from ..model.codec import Codec
from ..model.errors import ConflictError
from ..model.errors import DecodeError
from ..model.errors import SessionNotFound
from ..model.ids import check_session_id
from ..model.ids import Credential
from ..model.ids import SessionId
from ..model.labels import AUTHENTICATED_AT
from ..model.labels import TURN
from ..model.policy import Policy
from ..model.policy import seconds
from ..model.record import Change
from ..model.record import Delta
from ..model.record import EndReason
from ..model.record import Outcome
from ..model.record import Record
from ..model.record import Rotation
from ..model.record import SessionInfo
from ..stores.contract import Store
from ..stores.memory import MemoryStore
from .endings import EndMarks
from .host_clock import HostClock
from .lifecycle import Lifecycle
from .locking import RESERVED
from .revocation import Revocation
from .session import check_user_id
from .size import check_size
from .values import check_key

if TYPE_CHECKING:
    from .end_watch import Callback
    from .end_watch import EndHandle

#: How often replace() tries: each time somebody else has rotated the session in between.
_TRIES = 200


class SessionManager:
    """Sessions in a store, from creation to end.

    :meth:`create`, :meth:`read`, :meth:`replace` and :meth:`remove` work on plain data by session id, without Flask:
    in a command, a task queue or a script. :class:`~flask_idlesession.IdleSession` has one, too.

    The cleaner starts with the manager and leaves it with :meth:`close`; a ``with`` block does that.
    ``sender`` is what signals name as theirs, the manager itself by default; it is not kept alive. ``marks`` is the
    package's own.
    """

    def __init__(
        self,
        store: Store | None = None,
        *,
        idle_timeout: float | timedelta | None = None,
        lifetime: float | timedelta | None = None,
        policy: Policy | None = None,
        cleanup_interval: float = 1.0,
        codec: Codec | None = None,
        clock: Clock = system_clock,
        sender: object | None = None,
        marks: EndMarks | None = None,
    ) -> None:
        policy = Policy() if policy is None else policy
        if idle_timeout is not None:
            policy = replace(policy, idle_timeout=seconds(idle_timeout, name="idle_timeout"))
        if lifetime is not None:
            policy = replace(policy, lifetime=seconds(lifetime, name="lifetime"))
        self.policy = policy
        self.store: Store = MemoryStore() if store is None else store
        self.codec = Codec() if codec is None else codec
        #: Agrees with the other processes of this host, unless a clock was handed in.
        self.host_clock: HostClock | None = None
        if clock is system_clock and not self.store.traits.in_process:
            clock = self.host_clock = HostClock(self.store)
        self.now = clock
        self.lifecycle = Lifecycle(
            self.store,
            policy=policy,
            codec=self.codec,
            clock=clock,
            arrival_clock=clock if self.host_clock is None else self.host_clock.peek,
            cleanup_interval=cleanup_interval,
            sender=self if sender is None else sender,
            marks=marks,
        )
        self.revocation = Revocation(self.lifecycle)

    def __enter__(self) -> "SessionManager":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the cleaner, and close the store. Idempotent."""
        self.lifecycle.close()
        if self.host_clock is not None:
            self.host_clock.close()
        self.store.close()

    def create(self, data: Mapping[str, Any] | None = None, *, user_id: str | None = None) -> SessionId:
        """Start a session that holds ``data``; return its id."""
        if user_id is not None:
            check_user_id(user_id)
        values = self._encode_all({} if data is None else data)
        check_size(None, values, limit=self.policy.max_session_bytes)
        info = self.policy.begin(now=self.now(), user_id=user_id)
        if user_id is not None:
            info = replace(info, labels={AUTHENTICATED_AT: info.created_at})
        return self.lifecycle.create(Record(info=info, secret_digest=Credential.new().holder, values=values)).info.sid

    def read(self, sid: SessionId) -> dict[str, Any]:
        """Return the session's data. Reading is not activity. A value that cannot be decoded is left out.

        Raise :exc:`~flask_idlesession.SessionNotFound` if there is no live session of that id.
        """
        values = {}
        for key, data in self._find_record(sid).values.items():
            if not key.startswith(RESERVED):
                with suppress(DecodeError):
                    values[key] = self.codec.decode(data)
        return values

    def replace(self, sid: SessionId, data: Mapping[str, Any]) -> None:
        """Put ``data`` in place of all that the session held; this is activity.

        Raise :exc:`~flask_idlesession.SessionNotFound` if there is no live session of that id.
        """
        values = self._encode_all(data)
        for _ in range(_TRIES):
            record, now = self._find_record(sid), self.now()
            theirs = [key for key in record.values if not key.startswith(RESERVED)]
            removed: Delta = {key: None for key in theirs if key not in values}
            change = Change(holder=record.secret_digest, last_seen_at=now, delta={**removed, **values})
            check_size(record, change.delta, limit=self.policy.max_session_bytes)
            # GONE may mean that the secret was rotated in between: _find_record tells that from an end.
            if self.store.commit(sid, change, now=now) is Outcome.DONE:
                return
        raise ConflictError(f"Others gave session {sid} a new token {_TRIES} times while its data was replaced.")

    def set_timeouts(
        self,
        sid: SessionId,
        *,
        idle_timeout: float | timedelta | None = None,
        lifetime: float | timedelta | None = None,
    ) -> SessionInfo:
        """Set this session's own timeouts (seconds or timedeltas); return its info after that. This is no activity.

        ``lifetime`` counts from the log-in, or from the creation where nobody logged in; it bounds the idle timeout.
        A timeout that has passed already ends the session now. A later log-in starts both again.
        Raise :exc:`~flask_idlesession.SessionNotFound` if there is no live session of that id.
        """
        if idle_timeout is None and lifetime is None:
            raise TypeError("set_timeouts() needs idle_timeout=, lifetime= or both. [ISE052]")
        idle = None if idle_timeout is None else self.policy.stored(seconds(idle_timeout, name="idle_timeout"))
        life = None if lifetime is None else seconds(lifetime, name="lifetime")
        for _ in range(_TRIES):
            record = self._find_record(sid)
            change = _with_timeouts(record, idle_timeout=idle, lifetime=life)
            after = record.apply(change, now=self.now())
            if self.store.commit(sid, change, now=self.now()) is Outcome.DONE:
                self.lifecycle.pruner.note(after.expires_at)
                self.lifecycle.forget_freshness()
                return after.info
        raise ConflictError(f"Others gave session {sid} a new token {_TRIES} times while its timeouts were set.")

    def remove(self, sid: SessionId, *, reason: EndReason = EndReason.REVOKED) -> None:
        """End the session.

        Raise :exc:`~flask_idlesession.SessionNotFound` if there is no live session of that id.
        """
        if not self.lifecycle.end(self._find_record(sid).info, reason):
            raise SessionNotFound(f"There is no live session {sid}.")

    def find(self, *, user_id: str | None = None) -> Iterator[SessionInfo]:
        """Yield the live sessions, in no order; with ``user_id``, that user's."""
        if user_id is not None:
            check_user_id(user_id)
        found = self.store.find(now=self.now(), user_id=user_id)
        return (info for info in found if TURN not in info.labels)

    def sessions_of(self, user_id: str) -> list[SessionInfo]:
        """Return the user's live sessions, the one last seen first. O(that user's)."""
        check_user_id(user_id)
        return self.revocation.sessions_of(user_id)

    def revoke(self, sid: SessionId, *, by: str | None = None) -> bool:
        """End the session; return whether there was one and this call ended it. ``by`` is told with the end."""
        check_session_id(sid)
        return self.revocation.revoke(sid, by=by)

    def revoke_user(self, user_id: str, *, keep: SessionId | None = None, by: str | None = None) -> int:
        """End all of the user's sessions but ``keep``, log-ins that are under way included; return how many."""
        check_user_id(user_id)
        _check_kept(keep)
        return self.revocation.revoke_user(user_id, keep=keep, by=by)

    def revoke_all(self, *, keep: SessionId | None = None, by: str | None = None) -> int:
        """End every session but ``keep``, log-ins that are under way included; return how many."""
        _check_kept(keep)
        return self.revocation.revoke_all(keep=keep, by=by)

    def revoke_where(self, **criteria: Any) -> int:
        """End the sessions for which all of this holds; return how many. See :func:`flask_idlesession.revoke_where`."""
        for name, value in criteria.items():
            if value is None and name not in ("keep", "by"):
                raise TypeError(
                    f"revoke_where() was given {name}=None, which no session has; leave it out, or give a value. "
                    "[ISE053]"
                )
        _check_kept(criteria.get("keep"))
        return self.revocation.revoke_where(**criteria)

    def on_session_end(self, callback: "Callback", *, sid: SessionId | None = None) -> "EndHandle":
        """Call ``callback`` with an :class:`~flask_idlesession.Ending` when the session ends.

        The rules are those of :func:`flask_idlesession.on_session_end`.
        """
        if not callable(callback):
            raise TypeError(f"on_session_end() needs a function to call, not {callback!r}. [ISE057]")
        if sid is not None:
            check_session_id(sid)
        return self.lifecycle.watch_ends(callback, sid=sid)

    def prune(self) -> int:
        """Forget everything that has expired; return how many sessions that was."""
        return self.lifecycle.pruner.prune_all()

    def _find_record(self, sid: SessionId) -> Record:
        check_session_id(sid)
        record = self.lifecycle.look_up(sid, now=self.now())
        if record is None:
            raise SessionNotFound(f"There is no live session {sid}.")
        return record

    def _encode_all(self, data: Mapping[str, Any]) -> dict[str, bytes]:
        for key in data:
            check_key(key)
        return {key: self.codec.encode(value, path=f"data[{key!r}]") for key, value in data.items()}


def _check_kept(keep: object) -> None:
    """Raise TypeError for what is neither a session id nor None: it would keep no session."""
    if keep is not None:
        check_session_id(keep)


def _with_timeouts(record: Record, *, idle_timeout: float | None, lifetime: float | None) -> Change:
    """Return the change to these timeouts. The lifetime goes with a rotation: this one is to the secret of before."""
    info, rotation = record.info, None
    if lifetime is not None:
        begun_at = info.created_at if info.authenticated_at is None else info.authenticated_at
        rotation = Rotation(
            secret_digest=record.secret_digest, user_id=info.user_id, lifetime_ends_at=begun_at + lifetime
        )
    return Change(holder=record.secret_digest, idle_timeout=idle_timeout, rotation=rotation)
