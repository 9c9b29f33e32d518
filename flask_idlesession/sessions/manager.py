"""Carries a session through its life, from creation to end: without HTTP, and without Flask."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from types import TracebackType
from typing import Any

from ..model.clock import Clock
from ..model.clock import system_clock
from ..model.codec import Codec
from ..model.errors import DecodeError
from ..model.errors import SessionNotFound
from ..model.ids import Credential
from ..model.ids import SessionId
from ..model.labels import AUTHENTICATED_AT
from ..model.labels import TURN
from ..model.policy import Policy
from ..model.policy import seconds
from ..model.record import Change
from ..model.record import Delta
from ..model.record import EndReason
from ..model.record import Labels
from ..model.record import Outcome
from ..model.record import Record
from ..model.record import SessionInfo
from ..stores.contract import Store
from ..stores.memory.store import MemoryStore
from .lifecycle import Guard
from .lifecycle import Lifecycle
from .locking import RESERVED
from .requests import Requests
from .revocation import Revocation
from .session import check_key
from .session import check_user_id
from .session import Session


class SessionManager:
    """Sessions in a store, from creation to end.

    Usable alone: :meth:`create`, :meth:`read`, :meth:`replace` and :meth:`remove` work on plain data by
    session id. The rest serves :class:`~flask_idlesession.IdleSession`, which adds the token.

    The cleaner starts with the manager and leaves it with :meth:`close`; a ``with`` block does that.
    ``sender`` is what signals name as theirs, the manager itself by default; it is not kept alive.
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
    ) -> None:
        policy = Policy() if policy is None else policy
        if idle_timeout is not None:
            policy = replace(policy, idle_timeout=seconds(idle_timeout, name="idle_timeout"))
        if lifetime is not None:
            policy = replace(policy, lifetime=seconds(lifetime, name="lifetime"))
        self.policy = policy
        self.store: Store = MemoryStore() if store is None else store
        self.codec = Codec() if codec is None else codec
        self.now = clock
        lifecycle = Lifecycle(
            self.store,
            policy=policy,
            codec=self.codec,
            clock=clock,
            cleanup_interval=cleanup_interval,
            sender=self if sender is None else sender,
        )
        self._lifecycle = lifecycle
        self._pruner = lifecycle.pruner
        self._revocation = Revocation(lifecycle)
        self._saver = Requests(lifecycle, self._revocation)
        # What a session asks of the manager that opened it, and what a request does, as it is.
        self.load, self.reload, self.commit = lifecycle.load, lifecycle.reload, lifecycle.commit
        self.abandon, self.ending = lifecycle.abandon, lifecycle.ending
        self.look, self.admit, self.save = self._saver.look, self._saver.admit, self._saver.save
        self.note_arrival = self._saver.note_arrival
        self.fades_at = lifecycle.fades_at
        self.sessions_of, self.revoke = self._revocation.sessions_of, self._revocation.revoke
        self.revoke_user, self.revoke_all = self._revocation.revoke_user, self._revocation.revoke_all
        self.revoke_where, self.arrival = self._revocation.revoke_where, self._revocation.arrival

    def __enter__(self) -> "SessionManager":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the cleaner, and close the store. Idempotent."""
        self._pruner.close()
        self.store.close()

    def open(self, credential: Credential | None, request: object = None) -> Session:
        """Return the session that is claimed, to be read when it is first looked at, or an empty one."""
        return Session(self, credential, request, self.arrival())

    @property
    def is_near(self) -> bool:
        """Whether a session can be looked at without a way to a server."""
        return self._lifecycle.near is not None

    def judge_by(
        self, activity: Callable[[Any], bool | None], *, note_lost: Callable[[SessionId, float], None] | None
    ) -> None:
        """Let ``activity`` tell of what carries a session whether that is its user's activity (None: too early to
        say), and let ``note_lost`` hear of the claims of active requests that open nothing.
        """
        self._saver.activity, self._saver.note_lost = activity, note_lost

    def watch(self, origin: Callable[[], Labels], *, guard: Guard | None = None) -> None:
        """Note of users' sessions where their requests come from, as ``origin`` tells; let ``guard`` judge each of
        these requests, and return what its view may see of the session.
        """
        self._lifecycle.origin, self._lifecycle.guard = origin, guard

    @property
    def sender(self) -> object:
        """What signals name as their sender."""
        return self._lifecycle.sender

    # Alone: plain data by session id.

    def create(self, data: Mapping[str, Any] | None = None, *, user_id: str | None = None) -> SessionId:
        """Start a session that holds ``data``; return its id."""
        if user_id is not None:
            check_user_id(user_id)
        values = self._encode_all({} if data is None else data)
        info = self.policy.begin(now=self.now(), user_id=user_id)
        if user_id is not None:
            info = replace(info, labels={AUTHENTICATED_AT: info.created_at})
        return self._lifecycle.create(Record(info=info, secret_digest=Credential.new().holder, values=values)).info.sid

    def read(self, sid: SessionId) -> dict[str, Any]:
        """Return the session's data. Reading is not activity.

        Raise :exc:`~flask_idlesession.SessionNotFound` if there is no live session of that id.
        """
        record = self._find_record(sid)
        try:
            return {key: self.codec.decode(data) for key, data in record.values.items() if not key.startswith(RESERVED)}
        except DecodeError as error:
            self._lifecycle.give_up(record.info, error)
            raise SessionNotFound(f"The session {sid} could not be read, and was ended.") from error

    def replace(self, sid: SessionId, data: Mapping[str, Any]) -> None:
        """Put ``data`` in place of all that the session held; this is activity.

        Raise :exc:`~flask_idlesession.SessionNotFound` if there is no live session of that id.
        """
        values = self._encode_all(data)
        while True:
            record, now = self._find_record(sid), self.now()
            theirs = [key for key in record.values if not key.startswith(RESERVED)]
            removed: Delta = {key: None for key in theirs if key not in values}
            change = Change(holder=record.secret_digest, last_seen_at=now, delta={**removed, **values})
            # GONE may mean that the secret was rotated in between: _find_record tells that from an end.
            if self.store.commit(sid, change, now=now) is Outcome.DONE:
                return

    def remove(self, sid: SessionId, *, reason: EndReason = EndReason.REVOKED) -> None:
        """End the session.

        Raise :exc:`~flask_idlesession.SessionNotFound` if there is no live session of that id.
        """
        if not self._lifecycle.end(self._find_record(sid).info, reason):
            raise SessionNotFound(f"There is no live session {sid}.")

    def find(self, *, user_id: str | None = None) -> Iterator[SessionInfo]:
        """Yield the live sessions, in no order; with ``user_id``, that user's."""
        found = self.store.find(now=self.now(), user_id=user_id)
        return (info for info in found if TURN not in info.labels)

    def prune(self) -> int:
        """Forget everything that has expired; return how many sessions that was."""
        return self._pruner.prune_all()

    def _find_record(self, sid: SessionId) -> Record:
        if not isinstance(sid, SessionId):
            raise TypeError(f"A session id is a uuid.UUID; {sid!r} is a {type(sid).__name__}.")
        record = self._lifecycle.look_up(sid, now=self.now())
        if record is None:
            raise SessionNotFound(f"There is no live session {sid}.")
        return record

    def _encode_all(self, data: Mapping[str, Any]) -> dict[str, bytes]:
        for key in data:
            check_key(key)
        return {key: self.codec.encode(value, path=f"data[{key!r}]") for key, value in data.items()}
