"""Counts sessions, and the bytes that they take, in some milliseconds however many there are."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection
from sqlalchemy import func
from sqlalchemy import select
from sqlalchemy import Table
from sqlalchemy import text

from ..contract import Count

#: How many ids at each end are looked at. Up to twice as many sessions are counted; beyond that they are estimated.
_SOME = 20_000

#: The estimates by the lowest and by the highest ids agree within this part, or the ids are not random.
_AGREES = 0.1

#: The random bits that a session's id begins with (RFC 9562, 5.4).
_RANDOM_BITS = 48

#: The question for the size of a table with its indexes, by the kind of server.
_SIZES = {
    "postgresql": "SELECT pg_total_relation_size(to_regclass(:name))",
    "mysql": "SELECT data_length + index_length FROM information_schema.tables "
    "WHERE table_schema = database() AND table_name = :name",
    "sqlite": "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size",
}
_SIZES["mariadb"] = _SIZES["mysql"]


def count(connection: Connection, sessions: Table) -> Count:
    """Return how many records there are.

    To count a million rows can take PostgreSQL a second. Ids are random, so the distance between many of them tells how
    many there are: within about half a percent.
    """
    lowest = _at(connection, sessions, sessions.c.sid)
    highest = None if lowest is None else _at(connection, sessions, sessions.c.sid.desc())
    if lowest is not None and highest is not None:
        from_below, from_above = _SOME / max(lowest, 1e-12), _SOME / max(1 - highest, 1e-12)
        if abs(from_below - from_above) <= _AGREES * min(from_below, from_above) and lowest < highest:
            return Count(round((from_below + from_above) / 2), is_exact=False)
    return Count(connection.execute(select(func.count()).select_from(sessions)).scalar_one(), is_exact=True)


def stored_bytes(connection: Connection, sessions: Table) -> int | None:
    """Return how many bytes the table of the sessions has with its indexes; of SQLite, the file."""
    kind = connection.dialect.name
    told = {} if kind == "sqlite" else {"name": sessions.name}
    row: Sequence[Any] | None = connection.execute(text(_SIZES[kind]), told).first()
    return None if row is None or row[0] is None else int(row[0])


def _at(connection: Connection, sessions: Table, order: Any) -> float | None:
    """Return where among all ids, from 0 to 1, the one lies that is ``_SOME`` places from the end."""
    sid = connection.execute(select(sessions.c.sid).order_by(order).offset(_SOME - 1).limit(1)).scalar()
    return None if sid is None else (sid.int >> 128 - _RANDOM_BITS) / (1 << _RANDOM_BITS)
