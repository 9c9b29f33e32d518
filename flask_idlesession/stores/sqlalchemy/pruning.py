"""Forgets the sessions that have expired, some at a time, so that no request waits long for it."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from typing import NamedTuple

from ...model.errors import StoreError
from ...model.record import Ending
from ...model.record import SessionInfo
from .. import columns as row
from ..contract import REMEMBERED
from .connections import Connections
from .endings import Endings
from .kinds import in_batches
from .kinds import in_turn
from .kinds import Kind
from .lines import Line
from .many_sessions import ManySessions
from .tables import ENDLESS

#: How many sessions a step looks at beyond those that it may forget: some live on, and are filed by their new end.
_LOOK = 256

#: Before all instants.
_EVER = -ENDLESS


class _Step(NamedTuple):
    """The latest instant at which one of those was due that a step looked at, and those that it forgot."""

    reached: float | None
    gone: list[SessionInfo]


class Pruning:
    """Forgets what has expired.

    PostgreSQL's index names rows that are gone until the table is vacuumed, and to pass over a million of them takes
    milliseconds each time. So a step begins where the one before came to, ``_since``. It is a hint: where nothing is
    found behind it, the next step begins at the start, where a session may have come since.
    """

    def __init__(self, connections: Connections, statements: ManySessions, kind: Kind, endings: Endings) -> None:
        self._connections = connections
        self._statements = statements
        self._kind = kind
        self._endings = endings
        self._since = _EVER

    def prune(self, *, now: float, limit: int) -> list[SessionInfo]:
        """Forget up to ``limit`` of those that have expired, and return what they were."""
        while limit > 0:
            since = self._since
            bounds = {"look_": limit + _LOOK, "most_": limit, "until_": now + REMEMBERED}
            step = self._step({"now_": now, "since_": since, **bounds})
            self._since = _EVER if step.reached is None else step.reached
            if step.gone:
                self._keep_bounds(len(step.gone), now)
            if step.gone or (step.reached is None and since == _EVER):
                return step.gone
        return []

    def next_due(self) -> float | None:
        """Return the instant at which a session is next to be looked at; None if none is ever."""
        due_at = self._connections.ask(lambda line: line.rows(self._statements.next_due, {}))[0][0]
        return due_at if due_at is not None and due_at < ENDLESS else None

    def _step(self, values: dict[str, Any]) -> _Step:
        if self._kind.is_postgresql:
            return self._read(self._connections.ask(lambda line: line.rows(self._statements.prune, values)), values)
        if not self._connections.ask(lambda line: line.rows(self._statements.due, values)):
            return _Step(None, [])
        return self._connections.transact(lambda line: self._forget(line, values))

    def _keep_bounds(self, number: int, now: float) -> None:
        with suppress(StoreError):  # These are over all the same, and are to be told.
            self._endings.keep_bounds(number, now=now)

    def _read(self, rows: Sequence[Sequence[Any]], values: dict[str, Any]) -> _Step:
        """Return what PostgreSQL did. Sessions beyond ``most_`` were not forgotten."""
        reached, gone = rows[0][0], [found[1:] for found in rows if found[1] is not None]
        return _Step(_reached(reached, gone, values), [row.to_info(found[0], found) for found in gone])

    def _forget(self, line: Line, values: dict[str, Any]) -> _Step:
        """Do in a transaction what PostgreSQL does in one statement."""
        found = line.rows(self._statements.lock_due, values)
        now = values["now_"]
        over = [each for each in found if now >= row.ends_at(each)][: values["most_"]]
        kept = [each[0] for each in found if now < row.ends_at(each)]
        for size, sids in in_batches([each[0] for each in over], ManySessions.SIZES):
            line.count(self._statements.delete(size), in_turn("sid", sids, size=size))
        for size, sids in in_batches(kept, ManySessions.SIZES):
            line.count(self._statements.refile(size), in_turn("sid", sids, size=size))
        gone = [row.to_info(each[0], each) for each in over]
        self._endings.write(line, [Ending.of_forgotten(info, now=now) for info in gone], until=values["until_"])
        reached = found[-1][-1] if found else None
        return _Step(_reached(reached, over, values), gone)


def _reached(reached: float | None, gone: Sequence[Sequence[Any]], values: dict[str, Any]) -> float | None:
    """Return how far a step came. If it forgot as many as it might, those behind the last one were only looked at."""
    return max(each[-1] for each in gone) if len(gone) == values["most_"] else reached
