"""Opens one SQLite file for many threads and processes: where it may lie, who may read it, when it may fork."""

import os
import sqlite3
import stat
import threading
import time
import weakref
from contextlib import suppress
from pathlib import Path

from ...model.errors import ConfigError
from ...process.forks import ForkAware
from ...process.forks import register
from ...process.forks import Stage
from ...process.locks import ForkSafeLock

#: File systems on which locks, or the shared memory of a WAL, do not reach every process that has the file.
NETWORK_FILE_SYSTEMS = frozenset(
    {
        "nfs",
        "nfs3",
        "nfs4",
        "cifs",
        "smb",
        "smb2",
        "smb3",
        "smbfs",
        "9p",
        "afs",
        "ceph",
        "glusterfs",
        "lustre",
        "beegfs",
    }
    | {"gfs", "gfs2", "gpfs", "ocfs2", "orangefs", "coda", "ncpfs", "davfs", "vboxsf", "prl_fs", "fuse.sshfs"}
    | {"fuse.glusterfs", "fuse.ceph", "fuse.s3fs", "fuse.gcsfuse", "fuse.rclone", "fuse.davfs2"}
)

#: Until fixed, SQLite could corrupt a WAL file when a writer started it anew while a second checkpoint ran
#: (https://sqlite.org/wal.html#walresetbug).
_FIXED = (3, 51, 3)
_FIXED_TOO = {(3, 50): (3, 50, 7), (3, 44): (3, 44, 6)}

#: How long a fork waits for statements under way, at most.
_FORK_PATIENCE = 10.0


def has_wal_reset_fault(version: tuple[int, int, int]) -> bool:
    """Return whether this version of SQLite has the fault of the WAL that is started anew."""
    return version < _FIXED_TOO.get(version[:2], _FIXED)


class SQLiteFile(ForkAware):
    """The connections of one process to one file. Each serves one thread at a time, in autocommit mode.

    There are as many as were ever needed at the same time, not one for each thread: a server that starts a
    thread for each request would open a file for each request. None is open while the process forks, as
    SQLite must not see one file from two processes with one memory: a fork waits until none is in use, closes
    them all, and parent and child open their own when they next need one.

    ``_lock`` guards the three fields below it; a fork holds it. Nothing is called under it but the closing.
    """

    def __init__(self, path: str | os.PathLike[str], *, busy_timeout: float) -> None:
        if not str(path) or str(path).startswith((":memory:", "file:")):
            raise ConfigError(
                f"{str(path)!r} is not the path of a file, which an SQLite store needs to share sessions."
            )
        self.path = Path(path).absolute()
        self.busy_timeout = busy_timeout
        self.guards_checkpoints = has_wal_reset_fault(sqlite3.sqlite_version_info[:3])
        self._lock = threading.Lock()
        self._turn = threading.Condition(self._lock)
        self._idle: list[sqlite3.Connection] = []
        self._used = 0
        self._forking = False
        _check_folder(self.path.parent)
        weakref.finalize(self, _close_all, self._idle)  # Python 3.13 warns of a connection that nobody closed.
        register(self, stage=Stage.STORES)

    def take(self) -> sqlite3.Connection:
        """Lend a connection, which is to be given back."""
        with self._lock:
            while self._forking:
                self._turn.wait()
            self._used += 1
            connection = self._idle.pop() if self._idle else None
        if connection is not None:
            return connection
        try:
            return self._open()
        except BaseException:
            self._note_back(None)
            raise

    def give_back(self, connection: sqlite3.Connection) -> None:
        """Take back a connection after use."""
        self._note_back(connection)

    def throw_away(self, connection: sqlite3.Connection) -> None:
        """Take back a connection after an exception: it is closed, and with it whatever was half done undone."""
        try:
            with suppress(sqlite3.Error):
                connection.close()
        finally:
            self._note_back(None)

    def close(self) -> None:
        """Close the connections that are not in use. The next use opens one again."""
        with self._turn:
            self._close_idle()

    def _note_back(self, connection: sqlite3.Connection | None) -> None:
        with self._lock:
            self._used -= 1
            if connection is not None:
                self._idle.append(connection)
            if self._forking:
                self._turn.notify_all()

    def _close_idle(self) -> None:
        _close_all(self._idle)

    def _open(self) -> sqlite3.Connection:
        _secure(self.path)
        connection = sqlite3.connect(
            self.path, timeout=self.busy_timeout, isolation_level=None, check_same_thread=False, cached_statements=64
        )
        try:
            self._set_up(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _set_up(self, connection: sqlite3.Connection) -> None:
        self._enter_wal(connection)
        if self.guards_checkpoints:
            connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("PRAGMA journal_size_limit = 16777216")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA secure_delete = ON")

    def _enter_wal(self, connection: sqlite3.Connection) -> None:
        """Turn the file's WAL on. To turn it on SQLite does not wait for others that do so too, so we do."""
        give_up_at = time.monotonic() + self.busy_timeout
        while True:
            try:
                if connection.execute("PRAGMA journal_mode").fetchone() == ("wal",):
                    return
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # Only while the file is empty has it effect.
                if connection.execute("PRAGMA journal_mode = WAL").fetchone() == ("wal",):
                    return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= give_up_at:
                    raise
            if time.monotonic() >= give_up_at:
                raise sqlite3.OperationalError(f"{self.path} could not be given a write-ahead log.")
            time.sleep(0.01)

    # Around a fork.

    def before_fork(self) -> None:
        """Let nobody take a connection, wait until none is in use, and close them."""
        self._turn.acquire()
        self._forking = True
        self._turn.wait_for(lambda: not self._used, timeout=_FORK_PATIENCE)
        self._close_idle()

    def after_fork_in_parent(self) -> None:
        """In the parent: go on."""
        self._forking = False
        self._turn.notify_all()
        self._turn.release()

    def after_fork_in_child(self) -> None:
        """In the child: only the thread that forked is here, and whoever waited is not."""
        self._lock = threading.Lock()
        self._turn = threading.Condition(self._lock)
        self._used = 0
        self._forking = False


def _close_all(connections: list[sqlite3.Connection]) -> None:
    while connections:
        with suppress(sqlite3.Error):
            connections.pop().close()


def _check_folder(folder: Path) -> None:
    """Create the folder if need be, for its owner alone. Refuse one in which others could swap the file."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
    except OSError as error:
        raise ConfigError(f"The folder {folder} of the session database cannot be used: {error.strerror}.") from error
    if os.name == "posix" and found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX:
        raise ConfigError(
            f"The folder {folder} of the session database may be written by others; chmod go-w it, or take another."
        )
    file_system = file_system_of(folder)
    if file_system in NETWORK_FILE_SYSTEMS:
        raise ConfigError(
            f"{folder} is on a network file system ({file_system}), where SQLite's locks do not hold: put the session "
            "database on a local disk, or use Redis or an SQL server for many hosts."
        )


def file_system_of(folder: Path, *, mounts: Path = Path("/proc/self/mounts")) -> str | None:
    """Return the type of the file system that holds ``folder``, as Linux calls it; None where it does not say."""
    try:
        lines = mounts.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    real = folder.resolve()
    best: tuple[int, str] | None = None
    for line in lines:
        _, point, file_system, *_ = line.split(" ")
        for escape, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
            point = point.replace(escape, char)
        # Of two mounts on one point the later one hides the other.
        if real.is_relative_to(point) and (best is None or len(point) >= best[0]):
            best = len(point), file_system
    return None if best is None else best[1]


#: Guards that no file is created by one thread and opened by another: to close a file drops every lock that
#: the process has on it (https://sqlite.org/howtocorrupt.html, 2.2). So a file that exists is never opened here.
_creation = ForkSafeLock()


#: The files that SQLite plays back into the database when it opens it. Where all may make files (/tmp), anybody may
#: have left one there.
_BESIDE = ("-wal", "-shm", "-journal")


def _secure(path: Path) -> None:
    """Create the file for its owner alone, or check that nobody else's was put in its place, or beside it."""
    if os.name != "posix":
        return
    with _creation, suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    _check_file(path)
    for suffix in _BESIDE:
        with suppress(FileNotFoundError):
            _check_file(path.with_name(path.name + suffix))


def _check_file(path: Path) -> None:
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise ConfigError(f"The session database {path} is a symbolic link, or no file; name the file itself.")
    if found.st_uid != os.geteuid() and os.geteuid() != 0:
        raise ConfigError(f"The session database {path} belongs to another user; name a file of your own.")
    if found.st_mode & 0o077:
        raise ConfigError(f"The session database {path} may be read or written by other users; chmod 600 it.")
