"""Who asked to be told of a session's end is told: of every end, by whatever process, once, and soon."""

import gc
import os
import signal
import threading
import time
import weakref
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import closing
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from cachelib import SimpleCache

from flask_idlesession import Ending
from flask_idlesession import EndReason
from flask_idlesession import MemoryStore
from flask_idlesession import SessionId
from flask_idlesession import SessionManager
from flask_idlesession.model.ids import new_session_id
from flask_idlesession.sessions import end_watch
from flask_idlesession.stores import open_store
from flask_idlesession.stores.cachelib import CachelibStore
from flask_idlesession.stores.contract import Store
from flask_idlesession.testing import FakeClock

#: Makes a manager on the store; each stands for a process.
Workers = Callable[..., SessionManager]

#: The kinds of stores: those that push, and those that are asked.
KINDS = ["memory", "cachelib", "sqlite", "redis_server", "valkey_server", "postgresql", "mariadb", "pgbouncer"]


class Heard:
    """Notes what callbacks are given, and lets a test wait for it."""

    def __init__(self) -> None:
        self.endings: list[Ending] = []
        self._came = threading.Condition()

    def __call__(self, ending: Ending) -> None:
        with self._came:
            self.endings.append(ending)
            self._came.notify_all()

    def wait(self, *, count: int = 1, seconds: float = 10.0) -> list[Ending]:
        with self._came:
            assert self._came.wait_for(lambda: len(self.endings) >= count, seconds), self.endings
        return self.endings


@pytest.fixture
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Store]]:
    kind = request.param
    with ExitStack() as stack:
        if kind == "memory":
            memory = MemoryStore()
            yield lambda: memory
        elif kind == "cachelib":
            cache = SimpleCache()
            yield lambda: CachelibStore(cache)
        elif kind == "sqlite":
            yield lambda: _open(f"sqlite:///{tmp_path}/sessions.db")
        elif kind == "pgbouncer":
            from support import servers

            pooler = stack.enter_context(servers.pgbouncer(request.getfixturevalue("postgresql")))
            yield lambda: _open(pooler.url)
        else:
            url = request.getfixturevalue(kind).url
            yield lambda: _open(url.replace("redis:", "valkey:") if kind == "valkey_server" else url)


def _open(url: str) -> Store:
    return open_store(url, folder=Path(), open_memory=MemoryStore)


@pytest.fixture
def workers(make_store: Callable[[], Store]) -> Iterator[Workers]:
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(closing(SessionManager(make_store(), **options)))


on_each_kind = pytest.mark.parametrize("make_store", KINDS, indirect=True)
on_memory = pytest.mark.parametrize("make_store", ["memory"], indirect=True)
on_redis = pytest.mark.parametrize("make_store", ["redis_server"], indirect=True)


def settle(manager: SessionManager) -> None:
    """Wait until the thread has looked at what was asked for."""
    watch = manager.lifecycle._watch
    assert watch is not None
    deadline = time.monotonic() + 10
    while watch._asked or (watch._hears and watch._news is None):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@on_each_kind
def test_an_end_by_another_process_is_told_within_a_second(workers: Workers) -> None:
    here, there = workers(), workers()
    sid, other = here.create(user_id="ada"), here.create(user_id="bob")
    heard = Heard()
    with here.on_session_end(heard, sid=sid):
        settle(here)
        began_at = time.monotonic()
        there.revoke(other)
        there.revoke_user("ada", by="an operator")
        ending = heard.wait()[0]
        took = time.monotonic() - began_at
    assert (ending.sid, ending.reason, ending.user_id) == (sid, EndReason.REVOKED, "ada")
    assert ending.by == "an operator"
    assert took < 1.0
    assert len(heard.endings) == 1


@on_each_kind
def test_a_session_that_expires_is_told_of_though_nobody_prunes(workers: Workers) -> None:
    clock = FakeClock()
    here = workers(clock=clock, idle_timeout=60, cleanup_interval=10_000)
    sid, heard = here.create(), Heard()
    handle = here.on_session_end(heard, sid=sid)
    settle(here)
    clock.advance(59)
    time.sleep(0.6)
    assert not heard.endings
    clock.advance(1)
    ending = heard.wait(seconds=2.0)[0]
    assert (ending.sid, ending.reason) == (sid, EndReason.IDLE)
    assert ending.ended_at == pytest.approx(clock())
    handle.close()


@on_each_kind
def test_an_end_that_was_before_is_told_too(workers: Workers) -> None:
    here, there = workers(), workers()
    sid, heard = here.create(), Heard()
    there.remove(sid, reason=EndReason.LOGGED_OUT)
    with here.on_session_end(heard, sid=sid):
        assert heard.wait(seconds=2.0)[0].reason is EndReason.LOGGED_OUT


@on_memory
def test_activity_puts_off_the_end_that_is_told(workers: Workers) -> None:
    clock = FakeClock()
    here = workers(clock=clock, idle_timeout=60)
    sid, heard = here.create(), Heard()
    with here.on_session_end(heard, sid=sid):
        settle(here)
        clock.advance(50)
        here.replace(sid, {})
        clock.advance(50)
        time.sleep(0.6)
        assert not heard.endings
        clock.advance(10)
        assert heard.wait(seconds=2.0)


@pytest.mark.parametrize("make_store", ["redis_server", "postgresql"], indirect=True)
def test_without_an_id_each_end_is_told_once(workers: Workers) -> None:
    here, there = workers(), workers()
    heard = Heard()
    with here.on_session_end(heard):
        settle(here)
        sids = [here.create(user_id="ada") for _ in range(300)]
        there.revoke_user("ada")
        here.revoke(last := here.create())
        heard.wait(count=301)
        time.sleep(0.6)
    assert sorted(ending.sid for ending in heard.endings) == sorted([*sids, last])


@on_each_kind
def test_a_closed_handle_is_called_no_more(workers: Workers) -> None:
    here = workers()
    sid, heard, other = here.create(), Heard(), Heard()
    closed = here.on_session_end(heard, sid=sid)
    here.on_session_end(other, sid=sid)
    settle(here)
    closed.close()
    closed.close()
    here.revoke(sid)
    other.wait()
    assert not heard.endings


@on_memory
def test_a_callback_that_raises_keeps_nobody_else_from_being_told(
    workers: Workers, caplog: pytest.LogCaptureFixture
) -> None:
    here = workers()
    heard = Heard()
    sids = [here.create(), here.create()]

    def fail(ending: Ending) -> None:
        raise RuntimeError("a fault of the application")

    for sid in sids:
        here.on_session_end(fail, sid=sid)
        here.on_session_end(heard, sid=sid)
        here.revoke(sid)
    heard.wait(count=2)
    assert "a fault of the application" in caplog.text


@on_memory
def test_a_callback_may_open_and_close_handles(workers: Workers) -> None:
    here = workers()
    first, second, heard = here.create(), here.create(), Heard()

    def follow(ending: Ending) -> None:
        handle.close()
        here.on_session_end(heard, sid=second)

    handle = here.on_session_end(follow, sid=first)
    here.revoke(first)
    time.sleep(0.1)
    here.revoke(second)
    assert heard.wait()[0].sid == second


@on_memory
def test_what_cannot_be_watched_is_refused(workers: Workers) -> None:
    here: Any = workers()
    with pytest.raises(TypeError, match="a function to call"):
        here.on_session_end(None)
    with pytest.raises(TypeError, match="not a str"):
        here.on_session_end(print, sid="5f0e")


@on_each_kind
def test_a_thousand_sessions_are_watched_by_one_thread(workers: Workers) -> None:
    here = workers()
    heard = Heard()
    sid = here.create()
    here.revoke(here.create())  # What is made at the first use is there.
    before = threading.active_count()
    handles = [here.on_session_end(heard, sid=sid)]
    handles += [here.on_session_end(heard, sid=new_session_id()) for _ in range(50)]
    handles += [here.on_session_end(heard, sid=sid) for _ in range(950)]
    settle(here)
    extra = [thread.name for thread in threading.enumerate() if thread.name == "flask_idlesession ends"]
    assert extra == ["flask_idlesession ends"]
    assert threading.active_count() - before <= 2
    here.revoke(sid)
    heard.wait(count=951)
    for handle in handles:
        handle.close()


@on_memory
def test_the_thread_ends_with_the_last_handle(workers: Workers) -> None:
    here = workers()
    handle = here.on_session_end(print, sid=here.create())
    watch = here.lifecycle._watch
    assert watch is not None and watch._thread is not None
    thread = watch._thread
    handle.close()
    thread.join(5)
    assert not thread.is_alive()
    heard, sid = Heard(), here.create()
    here.on_session_end(heard, sid=sid)
    here.revoke(sid)
    assert heard.wait()


@on_memory
def test_a_manager_that_nobody_has_any_more_is_collected(make_store: Callable[[], Store]) -> None:
    manager = SessionManager(make_store())
    manager.on_session_end(print, sid=manager.create())
    ref = weakref.ref(manager.lifecycle)
    del manager
    deadline = time.monotonic() + 5
    while ref() is not None and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.05)
    assert ref() is None


@on_redis
def test_a_lost_subscription_is_made_again(workers: Workers, redis_server: Any) -> None:
    here, there = workers(), workers()
    heard, sids = Heard(), [here.create() for _ in range(2)]
    for sid in sids:
        here.on_session_end(heard, sid=sid)
    settle(here)
    with closing(redis_server.client()) as client:
        client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    there.revoke(sids[0])
    heard.wait(count=1, seconds=3.0)
    settle(here)
    began_at = time.monotonic()
    there.revoke(sids[1])
    heard.wait(count=2)
    assert time.monotonic() - began_at < 1.0


@on_redis
def test_what_others_say_on_the_channel_is_passed_over(workers: Workers, redis_server: Any) -> None:
    here, heard = workers(), Heard()
    sid = here.create()
    here.on_session_end(heard, sid=sid)
    settle(here)
    with closing(redis_server.client()) as client:
        for text in ("", "[", "7", "[[1]]", '[["x", "idle", 1, null, null]]', "\xff"):
            client.publish("idlesession:ends", text)
    here.revoke(sid)
    assert len(heard.wait()) == 1


@on_redis
def test_a_session_that_the_server_forgot_is_over(
    workers: Workers, redis_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(end_watch, "_LOOK_AGAIN", 0.5)
    here, heard = workers(), Heard()
    sid = here.create(user_id="ada")
    here.on_session_end(heard, sid=sid)
    settle(here)
    with closing(redis_server.client()) as client:
        client.flushall()
    ending = heard.wait()[0]
    assert (ending.sid, ending.reason, ending.user_id) == (sid, EndReason.EVICTED, "ada")


@on_redis
def test_ends_are_told_when_the_store_was_away(workers: Workers, redis_server: Any) -> None:
    here, there = workers(), workers()
    sid, heard = here.create(), Heard()
    here.on_session_end(heard, sid=sid)
    settle(here)
    redis_server.signal(signal.SIGSTOP)
    try:
        time.sleep(1.5)
        assert not heard.endings
    finally:
        redis_server.signal(signal.SIGCONT)
    deadline = time.monotonic() + 5
    while not there.revoke(sid):
        assert time.monotonic() < deadline
    assert heard.wait()


@pytest.mark.parametrize("make_store", ["sqlite", "redis_server", "postgresql"], indirect=True)
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_process_watches_for_itself(workers: Workers) -> None:
    here, there = workers(), workers()
    heard = Heard()
    sids: list[SessionId] = [here.create() for _ in range(2)]
    for sid in sids:
        here.on_session_end(heard, sid=sid)
    settle(here)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            heard.wait(count=1, seconds=8.0)
            os.write(writing, b"1")
            heard.wait(count=2, seconds=8.0)
            os.write(writing, b"2")
        finally:
            os._exit(0)
    os.close(writing)
    there.revoke(sids[0])
    assert os.read(reading, 1) == b"1"
    there.revoke(sids[1])
    assert os.read(reading, 1) == b"2"
    os.close(reading)
    os.waitpid(child, 0)
    assert len(heard.wait(count=2)) == 2


@on_redis
def test_a_thousand_watched_sessions_take_one_connection(workers: Workers, redis_server: Any) -> None:
    here, heard = workers(), Heard()
    sids = [here.create(user_id="ada") for _ in range(1000)]
    with closing(redis_server.client()) as client:
        before = client.info("clients")["connected_clients"]
        for sid in sids:
            here.on_session_end(heard, sid=sid)
        settle(here)
        assert client.info("clients")["connected_clients"] <= before + 2, "One hears, one asks."
        assert len(client.execute_command("CLIENT", "LIST", "TYPE", "pubsub")) >= 1
    began_at = time.monotonic()
    here.revoke_user("ada")
    heard.wait(count=1000)
    assert time.monotonic() - began_at < 2.0
