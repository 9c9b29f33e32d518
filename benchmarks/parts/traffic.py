"""Counts what each act has the databases do: statements or commands, transactions, bytes written, rows moved."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from itertools import islice
from statistics import median
from typing import Any

from ..acts import Actors
from ..acts import ACTS
from ..acts import REVOKED
from ..apps import ask
from ..apps import browser
from ..apps import environ_of
from ..apps import make_app_on
from ..programs import Server
from ..report.plots import Plot
from ..report.results import missing_note
from ..report.results import pick
from ..report.results import Results
from ..report.results import Row
from ..report.results import values
from ..report.tables import figure
from ..report.tables import Table
from ..tools.meters import mariadb_meter
from ..tools.meters import Meter
from ..tools.meters import postgresql_meter
from ..tools.meters import redis_meter
from ..tools.meters import sqlite_meter
from ..tools.meters import Traffic
from ..ways import kinds
from ..ways import open_store
from ..ways import Services
from ..ways import services
from ..ways import SQL
from ..ways import SQLITE
from ..ways import STORES

_METERS = {"redis": redis_meter, "sql": postgresql_meter, "mariadb": mariadb_meter}
_BROWSERS = 20


def measure(*, quick: bool, only: str = "") -> Results:
    """Count each act on each store that has a database."""
    rounds, calls = (1, 2) if quick else (7, 10)
    rows: list[Row] = []
    with services() as at:
        stores = [kind for kind in kinds(at, only=only) if kind == SQLITE or STORES.get(kind)]
        for kind in stores:
            rows += _count(kind, at, rounds=rounds, calls=calls)
        if SQL in stores:
            rows += [_moved(at.servers["sql"], at, view, calls=100 if quick else 5_000) for view in ("read", "write")]
    return {"rows": rows, "rounds": rounds, "calls": calls, "missing": at.missing}


def _count(kind: str, at: Services, *, rounds: int, calls: int) -> list[Row]:
    with _meter(kind, at) as meter:
        actors = Actors(open_store(kind, at.folder, at.url(STORES[kind])), browsers=_BROWSERS)
        try:
            for act in ACTS:  # Each application begins with more than it does later.
                _act(actors, act, meter, calls)
            return [_row(kind, act, [_act(actors, act, meter, calls) for _ in range(rounds)]) for act in ACTS]
        finally:
            actors.close()


@contextmanager
def _meter(kind: str, at: Services) -> Iterator[Meter]:
    with sqlite_meter() if kind == SQLITE else _METERS[STORES[kind]](at.servers[STORES[kind]]) as meter:
        yield meter


def _act(actors: Actors, act: str, meter: Meter, calls: int) -> dict[str, float]:
    """Return what each act took. The cleaner may have come between: that is what the median is for."""
    app, environs = actors.app_for(act), actors.requests(act, calls=REVOKED.get(act, calls))
    before = meter()
    ask(app, environs)
    taken = zip(Traffic._fields, before, meter(), strict=True)
    return {
        name: (after - start) / len(environs) for name, start, after in taken if start is not None and after is not None
    }


def _row(kind: str, act: str, taken: list[dict[str, float]]) -> Row:
    return {"kind": kind, "act": act, **{name: median(each[name] for each in taken) for name in taken[0]}}


def _moved(server: Server, at: Services, view: str, *, calls: int) -> Row:
    """Return what this many requests did to PostgreSQL's rows: a server counts them when a connection is closed."""
    store = open_store(SQL, at.folder, server.url)
    app = make_app_on(store)
    cookies = [browser(app, size=1_000, number=number) for number in range(_BROWSERS)]
    store.close()
    before = _rows_of(server)
    ask(app, islice(cycle(environ_of(f"/{view}", each) for each in cookies), calls))
    store.close()
    after = _rows_of(server)
    app.extensions["idlesession"].manager.close()
    moved = {name: (after[name] - before[name]) / calls for name in ("updates", "hot", "bytes")}
    return {"view": view, "requests": calls, **moved, "dead": after["dead"]}


def _rows_of(server: Server) -> dict[str, Any]:
    import psycopg

    with psycopg.connect(server.url.replace("+psycopg", ""), autocommit=True) as connection:
        others = (
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        give_up_at = time.monotonic() + 5
        while connection.execute(others).fetchone() != (0,) and time.monotonic() < give_up_at:
            time.sleep(0.05)
        told = connection.execute(
            "SELECT sum(n_tup_upd), sum(n_tup_hot_upd), sum(n_dead_tup), sum(pg_table_size(relid)) "
            "FROM pg_stat_user_tables WHERE relname LIKE '%session%'"
        ).fetchone()
    assert told is not None
    return {name: float(value or 0) for name, value in zip(("updates", "hot", "dead", "bytes"), told, strict=True)}


# Report.


def tables(results: Results) -> list[Table]:
    """Return what is sent and written for each act, and what PostgreSQL's rows go through."""
    stores = values(results, "kind")
    rows = [[act, *(_cell(results, kind, act) for kind in stores)] for act in ACTS]
    note = (
        "Statements, or commands, for each request; in brackets the transactions that write; and the bytes that "
        f"PostgreSQL writes to its WAL, MariaDB to its log, and the process to SQLite's files. {missing_note(results)}"
    )
    moved = [
        [row["view"], *(figure(row[name]) for name in ("updates", "hot", "bytes", "dead"))]
        for row in results["rows"]
        if "view" in row
    ]
    made = [Table(title="What is sent for each request", heads=["request", *stores], rows=rows, note=note)]
    if moved:
        heads = ["for each request", "updates", "of them HOT", "bytes that the table grew by", "dead rows in the end"]
        made.append(Table(title="What PostgreSQL's rows go through", heads=heads, rows=moved))
    return made


def _cell(results: Results, kind: str, act: str) -> str:
    sent, transactions, written = (
        pick(results, key, kind=kind, act=act) for key in ("sent", "transactions", "written")
    )
    text = figure(sent)
    text += "" if transactions is None else f" ({figure(transactions)})"
    return text if written is None else f"{text} {figure(written)} B"


def plots(results: Results) -> dict[str, Plot]:
    """Return nothing: counts need no plot."""
    return {}
