"""ASGI servers with an adapter, and Granian: sessions are right under each, also in streams and async views."""

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.programs import need_packages
from support.servers import free_port

APP = """
import asyncio
from flask import Flask, Response, session, stream_with_context
from flask_idlesession import IdleSession, current_user_id, log_in, log_out, passive

app = Flask(__name__)
app.config.update(
    SECRET_KEY="2c1f0fd0a3c3ff60e8a8a9d7b0c1d5f1",
    IDLESESSION_STORE="sqlite:///sessions.db",
    IDLESESSION_IDLE_TIMEOUT=2,
)
IdleSession(app)

@app.post("/enter")
def enter():
    log_in("ada")
    return ""

@app.post("/leave")
async def leave():
    log_out()
    return ""

@app.post("/count")
async def count():
    async with session.exclusive(timeout=30):
        before = session.get("count", 0)
        await asyncio.sleep(0)
        session["count"] = before + 1
    return ""

@app.post("/modify")
def modify():
    session.modify("modified", lambda count: count + 1, default=0)
    return ""

@app.get("/stream")
def stream():
    def chunks():
        session["streamed"] = 1
        yield "."
        session["list"] = [1]
        session["list"].append(2)
        yield "."
    return Response(stream_with_context(chunks()))

@app.get("/all")
@passive
async def show():
    return {"user": current_user_id(), **session}
"""

ADAPTED = """
from served import app
{adapter}
"""

ASGIREF = "from asgiref.wsgi import WsgiToAsgi\nasgi = WsgiToAsgi(app)"
A2WSGI = "from a2wsgi import WSGIMiddleware\nasgi = WSGIMiddleware(app)"

#: The packages that each way needs, what is served, and how.
WAYS = {
    "hypercorn and asgiref": (["hypercorn", "asgiref"], ASGIREF, ["hypercorn", "adapted:asgi", "-b", "127.0.0.1:{}"]),
    "hypercorn and a2wsgi": (["hypercorn", "a2wsgi"], A2WSGI, ["hypercorn", "adapted:asgi", "-b", "127.0.0.1:{}"]),
    "hypercorn alone": (["hypercorn"], "", ["hypercorn", "wsgi:served:app", "-b", "127.0.0.1:{}"]),
    "granian": (
        ["granian"],
        "",
        ["granian", "--interface", "wsgi", "--workers", "2", "--blocking-threads", "8", "--port", "{}", "served:app"],
    ),
}


class Site:
    def __init__(self, port: int) -> None:
        self.port = port
        self.cookie = ""

    def ask(self, method: str, path: str) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, headers={"Cookie": self.cookie})
            answer = connection.getresponse()
            body = answer.read()
            assert answer.status == 200, body
            if told := answer.getheader("Set-Cookie"):
                self.cookie = told.partition(";")[0]
            return body
        finally:
            connection.close()


@contextmanager
def serving(folder: Path, way: str) -> Iterator[Site]:
    packages, adapter, command = WAYS[way]
    need_packages("asgiref", *packages)
    (folder / "served.py").write_text(APP)
    (folder / "adapted.py").write_text(ADAPTED.format(adapter=adapter))
    port = free_port()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *(word.format(port) for word in command)],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
            stdout=log,
            stderr=log,
        )
    try:
        site = Site(port)
        deadline = time.monotonic() + 30
        while True:
            try:
                site.ask("GET", "/all")
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.05)
        yield site
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


@pytest.mark.parametrize("way", WAYS)
def test_sessions_are_right(way: str, tmp_path: Path) -> None:
    with serving(tmp_path, way) as site:
        site.ask("POST", "/enter")
        with ThreadPoolExecutor(10) as pool:
            list(pool.map(lambda path: site.ask("POST", path), ["/count", "/modify"] * 15))
        assert site.ask("GET", "/stream") == b".."
        told = site.ask("GET", "/all")
        assert told == b'{"count":15,"list":[1,2],"modified":15,"streamed":1,"user":"ada"}\n'
        time.sleep(2.2)
        assert site.ask("GET", "/all") == b'{"user":null}\n', "The passive look kept nothing alive."
        site.ask("POST", "/enter")
        site.ask("POST", "/leave")
        assert site.ask("GET", "/all") == b'{"user":null}\n'
