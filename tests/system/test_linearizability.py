"""The memory store's calls are atomic steps; and the check that says so finds stores whose calls are not."""

import os
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from support.linearizability import Call
from support.linearizability import check_store
from support.linearizability import Event
from support.linearizability import find_order
from support.linearizability import Held
from support.linearizability import NotLinearizable

from flask_idlesession import Change
from flask_idlesession import MemoryStore
from flask_idlesession import Outcome
from flask_idlesession import Record
from flask_idlesession import SessionExists
from flask_idlesession import SessionId
from flask_idlesession import SessionInfo
from flask_idlesession import Store
from flask_idlesession import Traits

#: Another one each time, and told by the failure; to see a history's plan again, give it.
SEED = os.environ.get("LINEARIZABILITY_SEED", os.urandom(4).hex())


class SimpleStore:
    """Every call under one lock: the contract in its shortest form, for the faults below to spoil."""

    def __init__(self) -> None:
        self.records: dict[SessionId, Record] = {}
        self.lock = threading.RLock()

    def create(self, record: Record) -> None:
        with self.lock:
            if record.info.sid in self.records:
                raise SessionExists
            self.records[record.info.sid] = record

    traits = Traits(chunked=True)

    def load(self, sid: SessionId, *, now: float, touch: Any = None) -> Record | None:
        with self.lock:
            record = self.records.get(sid)
            return record if record is not None and record.info.is_live(now) else None

    def commit(self, sid: SessionId, change: Change, *, now: float) -> Outcome:
        with self.lock:
            return self._commit(sid, change, now)

    def _commit(self, sid: SessionId, change: Change, now: float) -> Outcome:
        record = self.records.get(sid)
        if record is None:
            return Outcome.GONE
        outcome = record.judge(change, now=now)
        if outcome is Outcome.EMPTIED:
            del self.records[sid]
        if outcome is Outcome.DONE:
            self.records[sid] = record.apply(change, now=now)
        return outcome

    def delete(self, sid: SessionId) -> bool:
        with self.lock:
            return self.records.pop(sid, None) is not None

    def delete_many(self, sids: Sequence[SessionId]) -> list[SessionInfo]:
        with self.lock:
            gone = [self.records.pop(sid, None) for sid in sids]
        return [record.info for record in gone if record is not None]

    def find(self, *, now: float, user_id: str | None = None) -> Iterator[SessionInfo]:
        with self.lock:
            records = list(self.records.values())
        for record in records:
            if record.info.is_live(now) and user_id in (None, record.info.user_id):
                yield record.info

    def prune(self, *, now: float, limit: int) -> list[SessionInfo]:
        with self.lock:
            ended = [record.info for record in self.records.values() if not record.info.is_live(now)][:limit]
            for info in ended:
                del self.records[info.sid]
            return ended

    def next_expiry(self) -> float | None:
        with self.lock:
            return min((record.info.expires_at for record in self.records.values()), default=None)

    def close(self) -> None:
        pass


# The planted faults.


class GetThenSet(SimpleStore):
    """Reads the record, changes it, and puts it back, without a lock."""

    def commit(self, sid: SessionId, change: Change, *, now: float) -> Outcome:
        return self._commit(sid, change, now)


class Upsert(SimpleStore):
    """Writes what it changed also where the session was ended meanwhile."""

    def commit(self, sid: SessionId, change: Change, *, now: float) -> Outcome:
        record = self.records.get(sid)
        if record is None:
            return Outcome.GONE
        outcome = record.judge(change, now=now)
        with self.lock:
            if outcome is Outcome.DONE:
                self.records[sid] = self.records.get(sid, record).apply(change, now=now)
            return outcome if outcome is not Outcome.EMPTIED else self._commit(sid, change, now)


class WholeRecord(SimpleStore):
    """Writes all keys as they were when it read the record, over what others wrote meanwhile."""

    def commit(self, sid: SessionId, change: Change, *, now: float) -> Outcome:
        before = self.records.get(sid)
        with self.lock:
            outcome = self._commit(sid, change, now)
            if outcome is Outcome.DONE and change.delta and before is not None:
                values = before.apply(change, now=now).values
                self.records[sid] = replace(self.records[sid], values=values)
            return outcome


class LateExpect(SimpleStore):
    """Compares what was expected, and only then takes the lock to write."""

    def commit(self, sid: SessionId, change: Change, *, now: float) -> Outcome:
        record = self.records.get(sid)
        if record is not None and change.expect:
            outcome = record.judge(change, now=now)
            if outcome is not Outcome.DONE:
                return outcome
        return super().commit(sid, replace(change, expect={}), now=now)


class Changed(SimpleStore):
    """Commits in one step, but not quite what it was told."""

    def _commit(self, sid: SessionId, change: Change, now: float) -> Outcome:
        before = self.records.get(sid)
        outcome = super()._commit(sid, change, now)
        if outcome is Outcome.DONE and before is not None:
            self.records[sid] = self.spoil(before, self.records[sid], change)
        return outcome

    def spoil(self, before: Record, after: Record, change: Change) -> Record:
        raise NotImplementedError


class TouchMovesBack(Changed):
    def spoil(self, before: Record, after: Record, change: Change) -> Record:
        seen = after.info.last_seen_at if change.last_seen_at is None else change.last_seen_at
        return replace(after, info=replace(after.info, last_seen_at=min(seen, after.info.last_seen_at)))


class TouchFromTheFuture(Changed):
    def spoil(self, before: Record, after: Record, change: Change) -> Record:
        seen = max(after.info.last_seen_at, change.last_seen_at or 0.0)
        return replace(after, info=replace(after.info, last_seen_at=seen))


class OldSecretAlive(Changed):
    """A log-in leaves the secret before it a grace."""

    def spoil(self, before: Record, after: Record, change: Change) -> Record:
        if change.rotation is None or change.rotation.grace_ends_at is not None:
            return after
        return replace(after, former_digest=before.secret_digest, former_ends_at=now_and(10.0))


class FormerWithoutEnd(Changed):
    def spoil(self, before: Record, after: Record, change: Change) -> Record:
        return replace(after, former_ends_at=now_and(1000.0)) if after.former_digest else after


class TouchKeepsAnEmptyKey(Changed):
    def spoil(self, before: Record, after: Record, change: Change) -> Record:
        removed = {key: b"" for key, data in change.delta.items() if data is None}
        return replace(after, values={**after.values, **removed})


class DeletedTwice(SimpleStore):
    """Looks whether there is one, and then removes it."""

    def delete(self, sid: SessionId) -> bool:
        if sid not in self.records:
            return False
        self.records.pop(sid, None)
        return True


class PrunedTwice(SimpleStore):
    """Collects what has expired, and then removes it."""

    def prune(self, *, now: float, limit: int) -> list[SessionInfo]:
        ended = [record.info for record in list(self.records.values()) if not record.info.is_live(now)][:limit]
        for info in ended:
            self.records.pop(info.sid, None)
        return ended


class PrunedAlthoughTouched(SimpleStore):
    """Removes what had expired when it looked."""

    def prune(self, *, now: float, limit: int) -> list[SessionInfo]:
        ended = [record.info for record in list(self.records.values()) if not record.info.is_live(now)][:limit]
        with self.lock:
            return [info for info in ended if self.records.pop(info.sid, None) is not None]


class CreateOverwrites(SimpleStore):
    def create(self, record: Record) -> None:
        if record.info.sid in self.records:
            raise SessionExists
        self.records[record.info.sid] = record


class RevokedOneByOne(SimpleStore):
    """Ends sessions one by one, and returns those that it found at first."""

    def delete_many(self, sids: Sequence[SessionId]) -> list[SessionInfo]:
        found = [self.records[sid].info for sid in sids if sid in self.records]
        time.sleep(0.0002)
        for sid in sids:
            self.delete(sid)
        return found


class ExpiredButThere(SimpleStore):
    """Gives out a session at the instant of its end."""

    def load(self, sid: SessionId, *, now: float, touch: Any = None) -> Record | None:
        return super().load(sid, now=now - 0.001)


class TornLoad(SimpleStore):
    """Reads the info and the values one after the other."""

    def load(self, sid: SessionId, *, now: float, touch: Any = None) -> Record | None:
        record = super().load(sid, now=now, touch=touch)
        time.sleep(0.0002)
        again = self.records.get(sid)
        return record if record is None or again is None else replace(record, values=again.values)


def now_and(more: float) -> float:
    """An instant of the recorded histories, so much after they start."""
    return 1_700_000_000.0 + more


#: Those that are rarest to see are looked for in a soak run only.
FAULTS = (
    GetThenSet,
    Upsert,
    WholeRecord,
    pytest.param(LateExpect, marks=pytest.mark.soak),
    TouchMovesBack,
    TouchFromTheFuture,
    OldSecretAlive,
    FormerWithoutEnd,
    TouchKeepsAnEmptyKey,
    DeletedTwice,
    PrunedTwice,
    PrunedAlthoughTouched,
    pytest.param(CreateOverwrites, marks=pytest.mark.soak),
    RevokedOneByOne,
    ExpiredButThere,
    TornLoad,
)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_store_with_a_planted_fault_is_found(fault: type[SimpleStore]) -> None:
    def search() -> None:
        for batch in range(60):
            check_store(fault, histories=100, threads=4, seed=f"{SEED}{batch}")

    with pytest.raises(NotLinearizable, match="seed"):
        search()


@pytest.mark.parametrize(
    ("make_store", "threads"),
    [
        (MemoryStore, 4),
        pytest.param(MemoryStore, 2, marks=pytest.mark.soak),
        pytest.param(SimpleStore, 4, marks=pytest.mark.soak),
        pytest.param(SimpleStore, 2, marks=pytest.mark.soak),
    ],
)
def test_every_call_is_one_atomic_step(make_store: Callable[[], Store], threads: int) -> None:
    overlaps = check_store(make_store, histories=500, threads=threads, seed=SEED)
    assert overlaps > 50, "the calls did not meet; nothing was shown"


@pytest.mark.soak
def test_every_call_of_the_memory_store_is_one_atomic_step_in_many_histories() -> None:
    for batch in range(20):
        check_store(MemoryStore, histories=2000, threads=4, seed=f"{SEED}{batch}")


def test_a_history_in_which_one_answers_before_the_other_asks_has_one_order_only() -> None:
    held = Held(b"A" * 32, None, now_and(0.0), 10.0, now_and(40.0), now_and(40.0), ())
    deleted = Event(Call("delete"), 10, 20, True)
    loaded = Call("load", now=now_and(1.0))
    assert find_order([deleted, Event(loaded, 15, 30, held)], (held,)) is not None, "they overlap: the load was first"
    assert find_order([deleted, Event(loaded, 21, 30, held)], (held,)) is None
    assert find_order([deleted, Event(loaded, 21, 30, None)], (held,)) is not None
    assert find_order([], (held,)) == []
