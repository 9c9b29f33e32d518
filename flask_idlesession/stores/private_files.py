"""Knows who else may change the files that a store keeps on a disk, and refuses places where anybody may."""

import errno
import logging
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ..model.errors import ConfigError
from ..model.errors import StoreError
from ..model.errors import StoreUnavailable

_logger = logging.getLogger("flask_idlesession")

#: Errors that may pass by themselves: the disk is full, or too many files are open.
_PASSING = frozenset(
    (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR, errno.EAGAIN)
)

#: Folders of another user of which was told already.
_told: set[Path] = set()


class Place(NamedTuple):
    """A file by its device and number: another file that is given the same name has another place."""

    device: int
    number: int


def place_of(path: Path | int) -> Place | None:
    """Return the place of a path or a descriptor; None if nothing is there."""
    try:
        found = os.fstat(path) if isinstance(path, int) else os.lstat(path)
    except FileNotFoundError:
        return None
    return Place(found.st_dev, found.st_ino)


def prepare_folder(path: Path, *, of: str) -> None:
    """Make the folder of ``path`` if need be, for its owner alone. Refuse one in which others could swap the file.

    ``of`` names the file in messages, as "session database". Raise :exc:`~flask_idlesession.ConfigError`, or
    :exc:`~flask_idlesession.StoreUnavailable` while the disk is full or the like.
    """
    folder = path.parent
    try:
        _make(folder)
        found = folder.stat()
    except OSError as error:
        raise refusal(
            error, f"The folder {quoted(folder)} of the {of} cannot be used: {error.strerror}. [ISE025]"
        ) from error
    if not stat.S_ISDIR(found.st_mode):
        raise ConfigError(f"{quoted(folder)} is no folder, so the {of} cannot be in it; name another. [ISE025]")
    if os.name == "posix":
        _check_folder(path, found, of=of)


def check_file(path: Path, *, of: str) -> None:
    """Refuse a file that somebody else may have written, or may read; one that is not there is none."""
    if os.name != "posix":
        return
    with suppress(FileNotFoundError):
        problem = problem_of(path, os.lstat(path))
        if problem is not None:
            raise ConfigError(f"The {of} {quoted(path)} cannot be used: {problem}. [ISE025]")


def problem_of(path: Path, found: os.stat_result) -> str | None:
    """Return why a file cannot be trusted, and what to do about it; None if it can."""
    if stat.S_ISLNK(found.st_mode):
        return "it is a symbolic link; name the file that it points to"
    if not stat.S_ISREG(found.st_mode):
        return "it is not a regular file; name another"
    me = os.geteuid()
    if found.st_uid != me and not (me == 0 and found.st_uid == path.parent.stat().st_uid):
        return (
            f"it belongs to user {found.st_uid}, and this process is user {me}; "
            f"give it to that user (chown {me} {quoted(path)}), or name another"
        )
    if found.st_mode & 0o077:
        return (
            f"other users may read or write it (mode {stat.S_IMODE(found.st_mode):04o}); "
            f"if nobody did, say chmod 600 {quoted(path)}; if somebody may have, delete it"
        )
    return None


def refusal(error: OSError, message: str) -> StoreError | ConfigError:
    """Return the error for what the system refused: an outage if it may pass by itself, else a wrong setting."""
    return StoreUnavailable(message) if may_pass(error) else ConfigError(message)


def may_pass(error: OSError) -> bool:
    """Return whether what the system refused may be had later, without anybody changing a setting."""
    return error.errno in _PASSING


def quoted(path: Path | str) -> str:
    """Return a name fit for one line of a message: what is in it may be another user's."""
    return repr(str(path))


def _make(folder: Path) -> None:
    """Make the folder and those above it that are missing, each for its owner alone whatever the umask."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for each in reversed(missing):
        with suppress(FileExistsError):  # Another process was quicker.
            each.mkdir(mode=0o700)


def _check_folder(path: Path, found: os.stat_result, *, of: str) -> None:
    folder, me = path.parent, os.geteuid()
    own = folder / "sessions" / path.name
    if found.st_mode & 0o022:
        raise ConfigError(
            f"Others may write the folder {quoted(folder)} of the {of} (mode {stat.S_IMODE(found.st_mode):04o}), and "
            "put another file in its place. Name a file in a folder of its own inside it, which is made for this user "
            f"alone: {quoted(own)}. Or chmod go-w the folder."
            " [ISE025]"
        )
    if found.st_uid in (me, 0):
        return
    if me != 0:
        raise ConfigError(
            f"The folder {quoted(folder)} of the {of} belongs to user {found.st_uid}, who could put another file in "
            f"its place, and this process is user {me}. Name a file in a folder of your own."
            " [ISE025]"
        )
    if folder not in _told:
        _told.add(folder)
        _logger.warning(
            "The folder %s of the %s belongs to user %d, and this process is root: that user can change the sessions. "
            "Run as that user, or name a folder that is root's."
            " [ISW017]",
            quoted(folder),
            of,
            found.st_uid,
        )
