"""The processes of one host agree on the time: a step of the wall clock ends no session and prolongs none."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from contextlib import contextmanager
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from support.faked_time import faked_time
from support.own_time import give_own_time

from flask_idlesession import MemoryStore
from flask_idlesession import SessionManager
from flask_idlesession import StoreError
from flask_idlesession import Traits
from flask_idlesession.model import clock as clock_module
from flask_idlesession.model.clock import StoppedClock
from flask_idlesession.model.clock import system_clock
from flask_idlesession.process.background import cleaner
from flask_idlesession.sessions import host_clock as host_clock_module
from flask_idlesession.sessions.host_clock import HostClock
from flask_idlesession.stores.sqlite import SQLiteStore
from flask_idlesession.testing import FakeClock

DAY = 1_700_000_000.0
KINDS = ["sqlite", "redis", "postgresql", "mariadb", "cachelib"]


class Host:
    """A host: the time since its boot, and its wall clock, which may be set."""

    def __init__(self, name: str = "boot", wall: float = DAY) -> None:
        self.name = name
        self.boot = 5000.0
        self.wall = wall
        self.made: list[HostClock] = []

    def advance(self, by: float) -> None:
        self.boot += by
        self.wall += by

    def start(self, store: Any) -> HostClock:
        """Start a process, which counts from the wall time of its start."""
        offset = self.wall - self.boot
        clock = HostClock(store, clock=lambda: offset + self.boot, boot=lambda: self.boot, host=self.name)
        cleaner.unregister(clock)  # The test calls it.
        self.made.append(clock)
        return clock


class Shared(MemoryStore):
    """A store whose server has a clock of its own, and may be away."""

    traits = Traits(has_clock=True)

    def __init__(self, server: FakeClock) -> None:
        super().__init__()
        self.server = server
        self.is_away = False
        self.asked = 0

    def ending(self, sid: Any, *, now: float) -> Any:
        self.asked += 1
        if self.is_away:
            raise StoreError("Nobody answers.")
        return super().ending(sid, now=now)

    def clock_skew(self, now: float) -> float:
        return now - self.server()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleaner, "register", lambda task: None)


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteStore]:
    with closing(SQLiteStore(tmp_path / "own/s.db")) as store:
        yield store


@pytest.mark.parametrize("step", [3600, -3600, 1e7, -1e7])
def test_a_process_that_starts_after_a_step_of_the_wall_clock_goes_on_with_the_time_of_before(
    host: Host, store: SQLiteStore, step: float, caplog: pytest.LogCaptureFixture
) -> None:
    first = host.start(store)
    first()
    host.advance(30)
    host.wall += step
    second = host.start(store)
    assert second() == first() == DAY + 30
    host.advance(3000)
    assert second() == first() == DAY + 3030
    assert f"was set by {step:+.0f} s" in caplog.text


def test_a_host_that_sleeps_goes_on_with_the_time_that_passed(host: Host, store: SQLiteStore) -> None:
    first = host.start(store)
    first()
    host.advance(8 * 3600)  # The time since boot counts on through a suspend.
    assert first() == DAY + 8 * 3600
    first._agree()
    assert host.start(store)() == first() == DAY + 8 * 3600


def test_the_mark_is_kept_up_while_a_process_lives_and_is_nobodys_ten_minutes_later(
    host: Host, store: SQLiteStore
) -> None:
    first = host.start(store)
    first()
    host.wall += 3600
    for _ in range(30):
        host.advance(120)
        first._agree()
    assert host.start(store)() == first()
    host.advance(650)
    assert host.start(store)() == host.wall


def test_another_host_and_the_same_one_after_a_boot_have_clocks_of_their_own(host: Host, store: SQLiteStore) -> None:
    host.start(store)()
    for other in (Host("another", wall=DAY + 90), Host("boot", wall=DAY + 90)):
        other.boot = 10.0
        assert other.start(store)() == DAY + 90


def test_processes_that_began_apart_agree_in_the_end(host: Host, store: SQLiteStore) -> None:
    first = host.start(store)
    host.wall += 3600
    second = host.start(store)
    second()
    assert first() == second() == DAY + 3600


def test_a_store_that_is_away_is_asked_once_a_second_and_no_more(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    store, instant = Shared(FakeClock(DAY)), [100.0]
    give_own_time(monkeypatch, host_clock_module, monotonic=lambda: instant[0])
    first = host.start(store)
    first()
    host.wall += 3600
    second = host.start(store)
    store.is_away, store.asked = True, 0
    for _ in range(5):
        assert second() == DAY + 3600
    assert store.asked == 1
    store.is_away = False
    instant[0] += 2
    assert second() == first() == DAY


def test_a_request_that_arrives_asks_no_store(host: Host) -> None:
    store = Shared(FakeClock(DAY))
    assert host.start(store).peek() == DAY
    assert store.asked == 0


def test_a_mark_that_is_no_mark_is_none(host: Host, store: SQLiteStore) -> None:
    first = host.start(store)
    for text in ("", "x y", "1", "nan nan nan", "1e9"):
        host_clock_module.put_mark(store, "clock of boot", text, now=DAY, until=DAY + 100)
        assert first() == DAY


def test_no_mark_is_read_where_the_system_names_no_boot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_clock_module, "host_of_boot", lambda: None)
    store = Shared(FakeClock(system_clock()))
    assert abs(HostClock(store)() - system_clock()) < 1
    assert store.asked == 0


# Between hosts the server's clock is the witness.


def test_a_clock_that_is_ahead_of_the_servers_ends_nothing_that_lives_by_the_servers(host: Host) -> None:
    server = FakeClock(DAY)
    store = Shared(server)
    ahead = Host("ahead", wall=DAY + 3600)
    assert host.start(store)() == ahead.start(store)() == DAY
    ahead.made[0]._agree()
    assert ahead.made[0].of_host() == DAY + 3600, "What is compared with the server must not be corrected by it."
    server.advance(3595)
    ahead.made[0]._agree()
    assert ahead.made[0]() == DAY + 3600


@pytest.mark.parametrize("off", [-3600.0, -6.0, 4.9])
def test_a_clock_that_is_behind_or_nearly_right_is_believed(off: float) -> None:
    assert Host("other", wall=DAY + off).start(Shared(FakeClock(DAY)))() == DAY + off


# A manager uses it.


def test_a_manager_of_a_shared_store_agrees_unless_it_was_handed_a_clock(store: SQLiteStore) -> None:
    with SessionManager(store) as shared, SessionManager(store, clock=FakeClock()) as faked, SessionManager() as alone:
        assert isinstance(shared.now, HostClock)
        assert faked.host_clock is alone.host_clock is None
        assert abs(shared.now() - system_clock()) < 1


def test_a_test_that_tells_the_time_is_believed(store: SQLiteStore) -> None:
    with StoppedClock() as clock, SessionManager(store) as manager:
        clock.advance(1e6)
        assert manager.now() == clock()
        assert manager.now() == clock()


def test_a_test_that_begins_while_the_server_is_asked_is_believed() -> None:
    stopped = StoppedClock()
    stopped.advance(86_400.0)

    class Slow(Shared):
        def clock_skew(self, now: float) -> float:
            stopped.__enter__()
            return 86_400.0

    clock = HostClock(Slow(FakeClock()), host="boot")
    cleaner.unregister(clock)
    try:
        clock.run()
        assert clock() == clock.peek() == stopped()
    finally:
        stopped.__exit__()
    assert abs(clock.peek() - system_clock()) < 1, "nothing of it is left afterwards"


def test_the_host_is_named_from_boot_to_boot() -> None:
    assert clock_module.host_of_boot() == clock_module.host_of_boot() is not None


# Real processes, real servers, and a wall clock that is set.

PROGRAM = """
import sys, uuid
from pathlib import Path
from flask_idlesession import SessionManager, SessionNotFound, session_ended
from flask_idlesession.stores import open_store
from cachelib import FileSystemCache

spec = sys.argv[1]
spec = FileSystemCache(spec[6:], threshold=0) if spec.startswith("cache:") else spec
manager = SessionManager(open_store(spec, folder=Path()), idle_timeout=1800)
ends = []
session_ended.connect(lambda sender, info, reason: ends.append(reason.value), weak=False)
print("ready", flush=True)
for line in sys.stdin:
    verb, _, sid = line.strip().partition(" ")
    try:
        if verb == "create":
            print(manager.create({"n": 1}, user_id="ada"), flush=True)
        elif verb == "prune":
            manager.lifecycle.pruner.prune_all()
            print(ends, flush=True)
        elif verb == "now":
            print(manager.now(), flush=True)
        else:
            manager.replace(uuid.UUID(sid), {"n": 2})
            print(manager.read(uuid.UUID(sid)), flush=True)
    except SessionNotFound:
        print("gone", flush=True)
"""


class Process:
    def __init__(self, spec: str, environment: dict[str, str]) -> None:
        command = [sys.executable, "-W", "ignore", "-c", PROGRAM, spec]
        env = {**os.environ, **environment}
        self._process = subprocess.Popen(command, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        said = self._read()
        if said != "ready":
            self.close()
            pytest.fail(f"The process said {said!r}.")

    def ask(self, what: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(what + "\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        self._process.communicate()

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@pytest.fixture(params=KINDS)
def spec(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    kind = request.param
    if kind == "redis":
        server = request.getfixturevalue("redis_server")
        with closing(server.client()) as client:
            client.flushall()
        return str(server.url)
    if kind in ("postgresql", "mariadb"):
        return str(request.getfixturevalue(kind).url)
    return f"cache:{tmp_path}/cache" if kind == "cachelib" else f"sqlite:///{tmp_path}/own/s.db"


@contextmanager
def processes(spec: str, *environments: dict[str, str]) -> Iterator[list[Process]]:
    with ExitStack() as started:
        yield [started.enter_context(closing(Process(spec, each))) for each in environments]


@pytest.mark.parametrize("step", [3600, -3600])
def test_a_new_worker_after_a_step_of_the_wall_clock_ends_no_session_in_use(spec: str, step: float) -> None:
    with faked_time(offset=step) as time, processes(spec, {}) as (old,):
        sid = old.ask("create")
        with processes(spec, time.environment) as (new,):
            assert new.ask(f"touch {sid}") == "{'n': 2}"
            assert new.ask("prune") == "[]"
            assert abs(float(new.ask("now")) - float(old.ask("now"))) < 2
            assert old.ask(f"touch {sid}") == "{'n': 2}"


@pytest.mark.parametrize("spec", ["redis", "postgresql", "mariadb"], indirect=True)
def test_a_host_whose_clock_is_ahead_writes_no_instant_of_the_future(spec: str) -> None:
    with faked_time(offset=3600) as time:
        _forget_marks(spec)
        with processes(spec, time.environment) as (ahead,):
            assert abs(float(ahead.ask("now")) - system_clock()) < 5
    _forget_marks(spec)


def _forget_marks(spec: str) -> None:
    """Forget what other tests of this host left with the server."""
    if spec.startswith("redis"):
        return  # It was flushed.
    engine = sqlalchemy.create_engine(spec)
    with engine.begin() as connection:
        if sqlalchemy.inspect(connection).has_table("idlesession_ending"):
            connection.execute(sqlalchemy.text("DELETE FROM idlesession_ending"))
    engine.dispose()
