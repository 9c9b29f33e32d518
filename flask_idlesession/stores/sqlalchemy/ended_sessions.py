"""The statements about how sessions ended."""

from functools import cached_property
from typing import Any

from sqlalchemy import bindparam
from sqlalchemy import cast
from sqlalchemy import ColumnElement
from sqlalchemy import delete
from sqlalchemy import func
from sqlalchemy import Integer
from sqlalchemy import literal_column
from sqlalchemy import not_
from sqlalchemy import Select
from sqlalchemy import select
from sqlalchemy import String
from sqlalchemy import Table
from sqlalchemy import Text
from sqlalchemy.dialects import mysql
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects import sqlite

from .. import columns as row
from .compiled import Statement
from .kinds import given
from .kinds import Kind
from .kinds import no_wait
from .kinds import numbered
from .kinds import one_row
from .tables import Instant
from .tables import Sid

#: In which bytes of an id a UUID of version 5 is told: one that is made of a name (RFC 9562).
_FIRST_OF_FIVE: Any = literal_column("x'50'")
_LAST_OF_FIVE: Any = literal_column("x'5F'")
_TEXT_OF_FIVE: Any = literal_column("'________-____-5%'")


class EndedSessions:
    """The statements about how sessions ended, for one kind of server. Each is compiled when it is first needed."""

    #: How many rows a statement has, where a server takes no list for one value: a text is made for each.
    SIZES = (1, 16, 64)

    def __init__(self, table: Table, kind: Kind) -> None:
        self._table = table
        self._kind = kind
        self._made: dict[int, Statement] = {}
        self._loading: dict[int, Statement] = {}

    @cached_property
    def bury_list(self) -> Statement:
        """PostgreSQL: notes how the sessions of a list ended. It does not wait for the disk."""
        table = self._table.c
        lists = [bindparam(f"{name}_", type_=postgresql.ARRAY(table[name].type)) for name in row.ENDING]
        listed: Any = func.unnest(*lists).table_valued(*row.ENDING, name="listed").render_derived()
        hasty = no_wait()
        found = select(*(listed.c[name] for name in row.ENDING)).select_from(hasty.join(listed, literal_column("true")))
        return self._kind.made(self.bury_found(found))

    def bury_found(self, found: Select[Any]) -> Any:
        """PostgreSQL: return the part of a statement that notes the endings which a query finds."""
        return self._over(postgresql.insert(self._table).from_select([*row.ENDING], found))

    def bury(self, size: int) -> Statement:
        """Notes how ``size`` sessions ended."""
        if size not in self._made:
            make: Any = mysql.insert if self._kind.is_mysql else sqlite.insert
            columns = [self._table.c[name] for name in row.ENDING]
            rows = [
                {each.name: given(f"{each.name}_{number}", each.type) for each in columns} for number in range(size)
            ]
            self._made[size] = self._kind.made(self._over(make(self._table).values(rows)))
        return self._made[size]

    @cached_property
    def tell(self) -> Statement:
        """PostgreSQL: tells all who listen on a channel. It answers with the channel's name."""
        channel = given("channel", Text())
        told: Any = func.length(cast(func.pg_notify(channel, given("text", Text())), Text()))
        return self._kind.made(select(told), answers=[told])

    @cached_property
    def load(self) -> Statement:
        """Answers with one row: the id that was asked for, and beside it how that session ended or NULL."""
        table = self._table
        columns = [given("sid", Sid()).label("sid"), *(table.c[name] for name in row.ENDING[1:])]
        is_it = (table.c.sid == given("sid", Sid())) & (table.c.forget_at > given("now", Instant()))
        return self._kind.made(select(*columns).select_from(one_row().outerjoin(table, is_it)), answers=columns)

    def load_some(self, size: int) -> Statement:
        """Answers with how ``size`` sessions ended, a row for each that is remembered."""
        if size not in self._loading:
            table = self._table
            columns = [table.c[name] for name in row.ENDING]
            is_one = table.c.sid.in_(numbered("sid", size, Sid())) & (table.c.forget_at > given("now", Instant()))
            self._loading[size] = self._kind.made(select(*columns).where(is_one), answers=columns)
        return self._loading[size]

    @cached_property
    def forget_due(self) -> Statement:
        """Forgets some whose time has come."""
        return self._forgetting(self._table.c.forget_at <= given("now", Instant()))

    @cached_property
    def count_of_one(self) -> Statement:
        """Answers with the number of endings that are of one session each."""
        return self._counting(not_(self._is_of_many()))

    @cached_property
    def count_of_many(self) -> Statement:
        """Answers with the number of endings that are of many sessions (:attr:`Ending.is_of_many`)."""
        return self._counting(self._is_of_many())

    @cached_property
    def forget_of_one(self) -> Statement:
        """Forgets the first to go of the endings that are of one session each."""
        return self._forgetting(not_(self._is_of_many()))

    @cached_property
    def forget_of_many(self) -> Statement:
        """Forgets the first to go of the endings that are of many sessions."""
        return self._forgetting(self._is_of_many())

    def _is_of_many(self) -> ColumnElement[bool]:
        sid: Any = self._table.c.sid
        if self._kind.is_postgresql:
            found: ColumnElement[bool] = cast(sid, String).like(_TEXT_OF_FIVE)
            return found
        byte: Any = func.substr(sid, literal_column("7"), literal_column("1"))
        return byte.between(_FIRST_OF_FIVE, _LAST_OF_FIVE)  # type: ignore[no-any-return]

    def _counting(self, which: ColumnElement[bool]) -> Statement:
        count = func.count()
        return self._kind.made(select(count).select_from(self._table).where(which), answers=[count])

    def _forgetting(self, which: ColumnElement[bool]) -> Statement:
        """Delete the first to go, ``most_`` of them, but for those that another worker deletes."""
        table = self._table
        found = select(table.c.sid).where(which).order_by(table.c.forget_at).limit(given("most", Integer()))
        if self._kind.is_sqlite:
            return self._kind.made(delete(table).where(table.c.sid.in_(found)))
        locked = self._kind.locking_free(found)
        # PostgreSQL may run a subquery once for each row of the table, and each time that finds others.
        chosen = locked.cte("chosen") if self._kind.is_postgresql else locked.subquery("chosen")
        return self._kind.made(self._kind.hasty(delete(table).where(table.c.sid == chosen.c.sid)))

    def _over(self, inserting: Any) -> Any:
        """Have a row take the place of the one of the same session."""
        others = row.ENDING[1:]
        if self._kind.is_mysql:
            return inserting.on_duplicate_key_update({name: inserting.inserted[name] for name in others})
        return inserting.on_conflict_do_update(
            index_elements=["sid"], set_={name: inserting.excluded[name] for name in others}
        )
