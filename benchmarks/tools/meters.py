"""Counts what a store has a database do: the statements or commands it sends, and the bytes that are written for it.

Each server tells it itself: PostgreSQL by its log, MariaDB by its status, Redis by MONITOR (the commands that its
scripts call are not counted), SQLite by a trace of each connection.
"""

import re
import sqlite3
import threading
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from typing import NamedTuple
from unittest import mock
from uuid import uuid4

from ..programs import Server

_WRITES = re.compile(r"INSERT|REPLACE|DELETE|(?<!FOR )UPDATE")
_LOGGED = re.compile(r"\[(\d+)\] LOG:  (?:statement|execute [^:]*): (.*)")


class Traffic(NamedTuple):
    """Statements or commands, transactions that write, and bytes written, until now; None: it is not told."""

    sent: int
    transactions: int | None
    written: int | None


Meter = Callable[[], Traffic]


class Transactions:
    """Counts statements, and the transactions among them that write."""

    def __init__(self) -> None:
        self.sent = 0
        self.writing = 0
        self._open: dict[object, bool] = {}

    def note(self, connection: object, statement: str) -> None:
        """Note a statement of this connection: one alone is a transaction."""
        self.sent += 1
        writes = _WRITES.search(statement) is not None
        word = statement.lstrip().partition(" ")[0].rstrip(";").upper()
        if word in ("BEGIN", "START"):
            self._open[connection] = False
        elif word in ("COMMIT", "END", "ROLLBACK"):
            self.writing += self._open.pop(connection, False) and word != "ROLLBACK"
        elif connection in self._open:
            self._open[connection] |= writes
        else:
            self.writing += writes


@contextmanager
def sqlite_meter() -> Iterator[Meter]:
    """Count what the connections do that this process opens in the block."""
    counted, connect = Transactions(), sqlite3.connect

    def connect_traced(*arguments: Any, **named: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **named)
        number = id(connection)
        connection.set_trace_callback(lambda statement: counted.note(number, statement))
        return connection

    with mock.patch.object(sqlite3, "connect", connect_traced):
        yield lambda: Traffic(counted.sent, counted.writing, _written())


def _written() -> int:
    """Return the bytes that this process has written by system calls."""
    (told,) = re.findall(r"wchar: (\d+)", Path("/proc/self/io").read_text())
    return int(told)


@contextmanager
def postgresql_meter(server: Server) -> Iterator[Meter]:
    """Have the server log what it is asked by connections that are opened in the block, and count it."""
    import psycopg

    plain, counted = server.url.replace("+psycopg", ""), Transactions()
    options = "-c log_statement=none"
    with psycopg.connect(plain, autocommit=True, options=options) as connection, (server.folder / "log").open() as log:
        connection.execute("ALTER SYSTEM SET log_statement = 'all'")
        connection.execute("SELECT pg_reload_conf()")
        log.seek(0, 2)

        def meter() -> Traffic:
            lsn = connection.execute("SELECT pg_current_wal_insert_lsn() - '0/0'").fetchone()
            for process, statement in _LOGGED.findall(log.read()):
                counted.note(process, statement)
            assert lsn is not None
            return Traffic(counted.sent, counted.writing, int(lsn[0]))

        try:
            yield meter
        finally:
            connection.execute("ALTER SYSTEM RESET log_statement")
            connection.execute("SELECT pg_reload_conf()")


@contextmanager
def mariadb_meter(server: Server) -> Iterator[Meter]:
    """Read the server's status, less what this asks itself."""
    import pymysql

    with pymysql.connect(host="127.0.0.1", port=server.port, user="idle", autocommit=True) as connection:
        asked = 0

        def meter() -> Traffic:
            nonlocal asked
            asked += 1
            with connection.cursor() as cursor:
                cursor.execute("SHOW GLOBAL STATUS WHERE Variable_name IN ('Questions', 'Innodb_os_log_written')")
                told = {name: int(value) for name, value in cursor.fetchall()}
            return Traffic(told["Questions"] - asked, None, told["Innodb_os_log_written"])

        yield meter


@contextmanager
def redis_meter(server: Server) -> Iterator[Meter]:
    """Watch the server's commands, but for those that scripts call."""
    import redis

    client, sent, seen, marks = redis.Redis.from_url(server.url), 0, threading.Condition(), set[str]()
    last = str(uuid4())

    def watch(commands: Iterable[dict[str, Any]]) -> None:
        nonlocal sent
        for each in commands:
            word, _, rest = each["command"].partition(" ")
            with seen:
                sent += word != "ECHO" and each["client_type"] != "lua"
                marks.update([rest] if word == "ECHO" else ())
                seen.notify_all()
            if rest == last:
                return

    def meter(mark: str = "") -> Traffic:
        mark = mark or str(uuid4())
        client.echo(mark)
        with seen:
            if not seen.wait_for(lambda: mark in marks, timeout=10):
                raise RuntimeError("Redis does not tell its commands.")
            return Traffic(sent, None, None)

    with client.monitor() as monitor:
        watcher = threading.Thread(target=watch, args=(monitor.listen(),), daemon=True)
        watcher.start()
        yield meter
        meter(last)
        watcher.join()
