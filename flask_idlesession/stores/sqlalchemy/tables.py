"""Describes the tables of an SQL server's sessions, for the kinds of server that there are."""

import re
from math import inf
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger
from sqlalchemy import Column
from sqlalchemy import DDL
from sqlalchemy import Dialect
from sqlalchemy import Double
from sqlalchemy import event
from sqlalchemy import Index
from sqlalchemy import LargeBinary
from sqlalchemy import MetaData
from sqlalchemy import String
from sqlalchemy import Table
from sqlalchemy import Text
from sqlalchemy import TypeDecorator
from sqlalchemy import Uuid
from sqlalchemy.dialects import mysql
from sqlalchemy.schema import CreateIndex
from sqlalchemy.schema import CreateTable
from sqlalchemy.schema import ExecutableDDLElement
from sqlalchemy.types import TypeEngine

from ...model.record import LONGEST_USER_ID

#: Stands for an instant that never comes: MariaDB has no infinity.
ENDLESS = 1e300

_MYSQL = ("mysql", "mariadb")


class Instant(TypeDecorator[float]):
    """Seconds, or an instant in them, to the last bit."""

    impl = Double
    cache_ok = True

    def process_bind_param(self, value: float | None, dialect: Dialect) -> float | None:
        """Return what the database is given."""
        return None if value is None else min(value, ENDLESS)

    def process_result_value(self, value: float | None, dialect: Dialect) -> float | None:
        """Return what the database gave."""
        return inf if value is not None and value >= ENDLESS else value


class Sid(TypeDecorator[UUID]):
    """A session id: PostgreSQL's own UUID, or its 16 bytes."""

    impl = LargeBinary
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the column's type in this kind of database."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(Uuid())
        return dialect.type_descriptor(mysql.BINARY(16) if dialect.name in _MYSQL else LargeBinary())

    def process_bind_param(self, value: UUID | None, dialect: Dialect) -> Any:
        """Return what the database is given."""
        return value if value is None or dialect.name == "postgresql" else value.bytes

    def process_result_value(self, value: Any, dialect: Dialect) -> UUID | None:
        """Return what the database gave."""
        return value if value is None or dialect.name == "postgresql" else UUID(bytes=bytes(value))


class UserId(TypeDecorator[str]):
    """A user's id, compared byte by byte: by MariaDB's collations "Bob" and "bob " are one user.

    PostgreSQL's text has no NUL, which is written as ``\\0`` there, and a backslash as two.
    """

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the column's type in this kind of database."""
        return dialect.type_descriptor(mysql.VARBINARY(LONGEST_USER_ID) if dialect.name in _MYSQL else Text())

    def process_bind_param(self, value: str | None, dialect: Dialect) -> Any:
        """Return what the database is given."""
        if value is None or dialect.name == "sqlite":
            return value
        return value.encode() if dialect.name in _MYSQL else value.replace("\\", "\\\\").replace("\0", "\\0")

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:
        """Return what the database gave."""
        if value is None or dialect.name == "sqlite":
            return value  # type: ignore[no-any-return]
        if isinstance(value, str):
            return _ESCAPED.sub(lambda found: "\0" if found[0] == "\\0" else "\\", value)
        return bytes(value).decode()


class Words(UserId):
    """The name of the one who ended a session: a text that nobody searches for, and that may be longer."""

    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the column's type in this kind of database."""
        return dialect.type_descriptor(mysql.BLOB() if dialect.name in _MYSQL else Text())


class Name(UserId):
    """The name of an amount, compared byte by byte."""

    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the column's type in this kind of database."""
        return dialect.type_descriptor(mysql.VARBINARY(255) if dialect.name in _MYSQL else Text())


_ESCAPED = re.compile(r"\\[\\0]")

#: Leaves room in PostgreSQL's pages for touched rows. SQLAlchemy 2.0 cannot say it where a table is created.
_LEAVE_ROOM = DDL("ALTER TABLE %(fullname)s SET (fillfactor = 80)")  # type: ignore[no-untyped-call]

_DIGEST = LargeBinary().with_variant(mysql.VARBINARY(64), *_MYSQL)
_VALUES = LargeBinary().with_variant(mysql.LONGBLOB(), *_MYSQL)


def make_sessions(metadata: MetaData, prefix: str) -> Table:
    """Return the table of the sessions.

    ``due_at`` is when prune() is to look at a session, never after it expires: a touch leaves it where it is, so
    that PostgreSQL can write it beside the old row (HOT) and no index moves. ``version`` counts what changes a
    session otherwise, from a random number on.
    """
    name = f"{prefix}session"
    table = Table(
        name,
        metadata,
        Column("sid", Sid(), primary_key=True),
        Column("user_id", UserId()),
        *(
            Column(instant, Instant(), nullable=False)
            for instant in ("created_at", "last_seen_at", "idle_timeout", "lifetime_ends_at", "refresh_by")
        ),
        Column("labels", LargeBinary(), nullable=False),
        Column("secret_digest", _DIGEST, nullable=False),
        Column("former_digest", _DIGEST, nullable=False),
        Column("former_ends_at", Instant(), nullable=False),
        Column("due_at", Instant(), nullable=False),
        Column("version", BigInteger(), nullable=False),
        Column("data", _VALUES, nullable=False),
        mysql_engine="InnoDB",
        mariadb_engine="InnoDB",
        info={"leaves_room": True},
    )
    Index(f"{name}_due_at", table.c.due_at)
    Index(f"{name}_user_id", table.c.user_id)
    event.listen(table, "after_create", _LEAVE_ROOM.execute_if(dialect="postgresql"))
    return table


def make_endings(metadata: MetaData, prefix: str) -> Table:
    """Return the table of how sessions ended, in which nothing changes and nothing refers to a session."""
    name = f"{prefix}ending"
    table = Table(
        name,
        metadata,
        Column("sid", Sid(), primary_key=True),
        Column("user_id", UserId()),
        Column("reason", String(20), nullable=False),
        Column("ended_by", Words()),
        Column("ended_at", Instant(), nullable=False),
        Column("forget_at", Instant(), nullable=False),
        mysql_engine="InnoDB",
        mariadb_engine="InnoDB",
    )
    Index(f"{name}_forget_at", table.c.forget_at)
    return table


def make_tallies(metadata: MetaData, prefix: str) -> Table:
    """Return the table of the counts of all processes together, in which nothing refers to a session."""
    return Table(
        f"{prefix}tally",
        metadata,
        Column("minute", BigInteger(), primary_key=True, autoincrement=False),
        Column("name", Name(), primary_key=True),
        Column("amount", BigInteger(), nullable=False),
        mysql_engine="InnoDB",
        mariadb_engine="InnoDB",
    )


def print_ddl(metadata: MetaData, dialect: Dialect) -> str:
    """Return the statements that create the tables and their indexes."""
    parts: list[ExecutableDDLElement] = []
    for table in metadata.sorted_tables:
        indexes = sorted(table.indexes, key=lambda index: str(index.name))
        parts += [CreateTable(table), *map(CreateIndex, indexes)]
        if dialect.name == "postgresql" and table.info.get("leaves_room"):
            parts.append(_LEAVE_ROOM.against(table))
    return "".join(f"{str(part.compile(dialect=dialect)).strip()};\n\n" for part in parts)
