"""Runs one application in several gunicorns on one store, and asks any worker of them by its process id."""

import http.client
import os
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import AbstractContextManager
from contextlib import closing
from contextlib import contextmanager
from contextlib import ExitStack
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from support.programs import need_packages
from support.redis_servers import one_server
from support.redis_servers import redis_program
from support.redis_servers import valkey_program
from support.servers import free_port
from support.servers import mariadb
from support.servers import postgresql

from flask_idlesession.stores import open_store
from flask_idlesession.stores.contract import Store

APP = """
import os
import time
from flask import Flask, request, session
from flask_idlesession import IdleSession, log_in, log_out, revoke_user

app = Flask(__name__)
app.config["SECRET_KEY"] = "of no use to anybody but a test, and long"
for name, value in os.environ.items():
    if name.startswith("IDLESESSION_"):
        read = {"IDLESESSION_STORE": str, "IDLESESSION_TALLIES": "True".__eq__}.get(name, float)
        app.config[name] = read(value)
IdleSession(app)

def pause():
    is_open = int("user" in session)
    time.sleep(float(request.args.get("pause", 0)))
    return f"{time.monotonic()} {is_open}"

@app.get("/pid")
def pid():
    return str(os.getpid())

@app.get("/in/<user>")
def enter(user):
    log_in(user)
    session["user"] = user
    return user

@app.get("/revoke/<user>")
def revoke(user):
    return str(revoke_user(user))

@app.get("/out")
def leave():
    pause()
    log_out()
    return "bye"

@app.get("/read")
def read():
    return pause()

@app.get("/write/<key>/<int:value>")
def write(key, value):
    told = pause()
    if told.endswith("1"):  # Who comes after the log-out would begin another session.
        session[key] = value
    return told

@app.get("/rotate")
def rotate():
    session.rotate()
    return pause()

@app.get("/show")
def show():
    return dict(session)
"""

_PASSIVE = {"X-IdleSession-Passive": "1"}


@dataclass(frozen=True)
class Kind:
    """A store, and how many workers each gunicorn has that shares it."""

    name: str
    gunicorns: tuple[int, ...] = (2, 2)
    server: Callable[[], AbstractContextManager[Any]] = nullcontext
    #: More options for each of the gunicorns, which count before the usual ones.
    options: tuple[tuple[str, ...], ...] = ()


def _redis(program: Callable[[], str]) -> Callable[[], AbstractContextManager[Any]]:
    # What it acknowledged is in a file, so that it is there again when it was killed.
    return lambda: one_server(program(), "--appendonly", "yes")


SQLITE = Kind("sqlite", gunicorns=(4,))
SERVERS = [
    Kind("redis", server=_redis(redis_program)),
    Kind("valkey", server=_redis(valkey_program)),
    Kind("postgresql", server=postgresql),
    Kind("mariadb", server=mariadb),
]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a worker answered; instants are of time.monotonic(), which all processes of a host share."""

    status: int
    body: str
    #: The Set-Cookie headers.
    cookies: list[str]
    sent_at: float
    answered_at: float

    @property
    def token(self) -> str:
        """The cookie that was set."""
        assert self.status == 200 and len(self.cookies) == 1, self
        return self.cookies[0].partition(";")[0]


class Worker:
    """One worker process, and connections that it has accepted: it keeps them open, so it is who answers."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.connections: queue.LifoQueue[http.client.HTTPConnection] = queue.LifoQueue()

    def ask(self, path: str, cookie: str = "", *, passive: bool = False) -> Answer:
        connection = self.connections.get(timeout=60)
        answer = send(connection, path, cookie, passive=passive)
        self.connections.put(connection)
        return answer


class Fleet:
    """Some gunicorns that serve the application; ``server`` is the store's, if it has one."""

    def __init__(self, kind: Kind, url: str, server: Any, folder: Path) -> None:
        self.count = sum(kind.gunicorns)
        self.url, self.server, self.folder = url, server, folder
        self.ports: list[int] = []
        self.workers: dict[int, Worker] = {}

    @property
    def log(self) -> str:
        return "\n".join(path.read_text() for path in self.folder.glob("log.*"))

    @contextmanager
    def open_store(self) -> Iterator[Store]:
        """Lend a store of the test's own, on what the workers share."""
        with closing(open_store(self.url, folder=self.folder)) as store:
            yield store

    def ask(self, port: int, path: str, cookie: str = "", *, passive: bool = False, timeout: float = 60.0) -> Answer:
        """Ask whichever worker of this gunicorn accepts a new connection."""
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)) as connection:
            return send(connection, path, cookie, passive=passive)

    def meet(self, *, connections: int) -> None:
        """Open so many connections to each worker."""
        for number in range(4000):
            port = self.ports[number % len(self.ports)]
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            pid = int(send(connection, "/pid").body)
            worker = self.workers.setdefault(pid, Worker(port))
            if worker.connections.qsize() < connections:
                worker.connections.put(connection)
            else:
                connection.close()
            if [each.connections.qsize() for each in self.workers.values()] == [connections] * self.count:
                return
        raise AssertionError(f"Of {self.count} workers {len(self.workers)} answered.")

    def close(self) -> None:
        for worker in self.workers.values():
            while not worker.connections.empty():
                worker.connections.get().close()


def send(connection: http.client.HTTPConnection, path: str, cookie: str = "", *, passive: bool = False) -> Answer:
    headers = {"Cookie": cookie} if cookie else {}
    sent_at = time.monotonic()
    connection.request("GET", path, headers=headers | (_PASSIVE if passive else {}))
    response = connection.getresponse()
    body = response.read().decode()
    cookies = response.headers.get_all("Set-Cookie") or []
    return Answer(response.status, body, cookies, sent_at, time.monotonic())


@contextmanager
def a_fleet(kind: Kind, folder: Path, **config: float) -> Iterator[Fleet]:
    """Serve the application on a new store; at the end each gunicorn must stop when told to."""
    need_packages("gunicorn")
    with ExitStack() as stack:
        server = stack.enter_context(kind.server())
        url = server.url if server is not None else f"sqlite:///{folder}/sessions.db"
        fleet = Fleet(kind, url.replace("redis:", "valkey:") if kind.name == "valkey" else url, server, folder)
        (folder / "served.py").write_text(APP)
        for workers, options in zip_longest(kind.gunicorns, kind.options, fillvalue=()):
            fleet.ports.append(stack.enter_context(_gunicorn(fleet, workers, options, config)))
        for port in fleet.ports:
            _wait_until_it_answers(fleet, port)
        stack.callback(fleet.close)
        yield fleet


@contextmanager
def _gunicorn(fleet: Fleet, workers: int, options: Sequence[str], config: dict[str, float]) -> Iterator[int]:
    port, root = free_port(), str(Path(__file__).parents[2])
    environment = {name: value for name, value in os.environ.items() if not name.startswith("IDLESESSION_")}
    environment |= {f"IDLESESSION_{name.upper()}": str(value) for name, value in config.items()}
    environment |= {"IDLESESSION_STORE": fleet.url, "PYTHONPATH": root}
    environment |= {"HOME": str(fleet.folder), "XDG_RUNTIME_DIR": str(fleet.folder)}
    command = [sys.executable, "-m", "gunicorn", "-b", f"127.0.0.1:{port}", "-k", "gthread", "--threads", "12"]
    command += ["-w", str(workers), "--keep-alive", "600", "--graceful-timeout", "5", *options, "served:app"]
    with (fleet.folder / f"log.{port}").open("wb") as log:
        process = subprocess.Popen(command, cwd=fleet.folder, env=environment, stdout=log, stderr=log)
    try:
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        finally:
            process.kill()
            process.wait(10)


def _wait_until_it_answers(fleet: Fleet, port: int) -> None:
    give_up_at = time.monotonic() + 60
    while True:
        try:
            fleet.ask(port, "/pid")
            return
        except OSError:
            assert time.monotonic() < give_up_at and "Shutting down" not in fleet.log, fleet.log
            time.sleep(0.05)
