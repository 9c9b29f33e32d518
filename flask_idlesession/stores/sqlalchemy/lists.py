"""Lists sessions, and ends lists of them."""

from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

from ...model.ids import SessionId
from ...model.record import SessionInfo
from .. import columns as row
from .connections import Connections
from .kinds import in_batches
from .kinds import in_turn
from .kinds import Kind
from .lines import Line
from .many_sessions import ManySessions
from .many_sessions import PAGE

#: A row that begins with the columns of :data:`columns.INFO`.
Row = Sequence[Any]


class Lists:
    """Lists of sessions."""

    def __init__(self, connections: Connections, statements: ManySessions, kind: Kind) -> None:
        self._connections = connections
        self._statements = statements
        self._kind = kind

    def all(self) -> Iterator[Row]:
        """Yield all rows, some at a time: a caller that takes long over them keeps no connection."""
        rows = self._connections.ask(lambda line: line.rows(self._statements.first_page, {}))
        while rows:
            yield from rows
            if len(rows) < PAGE:
                return
            last = {"sid_": rows[-1][0]}
            rows = self._connections.ask(lambda line: line.rows(self._statements.next_page, last))  # noqa: B023

    def of_user(self, user_id: str) -> Sequence[Row]:
        """Return the rows of one user's sessions."""
        if not row.is_user_id(user_id):
            return []
        return self._connections.ask(lambda line: line.rows(self._statements.of_user, {"user_id_": user_id}))

    def delete(self, sids: Sequence[SessionId]) -> list[SessionInfo]:
        """Delete these sessions in one step; return the infos of those that were there."""
        if not sids:
            return []
        if self._kind.is_postgresql:
            gone = self._connections.ask(lambda line: line.rows(self._statements.delete_list, {"sids_": [*sids]}))
        else:
            meant = sorted({*sids})  # Always in one order, so that no two workers wait for each other.
            gone = self._connections.transact(lambda line: self._delete(line, meant))
        return [row.to_info(found[0], found) for found in gone]

    def _delete(self, line: Line, sids: Sequence[SessionId]) -> list[Row]:
        gone: list[Row] = []
        for size, batch in in_batches(sids, ManySessions.SIZES):
            found = line.rows(self._statements.lock(size), in_turn("sid", batch, size=size))
            gone += found
            if found:
                line.count(self._statements.delete(size), in_turn("sid", [each[0] for each in found], size=size))
        return gone
