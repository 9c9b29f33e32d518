"""Each WSGI server of the page on deploying serves the same sessions: counts are exact, ends are in time and final."""

import http.client
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from contextlib import contextmanager
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.documents import CHECKOUT
from support.programs import need_packages
from support.servers import free_port
from support.waiting import wait_until

APP = """
import os
from flask import Flask, session
from flask_idlesession import IdleSession, log_in, log_out

app = Flask(__name__)
app.config.update(SECRET_KEY=os.environ["SECRET_KEY"], IDLESESSION_STORE="sqlite:///sessions.db")
app.config.update(IDLESESSION_IDLE_TIMEOUT=6, IDLESESSION_CLEANUP_INTERVAL=1)
IdleSession(app)

@app.get("/in/<user>")
def enter(user):
    log_in(user)
    return user

@app.get("/add")
def add():
    return str(session.modify("n", lambda n: n + 1, default=0))

@app.get("/out")
def leave():
    log_out()
    return "bye"

@app.get("/show")
def show():
    return dict(session) | {"pid": os.getpid()}
"""

USERS, TIMES = 6, 10

_SOAK = pytest.mark.soak  # Other tests have gunicorn.


@dataclass(frozen=True)
class Kind:
    """A server: the package and the arguments that start it, and the signal by which it loads the application again."""

    name: str
    package: str
    command: tuple[str, ...]
    processes: int = 2
    reload: signal.Signals | None = signal.SIGHUP


_GUNICORN = (sys.executable, "-m", "gunicorn", "-b", "127.0.0.1:{port}", "-w", "2")
KINDS = [
    Kind("gunicorn with threads", "gunicorn", (*_GUNICORN, "--threads", "4", "served:app")),
    Kind("gunicorn that replaces workers", "gunicorn", (*_GUNICORN, "--max-requests", "20", "served:app")),
    Kind("gunicorn with gevent", "gevent", (*_GUNICORN, "-k", "gevent", "--preload", "served:app"), reload=None),
    Kind(
        "uWSGI",
        "pyuwsgi",
        (str(Path(sys.executable).with_name("uwsgi")), "--http-socket", "127.0.0.1:{port}", "--module", "served:app")
        + ("--master", "--processes", "2", "--threads", "4", "--enable-threads", "--die-on-term", "--need-app"),
        reload=None,  # The wheel's program looks for itself outside the virtual environment then.
    ),
    Kind(
        "waitress",
        "waitress",
        (sys.executable, "-m", "waitress", "--listen=127.0.0.1:{port}", "--threads=8", "served:app"),
        processes=1,
        reload=None,
    ),
    Kind(
        "Granian",
        "granian",
        (sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", "{port}")
        + ("--workers", "2", "--blocking-threads", "4", "served:app"),
    ),
]


class Served:
    """A server that answers on a port."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int, folder: Path) -> None:
        self.process, self.port, self.folder = process, port, folder

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def ask(self, path: str, cookie: str = "") -> tuple[str, str]:
        """Return the body, and the cookie that was set, or an empty string."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request("GET", path, headers={"Connection": "close"} | ({"Cookie": cookie} if cookie else {}))
            answer = connection.getresponse()
            body = answer.read().decode()
            assert answer.status == 200, (path, body, self.log)
            return body, (answer.getheader("Set-Cookie") or "").partition(";")[0]

    def is_up(self) -> bool:
        assert self.process.poll() is None, self.log
        try:
            return bool(self.ask("/show"))
        except (OSError, http.client.HTTPException):
            return False

    def pids(self, cookies: list[str]) -> set[int]:
        """Return the processes that answer when the users ask at once. A server that loads again may answer nobody."""
        with ThreadPoolExecutor(8) as pool, suppress(OSError, http.client.HTTPException):
            return {json.loads(body)["pid"] for body, _ in pool.map(self.ask, ["/show"] * 24, cookies * 4)}
        return set()


@pytest.fixture(
    params=[pytest.param(kind, id=kind.name, marks=_SOAK if "gunicorn" in kind.name else ()) for kind in KINDS]
)
def kind(request: pytest.FixtureRequest) -> Kind:
    kind: Kind = request.param
    need_packages(kind.package)
    return kind


@contextmanager
def serve(kind: Kind, folder: Path) -> Iterator[Served]:
    (folder / "served.py").write_text(APP)
    port = free_port()
    environment = {**os.environ, "SECRET_KEY": "7c0e5b0f0ff35dd8a1b0a6fd8f5a3a3f"}
    environment |= {"PYTHONPATH": f"{folder}:{CHECKOUT}", "HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [part.format(port=port) for part in kind.command],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    served = Served(process, port, folder)
    try:
        wait_until(served.is_up, f"{kind.name} answers")
        yield served
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    finally:
        process.kill()
        process.wait(30)
    assert "Traceback" not in served.log, served.log


def test_sessions_are_exact_last_through_a_reload_and_end(kind: Kind, tmp_path: Path) -> None:
    with serve(kind, tmp_path) as served:
        cookies = [served.ask(f"/in/user{number}")[1] for number in range(USERS)]
        with ThreadPoolExecutor(12) as pool:
            list(pool.map(lambda cookie: served.ask("/add", cookie), cookies * TIMES))
        counts = [json.loads(served.ask("/show", cookie)[0])["n"] for cookie in cookies]
        assert counts == [TIMES] * USERS
        if kind.processes > 1 and "replaces" not in kind.name:
            wait_until(lambda: len(served.pids(cookies)) > 1, "two processes have answered")
        if kind.reload is not None:
            before = served.pids(cookies)
            served.process.send_signal(kind.reload)
            wait_until(lambda: is_replaced(served.pids(cookies), before), "other processes answer")
        assert json.loads(served.ask("/show", cookies[0])[0])["n"] == TIMES
        assert served.ask("/out", cookies[0])[0] == "bye"
        assert set(json.loads(served.ask("/show", cookies[0])[0])) == {"pid"}
        wait_until(lambda: not kept(tmp_path), "the cleaner of some process has forgotten all, and nobody asked")


def is_replaced(now: set[int], before: set[int]) -> bool:
    return bool(now) and not now & before


def kept(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "instance" / "sessions.db")) as database:
        (count,) = database.execute("SELECT count(*) FROM session").fetchone()
    return int(count)
