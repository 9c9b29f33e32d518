"""Measures what a thousand and a million sessions cost: a request's processor time, room for each, and cleaning."""

import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from statistics import median
from typing import Any

from flask import Flask

from flask_idlesession import Store

from ..apps import answer
from ..apps import ask
from ..apps import Environ
from ..apps import environ_of
from ..apps import make_app
from ..apps import make_app_on
from ..report.plots import lines
from ..report.plots import Plot
from ..report.results import missing_note
from ..report.results import pick
from ..report.results import ratio
from ..report.results import Results
from ..report.results import Row
from ..report.results import values
from ..report.tables import figure
from ..report.tables import Table
from ..rounds import Cost
from ..rounds import interleave
from ..rounds import timed_with
from ..rounds import warm_up
from ..tools.filling import Place
from ..ways import close
from ..ways import FLOOR
from ..ways import kinds
from ..ways import open_store
from ..ways import services
from ..ways import STORES

SIZES = (1_000, 10_000, 100_000, 1_000_000)

_MICRO = 1e6
#: Seconds without activity, and of life: nothing ends before the cleaning is measured.
_IDLE_TIMEOUT, _LIFETIME = 10 * 86400, 20 * 86400
_FAR = 1e8
_AT_ONCE = 256
#: The number of heaps in which the sessions lie, with the browsers' between them.
_HEAPS = 10
#: Requests a second of sites, small and large.
_RATES = (10, 100, 1_000, 10_000, 100_000)
#: Cleaning is measured with no more.
_CLEANED = 100_000

#: The store and its number of sessions.
Name = tuple[str, int]
_FLOOR: Name = (FLOOR, 0)


def measure(*, quick: bool, only: str = "") -> Results:
    """Fill every store to each number of sessions, read in turns from all, then clean them."""
    rounds, calls, browsers, sizes = (3, 10, 20, SIZES[:2]) if quick else (31, 100, 1_000, SIZES)
    rows: list[Row] = []
    with services() as at, ExitStack() as stack:
        nothing = partial(ask, make_app(FLOOR), [environ_of("/ignore")] * calls)
        cells = {_FLOOR: partial(timed_with, nothing, calls=calls, pid=None)}
        stores = {}
        for kind in kinds(at, only=only):
            if kind not in STORES:
                continue
            server = at.servers.get(STORES[kind])
            for number, size in enumerate(sizes):
                place = Place(kind, at.folder, server, number)
                store = open_store(kind, place.folder, place.url)
                stack.callback(store.close)
                app = make_app_on(store, IDLESESSION_IDLE_TIMEOUT=_IDLE_TIMEOUT, IDLESESSION_LIFETIME=_LIFETIME)
                stack.callback(close, app)
                environs = _fill(place, store, app, size, browsers=browsers)
                rows.append({"kind": kind, "sessions": size, "bytes": place.room() / size})
                cells[kind, size] = partial(_read, app, environs, calls, server and server.pid)
                stores[kind, size] = store
        taken = interleave(warm_up(cells), rounds=rounds, reference=_FLOOR)
        for (kind, size), store in stores.items():
            if size <= _CLEANED:
                rows.append({"kind": kind, "cleaned": size, **_clean(store)})
    for row in rows:
        if "sessions" in row:
            row |= _costs(taken[row["kind"], row["sessions"]], taken[row["kind"], SIZES[0]], taken[_FLOOR])
    return {"rows": rows, "rounds": rounds, "calls": calls, "browsers": browsers, "missing": at.missing}


def _fill(place: Place, store: Store, app: Flask, size: int, *, browsers: int) -> list[Environ]:
    """Add sessions up to this number; return a request of each browser, whose sessions lie among them."""
    environs = []
    for heap in range(_HEAPS):
        for number in range(browsers // _HEAPS):
            cookies: dict[str, str] = {}
            answer(app, f"/start/1000/{number}", cookies)
            environs.append(environ_of("/read", cookies))
        others = (size - browsers) * (heap + 1) // _HEAPS - (size - browsers) * heap // _HEAPS
        if others:
            place.fill(store, others)
    return environs


def _read(app: Flask, environs: list[Environ], calls: int, pid: int | None) -> Cost:
    return timed_with(partial(ask, app, random.choices(environs, k=calls)), calls=calls, pid=pid)


def _costs(taken: list[Cost], fewest: list[Cost], floor: list[Cost]) -> dict[str, float]:
    row = {key: median(getattr(each, key) for each in taken) * _MICRO for key in Cost._fields}
    rounds = [*zip(taken, fewest, floor, strict=True)]
    row["cpu_over_none"] = median(mine.cpu - none.cpu for mine, _, none in rounds) * _MICRO
    row["of_fewest"] = median((mine.cpu + mine.server) / (few.cpu + few.server) for mine, few, _ in rounds)
    return row


def _clean(store: Store) -> dict[str, float]:
    """Return how many sessions a second are forgotten once all are over, and the longest step, in milliseconds."""
    now, forgotten, longest, began = time.time() + _FAR, 0, 0.0, time.perf_counter()
    while True:
        step = time.perf_counter()
        gone = store.prune(now=now, limit=_AT_ONCE)
        if not gone:
            return {"cleaned_per_second": forgotten / (time.perf_counter() - began), "longest_step": longest * 1e3}
        forgotten += len(gone)
        longest = max(longest, time.perf_counter() - step)


# Report.


def tables(results: Results) -> list[Table]:
    """Return what a read costs by the number of sessions, the room for each, and the cleaning."""
    stores, sizes = values(results, "kind"), values(results, "sessions")
    heads = ["sessions", *stores]

    def rows_of(show: Any, numbers: list[int]) -> list[list[str]]:
        return [[f"{size:,}", *(show(kind, size) for kind in stores)] for size in numbers]

    note = (
        f"Microseconds of processor time, the database server's in brackets, and of that with {SIZES[0]:,} sessions. "
        f"{results['browsers']:,} browsers take turns, whose sessions lie among the others. Medians of "
        f"{results['rounds']} rounds of {results['calls']} requests. {missing_note(results)}"
    )
    rooms = rows_of(lambda kind, size: figure(pick(results, "bytes", kind=kind, sessions=size)), sizes)
    cleaned = rows_of(lambda kind, size: _cleaning(results, kind, size), values(results, "cleaned"))
    return [
        Table(
            title="A request that reads one key, by the number of sessions",
            heads=heads,
            rows=rows_of(lambda kind, size: _cost(results, kind, size), sizes),
            note=note,
        ),
        Table(title="Bytes for each session of 1 KB, indexes included", heads=heads, rows=rooms),
        Table(
            title="Sessions that are forgotten in a second, once all are over",
            heads=heads,
            rows=cleaned,
            note=f"In brackets the longest step of at most {_AT_ONCE} sessions, in milliseconds.",
        ),
        _sizing(results, stores, sizes[-1]),
    ]


def _sizing(results: Results, stores: list[str], size: int) -> Table:
    """Return what a site needs, as it follows from the figures with the most sessions."""

    def found(kind: str, key: str) -> float:
        return pick(results, key, kind=kind, sessions=size) or 0.0

    def row(says: str, reckon: Callable[[str], float]) -> list[str]:
        return [says, *(figure(reckon(kind) or None) for kind in stores)]

    return Table(
        title="What a site needs for its sessions",
        heads=["", *stores],
        rows=[
            row("application's cores, for 1,000 requests a second", lambda kind: found(kind, "cpu_over_none") / 1e3),
            row("database server's cores, for the same", lambda kind: found(kind, "server") / 1e3),
            row("requests a second that fill one of these", lambda kind: ratio(1e6, found(kind, "server")) or 0.0),
            row("GB for 1,000,000 sessions of 1 KB", lambda kind: found(kind, "bytes") / 1e3),
        ],
        note=f"Each request reads one key and is activity; there are {size:,} sessions.",
    )


def _cost(results: Results, kind: str, size: int) -> str:
    cpu, server, share = (pick(results, key, kind=kind, sessions=size) for key in ("cpu", "server", "of_fewest"))
    return f"{figure(cpu)} ({figure(server)}) {figure(share)}" if server else f"{figure(cpu)} {figure(share)}"


def _cleaning(results: Results, kind: str, size: int) -> str:
    rate, longest = (pick(results, key, kind=kind, cleaned=size) for key in ("cleaned_per_second", "longest_step"))
    return f"{figure(rate)} ({figure(longest)})" if rate else ""


def _cores(results: Results, kind: str, size: int) -> float:
    """Return the cores that one request a second takes for its session."""
    spent = (pick(results, key, kind=kind, sessions=size) or 0.0 for key in ("cpu_over_none", "server"))
    return sum(spent) / _MICRO


def plots(results: Results) -> dict[str, Plot]:
    """Return what is plotted: the processor time of a read and the room, by the number of sessions."""
    stores, sizes = values(results, "kind"), values(results, "sessions")
    costs, rooms = (
        {kind: [pick(results, key, kind=kind, sessions=size) for size in sizes] for kind in stores}
        for key in ("of_fewest", "bytes")
    )
    return {
        "scale": lines(sizes, costs, title="A read, of one among 1,000 sessions", unit="share", x_unit="sessions"),
        "sizing": lines(
            _RATES,
            {kind: [rate * _cores(results, kind, sizes[-1]) for rate in _RATES] for kind in stores},
            title="Cores for sessions: the application's and the database server's",
            unit="cores",
            x_unit="requests in a second",
        ),
        "scale-room": lines(sizes, rooms, title="Room for a session of 1 KB", unit="bytes", x_unit="sessions"),
    }
