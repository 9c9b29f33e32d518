"""Asks an SQL server what time it is: it is a witness against a host whose clock is wrong."""

from sqlalchemy import ColumnElement
from sqlalchemy import Dialect
from sqlalchemy import Double
from sqlalchemy import literal_column
from sqlalchemy import select

from ...model.errors import StoreUnavailable
from .compiled import Statement
from .connections import Connections

# Each in seconds since 1970 in UTC, whatever time zone the connection has.
_MYSQL = "timestampdiff(microsecond, '1970-01-01', utc_timestamp(6)) / 1000000"
_NOW = {
    "postgresql": "CAST(extract(epoch FROM clock_timestamp()) AS double precision)",
    "mysql": _MYSQL,
    "mariadb": _MYSQL,
}


def has_server(dialect: Dialect) -> bool:
    """Return whether a server with a clock of its own keeps the tables: an SQLite engine has this host's."""
    return dialect.name in _NOW


class ServerClock:
    """The clock of a server."""

    def __init__(self, connections: Connections) -> None:
        dialect = connections.engine.dialect
        now: ColumnElement[float] = literal_column(_NOW[dialect.name], Double())
        self._connections = connections
        self._statement = Statement(select(now), dialect, answers=[now])

    def skew(self, now: float) -> float:
        """Return by how many seconds ``now`` is ahead of the server's clock."""
        rows = self._connections.ask(lambda line: line.rows(self._statement, {}))
        try:
            return now - float(rows[0][0])
        except (IndexError, TypeError, ValueError) as error:  # It answered another connection's question.
            raise StoreUnavailable(f"The server was asked for its time, and answered {rows!r}.") from error
