"""Under a real gunicorn each worker has a live cleaner of its own, however it came to be, and ends when told to."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.programs import need_packages
from support.servers import free_port

CLEANER = "flask_idlesession cleaner"

# What is served. A session ends after a moment; /state tells who forgot how many, without looking at a session.
APP = """
import os
import threading
from flask import Flask, session
from flask_idlesession import IdleSession, session_ended
from flask_idlesession.process.background import cleaner

app = Flask(__name__)
app.config.update(SECRET_KEY="k" * 32, IDLESESSION_IDLE_TIMEOUT=0.2, IDLESESSION_CLEANUP_INTERVAL=0.2)
IdleSession(app)
ended = {}

@session_ended.connect_via(app)
def note(sender, info, reason):
    by = (os.getpid(), threading.current_thread().name)
    ended[by] = ended.get(by, 0) + 1

@app.get("/begin")
def begin():
    session["a"] = 1
    return "ok"

@app.get("/again")
def again():
    session["n"] = session.get("n", 0) + 1
    return str(session["n"])

@app.get("/state")
def state():
    return {
        "pid": os.getpid(),
        "running": cleaner.is_running,
        "by_cleaner": ended.get((os.getpid(), "flask_idlesession cleaner"), 0),
        "left": len(app.extensions["idlesession"].manager.store),
    }
"""

# The master has opened a session, and so has the thread, before it forks.
USED = APP + 'app.test_client().get("/begin")\n'
PATCHED = "from gevent import monkey\nmonkey.patch_all()\n"


class Gunicorn:
    """A gunicorn that serves; ``log`` is what it has said so far."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int, log_file: Path) -> None:
        self.process, self.port, self.log_file = process, port, log_file

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def ask(self, path: str, cookie: str = "") -> tuple[str, str]:
        """Return the body, and the cookie that was set, or an empty string."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", path, headers={"Connection": "close"} | ({"Cookie": cookie} if cookie else {}))
            answer = connection.getresponse()
            body = answer.read().decode()
            assert answer.status == 200, (body, self.log)
            return body, (answer.getheader("Set-Cookie") or "").partition(";")[0]
        finally:
            connection.close()

    def states(self) -> dict[int, dict[str, Any]]:
        """Begin some sessions, and return what the workers that happened to be asked say of themselves."""
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(self.ask, ["/begin"] * 8))
            answers = [json.loads(body) for body, _ in pool.map(self.ask, ["/state"] * 8)]
        return {answer["pid"]: answer for answer in answers}

    def wait_for_live_cleaners(self, count: int) -> set[int]:
        """Wait until so many workers were seen whose own cleaner forgot a session; return their pids."""
        give_up_at = time.monotonic() + 60
        live: set[int] = set()
        seen: dict[int, dict[str, Any]] = {}
        while len(live) < count:
            assert time.monotonic() < give_up_at, (seen, self.log)
            seen |= self.states()
            live |= {pid for pid, state in seen.items() if state["running"] and state["by_cleaner"]}
            time.sleep(0.1)
        return live


@contextmanager
def gunicorn(folder: Path, code: str, *options: str) -> Iterator[Gunicorn]:
    """Serve ``code``; at the end, tell the server to stop, which it must do in time and without a complaint."""
    need_packages("gunicorn", "gevent")
    (folder / "served.py").write_text(code)
    root = str(Path(__file__).parents[2])
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "-b", f"127.0.0.1:{port}", "--graceful-timeout", "10", *options]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "served:app"],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": root, "HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    server = Gunicorn(process, port, folder / "log")
    try:
        wait_until_it_answers(server)
        yield server
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, server.log
    finally:
        process.kill()
        process.wait(30)
    for complaint in ("Traceback", "Exception ignored", "SIGKILL", "could not"):
        assert complaint not in server.log, server.log


def wait_until_it_answers(server: Gunicorn) -> None:
    give_up_at = time.monotonic() + 60
    while True:
        try:
            server.ask("/state")
            return
        except OSError:
            assert server.process.poll() is None and time.monotonic() < give_up_at, server.log
            time.sleep(0.05)


@pytest.mark.parametrize(
    ("worker", "code"),
    [
        pytest.param("sync", APP, id="sync, unused"),
        pytest.param("gthread", USED, id="gthread, used before the fork"),
        pytest.param("gevent", USED, id="gevent, used before the fork"),
        pytest.param("sync", USED, id="sync, used before the fork", marks=pytest.mark.soak),
        pytest.param("gthread", APP, id="gthread, unused", marks=pytest.mark.soak),
        pytest.param("gevent", APP, id="gevent, unused", marks=pytest.mark.soak),
    ],
)
def test_each_preloaded_worker_has_a_live_cleaner(tmp_path: Path, worker: str, code: str) -> None:
    options = ["--preload", "-w", "2", "-k", worker] + (["--threads", "4"] if worker == "gthread" else [])
    with gunicorn(tmp_path, code, *options) as server:
        assert len(server.wait_for_live_cleaners(2)) == 2


@pytest.mark.parametrize(
    "code", [pytest.param(APP, marks=pytest.mark.soak), USED], ids=["unused", "used before the fork"]
)
def test_each_worker_of_a_master_that_gevent_patched_has_a_live_cleaner(tmp_path: Path, code: str) -> None:
    with gunicorn(tmp_path, PATCHED + code, "--preload", "-w", "2", "-k", "gevent") as server:
        assert len(server.wait_for_live_cleaners(2)) == 2


@pytest.mark.parametrize("worker", ["gthread", "gevent"])
def test_a_worker_that_loads_the_application_itself_has_a_live_cleaner(tmp_path: Path, worker: str) -> None:
    with gunicorn(tmp_path, USED, "-w", "1", "-k", worker) as server:
        assert len(server.wait_for_live_cleaners(1)) == 1


@pytest.mark.parametrize("worker", ["gthread", pytest.param("gevent", marks=pytest.mark.soak)])
def test_a_worker_that_replaces_another_has_a_live_cleaner_too(tmp_path: Path, worker: str) -> None:
    with gunicorn(tmp_path, USED, "--preload", "-w", "1", "-k", worker, "--max-requests", "60") as server:
        assert len(server.wait_for_live_cleaners(3)) >= 3


@pytest.mark.parametrize("worker", ["gthread", "gevent"])
@pytest.mark.parametrize("rounds", [1, pytest.param(5, marks=pytest.mark.soak)])
def test_a_worker_forgets_every_session_although_nobody_asks_for_anything(
    tmp_path: Path, worker: str, rounds: int
) -> None:
    with gunicorn(tmp_path, USED, "--preload", "-w", "1", "-k", worker) as server:
        for _ in range(rounds):
            server.states()
            time.sleep(1.3)
            (body, _) = server.ask("/state")
            assert json.loads(body)["left"] == 0


@pytest.mark.parametrize("worker", ["gthread", "gevent"])
def test_a_server_stops_in_the_midst_of_requests(tmp_path: Path, worker: str) -> None:
    with gunicorn(tmp_path, USED, "--preload", "-w", "2", "-k", worker) as server, ThreadPoolExecutor(8) as pool:
        asked = pool.map(server.ask, ["/begin"] * 400)
        for _ in range(200):
            next(asked)
        started_at = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
        assert time.monotonic() - started_at < 20
        pool.shutdown(cancel_futures=True)


def test_simultaneous_first_requests_are_answered_by_a_gevent_worker_that_patches_after_the_load(
    tmp_path: Path,
) -> None:
    with gunicorn(tmp_path, APP, "--preload", "-w", "1", "-k", "gevent") as server, ThreadPoolExecutor(8) as pool:
        assert len(list(pool.map(server.ask, ["/begin"] * 8))) == 8


PATCHED_LATE = """
from flask import Flask, session
from flask_idlesession import extension, IdleSession

app = Flask("patched late")
app.config["SECRET_KEY"] = "of no use to anybody but a test, and long"
app.add_url_rule("/begin", view_func=lambda: session.update(a=1) or "begun", endpoint="begin")
IdleSession(app)

from gevent import monkey
monkey.patch_all()
import gevent, time

open_store = extension.open_store
extension.open_store = lambda *args, **how: (time.sleep(0.2), open_store(*args, **how))[1]
asked = [gevent.spawn(lambda: app.test_client().get("/begin").text) for _ in range(8)]
gevent.joinall(asked, timeout=20)
print(*[each.value for each in asked])
"""


def test_a_lock_from_before_gevent_patched_is_not_held_over_a_start(tmp_path: Path) -> None:
    """Older gunicorns load an application first with --preload, and gevent patches in the worker."""
    need_packages("gevent")
    command = [sys.executable, "-W", "ignore", "-c", PATCHED_LATE]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=40)
    assert done.stdout.split() == ["begun"] * 8, done.stderr
