"""Keeps the tallies of all processes: a row for each minute and name, and one for each total."""

from collections.abc import Iterator
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from sqlalchemy import BigInteger
from sqlalchemy import delete
from sqlalchemy import select
from sqlalchemy import Table
from sqlalchemy.dialects import mysql
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects import sqlite

from ..contract import oldest_tallied
from .compiled import Statement
from .connections import Connections
from .kinds import given
from .kinds import Kind
from .lines import Line

#: Stands in the place of the minute where the row is a total.
_TOTAL = -1

#: How many rows a statement adds, the most that fit.
_SIZES = (64, 16, 4, 1)

_Row = tuple[int, str, int]


class Tallies:
    """The tallies in their table. To add some is one transaction."""

    def __init__(self, connections: Connections, table: Table, kind: Kind) -> None:
        self._connections = connections
        self._table = table
        self._kind = kind
        self._adding: dict[int, Statement] = {}

    def add(self, minute: int, amounts: Mapping[str, int], *, now: float) -> None:
        """As :meth:`KeepsTallies.add_tally`.

        All processes go through the names in one order, so that none waits for another that waits for it.
        """
        oldest = oldest_tallied(now)
        minutes = [_TOTAL] if minute < oldest else [_TOTAL, minute]
        rows = [(at, name, amounts[name]) for at in minutes for name in sorted(amounts)]

        def work(line: Line) -> None:
            for batch in _batches(rows):
                line.count(self._add(len(batch)), _values(batch))
            line.count(self._forget, {"minute_": oldest})

        self._connections.transact(work)

    def since(self, minute: int) -> dict[int, dict[str, int]]:
        """As :meth:`KeepsTallies.tallies`."""
        found: dict[int, dict[str, int]] = {}
        for at, name, amount in self._rows(self._since, max(minute, 0)):
            found.setdefault(at, {})[name] = amount
        return dict(sorted(found.items()))

    def totals(self) -> dict[str, int]:
        """As :meth:`KeepsTallies.tally_totals`."""
        return {name: amount for _, name, amount in self._rows(self._of_minute, _TOTAL)}

    def _rows(self, statement: Statement, minute: int) -> list[Any]:
        return self._connections.ask(lambda line: line.rows(statement, {"minute_": minute}))

    @cached_property
    def _since(self) -> Statement:
        return self._selecting(self._table.c.minute >= given("minute", BigInteger()))

    @cached_property
    def _of_minute(self) -> Statement:
        return self._selecting(self._table.c.minute == given("minute", BigInteger()))

    @cached_property
    def _forget(self) -> Statement:
        minute = self._table.c.minute
        return self._kind.made(delete(self._table).where(minute > _TOTAL, minute < given("minute", BigInteger())))

    def _selecting(self, which: Any) -> Statement:
        columns = [self._table.c.minute, self._table.c.name, self._table.c.amount]
        return self._kind.made(select(*columns).where(which), answers=columns)

    def _add(self, size: int) -> Statement:
        """Return the statement that adds ``size`` amounts to what is there, or puts them there."""
        if size not in self._adding:
            columns = list(self._table.c)
            rows = [
                {each.name: given(f"{each.name}_{number}", each.type) for each in columns} for number in range(size)
            ]
            self._adding[size] = self._kind.made(self._over(rows))
        return self._adding[size]

    def _over(self, rows: list[dict[str, Any]]) -> Any:
        table, amount = self._table, self._table.c.amount
        if self._kind.is_mysql:
            inserting = mysql.insert(table).values(rows)
            return inserting.on_duplicate_key_update(amount=amount + inserting.inserted.amount)
        make: Any = postgresql.insert if self._kind.is_postgresql else sqlite.insert
        inserting = make(table).values(rows)
        return inserting.on_conflict_do_update(
            index_elements=["minute", "name"], set_={"amount": amount + inserting.excluded.amount}
        )


def _batches(rows: list[_Row]) -> Iterator[list[_Row]]:
    """Yield the rows in batches, each as large as a statement."""
    at = 0
    while at < len(rows):
        size = next(size for size in _SIZES if size <= len(rows) - at)
        yield rows[at : at + size]
        at += size


def _values(rows: list[_Row]) -> dict[str, Any]:
    return {
        f"{column}_{number}_": value
        for number, row in enumerate(rows)
        for column, value in zip(("minute", "name", "amount"), row, strict=True)
    }
