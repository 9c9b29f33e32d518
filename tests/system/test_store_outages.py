"""A store that goes away under load and comes back: 503 in time, no cookie taken away, no session or write lost."""

import json
import os
import random
import resource
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from contextlib import closing
from contextlib import contextmanager
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from support.fleet import a_fleet
from support.fleet import Answer
from support.fleet import Fleet
from support.fleet import Kind
from support.fleet import SERVERS

from flask_idlesession.model.errors import StoreError

_BROWSERS = 8

#: Everything is as before so many seconds after the store's return.
_BACK_WITHIN = 2.0

#: What two busy cores may add to the time that a request takes.
_SLACK = 0.75


@dataclass(frozen=True)
class Outage:
    """A way to go away: ``hit`` brings it about, and ends it."""

    name: str
    kind: Kind
    hit: Callable[[Fleet], AbstractContextManager[None]]
    #: Within so many seconds each request is answered; what that is made of, the docs say.
    stated: float


class Browser:
    """One user's session, and what it must hold: of each key the value that was acknowledged last, or a later one."""

    def __init__(self, fleet: Fleet, number: int) -> None:
        self.fleet, self.turn = fleet, number
        self.chance = random.Random(number)
        self.user = f"user{number}"
        self.answers: list[Answer] = []
        self.kept: dict[str, int] = {}
        self.tried: dict[str, int] = {}
        self.cookie = self.ask(f"/in/{self.user}").token
        self.answers.clear()

    def ask(self, path: str) -> Answer:
        self.turn += 1
        answer = self.fleet.ask(self.fleet.ports[self.turn % len(self.fleet.ports)], path, getattr(self, "cookie", ""))
        self.answers.append(answer)
        return answer

    def use(self) -> None:
        """Do one thing that users do."""
        if self.chance.random() < 0.5:
            answer = self.ask("/show")
            if answer.status == 200:
                self.compare(answer)
        else:
            key = f"second{time.monotonic():.0f}"  # So that no later write hides what became of this one.
            value = self.tried[key] = self.tried.get(key, 0) + 1
            if self.ask(f"/write/{key}/{value}").status == 200:
                self.kept[key] = value
        time.sleep(self.chance.uniform(0.0, 0.03))

    def compare(self, answer: Answer) -> None:
        """See that the session holds what was acknowledged."""
        assert answer.status == 200, answer
        held = json.loads(answer.body)
        assert held.get("user") == self.user, answer
        for key, value in self.kept.items():
            assert value <= held.get(key, 0) <= self.tried[key], (key, value, answer)


def newcomer(fleet: Fleet, stop: threading.Event) -> list[Answer]:
    """Log in again and again, each time as somebody new; whoever is let in must be in at the end."""
    answers = []
    while not stop.is_set():
        answers.append(fleet.ask(fleet.ports[0], "/in/newcomer"))
        time.sleep(0.05)
    return answers


def live_through(outage: Outage, folder: Path, *, seconds: float) -> Counter[int]:
    """Use the application before, during and after an outage; return how often which status was answered meanwhile."""
    stop = threading.Event()
    with a_fleet(outage.kind, folder) as fleet, ThreadPoolExecutor(_BROWSERS + 2) as pool:
        browsers = [Browser(fleet, number) for number in range(_BROWSERS)]
        uses = [pool.submit(_use_until, browser, stop) for browser in browsers]
        news = pool.submit(newcomer, fleet, stop)
        try:
            time.sleep(0.5)
            went_at = time.monotonic()
            with outage.hit(fleet):
                time.sleep(seconds)
            back_at = _wait_until_back(fleet)
            time.sleep(_BACK_WITHIN + 0.5)
        finally:
            stop.set()
        for use in uses:
            use.result(60)
        for browser in browsers:
            browser.compare(browser.ask("/show"))
        entries = news.result(60)
        _check_answers(outage, [answer for browser in browsers for answer in browser.answers], went_at, back_at)
        _check_entries(fleet, outage, entries, went_at, back_at)
        return Counter(
            answer.status
            for browser in browsers
            for answer in browser.answers
            if went_at < answer.answered_at < went_at + seconds
        )


def _use_until(browser: Browser, stop: threading.Event) -> None:
    while not stop.is_set():
        browser.use()


def _wait_until_back(fleet: Fleet) -> float:
    """Return when the store answered again to somebody who did not know that it had been away."""
    with fleet.open_store() as store:
        give_up_at = time.monotonic() + 60
        while time.monotonic() < give_up_at:
            with suppress(StoreError):
                store.load(uuid4(), now=time.time())
                return time.monotonic()
            time.sleep(0.02)
    raise AssertionError("The store did not come back.")


def _check_answers(outage: Outage, answers: list[Answer], went_at: float, back_at: float) -> None:
    assert {answer.status for answer in answers} <= {200, 503}
    assert [answer for answer in answers if answer.cookies] == [], "No answer may change the cookie."
    slowest = max(answers, key=lambda answer: answer.answered_at - answer.sent_at)
    took = slowest.answered_at - slowest.sent_at
    print(f"{outage.name}: slowest {took:.2f} s, {Counter(answer.status for answer in answers)}")
    assert took < outage.stated + _SLACK, (took, slowest, slowest.sent_at - went_at)
    calm = [answer for answer in answers if answer.answered_at < went_at or answer.sent_at > back_at + _BACK_WITHIN]
    assert {answer.status for answer in calm} == {200}, "It was not as before in time."


def _check_entries(fleet: Fleet, outage: Outage, entries: list[Answer], went_at: float, back_at: float) -> None:
    for entry in entries:
        assert entry.status in (200, 503) and bool(entry.cookies) == (entry.status == 200), entry
        assert entry.answered_at - entry.sent_at < outage.stated + _SLACK, entry
        if entry.sent_at > back_at + _BACK_WITHIN:
            assert entry.status == 200, entry
        if entry.status == 200 and entry.sent_at > went_at - 0.2:
            answer = fleet.ask(fleet.ports[-1], "/show", entry.token)
            assert "newcomer" in answer.body, "A session that was begun is lost."


# How stores go away.


@contextmanager
def killed(fleet: Fleet) -> Iterator[None]:
    family = _family(fleet)
    fleet.server.stop()
    for pid in family[1:]:  # PostgreSQL's, which would keep its memory for a moment.
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    yield
    fleet.server.start()


@contextmanager
def stopped(fleet: Fleet) -> Iterator[None]:
    """Reached, and silent: the connections stay."""
    family = _family(fleet)
    for pid in family:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def _family(fleet: Fleet) -> list[int]:
    pid = fleet.server.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


@contextmanager
def locked(fleet: Fleet) -> Iterator[None]:
    """Another program writes, and does not end."""
    with closing(sqlite3.connect(fleet.folder / "sessions.db", isolation_level=None, timeout=30)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


@contextmanager
def full(fleet: Fleet) -> Iterator[None]:
    """No file takes another byte from any worker."""
    fleet.meet(connections=1)
    pids = list(fleet.workers)
    limits = {pid: resource.prlimit(pid, resource.RLIMIT_FSIZE) for pid in pids}
    for pid, (_, hard) in limits.items():
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        for pid, limit in limits.items():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limit)


_SQLITE = Kind("sqlite", gunicorns=(2, 2))
_REDIS, _VALKEY, _POSTGRESQL, _MARIADB = SERVERS

FULL = Outage("sqlite on a full disk", _SQLITE, full, stated=5.0)
# A call of MariaDB is one second's wait for an old connection and one for a new one, which takes libpq two at least.
OUTAGES = [
    FULL,
    Outage("sqlite that another holds", _SQLITE, locked, stated=5.0),
    *(Outage(f"{kind.name} that is killed", kind, killed, stated=1.0) for kind in (_REDIS, _VALKEY)),
    *(Outage(f"{kind.name} that is silent", kind, stopped, stated=1.0) for kind in (_REDIS, _VALKEY)),
    Outage("mariadb that is killed", _MARIADB, killed, stated=2.0),
    Outage("mariadb that is silent", _MARIADB, stopped, stated=2.0),
    Outage("postgresql that is killed", _POSTGRESQL, killed, stated=3.0),
    Outage("postgresql that is silent", _POSTGRESQL, stopped, stated=3.0),
]


def test_a_full_disk_is_answered_503_and_loses_nothing(tmp_path: Path) -> None:
    met = live_through(FULL, tmp_path, seconds=1.0)
    assert met[503] and met[200], "Who only reads is served, and who writes is not."


@pytest.mark.soak
@pytest.mark.parametrize("outage", OUTAGES, ids=lambda outage: outage.name)
def test_ten_seconds_without_the_store_are_answered_503_in_time_and_lose_nothing(
    outage: Outage, tmp_path: Path
) -> None:
    assert live_through(outage, tmp_path, seconds=10.0)[503], "There was no outage."
