"""Asks a database what ``flask idlesession check`` looks at."""

from sqlalchemy import Connection
from sqlalchemy import text

_POSTGRESQL = text("SELECT pg_backend_pid(), current_setting('statement_timeout')")
_MYSQL = text("SELECT @@innodb_flush_log_at_trx_commit")


def facts_of(connection: Connection) -> dict[str, object]:
    """Return the ``kind`` of server. Of PostgreSQL also whether a pooler is between (``is_pooled``), and the limit that
    the server has for a statement (``statement_timeout``). Of MariaDB and MySQL whether each change ``waits_for_disk``,
    a touch, too.
    """
    told: dict[str, object] = {"kind": connection.dialect.name}
    if connection.dialect.name == "postgresql":
        pid, told["statement_timeout"] = connection.execute(_POSTGRESQL).one()
        known = getattr(getattr(connection.connection.dbapi_connection, "info", None), "backend_pid", None)
        if known is not None:  # A pooler makes up the number of the server's process.
            told["is_pooled"] = known != pid
    elif connection.dialect.name in ("mysql", "mariadb"):
        told["waits_for_disk"] = connection.execute(_MYSQL).scalar() == 1
    return told
