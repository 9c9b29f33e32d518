"""``move`` with as many sessions as a large site has, between any two kinds of store, and killed on its way.

    python -m pytest -m soak -n 0 -s tests/system/test_moving_many.py

It takes an hour on two cores. ``MOVE_SESSIONS=5000`` in front of it makes it minutes.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import pytest

from flask_idlesession import SessionId
from flask_idlesession.model.clock import system_clock
from flask_idlesession.model.record import Record
from flask_idlesession.model.record import SessionInfo
from flask_idlesession.stores import open_store
from flask_idlesession.stores.contract import chunked
from flask_idlesession.stores.contract import Store
from flask_idlesession.stores.journal import JournalStore
from flask_idlesession.stores.journal.reading import JournalCopy
from flask_idlesession.stores.sqlalchemy import SQLAlchemyStore

pytestmark = pytest.mark.soak

KINDS = ("journal", "sqlite", "redis", "postgresql", "mariadb")

SESSIONS = int(os.environ.get("MOVE_SESSIONS", "100000"))

#: The exit code of a command whose store did not answer.
STORE_AWAY = 3

#: How many sessions there are where the command is killed, and how often it is.
KILLED_SESSIONS, KILLS = 5000, 4

APP = """
from flask import Flask
from flask_idlesession import IdleSession

app = Flask(__name__)
app.secret_key = "8f1c0b1d9a7e4f22b6c3"
IdleSession(app)
"""


def a_record(number: int) -> Record:
    now = system_clock()
    info = SessionInfo(
        sid=SessionId(str(uuid4())),
        user_id=f"user {number % 1000}" if number % 3 else None,
        created_at=now - 5000.25,
        last_seen_at=now - number % 1000,
        idle_timeout=86400.0,
        lifetime_ends_at=now + 7 * 86400,
        labels={"level": "admin", "score": 2.5, "address": "192.0.2.0/24"},
    )
    values = {f"key {key}": os.urandom(20 + number % 50) for key in range(number % 5)}
    return Record(info=info, secret_digest=os.urandom(32), values={**values, "ä": b"\x00\xff"})


class Places:
    """A place for each kind of store, and an application whose command carries sessions between them."""

    def __init__(self, folder: Path, request: pytest.FixtureRequest) -> None:
        self.folder = folder
        (folder / "app.py").write_text(APP)
        files = {"journal": f"journal:///{folder}/j/sessions.journal", "sqlite": f"sqlite:///{folder}/s/sessions.db"}
        servers = {"redis": "redis_server", "postgresql": "postgresql", "mariadb": "mariadb"}
        self.urls = files | {kind: request.getfixturevalue(name).url for kind, name in servers.items()}
        for kind in KINDS:
            self.empty(kind)

    def open(self, kind: str, *, reads: bool = False) -> Store:
        path, now = self.folder / "j" / "sessions.journal", system_clock()
        if kind in ("postgresql", "mariadb"):
            return SQLAlchemyStore.from_url(self.urls[kind], timeout=60)  # The machine may be busy.
        if kind != "journal":
            return open_store(self.urls[kind], folder=self.folder)
        return JournalCopy(path, now=now) if reads else JournalStore(path, now=now, max_sessions=None, max_bytes=None)

    def empty(self, kind: str) -> None:
        if kind in ("journal", "sqlite"):
            shutil.rmtree(self.folder / kind[0], ignore_errors=True)
            return
        with closing(self.open(kind)) as store:
            together, sids = chunked(store), [info.sid for info in store.find(now=0.0)]
            assert together is not None
            for at in range(0, len(sids), 500):
                together.delete_many(sids[at : at + 500])

    def fill(self, kind: str, count: int) -> None:
        with closing(self.open(kind)) as store:
            for number in range(count):
                store.create(a_record(number))

    def content(self, kind: str) -> dict[SessionId, tuple[object, ...]]:
        now = system_clock()
        with closing(self.open(kind, reads=True)) as store, ThreadPoolExecutor(4) as threads:
            sids = [info.sid for info in store.find(now=now)]
            records = list(threads.map(lambda sid: store.load(sid, now=now), sids))
        return {each.info.sid: (each.info, each.secret_digest, dict(each.values)) for each in records if each}

    def command(self, source: str, target: str) -> list[str]:
        start = [sys.executable, "-m", "flask", "--app", "app", "idlesession", "move"]
        return [*start, self.urls[source], self.urls[target]]

    def move(self, source: str, target: str) -> list[str]:
        """Carry all sessions; return what each call said. One that a busy machine breaks off is called again."""
        said = []
        for _ in range(5):
            ran = subprocess.run(self.command(source, target), cwd=self.folder, capture_output=True, text=True)
            said.append(ran.stdout or ran.stderr)
            if ran.returncode != STORE_AWAY:
                break
        assert ran.returncode == 0, ran.stderr
        return said

    def noted(self) -> int:
        """Return how many bytes the command has noted of what it carried."""
        return sum(path.stat().st_size for path in (self.folder / "instance").glob("idlesession-carried-*"))


@pytest.fixture
def places(tmp_path: Path, request: pytest.FixtureRequest) -> Places:
    return Places(tmp_path, request)


def tour(kinds: tuple[str, ...]) -> list[str]:
    """Return a tour that goes from each kind to each other one exactly once, and ends where it began."""
    left = {kind: [other for other in kinds if other != kind] for kind in kinds}
    path, stack = [], [kinds[0]]
    while stack:
        if left[stack[-1]]:
            stack.append(left[stack[-1]].pop())
        else:
            path.append(stack.pop())
    return path[::-1]


def test_a_tour_of_all_pairs_of_stores_logs_nobody_out_and_loses_no_key(
    places: Places, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = list(pairwise(tour(KINDS)))
    assert len(set(steps)) == len(steps) == 20
    places.fill(steps[0][0], SESSIONS)
    before = places.content(steps[0][0])
    assert len(before) == SESSIONS
    for source, target in steps:
        places.empty(target)
        began_at = time.monotonic()
        calls = places.move(source, target)
        took = time.monotonic() - began_at
        assert "Ended meanwhile: 0." in calls[-1], calls
        after = places.content(target)
        lost = before.keys() - after.keys()
        changed = [sid for sid in before.keys() & after.keys() if before[sid] != after[sid]]
        with capsys.disabled():
            print(
                f"{source} to {target}: {SESSIONS} in {took:.0f} s by {len(calls)} calls, "
                f"{len(lost)} lost, {len(changed)} changed",
                flush=True,
            )
        assert (len(after), lost, changed) == (SESSIONS, set(), [])


@pytest.mark.parametrize("target", KINDS)
def test_a_move_that_is_killed_again_and_again_loses_nothing(
    places: Places, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source = "redis" if target == "sqlite" else "sqlite"
    places.fill(source, KILLED_SESSIONS)
    before, command = places.content(source), places.command(source, target)
    kills = []
    for _ in range(KILLS):
        with subprocess.Popen(command, cwd=places.folder, stdout=subprocess.DEVNULL) as process:
            goes_on_to = places.noted() + random.randrange(1, 64 * KILLED_SESSIONS // KILLS)
            while places.noted() < goes_on_to and process.poll() is None:
                time.sleep(0.001)
            time.sleep(random.random() / 10)
            process.send_signal(signal.SIGKILL)
        kills.append(process.returncode)
        there = places.content(target) if target != "journal" or (places.folder / "j").exists() else {}
        assert there.items() <= before.items(), "Each session that is there is whole."
    told = places.move(source, target)[-1]
    assert places.content(target) == before and "Ended meanwhile: 0." in told
    assert f"Sessions carried: 0. Left as they were: {KILLED_SESSIONS}." in places.move(source, target)[-1]
    assert places.content(source) == before
    assert -signal.SIGKILL in kills
    with capsys.disabled():
        print(f"{source} to {target}: killed {kills.count(-signal.SIGKILL)} times; then: {told.strip()}", flush=True)
