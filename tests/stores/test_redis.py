"""The Redis store: the contract and the races on Redis, Valkey and a cluster, and what their servers do to it."""

import os
import signal
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import closing
from contextlib import contextmanager
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from inspect import Parameter
from inspect import signature
from math import inf
from pathlib import Path
from typing import Any
from uuid import UUID
from uuid import uuid4

import pytest
import redis
from hypothesis import example
from hypothesis import given
from hypothesis import HealthCheck
from hypothesis import settings
from hypothesis import strategies as st
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel
from support.linearizability import check_store
from support.redis_servers import a_cluster
from support.redis_servers import a_sentinel
from support.redis_servers import one_server
from support.redis_servers import redis_program
from support.redis_servers import RedisServer
from support.redis_servers import valkey_program
from support.store_races import StoreRaces
from support.waiting import wait_until

from flask_idlesession.model.errors import ConfigError
from flask_idlesession.model.errors import SessionExists
from flask_idlesession.model.errors import StoreError
from flask_idlesession.model.record import Change
from flask_idlesession.model.record import Ending
from flask_idlesession.model.record import EndReason
from flask_idlesession.model.record import Outcome
from flask_idlesession.model.record import Record
from flask_idlesession.model.record import Rotation
from flask_idlesession.stores.contract import Store
from flask_idlesession.stores.contract import Touch
from flask_idlesession.stores.redis import format as redis_form
from flask_idlesession.stores.redis import RedisStore
from flask_idlesession.stores.redis import scripts as redis_scripts
from flask_idlesession.stores.redis import store as redis_store
from flask_idlesession.stores.redis.scripts import Script
from flask_idlesession.testing.store_contract import a_record
from flask_idlesession.testing.store_contract import at_once
from flask_idlesession.testing.store_contract import delete_all
from flask_idlesession.testing.store_contract import drain
from flask_idlesession.testing.store_contract import HOLDER
from flask_idlesession.testing.store_contract import IDLE
from flask_idlesession.testing.store_contract import NOW
from flask_idlesession.testing.store_contract import SECOND
from flask_idlesession.testing.store_contract import sids
from flask_idlesession.testing.store_contract import StoreContract
from flask_idlesession.testing.store_contract import THIRD


@pytest.fixture(scope="module")
def valkey_server() -> Iterator[RedisServer]:
    with one_server(valkey_program()) as server:
        yield server


@pytest.fixture
def store(client: redis.Redis) -> RedisStore:
    return RedisStore(client)


def cluster_client(servers: list[RedisServer]) -> redis.RedisCluster:
    return redis.RedisCluster(host="127.0.0.1", port=servers[0].port, socket_timeout=5)


def emptied(servers: list[RedisServer]) -> None:
    for server in servers:
        with closing(server.client()) as client:
            client.flushall()


def open_url(url: str) -> Store:
    scheme, plain = url.split("+")
    return RedisStore({"one": redis.Redis, "many": redis.RedisCluster}[scheme].from_url(plain, socket_timeout=5))


def sizes(*clients: redis.Redis) -> dict[str, int]:
    """Count the sessions there are, the entries of what is due, and those of all users."""
    count = {"session": 0, "due": 0, "user": 0}
    for client in clients:
        for key in client.scan_iter(count=1000):
            name = key.decode("utf-8", "replace").removeprefix("idlesession:").partition("}:")
            kind = (name[2] or name[0]).partition(":")[0]
            if kind.startswith("ended"):
                continue
            size = {"session": lambda key: 1, "due": client.zcard, "user": client.scard}[kind]
            count[kind] += size(key)  # type: ignore[operator]
    return count


class TestRedis(StoreContract):
    rounds = 15

    @pytest.fixture
    def make_store(self, client: redis.Redis) -> Callable[[], Store]:
        return lambda: RedisStore(client)


@pytest.mark.soak  # But for the client's answers it is the same as Redis above.
class TestRedisByRESP3(StoreContract):
    rounds = 3

    @pytest.fixture
    def make_store(self, server: RedisServer) -> Iterator[Callable[[], Store]]:
        with closing(server.client(socket_timeout=5, protocol=3, decode_responses=True)) as client:
            client.flushall()
            yield lambda: RedisStore(client, prefix="another app's: ")


class TestValkey(StoreContract):
    rounds = 5

    @pytest.fixture
    def make_store(self, valkey_server: RedisServer) -> Iterator[Callable[[], Store]]:
        valkey = pytest.importorskip("valkey")
        with closing(valkey.Valkey(port=valkey_server.port, socket_timeout=5)) as client:
            client.flushall()
            yield lambda: RedisStore(client)


class TestCluster(StoreContract):
    rounds = 5

    @pytest.fixture
    def make_store(self, cluster: list[RedisServer]) -> Iterator[Callable[[], Store]]:
        emptied(cluster)
        with closing(cluster_client(cluster)) as client:
            yield lambda: RedisStore(client)


class TestRacesOnOneServer(StoreRaces):
    opener = staticmethod(open_url)
    rounds = 1000

    @pytest.fixture
    def spec(self, server: RedisServer, client: redis.Redis) -> Iterator[str]:
        yield f"one+{server.url}"
        assert_no_ghosts(client)


@pytest.mark.soak
class TestManyRacesOnOneServer(TestRacesOnOneServer):
    rounds, writes, additions = 5000, 200, 200


class TestRacesOnACluster(StoreRaces):
    opener = staticmethod(open_url)

    @pytest.fixture
    def spec(self, cluster: list[RedisServer]) -> Iterator[str]:
        emptied(cluster)
        yield f"many+{cluster[0].url}"
        clients = [each.client() for each in cluster]
        assert_no_ghosts(*clients)
        for client in clients:
            client.close()


@pytest.mark.parametrize(("threads", "processes"), [pytest.param(4, 0, marks=pytest.mark.soak), (2, 2)])
def test_every_call_is_one_atomic_step(server: RedisServer, client: redis.Redis, threads: int, processes: int) -> None:
    seed = os.environ.get("LINEARIZABILITY_SEED", os.urandom(4).hex())
    opened = partial(open_url, f"one+{server.url}")
    overlaps = check_store(opened, histories=100, threads=threads, processes=processes, seed=seed)
    assert overlaps > 50, "the calls did not meet; nothing was shown"


def test_every_call_about_one_session_is_one_atomic_step_in_a_cluster(cluster: list[RedisServer]) -> None:
    emptied(cluster)
    seed = os.environ.get("LINEARIZABILITY_SEED", os.urandom(4).hex())
    opened = partial(open_url, f"many+{cluster[0].url}")
    check_store(opened, histories=50, threads=4, seed=seed, avoid=frozenset({"delete_many", "next_expiry"}))


def assert_no_ghosts(*clients: redis.Redis) -> None:
    left = sizes(*clients)
    assert left["session"] == left["due"] and left["user"] <= left["session"]


# What a commit does is said twice: in Python, by Record, and in Lua. Both must say the same.

INSTANTS = st.sampled_from([NOW - 5.0, NOW, NOW + 0.1, NOW + 1 / 3, NOW + 10.0, NOW + 59.9, NOW + IDLE, NOW + 99.0])
SECONDS = st.sampled_from([0.25, 7.0, IDLE, 1e6, inf])
DIGESTS = st.sampled_from([HOLDER, SECOND, THIRD, b""])
LABELS = st.sampled_from(["", "a", "\xff", "agent"])
KEYS = st.sampled_from(["", "a", "b", "\xff", "\udcff", "due"])
MAYBE_BYTES = st.sampled_from([None, b"", b"1", b"2", b"\x00\xff"])
DELTAS = st.dictionaries(KEYS, MAYBE_BYTES, max_size=4)
USERS = st.sampled_from([None, "", "ada", "bob"])
ROTATIONS = st.builds(
    Rotation,
    secret_digest=st.sampled_from([HOLDER, SECOND, THIRD]),
    user_id=USERS,
    lifetime_ends_at=st.none() | INSTANTS | st.just(inf),
    grace_ends_at=st.none() | INSTANTS,
)
CHANGES = st.builds(
    Change,
    holder=DIGESTS,
    last_seen_at=st.none() | INSTANTS,
    delta=DELTAS,
    expect=st.just({}) | st.dictionaries(KEYS, MAYBE_BYTES, max_size=2),
    idle_timeout=st.none() | SECONDS,
    refresh_by=st.none() | INSTANTS | st.just(inf),
    rotation=st.none() | ROTATIONS,
    labels=st.just({}) | st.dictionaries(LABELS, st.sampled_from([None, "", "á", 1.5, 3, True]), max_size=3),
    end_if_emptied=st.booleans(),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    user_id=USERS,
    values=st.dictionaries(KEYS, st.sampled_from([b"", b"1", b"2"]), max_size=3),
    labels=st.dictionaries(LABELS, st.sampled_from(["", "b", 0.1]), max_size=3),
    steps=st.lists(st.tuples(CHANGES, INSTANTS), max_size=8),
)
def test_the_scripts_judge_and_apply_as_a_record_does(
    store: RedisStore,
    client: redis.Redis,
    user_id: str | None,
    values: Any,
    labels: Any,
    steps: list[tuple[Change, float]],
) -> None:
    record: Record | None = a_record(user_id=user_id, values=values, labels=labels)
    assert record is not None
    sid = record.info.sid
    store.create(record)
    for change, now in steps:
        outcome = Outcome.GONE if record is None else record.judge(change, now=now)
        assert store.commit(sid, change, now=now) is outcome
        if record is not None and outcome is Outcome.DONE:
            record = record.apply(change, now=now)
        if outcome is Outcome.EMPTIED:
            record = None
        fields = store._fields(sid)
        assert (redis_form.to_record(sid, fields) if fields else None) == record
        assert list(store.find(now=-inf)) == ([] if record is None else [record.info])
        owned = 0 if record is None or record.info.user_id is None else 1
        there = record is not None
        assert sizes(client) == {"session": there, "due": there, "user": owned}
        if record is not None:
            due = client.zscore("idlesession:due", str(sid))
            assert due is not None and due <= record.info.expires_at
    assert store.delete(sid) is (record is not None)
    assert client.dbsize() == 0


class TestIndexes:
    def test_they_hold_what_lives_and_nothing_else(self, store: RedisStore, client: redis.Redis) -> None:
        records = [a_record(user_id=f"user {number % 5}" if number % 2 else None) for number in range(100)]
        for record in records:
            store.create(record)
        for record in records[:20]:
            assert store.delete(record.info.sid)
        for record in records[20:40]:
            rotation = Rotation(secret_digest=SECOND, user_id="ada")
            assert store.commit(record.info.sid, Change(holder=HOLDER, rotation=rotation), now=NOW) is Outcome.DONE
        for record in records[40:50]:
            emptying = Change(holder=HOLDER, delta={"kept": None}, end_if_emptied=True)
            assert store.commit(record.info.sid, emptying, now=NOW) is Outcome.EMPTIED
        assert sizes(client) == {"session": 70, "due": 70, "user": 20 + 25}
        assert delete_all(store, "ada") == 20
        assert len(drain(store, now=NOW + 2 * IDLE)) == 50
        assert list(client.scan_iter()) == [b"idlesession:ended"]

    def test_what_the_server_threw_away_leaves_them_too(self, store: RedisStore, client: redis.Redis) -> None:
        records = [a_record(user_id="ada") for _ in range(9)]
        for record in records:
            store.create(record)
        for record in records[:8]:
            client.delete(f"idlesession:session:{record.info.sid}")
        assert sids(store.find(now=NOW)) == sids(store.find(now=NOW, user_id="ada")) == {records[8].info.sid}
        assert sizes(client)["user"] == 1
        assert [info.sid for info in drain(store, now=NOW + IDLE)] == [records[8].info.sid]
        assert list(client.scan_iter()) == [b"idlesession:ended"]

    def test_log_ins_clear_away_the_ghosts_of_a_user_that_nobody_lists(
        self, store: RedisStore, client: redis.Redis
    ) -> None:
        for number in range(200):
            record = a_record(user_id="ada")
            store.create(record)
            if number < 190:
                client.delete(f"idlesession:session:{record.info.sid}")
        assert sizes(client)["user"] < 30

    def test_they_live_as_long_as_the_longest_of_their_sessions(self, store: RedisStore, client: redis.Redis) -> None:
        day = 86_400_000
        record = a_record(user_id="ada", idle_timeout=600.0)
        store.create(record)
        store.create(a_record(user_id="ada", idle_timeout=1.0))
        keys = ["idlesession:due", "idlesession:user:ada", f"idlesession:session:{record.info.sid}"]
        assert all(day + 590_000 < client.pttl(key) <= day + 600_000 for key in keys)
        longer = Change(holder=HOLDER, idle_timeout=3 * 86_400.0, refresh_by=inf)
        store.commit(record.info.sid, replace(longer, rotation=_rotation("bob")), now=NOW)
        keys[1] = "idlesession:user:bob"
        assert all(client.pttl(key) > 1.03 * day for key in keys)

    def test_a_touch_puts_redis_own_expiry_off_before_it_is_near(self, store: RedisStore, client: redis.Redis) -> None:
        record = a_record(user_id="ada")
        store.create(record)
        keys = ["idlesession:due", "idlesession:user:ada", f"idlesession:session:{record.info.sid}"]
        for left, prolonged in ((70_000_000, False), (30_000_000, True)):
            for key in keys:
                client.pexpire(key, left)
            store.commit(record.info.sid, Change(holder=HOLDER, last_seen_at=NOW + 1), now=NOW + 1)
            assert [client.pttl(key) > left for key in keys] == [prolonged] * 3

    def test_a_session_without_end_is_kept_by_redis_too(self, store: RedisStore, client: redis.Redis) -> None:
        record = a_record(user_id="ada")
        store.create(record)
        store.commit(
            record.info.sid,
            Change(
                holder=HOLDER,
                idle_timeout=inf,
                rotation=Rotation(secret_digest=HOLDER, user_id="ada", lifetime_ends_at=inf),
            ),
            now=NOW,
        )
        assert [client.pttl(key) for key in client.scan_iter()] == [-1, -1, -1]

    def test_an_entry_that_says_too_much_ends_nobody_s_session(self, store: RedisStore, client: redis.Redis) -> None:
        bobs = a_record(user_id="bob")
        store.create(bobs)
        for act in (lambda: list(store.find(now=NOW, user_id="ada")), lambda: delete_all(store, "ada")):
            client.sadd("idlesession:user:ada", str(bobs.info.sid))
            assert not act()
            assert not client.exists("idlesession:user:ada")
        assert store.load(bobs.info.sid, now=NOW) == bobs

    def test_no_session_is_due_after_its_end_by_however_little(self, store: RedisStore) -> None:
        for number in range(200):
            record = a_record(lifetime_ends_at=NOW + 1 + number / 7)
            store.create(record)
            assert store.next_expiry() == record.info.expires_at
            shorter = Change(holder=HOLDER, refresh_by=NOW + number / 977)
            assert store.commit(record.info.sid, shorter, now=NOW - 1) is Outcome.DONE
            assert store.next_expiry() == NOW + number / 977
            store.delete(record.info.sid)

    def test_one_prune_looks_past_all_that_were_touched(self, store: RedisStore) -> None:
        records = [a_record(lifetime_ends_at=inf) for _ in range(700)]
        for record in records:
            store.create(record)
            store.commit(record.info.sid, Change(holder=HOLDER, last_seen_at=NOW + 30), now=NOW + 30)
        expired = a_record(last_seen_at=NOW + 0.5)
        store.create(expired)
        assert store.prune(now=NOW + 0.5 + IDLE, limit=1) == [expired.info]

    def test_a_session_that_the_server_lists_twice_is_found_once(
        self, store: RedisStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        record = a_record()
        store.create(record)
        run = store._run

        def scan_twice(script: Any, keys: Any, *arguments: bytes) -> Any:
            if script is redis_scripts.FIND and arguments == (b"0",):
                return [b"1", *run(script, keys, *arguments)[1:]]
            return run(script, keys, b"0")

        monkeypatch.setattr(store, "_run", scan_twice)
        assert sids(store.find(now=NOW)) == {record.info.sid}


class TestLabels:
    def test_they_keep_their_kind_when_others_change(self, store: RedisStore) -> None:
        labels: dict[str, str | float] = {"whole": 3.0, "large": 2**53 + 1, "yes": True, "at": NOW + 1 / 3}
        record = a_record(labels=labels)
        store.create(record)
        store.commit(record.info.sid, Change(holder=HOLDER, labels={"other": "x"}), now=NOW)
        loaded = store.load(record.info.sid, now=NOW)
        assert loaded is not None
        assert repr(loaded.info.labels) == repr({"other": "x"} | labels)

    def test_a_touch_does_not_write_them_anew(self, store: RedisStore, client: redis.Redis) -> None:
        record = a_record(labels={"agent": "x" * 300})
        store.create(record)
        with client.monitor() as monitor:
            store.commit(record.info.sid, Change(holder=HOLDER, last_seen_at=NOW + 1), now=NOW + 1)
            client.echo("done")
            told = []
            while not (command := monitor.next_command()["command"]).startswith("ECHO"):
                told.append(command)
        assert any("HSET" in command for command in told)
        assert not any("x" * 100 in command for command in told)

    def test_when_the_last_is_removed_nothing_is_left_of_them(self, store: RedisStore, client: redis.Redis) -> None:
        record = a_record(labels={"a": "1"})
        store.create(record)
        key = f"idlesession:session:{record.info.sid}"
        assert client.hexists(key, redis_form.LABELS)  # type: ignore[arg-type]
        store.commit(record.info.sid, Change(holder=HOLDER, labels={"a": None}), now=NOW)
        assert not client.hexists(key, redis_form.LABELS)  # type: ignore[arg-type]

    def test_they_do_not_keep_a_session_that_was_emptied(self, store: RedisStore, client: redis.Redis) -> None:
        record = a_record(labels={"a": "1"})
        store.create(record)
        emptying = Change(holder=HOLDER, delta={"kept": None}, end_if_emptied=True)
        assert store.commit(record.info.sid, emptying, now=NOW) is Outcome.EMPTIED
        assert client.dbsize() == 0

    def test_what_is_pruned_is_told_with_them(self, store: RedisStore) -> None:
        record = a_record(labels={"a": "1"})
        store.create(record)
        assert store.prune(now=NOW + IDLE, limit=1) == [record.info]


class TestEndings:
    def test_of_a_flood_only_the_newest_are_remembered(
        self, store: RedisStore, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(redis_store, "_MAX_BURIED", 50)
        endings = [an_ending() for _ in range(500)]
        for start in range(0, 500, 5):
            store.bury(endings[start : start + 5], until=NOW + 600)
        remembered = [store.ending(ending.sid, now=NOW) is not None for ending in endings]
        assert remembered == [False] * (500 - sum(remembered)) + [True] * sum(remembered)
        assert 50 <= sum(remembered) <= 100
        assert client.hlen("idlesession:ended") + client.hlen("idlesession:ended before") == sum(remembered)

    def test_redis_collects_them_in_the_end_and_never_too_soon(self, store: RedisStore, client: redis.Redis) -> None:
        hour = 3_600_000
        store.bury([an_ending()], until=NOW + 600)
        assert hour + 1_190_000 < client.pttl("idlesession:ended") <= hour + 1_200_000
        store.bury([late := an_ending()], until=NOW + 600)
        assert client.hlen("idlesession:ended") == 2
        client.pexpire("idlesession:ended", hour // 2 + 500_000)
        store.bury([an_ending()], until=NOW + 600)
        assert client.hlen("idlesession:ended") == 1 and client.hlen("idlesession:ended before") == 2
        assert client.pttl("idlesession:ended before") < hour // 2 + 600_000
        assert store.ending(late.sid, now=NOW) == late

    def test_what_is_remembered_for_longer_than_the_others_is_kept_for_as_long(
        self, store: RedisStore, client: redis.Redis
    ) -> None:
        store.bury([an_ending()], until=NOW + 600)
        store.bury([ending := an_ending()], until=NOW + 86_400)
        assert client.pttl("idlesession:ended") > 2 * 86_400_000
        store.bury([an_ending()], until=inf)
        assert store.ending(ending.sid, now=NOW) == ending
        assert min(client.pttl("idlesession:ended"), client.pttl("idlesession:ended before")) > 86_400_000

    def test_one_that_was_not_asked_for_is_never_returned(self, store: RedisStore, client: redis.Redis) -> None:
        ending, sid = an_ending(), uuid4()
        store.bury([ending], until=NOW + 600)
        grave = client.hget("idlesession:ended", ending.sid.bytes)  # type: ignore[arg-type]
        client.hset("idlesession:ended", sid.bytes, grave)  # type: ignore[arg-type]
        with pytest.raises(StoreError, match="another session"):
            store.ending(sid, now=NOW)

    def test_each_is_in_the_slot_of_its_session(self, cluster: list[RedisServer]) -> None:
        emptied(cluster)
        with closing(cluster_client(cluster)) as client:
            store = RedisStore(client)
            endings = [an_ending() for _ in range(200)]
            store.bury(endings, until=NOW + 600)
            assert [store.ending(ending.sid, now=NOW) for ending in endings] == endings
            kept = [client.hlen(base + b"ended") for base in store._bases]  # type: ignore[arg-type]
            assert sum(kept) == 200 and min(kept) > 0


def an_ending() -> Ending:
    return Ending(sid=uuid4(), reason=EndReason.REVOKED, ended_at=NOW, user_id="ada", by="cli")


class TestAnswersThatAreLost:
    """redis-py sends a command again whose answer it did not get, though the server may have done it."""

    @pytest.fixture
    def stutterer(self, client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> RedisStore:
        send = client.execute_command

        def send_twice(*command: Any, **options: Any) -> Any:
            send(*command, **options)
            return send(*command, **options)

        monkeypatch.setattr(client, "execute_command", send_twice)
        return RedisStore(client)

    def test_a_session_is_created_once_and_that_is_no_error(self, stutterer: RedisStore) -> None:
        record = a_record()
        stutterer.create(record)
        with pytest.raises(SessionExists):
            stutterer.create(record)
        assert stutterer.load(record.info.sid, now=NOW) == record

    def test_a_change_is_made_once_and_answered_as_made(self, stutterer: RedisStore) -> None:
        record = a_record(values={})
        sid = record.info.sid
        stutterer.create(record)
        for before, after in ((None, b"1"), (b"1", b"2"), (b"2", b"3")):
            change = Change(holder=HOLDER, delta={"n": after}, expect={"n": before})
            assert stutterer.commit(sid, change, now=NOW) is Outcome.DONE
        assert stutterer.commit(sid, Change(holder=HOLDER, rotation=_rotation("ada")), now=NOW) is Outcome.DONE
        assert stutterer.commit(sid, Change(holder=HOLDER, delta={"a": b"1"}), now=NOW) is Outcome.GONE
        loaded = stutterer.load(sid, now=NOW)
        assert loaded is not None and loaded.values == {"n": b"3"} and loaded.secret_digest == SECOND

    def test_a_change_is_known_again_after_three_others(self, store: RedisStore, client: redis.Redis) -> None:
        record = a_record(values={})
        store.create(record)
        keys = store._keys(record.info.sid)
        change = Change(holder=HOLDER, delta={"n": b"1"}, expect={"n": None})
        arguments = redis_form.to_arguments(change, now=NOW, mark=b"its mark")
        assert store._run(redis_scripts.COMMIT, keys, *arguments) == 0
        for number in range(3):
            store.commit(record.info.sid, Change(holder=HOLDER, delta={"n": b"%d" % number}), now=NOW)
            store.commit(record.info.sid, Change(holder=HOLDER, last_seen_at=NOW + number), now=NOW + number)
        assert store._run(redis_scripts.COMMIT, keys, *arguments) == 0
        loaded = store.load(record.info.sid, now=NOW)
        assert loaded is not None and loaded.values == {"n": b"2"}


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.dictionaries(st.text(max_size=3), st.binary(max_size=300)))
@example(values={"": b""})
@example(values={str(number): bytes(number) for number in range(3000)})
def test_a_visit_returns_every_byte_that_is_stored(store: RedisStore, values: dict[str, bytes]) -> None:
    record = a_record(values=values, user_id="ada", labels={"a": "b"})
    store.create(record)
    assert store.load(record.info.sid, now=NOW, touch=Touch(HOLDER, None)) == record


def test_a_field_of_no_bytes_may_be_the_last_of_an_answer() -> None:
    assert redis_form.to_fields(b"key" + bytes(8), at=3) == {b"": b""}


class TestAnswersThatCross:
    @pytest.fixture
    def one_line(self, server: RedisServer) -> Iterator[tuple[redis.Redis, RedisStore, Record, Record]]:
        """A client that does all by one connection, a store on it, and two sessions."""
        with closing(server.client(single_connection_client=True)) as client:
            store = RedisStore(client)
            mine, other = a_record(values={"a": b"mine"}), a_record(values={"a": b"another's"})
            store.create(mine)
            store.create(other)
            yield client, store, mine, other

    def test_a_session_that_was_not_asked_for_is_never_returned(self, one_line: Any) -> None:
        client, store, mine, other = one_line
        client.connection.send_command("HGETALL", store._keys(other.info.sid)[1])  # Whose answer nobody fetches.
        wait_until(client.connection.can_read, "the answer is here")
        with pytest.raises(StoreError, match="another session"):
            store.load(mine.info.sid, now=NOW)
        assert store.load(mine.info.sid, now=NOW) == mine, "The connection was not dropped."

    def test_a_session_that_was_not_asked_for_is_never_visited(self, one_line: Any) -> None:
        client, store, mine, other = one_line
        for holder in (HOLDER, b"a stranger's"):  # The answer to the second is that there is nothing for it.
            told = redis_form.to_visit(holder, now=NOW, refresh_by=None)
            keys = store._keys(other.info.sid)
            client.connection.send_command("EVAL", redis_scripts.VISIT.text, 2, *keys, told)
            wait_until(client.connection.can_read, "the answer is here")
            with pytest.raises(StoreError, match="another session"):
                store.load(mine.info.sid, now=NOW, touch=Touch(HOLDER, None))
            assert store.load(mine.info.sid, now=NOW, touch=Touch(HOLDER, None)) == mine

    @pytest.mark.parametrize(
        "answer",
        [
            "1",
            "''",
            "false",
            "{}",
            "{KEYS[2]}",
            "string.sub(KEYS[2], 1, -2)",
            "KEYS[2] .. 'x'",
            "KEYS[2] .. struct.pack('<I4I4', 0, 1)",
            "KEYS[2] .. struct.pack('<I4I4', 1, 1) .. 'a'",
            "KEYS[2] .. struct.pack('<I4I4', 1, 1) .. 'abc'",
            "KEYS[2] .. struct.pack('<I4I4', 4294967295, 4294967295) .. 'abc'",
        ],
    )
    def test_what_is_no_answer_to_a_visit_is_a_store_error(
        self, store: RedisStore, monkeypatch: pytest.MonkeyPatch, answer: str
    ) -> None:
        monkeypatch.setattr(redis_scripts, "VISIT", Script(f"return {answer}"))
        with pytest.raises(StoreError, match="another session"):
            store.load(uuid4(), now=NOW, touch=Touch(HOLDER, None))


class TestRoundTrips:
    def test_each_verb_is_one_command(self, store: RedisStore, client: redis.Redis, server: RedisServer) -> None:
        record = a_record(user_id="ada", values={str(number): b"v" for number in range(20)})
        warm = a_record()
        store.create(warm)
        store.load(warm.info.sid, now=NOW)
        store.commit(warm.info.sid, Change(holder=HOLDER), now=NOW)
        store.delete(warm.info.sid)
        list(store.find(now=NOW, user_id="ada"))
        delete_all(store, "ada")
        store.prune(now=NOW, limit=1)
        store.next_expiry()
        store.bury([an_ending()], until=NOW + 60)
        store.ending(warm.info.sid, now=NOW)
        verbs: dict[str, Callable[[], Any]] = {
            "create": lambda: store.create(record),
            "load": lambda: store.load(record.info.sid, now=NOW),
            "touch": lambda: store.commit(record.info.sid, Change(holder=HOLDER, last_seen_at=NOW), now=NOW),
            "write": lambda: store.commit(record.info.sid, Change(holder=HOLDER, delta={"a": b"1"}), now=NOW),
            "list": lambda: list(store.find(now=NOW, user_id="ada")),
            "prune": lambda: store.prune(now=NOW + 1, limit=4),
            "when next": lambda: store.next_expiry(),
            "label": lambda: store.commit(record.info.sid, Change(holder=HOLDER, labels={"a": "1"}), now=NOW),
            "delete": lambda: store.delete(record.info.sid),
            "bury": lambda: store.bury([an_ending() for _ in range(9)], until=NOW + 60),
            "ending": lambda: store.ending(record.info.sid, now=NOW),
            "delete all": lambda: delete_all(store, "ada"),
        }
        with closing(server.client()) as watcher, watcher.monitor() as monitor:
            for name, verb in verbs.items():
                verb()
                client.echo(name)
                told = []
                while not (command := monitor.next_command())["command"].startswith("ECHO"):
                    told.append(command)
                sent = [each["command"] for each in told if each["client_type"] != "lua"]
                assert len(sent) == 1, (name, sent)


class TestFaults:
    @pytest.fixture
    def own_server(self) -> Iterator[RedisServer]:
        with one_server(redis_program()) as server:
            yield server

    @pytest.fixture
    def hasty(self, own_server: RedisServer) -> Iterator[RedisStore]:
        options = {"socket_timeout": 0.3, "socket_connect_timeout": 0.3, "retry": Retry(NoBackoff(), 0)}
        with closing(own_server.client(**options)) as client:
            yield RedisStore(client)

    def test_a_server_that_forgot_the_scripts_is_told_them_again(self, store: RedisStore, client: redis.Redis) -> None:
        record = a_record(user_id="ada")
        for act in (
            lambda: store.create(record),
            lambda: store.commit(record.info.sid, Change(holder=HOLDER, delta={"a": b"1"}), now=NOW),
            lambda: list(store.find(now=NOW)),
            lambda: delete_all(store, "ada"),
        ):
            client.script_flush()
            act()
        assert store.load(record.info.sid, now=NOW) is None

    def test_a_server_that_is_away_is_a_store_error_and_its_return_is_noticed(
        self, hasty: RedisStore, own_server: RedisServer
    ) -> None:
        record = a_record()
        hasty.create(record)
        own_server.stop()
        for act in everything(hasty, record):
            began = time.monotonic()
            with pytest.raises(StoreError) as caught:
                act()
            assert isinstance(caught.value.__cause__, redis.ConnectionError)
            assert time.monotonic() - began < 2
        own_server.start()
        hasty.create(record)
        assert hasty.load(record.info.sid, now=NOW) == record

    def test_a_server_that_hangs_is_a_store_error_and_no_answer_comes_late(
        self, hasty: RedisStore, own_server: RedisServer
    ) -> None:
        records = [a_record(values={"n": b"%d" % number}) for number in range(4)]
        for record in records:
            hasty.create(record)
        own_server.signal(signal.SIGSTOP)
        try:
            for record in records:
                with pytest.raises(StoreError) as caught:
                    hasty.load(record.info.sid, now=NOW)
                assert isinstance(caught.value.__cause__, redis.TimeoutError)
        finally:
            own_server.signal(signal.SIGCONT)
        assert [hasty.load(record.info.sid, now=NOW) for record in reversed(records)] == records[::-1]

    def test_a_server_that_only_reads_is_a_store_error_until_it_writes_again(
        self, hasty: RedisStore, own_server: RedisServer
    ) -> None:
        record = a_record()
        hasty.create(record)
        with closing(own_server.client()) as client:
            client.replicaof("127.0.0.1", 1)
            with pytest.raises(StoreError) as caught:
                hasty.commit(record.info.sid, Change(holder=HOLDER, delta={"a": b"1"}), now=NOW)
            assert isinstance(caught.value.__cause__, redis.exceptions.ReadOnlyError)
            client.replicaof("NO", "ONE")
        assert hasty.commit(record.info.sid, Change(holder=HOLDER, delta={"a": b"1"}), now=NOW) is Outcome.DONE

    def test_a_server_that_is_full_refuses_writes_whole_and_still_ends_sessions(
        self, hasty: RedisStore, own_server: RedisServer
    ) -> None:
        records = [a_record(user_id="ada") for _ in range(3)]
        for record in records:
            hasty.create(record)
        with closing(own_server.client()) as client:
            client.config_set("maxmemory", "100kb")
            with pytest.raises(StoreError):
                hasty.create(a_record(user_id="eve"))
            rotation = Rotation(secret_digest=SECOND, user_id="eve")
            change = Change(holder=HOLDER, delta={"kept": None, "a": b"1"}, rotation=rotation)
            with pytest.raises(StoreError):
                hasty.commit(records[0].info.sid, change, now=NOW)
            assert hasty.load(records[0].info.sid, now=NOW) == records[0]
            assert hasty.delete(records[1].info.sid) is True
            client.config_set("maxmemory", "0")
            assert sizes(client) == {"session": 2, "due": 2, "user": 2}
        assert delete_all(hasty, "ada") == 2

    def test_a_server_that_wants_a_password_is_a_store_error(self, hasty: RedisStore, own_server: RedisServer) -> None:
        with closing(own_server.client()) as client:
            client.config_set("requirepass", "a secret")
            hasty.close()
            with pytest.raises(StoreError) as caught:
                hasty.load(uuid4(), now=NOW)
            assert "a secret" not in str(caught.value)

    def test_a_server_restarted_under_load_loses_no_answer_and_mixes_none(
        self, own_server: RedisServer, tmp_path: Path
    ) -> None:
        own_server.command += ["--appendonly", "yes", "--appendfsync", "always"]
        own_server.stop()
        own_server.start()
        done: dict[int, int] = {}
        failed: list[StoreError] = []
        enough = threading.Event()
        with closing(own_server.client(socket_timeout=0.5, retry=Retry(NoBackoff(), 1))) as client:
            store = RedisStore(client)
            records = [a_record(values={"n": b"0"}, idle_timeout=1e6) for _ in range(4)]
            for record in records:
                store.create(record)

            def count_up(number: int) -> None:
                done[number] = 0
                while not enough.is_set():
                    try:
                        found = store.load(records[number].info.sid, now=NOW)
                        assert found is not None
                        before = found.values["n"]
                        change = Change(holder=HOLDER, delta={"n": b"%d" % (int(before) + 1)}, expect={"n": before})
                        assert store.commit(found.info.sid, change, now=NOW) is Outcome.DONE
                        done[number] += 1
                    except StoreError as error:
                        failed.append(error)
                        enough.wait(0.02)

            threads = [threading.Thread(target=count_up, args=(number,)) for number in range(4)]
            for thread in threads:
                thread.start()
            for _ in range(3):
                time.sleep(0.2)
                own_server.stop()
                time.sleep(0.1)
                own_server.start()
            time.sleep(0.2)
            enough.set()
            for thread in threads:
                thread.join(30)
            for number, record in enumerate(records):
                found = store.load(record.info.sid, now=NOW)
                assert found is not None
                # What failed may have been done and the answer lost; what was answered is there.
                assert done[number] <= int(found.values["n"]) <= done[number] + len(failed)
                assert done[number] > 20

    def test_the_rights_that_the_documentation_names_are_enough(self, client: redis.Redis, server: RedisServer) -> None:
        text = (Path(__file__).parents[2] / "docs" / "stores-redis.rst").read_text()
        rights = text.partition("``~idlesession:*")[2].partition("``")[0].split()
        client.execute_command("ACL", "SETUSER", "app", "reset", "on", ">secret", "~idlesession:*", *rights)
        with closing(server.client(username="app", password="secret")) as humble:
            store = RedisStore(humble)
            record = a_record(user_id="ada")
            store.create(record)
            store.commit(record.info.sid, Change(holder=HOLDER, idle_timeout=inf), now=NOW)
            store.commit(
                record.info.sid,
                Change(holder=HOLDER, rotation=Rotation(secret_digest=SECOND, user_id="bob", lifetime_ends_at=inf)),
                now=NOW,
            )
            for act in everything(store, record):
                act()
            assert store.clock_skew(NOW) < 0

    def test_the_skew_of_a_clock_is_told(self, store: RedisStore) -> None:
        assert abs(store.clock_skew(time.time())) < 5
        assert 3595 < store.clock_skew(time.time() + 3600) < 3605


def everything(store: RedisStore, record: Record) -> list[Callable[[], Any]]:
    sid = record.info.sid
    return [
        lambda: store.create(a_record()),
        lambda: store.load(sid, now=NOW),
        lambda: store.commit(sid, Change(holder=HOLDER), now=NOW),
        lambda: store.delete(sid),
        lambda: delete_all(store, "ada"),
        lambda: list(store.find(now=NOW)),
        lambda: list(store.find(now=NOW, user_id="ada")),
        lambda: store.prune(now=NOW, limit=1),
        lambda: store.next_expiry(),
        lambda: store.bury([an_ending()], until=NOW + 60),
        lambda: store.ending(sid, now=NOW),
        lambda: store.add_tally(int(NOW // 60), {"created": 1}, now=NOW),
        lambda: store.tallies(since=0),
        lambda: store.tally_totals(),
    ]


class TestAClusterThatChanges:
    def test_sessions_lie_on_all_its_nodes(self, cluster: list[RedisServer]) -> None:
        emptied(cluster)
        with closing(cluster_client(cluster)) as client:
            store = RedisStore(client)
            for _ in range(160):
                store.create(a_record(user_id="ada"))
            counts = []
            for server in cluster:
                with closing(server.client()) as one:
                    counts.append(sizes(one)["session"])
            assert sum(counts) == 160 and min(counts) > 20
            assert delete_all(store, "ada") == 160
            assert abs(store.clock_skew(time.time())) < 5

    def test_slots_that_move_to_another_node_take_their_sessions_along(self, cluster: list[RedisServer]) -> None:
        emptied(cluster)
        with closing(cluster_client(cluster)) as client:
            store = RedisStore(client)
            records = [a_record(user_id="ada") for _ in range(100)]
            for record in records:
                store.create(record)
            slot = client.keyslot(store._bases[0] + b"due")
            move_slot(cluster, slot, source=0, target=2)
            for record in records:
                change = Change(holder=HOLDER, delta={"a": b"1"})
                assert store.commit(record.info.sid, change, now=NOW) is Outcome.DONE
            assert sids(store.find(now=NOW, user_id="ada")) == {record.info.sid for record in records}
            assert delete_all(store, "ada") == 100
            assert store.next_expiry() is None
            move_slot(cluster, slot, source=2, target=0)

    def test_a_slot_that_is_half_moved_is_a_store_error_at_most_and_never_a_half_made_change(
        self, cluster: list[RedisServer]
    ) -> None:
        emptied(cluster)
        with closing(cluster_client(cluster)) as client:
            store = RedisStore(client)
            slot = client.keyslot(store._bases[0] + b"due")
            records = [a_record(user_id="ada", sid=UUID(int=16 * number)) for number in range(1, 9)]
            for record in records:
                store.create(record)
            done = []
            with half_moved(cluster, slot, source=0, target=2):
                for record in records:
                    rotation = _rotation("bob")
                    try:
                        outcome = store.commit(record.info.sid, Change(holder=HOLDER, rotation=rotation), now=NOW)
                        assert outcome is Outcome.DONE
                        done.append(record)
                    except StoreError:
                        continue
            bobs = sids(store.find(now=NOW, user_id="bob"))
            assert {record.info.sid for record in done} <= bobs
            for record in records:
                found = store.load(record.info.sid, now=NOW)
                assert found is not None and found.info.user_id in ("ada", "bob")
                assert (found.info.user_id == "bob") == (found.info.sid in bobs)
            assert delete_all(store, "ada") + delete_all(store, "bob") == len(records)
            move_slot(cluster, slot, source=2, target=0)

    def test_while_one_node_is_away_the_sessions_of_the_others_are_served(self) -> None:
        with a_cluster(redis_program()) as servers, closing(cluster_client(servers)) as client:
            client.set_retry(Retry(NoBackoff(), 0))
            store = RedisStore(client)
            records = [a_record() for _ in range(40)]
            for record in records:
                store.create(record)
            servers[1].stop()
            answers, errors = [], []
            for record in records:
                try:
                    answers.append(store.load(record.info.sid, now=NOW) == record)
                except StoreError as error:
                    errors.append(error)
            assert all(error.__cause__ is not None for error in errors)
            assert all(answers) and 5 < len(answers) < 40
            with pytest.raises(StoreError):
                delete_all(store, "ada")


def move_slot(servers: list[RedisServer], slot: int, *, source: int, target: int) -> None:
    with half_moved(servers, slot, source=source, target=target):
        pass


@contextmanager
def half_moved(servers: list[RedisServer], slot: int, *, source: int, target: int) -> Iterator[None]:
    """Move a slot's keys, every other one first, as redis-cli does it."""
    with ExitStack() as stack:
        clients = [stack.enter_context(closing(server.client())) for server in servers]
        old, new = clients[source], clients[target]
        ids = [client.execute_command("CLUSTER MYID").decode() for client in clients]
        new.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", ids[source])
        old.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", ids[target])
        keys = sorted(old.execute_command("CLUSTER GETKEYSINSLOT", slot, 10_000))
        for key in keys[::2]:
            old.execute_command("MIGRATE", "127.0.0.1", servers[target].port, key, 0, 5000)
        yield
        while left := old.execute_command("CLUSTER GETKEYSINSLOT", slot, 10_000):
            for key in left:
                old.execute_command("MIGRATE", "127.0.0.1", servers[target].port, key, 0, 5000)
        for client in (new, old, *clients):
            client.execute_command("CLUSTER SETSLOT", slot, "NODE", ids[target])


class TestSentinel:
    def test_after_a_fail_over_the_store_goes_on_with_what_took_over(self) -> None:
        with a_sentinel(redis_program()) as (primary, replica, sentinel):
            watch = Sentinel([("127.0.0.1", sentinel.port)], socket_timeout=1)
            with closing(watch.master_for("idle", socket_timeout=1)) as client:
                store = RedisStore(client)
                records = [a_record(user_id="ada") for _ in range(20)]
                for record in records:
                    store.create(record)
                with closing(primary.client()) as one, closing(replica.client()) as other:
                    wait_until(lambda: _offset(one, "master_repl_offset") <= _offset(other, "slave_repl_offset"))
                primary.stop()
                wait_until(lambda: _can_write(store, records[0]), "the replica took over")
                assert sids(store.find(now=NOW)) == {record.info.sid for record in records}
                assert delete_all(store, "ada") == 20
            for each in watch.sentinels:
                each.close()


def _offset(client: Any, which: str) -> int:
    return int(client.info("replication")[which])


def _can_write(store: Store, record: Record) -> bool:
    try:
        return store.commit(record.info.sid, Change(holder=HOLDER, delta={"a": b"1"}), now=NOW) is Outcome.DONE
    except StoreError:
        return False


class TestTheClient:
    def test_one_that_does_not_wait_for_answers_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="asynchronous"):
            RedisStore(redis.asyncio.Redis())

    def test_a_sentinel_is_told_from_what_its_master_for_returns(self) -> None:
        with pytest.raises(ConfigError, match="master_for"):
            RedisStore(Sentinel([("127.0.0.1", 1)]))

    def test_a_pipeline_is_refused(self, client: redis.Redis) -> None:
        with client.pipeline() as pipeline, pytest.raises(ConfigError, match="pipeline"):
            RedisStore(pipeline)

    @pytest.mark.parametrize("thing", [None, "redis://localhost", object()])
    def test_what_is_no_client_is_refused_and_nothing_is_asked_in_its_place(self, thing: object) -> None:
        with pytest.raises(ConfigError, match="no Redis client"):
            RedisStore(thing)

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_one_that_reads_from_replicas_is_refused(self, cluster: list[RedisServer]) -> None:
        options = {"host": "127.0.0.1", "port": cluster[0].port, "read_from_replicas": True}
        with closing(redis.RedisCluster(**options)) as client, pytest.raises(ConfigError, match="replicas"):
            RedisStore(client)

    def test_a_prefix_that_would_put_all_sessions_on_one_node_is_refused(self, cluster: list[RedisServer]) -> None:
        with closing(cluster_client(cluster)) as client, pytest.raises(ConfigError, match="brace"):
            RedisStore(client, prefix="{app}:")

    def test_a_subclass_of_the_application_is_a_client(self, server: RedisServer) -> None:
        kind = type("Ours", (redis.Redis,), {"__module__": "ours"})
        with closing(kind(port=server.port)) as client:
            assert RedisStore(client).load(uuid4(), now=NOW) is None

    def test_nothing_is_asked_of_it_before_the_first_verb(self) -> None:
        RedisStore(redis.Redis(port=1)).close()

    def test_two_prefixes_are_two_stores(self, client: redis.Redis) -> None:
        one, two = RedisStore(client, prefix="one:"), RedisStore(client, prefix="two:")
        record = a_record(user_id="ada")
        one.create(record)
        assert two.load(record.info.sid, now=NOW) is None and delete_all(two, "ada") == 0
        two.create(record)
        assert one.delete(record.info.sid) and two.load(record.info.sid, now=NOW) == record

    def test_its_repr_tells_no_password(self) -> None:
        assert repr(RedisStore(redis.Redis(password="hunter2"))) == "<RedisStore 'idlesession:'>"


class TestItsOwnConnections:
    @pytest.fixture(params=["redis", "valkey"])
    def narrow(self, request: pytest.FixtureRequest) -> Iterator[Any]:
        """A client that may have one connection and no other."""
        own: RedisServer = request.getfixturevalue("server" if request.param == "redis" else "valkey_server")
        library = pytest.importorskip(request.param)
        kind = {"redis": "Redis", "valkey": "Valkey"}[request.param]
        with closing(getattr(library, kind)(port=own.port, max_connections=1, socket_timeout=5)) as client:
            client.flushall()
            yield client

    def test_they_are_kept_and_not_taken_from_the_application(self, narrow: Any) -> None:
        store, record = RedisStore(narrow), a_record()
        others = {client["id"] for client in narrow.client_list()}
        store.create(record)
        mine = {client["id"] for client in narrow.client_list()} - others
        for _ in range(20):
            assert store.load(record.info.sid, now=NOW) == record
        held = narrow.connection_pool.get_connection(*_verb_for(narrow.connection_pool))
        try:
            assert store.load(record.info.sid, now=NOW) == record, "The application has the only one of its pool."
        finally:
            narrow.connection_pool.release(held)
        now = {client["id"] for client in narrow.client_list()}
        assert len(mine) == 1 and mine <= now and all(int(one) <= int(*mine) for one in now), "It made another."
        store.close()
        wait_until(lambda: not mine & {client["id"] for client in narrow.client_list()}, "the connection is closed")
        assert store.load(record.info.sid, now=NOW) == record
        store.close()

    def test_one_that_the_server_closed_is_nobodys_error(self, narrow: Any) -> None:
        store, record = RedisStore(narrow), a_record()
        store.create(record)
        for _ in range(3):
            mine = narrow.client_id()
            for client in narrow.client_list():
                if int(client["id"]) != mine:
                    narrow.client_kill_filter(_id=client["id"])
            assert store.load(record.info.sid, now=NOW) == record
        store.close()

    def test_many_threads_get_each_its_own_answers(self, narrow: Any) -> None:
        store, records = RedisStore(narrow), [a_record(values={"n": b"%d" % number}) for number in range(8)]
        for record in records:
            store.create(record)

        def read(record: Record) -> None:
            for _ in range(200):
                assert store.load(record.info.sid, now=NOW) == record

        at_once(*(partial(read, record) for record in records))
        store.close()

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="There is no fork here.")
    def test_a_child_makes_connections_of_its_own(self, narrow: Any) -> None:
        store, record = RedisStore(narrow), a_record()
        store.create(record)
        pid = os.fork()
        if pid == 0:  # pragma: no cover
            same = all(store.load(record.info.sid, now=NOW) == record for _ in range(200))
            os._exit(0 if same else 1)
        assert all(store.load(record.info.sid, now=NOW) == record for _ in range(200))
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        store.close()

    def test_what_watches_the_commands_of_the_client_sees_them_all(
        self, narrow: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store, record = RedisStore(narrow), a_record()
        store.create(record)
        seen: list[Any] = []
        send = narrow.execute_command

        def watched(*command: Any, **options: Any) -> Any:
            seen.append(command[0])
            return send(*command, **options)

        for place, watch in ((narrow, watched), (type(narrow), lambda self, *command, **how: watched(*command, **how))):
            with monkeypatch.context() as patch:
                patch.setattr(place, "execute_command", watch)
                assert store.load(record.info.sid, now=NOW) == record
        assert seen == ["HGETALL", "HGETALL"]
        store.close()


def _verb_for(pool: Any) -> tuple[str, ...]:
    """What valkey-py and redis-py 5 must be told of a connection's first command, and redis-py 6 must not."""
    return ("PING",) if signature(pool.get_connection).parameters["command_name"].default is Parameter.empty else ()


def _rotation(user_id: str | None) -> Rotation:
    return Rotation(secret_digest=SECOND, user_id=user_id)
