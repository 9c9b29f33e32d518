"""Notes which sessions were carried to another store, and in which state: in a file, for the next pass."""

import os
from collections.abc import Iterable
from pathlib import Path
from struct import Struct

from ..model.errors import ConfigError
from ..model.ids import SessionId
from ..model.record import SessionInfo
from .moving_changes import STATE_SIZE

try:
    import fcntl
except ImportError:  # pragma: no cover  (Windows: two passes at once are not noticed.)
    fcntl = None  # type: ignore[assignment]

_HEADER = b"flask_idlesession carried 1\n"

#: A session's id, when it was last seen, and its state.
_ROW = Struct(">16sd8s")

#: The state of a session that may be at the target or not: a pass that broke off does not know.
UNKNOWN = bytes(STATE_SIZE)


class Notes:
    """The sessions that were carried from one store to another, in a file with their ids, and no secret or value.

    One pass at a time has it: raise :exc:`~flask_idlesession.ConfigError` if another has.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows: dict[bytes, tuple[float, bytes]] = {}
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
        except OSError as error:
            raise ConfigError(f"The notes of this move cannot be kept in {path}: {error.strerror}. [ISE025]") from error
        try:
            self._lock()
            self._read()
        except BaseException:
            self.close()
            raise

    def state(self, sid: SessionId) -> bytes:
        """Return the state in which the session was carried."""
        return self._rows.get(sid.bytes, (0.0, UNKNOWN))[1]

    def last_seen_at(self, sid: SessionId) -> float | None:
        """Return when the session that was carried had been seen; None if it was not carried."""
        row = self._rows.get(sid.bytes)
        return None if row is None else row[0]

    def add(self, carried: Iterable[tuple[SessionInfo, bytes]]) -> None:
        """Note sessions with their states."""
        rows = [(info.sid.bytes, info.last_seen_at, state) for info, state in carried]
        os.write(self._fd, b"".join(_ROW.pack(*row) for row in rows))
        self._rows.update((sid, (seen, state)) for sid, seen, state in rows)

    def close(self) -> None:
        """Let go of the file, which stays."""
        os.close(self._fd)

    def _lock(self) -> None:
        if fcntl is not None:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise ConfigError(
                    f"Another command carries these sessions at present: it has {self.path}. [ISE110]"
                ) from error

    def _read(self) -> None:
        size = os.fstat(self._fd).st_size
        data = os.pread(self._fd, size, 0)
        if not data.startswith(_HEADER):  # It is new, or its first write was cut short.
            os.ftruncate(self._fd, 0)
            os.write(self._fd, _HEADER)
            return
        whole = (size - len(_HEADER)) // _ROW.size * _ROW.size
        for sid, seen, state in _ROW.iter_unpack(data[len(_HEADER) : len(_HEADER) + whole]):
            self._rows[sid] = seen, state
        os.lseek(self._fd, len(_HEADER) + whole, os.SEEK_SET)
