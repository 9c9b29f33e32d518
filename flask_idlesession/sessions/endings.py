"""Tells each session's end: to all who listen, and to the next request that shows its token."""

import logging
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from itertools import islice
from typing import Protocol

from ..model.errors import StoreError
from ..model.labels import ENDED_BY
from ..model.labels import TURN
from ..model.record import Ending
from ..model.record import EndReason
from ..model.record import SessionInfo
from ..model.record import with_labels
from ..model.signals import session_ended
from ..model.signals import tell_all
from ..stores.contract import chunked
from ..stores.contract import REMEMBERED
from ..stores.contract import Store
from ..stores.contract import tells_ends

_logger = logging.getLogger("flask_idlesession")

#: How many sessions end in one step: few enough that no request waits long for it.
_CHUNK = 256

#: The number of failures in a row after which the store is given up. With fewer, one node of a cluster may be away.
_TRIES = 20


class EndMarks(Protocol):
    """Learns of ends before they are final. An exception of it keeps the sessions as they are."""

    def note_ends(self, ended: Sequence[tuple[SessionInfo, EndReason]], *, now: float) -> None:
        """Note that these sessions are about to end."""

    def note_pruned(self, ended: Sequence[tuple[SessionInfo, EndReason]]) -> None:
        """Note that these sessions have ended by time, or to make room."""

    def note_revocation(self, user_id: str | None, *, now: float) -> None:
        """Note that all sessions of the user are about to be revoked; with None, everybody's."""


class Endings:
    """Ends sessions, and tells it once. ``sender`` returns what signals name as their sender.

    ``marks`` learns of each end.
    """

    def __init__(self, store: Store, *, sender: Callable[[], object], marks: EndMarks | None = None) -> None:
        self._store = store
        self._sender = sender
        self._marks = marks
        self._listeners: list[Callable[[Sequence[Ending]], None]] = []

    def listen(self, listener: Callable[[Sequence[Ending]], None]) -> None:
        """Call ``listener`` with the endings that this process brings about or finds, in the thread that does."""
        self._listeners.append(listener)

    def end(self, info: SessionInfo, reason: EndReason, *, now: float, by: str | None = None) -> bool:
        """Forget the session; return whether it was this call that ended it, which then is told.

        How it ended is remembered first, so that a request which comes between is told.
        """
        self._note([(info, reason)], now=now)
        self._remember([(info, reason)], now=now, by=by)
        ended = self._store.delete(info.sid)
        if ended:
            self._tell([(info, reason)], now=now, by=by)
        return ended

    def end_all(
        self, infos: Iterable[SessionInfo], reason: EndReason, *, clock: Callable[[], float], by: str | None = None
    ) -> int:
        """Forget these sessions, many in one step; return how many this call ended, each of which is told.

        Where a step fails its sessions are tried one by one, and then the others. The first failure is raised when all
        that can be ended has ended, or when nothing can.
        """
        ended, left, failures = 0, iter(infos), _InARow()
        while chunk := list(islice(left, _CHUNK)):
            self._note([(info, reason) for info in chunk], now=clock())
            self._remember([(info, reason) for info in chunk], now=clock(), by=by)
            gone = self._delete(chunk, failures)
            self._tell([(info, reason) for info in gone], now=clock(), by=by)
            ended += len(gone)
            if failures.are_too_many:
                break
        if failures.first is not None:
            raise failures.first
        return ended

    def _delete(self, infos: Sequence[SessionInfo], failures: "_InARow") -> Sequence[SessionInfo]:
        """Forget these sessions; return those that were there."""
        store = chunked(self._store)
        if store is not None:
            try:
                together = store.delete_many([info.sid for info in infos])
            except StoreError as error:
                failures.note(error)
            else:
                failures.in_a_row = 0
                return together
        gone: list[SessionInfo] = []
        for info in infos:
            try:
                if self._store.delete(info.sid):
                    gone.append(info)
            except StoreError as error:
                failures.note(error)
                if failures.are_too_many:
                    break
            else:
                failures.in_a_row = 0
        return gone

    def note(self, info: SessionInfo, reason: EndReason, *, now: float) -> None:
        """Remember and tell the end of a session that the store has forgotten already."""
        self._note([(info, reason)], now=now)
        self._remember([(info, reason)], now=now)
        self._tell([(info, reason)], now=now)

    def note_pruned(self, ended: Sequence[tuple[SessionInfo, EndReason]], *, now: float) -> None:
        """Tell the ends of sessions that were pruned; remember them, unless the store did."""
        if self._marks is not None:
            self._marks.note_pruned([(info, reason) for info, reason in ended if TURN not in info.labels])
        if not self._store.traits.buries:
            self._remember(ended, now=now)
        self._tell(ended, now=now)

    def _note(self, ended: Sequence[tuple[SessionInfo, EndReason]], *, now: float) -> None:
        if self._marks is not None:
            self._marks.note_ends(ended, now=now)

    def _tell(self, ended: Sequence[tuple[SessionInfo, EndReason]], *, now: float, by: str | None = None) -> None:
        """Tell that these sessions are over: they are in the store no more."""
        if self._listeners or self._store.traits.tells_ends:
            self._spread(_endings_of(ended, now=now, by=by))
        told = (
            {"info": info if by is None else with_labels(info, {ENDED_BY: by}), "reason": reason}
            for info, reason in ended
            if TURN not in info.labels
        )
        tell_all(session_ended, self._sender(), told)

    def _remember(self, ended: Sequence[tuple[SessionInfo, EndReason]], *, now: float, by: str | None = None) -> None:
        buried = _endings_of(ended, now=now, by=by)
        try:
            if buried:
                self._store.bury(buried, until=now + REMEMBERED)
        except StoreError as error:  # They are over all the same; only the reason is lost.
            _logger.debug("How %d sessions ended was not noted: %s", len(buried), error)

    def _spread(self, endings: Sequence[Ending]) -> None:
        """Tell other processes, where the store can, and who listens here."""
        if not endings:
            return
        store = tells_ends(self._store)
        if store is not None:
            try:
                store.tell_ends(endings)
            except StoreError as error:  # Others find out by themselves, if later.
                _logger.debug("Other processes were not told how %d sessions ended: %s", len(endings), error)
        for listener in self._listeners:
            listener(endings)


def _endings_of(ended: Sequence[tuple[SessionInfo, EndReason]], *, now: float, by: str | None) -> Sequence[Ending]:
    """Return how these ended, without what only stood for a user's turn."""
    return [
        Ending(info.sid, reason, min(now, info.expires_at), info.user_id, by)
        for info, reason in ended
        if TURN not in info.labels
    ]


class _InARow:
    """The failures of one revocation: the first, and how many there were without a success between them."""

    def __init__(self) -> None:
        self.first: StoreError | None = None
        self.in_a_row = 0

    @property
    def are_too_many(self) -> bool:
        """Whether it is to be given up: the store is away, and not one of its servers or one session."""
        return self.in_a_row > _TRIES

    def note(self, error: StoreError) -> None:
        self.first = self.first or error
        self.in_a_row += 1
