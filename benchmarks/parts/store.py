"""Measures stores alone: operations in a second from one and from eight threads, and bytes for each session."""

import gc
import random
import threading
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from flask_idlesession import MemoryStore

from ..contenders import a_record
from ..contenders import CACHETOOLS
from ..contenders import cachetools
from ..contenders import closing_all
from ..contenders import Contender
from ..contenders import DICT
from ..contenders import DictUnderLock
from ..contenders import DISKCACHE
from ..contenders import diskcache
from ..contenders import in_memory
from ..contenders import MEMORY
from ..contenders import Ours
from ..contenders import shared
from ..contenders import SIMPLE_CACHE
from ..contenders import simple_cache
from ..fresh import in_fresh_process
from ..processes import resident
from ..programs import a_folder
from ..report.plots import bars
from ..report.plots import Plot
from ..report.results import missing_note
from ..report.results import pick
from ..report.results import ratio
from ..report.results import Results
from ..report.results import values
from ..report.tables import figure
from ..report.tables import Table
from ..rounds import calls_within
from ..rounds import Cell
from ..rounds import interleave
from ..rounds import Sample
from ..rounds import warm_up
from ..ways import services

VERBS = ("load", "touch", "write", "create")
THREADS = (1, 8)

PLAIN, INDEXED = f"{MEMORY}, without users", f"{MEMORY}, with users and an order of eviction"

Name = tuple[str, str, int]
Act = Callable[[int], None]

_numbers = count()


def measure(*, quick: bool) -> Results:
    """Measure the speed of all, then the room that a million sessions take."""
    sessions, seconds, rounds = (300, 0.01, 2) if quick else (100_000, 0.15, 15)
    with services("redis", "sql") as at:
        found = {**in_memory(at.folder), **shared(at.folder, redis_url=at.url("redis"), sql_url=at.url("sql"))}
        with closing_all(found) as contenders:
            cells: dict[Name, Cell] = {}
            for name, contender in contenders.items():
                some = sessions if name in (MEMORY, DICT) else min(sessions, 5_000)
                cells |= make_cells(name, contender, sessions=some, seconds=seconds)
            taken = interleave(warm_up(cells), rounds=rounds)
    rows: list[dict[str, Any]] = [
        {"store": store, "verb": verb, "threads": threads, "per_second": 1 / median(each.wall for each in samples)}
        for (store, verb, threads), samples in taken.items()
    ]
    return {"rows": rows + measure_room(quick=quick), "rounds": rounds, "missing": at.missing}


# Speed.


def make_cells(name: str, contender: Contender, *, sessions: int, seconds: float) -> dict[Name, Cell]:
    """Return a cell for each verb and number of threads, each of about ``seconds``."""
    made = [contender.made(number) for number in range(sessions)]
    if isinstance(contender, Ours):  # Sessions that outlive those which are created while the time is taken.
        made = [a_record(number) for number in range(sessions)]
    for each in made:
        contender.create(each)
    sids = [contender.id_of(each) for each in made]
    if not contender.load(sids[0]):
        raise RuntimeError(f"{name} does not find what it has just stored.")
    cells: dict[Name, Cell] = {}
    for verb in VERBS:
        if verb == "create":
            calls = _creates_within(contender, seconds)
        else:
            calls = calls_within(lambda calls, verb=verb: prepare(contender, sids, verb, calls)(), seconds=seconds)
        for threads in THREADS:
            each = max(1, calls // threads)
            cells[name, verb, threads] = partial(run, contender, sids, verb, calls=each, threads=threads)
    return cells


def _creates_within(contender: Contender, seconds: float) -> int:
    return calls_within(lambda calls: run(contender, [], "create", calls=calls, threads=1), seconds=seconds)


def prepare(contender: Contender, sids: list[Any], verb: str, calls: int, made: list[Any] | None = None) -> Any:
    """Return what makes the calls, with their arguments ready."""
    if verb == "create":
        ready: list[tuple[Any, ...]] = [(each,) for each in made or ()]
        call: Any = contender.create
    elif verb == "load":
        ready, call = [(sid,) for sid in random.choices(sids, k=calls)], contender.load
    else:
        chosen = zip(random.choices(sids, k=calls), _numbers, strict=False)
        ready = [(sid, contender.change(number, writes=verb == "write")) for sid, number in chosen]
        call = contender.commit

    def work() -> None:
        for arguments in ready:
            call(*arguments)

    return work


def run(contender: Contender, sids: list[Any], verb: str, *, calls: int, threads: int) -> Sample:
    """Return the seconds for each call, all threads together: they begin at a barrier, the last one ends it."""
    made = [[contender.made(next(_numbers)) for _ in range(calls * (verb == "create"))] for _ in range(threads)]
    works = [prepare(contender, sids, verb, calls, made[number]) for number in range(threads)]
    elapsed = _time_alone(works[0]) if threads == 1 else _time_together(works)
    for each in made:
        if each:
            contender.forget(each)
    return Sample(0.0, elapsed / calls / threads)


def _time_alone(work: Callable[[], None]) -> float:
    began = perf_counter()
    work()
    return perf_counter() - began


def _time_together(works: list[Callable[[], None]]) -> float:
    barrier = threading.Barrier(len(works) + 1)

    def wait_and_work(work: Callable[[], None]) -> None:
        barrier.wait()
        work()

    threads = [threading.Thread(target=wait_and_work, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    barrier.wait()
    began = perf_counter()
    for thread in threads:
        thread.join()
    return perf_counter() - began


# Room.


def measure_room(*, quick: bool) -> list[dict[str, Any]]:
    """Return the bytes for each session, each kind in a process of its own."""
    count = 20_000 if quick else 1_000_000
    rows: list[dict[str, Any]] = [
        {"store": name, "bytes": in_fresh_process(room_of, name, count), "sessions": count}
        for name in (PLAIN, INDEXED, DICT, SIMPLE_CACHE, CACHETOOLS)
    ]
    some = count // 10
    rows.append({"store": DISKCACHE, "bytes": room_on_disk(some), "sessions": some, "on": "disk"})
    return rows


def room_of(name: str, count: int) -> float:
    """Return the bytes of memory that each of ``count`` sessions takes in this process."""
    contender = _OPENERS[name]()
    gc.collect()
    before = resident()
    for number in range(count):
        made = a_record(number, user_id=f"user{number}" if name == INDEXED else None)
        contender.create(made if isinstance(contender, Ours) else contender.made(number))
    gc.collect()
    return (resident() - before) / count


_OPENERS: dict[str, Callable[[], Contender]] = {
    PLAIN: lambda: Ours(MemoryStore(max_sessions=None, max_bytes=None)),
    INDEXED: lambda: Ours(MemoryStore()),
    DICT: DictUnderLock,
    SIMPLE_CACHE: simple_cache,
    CACHETOOLS: cachetools,
}


def room_on_disk(count: int) -> float:
    """Return the bytes that diskcache's files have for each of ``count`` sessions."""
    with a_folder() as folder:
        cache = diskcache(folder)
        for number in range(count):
            cache.create(cache.made(number))
        cache.close()
        return sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file()) / count


# Report.


def tables(results: Results) -> list[Table]:
    """Return the operations in a second, and the bytes for each session."""
    stores = [name for name in values(results, "store") if _speed(results, name, "load", 1) is not None]
    heads = [f"{verb}, {threads}" for threads in THREADS for verb in VERBS]
    speeds = [
        [name, *(figure(_speed(results, name, verb, threads)) for threads in THREADS for verb in VERBS)]
        for name in stores
    ]
    shares = []
    for threads in THREADS:
        pairs = [[_speed(results, name, verb, threads) for name in (MEMORY, DICT)] for verb in VERBS]
        shares.append(", ".join(f"{verb} {figure(ratio(*pair))}" for verb, pair in zip(VERBS, pairs, strict=True)))
    note = (
        f"Calls in a second of all threads together, by verb and number of threads; medians of {results['rounds']} "
        f"rounds. Memory over the dict under a lock: {shares[0]} with one thread, {shares[1]} with eight. "
    )
    room = [
        [row["store"], figure(row["bytes"]), f"{row['sessions']:,}", row.get("on", "memory")]
        for row in results["rows"]
        if "bytes" in row
    ]
    return [
        Table(title="Operations in a second", heads=["store", *heads], rows=speeds, note=note + missing_note(results)),
        Table(
            title="Bytes for each session of 200 bytes in three keys", heads=["store", "bytes", "of", "in"], rows=room
        ),
    ]


def _speed(results: Results, store: str, verb: str, threads: int) -> float | None:
    return pick(results, "per_second", store=store, verb=verb, threads=threads)


def plots(results: Results) -> dict[str, Plot]:
    """Return what is plotted: the speed from eight threads, and the room."""
    stores = [name for name in values(results, "store") if _speed(results, name, "load", 8) is not None]
    speeds = {verb: [_speed(results, name, verb, 8) for name in stores] for verb in ("load", "touch")}
    rooms = {row["store"]: row["bytes"] for row in results["rows"] if "bytes" in row}
    return {
        "store": bars(stores, speeds, title="Store operations from eight threads", unit="calls in a second"),
        "store-room": bars(
            list(rooms), {"": list(rooms.values())}, title="Room for a session of 200 bytes", unit="bytes"
        ),
    }
