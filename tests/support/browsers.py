"""Starts browsers for tests, and serves an application to them from a thread of the test's own process."""

import json
import logging
import os
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from support.programs import find_program
from support.programs import need_packages
from werkzeug.serving import make_server

CHROMIUM_OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

#: Seconds that anything in a browser may take on a busy machine.
PATIENCE = 20.0


def wait_for(is_so: Callable[[], bool]) -> None:
    """Wait until it is so."""
    give_up_at = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < give_up_at
        time.sleep(0.02)


@contextmanager
def served(app: Flask) -> Iterator[str]:
    """Serve the application on a free port of 127.0.0.1; yield its address."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    server.daemon_threads = True  # A browser keeps connections open.
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join(PATIENCE)
        server.server_close()


@contextmanager
def chromium() -> Iterator[Any]:
    """Run Debian's Chromium by Playwright."""
    need_packages("playwright")
    program = find_program("chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=CHROMIUM_OPTIONS)
        yield browser
        browser.close()


class Socket:
    """Commands and events of a browser over one WebSocket: Chromium's DevTools Protocol, and WebDriver BiDi."""

    def __init__(self, url: str) -> None:
        from websockets.sync.client import connect

        self._open = ExitStack()
        self._connection = self._open.enter_context(
            connect(url, max_size=None, compression=None, open_timeout=PATIENCE)
        )
        self._number = 0
        self.events: list[dict[str, Any]] = []

    def close(self) -> None:
        self._open.close()

    def send(self, method: str, params: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        """Send a command; return its result. Events that come meanwhile are kept."""
        self._number += 1
        self._connection.send(json.dumps({"id": self._number, "method": method, "params": params or {}, **more}))
        while True:
            message = json.loads(self._connection.recv(timeout=PATIENCE))
            if message.get("id") == self._number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message}")
                return dict(message["result"])
            self.events.append(message)


@contextmanager
def raw_chromium() -> Iterator[Socket]:
    """Run Chromium and speak its DevTools Protocol: Playwright never hides a page, and so none is ever frozen."""
    need_packages("websockets")
    program = find_program("chromium")
    options = [*CHROMIUM_OPTIONS, "--headless=new", "--remote-debugging-port=0", "about:blank"]
    with _profile() as folder, _process([program, *options, f"--user-data-dir={folder}"]):
        port = _until(lambda: (folder / "DevToolsActivePort").read_text().split()[0])
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/version", timeout=PATIENCE) as answer:
            socket = Socket(json.load(answer)["webSocketDebuggerUrl"])
        try:
            yield socket
        finally:
            socket.close()


@contextmanager
def firefox(**preferences: object) -> Iterator[Socket]:
    """Run Firefox, and speak WebDriver BiDi with it."""
    need_packages("websockets")
    program = find_program("firefox")
    with _profile() as folder:
        lines = [f'user_pref("{name}", {json.dumps(value)});\n' for name, value in (_QUIET | preferences).items()]
        (folder / "user.js").write_text("".join(lines))
        command = [program, "--headless", "--no-remote", "--profile", str(folder), "--remote-debugging-port", "0"]
        with _process(command, HOME=str(folder)):
            found = _until(lambda: json.loads((folder / "WebDriverBiDiServer.json").read_text()))
            socket = Socket(f"ws://{found['ws_host']}:{found['ws_port']}/session")
            try:
                socket.send("session.new", {"capabilities": {}})
                yield socket
            finally:
                socket.close()


#: What Firefox does by itself when it starts, and would ask the network for.
_QUIET: dict[str, object] = {
    "app.update.disabledForTesting": True,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.page": 0,
    "datareporting.policy.dataSubmissionEnabled": False,
    "extensions.update.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "",
    "toolkit.telemetry.reportingpolicy.firstRun": False,
}


@contextmanager
def _profile() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="idle-browser-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@contextmanager
def _process(command: list[str], **environment: str) -> Iterator[None]:
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, **environment},
    )  # fmt: skip
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _until(look: Any) -> Any:
    """Return what the browser has written down, as soon as it has."""
    give_up_at = time.monotonic() + 2 * PATIENCE
    while True:
        try:
            return look()
        except (OSError, ValueError, IndexError):
            if time.monotonic() > give_up_at:
                pytest.fail("The browser did not start.")
            time.sleep(0.05)
