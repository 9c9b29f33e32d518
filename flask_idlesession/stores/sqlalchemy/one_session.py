"""The statements about one session. Values are given by their columns with an underscore behind: ``sid_``, ``now_``."""

from functools import cached_property
from typing import Any

from sqlalchemy import case
from sqlalchemy import ColumnElement
from sqlalchemy import delete
from sqlalchemy import func
from sqlalchemy import insert
from sqlalchemy import Integer
from sqlalchemy import literal_column
from sqlalchemy import or_
from sqlalchemy import select
from sqlalchemy import Table
from sqlalchemy import Update
from sqlalchemy import update
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects import sqlite

from .. import columns as row
from .compiled import Statement
from .kinds import given
from .kinds import Kind
from .kinds import one_row
from .packed_row import packed
from .tables import ENDLESS
from .tables import Instant
from .tables import Sid

_ENDLESS: Any = literal_column(repr(ENDLESS))


class OneSession:
    """The statements about one session, for one kind of server. Each is compiled when it is first needed."""

    def __init__(self, table: Table, kind: Kind) -> None:
        self._table = table
        self._kind = kind
        self._record = [*(table.c[name] for name in row.RECORD), table.c.version]

    @cached_property
    def create(self) -> Statement:
        """Answers with the id of a session that there was not, where an INSERT can."""
        table, kind = self._table, self._kind
        values = {column.name: given(column.name, column.type) for column in table.columns}
        plain = insert(table).values(values)
        if not kind.insert_returns:
            return kind.made(plain)
        if not kind.is_mysql:
            make: Any = postgresql.insert if kind.is_postgresql else sqlite.insert
            plain = make(table).values(values).on_conflict_do_nothing(index_elements=["sid"])
        return kind.made(plain.returning(table.c.sid), answers=[table.c.sid])

    @cached_property
    def load(self) -> Statement:
        """Answers with one row: the id that was asked for, and beside it the session or NULL."""
        columns = [given("sid", Sid()).label("sid"), *self._record[1:]]
        found = select(*columns).select_from(one_row().outerjoin(self._table, self._is_it()))
        return self._kind.made(found, answers=columns)

    @cached_property
    def load_packed(self) -> Statement:
        """MariaDB: answers with the session in one column, or not at all."""
        column = packed(self._table)
        return self._kind.made(select(column).where(self._is_it()), answers=[column])

    @cached_property
    def lock(self) -> Statement:
        """Answers with the session, which nobody else changes until the transaction ends."""
        return self._kind.made(self._kind.locking(select(*self._record).where(self._is_it())), answers=self._record)

    @cached_property
    def visit(self) -> Statement:
        """Touches the session that the holder opens, and answers with it. PostgreSQL does not wait for the disk.

        Only a permanent session is refreshed. Indexed columns stay as they are, so that no index changes.
        """
        table = self._table.c
        refreshed = self._or(table.refresh_by)
        permanent = table.refresh_by < _ENDLESS
        values = (
            (table.last_seen_at, self._seen_at()),
            (table.refresh_by, case((permanent, refreshed), else_=table.refresh_by)),
            (table.due_at, self._kind.least(table.due_at, refreshed)),
        )
        touched = self._kind.hasty(self._held()).ordered_values(*values).returning(*self._record)
        return self._kind.made(touched, answers=self._record)

    @cached_property
    def touch(self) -> Statement:
        """Touches the session that the holder opens. PostgreSQL does not wait for the disk."""
        return self._kind.changing(self._table, self._kind.hasty(self._held()), *self._touched())

    @cached_property
    def touch_seen(self) -> Statement:
        """Touches the session if its version is the one that was read."""
        return self._kind.changing(self._table, self._read(), *self._touched())

    @cached_property
    def write(self) -> Statement:
        """Writes some values and times, for the holder.

        If the version is ``version_``, the values become ``data_``; else ``more_`` is put behind what is there, as
        long as that is shorter than ``room_``.
        """
        table, kind = self._table.c, self._kind
        is_known = table.version == given("version", table.version.type)
        data, more = given("data", table.data.type), given("more", table.data.type)
        has_room = func.length(table.data) < given("room", Integer())
        return kind.changing(
            self._table,
            self._held().where(or_(is_known, has_room)),
            (table.data, case((is_known, data), else_=kind.joined(table.data, more))),
            *self._times(),
            (table.version, kind.version(self._table, adds=1)),
        )

    @cached_property
    def change(self) -> Statement:
        """Writes all of the session, if its version is the one that was read."""
        table = self._table.c
        plain = ("user_id", "labels", "secret_digest", "former_digest", "former_ends_at", "lifetime_ends_at", "data")
        return self._kind.changing(
            self._table,
            self._read(),
            *((table[name], given(name, table[name].type)) for name in plain),
            *self._times(lifetime_ends_at=given("lifetime_ends_at", Instant())),
            (table.version, self._kind.version(self._table, adds=1)),
        )

    @cached_property
    def empty(self) -> Statement:
        """Deletes the session if its version is the one that was read."""
        version = self._table.c.version
        meant = delete(self._table).where(self._is_it(), version == given("version", version.type))
        return self._kind.deleting(meant, answers=[self._table.c.sid])

    @cached_property
    def delete(self) -> Statement:
        """Deletes the session, and answers with its id where a DELETE can."""
        return self._kind.deleting(delete(self._table).where(self._is_it()), answers=[self._table.c.sid])

    @cached_property
    def most_bytes(self) -> Statement:
        """MariaDB: answers with the most bytes that a statement may have."""
        most: Any = literal_column("@@max_allowed_packet", Integer())
        return self._kind.made(select(most), answers=[most])

    def _is_it(self) -> ColumnElement[bool]:
        found: ColumnElement[bool] = self._table.c.sid == given("sid", Sid())
        return found

    def _or(self, column: ColumnElement[float]) -> ColumnElement[float]:
        """Return the value that is given for a column, or what is in it if none is."""
        name: Any = column.key
        return func.coalesce(given(name, Instant()), column, type_=Instant())

    def _seen_at(self) -> ColumnElement[float]:
        return self._kind.greatest(self._table.c.last_seen_at, given("last_seen_at", Instant()))

    def _touched(self) -> list[tuple[Any, Any]]:
        table = self._table.c
        refreshed = self._or(table.refresh_by)
        values = [
            (table.last_seen_at, self._seen_at()),
            (table.refresh_by, refreshed),
            (table.due_at, self._kind.least(table.due_at, refreshed)),
        ]
        return [*values, (table.version, self._kind.version(self._table, adds=0))] if self._kind.is_mysql else values

    def _times(self, *, lifetime_ends_at: Any = None) -> list[tuple[Any, Any]]:
        """Return the times after a change, and when the session is to be looked at next.

        MariaDB takes a column that was just set as it is now, PostgreSQL as it was: alike for these.
        """
        table = self._table.c
        idle_timeout, refreshed = self._or(table.idle_timeout), self._or(table.refresh_by)
        ends = table.lifetime_ends_at if lifetime_ends_at is None else lifetime_ends_at
        return [
            (table.last_seen_at, self._seen_at()),
            (table.idle_timeout, idle_timeout),
            (table.refresh_by, refreshed),
            (table.due_at, self._kind.least(table.due_at, self._seen_at() + idle_timeout, ends, refreshed)),
        ]

    def _live(self) -> Update:
        table = self._table.c
        ends_at = self._kind.least(table.last_seen_at + table.idle_timeout, table.lifetime_ends_at, table.refresh_by)
        return update(self._table).where(self._is_it(), ends_at > given("now", Instant()))

    def _held(self) -> Update:
        """Update the live session that the holder opens: the conditions are those of :meth:`Record.judge`."""
        table = self._table.c
        holder = given("holder", table.secret_digest.type)
        is_former = (table.former_digest == holder) & (table.former_ends_at > given("now", Instant()))
        return self._live().where(or_(table.secret_digest == holder, is_former))

    def _read(self) -> Update:
        """Update the live session, if its version is the one that was read."""
        version = self._table.c.version
        return self._live().where(version == given("version", version.type))
