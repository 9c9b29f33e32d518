"""Measures what a load, a touch and the commit of one key cost on the stores that processes share.

    python benchmarks/stores.py [--postgresql] [--mariadb] [URL ...]

SQLite runs in a temporary folder, the servers with ``--postgresql`` and ``--mariadb`` are started for the purpose
(without fsync), and each URL names an SQLAlchemy database. The stores take turns, a batch each, so that whatever
else the machine does meets all; what is printed is the median of the batches, in calls a second of one thread.
"""

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from flask_idlesession.record import Change
from flask_idlesession.record import Record
from flask_idlesession.record import Rotation
from flask_idlesession.record import SessionInfo
from flask_idlesession.store import Store
from flask_idlesession.stores.memory import MemoryStore
from flask_idlesession.stores.sqlite import SQLiteStore

NOW = 1_700_000_000.0
HOLDER = b"h" * 32
SESSIONS = 1000
BATCHES = 20
CALLS = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--postgresql", action="store_true")
    parser.add_argument("--mariadb", action="store_true")
    parser.add_argument("--bytes", type=int, default=300, help="what a session holds beside the key that is written")
    parser.add_argument("urls", nargs="*")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stores: dict[str, Store] = {"memory": MemoryStore(), "SQLite": SQLiteStore(folder / "sessions.db")}
        urls = list(options.urls)
        for name in ("postgresql", "mariadb"):
            if getattr(options, name):
                import servers

                urls.append(stack.enter_context(getattr(servers, name)()).url)
        for url in urls:
            from flask_idlesession.stores.sqlalchemy import SQLAlchemyStore

            store = SQLAlchemyStore.from_url(url, timeout=5.0)
            stores[store._origin.url.drivername] = store
        sids = {name: fill(store, options.bytes) for name, store in stores.items()}
        report(stores, sids)


def fill(store: Store, size: int) -> list[object]:
    sids = []
    for number in range(SESSIONS):
        info = SessionInfo(
            sid=uuid4(),
            user_id=f"user{number % 300}" if number % 3 else None,
            created_at=NOW,
            last_seen_at=NOW,
            idle_timeout=1800.0,
            lifetime_ends_at=NOW + 1e6,
        )
        store.create(Record(info=info, secret_digest=HOLDER, values={"rest": b"r" * size}))
        sids.append(info.sid)
    return sids


def report(stores: dict[str, Store], sids: dict[str, list[object]]) -> None:
    acts: dict[str, Callable[[Store, object, int], object]] = {
        "load": lambda store, sid, index: store.load(sid, now=NOW),
        "touch": lambda store, sid, index: store.commit(
            sid, Change(holder=HOLDER, last_seen_at=NOW + index / 99), now=NOW + index / 99
        ),
        "delta": lambda store, sid, index: store.commit(
            sid, Change(holder=HOLDER, last_seen_at=NOW + index / 99, delta={"a": b"%d" % index}), now=NOW + index / 99
        ),
        "rotate": lambda store, sid, index: store.commit(
            sid, Change(holder=HOLDER, rotation=Rotation(secret_digest=HOLDER, user_id="user1")), now=NOW
        ),
    }
    times: dict[tuple[str, str], list[float]] = {}
    for batch in range(BATCHES):
        for name, store in stores.items():
            for act, call in acts.items():
                began = time.perf_counter()
                for index in range(CALLS):
                    call(store, random.choice(sids[name]), batch * CALLS + index)
                times.setdefault((name, act), []).append((time.perf_counter() - began) / CALLS)
    print(f"{'calls a second':24}" + "".join(f"{act:>10}" for act in acts))
    for name in stores:
        print(f"{name:24}" + "".join(f"{1 / statistics.median(times[name, act]):10.0f}" for act in acts))


if __name__ == "__main__":
    main()
