"""Keeps the tallies of all processes in the file: a row for each minute and name, and one for each total."""

from collections.abc import Mapping

from ..contract import oldest_tallied
from .file import SQLiteFile

#: Stands in the place of the minute where the row is a total.
_TOTAL = -1


class Tallies:
    """The tallies in the file. None is worth a sync: a power cut may cost the newest."""

    def __init__(self, file: SQLiteFile) -> None:
        self._file = file
        self._sql = file.sql

    def add(self, minute: int, amounts: Mapping[str, int], *, now: float) -> None:
        """As :meth:`KeepsTallies.add_tally`."""
        oldest = oldest_tallied(now)
        minutes = [_TOTAL] if minute < oldest else [_TOTAL, minute]
        rows = [(at, name, amount, at, name) for at in minutes for name, amount in amounts.items()]
        with self._file.writing() as connection, connection.transaction():
            connection.plain.executemany(self._sql.add_tally, rows)
            connection.rows(self._sql.forget_tallies, (oldest,))

    def since(self, minute: int) -> dict[int, dict[str, int]]:
        """As :meth:`KeepsTallies.tallies`."""
        with self._file.reading() as connection:
            rows = connection.rows(self._sql.tallies, (max(minute, 0),))
        found: dict[int, dict[str, int]] = {}
        for at, name, amount in rows:
            found.setdefault(at, {})[name] = amount
        return found

    def totals(self) -> dict[str, int]:
        """As :meth:`KeepsTallies.tally_totals`."""
        with self._file.reading() as connection:
            return dict(connection.rows(self._sql.tally_totals))
