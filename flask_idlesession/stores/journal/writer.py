"""Writes down what changed in memory: when, together with what else, and what is done while the disk is bad."""

import errno
import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ...model.errors import StoreUnavailable
from ...process.forks import ForkAware
from ...process.forks import register
from ...process.forks import Stage
from ..memory.packed import pack_touch
from ..private_files import quoted
from .file import JournalFile
from .file import put_in_place
from .frames import Kind
from .frames import pieces
from .frames import Rows
from .ownership import Disk
from .ownership import Ownership
from .replay import Shards

_logger = logging.getLogger("flask_idlesession")

#: Seconds for which changes are gathered at "interval", half of what is promised.
_GATHER = 0.05

#: Seconds for which touches are gathered.
_TOUCHES = 5.0

#: A new file is written when more than half of the old one is dead, and that is worth it.
_WORTH_IT = 1 << 20

#: The number of bytes after which a new file is synced, so that no sync takes long.
_SYNC_AFTER = 8 << 20

#: Seconds between two attempts while the disk is bad: the first, and the longest.
_FIRST_RETRY, _LONGEST_RETRY = 0.1, 5.0

#: How often writing is tried before a close gives up.
_LAST_TRIES = 3

#: Seconds until a compaction that failed is tried again.
_REST = 60.0

#: How many sessions may still be missing in a new file when writers are kept waiting for it.
_FEW = 256

#: How often a new file is brought nearer to that; then they wait anyway.
_ROUNDS = 8


class JournalWriter(ForkAware):
    """Follows the packed records in ``shards``: a change of one is followed by a call of ``note_...``.

    A note is a key, no state: the writer looks up the present state when it writes, so that many changes of one session
    within a moment are written once. Notes need no lock, because a deque needs none. ``_lock`` guards the file and all
    that begins with an underscore and is not said to be otherwise; one caller that waits for the disk writes for all
    that wait, and no thread is involved.

    The thread writes what nobody waits for, heals, and compacts. It keeps this object alive, and the
    records with it, but not the store: that, when dropped, calls :meth:`close`.
    """

    def __init__(
        self, path: Path, shards: Shards, *, syncs: bool, live_size: Callable[[], int], ownership: Ownership, disk: Disk
    ) -> None:
        self._path = path
        self._new_path = path.with_name(path.name + ".new")
        self._shards = shards
        self._syncs = syncs
        self._live_size = live_size
        self._ownership = ownership
        self._disk = disk
        self._lock = threading.Lock()
        self._rewriting = threading.Lock()
        self._file: JournalFile | None = None
        #: Why nothing can be written now.
        self._trouble: OSError | None = None
        self._retry_at, self._retry_after = 0.0, _FIRST_RETRY
        #: The changes that must still be written; and those that went into the old file since a new one was begun.
        self._unwritten: dict[int, Kind] = {}
        self._since: dict[int, Kind] | None = None
        self._unsynced = False
        self._tickets = itertools.count(1)
        self._settled = 0
        self._rewrite_at = 0.0
        # The notes, and the event that wakes the thread: without the lock.
        self._changed: deque[int] = deque()
        self._turned: deque[int] = deque()
        self._touched: dict[int, None] = {}
        self._touches_at: float | None = None
        self._is_awake = False
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._deaf_because: str | None = None
        register(self, stage=Stage.STORES)

    def start(self, file: JournalFile | None) -> None:
        """Begin to write to ``file``; without one, to a new file that is written first."""
        self._file = file
        if file is None:
            self._try_rewrite(paced=False)
        thread = threading.Thread(target=self._run, name="flask_idlesession journal", daemon=True)
        self._thread = thread
        thread.start()

    @property
    def trouble(self) -> OSError | None:
        """Why nothing can be written now; None if all is well."""
        return self._trouble

    # These methods are called after a record was changed. None of them waits.

    def note_change(self, key: int) -> None:
        """The session is new, or holds other values, or is gone."""
        self._changed.append(key)
        if not self._is_awake:
            self._rouse()

    def note_turn(self, key: int) -> None:
        """The session has another secret."""
        self._turned.append(key)

    def note_touch(self, key: int) -> None:
        """The session was touched, and nothing else."""
        if self._deaf_because is None:
            self._touched[key] = None
            if self._touches_at is None:
                self._rouse()

    # The methods that wait for the disk.

    def settle(self) -> None:
        """Return when all that was noted is on the disk. Raise :exc:`~flask_idlesession.StoreError` if it
        cannot be written now; it will be when it can.
        """
        ticket = next(self._tickets)
        with self._lock:
            if self._deaf_because is not None or self._settled > ticket:
                return
            if self._trouble is None:
                self._try_flush(sync=True)
                if self._is_half_dead():
                    self._wake.set()  # The thread may have looked just before.
            if self._trouble is not None:
                problem = f"The journal {quoted(self._path)} cannot be written: {self._trouble}."
                raise StoreUnavailable(problem) from self._trouble

    def close(self) -> None:
        """Write what is left, and let go of the file. Idempotent."""
        thread = self._thread
        self._closing.set()
        self._wake.set()
        if thread is None:
            self._finish()
        elif thread is not threading.current_thread():  # Else the collector dropped the store in the thread itself.
            thread.join()

    # With the lock held.

    def _try_flush(self, *, sync: bool) -> None:
        """Write what was noted. An error is kept as the trouble."""
        covered = next(self._tickets)
        self._drain()
        if self._file is None or not self._file.is_trusted:
            return  # There is trouble, then, and only a new file helps.
        try:
            if self._unwritten:
                self._file.write(list(self._batches(self._unwritten)))
                self._unsynced = True
                if self._since is not None:
                    self._since.update(self._unwritten)
                self._unwritten.clear()
            if sync:
                if self._unsynced:
                    self._file.sync()
                    self._unsynced = False
                    self._check_place(self._file)
                self._settled = covered
        except OSError as error:
            self._fail(error)
        else:
            self._recover()

    def _check_place(self, file: JournalFile) -> None:
        """Raise OSError if the journal at the path is another file by now, or another process's."""
        self._ownership.keep()
        if not file.is_at(self._path):
            file.is_trusted = False
            raise OSError(errno.ESTALE, "It was removed or replaced while it was in use")

    def _drain(self) -> None:
        while self._changed:
            self._unwritten.setdefault(self._changed.popleft(), Kind.PUT)
        while self._turned:
            self._unwritten[self._turned.popleft()] = Kind.TURN

    def _batches(self, keys: dict[int, Kind]) -> Iterator[tuple[Kind, Rows]]:
        """Yield the present state of the sessions, ends and rotations first."""
        rows: dict[Kind, list[tuple[int, bytes]]] = {Kind.END: [], Kind.TURN: [], Kind.PUT: []}
        for key, kind in keys.items():
            packed = self._packed(key)
            if packed is None:
                rows[Kind.END].append((key, b""))
            else:
                rows[kind].append((key, packed))
        for kind, of_kind in rows.items():
            for piece in pieces(of_kind):
                yield kind, piece

    def _packed(self, key: int) -> bytes | None:
        return self._shards[key % len(self._shards)].get(key)

    def _fail(self, error: OSError) -> None:
        if self._trouble is None:
            _logger.error(
                "The journal %s cannot be written: %s. The sessions go on in memory and would not outlive this "
                "process; a log-out, a revocation or a new token is answered 503: it must be on disk before it is "
                "done. This is said once; writing is tried again every few seconds."
                " [ISE086]",
                self._path,
                error,
            )
        self._trouble = error
        self._retry_at = time.monotonic() + self._retry_after
        self._retry_after = min(2 * self._retry_after, _LONGEST_RETRY)
        self._rouse()

    def _recover(self) -> None:
        if self._trouble is not None:
            _logger.warning("The journal %s can be written again, and holds all sessions. [ISW016]", self._path)
            self._trouble = None
            self._retry_after = _FIRST_RETRY

    # The thread.

    def _run(self) -> None:
        while not self._closing.is_set():
            delay = self._round()
            self._is_awake = False
            if not self._changed:
                self._wake.wait(delay)
            self._wake.clear()
            self._is_awake = True
            self._closing.wait(_GATHER)
        self._finish()

    def _round(self) -> float | None:
        """Do what is due; return in how many seconds something is due again."""
        self._flush_due()
        now = time.monotonic()
        if self._trouble is not None:
            if now >= self._retry_at:
                self._retry()
            return _GATHER if self._trouble is None else max(self._retry_at - now, _GATHER)
        if self._touched and self._touches_at is None:
            self._touches_at = now + _TOUCHES
        if self._touches_at is not None and now >= self._touches_at:
            self._write_touches()
        if now >= self._rewrite_at and self._is_half_dead():
            self._try_rewrite(paced=True)
            return 0.0  # It may be half dead again by now.
        return None if self._touches_at is None else max(self._touches_at - now, 0.0)

    def _flush_due(self) -> None:
        with self._lock:
            if self._trouble is not None:
                self._drain()
            elif self._changed or self._turned or (self._unsynced and self._syncs):
                self._try_flush(sync=self._syncs)

    def _retry(self) -> None:
        if self._is_usable:
            with self._lock:
                self._try_flush(sync=True)
        else:
            self._try_rewrite(paced=True)

    @property
    def _is_usable(self) -> bool:
        """Whether the file may be written on; if not, there is trouble, and only a new one helps."""
        return self._file is not None and self._file.is_trusted

    def _write_touches(self) -> None:
        self._touches_at = None  # First: a touch that comes between is called out again.
        touched, self._touched = self._touched, {}
        found = ((key, self._packed(key)) for key in touched)
        rows = [(key, pack_touch(packed)) for key, packed in found if packed is not None]
        with self._lock:
            if self._file is not None and self._file.is_trusted and rows:
                try:
                    self._file.write([(Kind.TOUCH, piece) for piece in pieces(rows)])
                    self._unsynced = True
                except OSError as error:
                    self._fail(error)

    def _is_half_dead(self) -> bool:
        return self._file is not None and self._file.end > 2 * self._live_size() + _WORTH_IT

    def _finish(self) -> None:
        """Write the last things, in the thread's end or in place of a thread."""
        if self._deaf_because is not None:
            return
        if self._trouble is None:
            self._write_touches()
        for _ in range(_LAST_TRIES):
            if self._is_usable:
                with self._lock:
                    self._try_flush(sync=True)
            else:
                self._try_rewrite(paced=False)
            if self._trouble is None:
                break
        with self._lock:
            if self._trouble is not None:
                _logger.error(
                    "The journal %s was closed without the last changes: %s. [ISE086]", self._path, self._trouble
                )
            self._turn_deaf("it was closed")

    # A new file in place of the old one.

    def _try_rewrite(self, *, paced: bool) -> None:
        """Write all sessions into a new file and put it in place of the old one.

        Until that is done the old one is written on; from then on the new one has all that it had. An error
        is the trouble only if the old one is of no use any more.
        """
        with self._rewriting:
            self._rewrite(paced=paced)

    def _rewrite(self, *, paced: bool) -> None:
        new: JournalFile | None = None
        with self._lock:
            self._take_missing()  # The copy has all that was noted until now.
            if not self._is_usable:
                self._unwritten.clear()
        try:
            self._ownership.keep()
            new = JournalFile.create(self._new_path, disk=self._disk)
            if self._copy(new, paced=paced):
                self._catch_up(new)
                return
        except OSError as error:
            with self._lock:
                if not self._is_usable:
                    self._fail(error)
                else:
                    self._rewrite_at = time.monotonic() + _REST
                    _logger.warning("The journal %s could not be compacted: %s. [ISW016]", self._path, error)
        finally:
            with self._lock:
                self._since = None
        if new is not None and new is not self._file:
            new.close()
            with suppress(OSError):
                self._disk.unlink(self._new_path)

    def _copy(self, new: JournalFile, *, paced: bool) -> bool:
        """Write all sessions; return whether it came to the end before this was closed."""
        synced = new.end
        for shard in self._shards:
            for piece in pieces(list(shard.items())):
                began = time.monotonic()
                new.write([(Kind.BASE, piece)])
                if new.end - synced > _SYNC_AFTER:
                    new.sync()
                    synced = new.end
                if paced:
                    self._pause(time.monotonic() - began)
                    if self._closing.is_set():
                        return False
        new.sync()
        return True

    def _pause(self, worked: float) -> None:
        """Rest for as long as was worked, so that the requests get the interpreter at least half of the time."""
        self._closing.wait(max(worked, 0.0005))
        if self._changed:
            self._flush_due()

    def _catch_up(self, new: JournalFile) -> None:
        """Write what changed meanwhile, at last with writers kept waiting, and let the new file be the journal."""
        for _ in range(_ROUNDS):
            with self._lock:
                missing = self._take_missing()
                if len(missing) <= _FEW:
                    self._switch(new, missing)
                    return
            new.write(list(self._batches(missing)))
            new.sync()
        with self._lock:
            self._switch(new, self._take_missing())

    def _take_missing(self) -> dict[int, Kind]:
        """Return what the new file may not have yet.

        All as rotations: that file has the state from before whatever happened since.
        """
        if self._trouble is None and self._is_usable:
            self._try_flush(sync=False)
        else:
            self._drain()
        missing = dict.fromkeys([*(self._since or {}), *self._unwritten], Kind.TURN)
        self._since = {}
        return missing

    def _switch(self, new: JournalFile, missing: dict[int, Kind]) -> None:
        covered = next(self._tickets)
        missing |= self._take_missing()
        new.write(list(self._batches(missing)))
        new.sync()
        old = self._file
        try:
            put_in_place(self._new_path, self._path, disk=self._disk)
        except OSError as error:  # Which of the two would be found after a crash is unknown.
            if old is not None:
                old.is_trusted = False
            self._fail(error)
            raise
        self._file = new
        if old is not None:
            old.close()
        self._unwritten.clear()
        self._unsynced = False
        self._settled = covered
        self._recover()

    # Calls, forks and ends.

    def _rouse(self) -> None:
        if self._deaf_because is None:
            self._is_awake = True
            if self._touched and self._touches_at is None:
                self._touches_at = time.monotonic() + _TOUCHES
            self._wake.set()
        elif not self._is_awake:
            self._is_awake = True
            _logger.warning(
                "The sessions of this process are no longer written to the journal %s, because %s. They "
                "go on in memory."
                " [ISE086]",
                self._path,
                self._deaf_because,
            )

    def _turn_deaf(self, because: str) -> None:
        """Take nothing more down, and let go of everything."""
        self._deaf_because = because
        self._is_awake = False
        self._changed = self._turned = deque(maxlen=0)
        self._touched = {}
        file, self._file = self._file, None
        if file is not None:
            file.close()
        self._ownership.release()

    def after_fork_in_child(self) -> None:
        """The file is the parent's: two processes that write to one would spoil it."""
        if self._deaf_because is None:
            self._lock = threading.Lock()
            self._rewriting = threading.Lock()
            self._trouble = None
            self._thread = None
            self._turn_deaf("it was forked from the process that has it")
