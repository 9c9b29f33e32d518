"""One file of a journal on a disk: how it is opened, how it grows, and when what was written is safe."""

import errno
import os
from collections.abc import Callable
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ...model.errors import ConfigError
from ...model.ids import new_secret
from ..private_files import place_of
from ..private_files import problem_of
from .frames import Guard
from .frames import GUARD_AT
from .frames import is_ending
from .frames import Kind
from .frames import MARK_SIZE
from .frames import pack_frame
from .frames import pack_guard
from .frames import pack_preamble
from .frames import PREAMBLE
from .frames import Rows
from .ownership import Disk
from .ownership import JournalInUse
from .ownership import lock
from .ownership import refused

#: The size of a block: bytes that cannot be read are given up block by block.
_BLOCK = 4096


#: The errors of a write for which the disk has no room. It may have room again.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class JournalFile:
    """An open file, to the end of which frames are added. Not for two threads at once.

    When a disk is full the file stays as it was before. After another error, above all one in :meth:`sync`,
    nobody knows what is in it, and it must be written no more: Linux tells of a failed sync once, and of the
    next one that all is well (PostgreSQL's "fsyncgate", 2018).
    """

    def __init__(self, fd: int, mark: bytes, *, end: int, number: int, last_end: int, disk: Disk = os) -> None:
        self._fd = fd
        self._mark = mark
        self._disk = disk
        self._number = number
        self._last_end = last_end
        #: Its length in bytes.
        self.end = end
        #: Whether what it holds is known. If not, a new one must be written in its place.
        self.is_trusted = True

    @classmethod
    def create(cls, path: Path, *, disk: Disk = os) -> "JournalFile":
        """Start a new file in place of whatever is at ``path``. Nothing of it is safe yet."""
        with suppress(FileNotFoundError):
            disk.unlink(path)
        fd = disk.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        lock(fd)  # Before it has the journal's name. Nobody else has seen it.
        file = cls(fd, new_secret()[:MARK_SIZE], end=PREAMBLE, number=0, last_end=0, disk=disk)
        try:
            file._put(pack_preamble(file._mark, Guard()), 0)
        except OSError:
            file.close()
            raise
        return file

    def write(self, batches: Sequence[tuple[Kind, Rows]]) -> None:
        """Add frames. They are the operating system's then, and outlive this process, not its machine."""
        number, last_end = self._number, self._last_end
        frames = []
        for kind, rows in batches:
            number += 1
            frames.append(pack_frame(kind, rows, number=number, previous_end=last_end, mark=self._mark))
            if is_ending(kind):
                last_end = number
        data = b"".join(frames)
        try:
            self._put(data, self.end)
        except OSError as error:
            self.is_trusted = False
            if error.errno in _FULL:
                self._disk.ftruncate(self._fd, self.end)
                self.is_trusted = True
            raise
        self._number, self._last_end = number, last_end
        self.end += len(data)

    def cut(self) -> None:
        """Cut off what comes after the last whole frame."""
        self._disk.ftruncate(self._fd, self.end)
        _sync(self._disk, self._fd)

    def sync(self) -> None:
        """Return when all that was written is on the disk.

        The guard is written for the next sync. It is needed when the file has lost its tail, and then it must not claim
        more than the disk had.
        """
        try:
            _sync(self._disk, self._fd)
            self._put(pack_guard(self._mark, Guard(self._number, self._last_end)), GUARD_AT)
        except OSError:
            self.is_trusted = False
            raise

    def is_at(self, path: Path) -> bool:
        """Whether this is the file that is found at the path."""
        return self._fd >= 0 and place_of(path) == place_of(self._fd)

    def close(self) -> None:
        """Close the file. Calling it again does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _put(self, data: bytes, at: int) -> None:
        view = memoryview(data)
        while view:
            written = self._disk.pwrite(self._fd, view, at)
            if not written:
                raise OSError(errno.EIO, "Nothing was written")
            view, at = view[written:], at + written


def open_existing(path: Path, *, disk: Disk = os) -> tuple[int, int] | None:
    """Return a descriptor of the journal at ``path``, which is locked, and its size; None if there is none.

    Raise :exc:`~flask_idlesession.ConfigError` for a file that somebody else may have written or read, or has.
    """
    while True:
        fd = _open(path, disk=disk)
        if fd is None:
            return None
        try:
            status = os.fstat(fd)
            problem = problem_of(path, status)
            if problem is not None:
                what, _, mend = problem.partition("; ")
                raise refused(path, what, mend)
            if not lock(fd):
                raise JournalInUse(path, owner="another process, whose lock was removed")
            if place_of(path) == place_of(fd):  # Else its owner has just put a new one in its place.
                return fd, status.st_size
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def _open(path: Path, *, disk: Disk) -> int | None:
    try:
        fd: int = disk.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise refused(path, "it is a symbolic link", "name the file that it points to") from error
        raise refused(path, f"{error.strerror}", "make it a file that this user may read and write", error) from error
    return fd


def refuse_content(path: Path, problem: str) -> ConfigError:
    """Return the error for a file that is none of ours."""
    return refused(path, problem, "name another file, or move this one away")


def put_in_place(new: Path, path: Path, *, disk: Disk = os) -> None:
    """Let ``new`` be what is found at ``path``, also after a crash of the machine. It must be synced."""
    disk.rename(new, path)
    sync_folder(path, disk=disk)


def sync_folder(path: Path, *, disk: Disk = os) -> None:
    """Make what the folder of ``path`` says of its files survive a crash."""
    fd = disk.open(path.parent, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    try:
        disk.fsync(fd)
    finally:
        os.close(fd)


def _sync(disk: Disk, fd: int) -> None:
    sync: Callable[[int], None] = getattr(disk, "fdatasync", disk.fsync)
    sync(fd)


def read_piece(fd: int, at: int, size: int, *, disk: Disk = os) -> bytes:
    """Return a piece of a file, with zeros for each block that the disk does not give back."""
    try:
        return _read(fd, at, size, disk)
    except OSError:
        pieces = []
        for start in range(at, at + size, _BLOCK):
            length = min(_BLOCK, at + size - start)
            try:
                pieces.append(_read(fd, start, length, disk))
            except OSError:
                pieces.append(bytes(length))
        return b"".join(pieces)


def _read(fd: int, at: int, size: int, disk: Disk) -> bytes:
    pieces = []
    while size > 0:
        piece: bytes = disk.pread(fd, size, at)
        if not piece:
            break
        pieces.append(piece)
        size, at = size - len(piece), at + len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
