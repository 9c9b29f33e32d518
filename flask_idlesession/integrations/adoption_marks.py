"""Remembers in the store which sessions from before were taken over, and whose users have logged out since."""

import logging
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from math import inf
from struct import Struct
from typing import Protocol
from uuid import UUID
from uuid import uuid5

from ..model.clock import Clock
from ..model.errors import SessionExists
from ..model.errors import StoreError
from ..model.ids import new_secret
from ..model.ids import SessionId
from ..model.labels import LASTING
from ..model.labels import TURN
from ..model.record import Change
from ..model.record import EndReason
from ..model.record import Outcome
from ..model.record import Record
from ..model.record import Rotation
from ..model.record import SessionInfo
from ..stores.contract import Store
from ..stores.contract import UnreadableRecord

_logger = logging.getLogger("flask_idlesession")

#: Where the names of the marks come from. Their ids are UUIDs of version 5, and no session's.
_NAMES = UUID("a0d3c7a4-6a55-4e0b-8f0a-5f0b3c1b9d52")

_EVERYBODY = "everybody"

#: The instants of a user's last log-out and last revocation.
_INSTANTS = Struct("<dd")
_INSTANT = Struct("<d")
_WAITS = "waits"
_NEVER = -inf

#: How often a mark is tried to be set: each time another request was faster.
_TRIES = 50

#: Seconds for which a revocation of many sessions is noted once, and not with each of them.
_TOGETHER = 60.0


class Living(Protocol):
    """The part of a session from before that its mark is made of."""

    @property
    def proof(self) -> bytes:
        """A secret that only the holder of its cookie knows."""

    @property
    def lives_until(self) -> float:
        """The instant from which on it could not be used any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """That a session from before was taken over."""

    adopted_at: float
    #: Whether a command has carried it over, and nobody has shown its cookie yet.
    waits: bool
    nonce: bytes = field(repr=False)
    #: The secret by which its source knows the old session.
    proof: bytes = field(repr=False)


class Marks:
    """The marks of one application in its store: records that are no sessions, each made in one step.

    A mark is kept for ``keeps_for`` seconds: no copy of an old cookie is accepted for longer. ``discard`` is given the
    proof of an old session that is to go with ours.
    """

    def __init__(
        self, store: Store, *, clock: Clock, keeps_for: float, discard: Callable[[bytes], None] | None = None
    ) -> None:
        self._store = store
        self._now = clock
        self._keeps_for = keeps_for
        self._discard = discard
        # When the revocation of a user, or of everybody, was last noted here. A hint, so no lock guards it.
        self._revoked: dict[str | None, float] = {}

    # The sessions that were taken over.

    def find(self, sid: SessionId, *, now: float) -> Mark | None:
        """Return the mark of the session of this id; None if it was made of none from before."""
        try:
            record = self._store.load(_adopted(sid), now=now)
        except UnreadableRecord:  # Its session was taken over, and nobody knows when: as if that were long ago.
            return Mark(adopted_at=_NEVER, waits=False, nonce=b"", proof=b"")
        if record is None:
            return None
        values = record.values
        (adopted_at,) = _INSTANT.unpack(values["at"])
        waits = _WAITS in values
        return Mark(adopted_at=adopted_at, waits=waits, nonce=values["nonce"], proof=values["proof"])

    def put(self, sid: SessionId, nonce: bytes, old: Living, *, now: float, waits: bool = False) -> Mark:
        """Note that the old session was taken over; return the mark that there is from now on, by any request."""
        values = {"nonce": nonce, "proof": b"" if self._discard is None else old.proof, "at": _INSTANT.pack(now)}
        if waits:
            values[_WAITS] = b"1"
        until = max(old.lives_until, now + self._keeps_for)
        try:
            self._store.create(_record(_adopted(sid), values, now=now, until=until))
        except SessionExists:
            there = self.find(sid, now=now)
            if there is not None:
                return there
        return Mark(adopted_at=now, waits=waits, nonce=nonce, proof=values["proof"])

    def note_first_sight(self, sid: SessionId, *, now: float) -> None:
        """Note that the cookie of a session was shown that a command has carried over."""
        record = self._store.load(_adopted(sid), now=now)
        if record is None:
            return
        delta = {_WAITS: None, "at": _INSTANT.pack(now)}
        expect = {_WAITS: b"1"}  # Of several requests that come together the first one counts.
        self._store.commit(_adopted(sid), Change(holder=record.secret_digest, delta=delta, expect=expect), now=now)

    # Log-outs and revocations.

    def refuses(self, user_id: str | None, *, issued_at: float | None, now: float) -> bool:
        """Return whether the user has logged out, or was revoked, since a cookie was made.

        Where nobody knows when it was made (None), only a revocation counts: a log-out was one of another session.
        """
        for name in (_EVERYBODY, None if user_id is None else _user(user_id)):
            if name is None:
                continue
            logged_out_at, revoked_at = self._instants(uuid5(_NAMES, name), now=now)
            if issued_at is None:
                if revoked_at > _NEVER:
                    return True
            elif issued_at <= max(logged_out_at, revoked_at):
                return True
        return False

    def note_ends(self, ended: Sequence[tuple[SessionInfo, EndReason]], *, now: float) -> None:
        """Note that the users of these sessions log out, before they do."""
        for user_id in dict.fromkeys(info.user_id for info, reason in ended if reason is EndReason.LOGGED_OUT):
            if user_id is not None:
                self._note(_user(user_id), (now, _NEVER), now=now)
        for user_id in dict.fromkeys(info.user_id for info, reason in ended if reason is EndReason.REVOKED):
            is_noted = max(self._revoked.get(user_id, _NEVER), self._revoked.get(None, _NEVER)) > now - _TOGETHER
            if user_id is not None and not is_noted:
                self._note(_user(user_id), (now, _NEVER), now=now)
        self._forget_old(info for info, _ in ended if TURN not in info.labels)

    def note_pruned(self, ended: Sequence[tuple[SessionInfo, EndReason]]) -> None:
        """Forget the old sessions of those that ended by time."""
        try:
            self._forget_old(info for info, _ in ended)
        except StoreError as error:
            _logger.warning(
                "Sessions from before were not forgotten with those that were made of them: %s [ISW024]", error
            )

    def note_revocation(self, user_id: str | None, *, now: float) -> None:
        """Note that all sessions of the user are about to be revoked; with None, everybody's."""
        self._note(_EVERYBODY if user_id is None else _user(user_id), (_NEVER, now), now=now)
        self._revoked[user_id] = now
        for known, at in list(self._revoked.items()):
            if at <= now - _TOGETHER:
                self._revoked.pop(known, None)

    def _forget_old(self, infos: Iterable[SessionInfo]) -> None:
        if self._discard is None:
            return
        for info in infos:
            mark = self.find(info.sid, now=self._now())
            if mark is not None and mark.proof:
                self._discard(mark.proof)

    def _instants(self, sid: SessionId, *, now: float) -> tuple[float, float]:
        try:
            record = self._store.load(sid, now=now)
        except UnreadableRecord:  # The user has logged out, and nobody knows when: nothing from before is accepted.
            return inf, inf
        if record is None:
            return _NEVER, _NEVER
        logged_out_at, revoked_at = _INSTANTS.unpack(record.values["at"])
        return logged_out_at, revoked_at

    def _note(self, name: str, instants: tuple[float, float], *, now: float) -> None:
        """Note the instants where they are later than those that are noted."""
        sid, until = uuid5(_NAMES, name), now + self._keeps_for
        for _ in range(_TRIES):
            try:
                self._store.create(_record(sid, {"at": _INSTANTS.pack(*instants)}, now=now, until=until))
                return
            except SessionExists:
                if self._move_on(sid, instants, now=now, until=until):
                    return
        raise StoreError("A log-out was not noted: others noted the same user's all the time.")

    def _move_on(self, sid: SessionId, instants: tuple[float, float], *, now: float, until: float) -> bool:
        """Return whether the mark that is there says it by now; it may be over, or have changed meanwhile."""
        try:
            record = self._store.load(sid, now=now)
        except UnreadableRecord:
            return True  # It refuses everything already.
        if record is None:
            self._store.delete(sid)
            return False
        before = record.values["at"]
        logged_out_at, revoked_at = map(max, _INSTANTS.unpack(before), instants)
        after = _INSTANTS.pack(logged_out_at, revoked_at)
        rotation = Rotation(secret_digest=record.secret_digest, user_id=None, lifetime_ends_at=until)
        change = Change(
            holder=record.secret_digest,
            last_seen_at=now,
            delta={"at": after},
            expect={"at": before},
            rotation=rotation,
        )
        return self._store.commit(sid, change, now=now) is Outcome.DONE


def _adopted(sid: SessionId) -> SessionId:
    return uuid5(_NAMES, f"adopted {sid}")


def _user(user_id: str) -> str:
    return f"user {user_id}"


def _record(sid: SessionId, values: dict[str, bytes], *, now: float, until: float) -> Record:
    info = SessionInfo(
        sid=sid,
        created_at=now,
        last_seen_at=now,
        idle_timeout=until - now,
        lifetime_ends_at=until,
        labels={TURN: LASTING},
    )
    return Record(info=info, secret_digest=new_secret(), values=values)
