"""Remembers for a while how sessions ended."""

from collections.abc import Sequence
from typing import Any

from ...model.ids import SessionId
from ...model.record import Ending
from .. import columns as row
from .. import news
from .connections import Connections
from .ended_sessions import EndedSessions
from .kinds import check
from .kinds import in_batches
from .kinds import in_turn
from .kinds import Kind
from .lines import Line


class Endings:
    """How sessions ended. A burial is a statement or a short transaction, and forgets a few whose time has come."""

    def __init__(self, connections: Connections, statements: EndedSessions, kind: Kind) -> None:
        self._connections = connections
        self._statements = statements
        self._kind = kind

    def bury(self, endings: Sequence[Ending], *, until: float) -> None:
        """Note these endings, and forget some that are too old or too many."""
        if not endings:
            return
        rows = row.to_ending_rows(endings, until=until)
        if self._kind.is_postgresql:
            lists = {f"{name}_": [each[name] for each in rows] for name in row.ENDING}
            self._connections.ask(lambda line: line.count(self._statements.bury_list, lists))
        else:
            self._bury_in_batches(rows)
        self.keep_bounds(len(rows), now=max(ending.ended_at for ending in endings))

    def write(self, line: Line, endings: Sequence[Ending], *, until: float) -> None:
        """Note these endings in a transaction of the caller's."""
        for size, batch in in_batches(row.to_ending_rows(endings, until=until), EndedSessions.SIZES):
            line.count(self._statements.bury(size), _in_turn(batch, size=size))

    def keep_bounds(self, number: int, *, now: float) -> None:
        """After ``number`` burials forget some that are too old or too many."""
        due = {"now_": now, "most_": row.FORGOTTEN_AT_ONCE}
        self._connections.ask(lambda line: line.count(self._statements.forget_due, due))
        if row.is_time_to_trim(number):
            self._trim(self._statements.count_of_one, self._statements.forget_of_one)
            self._trim(self._statements.count_of_many, self._statements.forget_of_many)

    def tell(self, endings: Sequence[Ending], *, channel: str) -> None:
        """Tell all who listen on the channel how these sessions ended."""
        for text in news.to_texts(endings):
            told = {"channel_": channel, "text_": text}
            self._connections.ask(lambda line: line.rows(self._statements.tell, told))  # noqa: B023

    def load(self, sid: SessionId, *, now: float) -> Ending | None:
        """Return how the session ended."""

        def work(line: Line) -> Sequence[Any]:
            rows = line.rows(self._statements.load, {"sid_": sid, "now_": now})
            check(rows[0][0] if rows else None, sid)
            return rows[0]

        found = self._connections.ask(work)
        return None if found[2] is None else row.to_ending(sid, found)

    def load_some(self, sids: Sequence[SessionId], *, now: float) -> list[Ending]:
        """Return how these sessions ended, as far as that is remembered."""
        asked, found = list(dict.fromkeys(sids)), []
        for size, batch in in_batches(asked, EndedSessions.SIZES):
            values = {**in_turn("sid", batch, size=size), "now_": now}
            found += self._connections.ask(lambda line: line.rows(self._statements.load_some(size), values))  # noqa: B023
        for each in found:
            if each[0] not in asked:
                check(each[0], asked[0])
        return [row.to_ending(each[0], each) for each in found]

    def _bury_in_batches(self, rows: Sequence[dict[str, Any]]) -> None:
        batches = [*in_batches(rows, EndedSessions.SIZES)]

        def work(line: Line) -> None:
            for size, batch in batches:
                line.count(self._statements.bury(size), _in_turn(batch, size=size))

        if len(batches) == 1:
            self._connections.ask(work)
        else:
            self._connections.transact(work)

    def _trim(self, counting: Any, forgetting: Any) -> None:
        """Forget the first to go of those that are too many, in steps for which nobody waits long."""
        excess = self._connections.ask(lambda line: line.rows(counting, {}))[0][0] - row.MOST_ENDINGS
        left = min(excess, row.TRIMMED_AT_ONCE)
        while left > 0:
            most = min(left, row.FORGOTTEN_AT_ONCE)
            self._connections.ask(lambda line: line.count(forgetting, {"most_": most}))  # noqa: B023
            left -= most


def _in_turn(rows: Sequence[dict[str, Any]], *, size: int) -> dict[str, Any]:
    """Return the rows' values by their names; the last row stands for those that are missing."""
    return {
        f"{name}_{number}_": rows[min(number, len(rows) - 1)][name] for number in range(size) for name in row.ENDING
    }
