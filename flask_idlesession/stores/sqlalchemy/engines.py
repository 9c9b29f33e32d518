"""Makes engines whose calls end in time, and knows what a connection's driver can be told."""

import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from sqlalchemy import create_engine
from sqlalchemy import Engine
from sqlalchemy import make_url

#: The drivers that tell which process of the server they believe to talk to.
_TELL_PID = ("psycopg", "psycopg2")

#: Sets the limits of a connection, unless a pooler is between, which would lend the changed connection to others. When
#: a client connects, a pooler makes up the number of the server's process.
_GREET = "SELECT %s FROM (SELECT 1) AS one WHERE pg_backend_pid() = %%s"


def make_engine(url: str, *, timeout: float) -> Engine:
    """Return an engine that is set up for calls of one statement, each of which ends in about ``timeout`` seconds."""
    options: dict[str, Any] = {"isolation_level": "AUTOCOMMIT", "hide_parameters": True}
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        options |= {"pool_timeout": timeout, "pool_size": 10, "max_overflow": 20, "pool_use_lifo": True}
        options |= {"pool_recycle": 1800, "pool_reset_on_return": None, "skip_autocommit_rollback": True}
    # PostgreSQL's settings are sent when the connection is there: PgBouncer refuses them at the start of one.
    if parsed.drivername in ("postgresql", "postgresql+psycopg", "postgresql+psycopg2"):
        options["connect_args"] = {
            "connect_timeout": max(int(timeout), 2),
            "tcp_user_timeout": max(int(timeout * 1000), 1),
        }
    elif parsed.get_driver_name() == "pymysql":
        options["connect_args"] = dict.fromkeys(("connect_timeout", "read_timeout", "write_timeout"), timeout)
    return create_engine(url, **options)


def enter_autocommit(connection: Any, dialect: Any) -> Callable[[], None] | None:
    """Let each statement be a transaction of its own; return what undoes that, or None if the connection is so anyway.

    PostgreSQL's drivers and SQLite's note it, and send nothing.
    """
    if dialect.detect_autocommit_setting(connection):
        return None
    if dialect.name == "sqlite":
        level = connection.isolation_level
        connection.isolation_level = None
        return partial(setattr, connection, "isolation_level", level)
    if callable(connection.autocommit):
        connection.autocommit(True)
        return partial(connection.autocommit, False)
    connection.autocommit = True
    return partial(setattr, connection, "autocommit", False)


def greet(connection: Any, *, driver: str, timeout: float | None) -> dict[str, Any]:
    """Return what is to be told with each statement of a new connection, in autocommit mode.

    With a ``timeout`` the server is told to break off what takes longer, where the connection is this client's alone.
    """
    if driver not in _TELL_PID:
        return {}
    is_prepared = getattr(connection, "prepare_threshold", None) is not None
    is_ours = True
    if is_prepared or timeout is not None:
        is_ours = is_direct(connection, timeout)
    if driver != "psycopg":
        return {}
    return {"binary": True, "prepare": None if is_ours else False}


def is_direct(connection: Any, timeout: float | None) -> bool:
    """Return whether no pooler is between; if none is, and there is a timeout, set the server's limits."""
    limits = "1"
    if timeout is not None:
        milliseconds = max(int(timeout * 1000), 1)
        wanted = {
            "statement_timeout": milliseconds,
            "lock_timeout": milliseconds,
            "idle_in_transaction_session_timeout": 10 * milliseconds,
        }
        limits = ", ".join(f"set_config('{name}', '{value}', false)" for name, value in wanted.items())
    cursor = connection.cursor()
    try:
        cursor.execute(_GREET % limits, (connection.info.backend_pid,))
        return cursor.fetchone() is not None
    finally:
        cursor.close()


def create_file(engine: Engine) -> None:
    """Create the file of an SQLite engine for its owner alone, if there is none; what it holds opens sessions."""
    arguments, options = engine.dialect.create_connect_args(engine.url)
    path = str(arguments[0]) if arguments else ""
    if options.get("uri") or path in ("", ":memory:"):
        return
    with suppress(OSError):  # Of what is in the way the driver tells.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
