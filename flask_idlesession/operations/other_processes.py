"""Finds the other processes that serve the same application on this host.

``wsgi.multiprocess`` cannot be asked: it is false under Granian with two workers, and true under Hypercorn
with one. So each process keeps a locked file, and a lock that cannot be taken is a process that lives.
"""

import hashlib
import hmac
import logging
import os
import tempfile
from pathlib import Path
from weakref import finalize

from ..model.ids import digest

try:
    import fcntl
except ImportError:  # pragma: no cover  (Windows: no detection.)
    fcntl = None  # type: ignore[assignment]

_logger = logging.getLogger("flask_idlesession")


class OtherProcesses:
    """This process among those that serve one application.

    ``name`` tells applications apart. ``folder`` holds the files, by default one of this user's own in the
    system's temporary folder; whatever goes wrong there is no concern of a request, and only logged.
    """

    def __init__(self, name: str, *, folder: Path | None = None) -> None:
        self._name = hashlib.sha256(name.encode()).hexdigest()[:24]
        uid = os.getuid() if hasattr(os, "getuid") else 0
        self._folder = folder or Path(tempfile.gettempdir()) / f"flask_idlesession-{uid}"
        self._pid = 0
        # This process's open file, while it has one, with the pid that opened it.
        self._files: list[tuple[int, Path, int]] = []
        finalize(self, _let_go, self._files)

    def join(self, secret_key: str | bytes) -> None:
        """Be one of them, and warn of what cannot work: of other processes, which do not see a memory
        store's sessions, and of one that has another secret key. Once for each process; a fork is another.
        """
        if fcntl is None or self._pid == os.getpid():
            return
        self._pid = os.getpid()
        try:
            mark = _fingerprint(secret_key)
            self._enter(mark)
            others = self._others()
        except OSError as error:
            _logger.debug("Other processes of this application cannot be looked for: %s", error)
            return
        if others:
            self._warn(others, mark)

    def living(self) -> dict[int, str]:
        """Return the live processes of this application by pid, with their keys' fingerprints; be none of them."""
        if fcntl is None or not self._folder.is_dir():
            return {}
        try:
            return self._others()
        except OSError as error:
            _logger.debug("Other processes of this application cannot be looked for: %s", error)
            return {}

    def _enter(self, mark: str) -> None:
        _let_go(self._files)
        self._folder.mkdir(mode=0o700, exist_ok=True)
        status = self._folder.lstat()
        if status.st_uid != os.getuid() or status.st_mode & 0o022:
            raise PermissionError(f"{self._folder} is not this user's alone")
        file = os.open(self._path(self._pid), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # Another object of this process has it.
            os.close(file)
            raise
        self._files.append((self._pid, self._path(self._pid), file))
        os.ftruncate(file, 0)
        os.write(file, mark.encode())

    def _others(self) -> dict[int, str]:
        """Return the live processes of this application by pid, with their keys' fingerprints."""
        others = {}
        for file_name in os.listdir(self._folder):  # Of a glob or a path Python would keep parts, for each of many.
            name, _, pid = file_name.partition(".")
            if name == self._name and int(pid) != self._pid:
                mark = _read_if_live(self._path(int(pid)))
                if mark is not None:
                    others[int(pid)] = mark
        return others

    def _path(self, pid: int) -> Path:
        return self._folder / f"{self._name}.{pid}"

    def _warn(self, others: dict[int, str], mark: str) -> None:
        pids = ", ".join(map(str, sorted(others)))
        _logger.warning(
            "This application also runs in the processes %s, and its sessions live in the memory of each one alone: "
            "users will be logged out at random. Share them: "
            'app.config["IDLESESSION_STORE"] = "sqlite:///sessions.db"'
            " [ISE102]",
            pids,
        )
        if any(other not in ("", mark) for other in others.values()):  # Empty: it is just coming in.
            _logger.error(
                "Processes %s and %s of this application have different secret keys, so each refuses the other's "
                "cookies. Set one key for all, from a file or the environment, not a random one at start."
                " [ISE103]",
                self._pid,
                pids,
            )


def _let_go(files: list[tuple[int, Path, int]]) -> None:
    """Remove this process's file, or only close its copy of the file that it was forked with. The file of a process
    that was killed is removed by the next process that looks.
    """
    while files:
        pid, path, file = files.pop()
        if pid == os.getpid():
            path.unlink(missing_ok=True)
        os.close(file)


def _fingerprint(secret_key: str | bytes) -> str:
    """Return what tells keys apart, and tells nothing of the key."""
    key = secret_key.encode() if isinstance(secret_key, str) else secret_key
    return hmac.new(digest(key), b"flask_idlesession peers", hashlib.sha256).hexdigest()[:16]


def _read_if_live(path: Path) -> str | None:
    """Return what a process wrote in its file; None, and no file any more, if the process is gone."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.read(file, 64).decode()
    else:
        path.unlink(missing_ok=True)
        return None
    finally:
        os.close(file)
