"""Measures what redis-py's parsers cost: its own, and that of hiredis.

    python -m benchmarks.parsers [--quick]

A session of 1 KB is loaded from a store in Redis, with its values in a few keys and in many.
"""

import argparse
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec
from typing import Any

from flask_idlesession import Store

from .contenders import a_record
from .report.tables import figure
from .report.tables import Table
from .rounds import interleave
from .rounds import micros
from .rounds import Sample
from .rounds import Taken
from .rounds import timed
from .rounds import warm_up
from .ways import services

KEYS = (3, 20, 100)

_OWN, _HIREDIS = "redis-py's own", "hiredis"
_BYTES, _CALLS = 1_000, 50

#: The parser, and the session's number of keys.
Name = tuple[str, int]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parsers", description="Measure redis-py's parsers.")
    parser.add_argument("--quick", action="store_true", help="to see that it runs, not how fast")
    rounds = 3 if parser.parse_args(arguments).quick else 61
    with services("redis") as at, ExitStack() as stack:
        if "redis" not in at.servers:
            print(*at.missing)
            return
        stores = {name: _open(stack, at.servers["redis"].url, parsers) for name, parsers in _parsers().items()}
        now = time.time()
        cells = {}
        for number in KEYS:
            values = {f"key{key}": b"x" * (_BYTES // number) for key in range(number)}
            record = a_record(number, now=now, values=values)
            next(iter(stores.values())).create(record)
            cells |= {
                (name, number): partial(timed, partial(_load, store, record.info.sid, now), calls=_CALLS)
                for name, store in stores.items()
            }
        print(to_table(interleave(warm_up(cells), rounds=rounds)).to_rst())


def to_table(taken: Taken[Name, Sample]) -> Table:
    """Return the table of the medians."""
    names = dict.fromkeys(name for name, _ in taken)
    rows = [[str(number), *(figure(micros(taken[name, number]).cpu) for name in names)] for number in KEYS]
    note = f"Microseconds of processor time. Medians of {len(next(iter(taken.values())))} rounds of {_CALLS} loads."
    return Table(title="A load of 1 KB from Redis, by parser", heads=["keys", *names], rows=rows, note=note)


def _parsers() -> dict[str, Any]:
    from redis import _parsers

    found: dict[str, Any] = {_OWN: _parsers._RESP2Parser}
    return {**found, _HIREDIS: _parsers._HiredisParser} if find_spec("hiredis") is not None else found


def _open(stack: ExitStack, url: str, parser: Any) -> Store:
    import redis

    from flask_idlesession.stores.redis import RedisStore

    store = RedisStore(redis.Redis.from_url(url, parser_class=parser))
    stack.callback(store.close)
    return store


def _load(store: Store, sid: Any, now: float) -> None:
    for _ in range(_CALLS):
        if store.load(sid, now=now) is None:
            raise RuntimeError("Redis has lost a session.")


if __name__ == "__main__":
    main()
