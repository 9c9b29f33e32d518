"""An application on Redis: how often a request goes to the server, counted there, and what its clock is told."""

import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import redis
from flask import Flask
from flask import session
from support.redis_servers import one_server
from support.redis_servers import redis_program
from support.redis_servers import RedisServer
from support.waiting import wait_until

from flask_idlesession import IdleSession
from flask_idlesession import session_ended
from flask_idlesession.operations.clock_skew import ClockSkew
from flask_idlesession.operations.neighbours import Neighbours
from flask_idlesession.operations.store_advice import StoreAdvice
from flask_idlesession.process.background import cleaner
from flask_idlesession.sessions.host_clock import HostClock
from flask_idlesession.sessions.pruning import Pruner
from flask_idlesession.testing import FakeClock

#: What the application and the counting itself say to the server.
_COUNTED = {"hgetall", "evalsha", "eval"}
_WRITES = {"hset", "hdel", "zadd", "zrem", "sadd", "srem", "unlink", "pexpire"}


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with one_server(redis_program()) as server:
        yield server


@pytest.fixture
def watcher(server: RedisServer) -> Iterator[redis.Redis]:
    with closing(server.client()) as client:
        client.flushall()
        yield client


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(time.time())


@pytest.fixture
def hold_cleaner(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return what waits until the cleaner is through, if it is amid a pass, and lets it begin no other."""
    passing, is_held = threading.Lock(), threading.Event()

    def unless_held(clean: Callable[[Any], float]) -> Callable[[Any], float]:
        def clean_unless_held(cleanable: Any) -> float:
            with passing:
                return 60.0 if is_held.is_set() else clean(cleanable)

        return clean_unless_held

    def hold() -> None:
        is_held.set()
        with passing:
            pass

    for kind in (Pruner, ClockSkew, HostClock, Neighbours, StoreAdvice):
        monkeypatch.setattr(kind, "run", unless_held(kind.run))
    return hold


@pytest.fixture
def site(server: RedisServer, clock: FakeClock, hold_cleaner: Callable[[], None]) -> Iterator[Flask]:
    app = Flask(__name__)
    app.config.update(TESTING=True, SECRET_KEY="k" * 32, IDLESESSION_STORE=server.url)
    IdleSession(app, clock=clock)

    @app.get("/ignore")
    def ignore() -> str:
        return "page"

    @app.get("/read")
    def read() -> dict[str, object]:
        return dict(session)

    @app.get("/write")
    def write() -> str:
        session["n"] = session.get("n", 0) + 1
        session["m"] = {"n": session["n"]}
        return str(session["n"])

    yield app
    hold_cleaner()
    state = app.extensions["idlesession"]
    state.manager.close()
    if state._clock_skew is not None:  # It would connect again.
        cleaner.unregister(state._clock_skew)


def calls(watcher: redis.Redis) -> dict[str, int]:
    """Return how often the server has done each command, also from within scripts."""
    stats = watcher.info("commandstats")
    return {name.removeprefix("cmdstat_"): said["calls"] for name, said in stats.items()}


def difference(before: dict[str, int], after: dict[str, int], names: set[str]) -> dict[str, int]:
    grown = {name: after.get(name, 0) - before.get(name, 0) for name in names}
    return {name: count for name, count in grown.items() if count}


def test_a_request_that_reads_is_one_round_trip_and_no_write_within_the_touch_interval(
    site: Flask, watcher: redis.Redis, clock: FakeClock, hold_cleaner: Callable[[], None]
) -> None:
    site.config["IDLESESSION_TOUCH_INTERVAL"] = 60
    client = site.test_client()
    client.get("/write")
    client.get("/write")  # From now on the server knows the scripts.
    hold_cleaner()
    before = calls(watcher)
    for _ in range(50):
        clock.advance(1)
        assert client.get("/read").json == {"n": 2, "m": {"n": 2}}
    after = calls(watcher)
    assert difference(before, after, _COUNTED) == {"hgetall": 50}
    assert difference(before, after, _WRITES) == {}
    clock.advance(10)
    client.get("/read")
    assert difference(after, calls(watcher), _COUNTED) == {"hgetall": 1, "evalsha": 1}


def test_a_request_that_reads_and_touches_is_one_round_trip(
    site: Flask, watcher: redis.Redis, clock: FakeClock, hold_cleaner: Callable[[], None]
) -> None:
    client = site.test_client()
    client.get("/write")
    client.get("/read")
    hold_cleaner()
    before = calls(watcher)
    for path in ("/read", "/ignore"):
        for _ in range(20):
            clock.advance(1)
            assert client.get(path).status_code == 200
    after = calls(watcher)
    assert difference(before, after, {"evalsha", "eval"}) == {"evalsha": 40}
    (info,) = site.extensions["idlesession"].manager.find()
    assert info.last_seen_at == clock()


def test_a_request_that_writes_is_two_round_trips_its_activity_included(
    site: Flask, watcher: redis.Redis, clock: FakeClock, hold_cleaner: Callable[[], None]
) -> None:
    client = site.test_client()
    client.get("/write")
    client.get("/write")
    hold_cleaner()
    before = calls(watcher)
    for number in range(20):
        clock.advance(1)
        assert client.get("/write").text == str(number + 3)
    assert difference(before, calls(watcher), _COUNTED) == {"hgetall": 20, "evalsha": 20}


def test_a_visitor_without_a_session_costs_nothing_and_a_new_session_one_round_trip(
    site: Flask, watcher: redis.Redis, hold_cleaner: Callable[[], None]
) -> None:
    site.test_client().get("/write")
    hold_cleaner()
    before = calls(watcher)
    for _ in range(10):
        assert site.test_client().get("/read").json == {}
        stranger = site.test_client()
        stranger.set_cookie("session", "garbage")
        assert stranger.get("/read").json == {}
    assert difference(before, calls(watcher), _COUNTED) == {}
    assert site.test_client().get("/write").text == "1"
    assert difference(before, calls(watcher), _COUNTED) == {"evalsha": 1}


def test_requests_leave_what_has_expired_to_the_cleaner(site: Flask, watcher: redis.Redis, clock: FakeClock) -> None:
    told = []

    def note(sender: object, **_: object) -> None:
        told.append(threading.current_thread().name)

    with session_ended.connected_to(note, site):
        for _ in range(30):
            site.test_client().get("/write")
        clock.advance(1500)
        client = site.test_client()
        client.get("/write")
        clock.advance(500)
        for _ in range(30):
            client.get("/read")
        wait_until(lambda: len(told) == 30, "the cleaner has pruned")
    assert set(told) == {"flask_idlesession cleaner"}


def test_a_host_whose_clock_is_off_is_warned_of(
    site: Flask, watcher: redis.Redis, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    clock.advance(-3600)
    assert site.test_client().get("/write").text == "1"
    wait_until(lambda: "behind that of the session server" in caplog.text, "the clocks are compared")
    assert "The clock of this process is 3" in caplog.text
