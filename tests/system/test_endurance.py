"""Many minutes of mixed load while stores go away, come back and fill up: nothing is lost, and no log-out comes back.

Redis writes each command down before it answers. PostgreSQL syncs its log, and PgBouncer is in front of it. Two
gunicorns serve the application: one with threads, one with gevent. Both preload it, and replace each worker after some
hundred requests. ``ENDURANCE_MINUTES`` says for how long (40)::

    python -m pytest -m soak -n 2 -s tests/system/test_endurance.py
"""

import json
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from contextlib import contextmanager
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import field
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest
from support.fleet import a_fleet
from support.fleet import Answer
from support.fleet import Fleet
from support.fleet import Kind
from support.redis_servers import one_server
from support.redis_servers import redis_program
from support.redis_servers import RedisServer
from support.servers import pgbouncer
from support.servers import postgresql
from support.servers import Server
from support.waiting import wait_until

_SECONDS = 60 * float(os.environ.get("ENDURANCE_MINUTES", "40"))

#: How many users are at work at once; fewer leave more of the machine to others.
_USERS = int(os.environ.get("ENDURANCE_USERS", "24"))

#: Seconds of calm between two disturbances, and how long each of them lasts.
_CALM, _LASTS = (8.0, 20.0), (1.0, 6.0)

#: Each answer comes within so many seconds: what a store may take, twice, on busy cores.
_LONGEST = 20.0

_REPLACED = ("--preload", "--max-requests", "300", "--max-requests-jitter", "100")
_GUNICORNS = (
    ("-k", "gthread", "--threads", "8", "--keep-alive", "2", *_REPLACED),
    ("-k", "gevent", "--keep-alive", "2", *_REPLACED),
)


class User:
    """One user, who logs in, reads, writes and logs out; what was acknowledged must be so ever after."""

    def __init__(self, fleet: Fleet, number: int) -> None:
        self.fleet, self.turn, self.name = fleet, number, f"user{number}"
        self.chance = random.Random(number)
        self.cookie = ""
        self.is_leaving = False
        self.kept: dict[str, int] = {}
        self.tried: dict[str, int] = {}
        self.dead: list[str] = []
        self.met: Counter[str] = Counter()
        self.failed_at: list[float] = []

    def ask(self, path: str, cookie: str) -> Answer | None:
        """Return the answer; None if the connection was cut, so that nobody knows what became of the request."""
        self.turn += 1
        port = self.fleet.ports[self.turn % len(self.fleet.ports)]
        try:
            answer = self.fleet.ask(port, path, cookie, timeout=60)
        except (OSError, HTTPException):
            self.met["cut"] += 1
            return None
        self.met[str(answer.status)] += 1
        assert answer.status in (200, 503), answer
        assert answer.answered_at - answer.sent_at < _LONGEST, answer
        if answer.status == 503:
            assert not answer.cookies or (path == "/out" and "Max-Age=0" in answer.cookies[0]), answer
            self.failed_at.append(answer.answered_at)
        return answer

    def live(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self.step()
            time.sleep(self.chance.uniform(0.0, 0.1))

    def step(self) -> None:
        """Do one thing that users do."""
        if not self.cookie:
            self.enter()
        elif self.is_leaving or self.chance.random() < 0.04:
            self.leave()
        elif self.dead and self.chance.random() < 0.1:
            self.show_dead(self.chance.choice(self.dead))
        elif self.chance.random() < 0.5:
            self.read()
        else:
            self.write()

    def enter(self) -> None:
        answer = self.ask(f"/in/{self.name}", "")
        if answer is not None and answer.status == 200:
            self.cookie, self.kept, self.tried = answer.token, {}, {}
            self.met["log-ins"] += 1

    def leave(self) -> None:
        """Log out, until that is acknowledged."""
        self.is_leaving = True
        answer = self.ask("/out", self.cookie)
        if answer is not None and answer.status == 200:
            self.dead.append(self.cookie)
            self.cookie, self.is_leaving = "", False
            self.met["log-outs"] += 1

    def read(self) -> None:
        answer = self.ask("/show", self.cookie)
        if answer is None or answer.status == 503:
            return
        held = json.loads(answer.body)
        assert held.get("user") == self.name, (self.name, answer)
        for key, value in self.kept.items():
            assert value <= held.get(key, 0) <= self.tried[key], (self.name, key, value, answer)

    def write(self) -> None:
        key = f"key{self.chance.randrange(20)}"
        value = self.tried[key] = self.tried.get(key, 0) + 1
        answer = self.ask(f"/write/{key}/{value}", self.cookie)
        if answer is not None and answer.status == 200:
            assert answer.body.endswith("1"), ("The session is lost.", self.name, answer)
            self.kept[key] = value

    def show_dead(self, cookie: str) -> None:
        answer = self.ask("/show", cookie)
        assert answer is None or answer.status == 503 or answer.body.strip() == "{}", ("It is back.", answer)


@dataclass
class Disturbance:
    """Something that happens to the store, from ``begun`` to ``ended``."""

    name: str
    begun: float = field(default_factory=time.monotonic)
    ended: float = 0.0


def disturb(
    fleet: Fleet, ways: dict[str, Callable[[float], None]], stop: threading.Event, *, seed: int
) -> list[Disturbance]:
    """Bring about one disturbance after another, each of which lasts a while; the store is back after each."""
    chance, done = random.Random(seed), []
    while not stop.wait(chance.uniform(*_CALM)):
        name = chance.choice(list(ways))
        disturbance = Disturbance(name)
        ways[name](chance.uniform(*_LASTS))
        disturbance.ended = time.monotonic()
        done.append(disturbance)
    return done


# What happens to Redis.


def of_redis(server: RedisServer) -> dict[str, Callable[[float], None]]:
    def kill(seconds: float) -> None:
        server.stop()
        time.sleep(seconds)
        server.start()

    def restart(seconds: float) -> None:
        assert server.process is not None
        server.signal(signal.SIGTERM)
        server.process.wait(30)
        time.sleep(seconds)
        server.start()

    def silence(seconds: float) -> None:
        server.signal(signal.SIGSTOP)
        time.sleep(seconds)
        server.signal(signal.SIGCONT)

    def fill(seconds: float) -> None:
        with closing(server.client()) as client:
            client.config_set("maxmemory", 1)
            time.sleep(seconds)
            client.config_set("maxmemory", 0)

    return {"killed": kill, "restarted": restart, "silent": silence, "full": fill}


# What happens to PostgreSQL, and to PgBouncer in front of it.


class Databases:
    """PostgreSQL on a small disk, and PgBouncer; ``url`` leads through both."""

    def __init__(self, database: Server, pool: Server) -> None:
        self.database, self.pool, self.url = database, pool, pool.url

    def ways(self) -> dict[str, Callable[[float], None]]:
        return {
            "killed": self.kill,
            "restarted": self.restart,
            "silent": self.silence,
            "full": self.fill,
            "pool restarted": self.restart_pool,
        }

    def kill(self, seconds: float) -> None:
        self._end_all(signal.SIGKILL)
        time.sleep(seconds)
        self.database.start()

    def restart(self, seconds: float) -> None:
        self.database.stop(signal.SIGINT)
        time.sleep(seconds)
        self.database.start()

    def restart_pool(self, seconds: float) -> None:
        self.pool.stop()
        time.sleep(seconds)
        self.pool.start()

    def silence(self, seconds: float) -> None:
        family = self._family()
        for pid in family:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(seconds)
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def fill(self, seconds: float) -> None:
        """Leave no room on the disk. PostgreSQL may end for that, and is started again when there is."""
        ballast = self.database.folder / "ballast"
        with suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 20))
        time.sleep(seconds)
        ballast.unlink()
        assert self.database.process is not None
        with suppress(Exception):
            self.database.process.wait(2)
        if self.database.process.poll() is not None:
            self.database.start()

    def _family(self) -> list[int]:
        assert self.database.process is not None
        pid = self.database.process.pid
        return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]

    def _end_all(self, number: signal.Signals) -> None:
        _, *children = self._family()
        self.database.stop(number)
        for pid in children:
            with suppress(ProcessLookupError):
                os.kill(pid, number)


@contextmanager
def databases() -> Iterator[Databases]:
    options = ("-c", "fsync=on", "-c", "max_wal_size=64MB", "-c", "checkpoint_timeout=30s")
    with (
        postgresql(*options, size="300m") as database,
        pgbouncer(database, default_pool_size=10, query_wait_timeout=5) as pool,
    ):
        yield Databases(database, pool)


def _redis() -> Any:
    return one_server(redis_program(), "--appendonly", "yes", "--appendfsync", "always")


KINDS = [
    Kind("redis", gunicorns=(2, 2), server=_redis, options=_GUNICORNS),
    Kind("postgresql", gunicorns=(2, 2), server=databases, options=_GUNICORNS),
]


@pytest.mark.soak
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_no_session_is_lost_and_no_log_out_comes_back(kind: Kind, tmp_path: Path) -> None:
    stop = threading.Event()
    with a_fleet(kind, tmp_path) as fleet, ThreadPoolExecutor(_USERS + 1) as pool:
        users = [User(fleet, number) for number in range(_USERS)]
        ways = fleet.server.ways() if kind.name == "postgresql" else of_redis(fleet.server)
        lives = [pool.submit(user.live, stop) for user in users]
        disturbing = pool.submit(disturb, fleet, ways, stop, seed=1)
        try:
            ends_at = time.monotonic() + _SECONDS
            while time.monotonic() < ends_at and not any(each.done() for each in (*lives, disturbing)):
                time.sleep(0.5)
        finally:
            stop.set()
        disturbances = disturbing.result(120)
        for life in lives:
            life.result(120)
        wait_until(lambda: all_are_answered(users), "each worker asks the store again")
        check_the_end(users)
        check_the_log(fleet, users, disturbances)
        report(kind.name, fleet, users, disturbances)


def all_are_answered(users: list[User]) -> bool:
    """Return whether a request of each user is answered as if nothing had been.

    PgBouncer tries to reach its server again after 15 seconds, if it could not (``server_login_retry``).
    """
    answers = [user.ask("/show", user.cookie or user.dead[-1]) for user in users if user.cookie or user.dead]
    return all(answer is not None and answer.status == 200 for answer in answers)


def check_the_end(users: list[User]) -> None:
    """See that each session is there, and each that was logged out is not."""
    for user in users:
        before = user.met["503"]
        if user.cookie and not user.is_leaving:
            user.read()
        for cookie in user.dead:
            user.show_dead(cookie)
        assert user.met["503"] == before, "The store has been back for a while."


def check_the_log(fleet: Fleet, users: list[User], disturbances: list[Disturbance]) -> None:
    """See that each time requests failed the log says so, and that it tells of nothing that nobody foresaw."""
    failed_at = [at for user in users for at in user.failed_at]
    hit = [each for each in disturbances if any(each.begun <= at <= each.ended + 2 for at in failed_at)]
    said = fleet.log.count("The session store is down")
    assert said >= len(hit), (said, len(hit))
    assert "Traceback" not in fleet.log, fleet.log[fleet.log.index("Traceback") - 2000 :][:6000]


def report(kind: str, fleet: Fleet, users: list[User], disturbances: list[Disturbance]) -> None:
    met: Counter[str] = Counter()
    for user in users:
        met.update(user.met)
    workers = fleet.log.count("Booting worker")
    happened = dict(Counter(each.name for each in disturbances))
    # Of the worker processes of pytest-xdist this alone is seen.
    print(f"\n{kind}, {_SECONDS / 60:g} minutes: {dict(met)}; {workers} workers; {happened}", file=sys.stderr)
