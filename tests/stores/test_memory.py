"""The memory store: the contract, its bounds, and what it costs."""

import copy
import gc
import pickle
import time
from collections.abc import Callable
from dataclasses import replace
from math import inf
from typing import Any
from uuid import UUID
from uuid import uuid4
from uuid import uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_idlesession.model.ids import digest
from flask_idlesession.model.policy import Policy
from flask_idlesession.model.record import Change
from flask_idlesession.model.record import Ending
from flask_idlesession.model.record import EndReason
from flask_idlesession.model.record import Outcome
from flask_idlesession.model.record import Record
from flask_idlesession.model.record import Rotation
from flask_idlesession.model.record import SessionInfo
from flask_idlesession.stores.contract import Store
from flask_idlesession.stores.contract import Touch
from flask_idlesession.stores.memory import endings
from flask_idlesession.stores.memory import MemoryStore
from flask_idlesession.stores.memory.packed import expiry
from flask_idlesession.stores.memory.packed import pack
from flask_idlesession.stores.memory.packed import pack_touch
from flask_idlesession.stores.memory.packed import packed_record
from flask_idlesession.stores.memory.packed import with_touch
from flask_idlesession.testing.store_contract import a_record
from flask_idlesession.testing.store_contract import at_once
from flask_idlesession.testing.store_contract import delete_all
from flask_idlesession.testing.store_contract import drain
from flask_idlesession.testing.store_contract import HOLDER
from flask_idlesession.testing.store_contract import IDLE
from flask_idlesession.testing.store_contract import NOW
from flask_idlesession.testing.store_contract import sids
from flask_idlesession.testing.store_contract import StoreContract

SECOND = digest(b"the second secret")


class TestContract(StoreContract):
    # The wheel looks at the first 64 of those that end in one sixteenth of a second.
    crowd = 50

    @pytest.fixture
    def make_store(self) -> Callable[[], Store]:
        return MemoryStore


class TestContractUnbounded(StoreContract):
    crowd = 50
    rounds = 5

    @pytest.fixture
    def make_store(self) -> Callable[[], Store]:
        return lambda: MemoryStore(max_sessions=None, max_bytes=None)


def kept(store: MemoryStore, *, now: float = NOW) -> set[Any]:
    return sids(store.find(now=now))


def seen_at(seconds: float, **info: Any) -> Record:
    """Return a record that was created and last seen so many seconds after NOW, with much time left."""
    at = NOW + seconds
    return a_record(
        **({"created_at": at, "last_seen_at": at, "idle_timeout": 1e6, "lifetime_ends_at": NOW + 1e7} | info)
    )


def touch(store: MemoryStore, record: Record, seconds: float) -> None:
    at = NOW + seconds
    assert store.commit(record.info.sid, Change(holder=HOLDER, last_seen_at=at), now=at) is Outcome.DONE


# Endings.


def test_a_flood_of_endings_leaves_what_is_remembered_of_a_revocation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endings, "_MOST", 5 * 192)
    monkeypatch.setattr(endings, "_MOST_OF_MANY", 5 * 192)
    store = MemoryStore()

    def an_ending(sid: UUID) -> Ending:
        return Ending(sid=sid, reason=EndReason.REVOKED, ended_at=NOW, user_id="ada", by="the admin")

    of_many, of_one = an_ending(uuid5(uuid4(), "ada")), an_ending(uuid4())
    store.bury([of_many, of_one], until=NOW + 600)
    store.bury([an_ending(uuid4()) for _ in range(20_000)], until=NOW + 600)
    assert store.ending(of_one.sid, now=NOW) is None
    assert store.ending(of_many.sid, now=NOW) == of_many
    store.bury([an_ending(uuid5(uuid4(), "bob")) for _ in range(20_000)], until=NOW + 600)
    assert store.ending(of_many.sid, now=NOW) is None, "They have a bound, too."


# Bounds.


def test_no_more_sessions_are_kept_than_the_bound() -> None:
    store = MemoryStore(max_sessions=10)
    for number in range(100):
        store.create(seen_at(number))
        assert len(store) == len(kept(store)) == min(number + 1, 10)


def test_the_least_recently_seen_are_evicted_first() -> None:
    store = MemoryStore(max_sessions=5)
    records = [seen_at(number) for number in range(8)]
    for record in records:
        store.create(record)
    assert kept(store) == {record.info.sid for record in records[3:]}


def test_a_touch_saves_from_eviction() -> None:
    store = MemoryStore(max_sessions=5)
    records = [seen_at(number) for number in range(5)]
    for record in records:
        store.create(record)
    touch(store, records[0], 10)
    touch(store, records[2], 11)
    new = [seen_at(20), seen_at(21)]
    for record in new:
        store.create(record)
    assert kept(store) == {record.info.sid for record in (records[0], records[2], records[4], *new)}


def test_sessions_are_evicted_in_the_order_of_their_last_touch() -> None:
    store = MemoryStore(max_sessions=20)
    records = [seen_at(number) for number in range(20)]
    for record in records:
        store.create(record)
    order = [(number * 7) % 20 for number in range(20)]
    for step, number in enumerate(order):
        touch(store, records[number], 100 + step)
    for step in range(20):
        store.create(seen_at(200 + step))
        (evicted,) = store.prune(now=NOW + 200, limit=10)
        assert evicted.sid == records[order[step]].info.sid


def test_anonymous_sessions_are_evicted_before_those_of_users() -> None:
    store = MemoryStore(max_sessions=6)
    users = [seen_at(number, user_id="ada") for number in range(3)]
    anonymous = [seen_at(10 + number) for number in range(3)]
    for record in users + anonymous:
        store.create(record)
    new = [seen_at(20 + number, user_id="bob") for number in range(3)]
    for record in new:
        store.create(record)
    assert kept(store) == {record.info.sid for record in users + new}
    store.create(last := seen_at(30, user_id="cy"))
    assert kept(store) == {record.info.sid for record in [*users[1:], *new, last]}


def test_a_session_that_logged_in_counts_as_a_users() -> None:
    store = MemoryStore(max_sessions=2)
    first, second = seen_at(0), seen_at(1)
    store.create(first)
    store.create(second)
    log_in = Change(holder=HOLDER, rotation=Rotation(secret_digest=SECOND, user_id="ada"))
    assert store.commit(first.info.sid, log_in, now=NOW + 2) is Outcome.DONE
    store.create(third := seen_at(3))
    assert kept(store) == {first.info.sid, third.info.sid}


def test_a_session_of_which_the_user_was_taken_away_counts_as_anonymous() -> None:
    store = MemoryStore(max_sessions=2)
    first, second = seen_at(0, user_id="ada"), seen_at(1, user_id="bob")
    store.create(first)
    store.create(second)
    change = Change(holder=HOLDER, rotation=Rotation(secret_digest=SECOND, user_id=None))
    assert store.commit(second.info.sid, change, now=NOW + 2) is Outcome.DONE
    store.create(third := seen_at(3, user_id="cy"))
    assert kept(store) == {first.info.sid, third.info.sid}


def test_no_more_bytes_are_kept_than_the_bound() -> None:
    store = MemoryStore(max_bytes=1_000_000, max_sessions=None)
    for number in range(1000):
        store.create(seen_at(number, values={"a": b"x" * 5_000}))
    assert 100 <= len(store) <= 199
    store.create(new := seen_at(2000, values={"a": b"x" * 14_000}))
    assert new.info.sid in kept(store) and 100 <= len(store) <= 199


def test_values_that_grow_evict_others() -> None:
    store = MemoryStore(max_bytes=1_000_000, max_sessions=None)
    records = [seen_at(number, values={"a": b"x" * 9_000}) for number in range(108)]
    for record in records:
        store.create(record)
    assert kept(store) == {record.info.sid for record in records}
    grown = records[-1].info.sid
    change = Change(holder=HOLDER, delta={"a": b"x" * 15_000}, last_seen_at=NOW + 200)
    assert store.commit(grown, change, now=NOW + 200) is Outcome.DONE
    assert kept(store) == {record.info.sid for record in records[1:]}


def test_what_was_deleted_makes_room() -> None:
    store = MemoryStore(max_bytes=1_000_000, max_sessions=None)
    for number in range(100):
        store.create(record := seen_at(number, values={"a": b"x" * 400_000}))
        shrink = Change(holder=HOLDER, delta={"a": b""})
        if number % 2:
            assert store.commit(record.info.sid, shrink, now=NOW + number) is Outcome.DONE
        store.delete(record.info.sid)
    assert len(store) == 0
    for number in range(2):
        store.create(seen_at(number, values={"a": b"x" * 400_000}))
    assert len(store) == 2


def test_a_session_that_is_too_big_for_the_store_is_not_kept() -> None:
    store = MemoryStore(max_bytes=100_000, max_sessions=None)
    store.create(record := seen_at(0, values={"a": b"x" * 200_000}))
    assert len(store) == 0 and store.load(record.info.sid, now=NOW) is None


def test_what_has_expired_goes_before_what_is_live() -> None:
    store = MemoryStore(max_sessions=3)
    expired = seen_at(2, idle_timeout=1.0)
    live = [seen_at(0), seen_at(1)]
    for record in (expired, *live):
        store.create(record)
    store.create(new := seen_at(10))
    assert kept(store) == {record.info.sid for record in (*live, new)}
    (info,) = store.prune(now=NOW + 10, limit=10)
    assert info == expired.info and not info.is_live(NOW + 10)


def test_what_was_evicted_is_handed_over_by_prune_once_and_live_still() -> None:
    store = MemoryStore(max_sessions=5)
    records = [seen_at(number, values={}) for number in range(20)]
    for record in records:
        store.create(record)
    assert store.next_expiry() == 0.0
    evicted: list[SessionInfo] = []
    while some := store.prune(now=NOW + 20, limit=4):
        assert len(some) <= 4
        evicted += some
    assert evicted == [record.info for record in records[:15]]
    assert all(info.is_live(NOW + 20) for info in evicted)
    due = store.next_expiry()
    assert due is not None and due > NOW + 20


def test_how_an_evicted_session_ended_is_remembered_in_the_step_that_evicts_it() -> None:
    store = MemoryStore(max_sessions=1)
    evicted, other = a_record(user_id="ada"), a_record(user_id="bob", last_seen_at=NOW + 10)
    store.create(evicted)
    store.create(other)
    told = Ending(sid=evicted.info.sid, reason=EndReason.EVICTED, ended_at=NOW + 10, user_id="ada")
    assert store.ending(evicted.info.sid, now=NOW + 10) == told


def test_an_evicted_session_is_gone() -> None:
    store = MemoryStore(max_sessions=1)
    store.create(record := seen_at(0, user_id="ada"))
    store.create(seen_at(1, user_id="bob"))
    change = Change(holder=HOLDER, last_seen_at=NOW + 2, delta={"a": b"1"})
    assert store.commit(record.info.sid, change, now=NOW + 2) is Outcome.GONE
    assert list(store.find(now=NOW, user_id="ada")) == [] and delete_all(store, "ada") == 0


def test_the_bound_holds_while_many_threads_create() -> None:
    store = MemoryStore(max_sessions=50)

    def create() -> None:
        for number in range(300):
            store.create(seen_at(number))

    at_once(*[create] * 8)
    assert len(store) == len(kept(store)) == 50
    assert len(drain(store, now=NOW + 400)) == 8 * 300 - 50


# What it costs.


def entries(store: MemoryStore) -> int:
    return len(store._by_expiry) + len(store._eviction._anonymous) + len(store._eviction._logged_in)


@pytest.mark.parametrize("number", [20_000, pytest.param(200_000, marks=pytest.mark.soak)])
@pytest.mark.parametrize("user_id", [None, "ada"])
def test_sessions_that_come_and_go_leave_nothing(user_id: str | None, number: int) -> None:
    store = MemoryStore()
    for count in range(number):
        at = count / 1000
        record = seen_at(at, user_id=user_id)
        store.create(record)
        assert store.delete(record.info.sid)
    assert len(store) == 0 and store._bytes == 0
    assert entries(store) < 5000
    assert not store._users


def test_sessions_that_come_and_go_among_others_leave_nothing() -> None:
    store = MemoryStore()
    for number in range(2000):
        store.create(seen_at(number / 100))
    for number in range(30_000):
        record = seen_at(20 + number / 100, idle_timeout=IDLE if number % 2 else 3600.0)
        store.create(record)
        store.delete(record.info.sid)
    assert len(store) == 2000
    assert entries(store) < 20_000
    assert drain(store, now=NOW + 1e5) == [] and len(kept(store)) == 2000


def test_an_idle_timeout_that_goes_to_and_fro_leaves_nothing() -> None:
    store = MemoryStore()
    store.create(record := seen_at(0))
    for number in range(20_000):
        change = Change(holder=HOLDER, idle_timeout=1000.0 if number % 2 else 2000.0)
        assert store.commit(record.info.sid, change, now=NOW) is Outcome.DONE
    assert entries(store) < 5000
    assert sids(drain(store, now=NOW + 2000)) == {record.info.sid}


def test_a_browser_that_changes_users_leaves_nothing() -> None:
    store = MemoryStore()
    store.create(record := seen_at(0))
    holder = HOLDER
    for number in range(20_000):
        new = digest(bytes(number))
        rotation = Rotation(secret_digest=new, user_id=("ada", "bob", None)[number % 3])
        change = Change(holder=holder, last_seen_at=NOW + number, rotation=rotation)
        assert store.commit(record.info.sid, change, now=NOW + number) is Outcome.DONE
        holder = new
    assert entries(store) < 10_000
    assert store.delete(record.info.sid) and not store._users


def test_users_with_the_same_hash_have_each_their_own_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flask_idlesession.stores.memory.users._HASH", 0)
    store = MemoryStore()
    records = {user_id: [seen_at(at, user_id=user_id) for at in range(20)] for user_id in ("ada", "bob", "eve")}
    for record in (record for of_user in records.values() for record in of_user):
        store.create(record)
    for user_id, of_user in records.items():
        assert {info.sid for info in store.find(now=NOW + 20, user_id=user_id)} == {each.info.sid for each in of_user}
    kept = records["ada"][0].info.sid
    assert delete_all(store, "ada", keep=kept) == 19
    assert store.delete(records["bob"][0].info.sid) and delete_all(store, "bob") == 19
    assert [info.sid for info in store.find(now=NOW + 20, user_id="ada")] == [kept]
    assert len(list(store.find(now=NOW + 20, user_id="eve"))) == 20 and len(store) == 21
    assert delete_all(store, "ada") == 1 and delete_all(store, "eve") == 20 and not store._users


def test_a_user_with_many_sessions_is_logged_out_of_all_in_no_time() -> None:
    """A log-in form without a limit makes as many as somebody wants; the lock is held meanwhile."""
    store = MemoryStore()
    for number in range(5000):
        store.create(seen_at(number / 100, user_id="ada"))
    began = time.thread_time()
    assert delete_all(store, "ada") == 5000
    assert time.thread_time() - began < 0.5


def full_collection(repeat: int = 5) -> float:
    """Return the seconds that the quickest of some full collections took."""
    times = []
    for _ in range(repeat):
        began = time.thread_time()
        gc.collect()
        times.append(time.thread_time() - began)
    return min(times)


def check_collection(number: int, *, slower: float) -> None:
    """Fill a store; a full collection must not be slower for it, give or take what a busy machine does."""
    tracked, before = len(gc.get_objects()), full_collection()
    store = MemoryStore(max_sessions=None, max_bytes=None)
    for count in range(number):
        user_id = f"user {count // 3}" if count % 2 else None
        store.create(seen_at(count / 1000, user_id=user_id, values={"a": b"x" * 20, "b": b"y"}))
    after = full_collection()
    more = len(gc.get_objects()) - tracked
    print(
        f"{number} sessions: a full collection takes {before:.4f} s before and {after:.4f} s after; {more} more objects"
    )
    assert len(store) == number
    assert more < number / 20
    assert after < slower * before


def test_a_full_collection_is_not_slower_for_100_000_sessions() -> None:
    check_collection(100_000, slower=3.0)


@pytest.mark.soak
def test_a_full_collection_is_not_slower_for_1_000_000_sessions() -> None:
    check_collection(1_000_000, slower=1.5)


# A record that is looked into when asked.


def changes() -> list[Change]:
    touch = Change(holder=HOLDER, last_seen_at=NOW + 5)
    return [
        touch,
        Change(holder=HOLDER),
        Change(holder=HOLDER, last_seen_at=NOW - 5),
        Change(holder=HOLDER, last_seen_at=NOW + 500),
        replace(touch, delta={"a": b"new", "b": None, "c": b"", "none": None}),
        replace(touch, delta={"a": None, "b": None}),
        replace(touch, idle_timeout=7.0, refresh_by=NOW + 70),
        replace(touch, refresh_by=inf, labels={"x": 1, "y": None}),
        replace(touch, rotation=Rotation(secret_digest=b"2" * 32, user_id="bob", grace_ends_at=NOW + 9)),
    ]


ODD = {"idle_timeout": 600.1, "created_at": NOW - 0.3}


@pytest.mark.parametrize("change", changes())
@pytest.mark.parametrize("user_id", [None, "ada"])
@pytest.mark.parametrize("times", [{}, {"refresh_by": NOW + 30}, ODD, {**ODD, "refresh_by": NOW + 30}])
@pytest.mark.parametrize("former", [{}, {"former_digest": b"f" * 32, "former_ends_at": NOW + 3}])
def test_a_packed_record_changes_as_a_record_does(
    change: Change, user_id: str | None, times: dict[str, float], former: dict[str, Any]
) -> None:
    plain = a_record(user_id=user_id, labels={"y": "z"}, values={"a": b"1", "b": b"2"}, **times)
    plain = replace(plain, **former)
    packed = packed_record(plain.info.sid, pack(plain))
    assert (
        packed == plain and plain == packed and packed.judge(change, now=NOW + 10) is plain.judge(change, now=NOW + 10)
    )
    after = packed.apply(change, now=NOW + 10)
    assert after == plain.apply(change, now=NOW + 10)
    for one, other in ((packed, plain), (after, plain.apply(change, now=NOW + 10))):
        assert (one.expires_at, one.is_permanent, one.has_user) == (
            other.expires_at,
            other.is_permanent,
            other.has_user,
        )
    assert pack(after) == pack(plain.apply(change, now=NOW + 10))


instants = st.one_of(st.sampled_from([0.0, NOW, NOW + 0.1, inf]), st.floats(0, 1e300))
spans = st.one_of(st.sampled_from([0.0, 60.0, 0.1, 3600.0, inf]), st.floats(0, 1e300))


@given(instants, instants, spans, spans, st.one_of(st.just(inf), instants), instants)
def test_a_packed_record_has_its_times_to_the_last_bit(
    created_at: float, seen: float, idle_timeout: float, lifetime: float, refresh_by: float, moment: float
) -> None:
    plain = a_record(
        created_at=created_at,
        last_seen_at=seen,
        idle_timeout=idle_timeout,
        lifetime_ends_at=created_at + lifetime,
        refresh_by=refresh_by,
    )
    packed = pack(plain)
    assert packed_record(plain.info.sid, packed).info == plain.info
    assert expiry(packed) == plain.expires_at
    for change in (Change(holder=HOLDER, last_seen_at=moment), Change(holder=HOLDER, refresh_by=moment)):
        after = plain.apply(change, now=moment)
        assert with_touch(packed, pack_touch(pack(after))) == pack(after)
        assert packed_record(plain.info.sid, packed).apply(change, now=moment) == after
        assert packed_record(plain.info.sid, packed).judge(change, now=moment) is plain.judge(change, now=moment)


def test_a_packed_record_can_be_copied_pickled_and_shown_and_tells_no_secret() -> None:
    plain = a_record(user_id="ada", values={"a": b"value"})
    packed = packed_record(plain.info.sid, pack(plain))
    assert copy.deepcopy(packed) == pickle.loads(pickle.dumps(packed)) == packed == plain
    assert packed != a_record() and packed != packed_record(uuid4(), pack(plain))
    assert repr(packed) == repr(plain)
    assert packed.holding({"b": b"2"}) == replace(plain, values={"b": b"2"})


def test_a_visit_answers_as_a_touch_and_a_load() -> None:
    for moment in (NOW - 3, NOW, NOW + 4, NOW + 9, NOW + 10):
        for holder in (HOLDER, b"f" * 32, b"x" * 32):
            one, other = MemoryStore(), MemoryStore()
            record = replace(a_record(idle_timeout=10.0), former_digest=b"f" * 32, former_ends_at=NOW + 5)
            one.create(record)
            other.create(record)
            visited = one.load(record.info.sid, now=moment, touch=Touch(holder, None))
            outcome = other.commit(record.info.sid, Change(holder=holder, last_seen_at=moment), now=moment)
            assert (visited is not None) is (outcome is Outcome.DONE)
            assert visited is None or visited == other.load(record.info.sid, now=moment)
            assert one.load(record.info.sid, now=NOW) == other.load(record.info.sid, now=NOW)


@pytest.mark.parametrize("seen", [NOW - 5, NOW, NOW + 3, NOW + 50])
def test_a_touch_is_committed_as_any_change_is(seen: float) -> None:
    for holder, now in (
        (HOLDER, NOW + 4),
        (b"f" * 32, NOW + 4),
        (b"f" * 32, NOW + 6),
        (b"x" * 32, NOW),
        (HOLDER, NOW + 10),
    ):
        store, change = MemoryStore(), Change(holder=holder, last_seen_at=seen)
        record = replace(a_record(idle_timeout=10.0), former_digest=b"f" * 32, former_ends_at=NOW + 5)
        store.create(record)
        outcome = record.judge(change, now=now)
        assert store.commit(record.info.sid, change, now=now) is outcome
        after = record.apply(change, now=now) if outcome is Outcome.DONE else record
        assert store.load(record.info.sid, now=NOW) == after


# What takes no way to a server.


def test_a_session_that_is_nobodys_is_touched_alone() -> None:
    store = MemoryStore()
    store.create(record := seen_at(0, values={"a": b"1"}))
    sid = record.info.sid
    assert store.touch(sid, holder=HOLDER, now=NOW + 5)
    assert store.touch(sid, holder=HOLDER, now=NOW + 3)
    after = store.load(sid, now=NOW + 5)
    assert after is not None and after == replace(record, info=replace(record.info, last_seen_at=NOW + 5))


@pytest.mark.parametrize(
    "told",
    [{"user_id": "ada"}, {"refresh_by": NOW + 100}, {"idle_timeout": 1.0}, {"lifetime_ends_at": NOW + 4}],
    ids=str,
)
def test_what_else_there_is_to_note_of_a_session_is_not_passed_over(told: dict[str, Any]) -> None:
    store = MemoryStore()
    store.create(record := seen_at(0, **told))
    assert not store.touch(record.info.sid, holder=HOLDER, now=NOW + 5)
    left = store.load(record.info.sid, now=NOW)
    assert left is not None and left.info.last_seen_at == NOW


def test_a_stranger_touches_nothing() -> None:
    store = MemoryStore()
    store.create(record := seen_at(0))
    assert not store.touch(record.info.sid, holder=b"x" * 32, now=NOW + 5)
    assert not store.touch(uuid4(), holder=HOLDER, now=NOW + 5)
    store.commit(
        record.info.sid,
        Change(holder=HOLDER, rotation=Rotation(secret_digest=b"2" * 32, user_id=None, grace_ends_at=NOW + 9)),
        now=NOW + 1,
    )
    assert not store.touch(record.info.sid, holder=HOLDER, now=NOW + 5), "It must be told of the new token."


@given(
    idle=st.floats(1, 100),
    seen=st.floats(0, 100),
    ends=st.floats(1, 200),
    refresh=st.just(inf) | st.floats(1, 200),
    now=st.floats(0, 250),
)
def test_a_session_is_fading_as_the_policy_says(
    idle: float, seen: float, ends: float, refresh: float, now: float
) -> None:
    record = a_record(
        created_at=NOW,
        last_seen_at=NOW + seen,
        idle_timeout=idle,
        lifetime_ends_at=NOW + ends,
        refresh_by=NOW + refresh,
    )
    store = MemoryStore()
    store.create(record)
    info, at = record.info, NOW + now
    if info.is_live(at):
        assert (at > store.fades_at(info.sid)) == Policy().touches_at_once(info, now=at)


# A fair share.


def of_size(size: int, user: str | None, *, at: float = NOW) -> Record:
    return a_record(user_id=user, created_at=at, last_seen_at=at, values={"v": bytes(size)})


def filled(store: MemoryStore, count: int = 60) -> list[Record]:
    """Put sessions of other users there, each of which was seen before all that come."""
    others = [of_size(1000, f"user {number}", at=NOW - 10) for number in range(count)]
    for record in others:
        store.create(record)
    return others


@pytest.mark.parametrize("user", ["mallory", None])
def test_an_owner_of_one_session_that_takes_more_than_a_share_loses_it_before_anybody_else(user: str | None) -> None:
    store = MemoryStore(max_bytes=200_000)
    others, large = filled(store), of_size(90_000, user)
    store.create(large)
    more = [of_size(1000, f"new {number}", at=NOW + 1) for number in range(60)]
    for record in more:
        store.create(record)
    assert sids(store.find(now=NOW)) == {record.info.sid for record in (*others, *more)}
    assert [info.sid for info in store.prune(now=NOW, limit=9)] == [large.info.sid]


def test_an_owner_of_many_sessions_loses_the_largest_first() -> None:
    store = MemoryStore(max_bytes=2_000_000)
    others = filled(store, 600)
    mine = [of_size(1000 + number % 500, "mallory") for number in range(1500)]  # None is large by itself.
    for record in mine:
        store.create(record)
    left = sids(store.find(now=NOW))
    assert left.issuperset(record.info.sid for record in others)
    kept = [record for record in mine if record.info.sid in left]
    assert 0 < len(kept) < 1500
    gone = [info.sid for info in store.prune(now=NOW, limit=2000)]
    assert len(gone) + len(kept) == 1500
    sizes = {record.info.sid: len(record.values["v"]) for record in mine}
    assert max(len(record.values["v"]) for record in kept[:100]) <= min(sizes[sid] for sid in gone[:20])


def test_a_session_that_grows_counts_as_it_is() -> None:
    store = MemoryStore(max_bytes=200_000)
    others, growing = filled(store), of_size(10, "mallory")
    store.create(growing)
    for number in range(20):
        change = Change(holder=HOLDER, delta={f"draft {number}": bytes(10_000)})
        store.commit(growing.info.sid, change, now=NOW)
    assert sids(store.find(now=NOW)) == {record.info.sid for record in others}


def test_owners_of_less_than_a_share_are_evicted_in_the_order_in_which_they_were_seen() -> None:
    store = MemoryStore(max_bytes=200_000)
    records = [of_size(1000, f"user {number}", at=NOW + number / 10) for number in range(200)]
    for record in records:
        store.create(record)
    left = sids(store.find(now=NOW))
    assert left == {record.info.sid for record in records[-len(left) :]}


def test_two_heavy_owners_lose_in_turn_the_heavier_first() -> None:
    store = MemoryStore(max_bytes=200_000)
    others = filled(store)
    heavier, heavy = of_size(60_000, "mallory"), of_size(50_000, "trudy")
    for record in (heavy, heavier):
        store.create(record)
    for number in range(90):
        store.create(of_size(1000, f"new {number}", at=NOW + 1))
    left = sids(store.find(now=NOW))
    assert left.issuperset(record.info.sid for record in others)
    gone = [info.sid for info in store.prune(now=NOW, limit=9)]
    assert gone == [heavier.info.sid, heavy.info.sid]
