"""Measures what the verbs of the Redis store cost: processor time of the client, time waited, time of the server.

    python benchmarks/redis_store.py [--quick] [--cluster] [--valkey]

A server is started for the purpose. The cells take turns in random order, a batch each, so that whatever else the
machine does meets all; what is printed is the median of the batches, in microseconds a call of one thread. PING is
the floor: what the driver costs for a command that does nothing. "script, a list" and "script, two strings" are what
load does not do: the same by EVALSHA, with the hash as it is, and with all its strings joined.
"""

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import closing
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import redis
from redis_servers import a_cluster
from redis_servers import one_server
from redis_servers import redis_program
from redis_servers import valkey_program
from store_contract import a_record
from store_contract import HOLDER
from store_contract import NOW

from flask_idlesession.record import Change
from flask_idlesession.stores.redis import RedisStore
from flask_idlesession.stores.redis_scripts import Script

#: Bytes of values, in how many keys.
SIZES = ((100, 1), (1_000, 3), (3_000, 10), (20_000, 3), (20_000, 100))

AS_A_LIST = Script("return redis.call('HGETALL', KEYS[2])")
AS_TWO_STRINGS = Script("""
local all, lengths = redis.call('HGETALL', KEYS[2]), {}
for i = 1, #all do lengths[i] = struct.pack('<I4', #all[i]) end
return {table.concat(lengths), table.concat(all)}
""")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--cluster", action="store_true")
    parser.add_argument("--valkey", action="store_true")
    options = parser.parse_args()
    batches, calls = (7, 100) if options.quick else (31, 300)
    with a_client(options) as client:
        store = RedisStore(client)
        cells: dict[tuple[str, str], Callable[[], Any]] = {("floor", "PING"): client.ping}
        for size, keys in SIZES:
            for name, act in verbs(store, size, keys).items():
                cells[f"{size} B in {keys}", name] = act
        report(measure(cells, batches, calls))
        if not options.cluster:
            for name, stat in sorted(client.info("commandstats").items()):
                if "evalsha" in name or "hgetall" in name:
                    print(f"server: {name.removeprefix('cmdstat_')} {stat['usec_per_call']} us a call")


@contextmanager
def a_client(options: argparse.Namespace) -> Iterator[Any]:
    program = valkey_program() if options.valkey else redis_program()
    if options.cluster:
        with a_cluster(program) as servers, closing(redis.RedisCluster("127.0.0.1", servers[0].port)) as client:
            yield client
    else:
        with one_server(program) as server, closing(server.client()) as client:
            yield client


def verbs(store: RedisStore, size: int, keys: int) -> dict[str, Callable[[], Any]]:
    values = {f"key {number}": b"x" * (size // keys) for number in range(keys)}
    record = a_record(user_id="ada", values=values, lifetime_ends_at=NOW + 1e9, idle_timeout=1e6)
    store.create(record)
    sid, names = record.info.sid, store._keys(record.info.sid)
    assert store.load(sid, now=NOW) == record
    touch = Change(holder=HOLDER, last_seen_at=NOW + 1)
    write = Change(holder=HOLDER, last_seen_at=NOW + 1, delta={"key 0": b"y" * (size // keys)})
    return {
        "load": lambda: store.load(sid, now=NOW),
        "script, a list": lambda: store._run(AS_A_LIST, names),
        "script, two strings": lambda: store._run(AS_TWO_STRINGS, names),
        "touch": lambda: store.commit(sid, touch, now=NOW + 1),
        "write one key": lambda: store.commit(sid, write, now=NOW + 1),
    }


def measure(
    cells: dict[tuple[str, str], Callable[[], Any]], batches: int, calls: int
) -> dict[tuple[str, str], tuple[float, float]]:
    taken: dict[tuple[str, str], list[tuple[float, float]]] = {cell: [] for cell in cells}
    for _ in range(batches):
        for cell in random.sample(list(cells), len(cells)):
            act = cells[cell]
            cpu, wall = time.process_time(), time.perf_counter()
            for _ in range(calls):
                act()
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            taken[cell].append((cpu / calls * 1e6, wall / calls * 1e6))
    return {
        cell: (statistics.median(cpu for cpu, _ in some), statistics.median(wall for _, wall in some))
        for cell, some in taken.items()
    }


def report(medians: dict[tuple[str, str], tuple[float, float]]) -> None:
    print(f"redis-py {redis.__version__}, Python {sys.version.split()[0]}; microseconds: processor / waited")
    for (what, verb), (cpu, wall) in medians.items():
        print(f"{what:>16}  {verb:<20} {cpu:7.1f} / {wall:7.1f}")


if __name__ == "__main__":
    main()
