"""Creates the tables: one process at a time, however many begin together."""

from collections.abc import Callable
from collections.abc import Sequence
from functools import partial

from sqlalchemy import Connection
from sqlalchemy import func
from sqlalchemy import inspect
from sqlalchemy import MetaData
from sqlalchemy import select
from sqlalchemy import Table

from .connections import Connections
from .engines import create_file
from .kinds import BEGIN

#: Any number will do that nobody else locks by.
_LOCK = 0x49646C65


def create_tables(metadata: MetaData, connections: Connections, *, needed: Sequence[Table]) -> None:
    """Create those of the tables that are missing, and their indexes."""
    name = connections.engine.dialect.name
    if name == "sqlite":
        create_file(connections.engine)
    if not connections.open(lambda connection: all(inspect(connection).has_table(table.name) for table in needed)):
        create = _under_lock if name in ("mysql", "mariadb") else _in_transaction
        connections.open(lambda connection: create(connection, partial(metadata.create_all, tables=needed)))


def _in_transaction(connection: Connection, create: Callable[[Connection], None]) -> None:
    for text in BEGIN[connection.dialect.name]:
        connection.exec_driver_sql(text)
    try:
        if connection.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
        create(connection)
    except BaseException:
        connection.invalidate()  # With it goes what was not finished.
        raise
    connection.exec_driver_sql("COMMIT")


def _under_lock(connection: Connection, create: Callable[[Connection], None]) -> None:
    name = f"idlesession.{_LOCK}"
    connection.execute(select(func.get_lock(name, 10)))
    try:
        create(connection)
    finally:
        connection.execute(select(func.release_lock(name)))
