"""The contract between the sessions and what keeps their records."""

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import cast
from typing import NamedTuple
from typing import Protocol
from typing import runtime_checkable

from ..model.errors import StoreError
from ..model.ids import SessionId
from ..model.record import Change
from ..model.record import Ending
from ..model.record import Outcome
from ..model.record import Record
from ..model.record import SessionInfo

#: Seconds for which it is remembered how a session ended.
REMEMBERED = 3600.0

#: Minutes for which tallies are kept.
TALLIED = 24 * 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """The abilities of a store besides the contract's methods. A store declares them; nothing finds them out.

    A store that wraps another hands on the traits of the one inside.
    """

    #: The records are in this process: no method takes a round trip, and the store is :class:`InProcess`.
    in_process: bool = False
    #: ``create`` and ``commit`` may evict other sessions to make room. ``prune`` returns those, too.
    bounded: bool = False
    #: Everything is lost when the process ends.
    forgetful: bool = False
    #: A server keeps the records, and the store is :class:`HasClock`.
    has_clock: bool = False
    #: Many sessions end in one step: the store is :class:`Chunked`.
    chunked: bool = False
    #: It tells facts of its server or file, and the store is ``HasFacts``.
    has_facts: bool = False
    #: How several sessions ended is told in one step: the store is :class:`Recalling`.
    recalls: bool = False
    #: The store itself remembers how the sessions ended that it forgets by time, or to make room: for
    #: :data:`~.REMEMBERED` seconds, and not later than it forgets them.
    buries: bool = False
    #: The server may forget the lists of sessions, to make room for other data: the store is :class:`Evicting`.
    evicts: bool = False
    #: The store knows how its server should be set up: it is :class:`Advising`.
    advises: bool = False
    #: All processes can be told how sessions ended, at once: the store is :class:`TellsEnds`.
    tells_ends: bool = False
    #: It tells how many records it keeps without a walk over all of them: the store is :class:`Counts`.
    counts: bool = False
    #: Tallies of all processes are kept together: the store is :class:`KeepsTallies`.
    keeps_tallies: bool = False


class Count(NamedTuple):
    """A number of records."""

    number: int
    #: False if it was estimated, because to count takes long.
    is_exact: bool


@dataclass(slots=True)
class Touch:
    """The activity of a request that loads its session: noted in the same step, at the ``now`` of the load.

    Mutable, because each request makes one: a frozen dataclass takes twice as long to make.
    """

    #: The digest of the secret that the request showed.
    holder: bytes = field(repr=False)
    #: The new instant by which a permanent session must be refreshed; None leaves it where it is.
    refresh_by: float | None = None


class UnreadableRecord(StoreError):
    """There is a live session, and its stored bytes cannot be read.

    They were damaged, or encrypted with a key that is no longer there. This is one session's trouble, and no outage.
    ``info`` is what is known of the session.
    """

    CODE = "ISE083"

    def __init__(self, message: str, *, info: SessionInfo) -> None:
        super().__init__(message)
        self.info = info


@runtime_checkable
class Store(Protocol):
    """Keeps records; knows no policy and reads no clock.

    Every method is one atomic step, from any thread. Time is an argument. A session that is not live at ``now`` does
    not exist, whether or not it was pruned. Absence is an answer; a driver that fails is a
    :exc:`~flask_idlesession.StoreError`: :exc:`~flask_idlesession.StoreUnavailable` if it is an outage,
    :exc:`~flask_idlesession.RecordRejected` or :exc:`UnreadableRecord` if it is about one session's data.

    Stores do not inherit this class. :mod:`flask_idlesession.testing.store_contract` tests them.
    """

    @property
    def traits(self) -> Traits:
        """The store's abilities besides these methods; ``Traits()`` for none."""

    def create(self, record: Record) -> None:
        """Keep a new record.

        Raise :exc:`~flask_idlesession.SessionExists` if the store holds one of this id, also one that has expired and
        was not pruned. Nothing is overwritten.
        """

    def load(self, sid: SessionId, *, now: float, touch: Touch | None = None) -> Record | None:
        """Return a copy of the live record, or None.

        With ``touch``, return None too if ``touch.holder`` does not open the session; else note activity at ``now`` in
        the same step, and return the record after it. Raise :exc:`UnreadableRecord` if the record cannot be read.
        """

    def commit(self, sid: SessionId, change: Change, *, now: float) -> Outcome:
        """Apply ``change`` in one step, as :meth:`Record.judge` and :meth:`Record.apply` say.

        It never creates. Only the delta's keys are written. EMPTIED means that the record was forgotten.
        """

    def delete(self, sid: SessionId) -> bool:
        """Forget the session; return whether there was one."""

    def find(self, *, now: float, user_id: str | None = None) -> Iterator[SessionInfo]:
        """Yield the live sessions, in no order; with ``user_id``, only that user's, in O(that user's)."""

    def prune(self, *, now: float, limit: int) -> Sequence[SessionInfo]:
        """Forget up to ``limit`` sessions that have expired, and return them.

        Each is returned once over all threads and workers. A bounded store also returns what it evicted since; such a
        session is still live at ``now``.
        """

    def next_expiry(self) -> float | None:
        """Return an instant before which :meth:`prune` has nothing to do, as late as is cheap to tell.

        None: there is nothing to wait for. 0.0: call :meth:`prune` again at once.
        """

    def bury(self, endings: Sequence[Ending], *, until: float) -> None:
        """Remember until then how these sessions ended.

        Of a flood of endings only the newest are remembered. Those of many sessions (:attr:`Ending.is_of_many`) are not
        counted among them: a flood must not undo a revocation. An ending replaces an earlier one of the same session.
        """

    def ending(self, sid: SessionId, *, now: float) -> Ending | None:
        """Return how the session ended, if that is still remembered."""

    def close(self) -> None:
        """Let go of files, connections and threads. Calling it again does nothing."""


class InProcess(Store, Protocol):
    """A store with the trait ``in_process``."""

    def fades_at(self, sid: SessionId) -> float:
        """Return when less than half of the session's idle timeout will be left; ``inf`` if there is no session."""

    def touch(self, sid: SessionId, holder: bytes, now: float) -> bool:
        """Touch the session, if nothing but the instant has to be noted; return whether that was done.

        It is not done if the session is not live, is a user's, is permanent, or ``holder`` is not its secret's digest.
        """


class Chunked(Store, Protocol):
    """A store with the trait ``chunked``."""

    def delete_many(self, sids: Sequence[SessionId]) -> Sequence[SessionInfo]:
        """Forget these sessions in one step; return the infos of those that were there, in any order."""


class Recalling(Store, Protocol):
    """A store with the trait ``recalls``."""

    def endings(self, sids: Sequence[SessionId], *, now: float) -> Sequence[Ending]:
        """Return how these sessions ended, as far as that is still remembered, in any order."""


class Evicting(Store, Protocol):
    """A store with the trait ``evicts``."""

    def find_unlisted(self, *, now: float, user_id: str | None = None) -> Iterator[SessionInfo]:
        """Yield the live sessions as ``find`` does, also those that no list names any more.

        It looks at all that is stored. On a server that evicts nothing it yields nothing.
        """


class Advising(Store, Protocol):
    """A store with the trait ``advises``."""

    def advice(self) -> Sequence[str]:
        """Return how the server should be set up and is not: one text for each fault, none if all is well."""


class EndNews(Protocol):
    """A subscription to what :meth:`TellsEnds.tell_ends` tells. One thread uses it."""

    def wait(self, seconds: float) -> Sequence[Ending]:
        """Return what was told since the last call; wait for the first of it, as long as ``seconds``.

        Raise :exc:`~flask_idlesession.StoreError` if the subscription is lost. Then it is of no more use.
        """

    def close(self) -> None:
        """Hear no more. It raises nothing."""


class TellsEnds(Store, Protocol):
    """A store with the trait ``tells_ends``."""

    def tell_ends(self, endings: Sequence[Ending]) -> None:
        """Tell all processes that subscribed how these sessions ended. If nobody hears it, it is forgotten."""

    def hear_ends(self) -> EndNews | None:
        """Return a new subscription; None where none can be had, for a pooler is between."""


class Counts(Store, Protocol):
    """A store with the trait ``counts``."""

    def count(self) -> Count:
        """Return how many records there are, those that have expired and are not pruned yet among them.

        With a million records it takes some milliseconds.
        """

    def stored_bytes(self) -> int | None:
        """Return how many bytes the records take, or the file or server that holds them; None if nothing tells it."""


class KeepsTallies(Store, Protocol):
    """A store with the trait ``keeps_tallies``.

    A tally is a number by a name that the caller chooses: letters, digits and punctuation, 200 characters at most.
    Amounts are integers from 0 to 2**53. Nothing of a session is in them.
    """

    def add_tally(self, minute: int, amounts: Mapping[str, int], *, now: float) -> None:
        """Add these amounts, by name, to those of the minute (POSIX seconds // 60) and to the totals, in one step.

        Minutes that ended more than :data:`TALLIED` minutes before ``now`` are forgotten. The totals never are.
        """

    def tallies(self, *, since: int) -> Mapping[int, Mapping[str, int]]:
        """Return the amounts of each minute from ``since`` on in which there were any, as far as they are kept."""

    def tally_totals(self) -> Mapping[str, int]:
        """Return the sums of all amounts that were ever added, by name."""


class HasClock(Store, Protocol):
    """A store with the trait ``has_clock``."""

    def clock_skew(self, now: float) -> float:
        """Return by how many seconds ``now`` is ahead of the server's clock."""


class HasFacts(Store, Protocol):
    """A store with the trait ``has_facts``."""

    def facts(self) -> Mapping[str, object]:
        """Return what ``flask idlesession check`` looks at, by name; without what the server does not tell."""


def in_process(store: Store) -> InProcess | None:
    """Return the store if it has the trait ``in_process``."""
    return cast(InProcess, store) if store.traits.in_process else None


def chunked(store: Store) -> Chunked | None:
    """Return the store if it has the trait ``chunked``."""
    return cast(Chunked, store) if store.traits.chunked else None


def endings_of(store: Store, sids: Sequence[SessionId], *, now: float) -> Sequence[Ending]:
    """Return how these sessions ended, in one step if the store has the trait ``recalls``."""
    if store.traits.recalls:
        return cast(Recalling, store).endings(sids, now=now)
    return [ending for sid in sids if (ending := store.ending(sid, now=now)) is not None]


def evicting(store: Store) -> Evicting | None:
    """Return the store if it has the trait ``evicts``."""
    return cast(Evicting, store) if store.traits.evicts else None


def advising(store: Store) -> Advising | None:
    """Return the store if it has the trait ``advises``."""
    return cast(Advising, store) if store.traits.advises else None


def tells_ends(store: Store) -> TellsEnds | None:
    """Return the store if it has the trait ``tells_ends``."""
    return cast(TellsEnds, store) if store.traits.tells_ends else None


def counts(store: Store) -> Counts | None:
    """Return the store if it has the trait ``counts``."""
    return cast(Counts, store) if store.traits.counts else None


def keeps_tallies(store: Store) -> KeepsTallies | None:
    """Return the store if it has the trait ``keeps_tallies``."""
    return cast(KeepsTallies, store) if store.traits.keeps_tallies else None


def oldest_tallied(now: float) -> int:
    """Return the first minute whose tallies are still kept at ``now``."""
    return int(now // 60) - TALLIED


def has_clock(store: Store) -> HasClock | None:
    """Return the store if it has the trait ``has_clock``."""
    return cast(HasClock, store) if store.traits.has_clock else None


def has_facts(store: Store) -> HasFacts | None:
    """Return the store if it has the trait ``has_facts``."""
    return cast(HasFacts, store) if store.traits.has_facts else None
