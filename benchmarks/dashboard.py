"""Measures the dashboard beside many sessions: how soon it answers, and what that costs other requests.

    python -m benchmarks.dashboard [--sessions NUMBER] [--only STORE] [--seconds SECONDS]

One process serves both, as a worker with threads does: they share the interpreter lock. Requests that read their
session come at a fixed rate, in turns with and without an operator who looks at the dashboard.
"""

import argparse
import os
import threading
import time
from collections.abc import Callable
from collections.abc import Sequence
from typing import NamedTuple

from flask import Flask
from flask import session

from flask_idlesession import IdleSession
from flask_idlesession import log_in
from flask_idlesession import Store

from .apps import answer
from .apps import ask
from .apps import environ_of
from .report.tables import figure
from .report.tables import Table
from .tools.filling import Place
from .ways import close
from .ways import kinds
from .ways import open_store
from .ways import services
from .ways import STORES

#: Seconds without activity, and of life: nothing ends meanwhile.
_IDLE_TIMEOUT, _LIFETIME = 10 * 86400, 20 * 86400

#: Browsers that read their sessions, and the seconds between two of their requests.
_BROWSERS, _BEAT = 50, 0.01

#: Seconds between two looks of the operator, and how often both turns are taken.
_LOOKS_EACH, _TURNS = 5.0, 3

_PAGES = ("/session/dashboard", "/session/dashboard?hours=24", "/session/dashboard/sessions")
_SEARCHES = ("/session/dashboard/sessions?q=user17", "/session/dashboard/sessions?q=192.0.2.0/24")

#: The question that an open page asks again and again.
_POLL = {**environ_of(_PAGES[0]), "HTTP_ACCEPT": "application/json"}


class Seen(NamedTuple):
    """The figures of one store, in milliseconds."""

    kind: str
    #: The first page, and the slowest of later polls, pages and searches.
    first: float
    poll: float
    page: float
    search: float
    #: The 99th percentile of the other requests, without and with an operator.
    alone: float
    beside: float


def measure(*, sessions: int, only: str, seconds: float) -> list[Seen]:
    """Fill each store with this number of sessions, and look at it."""
    seen = []
    with services() as at:
        for number, kind in enumerate(kinds(at, only=only)):
            if kind not in STORES:
                continue
            place = Place(kind, at.folder, at.servers.get(STORES[kind]), number)
            store = open_store(kind, place.folder, place.url)
            app = _make_app(store)
            seen.append(_look(kind, app, place, store, sessions=sessions, seconds=seconds))
            close(app)
            store.close()
    return seen


def to_table(seen: Sequence[Seen], *, sessions: int) -> Table:
    """Return the figures as a table."""
    heads = ["", "first page", "polls", "pages", "searches", "p99 of others, alone", "beside", "more"]
    rows = [[each.kind, *map(figure, (*each[1:], each.beside - each.alone))] for each in seen]
    return Table(title=f"The dashboard beside {sessions:,} sessions, in milliseconds", heads=heads, rows=rows)


def _make_app(store: Store) -> Flask:
    app = Flask(f"{os.getpid()}.dashboard")
    app.secret_key = "a key of the benchmarks, 32 bytes"
    app.config.update(
        IDLESESSION_PAGES="/session", IDLESESSION_IDLE_TIMEOUT=_IDLE_TIMEOUT, IDLESESSION_LIFETIME=_LIFETIME
    )
    IdleSession(app, store=store, dashboard=lambda: True)

    @app.get("/start/<name>")
    def start(name: str) -> str:
        log_in(name)
        session["visits"] = 1
        return "started"

    @app.get("/read")
    def read() -> str:
        return str(session["visits"])

    return app


def _look(kind: str, app: Flask, place: Place, store: Store, *, sessions: int, seconds: float) -> Seen:
    environs = []
    for number in range(_BROWSERS):
        cookies: dict[str, str] = {}
        answer(app, f"/start/user{number}", cookies)
        environs.append(environ_of("/read", cookies))
    place.fill(store, sessions - _BROWSERS)
    first = _timed(lambda: answer(app, _PAGES[0], {}))
    polls, pages, searches, alone, beside = [], [], [], [], []
    for _ in range(_TURNS):
        alone += _requests(app, environs, seconds)
        looker = _Looker(app)
        beside += _requests(app, environs, seconds)
        polls += looker.stop()
        pages += _all_timed(app, _PAGES)
        searches += _all_timed(app, _SEARCHES)
    return Seen(kind, first, max(polls), max(pages), max(searches), _p99(alone), _p99(beside))


def _all_timed(app: Flask, paths: Sequence[str]) -> list[float]:
    return [_timed(lambda path=path: answer(app, path, {})) for path in paths]  # type: ignore[misc]


class _Looker:
    """An operator who has the dashboard open, in a thread."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._taken: list[float] = []
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> list[float]:
        """Look no more; return the milliseconds of each look."""
        self._is_over.set()
        self._thread.join()
        return self._taken

    def _run(self) -> None:
        while not self._is_over.is_set():
            self._taken.append(_timed(lambda: ask(self._app, [dict(_POLL)])))
            self._is_over.wait(_LOOKS_EACH)


def _requests(app: Flask, environs: Sequence[dict[str, object]], seconds: float) -> list[float]:
    """Ask at a fixed rate for some seconds; return the milliseconds of each request."""
    taken, began_at = [], time.perf_counter()
    for number in range(int(seconds / _BEAT)):
        time.sleep(max(began_at + number * _BEAT - time.perf_counter(), 0))
        taken.append(_timed(lambda number=number: ask(app, [environs[number % len(environs)]])))  # type: ignore[misc]
    return taken


def _timed(call: Callable[[], object]) -> float:
    began_at = time.perf_counter()
    call()
    return (time.perf_counter() - began_at) * 1e3


def _p99(taken: Sequence[float]) -> float:
    return sorted(taken)[int(len(taken) * 0.99)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sessions", type=int, default=1_000_000, help="how many sessions each store has")
    parser.add_argument("--only", default="", help="only the stores whose names have this in them")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each turn lasts")
    chosen = parser.parse_args(arguments)
    seen = measure(sessions=chosen.sessions, only=chosen.only, seconds=chosen.seconds)
    print(to_table(seen, sessions=chosen.sessions).to_rst())


if __name__ == "__main__":
    main()
