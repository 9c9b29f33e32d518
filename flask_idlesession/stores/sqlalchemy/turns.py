"""Changes a session in a transaction: what changes without one could not settle takes its turn with a lock."""

from collections.abc import Callable

from ...model.ids import SessionId
from ...model.record import Change
from ...model.record import Outcome
from ...model.record import Record
from .. import columns as row
from .connections import Connections
from .kinds import check
from .kinds import Kind
from .lines import Line
from .one_session import OneSession
from .values import as_row
from .values import of_record
from .values import of_times
from .values import Row


class Turns:
    """Changes of single sessions, for each of which its row is locked."""

    def __init__(self, connections: Connections, statements: OneSession, kind: Kind) -> None:
        self._connections = connections
        self._statements = statements
        self._kind = kind

    def change(
        self, sid: SessionId, change_of: Callable[[Record], Change], *, now: float
    ) -> tuple[Outcome, Row | None]:
        """Apply the change that is made of the record; return the outcome and, if it is done, the row after it."""
        return self._connections.transact(lambda line: self._change(line, sid, change_of, now))

    def delete(self, sid: SessionId, *, version: int | None = None) -> bool:
        """Delete the session, if it has this version; return whether there was one."""
        return self._connections.transact(lambda line: self._delete(line, sid, version))

    def _change(
        self, line: Line, sid: SessionId, change_of: Callable[[Record], Change], now: float
    ) -> tuple[Outcome, Row | None]:
        found = self._lock(line, sid)
        if found is None or now >= row.ends_at(found):
            return Outcome.GONE, None
        record = row.to_record(sid, found)
        change = change_of(record)
        outcome = record.judge(change, now=now)
        if outcome is Outcome.EMPTIED:
            self._kind.do(line, self._statements.delete, {"sid_": sid})
        if outcome is not Outcome.DONE:
            return outcome, None
        version = found[-1]
        values = of_record(record.apply(change, now=now), version=version)
        self._kind.do(line, self._statements.change, {**values, **of_times(change, now=now), "now_": now})
        return outcome, as_row(values, version=version + 1)

    def _delete(self, line: Line, sid: SessionId, version: int | None) -> bool:
        found = self._lock(line, sid)
        if found is None or version not in (None, found[-1]):
            return False
        self._kind.do(line, self._statements.delete, {"sid_": sid})
        return True

    def _lock(self, line: Line, sid: SessionId) -> Row | None:
        rows = line.rows(self._statements.lock, {"sid_": sid})
        if not rows:
            return None
        check(rows[0][0], sid)
        return rows[0]
