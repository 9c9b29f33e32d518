"""The quickstart, typed as it stands, on a real server: the commands of the page, with what they say to look at."""

import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookiejar import CookieJar
from pathlib import Path

from support.documents import blocks_of
from support.documents import CHECKOUT
from support.servers import free_port

BLOCKS = list(blocks_of((CHECKOUT / "docs/quickstart.rst").read_text(encoding="utf-8")))
COMMANDS = [command for block in BLOCKS if block.kind == "console" for command in block.code.splitlines()]


@contextmanager
def running(folder: Path, command: str) -> Iterator[str]:
    """Type a command into a shell in which the page's key was made, on a port that is free."""
    (export,) = (each.removeprefix("$ ") for each in COMMANDS if "export FLASK_SECRET_KEY=" in each)
    port = free_port()
    script = f"{export.replace('python', sys.executable)}; {command.removeprefix('$ ')} --port {port}"
    script = script.replace("flask run", f"exec {sys.executable} -m flask run")
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(["sh", "-c", script], cwd=folder, stdout=log, stderr=log, env={**os.environ})
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait(30)


def read(url: str, browser: urllib.request.OpenerDirector) -> str:
    give_up_at = time.monotonic() + 30
    while True:
        try:
            with browser.open(url, timeout=10) as answer:
                return str(answer.read().decode())
        except urllib.error.URLError:
            assert time.monotonic() < give_up_at
            time.sleep(0.1)


def test_the_quickstart_counts_and_a_short_idle_timeout_ends_it(tmp_path: Path) -> None:
    (block,) = (block for block in BLOCKS if block.caption == "app.py")
    (tmp_path / "app.py").write_text(block.code)
    plain, short = (command for command in COMMANDS if command.endswith("flask run"))
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
    with running(tmp_path, plain) as url:
        assert [read(url, browser) for _ in range(2)] == ["visit 1", "visit 2"]
    assert re.search(r"IDLE_TIMEOUT=10 ", short)
    with running(tmp_path, short.replace("=10 ", "=1 ")) as url:
        assert [read(url, browser) for _ in range(2)] == ["visit 1", "visit 2"]
        time.sleep(1.1)
        assert read(url, browser) == "visit 1"
