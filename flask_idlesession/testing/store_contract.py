"""The contract of a store, as tests that each store's test class inherits. They look at nothing inside a store."""

import struct
import sys
import threading
from collections import Counter
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from math import inf
from pathlib import Path
from typing import Any
from uuid import UUID
from uuid import uuid4
from uuid import uuid5

import pytest

from ..model.errors import SessionExists
from ..model.ids import digest
from ..model.ids import SessionId
from ..model.record import Change
from ..model.record import Delta
from ..model.record import Ending
from ..model.record import EndReason
from ..model.record import Outcome
from ..model.record import Record
from ..model.record import Rotation
from ..model.record import SessionInfo
from ..stores import open_store
from ..stores.contract import chunked
from ..stores.contract import Count
from ..stores.contract import counts
from ..stores.contract import endings_of
from ..stores.contract import EndNews
from ..stores.contract import evicting
from ..stores.contract import keeps_tallies
from ..stores.contract import KeepsTallies
from ..stores.contract import REMEMBERED
from ..stores.contract import Store
from ..stores.contract import TALLIED
from ..stores.contract import tells_ends
from ..stores.contract import Touch

NOW = 1_700_000_000.0
MINUTE = int(NOW // 60)
IDLE = 60.0
LIFETIME = 3600.0
HOLDER = digest(b"the first secret")
SECOND = digest(b"the second secret")
THIRD = digest(b"the third secret")
STRANGER = digest(b"the secret of somebody else")

DONE, GONE, CONFLICT, EMPTIED = Outcome.DONE, Outcome.GONE, Outcome.CONFLICT, Outcome.EMPTIED

#: Texts that a careless store mixes up, escapes wrongly or takes for a pattern.
AWKWARD_TEXTS = [
    "",
    " ",
    "a",
    "A",
    "á",
    "a\u0301",
    "名前",
    "🪑" * 20,
    "%",
    "_",
    "*",
    "a*",
    "[ab]",
    "{a}",
    "a:b",
    "a\nb",
    "a\x00b",
    "'; DROP TABLE sessions; --",
    "\\",
    '"',
    "None",
    "0",
    "00",
    "u" * 1000,
]


def needs(*flags: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Mark a test that a store passes only by these flags of its class.

    A marker of pytest would have to be registered by each project that inherits the suite.
    """

    def mark(test: Callable[..., Any]) -> Callable[..., Any]:
        test.needed = flags  # type: ignore[attr-defined]
        return test

    return mark


def a_record(
    *, sid: SessionId | None = None, holder: bytes = HOLDER, values: dict[str, bytes] | None = None, **info: Any
) -> Record:
    """Return a record that was last seen at NOW and ends a minute later, unless ``info`` says otherwise."""
    told = {"created_at": NOW, "last_seen_at": NOW, "idle_timeout": IDLE, "lifetime_ends_at": NOW + LIFETIME}
    return Record(
        info=SessionInfo(sid=uuid4() if sid is None else sid, **(told | info)),
        secret_digest=holder,
        values={"kept": b"k"} if values is None else values,
    )


def at_once(*works: Callable[[], Any]) -> list[Any]:
    """Run the works in threads of their own, let loose at a barrier; return what they returned."""
    barrier = threading.Barrier(len(works))
    results: list[Any] = [None] * len(works)
    errors: list[BaseException] = []

    def run(number: int, work: Callable[[], Any]) -> None:
        barrier.wait(30)
        try:
            results[number] = work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=pair, daemon=True) for pair in enumerate(works)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # So that threads take turns within a method, not only between two.
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive(), "A thread is stuck."
    finally:
        sys.setswitchinterval(interval)
    if errors:
        raise errors[0]
    return results


def drain(store: Store, *, now: float, limit: int = 100) -> list[SessionInfo]:
    """Prune as the cleaner does, for as long as the store says that there is something to do."""
    forgotten: list[SessionInfo] = []
    for _ in range(2000):
        due = store.next_expiry()
        if due is None or due > now:
            return forgotten
        forgotten += store.prune(now=now, limit=limit)
    raise AssertionError(f"next_expiry() says {due} at {now}, however often prune() is called.")


def delete_all(store: Store, user_id: str, *, keep: SessionId | None = None, now: float = NOW) -> int:
    """End a user's live sessions but ``keep``, as a revocation does; return how many this call ended."""
    found = [info.sid for info in store.find(now=now, user_id=user_id) if info.sid != keep]
    many = chunked(store)
    return sum(map(store.delete, found)) if many is None else len(many.delete_many(found))


def sids(infos: Any) -> set[SessionId]:
    """Return the ids of some infos, each of which must be there once."""
    listed = [info.sid for info in infos]
    assert len(listed) == len(set(listed)), "A session is there twice."
    return set(listed)


class StoreContract:
    """Inherit this, and give a fixture (or a fixture method) ``make_store``: it returns a callable that opens
    an empty store. A store that cannot do something by its nature says so in the flags below.
    """

    #: Several threads can write to one session without losing anything.
    is_atomic = True
    #: ``find`` sees every session.
    finds = True
    #: ``prune`` hands over what has expired, once.
    prunes = True
    #: ``next_expiry`` tells to the instant; else it may say too early, or nothing.
    next_expiry_is_exact = False
    #: The number of sessions ending in one moment among which ``next_expiry`` and ``prune`` still find the first.
    crowd = 300
    #: How often each race is run: fewer times for a store behind a network.
    rounds = 25

    @pytest.fixture
    def make_store(self) -> Callable[[], Store]:
        raise NotImplementedError("The store's test class gives a fixture make_store.")

    @pytest.fixture
    def store(self, make_store: Callable[[], Store]) -> Iterator[Store]:
        store = make_store()
        yield store
        store.close()

    @pytest.fixture(autouse=True)
    def _skip_what_it_cannot_do(self, request: pytest.FixtureRequest) -> None:
        for flag in getattr(request.function, "needed", ()):
            if not getattr(self, flag):
                pytest.skip(f"By its nature this store has no {flag!r}.")

    # It is a store.

    def test_an_application_takes_it_for_a_store(self, store: Store) -> None:
        assert open_store(store, folder=Path()) is store

    def test_an_empty_store_knows_nothing(self, store: Store) -> None:
        sid = uuid4()
        assert store.load(sid, now=NOW) is None
        assert store.commit(sid, Change(holder=HOLDER, last_seen_at=NOW), now=NOW) is GONE
        assert store.delete(sid) is False
        assert delete_all(store, "ada") == 0
        assert list(store.find(now=NOW)) == []
        assert list(store.find(now=NOW, user_id="ada")) == []
        assert list(store.prune(now=NOW, limit=10)) == []
        assert store.next_expiry() is None

    # Round trips.

    def test_a_record_comes_back_as_it_was_created(self, store: Store) -> None:
        record = a_record(
            user_id="ada",
            created_at=NOW - 12.345678,
            last_seen_at=NOW - 0.000001,
            idle_timeout=0.1 + 0.2,
            lifetime_ends_at=NOW + 1 / 3,
            refresh_by=NOW + 1e6 / 7,
            values={"a": b"1", "b": b"\x00\xff"},
        )
        store.create(record)
        assert store.load(record.info.sid, now=NOW) == record

    @pytest.mark.parametrize("former_ends_at", [NOW + 1.25, inf])
    def test_a_former_secret_comes_back(self, store: Store, former_ends_at: float) -> None:
        record = replace(a_record(), former_digest=SECOND, former_ends_at=former_ends_at)
        store.create(record)
        assert store.load(record.info.sid, now=NOW) == record

    def test_infinite_instants_come_back(self, store: Store) -> None:
        for name in ("idle_timeout", "lifetime_ends_at", "refresh_by"):
            info: dict[str, Any] = {name: inf}
            record = a_record(**info)
            store.create(record)
            assert store.load(record.info.sid, now=NOW) == record

    def test_a_session_without_any_end_is_kept(self, store: Store) -> None:
        record = a_record(idle_timeout=inf, lifetime_ends_at=inf, refresh_by=inf)
        store.create(record)
        assert store.load(record.info.sid, now=NOW + 1e9) == record
        assert drain(store, now=NOW + 1e9) == []
        assert store.commit(record.info.sid, Change(holder=HOLDER, idle_timeout=1.0), now=NOW) is DONE
        assert store.load(record.info.sid, now=NOW + 1.0) is None

    def test_a_session_may_end_up_without_any_end(self, store: Store) -> None:
        record = a_record(lifetime_ends_at=inf)
        store.create(record)
        assert store.commit(record.info.sid, Change(holder=HOLDER, idle_timeout=inf), now=NOW) is DONE
        assert drain(store, now=NOW + 2 * IDLE) == []
        assert store.load(record.info.sid, now=NOW + 1e9) is not None

    def test_a_user_with_an_awkward_id_comes_back(self, store: Store) -> None:
        for user_id in AWKWARD_TEXTS:
            record = a_record(user_id=user_id)
            store.create(record)
            loaded = store.load(record.info.sid, now=NOW)
            assert loaded == record, user_id

    def test_nobody_and_a_user_with_an_empty_id_are_two(self, store: Store) -> None:
        nobody, empty = a_record(user_id=None), a_record(user_id="")
        store.create(nobody)
        store.create(empty)
        assert store.load(nobody.info.sid, now=NOW) == nobody
        assert store.load(empty.info.sid, now=NOW) == empty

    def test_values_under_awkward_keys_come_back(self, store: Store) -> None:
        values = {key: bytes([number]) for number, key in enumerate(AWKWARD_TEXTS)}
        record = a_record(values=values)
        store.create(record)
        assert store.load(record.info.sid, now=NOW) == record
        for key in AWKWARD_TEXTS:
            assert store.commit(record.info.sid, Change(holder=HOLDER, delta={key: None}), now=NOW) is DONE
            del values[key]
            loaded = store.load(record.info.sid, now=NOW)
            assert loaded is not None and loaded.values == values

    def test_a_key_named_as_a_column_is_no_column(self, store: Store) -> None:
        names = ["sid", "user_id", "values", "info", "secret_digest", "last_seen_at", "expires_at", "version", "__lock"]
        record = a_record(values={name: name.encode() for name in names})
        store.create(record)
        assert store.load(record.info.sid, now=NOW) == record

    @pytest.mark.parametrize("data", [b"", b"\x00", b"\x00" * 10, bytes(range(256)), b"nul\x00nul", b"\xff\xfe"])
    def test_any_bytes_come_back(self, store: Store, data: bytes) -> None:
        record = a_record(values={"first": data})
        store.create(record)
        assert store.commit(record.info.sid, Change(holder=HOLDER, delta={"second": data}), now=NOW) is DONE
        loaded = store.load(record.info.sid, now=NOW)
        assert loaded is not None and loaded.values == {"first": data, "second": data}

    def test_a_session_without_values_is_a_session(self, store: Store) -> None:
        record = a_record(values={})
        store.create(record)
        assert store.load(record.info.sid, now=NOW) == record

    def test_a_value_of_a_megabyte_comes_back(self, store: Store) -> None:
        data = bytes(range(256)) * 4096
        record = a_record(values={"big": data})
        store.create(record)
        assert store.commit(record.info.sid, Change(holder=HOLDER, delta={"bigger": data + b"!"}), now=NOW) is DONE
        loaded = store.load(record.info.sid, now=NOW)
        assert loaded is not None and loaded.values == {"big": data, "bigger": data + b"!"}

    def test_a_thousand_keys_come_back(self, store: Store) -> None:
        values = {f"key {number}": struct.pack("<I", number) for number in range(1000)}
        record = a_record(values=values)
        store.create(record)
        assert store.load(record.info.sid, now=NOW) == record

    @pytest.mark.parametrize("sid", [UUID(int=0), UUID(int=1), UUID(int=2**127), UUID(int=2**128 - 1)])
    def test_any_uuid_names_a_session(self, store: Store, sid: UUID) -> None:
        record = a_record(sid=sid, user_id="ada")
        store.create(record)
        assert store.load(sid, now=NOW) == record
        assert sids(store.find(now=NOW)) == {sid}
        assert store.delete(sid) is True

    def test_what_load_returns_is_a_copy(self, store: Store) -> None:
        values = {"a": b"1"}
        record = a_record(values=values)
        store.create(record)
        values["a"] = b"changed after create"
        values["b"] = b"added after create"
        loaded = store.load(record.info.sid, now=NOW)
        assert loaded is not None and loaded.values == {"a": b"1"}
        with suppress(TypeError):
            loaded.values["a"] = b"changed after load"  # type: ignore[index]
        again = store.load(record.info.sid, now=NOW)
        assert again is not None and again.values == {"a": b"1"}

    def test_a_loaded_record_is_copied_with_other_fields(self, store: Store) -> None:
        record = a_record(values={"a": b"1"}, user_id="ada", labels={"level": "password"})
        store.create(record)
        loaded = store.load(record.info.sid, now=NOW)
        assert loaded is not None
        assert replace(loaded) == record
        assert replace(loaded, values={"b": b"2"}) == replace(record, values={"b": b"2"})
        other = replace(record.info, user_id="bob")
        assert replace(loaded, info=other, secret_digest=SECOND).info == other

    def test_a_loaded_record_does_not_see_later_commits(self, store: Store) -> None:
        record = a_record(values={"a": b"1"})
        store.create(record)
        loaded = store.load(record.info.sid, now=NOW)
        store.commit(record.info.sid, Change(holder=HOLDER, delta={"a": b"2", "b": b"3"}, last_seen_at=NOW), now=NOW)
        assert loaded == record

    def test_a_delta_changed_after_its_commit_changes_nothing(self, store: Store) -> None:
        record = a_record()
        store.create(record)
        delta: dict[str, bytes | None] = {"a": b"1"}
        store.commit(record.info.sid, Change(holder=HOLDER, delta=delta), now=NOW)
        delta["a"] = b"2"
        loaded = store.load(record.info.sid, now=NOW)
        assert loaded is not None and loaded.values == {"kept": b"k", "a": b"1"}

    # Create.

    def test_create_never_overwrites(self, store: Store) -> None:
        record = a_record(values={"a": b"1"}, user_id="ada")
        store.create(record)
        with pytest.raises(SessionExists):
            store.create(a_record(sid=record.info.sid, holder=STRANGER, values={"a": b"2"}, user_id="eve"))
        with pytest.raises(SessionExists):
            store.create(record)
        assert store.load(record.info.sid, now=NOW) == record

    @needs("prunes")
    def test_create_does_not_overwrite_a_session_that_expired_and_was_not_pruned(self, store: Store) -> None:
        record = a_record(user_id="ada")
        store.create(record)
        later = NOW + IDLE + 1
        with pytest.raises(SessionExists):
            store.create(a_record(sid=record.info.sid, created_at=later, last_seen_at=later))
        assert store.load(record.info.sid, now=later) is None
        assert drain(store, now=later) == [record.info]

    def test_a_refused_create_leaves_no_trace(self, store: Store) -> None:
        record = a_record(user_id="ada")
        store.create(record)
        with pytest.raises(SessionExists):
            store.create(a_record(sid=record.info.sid, user_id="eve", idle_timeout=1.0))
        if self.finds:
            assert list(store.find(now=NOW, user_id="eve")) == []
            assert delete_all(store, "eve") == 0
        assert store.load(record.info.sid, now=NOW + 2.0) == record

    def test_an_id_is_free_again_once_its_session_was_deleted(self, store: Store) -> None:
        record = a_record(user_id="ada")
        store.create(record)
        store.delete(record.info.sid)
        again = a_record(sid=record.info.sid, holder=SECOND, idle_timeout=2 * IDLE, values={"new": b"n"})
        store.create(again)
        assert store.load(record.info.sid, now=NOW) == again
        assert drain(store, now=NOW + IDLE + 1) == []
        if self.finds:
            assert list(store.find(now=NOW, user_id="ada")) == []
        assert store.load(record.info.sid, now=NOW + IDLE + 1) == again

    # Time.

    def test_a_session_lives_until_its_end_and_not_at_it(self, store: Store) -> None:
        ends: list[dict[str, Any]] = [
            {"idle_timeout": 2.5},
            {"lifetime_ends_at": NOW + 2.5},
            {"refresh_by": NOW + 2.5},
        ]
        for info in ends:
            record = a_record(**info)
            store.create(record)
            just_before, end = NOW + 2.4999, NOW + 2.5
            assert store.load(record.info.sid, now=just_before) == record
            assert store.load(record.info.sid, now=end) is None
            assert record.info.sid not in sids(store.find(now=end))
            assert store.commit(record.info.sid, Change(holder=HOLDER, last_seen_at=end), now=end) is GONE
            if self.finds:
                assert record.info.sid in sids(store.find(now=just_before))

    def test_an_expired_session_is_over_before_it_was_pruned(self, store: Store) -> None:
        record = a_record(user_id="ada")
        store.create(record)
        later = NOW + IDLE + 1
        assert store.load(record.info.sid, now=later) is None
        assert list(store.find(now=later, user_id="ada")) == []
        change = Change(holder=HOLDER, last_seen_at=later, delta={"a": b"1"}, rotation=_rotation(SECOND, to="ada"))
        assert store.commit(record.info.sid, change, now=later) is GONE

    @needs("prunes")
    def test_a_refused_commit_does_not_revive(self, store: Store) -> None:
        record = a_record(user_id="ada")
        store.create(record)
        later = NOW + IDLE
        change = Change(holder=HOLDER, last_seen_at=later, idle_timeout=1e6, refresh_by=inf)
        assert store.commit(record.info.sid, change, now=later) is GONE
        assert store.load(record.info.sid, now=later) is None
        assert drain(store, now=later) == [record.info]

    def test_of_two_touches_the_later_stands(self, store: Store) -> None:
        record = a_record()
        store.create(record)
        for seen in (NOW + 20, NOW + 10, NOW - 1000):
            assert store.commit(record.info.sid, Change(holder=HOLDER, last_seen_at=seen), now=NOW + 20) is DONE
        loaded = store.load(record.info.sid, now=NOW + 20)
        assert loaded is not None and loaded.info == replace(record.info, last_seen_at=NOW + 20)

    def test_a_touch_from_the_future_counts_as_now(self, store: Store) -> None:
        record = a_record()
        store.create(record)
        assert store.commit(record.info.sid, Change(holder=HOLDER, last_seen_at=NOW + 1000), now=NOW + 5) is DONE
        loaded = store.load(record.info.sid, now=NOW + 5)
        assert loaded is not None and loaded.info.last_seen_at == NOW + 5
        assert store.load(record.info.sid, now=NOW + 5 + IDLE) is None

    def test_a_touch_prolongs_to_the_instant(self, store: Store) -> None:
        record = a_record()
        store.create(record)
        seen = NOW + 59.999
        assert store.commit(record.info.sid, Change(holder=HOLDER, last_seen_at=seen), now=seen) is DONE
        assert store.load(record.info.sid, now=seen + IDLE - 0.0001) is not None
        assert store.load(record.info.sid, now=seen + IDLE) is None

    def test_a_passive_commit_does_not_prolong(self, store: Store) -> None:
        record = a_record()
        store.create(record)
        assert store.commit(record.info.sid, Change(holder=HOLDER, delta={"a": b"1"}), now=NOW + 30) is DONE
        loaded = store.load(record.info.sid, now=NOW + 59)
        assert loaded is not None and loaded.info == record.info
        assert store.load(record.info.sid, now=NOW + IDLE) is None

    def test_no_touch_outlives_the_lifetime(self, store: Store) -> None:
        record = a_record(lifetime_ends_at=NOW + 90)
        store.create(record)
        assert store.commit(record.info.sid, Change(holder=HOLDER, last_seen_at=NOW + 59), now=NOW + 59) is DONE
        assert store.commit(record.info.sid, Change(holder=HOLDER, last_seen_at=NOW + 89), now=NOW + 89) is DONE
        assert store.load(record.info.sid, now=NOW + 89.9) is not None
        assert store.load(record.info.sid, now=NOW + 90) is None
        forgotten = drain(store, now=NOW + 90)
        if self.prunes:
            assert [info.expiry_reason for info in forgotten] == [EndReason.LIFETIME]

    def test_a_clock_that_steps_back_ends_nothing(self, store: Store) -> None:
        record = a_record()
        store.create(record)
        past = NOW - 3600
        assert store.load(record.info.sid, now=past) == record
        assert store.commit(record.info.sid, Change(holder=HOLDER, last_seen_at=past), now=past) is DONE
        loaded = store.load(record.info.sid, now=NOW)
        assert loaded is not None and loaded.info == record.info

    @pytest.mark.parametrize("seconds", [1.5, 600.0])
    def test_the_idle_timeout_of_one_session_can_be_changed(self, store: Store, seconds: float) -> None:
        record = a_record()
        store.create(record)
        assert store.commit(record.info.sid, Change(holder=HOLDER, idle_timeout=seconds), now=NOW) is DONE
        loaded = store.load(record.info.sid, now=NOW)
        assert loaded is not None and loaded.info == replace(record.info, idle_timeout=seconds)
        assert store.load(record.info.sid, now=NOW + seconds - 0.001) is not None
        assert store.load(record.info.sid, now=NOW + seconds) is None

    def test_the_instant_of_refresh_can_be_set_moved_and_taken_away(self, store: Store) -> None:
        record = a_record()
        store.create(record)
        for refresh_by in (NOW + 10.0, NOW + 20.0, NOW + 5.0, inf):
            assert store.commit(record.info.sid, Change(holder=HOLDER, refresh_by=refresh_by), now=NOW) is DONE
            loaded = store.load(record.info.sid, now=NOW)
            assert loaded is not None and loaded.info == replace(record.info, refresh_by=refresh_by)
            end = min(refresh_by, NOW + IDLE)
            assert store.load(record.info.sid, now=end) is None
            assert store.load(record.info.sid, now=end - 0.001) is not None

    # Commit: who may.

    def test_a_commit_never_creates(self, store: Store) -> None:
        sid = uuid4()
        change = Change(holder=HOLDER, last_seen_at=NOW, delta={"a": b"1"}, rotation=_rotation(SECOND, to="ada"))
        assert store.commit(sid, change, now=NOW) is GONE
        assert store.load(sid, now=NOW) is None
        assert list(store.find(now=NOW)) == []
        store.create(a_record(sid=sid))

    def test_a_commit_never_brings_a_deleted_session_back(self, store: Store) -> None:
        record = a_record(user_id="ada")
        store.create(record)
        store.delete(record.info.sid)
        change = Change(holder=HOLDER, last_seen_at=NOW, delta={"a": b"1"})
        assert store.commit(record.info.sid, change, now=NOW) is GONE
        assert store.load(record.info.sid, now=NOW) is None
        assert list(store.find(now=NOW, user_id="ada")) == []

    @pytest.mark.parametrize("holder", [STRANGER, b"", HOLDER[:-1], HOLDER + b"\x00", bytes(32)])
    def test_who_shows_another_secret_writes_nothing(self, store: Store, holder: bytes) -> None:
        record = a_record()
        store.create(record)
        change = Change(
            holder=holder,
            last_seen_at=NOW + 9,
            delta={"a": b"1", "kept": None},
            idle_timeout=1e6,
            refresh_by=NOW + 1,
            rotation=_rotation(SECOND, to="eve"),
        )
        assert store.commit(record.info.sid, change, now=NOW + 9) is GONE
        assert store.load(record.info.sid, now=NOW + 9) == record

    def test_who_shows_another_secret_cannot_end_the_session(self, store: Store) -> None:
        record = a_record()
        store.create(record)
        change = Change(holder=STRANGER, delta={"kept": None}, end_if_emptied=True)
        assert store.commit(record.info.sid, change, now=NOW) is GONE
        assert store.load(record.info.sid, now=NOW) == record

    # Rotation.

    def test_after_a_rotation_the_old_secret_is_dead_at_once(self, store: Store) -> None:
        record = a_record()
        store.create(record)
        rotation = Rotation(secret_digest=SECOND, user_id="ada", lifetime_ends_at=NOW + 9000)
        assert store.commit(record.info.sid, Change(holder=HOLDER, rotation=rotation), now=NOW) is DONE
        assert store.commit(record.info.sid, Change(holder=HOLDER, delta={"a": b"1"}), now=NOW) is GONE
        loaded = store.load(record.info.sid, now=NOW)
        assert loaded == Record(
            info=replace(record.info, user_id="ada", lifetime_ends_at=NOW + 9000),
            secret_digest=SECOND,
            values=record.values,
        )
        assert not loaded.opens_to(HOLDER, now=NOW) and loaded.opens_to(SECOND, now=NOW)
        assert store.commit(record.info.sid, Change(holder=SECOND, delta={"a": b"1"}), now=NOW) is DONE

    def test_a_rotation_that_says_no_lifetime_leaves_it(self, store: Store) -> None:
        record = a_record(user_id="ada")
        store.create(record)
        change = Change(holder=HOLDER, rotation=_rotation(SECOND, to="ada"))
        assert store.commit(record.info.sid, change, now=NOW + 30) is DONE
        loaded = store.load(record.info.sid, now=NOW + 30)
        assert loaded == replace(record, secret_digest=SECOND)

    def test_a_rotation_to_the_secret_of_before_moves_the_lifetime(self, store: Store) -> None:
        record = a_record(user_id="ada", idle_timeout=60.0)
        store.create(record)
        for end in (NOW + 500.0, NOW + 90.0):
            rotation = Rotation(secret_digest=HOLDER, user_id="ada", lifetime_ends_at=end)
            change = Change(holder=HOLDER, idle_timeout=70.0, rotation=rotation)
            assert store.commit(record.info.sid, change, now=NOW) is DONE
            loaded = store.load(record.info.sid, now=NOW)
            assert loaded is not None and loaded.info == replace(record.info, idle_timeout=70.0, lifetime_ends_at=end)
        assert store.load(record.info.sid, now=NOW, touch=Touch(HOLDER)) is not None
        assert [info.sid for info in store.find(now=NOW, user_id="ada")] == [record.info.sid]

    def test_a_rotation_carries_delta_touch_and_user_in_one_step(self, store: Store) -> None:
        record = a_record(values={"a": b"1", "b": b"2"})
        store.create(record)
        change = Change(
            holder=HOLDER,
            last_seen_at=NOW + 7,
            delta={"a": None, "c": b"3"},
            idle_timeout=5.0,
            refresh_by=NOW + 11,
            rotation=Rotation(secret_digest=SECOND, user_id="ada", lifetime_ends_at=NOW + 99, grace_ends_at=NOW + 17),
        )
        assert store.commit(record.info.sid, change, now=NOW + 7) is DONE
        assert store.load(record.info.sid, now=NOW + 7) == Record(
            info=SessionInfo(
                sid=record.info.sid,
                user_id="ada",
                created_at=NOW,
                last_seen_at=NOW + 7,
                idle_timeout=5.0,
                lifetime_ends_at=NOW + 99,
                refresh_by=NOW + 11,
            ),
            secret_digest=SECOND,
            values={"b": b"2", "c": b"3"},
            former_digest=HOLDER,
            former_ends_at=NOW + 17,
        )

    def test_the_former_secret_is_accepted_in_its_grace_and_not_at_its_end(self, store: Store) -> None:
        record = a_record()
        store.create(record)
        rotation = _rotation(SECOND, grace_ends_at=NOW + 10)
        assert store.commit(record.info.sid, Change(holder=HOLDER, rotation=rotation), now=NOW) is DONE
        in_grace = Change(holder=HOLDER, last_seen_at=NOW + 9.9, delta={"late": b"1"})
        assert store.commit(record.info.sid, in_grace, now=NOW + 9.9) is DONE
        assert store.commit(record.info.sid, Change(holder=HOLDER, delta={"late": b"2"}), now=NOW + 10) is GONE
        assert store.commit(record.info.sid, Change(holder=SECOND, delta={"on time": b"1"}), now=NOW + 10) is DONE
        loaded = store.load(record.info.sid, now=NOW + 10)
        assert loaded is not None
        assert loaded.values == {"kept": b"k", "late": b"1", "on time": b"1"}
        assert loaded.secret_digest == SECOND

    def test_two_rotations_with_a_grace_leave_the_last_two_secrets(self, store: Store) -> None:
        record = a_record()
        store.create(record)
        for holder, new in ((HOLDER, SECOND), (SECOND, THIRD)):
            rotation = _rotation(new, grace_ends_at=NOW + 10)
            assert store.commit(record.info.sid, Change(holder=holder, rotation=rotation), now=NOW) is DONE
        for holder, outcome in ((HOLDER, GONE), (SECOND, DONE), (THIRD, DONE)):
            change = Change(holder=holder, last_seen_at=NOW + 1)
            assert store.commit(record.info.sid, change, now=NOW + 1) is outcome

    def test_a_rotation_without_grace_ends_a_grace(self, store: Store) -> None:
        record = a_record()
        store.create(record)
        rotation = _rotation(SECOND, grace_ends_at=NOW + 10)
        assert store.commit(record.info.sid, Change(holder=HOLDER, rotation=rotation), now=NOW) is DONE
        log_in = Change(holder=SECOND, rotation=_rotation(THIRD, to="ada"))
        assert store.commit(record.info.sid, log_in, now=NOW + 1) is DONE
        for holder in (HOLDER, SECOND):
            assert store.commit(record.info.sid, Change(holder=holder, delta={"a": b"1"}), now=NOW + 1) is GONE
        loaded = store.load(record.info.sid, now=NOW + 1)
        assert loaded is not None and loaded.former_digest == b"" and loaded.former_ends_at == 0.0

    def test_a_former_holder_cannot_rotate_with_a_grace(self, store: Store) -> None:
        record = a_record()
        store.create(record)
        first = Change(holder=HOLDER, rotation=_rotation(SECOND, grace_ends_at=NOW + 10))
        assert store.commit(record.info.sid, first, now=NOW) is DONE
        before = store.load(record.info.sid, now=NOW + 1)
        second = Change(
            holder=HOLDER,
            last_seen_at=NOW + 1,
            delta={"a": b"1"},
            rotation=_rotation(THIRD, grace_ends_at=NOW + 11),
        )
        assert store.commit(record.info.sid, second, now=NOW + 1) is CONFLICT
        assert store.load(record.info.sid, now=NOW + 1) == before

    def test_a_former_holder_may_log_in_within_its_grace(self, store: Store) -> None:
        record = a_record()
        store.create(record)
        first = Change(holder=HOLDER, rotation=_rotation(SECOND, grace_ends_at=NOW + 10))
        assert store.commit(record.info.sid, first, now=NOW) is DONE
        log_in = Change(holder=HOLDER, rotation=_rotation(THIRD, to="ada"))
        assert store.commit(record.info.sid, log_in, now=NOW + 1) is DONE
        loaded = store.load(record.info.sid, now=NOW + 1)
        assert loaded is not None and loaded.secret_digest == THIRD and loaded.info.user_id == "ada"

    def test_a_touch_keeps_all_but_the_touch(self, store: Store) -> None:
        record = replace(
            a_record(user_id="名前", values={"a": b"1", "b": b""}, refresh_by=NOW + 50),
            former_digest=SECOND,
            former_ends_at=NOW + 40,
        )
        store.create(record)
        assert store.commit(record.info.sid, Change(holder=HOLDER, last_seen_at=NOW + 3), now=NOW + 3) is DONE
        expected = replace(record, info=replace(record.info, last_seen_at=NOW + 3))
        assert store.load(record.info.sid, now=NOW + 3) == expected

    # Delta and expect.

    def test_only_the_keys_of_the_delta_are_written(self, store: Store) -> None:
        record = a_record(values={"a": b"1", "b": b"2", "c": b"3"})
        store.create(record)
        delta: Delta = {"b": b"two", "c": None, "d": b"4", "never there": None}
        assert store.commit(record.info.sid, Change(holder=HOLDER, delta=delta), now=NOW) is DONE
        loaded = store.load(record.info.sid, now=NOW)
        assert loaded is not None and loaded.values == {"a": b"1", "b": b"two", "d": b"4"}

    def test_two_requests_that_write_different_keys_both_win(self, store: Store) -> None:
        record = a_record(values={})
        store.create(record)
        assert store.commit(record.info.sid, Change(holder=HOLDER, delta={"a": b"1"}), now=NOW) is DONE
        assert store.commit(record.info.sid, Change(holder=HOLDER, delta={"b": b"2"}), now=NOW) is DONE
        loaded = store.load(record.info.sid, now=NOW)
        assert loaded is not None and loaded.values == {"a": b"1", "b": b"2"}

    @pytest.mark.parametrize(
        "expect",
        [
            {"a": b"1"},
            {"a": b"1", "b": b""},
            {"absent": None},
            {"a": b"1", "absent": None},
            {},
        ],
    )
    def test_a_commit_whose_expectations_hold_is_done(self, store: Store, expect: Delta) -> None:
        record = a_record(values={"a": b"1", "b": b""})
        store.create(record)
        change = Change(holder=HOLDER, delta={"a": b"new"}, expect=expect)
        assert store.commit(record.info.sid, change, now=NOW) is DONE
        loaded = store.load(record.info.sid, now=NOW)
        assert loaded is not None and loaded.values["a"] == b"new"

    @pytest.mark.parametrize(
        "expect",
        [
            {"a": b"2"},
            {"a": None},
            {"a": b""},
            {"absent": b""},
            {"absent": b"1"},
            {"b": None},
            {"a": b"1", "absent": b""},
            {"a": b"1", "b": b"x"},
        ],
    )
    def test_a_commit_whose_expectations_fail_writes_nothing(self, store: Store, expect: Delta) -> None:
        record = a_record(values={"a": b"1", "b": b""})
        store.create(record)
        change = Change(
            holder=HOLDER,
            last_seen_at=NOW + 5,
            delta={"a": b"new", "b": None, "c": b"3"},
            expect=expect,
            idle_timeout=9.0,
            refresh_by=NOW + 30,
            rotation=Rotation(secret_digest=SECOND, user_id="eve"),
        )
        assert store.commit(record.info.sid, change, now=NOW + 5) is CONFLICT
        assert store.load(record.info.sid, now=NOW + 5) == record

    def test_a_dead_session_is_gone_rather_than_in_conflict(self, store: Store) -> None:
        record = a_record()
        store.create(record)
        change = Change(holder=HOLDER, delta={"a": b"1"}, expect={"kept": b"other"})
        assert store.commit(record.info.sid, change, now=NOW + IDLE) is GONE
        assert store.commit(record.info.sid, replace(change, holder=STRANGER), now=NOW) is GONE

    def test_an_expected_key_need_not_be_written(self, store: Store) -> None:
        record = a_record(values={"a": b"1"})
        store.create(record)
        change = Change(holder=HOLDER, delta={"b": b"2"}, expect={"a": b"1"})
        assert store.commit(record.info.sid, change, now=NOW) is DONE
        loaded = store.load(record.info.sid, now=NOW)
        assert loaded is not None and loaded.values == {"a": b"1", "b": b"2"}

    # Ending by emptiness.

    def test_a_session_that_a_delta_empties_is_ended_where_the_change_says_so(self, store: Store) -> None:
        record = a_record(values={"a": b"1", "b": b"2"}, user_id="ada")
        store.create(record)
        change = Change(holder=HOLDER, delta={"a": None, "b": None}, end_if_emptied=True)
        assert store.commit(record.info.sid, change, now=NOW) is EMPTIED
        assert store.load(record.info.sid, now=NOW) is None
        assert store.delete(record.info.sid) is False
        assert list(store.find(now=NOW, user_id="ada")) == []
        assert store.commit(record.info.sid, change, now=NOW) is GONE
        assert drain(store, now=NOW + IDLE) == []

    def test_a_session_that_others_filled_meanwhile_is_not_ended(self, store: Store) -> None:
        record = a_record(values={"a": b"1"})
        store.create(record)
        assert store.commit(record.info.sid, Change(holder=HOLDER, delta={"b": b"2"}), now=NOW) is DONE
        change = Change(holder=HOLDER, delta={"a": None}, end_if_emptied=True)
        assert store.commit(record.info.sid, change, now=NOW) is DONE
        loaded = store.load(record.info.sid, now=NOW)
        assert loaded is not None and loaded.values == {"b": b"2"}

    def test_an_emptied_session_lives_on_where_the_change_does_not_say_so(self, store: Store) -> None:
        record = a_record(values={"a": b"1"})
        store.create(record)
        assert store.commit(record.info.sid, Change(holder=HOLDER, delta={"a": None}), now=NOW) is DONE
        loaded = store.load(record.info.sid, now=NOW)
        assert loaded is not None and loaded.values == {}

    def test_a_conflict_does_not_end_a_session(self, store: Store) -> None:
        record = a_record(values={"a": b"1"})
        store.create(record)
        change = Change(holder=HOLDER, delta={"a": None}, expect={"a": b"2"}, end_if_emptied=True)
        assert store.commit(record.info.sid, change, now=NOW) is CONFLICT
        assert store.load(record.info.sid, now=NOW) == record

    def test_an_empty_value_is_a_value(self, store: Store) -> None:
        record = a_record(values={"a": b"1"})
        store.create(record)
        change = Change(holder=HOLDER, delta={"a": b""}, end_if_emptied=True)
        assert store.commit(record.info.sid, change, now=NOW) is DONE
        loaded = store.load(record.info.sid, now=NOW)
        assert loaded is not None and loaded.values == {"a": b""}

    # Visits.

    def test_a_visit_touches_and_returns_what_is_there_then(self, store: Any) -> None:
        record = a_record(user_id="ada", labels={"a": "1"}, values={"v": b"1", "w": b""})
        store.create(record)
        sid, later = record.info.sid, NOW + IDLE - 1
        seen = replace(record, info=replace(record.info, last_seen_at=later))
        assert store.load(sid, now=later, touch=Touch(HOLDER, NOW + 7)) == seen
        assert store.load(sid, now=later) == seen
        assert store.load(sid, now=NOW, touch=Touch(HOLDER, NOW + 7)) == seen, "The clock stepped back."
        assert store.load(sid, now=later + IDLE) is None
        assert store.load(sid, now=later + IDLE, touch=Touch(HOLDER, NOW + 7)) is None
        assert store.load(uuid4(), now=NOW, touch=Touch(HOLDER, NOW + 7)) is None

    def test_a_visit_refreshes_a_permanent_session_and_makes_none_so(self, store: Any) -> None:
        record = a_record(refresh_by=NOW + 30)
        store.create(record)
        visited = store.load(record.info.sid, now=NOW + 1, touch=Touch(HOLDER, NOW + 40))
        assert visited.info.refresh_by == NOW + 40
        assert store.load(record.info.sid, now=NOW + 1) == visited

    def test_only_who_holds_the_secret_visits(self, store: Any) -> None:
        record = a_record()
        store.create(record)
        sid = record.info.sid
        assert store.load(sid, now=NOW + 1, touch=Touch(STRANGER, inf)) is None
        assert store.load(sid, now=NOW + 1) == record
        rotation = Rotation(secret_digest=SECOND, user_id=None, grace_ends_at=NOW + 10)
        assert store.commit(sid, Change(holder=HOLDER, rotation=rotation), now=NOW) is DONE
        assert store.load(sid, now=NOW + 9, touch=Touch(HOLDER, inf)) is not None
        assert store.load(sid, now=NOW + 10, touch=Touch(HOLDER, inf)) is None
        assert store.load(sid, now=NOW + 10, touch=Touch(SECOND, inf)) is not None

    # Labels.

    def test_labels_come_back_and_are_listed(self, store: Store) -> None:
        labels = {name: name for name in AWKWARD_TEXTS} | {"at": NOW + 0.1, "count": 3, "yes": True}
        record = a_record(labels=labels, user_id="ada")
        store.create(record)
        assert store.load(record.info.sid, now=NOW) == record
        if self.finds:
            assert list(store.find(now=NOW, user_id="ada")) == [record.info]

    def test_only_the_labels_of_a_change_are_written(self, store: Store) -> None:
        record = a_record(labels={"a": "1", "b": "2"}, values={"v": b"1"})
        store.create(record)
        sid = record.info.sid
        assert store.commit(sid, Change(holder=HOLDER, labels={"b": None, "c": 3.5}), now=NOW) is DONE
        assert store.commit(sid, Change(holder=HOLDER, labels={"d": "4"}, delta={"w": b"2"}), now=NOW) is DONE
        loaded = store.load(sid, now=NOW)
        assert loaded is not None
        assert loaded.info.labels == {"a": "1", "c": 3.5, "d": "4"}
        assert loaded.values == {"v": b"1", "w": b"2"}

    def test_labels_outlast_touches_writes_and_rotations(self, store: Store) -> None:
        record = a_record(labels={"address": "192.0.2.1"})
        store.create(record)
        sid = record.info.sid
        assert store.commit(sid, Change(holder=HOLDER, last_seen_at=NOW + 1), now=NOW + 1) is DONE
        assert store.commit(sid, Change(holder=HOLDER, delta={"w": b"2"}), now=NOW + 1) is DONE
        rotation = Rotation(secret_digest=SECOND, user_id="ada", grace_ends_at=NOW + 60)
        assert store.commit(sid, Change(holder=HOLDER, rotation=rotation), now=NOW + 1) is DONE
        loaded = store.load(sid, now=NOW + 1)
        assert loaded is not None and loaded.info.labels == {"address": "192.0.2.1"}
        assert store.commit(sid, Change(holder=SECOND, labels={"address": None}), now=NOW + 1) is DONE
        loaded = store.load(sid, now=NOW + 1)
        assert loaded is not None and loaded.info.labels == {} and loaded.info.user_id == "ada"

    def test_who_shows_another_secret_writes_no_label(self, store: Store) -> None:
        record = a_record(labels={"a": "1"})
        store.create(record)
        assert store.commit(record.info.sid, Change(holder=STRANGER, labels={"a": "2"}), now=NOW) is GONE
        assert store.load(record.info.sid, now=NOW) == record

    # Endings.

    @pytest.mark.parametrize("reason", EndReason)
    def test_how_a_session_ended_is_remembered_until_then(self, store: Store, reason: EndReason) -> None:
        ending = Ending(sid=uuid4(), reason=reason, ended_at=NOW, user_id="ada", by="the admin")
        other = Ending(sid=uuid4(), reason=EndReason.IDLE, ended_at=NOW - 1)
        store.bury([ending, other], until=NOW + 600)
        for now in (NOW, NOW + 599.9):
            assert store.ending(ending.sid, now=now) == ending
            assert store.ending(other.sid, now=now) == other
        assert store.ending(ending.sid, now=NOW + 600) is None
        assert store.ending(uuid4(), now=NOW) is None

    def test_a_later_ending_replaces_the_one_before(self, store: Store) -> None:
        sid = uuid4()
        store.bury([Ending(sid=sid, reason=EndReason.IDLE, ended_at=NOW)], until=NOW + 60)
        later = Ending(sid=sid, reason=EndReason.REVOKED, ended_at=NOW + 1, by="cli")
        store.bury([later], until=NOW + 120)
        assert store.ending(sid, now=NOW + 100) == later

    def test_endings_with_awkward_texts_come_back(self, store: Store) -> None:
        texts = [text for text in AWKWARD_TEXTS if text]
        endings = [
            Ending(sid=uuid4(), reason=EndReason.REVOKED, ended_at=NOW, user_id=text, by=text[::-1]) for text in texts
        ]
        store.bury(endings, until=NOW + 60)
        store.bury([], until=NOW + 60)
        assert [store.ending(ending.sid, now=NOW) for ending in endings] == endings

    def test_a_thousand_endings_are_remembered_at_once(self, store: Store) -> None:
        endings = [Ending(sid=uuid4(), reason=EndReason.IDLE, ended_at=NOW + number) for number in range(1000)]
        store.bury(endings, until=NOW + 2000)
        assert [store.ending(ending.sid, now=NOW) for ending in endings[::100]] == endings[::100]
        assert store.next_expiry() is None, "An ending is not a session."
        assert list(store.find(now=NOW)) == []

    def test_many_endings_are_told_at_once(self, store: Store) -> None:
        endings = [Ending(sid=uuid4(), reason=EndReason.IDLE, ended_at=NOW) for _ in range(9)]
        endings += [Ending(sid=uuid5(UUID(int=1), name), reason=EndReason.REVOKED, ended_at=NOW) for name in "ab"]
        store.bury(endings, until=NOW + 60)
        asked = [*(ending.sid for ending in endings[3:]), uuid4(), uuid5(UUID(int=1), "c")]
        assert sorted(endings_of(store, asked, now=NOW)) == sorted(endings[3:])
        assert not endings_of(store, asked, now=NOW + 60) and not endings_of(store, [], now=NOW)

    def test_endings_are_told_to_other_processes_if_the_store_says_so(self, store: Store) -> None:
        told = tells_ends(store)
        if told is None:
            return
        told.tell_ends([Ending(sid=uuid4(), reason=EndReason.IDLE, ended_at=NOW)])  # Nobody hears this one.
        first, second = told.hear_ends(), told.hear_ends()
        assert first is not None and second is not None
        texts = [None, "ada", *(text for text in AWKWARD_TEXTS if text and "\x00" not in text)]
        endings = [
            Ending(sid=uuid4(), reason=EndReason.REVOKED, ended_at=NOW + number / 7, user_id=text, by=text)
            for number, text in enumerate(texts * 20)
        ]
        told.tell_ends(endings)
        told.tell_ends([])
        for news in (first, second):
            assert _heard(news, count=len(endings)) == endings
            assert not news.wait(0.0)
            news.close()
        told.tell_ends(endings[:1])

    @needs("prunes")
    def test_what_was_pruned_is_remembered_at_once_if_the_store_says_so(self, store: Store) -> None:
        idle, old = a_record(user_id="ada"), a_record(lifetime_ends_at=NOW + 30, idle_timeout=LIFETIME)
        store.create(idle)
        store.create(old)
        assert len(drain(store, now=NOW + IDLE)) == 2
        if store.traits.buries:
            for info, reason in ((idle.info, EndReason.IDLE), (old.info, EndReason.LIFETIME)):
                told = Ending(sid=info.sid, reason=reason, ended_at=info.expires_at, user_id=info.user_id)
                assert store.ending(info.sid, now=NOW + IDLE + REMEMBERED - 1) == told
                assert store.ending(info.sid, now=NOW + IDLE + REMEMBERED) is None

    @needs("prunes")
    def test_what_was_pruned_is_remembered_before_it_is_gone_if_the_store_says_so(self, store: Store) -> None:
        records = [a_record(user_id="ada") for _ in range(60)]
        for record in records:
            store.create(record)
        is_done = threading.Event()

        def prune() -> None:
            drain(store, now=NOW + IDLE, limit=1)
            is_done.set()

        def look() -> list[SessionId]:
            """Return those that are gone, and of which nobody knows how they ended."""
            left, unknown = [record.info.sid for record in records], []
            while left and not is_done.is_set():
                for sid in [sid for sid in left if store.load(sid, now=NOW) is None]:
                    left.remove(sid)
                    if store.ending(sid, now=NOW + IDLE) is None:
                        unknown.append(sid)
            return unknown

        if store.traits.buries:
            assert at_once(prune, look)[1] == []

    def test_what_no_list_names_is_found_if_the_store_says_so(self, store: Store) -> None:
        searched = evicting(store)
        records = [a_record(user_id=user) for user in ("ada", "ada", "bob", None)]
        for record in records:
            store.create(record)
        if searched is not None:
            found = list(searched.find_unlisted(now=NOW, user_id="ada"))
            assert sids(found) <= {record.info.sid for record in records[:2]}
            assert list(searched.find_unlisted(now=NOW + IDLE)) == []

    def test_records_are_counted_if_the_store_says_so(self, store: Store) -> None:
        counting = counts(store)
        records = [a_record(user_id=user) for user in ("ada", "ada", None)]
        for record in records:
            store.create(record)
        if counting is not None:
            assert counting.count() == Count(3, is_exact=True)
            taken = counting.stored_bytes()
            assert taken is None or taken > 0
            store.delete(records[0].info.sid)
            assert counting.count().number == 2

    # Tallies.

    def test_amounts_are_added_by_minute_and_name(self, store: Store) -> None:
        kept = _keeper(store)
        assert not kept.tallies(since=0) and not kept.tally_totals()
        kept.add_tally(MINUTE, {"created": 2, "ended.idle": 1}, now=NOW)
        kept.add_tally(MINUTE, {"created": 3, "requests.index": 1 << 40}, now=NOW + 1)
        kept.add_tally(MINUTE + 2, {"created": 1}, now=NOW + 120)
        first = {"created": 5, "ended.idle": 1, "requests.index": 1 << 40}
        assert kept.tallies(since=0) == {MINUTE: first, MINUTE + 2: {"created": 1}}
        assert kept.tallies(since=MINUTE + 1) == {MINUTE + 2: {"created": 1}}
        assert kept.tallies(since=MINUTE + 3) == {}
        assert kept.tally_totals() == {**first, "created": 6}

    def test_tallies_are_no_sessions(self, store: Store) -> None:
        _keeper(store).add_tally(MINUTE, {"created": 1}, now=NOW)
        assert list(store.find(now=NOW)) == [] and store.next_expiry() is None
        assert store.prune(now=NOW + 10 * LIFETIME, limit=10) == []
        assert _keeper(store).tally_totals() == {"created": 1}

    def test_a_minute_is_forgotten_after_a_day_and_its_amounts_stay_in_the_totals(self, store: Store) -> None:
        kept, later = _keeper(store), NOW + 60 * TALLIED
        kept.add_tally(MINUTE, {"created": 1}, now=NOW)
        kept.add_tally(MINUTE + 1, {"created": 10}, now=NOW + 60)
        kept.add_tally(MINUTE + TALLIED, {"created": 100}, now=later)
        assert set(kept.tallies(since=0)) == {MINUTE, MINUTE + 1, MINUTE + TALLIED}, "A day is kept whole."
        kept.add_tally(MINUTE + TALLIED + 1, {"created": 1000}, now=later + 60)
        assert set(kept.tallies(since=0)) == {MINUTE + 1, MINUTE + TALLIED, MINUTE + TALLIED + 1}
        kept.add_tally(MINUTE, {"created": 10000}, now=later + 60)
        assert MINUTE not in kept.tallies(since=0), "It comes too late."
        assert kept.tally_totals() == {"created": 11111}

    def test_awkward_names_of_amounts_come_back(self, store: Store) -> None:
        names = ["a", "A", "requests.a.b", "requests.a_b", "requests.A:b", "requests.(none)", "x'; --", "%", "n" * 200]
        amounts = {name: number for number, name in enumerate(names)}
        kept = _keeper(store)
        kept.add_tally(MINUTE, amounts, now=NOW)
        kept.add_tally(MINUTE, amounts, now=NOW)
        doubled = {name: 2 * amount for name, amount in amounts.items()}
        assert kept.tallies(since=0) == {MINUTE: doubled} and kept.tally_totals() == doubled

    def test_amounts_that_race_are_all_added(self, store: Store) -> None:
        kept = _keeper(store)

        def add(number: int) -> None:
            for turn in range(10):
                kept.add_tally(MINUTE + turn % 2, {"created": 1, f"requests.{number}": 1}, now=NOW)

        at_once(*(partial(add, number) for number in range(4)))
        own = {f"requests.{number}": 10 for number in range(4)}
        assert kept.tally_totals() == {"created": 40, **own}
        each = {"created": 20, **dict.fromkeys(own, 5)}
        assert kept.tallies(since=0) == {MINUTE: each, MINUTE + 1: each}

    # Delete.

    def test_delete_says_whether_there_was_a_session(self, store: Store) -> None:
        record, other = a_record(), a_record()
        store.create(record)
        store.create(other)
        assert store.delete(record.info.sid) is True
        assert store.delete(record.info.sid) is False
        assert store.delete(uuid4()) is False
        assert store.load(record.info.sid, now=NOW) is None
        assert store.load(other.info.sid, now=NOW) == other

    def test_a_deleted_session_is_not_pruned_as_well(self, store: Store) -> None:
        record = a_record()
        store.create(record)
        store.delete(record.info.sid)
        assert drain(store, now=NOW + IDLE + 1) == []
        assert list(store.prune(now=NOW + IDLE + 1, limit=10)) == []

    @needs("finds")
    def test_a_log_out_everywhere_ends_all_sessions_of_that_user_alone(self, store: Store) -> None:
        hers = [a_record(user_id="ada") for _ in range(5)]
        others = [a_record(user_id=name) for name in (None, "", "Ada", "ad", "adaa", "ada ", "a*", "%", "ad_")]
        for record in hers + others:
            store.create(record)
        assert delete_all(store, "ada") == 5
        assert delete_all(store, "ada") == 0
        assert [store.load(record.info.sid, now=NOW) for record in hers] == [None] * 5
        assert [store.load(record.info.sid, now=NOW) for record in others] == others
        assert list(store.find(now=NOW, user_id="ada")) == []

    @needs("finds")
    def test_a_log_out_everywhere_ends_all_but_the_one_to_keep(self, store: Store) -> None:
        hers = [a_record(user_id="ada") for _ in range(4)]
        for record in hers:
            store.create(record)
        kept = hers[2]
        assert delete_all(store, "ada", keep=kept.info.sid) == 3
        assert list(store.find(now=NOW, user_id="ada")) == [kept.info]
        assert delete_all(store, "ada", keep=kept.info.sid) == 0
        assert store.load(kept.info.sid, now=NOW) == kept

    @needs("finds")
    def test_a_session_to_keep_that_is_not_the_users_protects_nobody(self, store: Store) -> None:
        hers, his = a_record(user_id="ada"), a_record(user_id="bob")
        store.create(hers)
        store.create(his)
        assert delete_all(store, "ada", keep=his.info.sid) == 1
        assert delete_all(store, "bob", keep=uuid4()) == 1
        assert list(store.find(now=NOW)) == []

    @needs("finds")
    def test_the_sessions_of_a_user_with_an_awkward_id_are_found_and_deleted(self, store: Store) -> None:
        records = {user_id: a_record(user_id=user_id) for user_id in AWKWARD_TEXTS}
        for record in records.values():
            store.create(record)
        for user_id, record in records.items():
            assert list(store.find(now=NOW, user_id=user_id)) == [record.info]
        for user_id in AWKWARD_TEXTS:
            assert delete_all(store, user_id) == 1, user_id
        assert list(store.find(now=NOW)) == []

    @needs("finds")
    def test_a_log_out_everywhere_ends_what_logged_in_and_not_what_logged_in_as_another(self, store: Store) -> None:
        record, other = a_record(user_id=None), a_record(user_id="ada")
        store.create(record)
        store.create(other)
        to_ada, to_bob = (Change(holder=HOLDER, rotation=_rotation(SECOND, to=name)) for name in ("ada", "bob"))
        assert store.commit(record.info.sid, to_ada, now=NOW) is DONE
        assert store.commit(other.info.sid, to_bob, now=NOW) is DONE
        assert sids(store.find(now=NOW, user_id="ada")) == {record.info.sid}
        assert delete_all(store, "ada") == 1
        assert sids(store.find(now=NOW)) == {other.info.sid}
        assert store.commit(other.info.sid, Change(holder=SECOND, rotation=_rotation(THIRD)), now=NOW) is DONE
        assert delete_all(store, "bob") == 0
        assert sids(store.find(now=NOW)) == {other.info.sid}

    # Many at once.

    def test_many_end_in_one_step_and_are_returned(self, store: Store) -> None:
        many = chunked(store)
        if many is None:
            pytest.skip("The store does not declare the trait chunked.")
        records = [a_record(user_id=user, labels={"place": 1.5}) for user in (None, "ada", "ada", "bob")]
        other = a_record(user_id="ada")
        for record in (*records, other):
            store.create(record)
        meant = [record.info.sid for record in records]
        gone = many.delete_many([*meant, uuid4()])
        assert Counter(map(repr, gone)) == Counter(repr(record.info) for record in records)
        assert [store.load(sid, now=NOW) for sid in meant] == [None] * 4
        assert store.load(other.info.sid, now=NOW) == other
        assert list(many.delete_many(meant)) == [] == list(many.delete_many([]))

    def test_many_that_race_are_returned_once(self, store: Store) -> None:
        many = chunked(store)
        if many is None:
            pytest.skip("The store does not declare the trait chunked.")
        for _ in range(self.rounds):
            records = [a_record(user_id="ada") for _ in range(6)]
            for record in records:
                store.create(record)
            meant = [record.info.sid for record in records]
            told = at_once(*[lambda part=meant[start:]: many.delete_many(part) for start in (0, 1, 2, 3)])
            assert sids(info for gone in told for info in gone) == set(meant)

    # Find.

    @needs("finds")
    def test_find_yields_every_live_session_once(self, store: Store) -> None:
        live = [a_record(user_id=user) for user in (None, "ada", "ada", "bob", "") for _ in range(20)]
        dead = [a_record(user_id=user, idle_timeout=1.0) for user in (None, "ada")]
        for record in live + dead:
            store.create(record)
        found = list(store.find(now=NOW + 2))
        assert Counter(found) == Counter(record.info for record in live)
        hers = list(store.find(now=NOW + 2, user_id="ada"))
        assert Counter(hers) == Counter(record.info for record in live if record.info.user_id == "ada")

    @needs("finds")
    def test_find_is_an_iterator(self, store: Store) -> None:
        found = store.find(now=NOW)
        assert iter(found) is found
        found = store.find(now=NOW, user_id="ada")
        assert iter(found) is found

    @needs("finds")
    def test_sessions_may_be_created_and_ended_while_they_are_listed(self, store: Store) -> None:
        records = [a_record(user_id="ada") for _ in range(300)]
        for record in records:
            store.create(record)
        for user_id in (None, "ada"):
            seen: list[SessionId] = []
            for info in store.find(now=NOW, user_id=user_id):
                seen.append(info.sid)
                if len(seen) == 50:
                    gone = [record for record in records if record.info.sid not in seen][:20]
                    for record in gone:
                        store.delete(record.info.sid)
                        records.remove(record)
                    store.create(a_record(user_id="ada", idle_timeout=30.0))
            assert len(seen) == len(set(seen))
            assert {record.info.sid for record in records} <= set(seen)

    @needs("finds")
    def test_a_listing_that_is_left_half_read_holds_nobody_up(self, store: Store) -> None:
        for _ in range(300):
            store.create(a_record(user_id="ada"))
        for user_id in (None, "ada"):
            found = store.find(now=NOW, user_id=user_id)
            next(found)
            record = a_record()
            store.create(record)
            assert store.commit(record.info.sid, Change(holder=HOLDER, delta={"a": b"1"}), now=NOW) is DONE
            assert store.delete(record.info.sid) is True
            getattr(found, "close", lambda: None)()

    @needs("finds")
    def test_what_is_found_is_up_to_date(self, store: Store) -> None:
        record = a_record(user_id="ada")
        store.create(record)
        change = Change(holder=HOLDER, last_seen_at=NOW + 5, idle_timeout=7.5, refresh_by=NOW + 100)
        assert store.commit(record.info.sid, change, now=NOW + 5) is DONE
        expected = replace(record.info, last_seen_at=NOW + 5, idle_timeout=7.5, refresh_by=NOW + 100)
        assert list(store.find(now=NOW + 5)) == [expected]
        assert list(store.find(now=NOW + 5, user_id="ada")) == [expected]
        assert list(store.find(now=NOW + 12.5)) == []

    # Prune and next_expiry.

    @needs("prunes")
    def test_prune_forgets_what_has_expired_and_nothing_else(self, store: Store) -> None:
        dead = [a_record(user_id=user, idle_timeout=10.0 + number) for number, user in enumerate([None, "ada", ""] * 5)]
        live = [a_record(user_id="ada") for _ in range(5)]
        for record in dead + live:
            store.create(record)
        forgotten = drain(store, now=NOW + 30)
        assert Counter(forgotten) == Counter(record.info for record in dead)
        assert [store.delete(record.info.sid) for record in dead] == [False] * len(dead)
        assert [store.load(record.info.sid, now=NOW + 30) for record in live] == live
        assert Counter(store.find(now=NOW, user_id="ada")) == Counter(record.info for record in live)

    @needs("prunes")
    def test_prune_forgets_at_the_instant(self, store: Store) -> None:
        record = a_record(idle_timeout=2.5)
        store.create(record)
        assert list(store.prune(now=NOW + 2.4999, limit=10)) == []
        assert list(store.prune(now=NOW + 2.5, limit=10)) == [record.info]
        assert list(store.prune(now=NOW + 2.5, limit=10)) == []

    @needs("prunes")
    def test_prune_forgets_no_more_than_its_limit(self, store: Store) -> None:
        records = [a_record(idle_timeout=1 + number / 7) for number in range(25)]
        for record in records:
            store.create(record)
        forgotten: list[SessionInfo] = []
        sizes = []
        while some := list(store.prune(now=NOW + IDLE, limit=10)):
            sizes.append(len(some))
            forgotten += some
        assert sizes == [10, 10, 5]
        assert Counter(forgotten) == Counter(record.info for record in records)

    @needs("prunes")
    def test_a_pruned_info_tells_the_sessions_last_state(self, store: Store) -> None:
        record = a_record(user_id=None)
        store.create(record)
        change = Change(holder=HOLDER, last_seen_at=NOW + 5, rotation=_rotation(SECOND, to="ada"))
        assert store.commit(record.info.sid, change, now=NOW + 5) is DONE
        later = NOW + 5 + IDLE
        (info,) = drain(store, now=later)
        assert info == replace(record.info, user_id="ada", last_seen_at=NOW + 5)
        assert not info.is_live(later) and info.expiry_reason is EndReason.IDLE

    @needs("prunes")
    def test_a_touched_session_is_not_pruned_until_its_new_end(self, store: Store) -> None:
        touched, left = a_record(), a_record()
        store.create(touched)
        store.create(left)
        assert store.commit(touched.info.sid, Change(holder=HOLDER, last_seen_at=NOW + 30), now=NOW + 30) is DONE
        assert sids(drain(store, now=NOW + IDLE)) == {left.info.sid}
        assert drain(store, now=NOW + 89.9) == []
        assert sids(drain(store, now=NOW + 90)) == {touched.info.sid}

    @needs("prunes")
    def test_a_session_whose_end_moved_nearer_is_pruned_at_its_new_end(self, store: Store) -> None:
        nearer = [
            Change(holder=HOLDER, idle_timeout=5.0),
            Change(holder=HOLDER, refresh_by=NOW + 5.0),
            Change(holder=HOLDER, rotation=Rotation(secret_digest=SECOND, user_id="ada", lifetime_ends_at=NOW + 5.0)),
        ]
        records = [a_record() for _ in nearer]
        for record, change in zip(records, nearer, strict=True):
            store.create(record)
            assert store.commit(record.info.sid, change, now=NOW) is DONE
        due = store.next_expiry()
        assert due is not None and due <= NOW + 5
        assert drain(store, now=NOW + 4.99) == []
        assert sids(drain(store, now=NOW + 5)) == {record.info.sid for record in records}

    @needs("prunes")
    def test_sessions_that_live_on_do_not_hide_one_that_has_expired(self, store: Store) -> None:
        records = [a_record() for _ in range(500)]
        for record in records:
            store.create(record)
        for record in records[:-3]:
            assert store.commit(record.info.sid, Change(holder=HOLDER, last_seen_at=NOW + 30), now=NOW + 30) is DONE
        expired = {record.info.sid for record in records[-3:]}
        assert sids(drain(store, now=NOW + IDLE, limit=4)) == expired

    @needs("prunes")
    def test_sessions_that_end_a_moment_later_do_not_hide_one_that_has_expired(self, store: Store) -> None:
        later = [a_record(idle_timeout=10.05) for _ in range(self.crowd)]
        expired = [a_record(idle_timeout=10.01) for _ in range(10)]
        for record in later + expired:
            store.create(record)
        assert sids(drain(store, now=NOW + 10.02)) == {record.info.sid for record in expired}
        assert sids(drain(store, now=NOW + 10.06)) == {record.info.sid for record in later}

    def test_there_is_nothing_to_wait_for_without_sessions(self, store: Store) -> None:
        record = a_record()
        store.create(record)
        store.delete(record.info.sid)
        assert drain(store, now=NOW + 2 * IDLE) == []
        assert store.next_expiry() is None

    @needs("prunes")
    def test_next_expiry_is_never_later_than_the_first_end(self, store: Store) -> None:
        ends = [NOW + 1 + (number * 37 % 101) / 100 for number in range(300)]
        for number, end in enumerate(ends):
            store.create(a_record(lifetime_ends_at=end))
            due = store.next_expiry()
            assert due is not None and due <= min(ends[: number + 1])
            if self.next_expiry_is_exact:
                assert due == min(ends[: number + 1])

    @needs("prunes")
    def test_next_expiry_is_never_later_than_the_first_end_among_many_of_one_moment(self, store: Store) -> None:
        for _ in range(self.crowd):
            store.create(a_record(lifetime_ends_at=NOW + 10.05))
        store.create(a_record(lifetime_ends_at=NOW + 10.01))
        due = store.next_expiry()
        assert due is not None and due <= NOW + 10.01
        assert len(drain(store, now=NOW + 10.01)) == 1
        due = store.next_expiry()
        assert due is not None and NOW + 10.01 < due <= NOW + 10.05

    @needs("prunes")
    def test_waiting_for_next_expiry_ends_all_sessions_in_time(self, store: Store) -> None:
        ends = {}
        for number in range(60):
            record = a_record(idle_timeout=1 + number * 13 % 29 + number / 1000)
            store.create(record)
            ends[record.info.sid] = record.info.expires_at
        now, wakes = NOW, 0
        while (due := store.next_expiry()) is not None:
            now, wakes = max(now, due), wakes + 1
            assert wakes < 2000
            for info in store.prune(now=now, limit=100):
                assert ends.pop(info.sid) <= now <= info.expires_at + 1e-6
        assert ends == {}

    @needs("prunes", "is_atomic")
    def test_each_expired_session_is_handed_over_once_to_all_threads(self, store: Store) -> None:
        for _ in range(max(self.rounds // 8, 1)):
            dead = [a_record(idle_timeout=1.0) for _ in range(200)]
            live = [a_record() for _ in range(20)]
            for record in dead + live:
                store.create(record)

            def prune_all() -> list[SessionInfo]:
                forgotten: list[SessionInfo] = []
                while some := store.prune(now=NOW + 2, limit=7):
                    forgotten += some
                return forgotten

            forgotten = [info for some in at_once(*[prune_all] * 8) for info in some]
            assert Counter(forgotten) == Counter(record.info for record in dead)
            for record in live:
                assert store.delete(record.info.sid)

    # Races.

    @needs("is_atomic")
    def test_of_many_creates_of_one_id_exactly_one_wins(self, store: Store) -> None:
        for _ in range(self.rounds):
            sid = uuid4()

            def create(number: int, sid: SessionId = sid) -> bool:
                try:
                    store.create(a_record(sid=sid, values={"who": bytes([number])}, user_id=f"user {number}"))
                except SessionExists:
                    return False
                return True

            won = at_once(*[lambda number=number: create(number) for number in range(8)])
            assert won.count(True) == 1
            winner = won.index(True)
            loaded = store.load(sid, now=NOW)
            assert loaded is not None
            assert loaded.values == {"who": bytes([winner])} and loaded.info.user_id == f"user {winner}"
            if self.finds:
                assert sids(store.find(now=NOW)) == {sid}
                assert delete_all(store, f"user {winner}") == 1
            else:
                store.delete(sid)

    @needs("is_atomic")
    def test_deltas_of_different_keys_that_race_are_all_kept(self, store: Store) -> None:
        record = a_record(values={})
        store.create(record)

        def write(number: int) -> None:
            for step in range(self.rounds):
                change = Change(holder=HOLDER, last_seen_at=NOW + step, delta={f"{number}.{step}": bytes([step])})
                assert store.commit(record.info.sid, change, now=NOW + step) is DONE

        at_once(*[lambda number=number: write(number) for number in range(8)])
        loaded = store.load(record.info.sid, now=NOW)
        assert loaded is not None
        assert loaded.values == {f"{n}.{step}": bytes([step]) for n in range(8) for step in range(self.rounds)}
        assert loaded.info.last_seen_at == NOW + self.rounds - 1

    @needs("is_atomic")
    def test_increments_that_race_by_expectation_are_exact(self, store: Store) -> None:
        record = a_record(values={})
        store.create(record)

        def count_up() -> None:
            done = 0
            while done < self.rounds:
                loaded = store.load(record.info.sid, now=NOW)
                assert loaded is not None
                before = loaded.values.get("n")
                after = struct.pack("<I", 1 + (0 if before is None else struct.unpack("<I", before)[0]))
                change = Change(holder=HOLDER, delta={"n": after}, expect={"n": before})
                done += store.commit(record.info.sid, change, now=NOW) is DONE

        at_once(*[count_up] * 6)
        loaded = store.load(record.info.sid, now=NOW)
        assert loaded is not None and struct.unpack("<I", loaded.values["n"])[0] == 6 * self.rounds

    @needs("is_atomic")
    def test_a_delete_that_races_commits_never_leaves_a_record(self, store: Store) -> None:
        for _ in range(self.rounds):
            record = a_record(user_id="ada")
            store.create(record)

            def write(sid: SessionId = record.info.sid) -> list[Outcome]:
                changes = [Change(holder=HOLDER, last_seen_at=NOW + 1, delta={f"{n}": b"x"}) for n in range(10)]
                return [store.commit(sid, change, now=NOW + 1) for change in changes]

            *outcomes, deleted = at_once(write, write, write, partial(store.delete, record.info.sid))
            assert deleted is True
            assert store.load(record.info.sid, now=NOW + 1) is None
            assert store.delete(record.info.sid) is False
            for outcome in outcomes:
                assert outcome == sorted(outcome, key=[DONE, GONE].index), "A session that was gone came back."
        assert list(store.find(now=NOW)) == []
        assert drain(store, now=NOW + 1e6) == []

    @needs("is_atomic")
    def test_of_many_deletes_of_one_session_exactly_one_ended_it(self, store: Store) -> None:
        for _ in range(self.rounds):
            record = a_record()
            store.create(record)
            assert at_once(*[partial(store.delete, record.info.sid)] * 8).count(True) == 1

    @needs("is_atomic", "finds")
    def test_a_log_out_everywhere_that_races_touches_is_final(self, store: Store) -> None:
        for _ in range(self.rounds):
            records = [a_record(user_id="ada") for _ in range(4)]
            for record in records:
                store.create(record)

            def touch(record: Record) -> None:
                for step in range(10):
                    change = Change(holder=HOLDER, last_seen_at=NOW + step)
                    store.commit(record.info.sid, change, now=NOW + step)

            *_, count = at_once(
                *[lambda record=record: touch(record) for record in records], lambda: delete_all(store, "ada")
            )
            assert count == 4
            assert [store.load(record.info.sid, now=NOW + 10) for record in records] == [None] * 4
            assert list(store.find(now=NOW + 10)) == []

    @needs("is_atomic", "finds")
    def test_a_log_in_that_races_a_log_out_everywhere_is_found_or_gone(self, store: Store) -> None:
        for _ in range(self.rounds):
            record = a_record(user_id=None)
            store.create(record)
            log_in = Change(holder=HOLDER, rotation=_rotation(SECOND, to="ada"))
            outcome, count = at_once(
                partial(store.commit, record.info.sid, log_in, now=NOW),
                lambda: delete_all(store, "ada"),
            )
            assert outcome is DONE
            left = sids(store.find(now=NOW, user_id="ada"))
            assert left == (set() if count else {record.info.sid})
            assert (store.load(record.info.sid, now=NOW) is None) == bool(count)
            store.delete(record.info.sid)

    @needs("is_atomic")
    def test_of_two_rotations_that_race_one_wins(self, store: Store) -> None:
        for grace_ends_at in (None, NOW + 10):
            for _ in range(self.rounds):
                record = a_record()
                store.create(record)
                changes = [
                    Change(holder=HOLDER, rotation=_rotation(new, grace_ends_at=grace_ends_at))
                    for new in (SECOND, THIRD)
                ]
                outcomes = at_once(
                    *[
                        lambda sid=record.info.sid, change=change: store.commit(sid, change, now=NOW)
                        for change in changes
                    ]
                )
                loser = GONE if grace_ends_at is None else CONFLICT
                assert sorted(outcomes, key=list(Outcome).index) == [DONE, loser]
                loaded = store.load(record.info.sid, now=NOW)
                assert loaded is not None and loaded.secret_digest == (SECOND, THIRD)[outcomes.index(DONE)]

    @needs("is_atomic")
    def test_a_lock_by_expectation_has_one_owner(self, store: Store) -> None:
        record = a_record()
        store.create(record)
        for step in range(self.rounds):
            key = f"lock {step}"
            changes = [Change(holder=HOLDER, delta={key: bytes([n])}, expect={key: None}) for n in range(8)]
            outcomes = at_once(
                *[lambda change=change: store.commit(record.info.sid, change, now=NOW) for change in changes]
            )
            assert outcomes.count(DONE) == 1 and outcomes.count(CONFLICT) == 7
            loaded = store.load(record.info.sid, now=NOW)
            assert loaded is not None and loaded.values[key] == bytes([outcomes.index(DONE)])

    @needs("is_atomic", "prunes")
    def test_a_touch_that_races_a_prune_is_kept_or_gone_and_never_both(self, store: Store) -> None:
        last = NOW + 0.999
        touch = Change(holder=HOLDER, last_seen_at=last)
        for _ in range(self.rounds):
            record = a_record(idle_timeout=1.0)
            store.create(record)
            outcome, forgotten = at_once(
                partial(store.commit, record.info.sid, touch, now=last),
                lambda: list(store.prune(now=NOW + 1.0, limit=10)),
            )
            if forgotten:
                assert outcome is GONE and forgotten == [record.info]
            else:
                assert outcome is DONE
            assert store.delete(record.info.sid) is not bool(forgotten)

    # Close.

    def test_close_may_be_called_again(self, make_store: Callable[[], Store]) -> None:
        store = make_store()
        store.create(a_record())
        store.close()
        store.close()


def _keeper(store: Store) -> KeepsTallies:
    """Return the store if it keeps tallies; else the test is about something that it does not promise."""
    kept = keeps_tallies(store)
    if kept is None:
        pytest.skip("The store does not declare the trait keeps_tallies.")
    return kept


def _rotation(new: bytes, *, to: str | None = None, grace_ends_at: float | None = None) -> Rotation:
    return Rotation(secret_digest=new, user_id=to, grace_ends_at=grace_ends_at)


def _heard(news: EndNews, *, count: int) -> list[Ending]:
    """Return the endings that are heard, until there are ``count`` of them or nothing comes for a while."""
    heard: list[Ending] = []
    while len(heard) < count and (more := news.wait(5.0)):
        heard += more
    return heard
