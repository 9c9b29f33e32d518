"""Under a real gunicorn, fifty requests of one browser at once lose nothing: on every store there is."""

import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextlib import ExitStack
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path

import pytest
from support.programs import need_packages
from support.servers import free_port

_REQUESTS = 50
_SOAK_ROUNDS = 100

_APP = """
import os
from flask import Flask, session
from flask_idlesession import IdleSession, exclusive

app = Flask(__name__)
app.config.update({key: value for key, value in os.environ.items() if key.startswith("IDLESESSION_")})
app.config.update(SECRET_KEY="k" * 32)
IdleSession(app)

@app.get("/set/<key>")
def put(key):
    session[key] = 1
    return "ok"

@app.get("/modify")
def modify():
    return str(session.modify("count", lambda n: n + 1, default=0))

@app.get("/block")
def block():
    with session.exclusive(timeout=60):
        session["count"] = session.get("count", 0) + 1
    return "ok"

@app.get("/view")
@exclusive(timeout=60)
def view():
    session["count"] = session.get("count", 0) + 1
    return "ok"

@app.get("/show")
def show():
    return dict(session)
"""


_BY_URL = {"IDLESESSION_STORE": "{url}"}


@dataclass(frozen=True)
class Setting:
    """A store to run on: what the environment of the application says, with {folder} for a folder of its
    own, and {url} for where the server is that the fixture ``server`` starts.
    """

    name: str
    environment: dict[str, str] = field(default_factory=dict)
    workers: int = 1
    server: str = ""


#: Another store is one more line here.
SETTINGS = [
    Setting("memory"),
    Setting("sqlite", {"IDLESESSION_STORE": "sqlite:///{folder}/sessions.db"}),
    Setting("sqlite, two workers", {"IDLESESSION_STORE": "sqlite:///{folder}/sessions.db"}, workers=2),
    Setting("journal", {"IDLESESSION_JOURNAL": "{folder}/sessions.journal"}),
    Setting("redis, two workers", _BY_URL, 2, "redis_server"),
    Setting("valkey, two workers", _BY_URL, 2, "valkey_server"),
    Setting("postgresql, two workers", _BY_URL, 2, "postgresql"),
    Setting("mariadb, two workers", _BY_URL, 2, "mariadb"),
]

#: With two workers SQLite shows all that it shows with one, and Redis all that Valkey does; those are for a soak run.
SOAK_ONLY = ("sqlite", "valkey, two workers")
PLAIN_SETTINGS = [
    pytest.param(setting, id=setting.name, marks=[pytest.mark.soak] if setting.name in SOAK_ONLY else [])
    for setting in SETTINGS
]


@contextmanager
def gunicorn(setting: Setting, folder: Path, url: str) -> Iterator[int]:
    """Serve the application in so many workers of eight threads; yield the port."""
    need_packages("gunicorn")
    (folder / "served.py").write_text(_APP)
    port = free_port()
    root = str(Path(__file__).parents[2])
    environment = {key: value for key, value in os.environ.items() if not key.startswith("IDLESESSION_")}
    environment |= {key: value.format(folder=folder, url=url) for key, value in setting.environment.items()}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, environment.get("PYTHONPATH", "")]))
    environment |= {"HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)}  # Later releases put a socket there.
    command = [sys.executable, "-m", "gunicorn", "-b", f"127.0.0.1:{port}", "-k", "gthread", "--threads", "8"]
    command += ["-w", str(setting.workers), "--backlog", "256", "served:app"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        give_up_at = time.monotonic() + 30
        while True:
            try:
                ask(port, "/show")
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < give_up_at, (folder / "log").read_text()
                time.sleep(0.05)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def ask(port: int, path: str, cookie: str = "") -> tuple[int, str, str]:
    """Return the status, the body, and the cookie that was set, or an empty string."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path, headers={"Cookie": cookie} if cookie else {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), (answer.getheader("Set-Cookie") or "").partition(";")[0]
    finally:
        connection.close()


def fill(port: int, pool: ThreadPoolExecutor, paths: list[str]) -> str:
    """Start a session, ask for all the paths at the same time with its cookie, and return what it holds then."""
    _, _, cookie = ask(port, "/set/first")
    barrier = threading.Barrier(len(paths))

    def meet(path: str) -> tuple[int, str, str]:
        barrier.wait(60)
        return ask(port, path, cookie)

    answers = list(pool.map(meet, paths))
    assert {status for status, _, _ in answers} == {200}, answers
    assert {cookie for _, _, cookie in answers} == {""}, "no answer says anything of the cookie"
    return ask(port, "/show", cookie)[1]


@pytest.fixture
def url(request: pytest.FixtureRequest, setting: Setting) -> str:
    return str(request.getfixturevalue(setting.server).url) if setting.server else ""


def keep_everything(setting: Setting, folder: Path, url: str, rounds: int) -> None:
    with ExitStack() as stack:
        port = stack.enter_context(gunicorn(setting, folder, url))
        pool = stack.enter_context(ThreadPoolExecutor(_REQUESTS))
        for _ in range(rounds):
            held = fill(port, pool, [f"/set/key{number}" for number in range(_REQUESTS)])
            assert sum(f'"key{number}":1' in held for number in range(_REQUESTS)) == _REQUESTS, held
            for path in ("/modify", "/block", "/view"):
                held = fill(port, pool, [path] * _REQUESTS)
                assert f'"count":{_REQUESTS}' in held, (path, held)


@pytest.mark.parametrize("setting", PLAIN_SETTINGS)
def test_fifty_requests_at_once_keep_fifty_writes_and_count_to_fifty(
    setting: Setting, url: str, tmp_path: Path
) -> None:
    keep_everything(setting, tmp_path, url, 1)


@pytest.mark.soak
@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_fifty_requests_at_once_lose_nothing_a_hundred_times(setting: Setting, url: str, tmp_path: Path) -> None:
    keep_everything(setting, tmp_path, url, _SOAK_ROUNDS)
