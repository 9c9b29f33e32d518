"""The right to write a journal, which one process has at a time."""

import errno
import logging
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...model.errors import ConfigError
from ..private_files import may_pass
from ..private_files import place_of
from ..private_files import prepare_folder
from ..private_files import problem_of
from ..private_files import quoted

try:
    import fcntl
except ImportError:  # pragma: no cover
    fcntl = None  # type: ignore[assignment]

_logger = logging.getLogger("flask_idlesession")

#: The module os, which does the input and output, or in a test something that fails as a disk does.
Disk = Any

#: Seconds for which a start waits for the former owner. That may be about to end, or be a child that was forked just
#: now and still has the file.
PATIENCE = 0.5

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)


class NotNow(ConfigError):
    """The journal cannot be used now, and perhaps later."""


class JournalInUse(NotNow):
    """Another process writes the journal, or another store of this one."""

    def __init__(self, path: Path, *, owner: str, is_own: bool = False) -> None:
        super().__init__(
            f"The journal {quoted(path)} cannot be used: it is in use by {owner}; a journal serves one process: stop "
            "the other, give each its own file, or let several share SQLite (IDLESESSION_STORE = "
            '"sqlite:///sessions.db").'
            " [ISE026]"
        )
        #: Whether it is in use by this process itself, so that to wait would be of no use.
        self.is_own = is_own


class Ownership:
    """The right to write a journal. It ends with the process.

    A lock is on a file beside the journal that is never renamed, and which names its owner. Another is on the journal
    itself (:func:`lock`), as somebody may remove the file beside it.
    """

    def __init__(self, path: Path, *, patience: float = PATIENCE, disk: Disk = os) -> None:
        if fcntl is None:  # pragma: no cover
            raise ConfigError(
                f"The journal {quoted(path)} needs a system with file locks as POSIX has them; use SQLite here."
                " [ISE025]"
            )
        self._path = path
        self._lock_path = path.with_name(path.name + ".lock")
        self._disk = disk
        self._fd: int | None = None
        prepare_folder(path, of="journal")
        try:
            self._fd = disk.open(self._lock_path, _FLAGS, 0o600)
        except OSError as error:
            raise refused(
                path, f"{error.strerror}: {quoted(path.parent)}", "give it a folder that this user may write", error
            ) from error
        try:
            self._take(self._fd, patience=patience)
        except BaseException:
            self.release()
            raise

    def keep(self) -> None:
        """See to it that the file beside the journal is this process's still: it may have been removed.

        Raise OSError if another process has it now.
        """
        if self._fd is None or place_of(self._lock_path) == place_of(self._fd):
            return
        fd = self._disk.open(self._lock_path, _FLAGS, 0o600)
        if not lock(fd):
            os.close(fd)
            raise OSError(errno.EBUSY, "The file that locks it was removed, and another process has it now")
        before, self._fd = self._fd, fd
        os.close(before)
        self._sign(fd)
        _logger.warning(
            "The file %s was removed while it was in use, and was made again. [ISW016]", quoted(self._lock_path)
        )

    def release(self) -> None:
        """Let another process have it. In a forked child, this takes nothing from the parent."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def _take(self, fd: int, *, patience: float) -> None:
        problem = problem_of(self._lock_path, os.fstat(fd))
        if problem is not None:
            raise ConfigError(
                f"The journal {quoted(self._path)} cannot be used: of {self._lock_path.name}, {problem}. [ISE025]"
            )
        deadline = time.monotonic() + patience
        while not lock(fd):
            if time.monotonic() >= deadline:
                raise JournalInUse(self._path, owner=_owner_in(fd), is_own=_owner_in(fd) == _MYSELF)
            time.sleep(0.01)
        self._sign(fd)

    def _sign(self, fd: int) -> None:
        with suppress(OSError):  # The disk is full. The lock holds without the name.
            self._disk.ftruncate(fd, 0)
            self._disk.pwrite(fd, b"%d\n" % os.getpid(), 0)


def lock(fd: int) -> bool:
    """Lock a file, if nobody else has; return whether it is locked now. To close it unlocks it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def refused(path: Path, problem: str, mend: str, error: OSError | None = None) -> ConfigError:
    """Return the error for a journal that cannot be used; ``error`` is what the system said."""
    kind = NotNow if error is not None and may_pass(error) else ConfigError
    return kind(f"The journal {quoted(path)} cannot be used: {problem}; {mend}. [ISE025]")


_MYSELF = "this process itself, in another store"


def _owner_in(fd: int) -> str:
    """Return who has signed the file that locks a journal."""
    text = os.pread(fd, 20, 0).decode("ascii", "replace").strip()
    if text == str(os.getpid()):
        return _MYSELF
    return f"process {text}" if text.isdecimal() else "another process"
