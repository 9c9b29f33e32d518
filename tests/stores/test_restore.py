"""What a memory store was given back at its start is filed later, and nobody can tell."""

import threading
from math import inf

import pytest

from flask_idlesession import Change
from flask_idlesession import MemoryStore
from flask_idlesession import Outcome
from flask_idlesession import Record
from flask_idlesession import SessionInfo
from flask_idlesession.model.ids import new_session_id
from flask_idlesession.stores.memory import store as memory
from flask_idlesession.stores.memory.packed import pack
from flask_idlesession.testing.store_contract import delete_all

NOW, IDLE, DAY = 1_000_000.0, 600.0, 86_400.0
HOLDER = b"h" * 32


def a_record(number: int = 0, *, user_id: str | None = None, seen_at: float = NOW) -> Record:
    info = SessionInfo(
        sid=new_session_id(),
        user_id=user_id,
        created_at=NOW - IDLE,
        last_seen_at=seen_at,
        idle_timeout=IDLE,
        lifetime_ends_at=NOW + DAY,
        refresh_by=inf,
    )
    return Record(info=info, secret_digest=HOLDER, values={"n": b"%d" % number})


def restored(records: list[Record], *, now: float = NOW, **bounds: int | None) -> MemoryStore:
    store = MemoryStore(**bounds)
    for record in records:
        key = record.info.sid.int
        store._shards[key % len(store._shards)][key] = pack(record)
    store.restore(now=now)
    return store


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_AT_ONCE", 1)


def prune_all(store: MemoryStore, *, now: float) -> list[SessionInfo]:
    gone = store.prune(now=now, limit=1000)
    while store.next_expiry() == 0.0:
        gone += store.prune(now=now, limit=1000)
    return gone


def test_there_is_more_to_do_at_once_until_all_are_filed() -> None:
    store = restored([a_record(seen_at=NOW - number) for number in range(100)])
    assert store.next_expiry() == 0.0
    assert prune_all(store, now=NOW) == []
    assert NOW + IDLE - 100 <= store.next_expiry() <= NOW + IDLE - 99


def test_each_pruning_files_a_part() -> None:
    store = restored([a_record() for _ in range(1000)])
    store.prune(now=NOW, limit=10)
    assert 0 < len(store._by_expiry) < 100


def test_what_ends_before_it_was_filed_is_told_once() -> None:
    records = [a_record(seen_at=NOW - number) for number in range(100)]
    store = restored(records)
    gone = prune_all(store, now=NOW + IDLE - 50)
    assert {info.sid for info in gone} == {record.info.sid for record in records[50:]}
    assert len(gone) == 50 == len(store)


def test_what_had_ended_is_not_told_and_not_counted_any_more() -> None:
    store = restored([a_record(seen_at=NOW - IDLE) for _ in range(100)] + [a_record()])
    assert list(store.find(now=NOW - IDLE)) == list(store.find(now=NOW))
    assert len(store) == 1 and prune_all(store, now=NOW) == []
    assert store.size(overhead=0) == len(pack(a_record()))


def test_a_session_from_the_future_is_seen_as_of_the_start() -> None:
    record = a_record(seen_at=NOW + 50)
    loaded = restored([record]).load(record.info.sid, now=NOW)
    assert loaded is not None and loaded.info.last_seen_at == NOW


def test_a_users_sessions_are_found_at_once() -> None:
    records = [a_record(user_id="ann") for _ in range(20)] + [a_record(user_id="bob")]
    assert sum(1 for _ in restored(records).find(now=NOW, user_id="ann")) == 20
    store = restored(records)
    assert delete_all(store, "ann", keep=records[0].info.sid, now=NOW) == 19
    assert {info.sid for info in store.find(now=NOW)} == {records[0].info.sid, records[-1].info.sid}


def test_what_is_evicted_is_the_least_recently_seen_of_the_anonymous_ones() -> None:
    records = [a_record(seen_at=NOW - 100 - number, user_id="ann") for number in range(20)]
    records += [a_record(seen_at=NOW - number) for number in range(20)]
    store = restored(records, max_sessions=40)
    store.create(a_record())
    assert [info.sid for info in store.prune(now=NOW, limit=10)] == [records[-1].info.sid]
    assert len(restored(records, max_sessions=30)) == 30


def test_what_is_changed_or_deleted_before_is_filed_as_it_is_then() -> None:
    changed, deleted, other = a_record(), a_record(user_id="ann"), a_record()
    store = restored([changed, deleted, other])
    change = Change(holder=HOLDER, idle_timeout=10.0, delta={"a": b"1"})
    assert store.commit(changed.info.sid, change, now=NOW) is Outcome.DONE
    assert store.delete(deleted.info.sid) and not store.delete(deleted.info.sid)
    assert [info.sid for info in prune_all(store, now=NOW + 10)] == [changed.info.sid]
    assert [info.sid for info in store.find(now=NOW)] == [other.info.sid] and len(store) == 1
    assert not list(store.find(now=NOW, user_id="ann"))


@pytest.mark.parametrize("attempt", range(10))
def test_threads_that_come_first_do_not_file_a_session_twice_or_lose_one(attempt: int) -> None:
    records = [a_record(user_id=f"user {number % 50}") for number in range(600)]
    store = restored(records)
    start = threading.Barrier(4)
    errors: list[Exception] = []

    def work(part: int) -> None:
        try:
            start.wait()
            for record in records[part::4]:
                assert store.load(record.info.sid, now=NOW) == record
                store.prune(now=NOW, limit=1)
            assert sum(1 for _ in store.find(now=NOW, user_id=f"user {part}")) == 12
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(store) == len(store._by_expiry) == len(store._eviction._logged_in) == 600
    assert len(prune_all(store, now=NOW + IDLE)) == 600 and len(store) == 0


def test_bytes_are_counted_exactly_when_all_are_filed() -> None:
    records = [a_record(10**number) for number in range(200)]
    store = restored(records)
    prune_all(store, now=NOW)
    assert store.size(overhead=0) == sum(len(pack(record)) for record in records)
