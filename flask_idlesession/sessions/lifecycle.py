"""Begins and ends sessions in a store, and tells both."""

import logging
import weakref
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from ..model.clock import Clock
from ..model.codec import Codec
from ..model.errors import DecodeError
from ..model.errors import SessionExists
from ..model.ids import Credential
from ..model.ids import new_session_id
from ..model.ids import SessionId
from ..model.policy import Policy
from ..model.record import Ending
from ..model.record import EndReason
from ..model.record import Record
from ..model.record import SessionInfo
from ..model.signals import session_created
from ..model.signals import tell
from ..process.locks import ForkSafeLock
from ..stores.contract import Store
from ..stores.contract import UnreadableRecord
from .endings import Endings
from .endings import EndMarks
from .pruning import Pruner

if TYPE_CHECKING:
    from .end_watch import Callback
    from .end_watch import EndHandle
    from .end_watch import EndWatch

_logger = logging.getLogger("flask_idlesession")

#: How many ids are tried for a new session. The second is hardly ever needed, the third never.
_ID_TRIES = 3

#: An instant at which nothing has expired yet.
_LONG_AGO = 0.0


class Lifecycle:
    """The begin and the end of every session in one store.

    ``sender`` is what signals name as theirs; it is not kept alive. ``marks`` learns of each end.
    """

    def __init__(
        self,
        store: Store,
        *,
        policy: Policy,
        codec: Codec,
        clock: Clock,
        arrival_clock: Clock,
        cleanup_interval: float,
        sender: object,
        marks: EndMarks | None = None,
    ) -> None:
        self.store = store
        self.policy = policy
        self.codec = codec
        self.now = clock
        #: Tells when a request came, and asks no store.
        self.arrives = arrival_clock
        #: Until when at least the sessions that credentials open have more than half of their idle timeout left, as a
        #: store in this process said.
        self.fresh_until: dict[Credential, float] = {}
        self._sender = weakref.ref(sender)
        self.marks = marks
        self._endings = Endings(store, sender=self._sender, marks=marks)
        self._watch: EndWatch | None = None
        self._watch_made = ForkSafeLock()
        self.pruner = Pruner(store, clock=clock, interval=cleanup_interval, endings=self._endings)

    @property
    def sender(self) -> object:
        """The sender of the signals."""
        return self._sender()

    def watch_ends(self, callback: "Callback", *, sid: SessionId | None) -> "EndHandle":
        """Call ``callback`` when this session ends, or with None whenever one does, until the handle is closed."""
        if self._watch is None:
            from .end_watch import EndWatch  # Most applications need none.

            with self._watch_made:
                if self._watch is None:
                    watch = EndWatch(self)
                    self._endings.listen(watch.note)
                    self._watch = watch
        return self._watch.add(callback, sid=sid)

    def forget_freshness(self) -> None:
        """Have the store asked again how fresh sessions are: one has just been given a shorter time.

        By another dict: what a request was told before goes into the one that it had then.
        """
        self.fresh_until = {}

    def close(self) -> None:
        """Leave the cleaner, and watch no session any more."""
        self.pruner.close()
        if self._watch is not None:
            self._watch.close()

    def create(self, record: Record) -> Record:
        """Store a new session under its id, or under another should that be taken; return it."""
        for _ in range(_ID_TRIES - 1):
            try:
                self.store.create(record)
                break
            except SessionExists:
                record = replace(record, info=replace(record.info, sid=new_session_id()))
        else:
            self.store.create(record)
        self.note_begin(record.info)
        return record

    def note_begin(self, info: SessionInfo) -> None:
        """Tell the begin of a session that the store has by now."""
        self.pruner.note(info.expires_at)
        if self.store.traits.bounded:
            self.pruner.prune_evicted()
        tell(session_created, self.sender, info=info)

    def end(self, info: SessionInfo, reason: EndReason, *, by: str | None = None) -> bool:
        """Forget the session; return whether it was this call that ended it, which then is told."""
        return self._endings.end(info, reason, now=self.now(), by=by)

    def end_all(self, infos: Iterable[SessionInfo], reason: EndReason, *, by: str | None = None) -> int:
        """Forget these sessions; return how many this call ended, each of which is told."""
        return self._endings.end_all(infos, reason, clock=self.now, by=by)

    def note_end(self, info: SessionInfo, reason: EndReason) -> None:
        """Tell the end of a session that the store has forgotten already."""
        self._endings.note(info, reason, now=self.now())

    def give_up(self, info: SessionInfo, error: DecodeError | UnreadableRecord) -> None:
        """End a session whose stored bytes cannot be read."""
        _logger.error("Session %s was ended, because its stored bytes cannot be read: %s [ISE083]", info.sid, error)
        self.end(info, EndReason.REVOKED)

    # Sessions by their ids, for callers that hold no secret.

    def look_up(self, sid: SessionId, *, now: float) -> Record | None:
        """Return the live record, or None. One that cannot be read is ended."""
        try:
            return self.store.load(sid, now=now)
        except UnreadableRecord as error:
            self.give_up(error.info, error)
            return None

    def look_up_info(self, sid: SessionId, *, now: float) -> SessionInfo | None:
        """Return the info of the live record, of one that cannot be read too, or None."""
        try:
            record = self.store.load(sid, now=now)
        except UnreadableRecord as error:
            return error.info
        return None if record is None else record.info

    def ending(self, sid: SessionId) -> Ending | None:
        """Return how the session ended, while that is remembered; None for one that lives or never was."""
        now = self.now()
        # In this order: a store remembers how a session ended before it forgets the session.
        info = self.look_up_info(sid, now=_LONG_AGO)  # It may have expired and not been pruned yet.
        if info is None:
            return self.store.ending(sid, now=now)
        return None if info.is_live(now) else Ending.of_forgotten(info, now=now)
