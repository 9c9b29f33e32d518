"""Reads the row of one session: for a look, or for a look that touches it."""

import logging
import threading
from typing import Any

from ...model.ids import SessionId
from ...model.record import Change
from ...model.record import Record
from .. import columns as row
from ..contract import Touch
from .connections import Connections
from .errors import CrossedAnswer
from .errors import ReadsOnly
from .kinds import check
from .kinds import Kind
from .lines import Line
from .one_session import OneSession
from .packed_row import unpacked
from .turns import Turns
from .values import as_changed
from .values import of_times
from .values import Row
from .values import to_change

_logger = logging.getLogger("flask_idlesession")

#: How often something is tried without a lock, before it takes its turn with one.
TRIES = 3


class _LastSeen(threading.local):
    """The row that a thread saw last: most often the one that its request changes next."""

    row: Row | None = None


class Rows:
    """The rows of single sessions."""

    def __init__(self, connections: Connections, statements: OneSession, kind: Kind, turns: Turns) -> None:
        self._connections = connections
        self._statements = statements
        self._kind = kind
        self._turns = turns
        self._last_seen = _LastSeen()
        self._was_read_only = False

    def fetch(self, sid: SessionId) -> Row | None:
        """Return the session's row, also of one that has expired."""
        return self._connections.ask(lambda line: self._find(line, sid))

    def load(self, sid: SessionId, *, now: float) -> Record | None:
        """Return the live record."""
        found = self.fetch(sid)
        return None if found is None or now >= row.ends_at(found) else self._kept(sid, found)

    def visit(self, sid: SessionId, touch: Touch, *, now: float) -> Record | None:
        """Touch the live session that the holder opens, and return its record.

        Where the server reads and does not write, the touch is dropped.
        """
        try:
            found = self._visit(sid, touch, now=now)
        except ReadsOnly as error:
            self._note_read_only(error)
            found = self.opened(sid, touch.holder, now=now)
        else:
            self._was_read_only = False
        return None if found is None else self._kept(sid, found)

    def opened(self, sid: SessionId, holder: bytes, *, now: float) -> Row | None:
        """Return the row of the live session that the holder opens."""
        found = self.fetch(sid)
        return found if found is not None and row.opens(found, holder, now=now) else None

    def remember(self, found: Row) -> None:
        """Note the row as what this thread saw last."""
        self._last_seen.row = found

    def recall(self, sid: SessionId) -> Row | None:
        """Return the row that this thread saw last if it is this session's, once. It may have changed since."""
        found, self._last_seen.row = self._last_seen.row, None
        return found if found is not None and found[0] == sid else None

    def _find(self, line: Line, sid: SessionId) -> Row | None:
        if self._kind.is_mysql:
            rows = line.rows(self._statements.load_packed, {"sid_": sid})
            if rows and rows[0][0] is not None:  # It is NULL where a statement may have it, and its answer not.
                found = unpacked(rows[0][0])
                check(found[0], sid)
                return found
        # An answer without a row names no session, so it is not believed: it might be another statement's.
        rows = line.rows(self._statements.load, {"sid_": sid})
        check(rows[0][0] if rows else None, sid)
        return None if rows[0][2] is None else rows[0]

    def _kept(self, sid: SessionId, found: Row) -> Record:
        record = row.to_record(sid, found)
        self.remember(found)
        return record

    def _visit(self, sid: SessionId, touch: Touch, *, now: float) -> Row | None:
        if self._kind.update_returns:
            return self._touch_and_read(sid, touch, now=now)
        if self._kind.proves:
            return self._read_and_touch(sid, touch, now=now)
        return self._touch_in_turn(sid, touch, now=now)

    def _touch_and_read(self, sid: SessionId, touch: Touch, *, now: float) -> Row | None:
        values = {"sid_": sid, "now_": now, "holder_": touch.holder}
        values |= {"last_seen_at_": now, "refresh_by_": touch.refresh_by}
        for _ in range(TRIES):
            found = self._connections.ask(lambda line: self._touched(line, values))
            # That it is not there is not believed, unless its id is named with that.
            if found is not None or self.opened(sid, touch.holder, now=now) is None:
                return found
        raise CrossedAnswer(f"The session database has session {sid}, and does not touch it.")

    def _touched(self, line: Line, values: dict[str, Any]) -> Row | None:
        rows = line.rows(self._statements.visit, values)
        if not rows:
            return None
        check(rows[0][0], values["sid_"])
        return rows[0]

    def _read_and_touch(self, sid: SessionId, touch: Touch, *, now: float) -> Row | None:
        for _ in range(TRIES):
            found, is_settled = self._connections.ask(lambda line: self._seen_touched(line, sid, touch, now=now))
            if is_settled:
                return found
        return self._touch_in_turn(sid, touch, now=now)

    def _seen_touched(self, line: Line, sid: SessionId, touch: Touch, *, now: float) -> tuple[Row | None, bool]:
        """Return the row after the touch, and whether that is settled: nobody changed it after it was read."""
        found = self._find(line, sid)
        if found is None or not row.opens(found, touch.holder, now=now):
            return None, True
        *_, refresh_by, _, _, _, _, data, version = found
        change = to_change(touch, refresh_by=refresh_by, now=now)
        values = {"sid_": sid, "now_": now, "version_": version, **of_times(change, now=now)}
        is_touched = self._kind.prove(line, self._statements.touch_seen, values) is not None
        return as_changed(found, change, now=now, data=data, version=version), is_touched

    def _touch_in_turn(self, sid: SessionId, touch: Touch, *, now: float) -> Row | None:
        def change_of(record: Record) -> Change:
            return to_change(touch, refresh_by=record.info.refresh_by, now=now)

        return self._turns.change(sid, change_of, now=now)[1]

    def _note_read_only(self, error: ReadsOnly) -> None:
        if not self._was_read_only:
            _logger.warning("The session database does not write, so no activity is noted: %s [ISE085]", error)
        self._was_read_only = True
