"""Keeps records in this process's memory, within bounds, in a form that the garbage collector skips."""

from collections import deque
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from math import inf

from ...model.errors import SessionExists
from ...model.ids import SessionId
from ...model.record import Change
from ...model.record import Ending
from ...model.record import Outcome
from ...model.record import Record
from ...model.record import SessionInfo
from ...process.locks import ForkSafeLock
from ...process.locks import Lock
from ..contract import Count
from ..contract import REMEMBERED
from ..contract import Touch
from ..contract import Traits
from .endings import Endings
from .endings import pack as pack_endings
from .eviction import Eviction
from .packed import expiry
from .packed import fades_at
from .packed import MARKS_AT
from .packed import pack
from .packed import packed_record
from .packed import PackedRecord
from .packed import PERMANENT
from .packed import simply_changed
from .packed import touched
from .packed import touched_alone
from .packed import unpack_info
from .restored import Restored
from .shards import make_shards
from .shards import OVERHEAD
from .shards import SHARDS
from .tallies import TalliesInMemory
from .timing_wheel import TimingWheel
from .users import hash_of
from .users import Users

#: How many entries of the wheel are looked at in one step.
_BUDGET = 256

#: How many restored sessions at least are taken up with each pruning, if there are: some milliseconds' work.
_AT_ONCE = 2048

#: How many entries of a crowded wheel are looked at each time one more is left behind.
_SETTLED = 8

#: Infos of sessions that were forgotten to make room, kept until somebody asks.
_MAX_FORGOTTEN = 10_000

#: Made once: a log-in asks for them four times.
_UNBOUNDED = Traits(in_process=True, forgetful=True, chunked=True, buries=True, counts=True, keeps_tallies=True)
_BOUNDED = replace(_UNBOUNDED, bounded=True)

#: Python 3.11 calls a function each time a member is named.
_DONE, _GONE, _EMPTIED = Outcome.DONE, Outcome.GONE, Outcome.EMPTIED


class MemoryStore:
    """The store of one process: nothing is shared with another, and nothing outlives it.

    Past ``max_sessions`` or ``max_bytes`` it evicts the least recently seen session, anonymous ones before those of
    users. The bytes are those of records, and an estimate of Python's own cost. None: no bound. An owner of more than
    1/64 of ``max_bytes``, a user or an anonymous session, loses before all others, and the largest session first.

    ``lock`` guards all that is written; it is held for microseconds and nothing is called under it.
    Reading takes no lock: a record is one immutable object in a dict.
    """

    def __init__(
        self,
        *,
        max_sessions: int | None = 1_000_000,
        max_bytes: int | None = 1 << 30,
        lock: Lock | None = None,
    ) -> None:
        self.max_sessions = max_sessions
        self.max_bytes = max_bytes
        self._fork_safe = ForkSafeLock() if lock is None else lock
        self._lock: Lock = getattr(self._fork_safe, "plain", self._fork_safe)
        # For what each request does: ``with`` takes twice as long in Python 3.11.
        self._take, self._give = self._lock.acquire, self._lock.release
        self._shards = make_shards()
        self._users = Users()
        self._by_expiry = TimingWheel()
        self._eviction = Eviction(self._shards, self._users, max_bytes=max_bytes)
        self._count = 0
        self._bytes = 0
        self._restored = Restored(self._shards, by_expiry=self._by_expiry, users=self._users)
        self._raw = self._restored.places  # Each request looks at it.
        self._endings = Endings()
        self._tallies = TalliesInMemory()
        self._forgotten: deque[SessionInfo] = deque(maxlen=_MAX_FORGOTTEN)

    @property
    def traits(self) -> Traits:
        """The traits of the store: it is in this process, ends many sessions in one step, and knows how they ended."""
        return _BOUNDED if self.bounded else _UNBOUNDED

    def __len__(self) -> int:
        """Return how many records there are, live or not yet pruned."""
        return self._count

    @property
    def bounded(self) -> bool:
        """Whether creating a session may evict another."""
        return self.max_sessions is not None or self.max_bytes is not None

    def create(self, record: Record) -> None:
        """Keep a new record, and evict others if the store is full.

        Raise :exc:`~flask_idlesession.SessionExists` if there is one of this id, expired or not.
        """
        key = record.info.sid.int
        packed = pack(record)
        if self._raw:
            self._ready(key % SHARDS)
        with self._lock:
            shard = self._shards[key % SHARDS]
            if key in shard:
                raise SessionExists(f"There is a session {record.info.sid} already.")
            shard[key] = packed
            self._count += 1
            self._bytes += len(packed) + OVERHEAD
            self._by_expiry.file(key, record.info.expires_at)
            self._enter(key, record.info)
            self._note_size(key, packed)
            self._make_room(record.info.last_seen_at)

    def load(self, sid: SessionId, *, now: float, touch: Touch | None = None) -> Record | None:
        """Return the record if it is live at ``now``, else None; with ``touch``, note activity in the same step."""
        key = sid.int
        shard = self._shards[key % SHARDS]
        if self._raw:
            self._ready(key % SHARDS)
        if touch is None:
            packed = shard.get(key)
            return None if packed is None or now >= expiry(packed) else packed_record(sid, packed)
        self._take()
        try:
            packed = shard.get(key)
            if packed is None:
                return None
            if packed[MARKS_AT] & PERMANENT:
                change = Change(holder=touch.holder, last_seen_at=now, refresh_by=touch.refresh_by)
                return self._commit(key, packed_record(sid, packed), change, now)[1]
            after = touched(packed, touch.holder, now, now)
            if after is None:
                return None
            shard[key] = after
        finally:
            self._give()
        return packed_record(sid, after)

    def fades_at(self, sid: SessionId) -> float:
        """Return the instant when less than half of the idle timeout is left; ``inf`` if there is no session."""
        key = sid.int
        if self._raw:
            self._ready(key % SHARDS)
        packed = self._shards[key % SHARDS].get(key)
        return inf if packed is None else fades_at(packed)

    def touch(self, sid: SessionId, holder: bytes, now: float) -> bool:
        """Note activity at ``now``, if nothing else has to be noted; return whether that was done."""
        key = sid.int
        shard = self._shards[key % SHARDS]
        if self._raw:
            self._ready(key % SHARDS)
        self._take()
        try:
            packed = shard.get(key)
            after = None if packed is None else touched_alone(packed, holder, now)
            if after is None:
                return False
            shard[key] = after
            return True
        finally:
            self._give()

    def commit(self, sid: SessionId, change: Change, *, now: float) -> Outcome:
        """Apply the change in one step, if the session is live and opens to the change's holder; return the outcome."""
        key = sid.int
        shard = self._shards[key % SHARDS]
        if self._raw:
            self._ready(key % SHARDS)
        self._take()
        try:
            packed = shard.get(key)
            if packed is None:
                return _GONE
            if not change.is_simple:
                return self._commit(key, packed_record(sid, packed), change, now)[0]
            after = simply_changed(packed, change, now)
            if after is None:
                return _GONE
            shard[key] = after
            self._bytes += len(after) - len(packed)
            if change.delta:
                is_full = self._is_full()
                if is_full or len(after) >= self._eviction.large_from:
                    self._note_size(key, after)
                if is_full:
                    self._make_room(now)
            return _DONE
        finally:
            self._give()

    def delete(self, sid: SessionId) -> bool:
        """Forget the session; return whether there was one."""
        self._ready(sid.int % SHARDS)
        with self._lock:
            return self._forget(sid.int) is not None

    def delete_many(self, sids: Sequence[SessionId]) -> list[SessionInfo]:
        """Forget these sessions in one step; return the infos of those that were there."""
        self._ready(*{sid.int % SHARDS for sid in sids})
        with self._lock:
            return [info for info in (self._forget(sid.int) for sid in sids) if info is not None]

    def find(self, *, now: float, user_id: str | None = None) -> Iterator[SessionInfo]:
        """Yield the infos of the sessions that are live at ``now``, in no order; with ``user_id``, only that user's."""
        self._ready(*self._raw)
        if user_id is not None:
            with self._lock:
                keys = self._users.keys_of(hash_of(user_id))
            pairs = [(key, self._shards[key % SHARDS].get(key)) for key in keys]
            # One may be another user's with the same hash, or have been bound to another since.
            yield from (info for info in _live_infos(pairs, now) if info.user_id == user_id)
        else:
            for shard in self._shards:
                yield from _live_infos(list(shard.items()), now)

    def prune(self, *, now: float, limit: int) -> list[SessionInfo]:
        """Forget up to ``limit`` expired sessions; return their infos, and those of evicted ones, each once."""
        with self._lock:
            taken = 0
            while self._raw and taken < _AT_ONCE:
                taken += self._take_up(next(iter(self._raw)))
            gone = [self._forgotten.popleft() for _ in range(min(limit, len(self._forgotten)))]
            return gone + self._forget_expired(now, limit=limit - len(gone))

    def next_expiry(self) -> float | None:
        """Return an instant before which :meth:`prune` has nothing to do, or None; 0.0: call it at once."""
        with self._lock:
            if self._forgotten or self._raw:
                return 0.0
            first = self._by_expiry.first(truth=self._expiry_of, budget=_BUDGET)
            return None if first is None else first[1] or 0.0  # Not found yet: to be asked again at once.

    def bury(self, endings: Sequence[Ending], *, until: float) -> None:
        """Remember until the instant ``until`` how these sessions ended."""
        packed = pack_endings(endings, until=until)
        with self._lock:
            self._endings.bury(packed)

    def ending(self, sid: SessionId, *, now: float) -> Ending | None:
        """Return how the session ended, or None if that is not remembered at ``now``."""
        return self._endings.find(sid, now=now)

    def add_tally(self, minute: int, amounts: Mapping[str, int], *, now: float) -> None:
        """Add these amounts to those of the minute and to the totals. They are lost with the process."""
        self._tallies.add(minute, amounts, now=now)

    def tallies(self, *, since: int) -> dict[int, dict[str, int]]:
        """Return the amounts of each minute from ``since`` on."""
        return self._tallies.since(since)

    def tally_totals(self) -> dict[str, int]:
        """Return the sums of all amounts."""
        return self._tallies.totals()

    def close(self) -> None:
        """Do nothing: there is nothing to close."""

    def count(self) -> Count:
        """Return how many records there are, live or not yet pruned."""
        return Count(self._count, is_exact=True)

    def stored_bytes(self) -> int:
        """Return how many bytes the records take, with an estimate of Python's own cost."""
        return self._bytes

    def size(self, *, overhead: int) -> int:
        """Return how many bytes the packed records have, with ``overhead`` more for each."""
        return self._bytes + (overhead - OVERHEAD) * self._count

    def restore(self, *, now: float) -> None:
        """Take into account the packed records that were put into the empty store's shards. Before the store is
        used, so without its lock.

        To file a million takes as long as to read them. So each shard is taken up when something in it is asked
        for, or all that may be in it; and one after the other with each pruning, until none is left.
        """
        self._count, self._bytes = self._restored.begin(now=now)
        self._make_room(now)

    def _ready(self, *places: int) -> None:
        """Take up these shards, if they are not yet: one at a time, so that others get their turn."""
        for place in places:
            if place in self._raw:
                with self._lock:
                    if place in self._raw:
                        self._take_up(place)

    # The methods below are called with the lock held.

    def _commit(self, key: int, record: PackedRecord, change: Change, now: float) -> tuple[Outcome, Record | None]:
        """Do what :meth:`commit` promises; return the outcome, and if it is DONE the record after it."""
        outcome = record.judge(change, now=now)
        if outcome is _EMPTIED:
            self._forget(key)
        if outcome is not _DONE:
            return outcome, None
        after = record.apply(change, now=now)
        before, packed = record.packed, pack(after)
        self._shards[key % SHARDS][key] = packed
        self._bytes += len(packed) - len(before)
        if change.shortens and (expires_at := expiry(packed)) < expiry(before):
            self._by_expiry.file(key, expires_at)
            self._settle_expiry()
        if change.rotation is not None and after.info.user_id != record.info.user_id:
            self._leave(key, record.info)
            self._enter(key, after.info)
        if change.delta or change.rotation is not None:
            self._note_size(key, packed)
        if change.delta:
            self._make_room(now)
        return outcome, after

    def _take_up(self, place: int) -> int:
        """Take up the restored sessions of a shard; return how many were looked at."""
        eviction = self._eviction if self.bounded else None
        taken = self._restored.take_up(place, eviction, stored=self._bytes)
        self._count -= taken.dropped
        self._bytes += taken.more_bytes
        return taken.seen

    def _forget_expired(self, now: float, *, limit: int) -> list[SessionInfo]:
        if limit <= 0:
            return []
        keys = self._by_expiry.due(now, truth=self._expiry_of, limit=limit, budget=4 * limit + 64)
        return [info for info in (self._end(key, now) for key in keys) if info is not None]

    def _make_room(self, now: float) -> None:
        """Evict until the bounds hold; what has expired goes first."""
        while self._is_full():
            for place in list(self._raw):  # Any of them may be the one that is to go.
                self._take_up(place)
            gone = self._forget_expired(now, limit=1) or self._evict(now)
            if not gone:
                return
            self._forgotten.extend(gone)

    def _is_full(self) -> bool:
        return (self.max_sessions is not None and self._count > self.max_sessions) or (
            self.max_bytes is not None and self._bytes > self.max_bytes
        )

    def _evict(self, now: float) -> list[SessionInfo]:
        key = self._eviction.first()
        info = None if key is None else self._end(key, now)
        return [] if info is None else [info]

    def _note_size(self, key: int, packed: bytes) -> None:
        self._eviction.note_size(key, packed, stored=self._bytes)

    def _end(self, key: int, now: float) -> SessionInfo | None:
        """Forget a session because of the time, or to make room."""
        packed = self._shards[key % SHARDS].get(key)
        if packed is None:
            return None
        info = unpack_info(SessionId(int=key), packed)
        # First, for it is read without the lock: no request may find neither the session nor how it ended.
        self._endings.bury(pack_endings((Ending.of_forgotten(info, now=now),), until=now + REMEMBERED))
        self._drop(key, packed, info)
        return info

    def _forget(self, key: int) -> SessionInfo | None:
        packed = self._shards[key % SHARDS].get(key)
        if packed is None:
            return None
        info = unpack_info(SessionId(int=key), packed)
        self._drop(key, packed, info)
        return info

    def _drop(self, key: int, packed: bytes, info: SessionInfo) -> None:
        del self._shards[key % SHARDS][key]
        self._eviction.forget_size(key)
        self._count -= 1
        self._bytes -= len(packed) + OVERHEAD
        self._leave(key, info)
        self._settle_expiry()

    def _enter(self, key: int, info: SessionInfo) -> None:
        """Note the session under its user, and in the order of eviction."""
        if self.bounded:
            self._eviction.enter(key, info)
        if info.user_id is not None:
            self._users.enter(key, hash_of(info.user_id))

    def _leave(self, key: int, info: SessionInfo) -> None:
        if info.user_id is not None:
            self._users.leave(key, hash_of(info.user_id))
        if self.bounded:
            self._eviction.leave(info, is_crowded_from=self._crowd)

    def _settle_expiry(self) -> None:
        if len(self._by_expiry) > self._crowd:
            self._by_expiry.settle(truth=self._expiry_of, budget=_SETTLED)

    @property
    def _crowd(self) -> int:
        """With more entries than this, those of forgotten sessions outnumber the others: some are to be dropped."""
        return 2 * self._count + 1024

    def _expiry_of(self, key: int) -> float | None:
        packed = self._shards[key % SHARDS].get(key)
        return None if packed is None else expiry(packed)


def _live_infos(pairs: list[tuple[int, bytes | None]], now: float) -> Iterator[SessionInfo]:
    for key, packed in pairs:
        if packed is not None and now < expiry(packed):
            yield unpack_info(SessionId(int=key), packed)
