"""A record as it lies in a row of an SQL table: its info is made when somebody asks for it, which is seldom."""

from collections.abc import Sequence
from math import inf
from typing import Any

from ..model.ids import SessionId
from ..model.record import Labels
from ..model.record import Record
from ..model.record import SessionInfo
from ..model.record import Values

_new = object.__new__


class RowRecord(Record):
    """A record of which the values were decoded, and the rest is as it was read."""

    __slots__ = ("_sid", "_row", "_labels", "_info")
    __hash__ = None  # type: ignore[assignment]
    # A frozen dataclass makes each assignment a call; here only row_record() and what is kept of a look assign.
    __setattr__, __delattr__ = object.__setattr__, object.__delattr__

    _sid: SessionId
    _row: Sequence[Any]
    _labels: Labels
    _info: SessionInfo | None

    def __new__(cls, **fields: Any) -> Record:  # type: ignore[misc]
        """Return a plain record: :func:`dataclasses.replace` makes its copy so."""
        return Record(**fields)

    @property
    def info(self) -> SessionInfo:
        """The info of the session, made when it is first asked for."""
        if self._info is None:
            self._info = info_of(self._sid, self._row, self._labels)
        return self._info

    @property
    def expires_at(self) -> float:
        """The instant at which the session is over, if nothing more happens."""
        _, _, _, last_seen_at, idle_timeout, lifetime_ends_at, refresh_by, *_ = self._row
        return float(min(last_seen_at + idle_timeout, lifetime_ends_at, refresh_by))

    @property
    def is_permanent(self) -> bool:
        """Whether it also ends unless it is refreshed in time."""
        return bool(self._row[6] < inf)

    @property
    def has_user(self) -> bool:
        """Whether it is a user's."""
        return self._row[1] is not None

    @property
    def is_plain(self) -> bool:
        """Whether it is nobody's, and not permanent: there is nothing to note of activity but its instant."""
        return self._row[1] is None and self._row[6] == inf

    def __eq__(self, other: object) -> bool:
        return self._plain() == (other._plain() if isinstance(other, RowRecord) else other)

    def __repr__(self) -> str:
        return repr(self._plain())

    def __reduce__(self) -> tuple[Any, ...]:
        return _itself, (self._plain(),)

    def _plain(self) -> Record:
        return self.holding(self.values)


def row_record(sid: SessionId, row: Sequence[Any], *, labels: Labels, values: Values) -> RowRecord:
    """Return the record in a row that begins with the columns of :data:`~.columns.RECORD`, each of its type."""
    record = _new(RowRecord)
    record._sid = sid
    record._row = row
    record._labels = labels
    record._info = None
    record.secret_digest, record.former_digest, record.former_ends_at = row[8:11]  # type: ignore[misc]
    record.values = values  # type: ignore[misc]
    return record


def info_of(sid: SessionId, row: Sequence[Any], labels: Labels) -> SessionInfo:
    """Return the info in a row that begins with the columns of :data:`~.columns.INFO`, each of its type."""
    _, user_id, created_at, last_seen_at, idle_timeout, lifetime_ends_at, refresh_by = row[:7]
    return SessionInfo(
        sid=sid,
        user_id=user_id,
        created_at=created_at,
        last_seen_at=last_seen_at,
        idle_timeout=idle_timeout,
        lifetime_ends_at=lifetime_ends_at,
        refresh_by=refresh_by,
        labels=labels,
    )


def _itself(record: Record) -> Record:
    return record
