"""Redis whose keys others wrote or an eviction took: one session's trouble is its own, and a revocation holds."""

from collections.abc import Callable
from contextlib import closing
from math import nan
from struct import pack
from typing import Any
from uuid import UUID
from uuid import uuid4
from uuid import uuid5

import pytest
import redis
from support.redis_servers import a_server_with_users
from support.redis_servers import redis_program
from support.redis_servers import RedisServer

from flask_idlesession import EndReason
from flask_idlesession import SessionManager
from flask_idlesession.model.record import Change
from flask_idlesession.model.record import Ending
from flask_idlesession.model.record import Outcome
from flask_idlesession.model.record import Record
from flask_idlesession.model.record import Rotation
from flask_idlesession.stores.circuit_breaker import CircuitBreaker
from flask_idlesession.stores.contract import REMEMBERED
from flask_idlesession.stores.contract import Touch
from flask_idlesession.stores.contract import UnreadableRecord
from flask_idlesession.stores.redis import RedisStore
from flask_idlesession.stores.redis import store as redis_store
from flask_idlesession.testing.store_contract import a_record
from flask_idlesession.testing.store_contract import delete_all
from flask_idlesession.testing.store_contract import drain
from flask_idlesession.testing.store_contract import HOLDER
from flask_idlesession.testing.store_contract import IDLE
from flask_idlesession.testing.store_contract import LIFETIME
from flask_idlesession.testing.store_contract import NOW
from flask_idlesession.testing.store_contract import SECOND
from flask_idlesession.testing.store_contract import sids

HEAD = b"\xff"
TOUCH = Touch(HOLDER, None)
NAMES = UUID(int=7)


@pytest.fixture
def store(client: redis.Redis) -> RedisStore:
    return RedisStore(client)


def key_of(record: Record) -> str:
    return f"idlesession:session:{record.info.sid}"


# One session's key holds something else.


def with_head(change: Callable[[bytes], bytes]) -> Callable[[redis.Redis, str], None]:
    def spoil(client: redis.Redis, key: str) -> None:
        head: Any = client.hget(key, HEAD)  # type: ignore[arg-type]
        client.hset(key, HEAD, change(head))  # type: ignore[arg-type]

    return spoil


def another_type(client: redis.Redis, key: str) -> None:
    client.delete(key)
    client.set(key, "a text")


def a_list(client: redis.Redis, key: str) -> None:
    client.delete(key)
    client.rpush(key, "a")


def without_a_head(client: redis.Redis, key: str) -> None:
    client.hdel(key, HEAD)  # type: ignore[arg-type]


def copied(client: redis.Redis, key: str) -> None:
    other = a_record(values={"secret": b"of another"}, user_id="eve")  # With the same secret, which no other has.
    RedisStore(client).create(other)
    client.copy(key_of(other), key, replace=True)


SPOILT = {
    "garbage": with_head(lambda head: b"\x80\x04\x95garbage"),
    "nothing": with_head(lambda head: b""),
    "one byte": with_head(lambda head: b"\x01"),
    "another version": with_head(lambda head: b"\x02" + head[1:]),
    "cut off": with_head(lambda head: head[:100]),
    "a length too long": with_head(lambda head: head[:97] + b"\xff" + head[98:]),
    "an instant that is none": with_head(lambda head: head[:1] + pack("<d", nan) + head[9:]),
    "no head": without_a_head,
    "another type": another_type,
    "a list": a_list,
}


@pytest.fixture(params=SPOILT)
def spoilt(request: pytest.FixtureRequest, store: RedisStore, client: redis.Redis) -> Record:
    record = a_record(user_id="ada")
    store.create(record)
    SPOILT[request.param](client, key_of(record))
    return record


@pytest.mark.parametrize("touch", [None, TOUCH])
def test_a_session_under_another_one_s_key_is_not_told(
    store: RedisStore, client: redis.Redis, touch: Touch | None
) -> None:
    record = a_record(user_id="ada")
    store.create(record)
    copied(client, key_of(record))
    with pytest.raises(UnreadableRecord, match=str(record.info.sid)):
        store.load(record.info.sid, now=NOW, touch=touch)
    assert store.delete(record.info.sid) and store.load(record.info.sid, now=NOW) is None


@pytest.mark.parametrize("touch", [None, TOUCH])
def test_it_is_that_session_s_trouble(store: RedisStore, spoilt: Record, touch: Touch | None) -> None:
    sid = spoilt.info.sid
    with pytest.raises(UnreadableRecord, match=str(sid)) as caught:
        store.load(sid, now=NOW, touch=touch)
    assert caught.value.info.sid == sid
    assert store.commit(sid, Change(holder=HOLDER, delta={"a": b"1"}), now=NOW) is Outcome.GONE
    assert store.delete(sid) is True and store.delete(sid) is False
    assert store.load(sid, now=NOW, touch=touch) is None
    store.create(spoilt)
    assert store.load(sid, now=NOW) == spoilt


def test_the_others_are_listed_pruned_and_ended_past_it(store: RedisStore, spoilt: Record) -> None:
    others = [a_record(user_id=user) for user in ("ada", "ada", "bob", None)]
    for other in others:
        store.create(other)
    ours = {other.info.sid for other in others}
    assert ours <= sids(store.find(now=NOW)) and spoilt.info.sid not in sids(store.find(now=NOW))
    assert sids(store.find(now=NOW, user_id="ada")) == {other.info.sid for other in others[:2]}
    assert delete_all(store, "ada") == 2
    gone = sids(drain(store, now=NOW + IDLE))
    assert {other.info.sid for other in others[2:]} <= gone and spoilt.info.sid not in gone
    assert sids(store.delete_many([spoilt.info.sid, uuid4()])) == set()


def test_its_user_gets_a_new_session_and_nobody_waits(store: RedisStore, spoilt: Record) -> None:
    breaker = CircuitBreaker(store)
    with SessionManager(breaker, clock=lambda: NOW) as manager:
        assert manager.lifecycle.look_up(spoilt.info.sid, now=NOW) is None
        assert breaker.failures == 0 and not breaker.is_down
        other = manager.create({"a": 1}, user_id="ada")
        assert manager.read(other) == {"a": 1}
        ending = store.ending(spoilt.info.sid, now=NOW)
        assert ending is not None and ending.ended_at == NOW and ending.reason is EndReason.REVOKED


# A list, or the endings, are something else.


@pytest.mark.parametrize("spoil", [another_type, a_list])
@pytest.mark.parametrize("name", ["due", "user:ada", "ended", "ended before", "revoked"])
def test_a_list_that_is_something_else_is_made_again(
    store: RedisStore, client: redis.Redis, name: str, spoil: Any
) -> None:
    record = a_record(user_id="ada")
    store.create(record)
    spoil(client, f"idlesession:{name}")
    assert store.ending(record.info.sid, now=NOW) is None
    assert store.next_expiry() in (None, NOW + IDLE)
    list(store.find(now=NOW)), list(store.find(now=NOW, user_id="ada")), store.prune(now=NOW, limit=9)
    assert store.load(record.info.sid, now=NOW, touch=TOUCH) == record
    assert sids(store.find(now=NOW)) == sids(store.find(now=NOW, user_id="ada")) == {record.info.sid}
    for sid in (uuid4(), uuid5(NAMES, "all")):
        ending = Ending(sid=sid, reason=EndReason.REVOKED, ended_at=NOW)
        store.bury([ending], until=NOW + 60)
        assert store.ending(sid, now=NOW) == ending
    spoil(client, f"idlesession:{name}")
    store.create(other := a_record(user_id="ada"))
    assert store.delete(other.info.sid) and delete_all(store, "ada") + store.delete(record.info.sid) >= 1
    assert client.ttl("idlesession:due") != -1 and client.ttl("idlesession:user:ada") != -1


@pytest.mark.parametrize("grave", [b"", b"x", b"x" * 34, bytes(16) + b"\xff" * 40])
def test_an_ending_that_no_store_wrote_is_none(store: RedisStore, client: redis.Redis, grave: bytes) -> None:
    sid = uuid4()
    client.hset("idlesession:ended", sid.bytes, grave)  # type: ignore[arg-type]
    assert store.ending(sid, now=NOW) is None


# The server forgot a list, to make room.


@pytest.mark.parametrize("act", ["visit", "touch", "write"])
def test_a_touch_files_its_session_again(store: RedisStore, client: redis.Redis, act: str) -> None:
    records = [a_record(user_id="ada"), a_record(user_id="ada"), a_record()]
    for record in records:
        store.create(record)
    client.delete("idlesession:due", "idlesession:user:ada")
    for number, record in enumerate(records, 1):
        sid = record.info.sid
        if act == "visit":
            store.load(sid, now=NOW + 1, touch=TOUCH)
        else:
            delta = {"a": b"1"} if act == "write" else {}
            assert store.commit(sid, Change(holder=HOLDER, last_seen_at=NOW + 1, delta=delta), now=NOW + 1)
        assert len(sids(store.find(now=NOW))) == number
    assert sids(store.find(now=NOW, user_id="ada")) == {record.info.sid for record in records[:2]}
    assert store.next_expiry() == NOW + 1 + IDLE
    assert all(client.ttl(key) > 0 for key in ("idlesession:due", "idlesession:user:ada"))
    assert len(drain(store, now=NOW + 1 + IDLE)) == 3


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-ttl"])
def test_a_revocation_ends_the_sessions_that_no_list_names(store: RedisStore, client: redis.Redis, policy: str) -> None:
    client.config_set("maxmemory-policy", policy)
    with SessionManager(store, clock=lambda: NOW) as manager:
        hers = [manager.create({}, user_id="ada") for _ in range(20)]
        his = manager.create({}, user_id="bob")
        client.delete("idlesession:due", "idlesession:user:ada")
        for sid in hers[:1]:
            record = store.load(sid, now=NOW)
            assert record is not None
            store.load(sid, now=NOW, touch=Touch(record.secret_digest, None))
        assert manager.revoke_user("ada", keep=hers[7]) == 19
        assert [sid for sid in hers if store.load(sid, now=NOW)] == [hers[7]]
        client.delete("idlesession:due", "idlesession:user:ada", "idlesession:user:bob")
        assert manager.revoke_where(idle_for=0.0, user_id="ada") == 1
        assert store.load(his, now=NOW) is not None
        assert manager.revoke_all() == 1 and store.load(his, now=NOW) is None


def test_a_server_that_forgets_nothing_is_not_searched(store: RedisStore, client: redis.Redis) -> None:
    store.create(a_record(user_id="ada"))
    assert list(store.find_unlisted(now=NOW)) == [] and store.advice() == []


def test_other_stores_with_names_like_a_pattern_are_not_looked_at(client: redis.Redis) -> None:
    client.config_set("maxmemory-policy", "allkeys-lru")
    for prefix in ("*", "[a-z]pp:", "a?p:", "app:", "a\\p:", "^[^x]:"):
        RedisStore(client, prefix=prefix).create(a_record(user_id="ada"))
    for prefix in ("*", "[a-z]pp:", "a?p:", "app:", "a\\p:", "^[^x]:"):
        assert len(list(RedisStore(client, prefix=prefix).find_unlisted(now=NOW))) == 1


def test_in_a_cluster_every_node_is_searched(cluster: list[RedisServer]) -> None:
    clients = [each.client() for each in cluster]
    for each in clients:
        each.flushall()
        each.config_set("maxmemory-policy", "allkeys-lru")
    with closing(redis.RedisCluster(host="127.0.0.1", port=cluster[0].port)) as client:
        store = RedisStore(client)
        records = [a_record(user_id="ada") for _ in range(100)]
        for record in records:
            store.create(record)
        for each in clients:
            for key in each.scan_iter():
                if b":session:" not in key:
                    each.delete(key)
        assert sids(store.find_unlisted(now=NOW, user_id="ada")) == {record.info.sid for record in records}
        assert len(store.advice()) == 1
    for each in clients:
        each.config_set("maxmemory-policy", "noeviction")
        each.close()


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-random"])
def test_the_policy_is_named_in_the_advice(store: RedisStore, client: redis.Redis, policy: str) -> None:
    client.config_set("maxmemory-policy", policy)
    (said,) = store.advice()
    assert policy in said and "noeviction" in said


def test_a_user_who_may_not_ask_for_the_policy_is_told_what_to_allow() -> None:
    rights = "~idlesession:* -@all +@connection +@scripting +@hash +@set +@sortedset +exists +rename +unlink +pttl"
    with (
        a_server_with_users(redis_program(), *rights.split(), "+pexpire") as guarded,
        closing(redis.Redis.from_url(guarded.url)) as client,
        SessionManager(RedisStore(client)) as manager,
    ):
        (said,) = manager.store.advice()  # type: ignore[attr-defined]
        assert "+info" in said and "+scan" in said
        manager.create({}, user_id="ada")
        assert manager.revoke_user("ada") == 1


# Endings.


def test_what_prune_forgets_is_remembered_in_the_same_step(store: RedisStore) -> None:
    idle, old = a_record(user_id="ada"), a_record(lifetime_ends_at=NOW + 5, idle_timeout=LIFETIME)
    store.create(idle)
    store.create(old)
    assert store.traits.buries
    assert len(store.prune(now=NOW + 2 * IDLE, limit=9)) == 2
    for record, reason in ((idle, EndReason.IDLE), (old, EndReason.LIFETIME)):
        info = record.info
        told = Ending(sid=info.sid, reason=reason, ended_at=info.expires_at, user_id=info.user_id)
        assert store.ending(info.sid, now=NOW + 2 * IDLE + REMEMBERED - 1) == told
        assert store.ending(info.sid, now=NOW + 2 * IDLE + REMEMBERED) is None


def test_a_flood_of_ends_pushes_out_no_revocation(
    store: RedisStore, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_store, "_MAX_BURIED", 50)
    marker = Ending(sid=uuid5(NAMES, "ada"), reason=EndReason.REVOKED, ended_at=NOW, user_id="ada")
    store.bury([marker], until=NOW + 3600)
    for _ in range(40):
        flood = [Ending(sid=uuid4(), reason=EndReason.LOGGED_OUT, ended_at=NOW) for _ in range(10)]
        store.bury(flood, until=NOW + 3600)
    for _ in range(150):
        store.create(a_record())
    assert len(drain(store, now=NOW + IDLE)) == 150
    assert store.ending(marker.sid, now=NOW) == marker
    assert client.hlen("idlesession:ended") + client.hlen("idlesession:ended before") <= 250


def test_many_endings_are_told_by_one_command(store: RedisStore, server: RedisServer, client: redis.Redis) -> None:
    endings = [Ending(sid=uuid5(NAMES, name), reason=EndReason.REVOKED, ended_at=NOW) for name in "abc"]
    store.bury(endings, until=NOW + 60)
    store.endings([], now=NOW)
    with closing(server.client()) as watcher, watcher.monitor() as monitor:
        assert store.endings([*(each.sid for each in endings), uuid5(NAMES, "d")], now=NOW) == endings
        client.echo("done")
        told = []
        while not (command := monitor.next_command())["command"].startswith("ECHO"):
            told.append(command)
    assert len([each for each in told if each["client_type"] != "lua"]) == 1
    assert store.endings([each.sid for each in endings], now=NOW + 60) == []


def test_a_rotation_to_another_user_where_the_lists_are_gone_is_filed_under_that_user(
    store: RedisStore, client: redis.Redis
) -> None:
    record = a_record(user_id="ada")
    store.create(record)
    client.delete("idlesession:due", "idlesession:user:ada")
    rotation = Rotation(secret_digest=SECOND, user_id="bob")
    assert store.commit(record.info.sid, Change(holder=HOLDER, rotation=rotation), now=NOW) is Outcome.DONE
    assert sids(store.find(now=NOW, user_id="bob")) == {record.info.sid}
    assert sids(store.find(now=NOW, user_id="ada")) == set()
