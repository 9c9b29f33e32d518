"""The contract between the manager and whatever keeps the records."""

from collections.abc import Iterator
from collections.abc import Sequence
from typing import Protocol
from typing import runtime_checkable

from ..model.errors import StoreError
from ..model.ids import SessionId
from ..model.record import Change
from ..model.record import Ending
from ..model.record import Outcome
from ..model.record import Record
from ..model.record import SessionInfo


class UnreadableRecord(StoreError):
    """There is a live session, and what is stored of it cannot be read: it was spoilt, or encrypted with a key that
    is not there any more. ``info`` is what is known of it.
    """

    def __init__(self, message: str, *, info: SessionInfo) -> None:
        super().__init__(message)
        self.info = info


@runtime_checkable
class Store(Protocol):
    """Keeps records; knows no policy and reads no clock.

    Every method is one atomic step, from any thread. Time is an argument. A session that is not live at
    ``now`` does not exist, whether or not it has been pruned. Absence is an answer; a failing driver is
    a :exc:`~flask_idlesession.StoreError`. Stores do not inherit this class: typing and the contract
    suite (``tests/support/store_contract.py``) prove them.
    """

    def create(self, record: Record) -> None:
        """Keep a new record. Raise :exc:`~flask_idlesession.SessionExists` rather than overwrite one,
        also one that has expired and was not pruned yet."""

    def load(self, sid: SessionId, *, now: float) -> Record | None:
        """Return a copy of the live record, or None. Raise :exc:`UnreadableRecord` if it is there in vain."""

    def commit(self, sid: SessionId, change: Change, *, now: float) -> Outcome:
        """Apply ``change`` as :meth:`Record.judge` and :meth:`Record.apply` say, in one step.

        It never creates. Only the delta's keys are written. EMPTIED means that the record was forgotten.
        """

    def delete(self, sid: SessionId) -> bool:
        """Forget the session; return whether there was one."""

    def delete_user(self, user_id: str, *, keep: SessionId | None = None) -> int:
        """Forget every session of the user but ``keep``; return how many there were."""

    def find(self, *, now: float, user_id: str | None = None) -> Iterator[SessionInfo]:
        """Yield the live sessions, in no order; with ``user_id``, that user's, in O(that user's)."""

    def prune(self, *, now: float, limit: int) -> Sequence[SessionInfo]:
        """Forget up to ``limit`` sessions that have expired, and return them.

        Over all threads and workers each is returned once. A bounded store also hands over what it
        evicted since; such a session is recognised by being live still.
        """

    def next_expiry(self) -> float | None:
        """Return an instant before which :meth:`prune` has nothing to do, as late a one as is cheap to
        tell; None while there is nothing to wait for, 0.0 if it is to be called again at once."""

    def bury(self, endings: Sequence[Ending], *, until: float) -> None:
        """Remember until then how these sessions ended, or until room is needed: of a flood of them only
        the newest. What was remembered of the same session before is replaced."""

    def ending(self, sid: SessionId, *, now: float) -> Ending | None:
        """Return how the session ended, if that is remembered still."""

    def close(self) -> None:
        """Let go of files, connections and threads. Idempotent."""


@runtime_checkable
class Visited(Protocol):
    """What a store may do besides, if that saves it a way to a server and back."""

    def visit(self, sid: SessionId, *, holder: bytes, now: float, refresh_by: float | None) -> Record | None:
        """Touch the session, and return its record as it is then; None, and no touch, if it is not live or
        ``holder`` does not open it. A permanent session's ``refresh_by`` becomes the one given, if any."""


@runtime_checkable
class Near(Protocol):
    """What a store may do besides where it takes no way to a server."""

    def fades_at(self, sid: SessionId) -> float:
        """Return the instant from which less than half of its idle timeout is left to the session, should nothing
        happen before; infinite if there is none.
        """

    def touch(self, sid: SessionId, holder: bytes, now: float) -> bool:
        """Touch the session if that is all there is to note of its activity: it is live and nobody's, ``holder`` is
        the digest of its secret, and it is not permanent. Return whether that was done.
        """


def is_in_place_of(store: Store, shortcut: str, *steps: str) -> bool:
    """Return whether a store that has a shortcut means it to be taken in the place of these methods: one that changes
    what a method does, and leaves the shortcut as it inherited it, does not.
    """
    places = [getattr(store, "__dict__", {}), *map(vars, type(store).__mro__)]

    def depth_of(name: str) -> int:
        return next((depth for depth, names in enumerate(places) if name in names), len(places))

    return depth_of(shortcut) <= min(map(depth_of, steps))
