"""A request sends little to its store: the databases themselves count what they are asked."""

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import AbstractContextManager
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks.acts import Actors
from benchmarks.acts import GUARDED
from benchmarks.acts import LOG_IN
from benchmarks.acts import NEW_LOG_IN
from benchmarks.acts import READ
from benchmarks.acts import UNTOUCHED
from benchmarks.acts import USER_READ
from benchmarks.acts import WRITE
from benchmarks.apps import ask
from benchmarks.tools.meters import mariadb_meter
from benchmarks.tools.meters import Meter
from benchmarks.tools.meters import postgresql_meter
from benchmarks.tools.meters import redis_meter
from benchmarks.tools.meters import sqlite_meter
from benchmarks.ways import MARIADB
from benchmarks.ways import open_store
from benchmarks.ways import REDIS
from benchmarks.ways import SQL
from benchmarks.ways import SQLITE

#: What counts the questions of each kind of store, and the fixture that runs its server.
_METERS: dict[str, tuple[str, Callable[..., AbstractContextManager[Meter]]]] = {
    SQLITE: ("", sqlite_meter),
    REDIS: ("redis_server", redis_meter),
    SQL: ("postgresql", postgresql_meter),
    MARIADB: ("mariadb", mariadb_meter),
}

#: The statements or commands of a request at most: on MariaDB an UPDATE returns no row.
_MOST_SENT = {
    READ: {SQLITE: 1, REDIS: 1, SQL: 1, MARIADB: 2},
    UNTOUCHED: {SQLITE: 1, REDIS: 1, SQL: 1, MARIADB: 1},
    USER_READ: {SQLITE: 1, REDIS: 1, SQL: 1, MARIADB: 2},
    GUARDED: {SQLITE: 1, REDIS: 1, SQL: 1, MARIADB: 2},
    WRITE: {SQLITE: 2, REDIS: 2, SQL: 2, MARIADB: 2},
    LOG_IN: {SQLITE: 3, REDIS: 3, SQL: 3, MARIADB: 3},
    NEW_LOG_IN: {SQLITE: 3, REDIS: 3, SQL: 3, MARIADB: 3},
}

#: The transactions that write, where the database tells of transactions.
_MOST_WRITING = {act: 0 if act == UNTOUCHED else 1 for act in _MOST_SENT}

_ROUNDS, _CALLS = 7, 3


@contextmanager
def counted(kind: str, request: pytest.FixtureRequest, folder: Path) -> Iterator[tuple[Actors, Meter]]:
    """Lend browsers on such a store, and what counts its questions."""
    fixture, meter_of = _METERS[kind]
    server: Any = request.getfixturevalue(fixture) if fixture else None
    with meter_of(*([server] if fixture else [])) as meter:
        store = open_store(kind, folder, server and server.url)
        actors = Actors(store, browsers=2)
        try:
            yield actors, meter
        finally:
            actors.close()


@pytest.mark.parametrize("kind", _METERS)
def test_a_request_is_few_statements_and_one_transaction_that_writes_at_most(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """A log-in, without a limit for each user, is three statements at most, or commands, and one transaction."""
    with counted(kind, request, tmp_path) as (actors, meter):
        found = {act: told(actors, act, meter) for act in _MOST_SENT}
    sent = {act: of_act["sent"] for act, of_act in found.items()}
    writing = {act: of_act["transactions"] for act, of_act in found.items()}
    assert all(0 < sent[act] <= most[kind] for act, most in _MOST_SENT.items()), sent
    if kind in (SQLITE, SQL):
        assert writing == _MOST_WRITING


def told(actors: Actors, act: str, meter: Meter) -> dict[str, float]:
    """Return what one request sends. The cleaner asks something now and then, so the least of some rounds counts."""
    app = actors.app_for(act)
    ask(app, actors.requests(act, calls=1))  # The first one of an application looks at more.
    rounds = []
    for _ in range(_ROUNDS):
        environs = actors.requests(act, calls=_CALLS)
        before = meter()
        ask(app, environs)
        after = meter()
        rounds.append((after.sent - before.sent, (after.transactions or 0) - (before.transactions or 0)))
    sent, transactions = (min(counts) / _CALLS for counts in zip(*rounds, strict=True))
    return {"sent": sent, "transactions": transactions}
