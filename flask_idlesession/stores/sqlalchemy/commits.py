"""Begins, changes and ends one session. Each proves that it met its row, and is one statement where it can be."""

from collections.abc import Callable
from typing import Any
from typing import TypeVar

from ...model.errors import RecordRejected
from ...model.errors import SessionExists
from ...model.ids import new_session_id
from ...model.ids import SessionId
from ...model.record import Change
from ...model.record import merged
from ...model.record import Outcome
from ...model.record import Record
from .. import columns as row
from .compiled import Statement
from .connections import Connections
from .errors import CrossedAnswer
from .errors import Lost
from .kinds import check
from .kinds import Kind
from .lines import Line
from .one_session import OneSession
from .rows import Rows
from .rows import TRIES
from .turns import Turns
from .values import as_changed
from .values import as_row
from .values import of_record
from .values import of_times
from .values import Row

T = TypeVar("T")

#: A delta of at most the first number of bytes is put behind the values of a row, if they have fewer than the second.
_MOST_MORE, _ROOM = 16_384, 65_536

#: Bytes that each server takes at once.
_SMALL = 65_536

#: Stands for a version that no row has.
_NO_VERSION = -1


class Commits:
    """Creations, commits and deletions of single sessions."""

    def __init__(
        self, connections: Connections, statements: OneSession, kind: Kind, *, rows: Rows, turns: Turns
    ) -> None:
        self._connections = connections
        self._statements = statements
        self._kind = kind
        self._rows = rows
        self._turns = turns

    def create(self, record: Record) -> None:
        """Insert the row. Raise :exc:`SessionExists` if there is one of this id."""
        # Not 1: a commit that read a session of this id before it was ended must not take this one for that.
        version = new_session_id().int >> 67
        values = of_record(record, version=version)
        if not self._insert(values):
            raise SessionExists(f"There is a session {record.info.sid} already.")
        self._rows.remember(as_row(values, version=version))

    def commit(self, sid: SessionId, change: Change, *, now: float) -> Outcome:
        """Apply the change: at once if nothing has to be compared, else to what is there."""
        seen = self._rows.recall(sid)
        if not self._kind.proves:
            return self._turns.change(sid, lambda record: change, now=now)[0]
        if change.rotation is not None or change.expect or change.labels or change.end_if_emptied:
            return self._compare(sid, change, seen, now=now)
        if not change.delta and change.idle_timeout is None:
            return self._touch(sid, change, now=now)
        return Outcome.DONE if self._write(sid, change, seen, now=now) else self._compare(sid, change, None, now=now)

    def delete(self, sid: SessionId) -> bool:
        """Delete the row; return whether there was one."""
        if not self._kind.delete_returns:
            return self._turns.delete(sid)
        for _ in range(TRIES):
            if self._connections.ask(lambda line: self._deleted(line, self._statements.delete, {"sid_": sid})):
                return True
            if self._rows.fetch(sid) is None:
                return False
        raise CrossedAnswer(f"The session database has session {sid}, and does not delete it.")

    # Begins.

    def _insert(self, values: dict[str, Any]) -> bool:
        sid, size = values["sid_"], len(values["data_"])
        for _ in range(TRIES):
            try:
                return self._send(lambda line: self._inserted(line, values), size=size)
            except SessionExists:
                return False
            except Lost:
                found = self._rows.fetch(sid)
                if found is not None:
                    return bool(found[-1] == values["version_"])
        raise Lost("The session database failed: a session may or may not have been created.")

    def _inserted(self, line: Line, values: dict[str, Any]) -> bool:
        if not self._kind.insert_returns:
            return line.count(self._statements.create, values) == 1
        rows = line.rows(self._statements.create, values)
        if rows:
            check(rows[0][0], values["sid_"])
        return bool(rows)

    # Changes to which nothing has to be compared.

    def _touch(self, sid: SessionId, change: Change, *, now: float) -> Outcome:
        values = {"sid_": sid, "now_": now, "holder_": change.holder, "version_": _NO_VERSION}
        values |= of_times(change, now=now)
        for _ in range(TRIES):
            if self._connections.ask(lambda line: self._kind.prove(line, self._statements.touch, values)) is not None:
                return Outcome.DONE
            if self._rows.opened(sid, change.holder, now=now) is None:
                return Outcome.GONE
        raise CrossedAnswer(f"The session database has session {sid}, and does not touch it.")

    def _write(self, sid: SessionId, change: Change, seen: Row | None, *, now: float) -> bool:
        """Write the delta and the times for the holder; return whether that was done, which is not known if not.

        As far as this thread knows what is there, all values are written as they will be. If something else is there,
        the server puts the delta behind it.
        """
        more = row.to_more(change.delta)
        version, data = _NO_VERSION, b""
        if seen is not None:
            version, data = seen[-1], row.to_data(merged(row.to_record(sid, seen).values, change.delta))
        room = _ROOM if len(more) <= _MOST_MORE else 0
        values = {"sid_": sid, "now_": now, "holder_": change.holder, "version_": version, "data_": data}
        values |= {"more_": more if room else b"", "room_": room, **of_times(change, now=now)}
        try:
            after = self._send(
                lambda line: self._kind.prove(line, self._statements.write, values), size=len(data) + len(more)
            )
        except Lost:  # The delta can be applied once more.
            return False
        if seen is not None and after == version + 1:
            self._rows.remember(as_changed(seen, change, now=now, data=data, version=after))
        return after is not None

    # Changes to which what is there has to be compared.

    def _compare(self, sid: SessionId, change: Change, seen: Row | None, *, now: float) -> Outcome:
        """Apply the change to the row that was read, if it is still the same; else read it again.

        The row that this thread saw may be old, so only a change that is done proves anything.
        """
        if seen is not None and row.opens(seen, change.holder, now=now):
            outcome = self._try(sid, change, seen, now=now)
            if outcome in (Outcome.DONE, Outcome.EMPTIED):
                return outcome
        for _ in range(TRIES):
            seen = self._rows.opened(sid, change.holder, now=now)
            if seen is None:
                return Outcome.GONE
            outcome = self._try(sid, change, seen, now=now)
            if outcome is not None:
                return outcome
        return self._turns.change(sid, lambda record: change, now=now)[0]

    def _try(self, sid: SessionId, change: Change, seen: Row, *, now: float) -> Outcome | None:
        """Return what became of the change; None if the row is not the one that was seen."""
        record, version = row.to_record(sid, seen), seen[-1]
        outcome = record.judge(change, now=now)
        try:
            if outcome is Outcome.EMPTIED:
                return outcome if self._empty({"sid_": sid, "version_": version}) else None
            if outcome is not Outcome.DONE:
                return outcome
            values = of_record(record.apply(change, now=now), version=version)
            if not self._change({**values, **of_times(change, now=now), "now_": now}):
                return None
        except Lost as error:
            return self._after_loss(sid, change, seen, error)
        self._rows.remember(as_row(values, version=version + 1))
        return outcome

    def _change(self, values: dict[str, Any]) -> bool:
        statement, size = self._statements.change, len(values["data_"])
        return self._send(lambda line: self._kind.prove(line, statement, values), size=size) is not None

    def _empty(self, values: dict[str, Any]) -> bool:
        if self._kind.delete_returns:
            return self._connections.tell(lambda line: self._deleted(line, self._statements.empty, values))
        return self._turns.delete(values["sid_"], version=values["version_"])

    def _deleted(self, line: Line, statement: Statement, values: dict[str, Any]) -> bool:
        rows = line.rows(statement, values)
        if rows:
            check(rows[0][0], values["sid_"])
        return bool(rows)

    # Lost connections.

    def _after_loss(self, sid: SessionId, change: Change, seen: Row, error: Lost) -> Outcome | None:
        """Return what became of a change whose connection was lost; None if it can be tried again.

        Raise the error if that cannot be told.
        """
        found = self._rows.fetch(sid)
        if found is None:
            return Outcome.EMPTIED if change.end_if_emptied else Outcome.GONE
        if found[-1] == seen[-1]:
            return None
        if change.rotation is not None and row.to_record(sid, found).secret_digest == change.rotation.secret_digest:
            return Outcome.DONE
        if change.rotation is not None or change.expect:
            raise error
        return None  # To have it applied twice is as good as once.

    def _send(self, work: Callable[[Line], T], *, size: int) -> T:
        """Send a statement with ``size`` bytes of values. If they are more than MariaDB takes, it hangs up."""
        try:
            return self._connections.tell(work)
        except Lost as error:
            if self._kind.is_mysql and size > _SMALL:
                most = self._connections.ask(lambda line: line.rows(self._statements.most_bytes, {}))[0][0]
                # The driver writes some bytes as two.
                if 2 * size > most:
                    raise RecordRejected(
                        f"A session of {size} bytes is more than the server takes: max_allowed_packet is {most}."
                    ) from error
            raise
