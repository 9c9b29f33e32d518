"""The example's chat, as it is deployed: gunicorn with gevent, two processes, one Redis. Sockets end with sessions."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import build_opener
from urllib.request import HTTPCookieProcessor
from urllib.request import Request

import pytest
from support import redis_servers
from support.browsers import chromium
from support.browsers import PATIENCE
from support.programs import need_packages
from support.servers import free_port

from example_app import create_app
from flask_idlesession import revoke_user

CHECKOUT = Path(__file__).parents[2]
PASSWORDS = {"ada": "analytical engine", "grace": "nanosecond"}

KEY = "a93f1e5c7d2b486095c1d7e3f2a4b6c8"

#: Seconds without activity that end a session here.
IDLE = 4


class Process:
    """One gunicorn with one gevent worker."""

    def __init__(self, folder: Path, redis: str, *, idle: float) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        told = {"EXAMPLE_CHAT": "1", "EXAMPLE_REDIS": redis, "EXAMPLE_IDLE_TIMEOUT": str(idle)}
        command = [sys.executable, "-m", "gunicorn", "-k", "gevent", "-w", "1", "-b", f"127.0.0.1:{self.port}"]
        self.log = folder / f"{self.port}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, f"example_app:create_app({{'SECRET_KEY': '{KEY}'}})"],
                cwd=CHECKOUT,
                env={**os.environ, "PYTHONPATH": str(CHECKOUT), **told},
                stdout=log,
                stderr=log,
            )

    def wait(self) -> None:
        deadline = time.monotonic() + 30
        while True:
            try:
                build_opener().open(f"{self.url}/login", timeout=5).close()
                return
            except OSError:
                assert self.process.poll() is None and time.monotonic() < deadline, self.log.read_text()
                time.sleep(0.05)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)


class Browser:
    """A user's browser: its cookies are for all processes, for they are of one host."""

    def __init__(self, user: str, at: Process) -> None:
        self._opener = build_opener(HTTPCookieProcessor())
        self.at = at
        self.post("/login", user=user, password=PASSWORDS[user])

    def post(self, path: str, **fields: str) -> str:
        with self._opener.open(f"{self.at.url}{path}", urlencode(fields).encode(), timeout=10) as response:
            return str(response.read().decode())

    def is_logged_in(self) -> bool:
        """Look without counting as activity."""
        look = Request(f"{self.at.url}/chat/", headers={"X-IdleSession-Passive": "1"})
        with self._opener.open(look, timeout=10) as response:
            return bool(response.url == f"{self.at.url}/chat/")

    @property
    def cookie(self) -> str:
        processor = next(each for each in self._opener.handlers if isinstance(each, HTTPCookieProcessor))
        return "; ".join(f"{cookie.name}={cookie.value}" for cookie in processor.cookiejar)

    def socket(self, at: Process, transports: list[str]) -> Any:
        socketio = pytest.importorskip("socketio")
        client = socketio.Client(reconnection=False)
        client.told, client.ended_at = [], None
        client.on("session_ended", lambda told: client.told.append(told["reason"]))
        client.on("disconnect", lambda *_: setattr(client, "ended_at", time.monotonic()))
        client.connect(at.url, headers={"Cookie": self.cookie}, transports=transports, wait_timeout=10)
        return client


@contextmanager
def two_processes(folder: Path, redis: str, *, idle: float) -> Iterator[list[Process]]:
    with ExitStack() as stack:
        processes = [Process(folder, redis, idle=idle) for _ in range(2)]
        for process in processes:
            stack.callback(process.stop)
        for process in processes:
            process.wait()
        yield processes


@pytest.fixture(scope="module")
def redis() -> Iterator[str]:
    need_packages("flask_socketio", "socketio", "gevent", "gunicorn", "websocket", "simple_websocket")
    with redis_servers.one_server(redis_servers.redis_program()) as server:
        yield server.url


@pytest.fixture(scope="module")
def processes(redis: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Process]]:
    with two_processes(tmp_path_factory.mktemp("chat"), redis, idle=600) as processes:
        yield processes


def wait_for(clients: list[Any], *, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while any(client.ended_at is None for client in clients):
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_revoking_a_user_closes_their_sockets_on_both_processes_within_a_second(
    processes: list[Process], redis: str
) -> None:
    first, second = processes
    ada, elsewhere, grace = Browser("ada", first), Browser("ada", second), Browser("grace", second)
    hers = [ada.socket(at, ways) for at in processes for ways in (["websocket"], ["polling"])]
    hers += [elsewhere.socket(at, ["websocket"]) for at in processes]
    others = [grace.socket(at, ["websocket"]) for at in processes]
    operator = create_app({"SECRET_KEY": KEY, "IDLESESSION_STORE": redis})
    with operator.app_context():
        began_at = time.monotonic()
        assert revoke_user("ada") >= 2
    wait_for(hers)
    took = max(client.ended_at for client in hers) - began_at
    assert took < 1.0
    assert [client.told for client in hers] == [["revoked"]] * len(hers)
    assert all(client.connected for client in others)
    for client in others:
        client.disconnect()


def test_fifty_events_at_once_on_both_processes_count_exactly(processes: list[Process]) -> None:
    ada = Browser("ada", processes[0])
    clients = [ada.socket(processes[number % 2], ["websocket"]) for number in range(10)]
    with ThreadPoolExecutor(50) as pool:
        done = [pool.submit(client.call, "say", "hello", timeout=20) for client in clients for _ in range(5)]
        for each in done:
            each.result()
    assert [client.call("said so far") for client in clients] == [50] * 10
    for client in clients:
        client.disconnect()


def test_a_log_out_on_one_process_closes_the_socket_on_the_other(processes: list[Process]) -> None:
    ada = Browser("ada", processes[0])
    client = ada.socket(processes[1], ["websocket"])
    began_at = time.monotonic()
    ada.post("/logout")
    wait_for([client])
    assert client.ended_at - began_at < 1.0 and client.told == ["logged out"]


def test_an_idle_users_socket_does_not_keep_them_signed_in(redis: str, tmp_path: Path) -> None:
    with two_processes(tmp_path, redis, idle=IDLE) as processes:
        idle, busy = Browser("ada", processes[0]), Browser("grace", processes[0])
        began_at = time.monotonic()
        sleeping = idle.socket(processes[1], ["websocket"])
        typing = busy.socket(processes[1], ["websocket"])
        while time.monotonic() < began_at + IDLE - 1:
            assert sleeping.call("said so far") == 0
            typing.call("say", "still here")
            time.sleep(0.5)
        wait_for([sleeping])
        assert IDLE - 1 < sleeping.ended_at - began_at < IDLE + 1
        assert sleeping.told == ["idle"]
        assert typing.connected and not idle.is_logged_in() and busy.is_logged_in()
        typing.disconnect()


# The same by the page, in Chromium.

#: Writes to the console when the page says what became of its chat. The idle widget may lead away from the page soon.
WATCHER = """
new MutationObserver(() => console.log(`state ${Date.now()} ${document.getElementById("state").textContent}`))
  .observe(document.getElementById("state"), {childList: true});
"""

#: Notes when the server has admitted the page's socket.
GATE = """
window.admitted = new Promise(resolve => {
  window.WebSocket = class extends WebSocket {
    constructor(address) {
      super(address);
      this.addEventListener("message", ({data}) => data.startsWith("40") && resolve());
    }
  };
});
"""

#: Asks by the page's socket how much this session has said.
SAID_SO_FAR = """
() => new Promise(resolve => {
  socket.addEventListener("message", ({data}) => {
    if (data.startsWith("437")) resolve(JSON.parse(data.slice(3))[0]);
  });
  socket.send('427["said so far"]');
})
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def window(browser: Any) -> Iterator[Any]:
    window = browser.new_context(viewport={"width": 1000, "height": 700}, locale="en")
    window.set_default_timeout(PATIENCE * 1000)
    problems: list[str] = []
    window.on("weberror", lambda error: problems.append(str(error.error)))
    yield window
    window.close()
    assert not problems


def enter(window: Any, user: str, at: Process) -> None:
    page = window.new_page()
    page.goto(f"{at.url}/login")
    page.fill("[name=user]", user)
    page.fill("[name=password]", PASSWORDS[user])
    page.click("main button, form button")
    page.wait_for_url(f"{at.url}/**")
    page.close()


def closed(pages: list[Any], lines: list[str], *, reason: str) -> list[float]:
    """Wait until these pages have said that their chats are closed for this reason; return when each did."""
    deadline = time.monotonic() + PATIENCE
    while len(said := [line for line in lines if f"your session is over ({reason})" in line]) < len(pages):
        assert time.monotonic() < deadline, lines
        pages[0].wait_for_timeout(20)
    return [float(line.split()[1]) / 1000 for line in said]


def chat(window: Any, at: Process) -> Any:
    page = window.new_page()
    page.add_init_script(GATE)
    page.goto(f"{at.url}/chat/")
    page.evaluate(WATCHER)
    page.evaluate("() => admitted")
    return page


@pytest.fixture
def lines(window: Any) -> list[str]:
    """The lines of the console that tell of the chat's state."""
    lines: list[str] = []
    window.on("console", lambda message: lines.append(message.text) if message.text.startswith("state ") else None)
    return lines


def test_pages_on_both_processes_close_within_a_second_of_a_revocation(
    window: Any, lines: list[str], processes: list[Process], redis: str
) -> None:
    enter(window, "ada", processes[0])
    pages = [chat(window, at) for at in processes]
    operator = create_app({"SECRET_KEY": KEY, "IDLESESSION_STORE": redis})
    with operator.app_context():
        began_at = time.time()
        assert revoke_user("ada") >= 1
    assert max(closed(pages, lines, reason="revoked")) - began_at < 1.0
    for page, at in zip(pages, processes, strict=True):
        page.goto(f"{at.url}/chat/")
        assert "/login" in page.url


def test_fifty_messages_of_two_pages_at_once_are_shown_on_both_and_counted_exactly(
    window: Any, processes: list[Process]
) -> None:
    enter(window, "ada", processes[0])
    pages = [chat(window, at) for at in processes]
    for number, page in enumerate(pages):
        page.evaluate(
            """number => { for (let n = 0; n < 25; n++)
                socket.send("42" + JSON.stringify(["say", `message ${number}.${n}`])); }""",
            number,
        )
    for page in pages:
        page.locator("#said li").nth(49).wait_for()
        assert page.locator("#said li").count() == 50
        assert page.evaluate(SAID_SO_FAR) == 50


def test_a_page_that_is_only_read_does_not_keep_its_user_signed_in(
    window: Any, lines: list[str], redis: str, tmp_path: Path
) -> None:
    with two_processes(tmp_path, redis, idle=IDLE) as processes:
        enter(window, "ada", processes[0])
        window.route("**/session/**", lambda route: route.abort())  # The idle widget would lead away from the page.
        pages = [chat(window, at) for at in processes]
        opened_at = max(page.evaluate("performance.timeOrigin") for page in pages) / 1000
        for closed_at in closed(pages, lines, reason="idle"):
            assert IDLE < closed_at - opened_at < IDLE + 2
        pages[0].goto(f"{processes[1].url}/chat/")
        assert "/login" in pages[0].url
