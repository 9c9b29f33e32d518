"""Measures pauses: a request's longest wait while half of a million sessions end, inserts, and the collector."""

import gc
import random
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from itertools import cycle
from statistics import median
from typing import Any

from flask import Flask

from flask_idlesession import MemoryStore

from ..apps import ask
from ..apps import browser
from ..apps import environ_of
from ..apps import make_app
from ..apps import make_app_on
from ..contenders import a_record
from ..contenders import CACHETOOLS
from ..contenders import cachetools
from ..contenders import Contender
from ..contenders import DICT
from ..contenders import DictUnderLock
from ..contenders import MEMORY
from ..contenders import NOW
from ..contenders import Ours
from ..contenders import SIMPLE_CACHE
from ..contenders import simple_cache
from ..fresh import in_fresh_process
from ..report.plots import bars
from ..report.plots import Plot
from ..report.results import pick
from ..report.results import Results
from ..report.results import Row
from ..report.tables import figure
from ..report.tables import Table
from ..ways import FLOOR

ENDS, STAYS, SCAN = "ours, half of them end", "ours, none ends", "dict, half end, one full scan"

#: Seconds after each answer until the reader asks again.
_APART = 0.005
#: Seconds from the start of the reader until half of the sessions end.
_BEFORE = 1.0
_BROWSERS = 20
_PATIENCE = 6
_COLLECTIONS = 5


def measure(*, quick: bool) -> Results:
    """Measure each in processes of its own, in random order."""
    sessions, seconds, rounds = (20_000, 0.5, 1) if quick else (1_000_000, 10.0, 3)
    waits: dict[str, list[Row]] = {mode: [] for mode in (ENDS, STAYS, SCAN)}
    grown: dict[str, list[Row]] = {name: [] for name in _OPENERS}
    for _ in range(rounds):
        for name in random.sample([*waits, *grown], len(waits) + len(grown)):
            if name in waits:
                waits[name].append(in_fresh_process(longest_wait, name, sessions=sessions, seconds=seconds))
            else:
                grown[name].append(in_fresh_process(grow, name, sessions=sessions))
    rows = [{"waits": mode, **_medians(found)} for mode, found in waits.items()]
    rows += [{"grows": name, **_medians(found)} for name, found in grown.items()]
    return {"rows": rows, "rounds": rounds, "sessions": sessions, "seconds": seconds}


def _medians(found: list[Row]) -> Row:
    return {key: median(row[key] for row in found) for key in found[0]}


# A reader's wait.


def longest_wait(mode: str, *, sessions: int, seconds: float) -> Row:
    """Return how long, in milliseconds, a request waited at most in ``seconds`` from when half have ended."""
    request, left = _scan(sessions) if mode == SCAN else _ours(sessions, ends=mode == ENDS)
    remain = sessions if mode == STAYS else sessions - sessions // 2
    waits = sorted(_waits(request, seconds=_BEFORE + seconds, is_done=lambda: left() <= remain))
    return {"longest": 1000 * waits[-1], "usual": 1000 * median(waits), "left": left()}


def _waits(request: Callable[[], object], *, seconds: float, is_done: Callable[[], bool]) -> Iterator[float]:
    """Yield each request's wait, from when it was due: to be woken late, because others are busy, is to wait, too.

    For ``seconds``, and longer where not all is forgotten by then.
    """
    began = time.perf_counter()
    while True:
        due = time.perf_counter() + _APART
        if due > began + seconds and (is_done() or due > began + _PATIENCE * seconds):
            return
        time.sleep(_APART)
        request()
        yield time.perf_counter() - due


class HeldClock:
    """A clock that stands still until it is told to run."""

    def __init__(self) -> None:
        self._since: float | None = None

    def __call__(self) -> float:
        """Return the time: seconds."""
        return NOW + (0.0 if self._since is None else time.monotonic() - self._since)

    def run(self) -> None:
        """Let the clock run from now on."""
        self._since = time.monotonic()


def _ours(sessions: int, *, ends: bool) -> tuple[Callable[[], object], Callable[[], int]]:
    """Return a request of an application with this many sessions, of which half are about to end, and what tells how
    many there are.
    """
    clock, store = HeldClock(), MemoryStore(max_sessions=None, max_bytes=None)
    app = make_app_on(store, clock=clock)
    for number in range(sessions):
        store.create(a_record(number, lifetime=_BEFORE if ends and number % 2 else 86400.0))
    request = _requests(app)  # Also, the cleaner learns when the first of all ends as one comes by the manager.
    clock.run()
    return request, lambda: len(store) - _BROWSERS


def _requests(app: Flask) -> Callable[[], object]:
    environs = cycle([environ_of("/read", browser(app, size=1_000, number=number)) for number in range(_BROWSERS)])
    return lambda: ask(app, [next(environs)])


def _scan(sessions: int) -> tuple[Callable[[], object], Callable[[], int]]:
    """Return the same of an application that keeps its sessions in a dict, of which another thread forgets half."""
    table, app = DictUnderLock(), make_app(FLOOR)
    made = [table.made(number) for number in range(sessions)]
    for each in made:
        table.create(each)
    random.shuffle(made)
    sids = [sid for sid, _ in made]
    half = sessions // 2
    table.expire(sids[half:])
    environ, mine = environ_of("/ignore"), cycle(sids[:_BROWSERS])
    threading.Timer(_BEFORE, table.scan).start()

    def request() -> None:
        table.load(next(mine))
        ask(app, [environ])

    return request, lambda: len(table)


# Growth, and the collector.


def grow(name: str, *, sessions: int) -> Row:
    """Return the longest creation, and by how much the collector takes longer then, in milliseconds."""
    contender = _OPENERS[name]()
    before = _collection()
    longest_cpu = longest_wall = 0
    for number in range(sessions):
        made = a_record(number) if isinstance(contender, Ours) else contender.made(number)
        wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
        contender.create(made)
        cpu, wall = time.thread_time_ns() - cpu, time.perf_counter_ns() - wall
        longest_cpu, longest_wall = max(longest_cpu, cpu), max(longest_wall, wall)
    return {"cpu": longest_cpu / 1e6, "wall": longest_wall / 1e6, "gc": _collection() - before}


_OPENERS: dict[str, Callable[[], Contender]] = {
    MEMORY: lambda: Ours(MemoryStore()),
    DICT: DictUnderLock,
    SIMPLE_CACHE: simple_cache,
    CACHETOOLS: cachetools,
}


def _collection() -> float:
    """Return the milliseconds that a full collection takes."""
    times = []
    for _ in range(_COLLECTIONS):
        began = time.process_time()
        gc.collect()
        times.append(time.process_time() - began)
    return 1000 * median(times)


# Report.


def tables(results: Results) -> list[Table]:
    """Return the waits, and what growing cost."""
    waits = [
        [row["waits"], figure(row["longest"]), figure(row["usual"]), f"{row['left']:,.0f}"]
        for row in results["rows"]
        if "waits" in row
    ]
    grown = [
        [row["grows"], figure(row["cpu"]), figure(row["wall"]), figure(row["gc"])]
        for row in results["rows"]
        if "grows" in row
    ]
    count = f"{results['sessions']:,}"
    note = (
        f"Milliseconds to an answer from when the request was due, {1000 * _APART:.0f} ms after the one before, in the "
        f"{results['seconds']:g} s (or until all are forgotten) from when half of {count} sessions end. "
        f"Medians of {results['rounds']} runs."
    )
    more = (
        f"Milliseconds; the longest of {count}, on the processor and on the wall. Medians of {results['rounds']} runs."
    )
    return [
        Table(
            title="A reader while half of the sessions end",
            heads=["", "longest wait", "usual", "sessions left"],
            rows=waits,
            note=note,
        ),
        Table(
            title="Growing", heads=["", "longest creation", "on the wall", "gc.collect() more"], rows=grown, note=more
        ),
    ]


def plots(results: Results) -> dict[str, Plot]:
    """Return what is plotted: the longest waits, creations and collections."""
    modes = [row["waits"] for row in results["rows"] if "waits" in row]
    names = [row["grows"] for row in results["rows"] if "grows" in row]
    longest = {"longest wait": [pick(results, "longest", waits=mode) for mode in modes]}
    grown: dict[str, list[Any]] = {
        "longest creation": [pick(results, "cpu", grows=name) for name in names],
        "gc.collect() more": [pick(results, "gc", grows=name) for name in names],
    }
    return {
        "pauses": bars(modes, longest, title="A reader while half of the sessions end", unit="ms"),
        "pauses-growth": bars(names, grown, title="Growing", unit="ms"),
    }
