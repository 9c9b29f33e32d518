"""Measures how many sessions end: ten thousand of one user at once, and a million that expired before a start.

    python -m benchmarks.ends user
    python -m benchmarks.ends backlog [sqlite | sql] [--sessions NUMBER]

The first is timed with the audit log on. For the second a gunicorn of two workers starts on a database that holds the
backlog, and is asked for reads and writes until all is forgotten; then it is asked again as long as nothing is to do.
"""

import argparse
import http.client
import logging
import sys
import threading
import time
from collections.abc import Callable
from collections.abc import Sequence
from contextlib import AbstractContextManager
from contextlib import closing
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from typing import NamedTuple

from flask_idlesession import SessionManager
from flask_idlesession import Store
from flask_idlesession.stores.journal import JournalStore

from .apps import make_app_on
from .contenders import a_record
from .processes import processor_seconds
from .programs import a_folder
from .programs import gunicorn
from .programs import mariadb
from .programs import postgresql
from .programs import Server
from .report.tables import figure
from .report.tables import Table
from .tools.filling import Place
from .ways import JOURNAL
from .ways import MARIADB
from .ways import MEMORY
from .ways import open_store
from .ways import REDIS
from .ways import Services
from .ways import services
from .ways import SQL
from .ways import SQLITE
from .ways import STORES

_SESSIONS = 10_000
_ROUNDS = 2

#: The browsers that ask at the same time, and seconds from each one's answer to its next request.
_BROWSERS, _APART = 4, 0.02

#: Seconds of the load that nothing disturbs, and between two looks whether all is forgotten.
_CALM, _LOOK = 20.0, 0.5

_SERVERS: dict[str, Callable[[], AbstractContextManager[Server]]] = {SQL: postgresql, MARIADB: mariadb}

#: The sessions of a backlog have expired so long ago, each a little before the next.
_AGO, _BETWEEN = 3 * 3600.0, 0.05


def main(arguments: Sequence[str] | None = None) -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ends", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", choices=["user", "backlog"])
    parser.add_argument("server", nargs="?", choices=["sqlite", "sql", "mariadb"], default="sqlite")
    parser.add_argument("--sessions", type=int, default=1_000_000)
    options = parser.parse_args(arguments)
    if options.what == "user":
        print(_of_user().to_rst())
    else:
        kind = {"sqlite": SQLITE, "sql": SQL, "mariadb": MARIADB}[options.server]
        print(_of_backlog(kind, options.sessions).to_rst())


# Ten thousand sessions of one user.


def _of_user() -> Table:
    rows = []
    with services("redis", "sql", "mariadb") as at:
        for kind in (MEMORY, JOURNAL, SQLITE, REDIS, SQL, MARIADB):
            if kind in STORES and STORES[kind] and STORES[kind] not in at.servers:
                continue
            server = at.servers.get(STORES.get(kind, ""))
            taken = [revoke(_opened(kind, at, number), at.folder, server) for number in range(_ROUNDS)]
            rows.append([kind, *(figure(seconds) for seconds in map(max, zip(*taken, strict=True)))])
            print(*rows[-1], file=sys.stderr, flush=True)
    note = f"{_SESSIONS:,} sessions, the audit log written to a file; the longest of {_ROUNDS} runs."
    heads = ["revoke_user()", "seconds", "of the processor, here", "in the server"]
    return Table(title="The sessions of one user end", heads=heads, rows=rows, note=note)


def _opened(kind: str, at: Services, number: int) -> Store:
    folder = at.folder / f"{kind}{number}"
    folder.mkdir()
    if kind == JOURNAL:
        return JournalStore(folder / "sessions.journal", now=time.time())
    return open_store(kind, folder, at.url(STORES[kind]))


def revoke(store: Store, folder: Path, server: Server | None) -> tuple[float, float, float]:
    """Return the seconds in which all sessions of a user end, and those of processor time, here and in the server."""
    app = make_app_on(store, IDLESESSION_AUDIT=True)
    manager: SessionManager = app.extensions["idlesession"].manager
    logger, handler = logging.getLogger("flask_idlesession.audit"), logging.FileHandler(folder / "audit.log")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        now = manager.now()
        for number in range(_SESSIONS):
            store.create(a_record(number, user_id="ada", now=now))
        served = 0.0 if server is None else processor_seconds(server.pid)
        began, worked = time.perf_counter(), time.process_time()
        ended = manager.revoke_user("ada")
        took, worked = time.perf_counter() - began, time.process_time() - worked
        served = 0.0 if server is None else processor_seconds(server.pid) - served
    finally:
        logger.removeHandler(handler)
        handler.close()
        manager.close()
    if ended != _SESSIONS:
        raise RuntimeError(f"{ended} of {_SESSIONS} sessions were ended on {store!r}.")
    return took, worked, served


# A backlog at the start.


class Waits(NamedTuple):
    """How long browsers waited, in seconds: for pages that read their session, and for pages that wrote it."""

    reads: list[float]
    writes: list[float]


def serve(url: str) -> Any:
    """Return the application that a worker serves."""
    return make_app_on(IDLESESSION_STORE=url)


def _of_backlog(kind: str, sessions: int) -> Table:
    with ExitStack() as stack:
        folder = stack.enter_context(a_folder())
        server = stack.enter_context(_SERVERS[kind]()) if kind in _SERVERS else None
        place = Place(kind, folder, server, 0)
        url = _fill(place, kind, sessions)
        with gunicorn(f"benchmarks.ends:serve({url!r})", workers=2) as served:
            began = time.monotonic()
            during = _ask_until(served, lambda: place.is_over(now=time.time()))
            took = time.monotonic() - began
            ends_at = time.monotonic() + _CALM
            after = _ask_until(served, lambda: time.monotonic() >= ends_at)
    rows = [
        _row(f"{what}, {when}", waits)
        for when, found in (("while they are forgotten", during), ("afterwards", after))
        for what, waits in zip(("read", "write"), found, strict=True)
    ]
    note = (
        f"{sessions:,} sessions had expired when two workers started; they were forgotten within {took:.0f} s. "
        f"Milliseconds to the answer; {_BROWSERS} browsers, each {1000 * _APART:.0f} ms after its last answer."
    )
    return Table(title=f"A backlog, {kind}", heads=["", "half", "99 %", "longest", "answers"], rows=rows, note=note)


def _fill(place: Place, kind: str, sessions: int) -> str:
    """Put the backlog there; return the URL by which an application finds it."""
    with closing(open_store(kind, place.folder, place.url)) as store:
        then = time.time() - _AGO
        store.create(a_record(0, user_id="ada", now=then, idle_timeout=600.0))
        place.fill(store, sessions - 1, apart=min(_BETWEEN, _AGO / sessions))
    return place.url or f"sqlite:///{place.folder}/sessions.db"


def _ask_until(served: Server, is_done: Callable[[], bool]) -> Waits:
    """Have the browsers ask until it is done."""
    stop, waits = threading.Event(), Waits([], [])
    threads = [threading.Thread(target=_browse, args=(served, stop, waits)) for _ in range(_BROWSERS)]
    for thread in threads:
        thread.start()
    try:
        while not is_done() and all(thread.is_alive() for thread in threads):
            time.sleep(_LOOK)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    return waits


def _browse(served: Server, stop: threading.Event, waits: Waits) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)) as connection:
        cookie = _ask(connection, f"/start/300/{threading.get_native_id()}", "")
        while not stop.wait(_APART):
            for view, found in (("/read", waits.reads), ("/write", waits.writes)):
                began = time.perf_counter()
                _ask(connection, view, cookie)
                found.append(time.perf_counter() - began)


def _ask(connection: http.client.HTTPConnection, path: str, cookie: str) -> str:
    """Return the cookie that was set."""
    connection.request("GET", path, headers={"Cookie": cookie} if cookie else {})
    response = connection.getresponse()
    text = response.read().decode()
    if response.status != 200:
        raise RuntimeError(f"{path} was answered {response.status}: {text[:500]}")
    return (response.headers.get("Set-Cookie") or "").partition(";")[0]


def _row(name: str, waits: list[float]) -> list[str]:
    waits = sorted(waits)
    return [name, *(figure(1000 * waits[int(part * (len(waits) - 1))]) for part in (0.5, 0.99, 1.0)), f"{len(waits):,}"]


if __name__ == "__main__":
    main()
