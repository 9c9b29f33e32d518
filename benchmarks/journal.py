"""Measures the journal: what a write costs over the memory store, a start with many sessions, the file's size.

    python benchmarks/journal.py [--sessions 1000000] [--users] [--sqlite] [--folder DIR]

The stores take turns, a batch each in random order, so that whatever else the machine does meets all of them;
what is printed is the median, and what it is over the memory store's in the same run. Times of a start are
the CPU's where it says so: on a busy machine the clock on the wall tells of the others. ``--sqlite`` measures
the same records behind the memory store in SQLite, written in transactions.
"""

import argparse
import gc
import os
import random
import sqlite3
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from uuid import uuid4

from flask_idlesession.record import Change
from flask_idlesession.record import Record
from flask_idlesession.record import SessionInfo
from flask_idlesession.stores.journal import JournalStore
from flask_idlesession.stores.memory import MemoryStore

NOW = 1_700_000_000.0
HOLDER = b"h" * 32
BATCHES = 60
CALLS = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sessions", type=int, default=1_000_000, help="how many are loaded")
    parser.add_argument("--users", action="store_true", help="each of them has a user")
    parser.add_argument("--sqlite", action="store_true", help="measure SQLite behind the memory store, too")
    parser.add_argument("--folder", type=Path, help="where the files are; a temporary folder by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        measure_writes(Path(folder))
        measure_pauses(Path(folder))
        measure_start(Path(folder), options.sessions, has_users=options.users)
        if options.sqlite:
            measure_sqlite(Path(folder), options.sessions)


def a_record(number: int, *, has_users: bool = False) -> Record:
    """A session with 200 bytes in three keys."""
    return Record(
        info=SessionInfo(
            sid=uuid4(),
            user_id=f"user{number}" if has_users else None,
            created_at=NOW,
            last_seen_at=NOW - random.random() * 1000,
            idle_timeout=1800.0,
            lifetime_ends_at=NOW + 86400,
        ),
        secret_digest=HOLDER,
        values={"a": b"x" * 60, "b": b"y" * 70, "c": b"z" * 70},
    )


def measure_writes(folder: Path) -> None:
    stores: dict[str, MemoryStore] = {"memory": MemoryStore()}
    for durability in ("none", "interval", "always"):
        stores[durability] = JournalStore(folder / durability, now=NOW, durability=durability)
    works: dict[str, Callable[[MemoryStore, Record, int], object]] = {
        "create": lambda store, record, n: store.create(a_record(n)),
        "write": lambda store, record, n: store.commit(
            record.info.sid, Change(holder=HOLDER, delta={"a": b"%060d" % n}, last_seen_at=NOW), now=NOW
        ),
        "touch": lambda store, record, n: store.commit(
            record.info.sid, Change(holder=HOLDER, last_seen_at=NOW + n / 1e6), now=NOW + 1
        ),
        "load": lambda store, record, n: store.load(record.info.sid, now=NOW),
        "delete": lambda store, record, n: store.delete(record.info.sid),
    }
    print(f"One thread, median of {BATCHES * CALLS} calls (delete: of {BATCHES}), in microseconds (over memory):")
    for name, work in works.items():
        times = interleave(stores, work, calls=1 if name == "delete" else CALLS)
        base = times["memory"]
        cells = [f"{store} {time:.1f} ({time - base:+.1f})" for store, time in times.items()]
        print(f"  {name:8}", "  ".join(cells))
    for store in stores.values():
        store.close()


def interleave(
    stores: dict[str, MemoryStore], work: Callable[[MemoryStore, Record, int], object], *, calls: int
) -> dict[str, float]:
    times: dict[str, list[int]] = {name: [] for name in stores}
    for batch in range(BATCHES):
        for name, store in random.sample(list(stores.items()), len(stores)):
            records = [a_record(n) for n in range(calls)]
            for record in records:
                MemoryStore.create(store, record)
            for number, record in enumerate(records):
                began = time.perf_counter_ns()
                work(store, record, batch * calls + number)
                times[name].append(time.perf_counter_ns() - began)
    return {name: statistics.median(found) / 1000 for name, found in times.items()}


def measure_pauses(folder: Path) -> None:
    """A reader's waits while the file is written anew, against the same reader when nothing happens."""
    store = JournalStore(folder / "pauses", now=NOW)
    records = [a_record(n) for n in range(100_000)]
    for record in records:
        store.create(record)
    store.delete(records.pop().info.sid)
    reads = random.choices(records, k=1000)
    idle = longest_waits(store, reads, lambda: time.sleep(1.5))
    busy = longest_waits(store, reads, lambda: store._journal._try_rewrite(paced=True))
    for name, waits in (("nothing happens", idle), ("100,000 sessions are compacted", busy)):
        print(f"A reader's waits while {name}: 99.9 % within {waits[0]:.2f} ms, the longest {waits[1]:.2f} ms")
    store.close()


def longest_waits(store: MemoryStore, reads: list[Record], work: Callable[[], object]) -> tuple[float, float]:
    thread = threading.Thread(target=work)
    waits = []
    thread.start()
    while thread.is_alive():
        for record in reads[:20]:
            began = time.perf_counter()
            store.load(record.info.sid, now=NOW)
            waits.append(1000 * (time.perf_counter() - began))
        time.sleep(0.0002)
    waits.sort()
    return waits[int(len(waits) * 0.999) - 1], waits[-1]


def measure_start(folder: Path, count: int, *, has_users: bool) -> None:
    path = folder / "start"
    store = JournalStore(path, now=NOW, max_sessions=None, max_bytes=None)
    for number in range(count):
        store.create(a_record(number, has_users=has_users))
    grown = path.stat().st_size
    packed = store.size(overhead=0)
    store._journal._try_rewrite(paced=False)
    store.close()
    size = path.stat().st_size
    print(f"{count} sessions of 200 bytes{' with users' * has_users}: the file has {size / count:.0f} bytes for each, ")
    print(f"  {size / packed:.2f} times the packed records, {size / 200 / count:.2f} times the values;", end=" ")
    print(f"{grown / count:.0f} bytes for each as it grew")
    del store
    gc.collect()
    elapsed, busy = [], []
    for _ in range(5):
        wall, cpu = time.perf_counter(), time.process_time()
        store = JournalStore(path, now=NOW, max_sessions=None, max_bytes=None)
        elapsed.append(time.perf_counter() - wall)
        busy.append(time.process_time() - cpu)
        assert len(store) == count
        store.close()
        del store
        gc.collect()
    print(f"  they are loaded in {min(busy):.2f} to {max(busy):.2f} s of CPU, {min(elapsed):.2f} s on the wall at best")


def measure_sqlite(folder: Path, count: int) -> None:
    path = folder / "sqlite.db"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE sessions (id BLOB PRIMARY KEY, record BLOB) WITHOUT ROWID")
    ids, packed = [os.urandom(16) for _ in range(count)], os.urandom(288)
    put = partial(put_in_transaction, connection, packed)
    print("SQLite behind the memory store, microseconds of CPU for each record:")
    began = time.process_time()
    put(ids)
    print(f"  {count} in one transaction: {1e6 * (time.process_time() - began) / count:.1f}", end="; ")
    began = time.process_time()
    put(random.sample(ids, min(1000, count)))
    print(f"1000 of them again in one: {1000 * (time.process_time() - began):.1f}")
    connection.execute("PRAGMA synchronous = FULL")
    times = []
    for key in random.sample(ids, min(200, count)):
        started = time.perf_counter()
        put([key])
        times.append(time.perf_counter() - started)
    connection.close()
    print(f"  one, synced: {1e6 * statistics.median(times):.0f} on the wall", end="; ")
    began = time.process_time()
    connection = sqlite3.connect(path)
    shards: list[dict[int, bytes]] = [{} for _ in range(256)]
    for key, record in connection.execute("SELECT id, record FROM sessions"):
        number = int.from_bytes(key)
        shards[number % 256][number] = record
    print(
        f"read back into dicts in {time.process_time() - began:.2f} s; {path.stat().st_size / count:.0f} bytes for each"
    )
    connection.close()


def put_in_transaction(connection: sqlite3.Connection, record: bytes, ids: list[bytes]) -> None:
    connection.execute("BEGIN")
    connection.executemany("INSERT OR REPLACE INTO sessions VALUES (?, ?)", ((key, record) for key in ids))
    connection.execute("COMMIT")


if __name__ == "__main__":
    main()
