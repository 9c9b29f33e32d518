"""Keeps in the file the latest instant that its processes have seen, and can set sessions back to an instant."""

from ..private_files import quoted
from .file import SQLiteFile

#: Sessions looked at in one step.
_CHUNK = 2000


class Latest:
    """The latest instant in a file. Nobody is waited for but to set sessions back."""

    def __init__(self, file: SQLiteFile) -> None:
        self._file = file

    @property
    def place(self) -> str:
        """The file's name."""
        return f"the session database {quoted(self._file.path)}"

    def latest(self) -> float | None:
        """Return the instant that was noted last; None if none was."""
        with self._file.reading(patience=0.0) as connection:
            found = connection.rows(self._file.sql.latest)
        return found[0][0] if found else None

    def note_latest(self, now: float) -> None:
        """Note an instant."""
        with self._file.writing(patience=0.0) as connection:
            connection.rows(self._file.sql.note_latest, (now,))

    def rewind(self, now: float) -> None:
        """Take the sessions that were seen later than now for seen now."""
        with self._file.reading() as connection:
            last = connection.rows(self._file.sql.last_row)[0][0] or 0
        for row in range(0, last, _CHUNK):
            with self._file.writing() as connection:
                connection.rows(self._file.sql.seen_now, (*[now] * 7, row, row + _CHUNK))
