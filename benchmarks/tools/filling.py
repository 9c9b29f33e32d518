"""Fills stores with many sessions, all made after one that is there: databases copy its row themselves."""

import re
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from flask_idlesession import Store

from ..contenders import a_record
from ..processes import resident
from ..programs import Server
from ..ways import MARIADB
from ..ways import MEMORY
from ..ways import REDIS
from ..ways import SQL
from ..ways import SQLITE

#: Seconds: they are to outlive every measurement.
_LONG = 1e7

_numbers = count()

#: A random id, a text with a number in it, and a row for each number, for each kind of database.
_SERIES = {
    SQL: ("gen_random_uuid()", "'user' || n", "generate_series({first}, {last}) AS s(n)"),
    MARIADB: (
        "UNHEX(MD5(CONCAT(RAND(), n)))",
        "CONCAT('user', n)",
        "(SELECT seq AS n FROM seq_{first}_to_{last}) AS s",
    ),
    SQLITE: (
        "randomblob(16)",
        "'user' || n",
        "(WITH RECURSIVE s(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM s WHERE n < {last}) SELECT n FROM s)",
    ),
}


class Place:
    """Where the sessions of one store are, which nothing else is in."""

    def __init__(self, kind: str, folder: Path, server: Server | None, number: int) -> None:
        self.kind, self.folder = kind, folder / f"{kind}{number}"
        self.folder.mkdir()
        self.url = None if server is None else _new_database(kind, server, number)
        self._server = server
        self._resident = resident() if server is None else 0
        self._used = _used_memory(self.url) if kind == REDIS else 0

    def fill(self, store: Store, sessions: int, *, apart: float = 0.0) -> None:
        """Add sessions like the one that the store has, each of a user of its own.

        In a database each may have been seen ``apart`` seconds before the one before it.
        """
        first = next(_numbers) * 10_000_000
        if self.kind in _SERIES:
            self._copy(first, sessions, apart)
            return
        now = time.time()
        model = store.load(next(iter(store.find(now=now))).sid, now=now)
        assert model is not None
        for number in range(first, first + sessions):
            store.create(
                a_record(
                    number, user_id=f"user{number}", now=now, idle_timeout=_LONG, lifetime=_LONG, values=model.values
                )
            )

    def room(self) -> float:
        """Return the bytes that all the sessions take, with their indexes: in memory or on the disk."""
        found: dict[str, Callable[[], float]] = {
            MEMORY: lambda: resident() - self._resident,
            SQLITE: lambda: sum(file.stat().st_size for file in self.folder.iterdir()),
            REDIS: lambda: _used_memory(self.url) - self._used,
            SQL: lambda: self._ask(f"SELECT pg_total_relation_size('{self._table()}')")[0][0],
            MARIADB: lambda: sum(file.stat().st_size for file in self._tables_files()),
        }
        return float(found[self.kind]())

    def is_over(self, *, now: float) -> bool:
        """Return whether a database has no session that is due."""
        return not self._ask(f"SELECT 1 FROM {self._table()} WHERE due_at <= {now!r} LIMIT 1")

    def _copy(self, first: int, sessions: int, apart: float) -> None:
        sid, user, series = _SERIES[self.kind]
        instants = {name: f"{name} - {apart!r} * (n - {first})" for name in ("last_seen_at", "due_at") if apart}
        table = self._table()
        columns = [name for (name,) in self._ask(_COLUMNS[self.kind].format(table=table))]
        chosen = ", ".join({"sid": sid, "user_id": user, **instants}.get(name, name) for name in columns)
        source = series.format(first=first + 1, last=first + sessions)
        self._ask(
            f"INSERT INTO {table} ({', '.join(columns)}) "
            f"SELECT {chosen} FROM (SELECT * FROM {table} LIMIT 1) AS model CROSS JOIN {source}"
        )
        self._ask(_SETTLE[self.kind].format(table=table))

    def _table(self) -> str:
        """Return the name of the sessions' table, which is not the same in every version of the package."""
        names = [str(name) for (name,) in self._ask(_TABLES[self.kind])]
        (table,) = [name for name in names if re.search(r"session$", name)]
        return table

    def _tables_files(self) -> list[Path]:
        assert self._server is not None and self.url is not None
        return list((self._server.folder / "data" / self.url.rpartition("/")[2]).glob("*.ibd"))

    def _ask(self, statement: str) -> Any:
        url = self.url or f"sqlite:///{self.folder}/sessions.db"
        return _ask(url, statement)


_TABLES = {
    SQL: "SELECT tablename FROM pg_tables WHERE schemaname = 'public'",
    MARIADB: "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()",
    SQLITE: "SELECT name FROM sqlite_master WHERE type = 'table'",
}
_COLUMNS = {
    **dict.fromkeys((SQL, MARIADB), "SELECT column_name FROM information_schema.columns WHERE table_name = '{table}'"),
    SQLITE: "SELECT name FROM pragma_table_info('{table}')",
}
_COLUMNS[MARIADB] += " AND table_schema = DATABASE()"
#: The upkeep that a database does by itself after a while.
_SETTLE = {SQL: "VACUUM ANALYZE {table}", MARIADB: "ANALYZE TABLE {table}", SQLITE: "PRAGMA wal_checkpoint(TRUNCATE)"}


def _new_database(kind: str, server: Server, number: int) -> str:
    if kind == REDIS:
        return f"{server.url.rpartition('/')[0]}/{number}"
    _ask(server.url, f"CREATE DATABASE filled{number}")
    return f"{server.url.rpartition('/')[0]}/filled{number}"


def _ask(url: str, statement: str) -> Any:
    from sqlalchemy import create_engine
    from sqlalchemy import NullPool
    from sqlalchemy import text

    engine = create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        found = connection.execute(text(statement))
        return found.fetchall() if found.returns_rows else []


def _used_memory(url: str | None) -> int:
    import redis

    with redis.Redis.from_url(str(url)) as client:
        told: Any = client.info("memory")
        return int(told["used_memory"])
