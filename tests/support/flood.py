"""A program: prints what a flood of sessions that end within one second costs an application's requests."""

import gc
import json
import sys
import threading
import time
from dataclasses import replace

from flask import Flask
from flask import session
from werkzeug.test import create_environ
from werkzeug.test import run_wsgi_app

from flask_idlesession import IdleSession
from flask_idlesession import Record
from flask_idlesession.process.background import cleaner

COUNT = int(sys.argv[1])

#: How far ahead the sessions end while they are created. Then the clock is set to just before that.
FAR = 1_000_000.0
shift = 0.0
slices = [0.0]


def clock() -> float:
    return time.monotonic() + shift


app = Flask("flood")
app.secret_key = "94fed95279ed54cecb4569e05ae099e8"
IdleSession(app, clock=clock)


@app.get("/")
def visit() -> str:
    session["visits"] = session.get("visits", 0) + 1
    return "Hello"


def ask(cookie: str) -> tuple[str, float]:
    """Return the cookie that the answer set, if any, and the seconds that it took."""
    environ = create_environ("/", headers={"Cookie": cookie})
    started_at = time.perf_counter()
    headers = run_wsgi_app(app.wsgi_app, environ)[2]
    return headers.get("Set-Cookie", "").partition(";")[0], time.perf_counter() - started_at


manager = app.extensions["idlesession"].manager
pruner, store = manager.lifecycle.pruner, manager.store
clean = pruner.run


here = threading.local()


def time_collection(phase: str, _: object) -> None:
    """Count what collections take of a thread's time: anybody's allocation may set one off, and a whole one takes
    longer than a slice."""
    here.collecting = getattr(here, "collecting", 0.0) + (1 if phase == "stop" else -1) * time.thread_time()


def thread_time() -> float:
    return time.thread_time() - getattr(here, "collecting", 0.0)


def timed_clean() -> float:
    started_at = thread_time()
    try:
        return clean()
    finally:
        slices.append(thread_time() - started_at)


gc.callbacks.append(time_collection)
pruner.run = timed_clean
begins_at = clock() + FAR
for number in range(COUNT):
    now = clock()
    info = replace(
        manager.policy.begin(now=now), idle_timeout=begins_at - now + number / COUNT, lifetime_ends_at=2 * begins_at
    )
    store.create(Record(info=info, secret_digest=b"h" * 32, values={"name": b"\xa3ada"}))

shift = begins_at - 0.5 - time.monotonic()
cookie, _ = ask("")
cleaner.wake(within=0.0)
waits, late = [], None
wall, cpu = time.perf_counter(), time.process_time()
while clock() < begins_at + (2.2 if late is None else 1.2) or late is None and clock() < begins_at + 8:
    waits.append(ask(cookie)[1])
    if late is None and len(store) == 1 and clock() > begins_at + 1:
        late = clock() - begins_at - 1
        share = (time.process_time() - cpu) / (time.perf_counter() - wall)
print(
    json.dumps(
        {
            "requests": len(waits),
            "longest_wait": max(waits),
            "longest_slice": max(slices),
            "passes": len(slices) - 1,
            "late": late,
            "share": 1.0 if late is None else min(share, 1.0),
        }
    )
)
