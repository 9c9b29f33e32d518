"""Measures the journal: what a write costs over memory alone, and a start with a million sessions."""

import random
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from time import process_time
from time import time
from typing import Any

from flask_idlesession import Change
from flask_idlesession import MemoryStore
from flask_idlesession.stores.journal import JournalStore

from ..apps import ask
from ..apps import browser
from ..apps import environ_of
from ..apps import make_app_on
from ..contenders import a_record
from ..contenders import HOLDER
from ..contenders import NOW
from ..fresh import in_fresh_process
from ..programs import a_folder
from ..report.plots import bars
from ..report.plots import Plot
from ..report.results import pick
from ..report.results import Results
from ..report.results import Row
from ..report.results import values
from ..report.tables import figure
from ..report.tables import Table
from ..rounds import Cell
from ..rounds import interleave
from ..rounds import micros
from ..rounds import Sample
from ..rounds import timed
from ..rounds import warm_up

MEMORY = "memory alone"
DURABILITIES = ("none", "interval", "always")
VERBS = ("create", "write", "touch", "load")

#: At "always" each write waits for the disk: so much fewer of them are enough.
_FEWER = 10


def measure(*, quick: bool) -> Results:
    """Measure both."""
    rounds, calls, sessions, starts = (3, 100, 20_000, 1) if quick else (31, 500, 1_000_000, 7)
    with a_folder() as folder:
        rows = measure_writes(folder, rounds=rounds, calls=calls)
        rows += measure_starts(folder, sessions=sessions, starts=starts)
    return {"rows": rows, "rounds": rounds, "calls": calls, "starts": starts}


# Writes.


def measure_writes(folder: Path, *, rounds: int, calls: int) -> list[Row]:
    """Return what the verbs cost on each store."""
    stores: dict[str, MemoryStore] = {MEMORY: MemoryStore()}
    for durability in DURABILITIES:
        stores[durability] = JournalStore(folder / durability, now=NOW, durability=durability)
    cells: dict[tuple[str, str], Cell] = {}
    for name, store in stores.items():
        some = calls // _FEWER if name == "always" else calls
        for verb in VERBS:
            cells[name, verb] = lambda store=store, verb=verb, some=some: _batch(store, verb, some)
    taken = interleave(warm_up(cells), rounds=rounds)
    for store in stores.values():
        store.close()
    return [{"store": store, "verb": verb, **micros(samples)._asdict()} for (store, verb), samples in taken.items()]


def _batch(store: MemoryStore, verb: str, calls: int) -> Sample:
    """Return the processor's time with all that is written in the background, and the caller's time on the wall.

    A deletion waits for all that is still to be written: it is on the disk when it returns.
    """
    records = [a_record(number, idle_timeout=1.0) for number in range(calls)]
    spare = a_record(0)
    store.create(spare)
    if verb != "create":
        for record in records:
            store.create(record)
        settle = a_record(0)
        store.create(settle)
        store.delete(settle.info.sid)
    work = _WORKS[verb](store, records)
    cpu = process_time()
    sample = timed(work, calls=calls)
    store.delete(spare.info.sid)
    cpu = process_time() - cpu
    while store.prune(now=NOW + 2, limit=1000):
        pass
    return Sample(cpu / calls, sample.wall)


def _creates(store: MemoryStore, records: list[Any]) -> Callable[[], object]:
    return lambda: [store.create(record) for record in records]


def _loads(store: MemoryStore, records: list[Any]) -> Callable[[], object]:
    return lambda: [store.load(record.info.sid, now=NOW) for record in records]


def _touches(store: MemoryStore, records: list[Any]) -> Callable[[], object]:
    change = Change(holder=HOLDER, last_seen_at=NOW + 0.1)
    return lambda: [store.commit(record.info.sid, change, now=NOW + 0.1) for record in records]


def _writes(store: MemoryStore, records: list[Any]) -> Callable[[], object]:
    change = Change(holder=HOLDER, last_seen_at=NOW + 0.1, delta={"a": b"%060d" % random.randrange(10**9)})
    return lambda: [store.commit(record.info.sid, change, now=NOW + 0.1) for record in records]


_WORKS = {"create": _creates, "write": _writes, "touch": _touches, "load": _loads}


# Starts.


def measure_starts(folder: Path, *, sessions: int, starts: int) -> list[Row]:
    """Return what a start costs until the first request is answered, in seconds, and the file's size."""
    path = folder / "sessions"
    cookies = in_fresh_process(fill, path, sessions=sessions)
    found = [in_fresh_process(start, path, cookies) for _ in range(starts)]
    if any(row["sessions"] != sessions for row in found):
        raise RuntimeError("A start has lost sessions.")
    size = path.stat().st_size / sessions
    return [{"start": sessions, "bytes": size, **{key: median(row[key] for row in found) for key in found[0]}}]


def fill(path: Path, *, sessions: int) -> dict[str, str]:
    """Write a journal of ``sessions`` sessions; return the cookies of the browser that has one of them."""
    app = make_app_on(IDLESESSION_JOURNAL=path, IDLESESSION_MAX_SESSIONS=None, IDLESESSION_MAX_BYTES=None)
    cookies = browser(app, size=200, number=0)
    manager = app.extensions["idlesession"].manager
    for number in range(sessions - 1):
        manager.store.create(a_record(number, now=time()))
    manager.close()
    return cookies


def start(path: Path, cookies: dict[str, str]) -> Row:
    """Return the seconds from the making of an application to its first answer."""
    environ = environ_of("/ignore", cookies)
    wall, cpu = perf_counter(), process_time()
    app = make_app_on(IDLESESSION_JOURNAL=path, IDLESESSION_MAX_SESSIONS=None, IDLESESSION_MAX_BYTES=None)
    ask(app, [environ])
    cpu, wall = process_time() - cpu, perf_counter() - wall
    manager = app.extensions["idlesession"].manager
    found: Row = {"wall": wall, "cpu": cpu, "sessions": sum(1 for _ in manager.find())}
    manager.close()
    return found


# Report.


def tables(results: Results) -> list[Table]:
    """Return the cost of each verb, and that of a start."""
    rows = [[store, *(_both(results, store, verb) for verb in VERBS)] for store in values(results, "store")]
    note = (
        "Microseconds of processor time for each call, what is done in the background and the sync after "
        f"{results['calls']} of them included; in brackets how long the caller waited. "
        f"Medians of {results['rounds']} rounds."
    )
    starts = [
        [f"{row['start']:,}", figure(row["wall"], "s"), figure(row["cpu"], "s"), figure(row["bytes"], "B")]
        for row in results["rows"]
        if "start" in row
    ]
    more = f"From the making of the application to its first answer; medians of {results['starts']} fresh processes."
    return [
        Table(title="A call with a journal", heads=["durability", *VERBS], rows=rows, note=note),
        Table(
            title="A start with a journal",
            heads=["sessions", "first answer after", "processor time", "file, for each"],
            rows=starts,
            note=more,
        ),
    ]


def _both(results: Results, store: str, verb: str) -> str:
    cpu, wall = (pick(results, key, store=store, verb=verb) for key in ("cpu", "wall"))
    return "" if cpu is None else f"{figure(cpu)} ({figure(wall)})"


def plots(results: Results) -> dict[str, Plot]:
    """Return what is plotted: the cost of a call."""
    stores = values(results, "store")
    costs = {verb: [pick(results, "cpu", store=store, verb=verb) for store in stores] for verb in VERBS}
    return {"journal": bars(stores, costs, title="A call with a journal", unit="µs of processor time")}
