"""The cachelib store: the contract within one process, on caches in memory, in files, in memcached and in Redis."""

import logging
import shutil
import warnings
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from typing import NoReturn
from uuid import UUID
from uuid import uuid4
from uuid import uuid5

import memcache
import pytest
from cachelib import FileSystemCache
from cachelib import MemcachedCache
from cachelib import NullCache
from cachelib import SimpleCache
from support import servers
from support.servers import free_port

from flask_idlesession.model import msgpack as engine
from flask_idlesession.model.errors import RecordRejected
from flask_idlesession.model.errors import StoreError
from flask_idlesession.model.errors import StoreUnavailable
from flask_idlesession.model.record import Change
from flask_idlesession.model.record import Ending
from flask_idlesession.model.record import EndReason
from flask_idlesession.model.record import Outcome
from flask_idlesession.model.record import Rotation
from flask_idlesession.stores import cachelib as cachelib_store
from flask_idlesession.stores.cachelib import CachelibStore
from flask_idlesession.stores.contract import Store
from flask_idlesession.stores.contract import Touch
from flask_idlesession.stores.contract import UnreadableRecord
from flask_idlesession.testing.store_contract import a_record
from flask_idlesession.testing.store_contract import delete_all
from flask_idlesession.testing.store_contract import drain
from flask_idlesession.testing.store_contract import HOLDER
from flask_idlesession.testing.store_contract import IDLE
from flask_idlesession.testing.store_contract import NOW
from flask_idlesession.testing.store_contract import sids
from flask_idlesession.testing.store_contract import StoreContract


def a_store(cache: Any, **options: Any) -> CachelibStore:
    return CachelibStore(cache, **options)


@pytest.fixture(scope="module")
def memcached() -> Iterator[str]:
    with servers.memcached() as server:
        yield server.url


class TestSimpleCache(StoreContract):
    @pytest.fixture
    def make_store(self) -> Callable[[], Store]:
        return lambda: a_store(SimpleCache(threshold=1_000_000))


@pytest.mark.soak  # Its cache rewrites files for each step; most of a minute for what the others show too.
class TestFileSystemCache(StoreContract):
    rounds = 2

    @pytest.fixture
    def make_store(self, tmp_path: Path) -> Callable[[], Store]:
        return lambda: a_store(FileSystemCache(str(tmp_path / "cache"), threshold=1_000_000))


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # Its client has one for each thread.
class TestMemcached(StoreContract):
    rounds = 3

    @pytest.fixture
    def make_store(self, memcached: str) -> Iterator[Callable[[], Store]]:
        client = memcache.Client([memcached], server_max_value_length=4 * 1024 * 1024)
        client.flush_all()
        yield lambda: a_store(MemcachedCache(client))
        client.disconnect_all()


class TestWhatACacheCannotPromise:
    def test_a_line_of_the_log_says_so_once_a_process(
        self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(cachelib_store, "_warned", set())
        for _ in range(3):
            a_store(SimpleCache())
        (said,) = caplog.messages
        assert "SimpleCache, a cache. Two processes" in said and 'IDLESESSION_STORE = "sqlite' in said

    def test_a_list_that_the_cache_forgot_misses_sessions_which_live_on(self) -> None:
        cache = SimpleCache()
        store = a_store(cache)
        record = a_record(user_id="ada")
        store.create(record)
        cache.delete(store._list_of("ada"))
        assert list(store.find(now=NOW, user_id="ada")) == []
        assert store.load(record.info.sid, now=NOW) == record
        assert sids(store.find(now=NOW)) == {record.info.sid}

    def test_a_list_that_says_too_much_ends_nobody_s_session(self) -> None:
        cache = SimpleCache()
        store = a_store(cache)
        record = a_record(user_id="bob")
        store.create(record)
        cache.set(store._list_of("ada"), cache.get(store._list_of("bob")))
        assert list(store.find(now=NOW, user_id="ada")) == [] and delete_all(store, "ada") == 0
        assert cache.get(store._list_of("ada")) is None
        rotation = Rotation(secret_digest=HOLDER, user_id="ada")
        assert store.commit(record.info.sid, Change(holder=HOLDER, rotation=rotation), now=NOW) is Outcome.DONE
        assert cache.get(store._list_of("bob")) is None
        assert sids(store.find(now=NOW, user_id="ada")) == {record.info.sid}

    def test_a_session_that_the_cache_forgot_leaves_the_lists(self) -> None:
        cache = SimpleCache()
        store = a_store(cache)
        record = a_record(user_id="ada")
        store.create(record)
        cache.delete(store._key(record.info.sid))
        assert list(store.find(now=NOW)) == [] and delete_all(store, "ada") == 0
        assert cache.get(store._list_of("ada")) is None
        assert drain(store, now=NOW + IDLE) == []
        assert store.next_expiry() is None

    def test_the_second_process_to_forget_an_expired_session_does_not_hand_it_over_again(self) -> None:
        cache = SimpleCache()
        one, two = a_store(cache), a_store(cache)
        record = a_record()
        one.create(record)
        found, two._record = two._record(record.info.sid), lambda sid: found  # type: ignore[method-assign]
        assert drain(one, now=NOW + IDLE) == [record.info]
        two._entries = lambda name: {record.info.sid.bytes: NOW}  # type: ignore[method-assign]
        assert two.prune(now=NOW + IDLE, limit=1) == []


class TestEndings:
    def test_a_flood_of_them_takes_little_room_and_the_newest_are_remembered(self) -> None:
        cache = SimpleCache(threshold=500)
        store = a_store(cache)
        record = a_record()
        store.create(record)
        for number in range(40):
            last = [an_ending(ended_at=NOW + number) for _ in range(1000)]
            store.bury(last, until=NOW + 600)
        assert len(cache._cache) < 100
        assert [store.ending(ending.sid, now=NOW) for ending in last] == last
        assert store.load(record.info.sid, now=NOW) == record

    def test_those_with_long_texts_make_no_piece_too_long_for_a_cache(self) -> None:
        cache = SimpleCache()
        store = a_store(cache)
        endings = [an_ending(sid=UUID(int=number * 64), by="b" * 10_000) for number in range(200)]
        for ending in endings:
            store.bury([ending], until=NOW + 600)
        assert len(cache.get(store._grave(UUID(int=0)))) < 300_000
        assert store.ending(endings[-1].sid, now=NOW) == endings[-1]

    def test_those_whose_time_has_come_leave_when_others_come(self) -> None:
        cache = SimpleCache()
        store = a_store(cache)
        store.bury([an_ending(sid=UUID(int=64))], until=NOW + 60)
        store.bury([an_ending(sid=UUID(int=128), ended_at=NOW + 60)], until=NOW + 600)
        assert UUID(int=64).bytes not in cache.get(store._grave(UUID(int=0)))

    @pytest.mark.parametrize("planted", [b"\xc1", b"\x01", b"\x91\x01", b"\x91\x86", "text", 7])
    def test_what_another_wrote_there_is_no_ending_and_is_written_over(self, planted: Any) -> None:
        cache = SimpleCache()
        store = a_store(cache)
        ending = an_ending(sid=UUID(int=1))
        cache.set(store._grave(ending.sid), planted)
        assert store.ending(ending.sid, now=NOW) is None
        store.bury([ending], until=NOW + 60)
        assert store.ending(ending.sid, now=NOW) == ending

    def test_a_flood_of_ends_pushes_out_no_revocation(self) -> None:
        store = a_store(SimpleCache(threshold=1_000_000))
        marker = an_ending(sid=uuid5(UUID(int=1), "ada"))
        store.bury([marker], until=NOW + 3600)
        for _ in range(20):
            store.bury([an_ending() for _ in range(2000)], until=NOW + 3600)
        assert store.ending(marker.sid, now=NOW) == marker


def _refuse(*what: object) -> NoReturn:
    raise TypeError(what)


def an_ending(*, sid: UUID | None = None, ended_at: float = NOW, by: str | None = None) -> Ending:
    return Ending(sid=sid or uuid4(), reason=EndReason.IDLE, ended_at=ended_at, user_id="ada", by=by)


class TestTheCache:
    def test_it_holds_bytes_alone(self) -> None:
        cache = SimpleCache()
        put: list[Any] = []
        add, set_ = cache.add, cache.set
        cache.add = lambda key, value, timeout: put.append(value) or add(key, value, timeout)  # type: ignore[method-assign]
        cache.set = lambda key, value, timeout: put.append(value) or set_(key, value, timeout)  # type: ignore[method-assign]
        store = a_store(cache)
        record = a_record(user_id="ada")
        store.create(record)
        store.commit(record.info.sid, Change(holder=HOLDER, delta={"a": b"1"}), now=NOW)
        assert put and {type(value) for value in put} == {bytes}

    def test_its_entries_expire_a_day_after_the_session_at_the_earliest(self) -> None:
        told: dict[str, int] = {}
        cache = SimpleCache()
        add = cache.add
        cache.add = lambda key, value, timeout: told.update({key: timeout}) or add(key, value, timeout)  # type: ignore[method-assign]
        store = a_store(cache)
        for idle_timeout, timeout in ((60.5, 86_461), (1e12, 0)):
            record = a_record(idle_timeout=idle_timeout, lifetime_ends_at=NOW + 1e13)
            store.create(record)
            assert told[store._key(record.info.sid)] == timeout and type(told[store._key(record.info.sid)]) is int

    def test_one_that_keeps_nothing_is_told_at_the_first_session(self) -> None:
        with pytest.raises(StoreError, match="NullCache keeps nothing"):
            a_store(NullCache()).create(a_record())

    @pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # Its client leaves them.
    def test_one_whose_server_is_away_is_a_store_error_and_not_an_absent_session(self) -> None:
        store = a_store(MemcachedCache(memcache.Client([f"127.0.0.1:{free_port()}"])))
        record = a_record()
        for act in (
            lambda: store.create(record),
            lambda: store.load(record.info.sid, now=NOW),
            lambda: store.commit(record.info.sid, Change(holder=HOLDER), now=NOW),
            lambda: store.delete(record.info.sid),
        ):
            with pytest.raises(StoreError):
                act()

    def test_what_its_driver_raises_is_a_store_error(self) -> None:
        class Broken(SimpleCache):
            def get(self, key: str) -> Any:
                raise OSError("no route to host")

        with pytest.raises(StoreError, match="no route") as caught:
            a_store(Broken()).load(a_record().info.sid, now=NOW)
        assert isinstance(caught.value.__cause__, OSError)

    @pytest.mark.parametrize("touch", [None, Touch(HOLDER)])
    def test_what_another_wrote_there_is_that_session_s_trouble(self, touch: Touch | None) -> None:
        cache = SimpleCache()
        store = a_store(cache)
        mine, other = a_record(user_id="ada"), a_record(user_id="ada")
        store.create(other)
        row = engine.unpack(cache.get(store._key(other.info.sid)), _refuse)
        odd = engine.pack([mine.info.sid.bytes, 7, "a", "b", "c", *row[5:]], _refuse)
        for value in ("text", b"", b"\x90", b"\xc1", 7, cache.get(store._key(other.info.sid)), odd):
            store.create(mine)
            cache.set(store._key(mine.info.sid), value)
            with pytest.raises(UnreadableRecord) as caught:
                store.load(mine.info.sid, now=NOW, touch=touch)
            assert caught.value.info.sid == mine.info.sid
            assert store.commit(mine.info.sid, Change(holder=HOLDER), now=NOW) is Outcome.GONE
            assert sids(store.find(now=NOW)) == sids(store.find(now=NOW, user_id="ada")) == {other.info.sid}
            assert store.delete(mine.info.sid) is True and store.load(mine.info.sid, now=NOW) is None

    def test_a_list_that_another_wrote_begins_again(self, caplog: pytest.LogCaptureFixture) -> None:
        cache = SimpleCache()
        store = a_store(cache)
        records = [a_record(user_id="ada", sid=UUID(int=16 * number)) for number in (1, 2)]
        store.create(records[0])
        for name in (store._list_of("ada"), store._piece(records[0].info.sid)):
            for planted in ("text", b"\x00"):
                cache.set(name, planted)
                assert list(store.find(now=NOW, user_id="ada")) in ([], [records[0].info])
                assert store.prune(now=NOW, limit=9) == []
        store.create(records[1])
        assert records[1].info.sid in sids(store.find(now=NOW, user_id="ada"))
        assert "the list begins again" in caplog.text

    def test_one_that_refuses_one_session_is_no_outage_and_one_that_refuses_all_is(self) -> None:
        class Small(SimpleCache):
            most = 2000

            def set(self, key: str, value: Any, timeout: int | None = None) -> Any:
                return super().set(key, value, timeout) if len(value) < self.most else False

        cache = Small()
        store = a_store(cache)
        record = a_record()
        store.create(record)
        with pytest.raises(RecordRejected, match="too large"):
            store.commit(record.info.sid, Change(holder=HOLDER, delta={"a": bytes(3000)}), now=NOW)
        assert store.load(record.info.sid, now=NOW) == record
        cache.most = 0
        with pytest.raises(StoreUnavailable):
            store.commit(record.info.sid, Change(holder=HOLDER, delta={"a": b"1"}), now=NOW)

    def test_a_full_disk_is_a_store_error(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        cache = FileSystemCache(str(tmp_path / "cache"))
        store = a_store(cache)
        record = a_record()
        store.create(record)
        shutil.rmtree(tmp_path / "cache")
        with caplog.at_level(logging.CRITICAL), pytest.raises(StoreError):
            store.load(record.info.sid, now=NOW)

    def test_it_may_be_files(self, tmp_path: Path) -> None:
        store = a_store(FileSystemCache(str(tmp_path)))
        records = [a_record(user_id="ada") for _ in range(3)]
        for record in records:
            store.create(record)
            assert a_store(FileSystemCache(str(tmp_path))).load(record.info.sid, now=NOW) == record
        assert store.delete(records[0].info.sid) is True and store.delete(records[0].info.sid) is False
        assert delete_all(store, "ada", keep=records[1].info.sid) == 1
        assert drain(store, now=NOW + IDLE) == [records[1].info]

    def test_two_prefixes_are_two_stores(self) -> None:
        cache = SimpleCache()
        one, two = a_store(cache, prefix="one:"), a_store(cache, prefix="two:")
        record = a_record(user_id="ada")
        one.create(record)
        assert two.load(record.info.sid, now=NOW) is None and delete_all(two, "ada") == 0
        assert one.commit(record.info.sid, Change(holder=HOLDER), now=NOW) is Outcome.DONE


@pytest.mark.parametrize("ahead", [300.0, 3600.0, 1e6])
def test_sessions_that_were_seen_while_the_clock_was_ahead_end_in_time_after_it_was_set_right(
    ahead: float, caplog: pytest.LogCaptureFixture
) -> None:
    cache: Any = SimpleCache()
    future = a_record(created_at=NOW + ahead, last_seen_at=NOW + ahead, lifetime_ends_at=NOW + ahead + 900)
    touched, other = a_record(lifetime_ends_at=NOW + 1e9, idle_timeout=1e7), a_record(idle_timeout=900.0)
    before = a_store(cache)
    for record in (touched, other, future):
        before.create(record)
    assert before.load(touched.info.sid, now=NOW + ahead, touch=Touch(HOLDER)) is not None
    caplog.clear()
    store = a_store(cache)
    for record in (future, touched):
        loaded = store.load(record.info.sid, now=NOW + 10)
        assert loaded is not None and loaded.info.last_seen_at == NOW + 10
    assert store.load(future.info.sid, now=NOW + 10 + IDLE - 1) is not None
    assert store.load(future.info.sid, now=NOW + 10 + IDLE) is None
    unchanged = store.load(other.info.sid, now=NOW + 10)
    assert unchanged is not None and unchanged.info.last_seen_at == NOW
    due = store.next_expiry()
    assert due is not None and due <= NOW + 10 + IDLE
    assert sids(store.prune(now=NOW + 10 + IDLE, limit=10)) == {future.info.sid}
    assert [f"ahead by {ahead - 10:.0f} s" in record.getMessage() for record in caplog.records] == [True]


def test_a_store_whose_clock_is_a_moment_behind_another_s_sets_nothing_back(caplog: pytest.LogCaptureFixture) -> None:
    cache: Any = SimpleCache()
    record = a_record()
    a_store(cache).create(replace(record, info=replace(record.info, last_seen_at=NOW + 50)))
    caplog.clear()
    loaded = a_store(cache).load(record.info.sid, now=NOW)
    assert loaded is not None and loaded.info.last_seen_at == NOW + 50 and not caplog.records


def test_flask_caching_s_cache_is_one() -> None:
    flask_caching = pytest.importorskip("flask_caching")
    import flask

    app = flask.Flask(__name__)
    with warnings.catch_warnings(), suppress(DeprecationWarning):
        warnings.simplefilter("ignore")
        cache = flask_caching.Cache(app, config={"CACHE_TYPE": "SimpleCache"})
    with app.app_context():
        store, record = a_store(cache), a_record(user_id="ada")
        store.create(record)
        assert store.load(record.info.sid, now=NOW) == record
        assert delete_all(store, "ada") == 1
