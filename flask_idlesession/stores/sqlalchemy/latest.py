"""Keeps beside the sessions the latest instant that anybody has seen, where no server's clock is a witness."""

from contextlib import suppress

from ...model.record import Ending
from ...model.record import EndReason
from ..marks import id_of_mark
from .connections import Connections
from .endings import Endings
from .many_sessions import ManySessions

_NAME = id_of_mark("the latest instant")

#: Seconds for which the instant is kept, also by a process whose clock is wrong; and an instant before all.
_KEPT_FOR, _LONG_AGO = 1e9, 0.0


class Latest:
    """The latest instant, and what sets sessions back to one."""

    def __init__(self, connections: Connections, statements: ManySessions, endings: Endings) -> None:
        self._connections = connections
        self._statements = statements
        self._endings = endings

    @property
    def place(self) -> str:
        """The database, without its password."""
        return f"the session database {self._connections.engine.url.render_as_string()}"

    def latest(self) -> float | None:
        """Return the instant that was noted last; None if none was."""
        ending = self._endings.load(_NAME, now=_LONG_AGO)
        with suppress(TypeError, ValueError):
            return None if ending is None else float(ending.by or "")
        return None

    def note_latest(self, now: float) -> None:
        """Note an instant."""
        self._endings.bury([Ending(_NAME, EndReason.REVOKED, now, by=repr(now))], until=now + _KEPT_FOR)

    def rewind(self, now: float) -> None:
        """Take the sessions that were seen later than now for seen now."""
        self._connections.ask(lambda line: line.count(self._statements.seen_now, {"now_": now}))
