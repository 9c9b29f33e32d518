"""Finds the other processes that serve the same application on this host.

``wsgi.multiprocess`` cannot be asked: it is false under Granian with two workers, and true under Hypercorn
with one. So each process keeps a locked file, and a lock that cannot be taken is a process that lives.
"""

import hashlib
import hmac
import logging
import os
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from typing import NamedTuple
from weakref import finalize

from ..model.ids import digest

try:
    import fcntl
except ImportError:  # pragma: no cover  (Windows: no detection.)
    fcntl = None  # type: ignore[assignment]

_logger = logging.getLogger("flask_idlesession")


#: Notes of a process about itself: no thread of it ever runs, and a proxy is in front of it whose header nothing reads.
NO_THREADS, UNREAD_PROXY = "no-threads", "unread-proxy"

#: The same: it has warned of several processes, and of several keys. The others need not.
_WARNED, _WARNED_OF_KEYS = "warned", "warned-of-keys"

#: How many processes a warning names.
_NAMED = 3

#: Bytes of a process's file, at most.
_LONGEST = 256


class Peer(NamedTuple):
    """A process, as it tells of itself."""

    #: The fingerprint of its secret key.
    mark: str
    #: Its notes about itself.
    notes: frozenset[str] = frozenset()


class OtherProcesses:
    """This process among those that serve one application.

    ``name`` tells applications apart. ``shares``: the processes have one store, so that nothing is wrong with several.
     ``folder`` holds the files, by default one of this user's own in the
    system's temporary folder; whatever goes wrong there is no concern of a request, and only logged.
    """

    def __init__(self, name: str, *, folder: Path | None = None, shares: bool = False) -> None:
        self._name = hashlib.sha256(name.encode()).hexdigest()[:24]
        uid = os.getuid() if hasattr(os, "getuid") else 0
        self._folder = folder or Path(tempfile.gettempdir()) / f"flask_idlesession-{uid}"
        self._shares = shares
        self._notes: set[str] = set()
        self._pid = 0
        # This process's open file, while it has one, with the pid that opened it.
        self._files: list[tuple[int, Path, int]] = []
        finalize(self, _let_go, self._files)

    def join(self, secret_key: str | bytes) -> None:
        """Be one of them. Once for each process; a fork is another.

        Warn of what cannot work where each has a memory of its own: of other processes, and of another secret key.
        """
        if fcntl is None or self._pid == os.getpid():
            return
        self._pid = os.getpid()
        try:
            mark = fingerprint(secret_key)
            self._notes = set() if _threads_run() else {NO_THREADS}
            self._enter(mark)
            others = {} if self._shares else self._others()
        except OSError as error:
            _logger.debug("Other processes of this application cannot be looked for: %s", error)
            return
        with suppress(OSError):  # The disk is full: others warn, too.
            if others and not _has_noted(others, _WARNED):
                self._note(_WARNED)
                _warn(others)
            # A mark is empty while a process is just coming in.
            strangers = {pid: peer for pid, peer in others.items() if peer.mark not in ("", mark)}
            if strangers and not _has_noted(others, _WARNED_OF_KEYS):
                self._note(_WARNED_OF_KEYS)
                _warn_of_keys(self._pid, strangers)

    def note_forwarded(self, environ: Mapping[str, Any]) -> None:
        """Note it for :meth:`living` if a proxy forwarded this request, and nothing reads for whom it did so."""
        if UNREAD_PROXY in self._notes or not self._files or "werkzeug.proxy_fix.orig" in environ:
            return
        try:
            if ip_address(environ.get("REMOTE_ADDR", "")).is_private:
                self._note(UNREAD_PROXY)
        except (ValueError, OSError) as error:  # A socket of the file system has no address.
            _logger.debug("It was not noted that a proxy forwards requests: %s", error)

    def living(self) -> dict[int, Peer]:
        """Return what the live processes of this application tell, by pid; be none of them."""
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
        os.write(file, " ".join([mark, *self._notes]).encode())

    def _others(self) -> dict[int, Peer]:
        others = {}
        for file_name in os.listdir(self._folder):  # Of a glob or a path Python would keep parts, for each of many.
            name, _, pid = file_name.partition(".")
            if name == self._name and int(pid) != self._pid:
                peer = _read_if_live(self._path(int(pid)))
                if peer is not None:
                    others[int(pid)] = peer
        return others

    def _note(self, note: str) -> None:
        self._notes.add(note)
        os.write(self._files[0][2], f" {note}".encode())

    def _path(self, pid: int) -> Path:
        return self._folder / f"{self._name}.{pid}"


def _has_noted(others: Mapping[int, Peer], note: str) -> bool:
    return any(note in peer.notes for peer in others.values())


def _warn(others: Mapping[int, Peer]) -> None:
    _logger.warning(
        "This application also runs in %s, and its sessions live in the memory of each process alone: users will be "
        'logged out at random. Share them: app.config["IDLESESSION_STORE"] = "sqlite:///sessions.db" [ISE102]',
        _named(others),
    )


def _warn_of_keys(pid: int, strangers: Mapping[int, Peer]) -> None:
    _logger.error(
        "Process %s and %s of this application have different secret keys, so each refuses the other's cookies. Set "
        "one key for all, from a file or the environment, not a random one at start. [ISE103]",
        pid,
        _named(strangers),
    )


def _named(others: Mapping[int, Peer]) -> str:
    """Return how many processes these are, and the numbers of the first few."""
    number, some = len(others), ", ".join(map(str, sorted(others)[:_NAMED]))
    if number == 1:
        return f"process {some}"
    return f"{number} other processes ({some}{', …' if number > _NAMED else ''})"


def _let_go(files: list[tuple[int, Path, int]]) -> None:
    """Remove this process's file, or only close its copy of the file that it was forked with. The file of a process
    that was killed is removed by the next process that looks.
    """
    while files:
        pid, path, file = files.pop()
        if pid == os.getpid():
            path.unlink(missing_ok=True)
        os.close(file)


def _threads_run() -> bool:
    """Return whether threads of this process run: under uWSGI they never do, unless it is told so."""
    options = getattr(sys.modules.get("uwsgi"), "opt", None)
    if not isinstance(options, dict):
        return True
    names = {name.decode() if isinstance(name, bytes) else name for name in options}
    return bool(names & {"enable-threads", "threads"})


def fingerprint(secret_key: str | bytes) -> str:
    """Return what tells keys apart, and tells nothing of the key."""
    key = secret_key.encode() if isinstance(secret_key, str) else secret_key
    return hmac.new(digest(key), b"flask_idlesession peers", hashlib.sha256).hexdigest()[:16]


def _read_if_live(path: Path) -> Peer | None:
    """Return what a process wrote in its file; None, and no file any more, if the process is gone."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        mark, *notes = os.read(file, _LONGEST).decode().split(" ")
        return Peer(mark, frozenset(notes))
    else:
        path.unlink(missing_ok=True)
        return None
    finally:
        os.close(file)
