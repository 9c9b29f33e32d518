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

#: The application, where each call of the store takes half a second, and a task that beats in the loop of the server.
BEATING = """
import asyncio, time
from flask_idlesession.stores.sqlite import SQLiteStore
from flask import session
from flask_idlesession import passive
from served import app
{adapter}

ROUND_TRIP = 0.5
for name in ("load", "commit"):
    def wait(self, *args, real=getattr(SQLiteStore, name), **named):
        time.sleep(ROUND_TRIP)
        return real(self, *args, **named)
    setattr(SQLiteStore, name, wait)

async def beat(gaps):
    before = time.monotonic()
    while True:
        await asyncio.sleep(0.001)
        now = time.monotonic()
        gaps.append(now - before)
        before = now

@app.get("/look")
@passive  # Others are read before the view begins.
async def look():
    gaps = []
    beating = asyncio.create_task(beat(gaps))
    await asyncio.sleep(0.01)
    session.get("count")
    await asyncio.sleep(0.01)
    session.get("modified")
    await asyncio.sleep(0.01)
    beating.cancel()
    return str(max(gaps))

adapted, gaps, tasks = asgi, [], []

async def asgi(scope, receive, send):
    if not tasks:
        tasks.append(asyncio.create_task(beat(gaps)))
    if scope["type"] != "http" or scope["path"] != "/gaps":
        return await adapted(scope, receive, send)
    await send({{"type": "http.response.start", "status": 200, "headers": []}})
    await send({{"type": "http.response.body", "body": f"{{len(gaps)}} {{max(gaps)}}".encode()}})
    gaps.clear()
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
def serving(folder: Path, way: str, *, adapted: str = ADAPTED) -> Iterator[Site]:
    packages, adapter, command = WAYS[way]
    need_packages("asgiref", *packages)
    (folder / "served.py").write_text(APP)
    (folder / "adapted.py").write_text(adapted.format(adapter=adapter))
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


@pytest.mark.parametrize("way", ["hypercorn and asgiref", "hypercorn and a2wsgi"])
def test_no_loop_stands_still_for_longer_than_a_round_trip_of_the_store(way: str, tmp_path: Path) -> None:
    with serving(tmp_path, way, adapted=BEATING) as site:
        site.ask("POST", "/enter")
        site.ask("GET", "/gaps")
        began_at = time.monotonic()
        with ThreadPoolExecutor(5) as pool:
            list(pool.map(lambda path: site.ask("POST", path), ["/modify"] * 5))
        assert time.monotonic() - began_at > 1.0, "The store is slow."
        beats, longest = map(float, site.ask("GET", "/gaps").split())
        assert beats > 50 and longest < 0.4, "The server's loop does not wait for the store."
        in_view = float(site.ask("GET", "/look"))
        assert 0.5 <= in_view < 0.9, "The view's own loop waits for one round trip, and for no second one."
