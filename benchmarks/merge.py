"""Measures what merging by key costs: against writing the whole record, and for requests that need no session.

    python benchmarks/merge.py [--before TREE]

Each pair is measured in one interleaved run, a batch of one and a batch of the other in turn, so that whatever
else the machine does meets both; what is printed is the ratio of the medians. TREE is a checkout of another
version of the package: the requests are then compared with that one, too.
"""

import argparse
import gc
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

_BATCHES = 60
_COMMITS = 400
_REQUESTS = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--before", type=Path, metavar="TREE", help="a checkout of another version")
    parser.add_argument("--serve", metavar="KIND", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    print("One key of so many is changed; nobody else writes. Time of a commit / time of a whole-record write:")
    for keys in (1, 5, 20, 100):
        compare_commits(keys)
    print("A view that has nothing to do with its session, asked by a browser that has one:")
    here = Path(__file__).resolve().parent.parent
    for kind in ("passive", "active"):
        compare_requests(f"{kind}, against Flask's own cookie session", (here, kind), (here, "cookie"))
    if options.before:
        for kind in ("passive", "active", "write"):
            compare_requests(f"{kind}, against {options.before}", (here, kind), (options.before, kind))


def interleave(one: Callable[[], float], other: Callable[[], float]) -> tuple[float, float]:
    """Return the medians of what both measured, in turn."""
    one(), other()
    pairs = [(one(), other()) if batch % 2 else (other(), one())[::-1] for batch in range(_BATCHES)]
    return statistics.median(pair[0] for pair in pairs), statistics.median(pair[1] for pair in pairs)


# Commits.


def compare_commits(keys: int) -> None:
    from flask_idlesession import Change
    from flask_idlesession import MemoryStore
    from flask_idlesession import Outcome
    from flask_idlesession import Record
    from flask_idlesession import SessionId
    from flask_idlesession import SessionManager
    from flask_idlesession.stores import memory

    class WholeRecord(MemoryStore):
        """What a store does that knows no delta: puts the record in the place of the one before."""

        def put(self, record: Record, *, holder: bytes, now: float) -> Outcome:
            with self._lock:
                shard = self._shards[record.info.sid.int % len(self._shards)]
                packed = shard[record.info.sid.int]
                before = memory._unpack(record.info.sid, packed)
                if not before.info.is_live(now) or not before.opens_to(holder, now=now):
                    return Outcome.GONE
                info = replace(before.info, last_seen_at=max(before.info.last_seen_at, now))
                shard[record.info.sid.int] = after = memory._pack(replace(record, info=info))
                self._bytes += len(after) - len(packed)
                return Outcome.DONE

    now = 1_700_000_000.0
    with SessionManager(WholeRecord(), clock=lambda: now) as manager:
        store = manager.store
        assert isinstance(store, WholeRecord)
        sid: SessionId = manager.create({f"key {number}": f"value {number} " * 4 for number in range(keys)})
        record = store.load(sid, now=now)
        assert record is not None
        values, holder = [manager.codec.encode(f"another value {number}") for number in range(2)], record.secret_digest

        def merge() -> None:
            for number in range(_COMMITS):
                change = Change(holder=holder, last_seen_at=now, delta={"key 0": values[number % 2]})
                assert store.commit(sid, change, now=now) is Outcome.DONE

        def put_whole() -> None:
            for number in range(_COMMITS):
                whole = replace(record, values={**record.values, "key 0": values[number % 2]})
                assert store.put(whole, holder=holder, now=now) is Outcome.DONE

        merged, whole = interleave(lambda: timed(merge), lambda: timed(put_whole))
    print(f"  {keys:4} keys: {merged / whole:.2f}  ({merged / _COMMITS * 1e6:.1f} µs, {whole / _COMMITS * 1e6:.1f} µs)")


def timed(fn: Callable[[], None]) -> float:
    gc.collect()
    gc.disable()
    try:
        began = time.perf_counter()
        fn()
        return time.perf_counter() - began
    finally:
        gc.enable()


# Requests: one process for each side, so that two versions of the package can be compared.


class Server:
    """A process that makes a batch of requests of an application when told to."""

    def __init__(self, tree: Path, kind: str) -> None:
        command = [sys.executable, str(Path(__file__).resolve()), "--serve", kind]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(tree)}
        )

    def batch(self) -> float:
        assert self._process.stdin is not None and self._process.stdout is not None
        print(file=self._process.stdin, flush=True)
        return float(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)


def compare_requests(title: str, one: tuple[Path, str], other: tuple[Path, str]) -> None:
    first, second = Server(*one), Server(*other)
    try:
        mine, theirs = interleave(first.batch, second.batch)
    finally:
        first.close()
        second.close()
    print(f"  {title}: {mine / theirs:.2f}  ({mine / _REQUESTS * 1e6:.0f} µs, {theirs / _REQUESTS * 1e6:.0f} µs)")


def serve(kind: str) -> None:
    from flask import Flask
    from flask import session
    from werkzeug.test import EnvironBuilder
    from werkzeug.test import run_wsgi_app

    app = Flask(__name__)
    app.secret_key = "k"
    if kind != "cookie":
        from flask_idlesession import IdleSession

        IdleSession(app)

    @app.get("/start")
    def start() -> str:
        session["a"] = 0
        return "ok"

    @app.get("/plain")
    def plain() -> str:
        return "ok"

    @app.get("/write")
    def write() -> str:
        session["a"] += 1
        return "ok"

    _, _, headers = run_wsgi_app(app, EnvironBuilder("/start").get_environ())
    more = {"Cookie": headers["Set-Cookie"].partition(";")[0]}
    if kind == "passive":
        more["X-IdleSession-Passive"] = "1"
    environ = EnvironBuilder("/write" if kind == "write" else "/plain", headers=more).get_environ()

    def ask() -> None:
        for _ in range(_REQUESTS):
            run_wsgi_app(app, dict(environ))

    for _ in sys.stdin:
        print(timed(ask), flush=True)


if __name__ == "__main__":
    main()
