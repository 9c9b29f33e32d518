"""Keeps records in memory, as the memory store does, and lets them outlive the process: in a journal on a disk."""

import logging
import os
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

from ...model.errors import ConfigError
from ...model.errors import StoreError
from ...model.errors import StoreUnavailable
from ...model.ids import SessionId
from ...model.record import Change
from ...model.record import Ending
from ...model.record import Outcome
from ...model.record import Record
from ...model.record import SessionInfo
from ..contract import Touch
from ..contract import Traits
from ..memory.store import MemoryStore
from ..private_files import quoted
from .file import JournalFile
from .file import open_existing
from .file import read_piece
from .file import refuse_content
from .frames import FrameReader
from .frames import Guard
from .frames import NotAJournal
from .frames import OtherVersion
from .frames import PREAMBLE
from .frames import ROW_OVERHEAD
from .frames import unpack_preamble
from .frames import VERSION
from .ownership import Disk
from .ownership import JournalInUse
from .ownership import NotNow
from .ownership import Ownership
from .ownership import PATIENCE
from .replay import Replay
from .writer import JournalWriter

_logger = logging.getLogger("flask_idlesession")

#: When a create or a write is on the disk: before it returns, within 0.1 s, or when the system sees fit.
DURABILITIES = ("always", "interval", "none")

#: Seconds between two looks whether a journal is free.
_TRIED_EVERY = 0.05


class JournalStore(MemoryStore):
    """The memory store, with a journal: a restart, kill -9 or a full disk logs nobody out.

    ``path`` is the file, and ``now`` the present instant: what has expired by then is not loaded. Ends and
    rotations are on the disk before they return, whatever the ``durability``; creates and writes as that
    says; touches within seconds. One process at a time can have the file.

    While the disk is bad all goes on in memory. A call that ends a session then ends it, and raises
    :exc:`~flask_idlesession.StoreError`, because a crash could undo it. A log-in that rotates raises without having
    been done. When the disk is well again the journal catches up.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        now: float,
        durability: str = "interval",
        max_sessions: int | None = 1_000_000,
        max_bytes: int | None = 1 << 30,
        disk: Disk = os,
    ) -> None:
        self._set_up(path, durability=durability, max_sessions=max_sessions, max_bytes=max_bytes, disk=disk)
        self._start(now, patience=PATIENCE)

    @classmethod
    def once_free(cls, path: str | os.PathLike[str], *, now: float, **options: Any) -> "JournalStore":
        """Return the same at once, also while another process has the file: a server's old worker, which ends soon.

        Until it is free, each call raises :exc:`~flask_idlesession.StoreUnavailable`. The first call after that fills
        the store.
        """
        store = cls.__new__(cls)
        store._set_up(path, **options)
        try:
            store._start(now, patience=0.0)
        except NotNow as error:
            if isinstance(error, JournalInUse) and error.is_own:
                raise
            store._awaited = error
            _logger.warning("%s Until it is free, requests that need their session are answered 503. [ISE026]", error)
        return store

    def _set_up(
        self,
        path: str | os.PathLike[str],
        *,
        durability: str = "interval",
        max_sessions: int | None = 1_000_000,
        max_bytes: int | None = 1 << 30,
        disk: Disk = os,
    ) -> None:
        super().__init__(max_sessions=max_sessions, max_bytes=max_bytes)
        if durability not in DURABILITIES:
            raise ConfigError(f"The durability {durability!r} is unknown; it must be one of {', '.join(DURABILITIES)}.")
        self.path = Path(path).absolute()
        self._waits, self._syncs = durability == "always", durability != "none"
        self._disk = disk
        #: Why the journal cannot be used now, as long as this store waits for it; and when it is tried next.
        self._awaited: NotNow | None = None
        self._try_at = 0.0
        self._trying = threading.Lock()

    def _start(self, now: float, *, patience: float) -> None:
        """Take the file, and fill the memory from it."""
        ownership = Ownership(self.path, patience=patience, disk=self._disk)
        try:
            self._journal = JournalWriter(
                self.path,
                self._shards,
                syncs=self._syncs,
                live_size=partial(_live_size, weakref.ref(self)),
                ownership=ownership,
                disk=self._disk,
            )
            file = self._open(self._disk, now=now)
            self._journal.start(file)
        except BaseException:
            ownership.release()
            raise
        self._close = weakref.finalize(self, self._journal.close)

    @property
    def traits(self) -> Traits:
        """The traits of the memory store, but for its forgetting."""
        return _kept(super().traits)

    def create(self, record: Record) -> None:
        """Keep a new record, and note it in the journal; with the durability "always", return when it is on the disk.

        Raise :exc:`~flask_idlesession.SessionExists` if there is one of this id, expired or not.
        """
        self._require(record.info.last_seen_at)
        super().create(record)
        self._journal.note_change(record.info.sid.int)
        if self._waits:
            self._settle_if_possible()

    def commit(self, sid: SessionId, change: Change, *, now: float) -> Outcome:
        """Apply the change in one step, and note it in the journal; return the outcome.

        A rotation and an end are on the disk before this returns. While the disk is bad, raise
        :exc:`~flask_idlesession.StoreUnavailable`: a log-in's rotation is then not done, an end is.
        """
        self._require(now)
        rotation = change.rotation
        if rotation is not None and rotation.grace_ends_at is None and self._journal.trouble is not None:
            raise StoreUnavailable(f"The journal {quoted(self.path)} cannot be written: {self._journal.trouble}.")
        outcome = super().commit(sid, change, now=now)
        if outcome is Outcome.EMPTIED:
            self._journal.settle()
        elif outcome is Outcome.DONE:
            self._note(sid.int, change)
        return outcome

    def load(self, sid: SessionId, *, now: float, touch: Touch | None = None) -> Record | None:
        """Return a copy of the record if it is live, else None; with ``touch``, note activity in the same step."""
        if self._awaited is not None:
            self._require(now)
        record = super().load(sid, now=now, touch=touch)
        if touch is not None and record is not None:
            self._journal.note_touch(sid.int)
        return record

    def touch(self, sid: SessionId, holder: bytes, now: float) -> bool:
        """Note activity at ``now``, if nothing else has to be noted; return whether that was done."""
        was_touched = self._awaited is None and super().touch(sid, holder, now)
        if was_touched:
            self._journal.note_touch(sid.int)
        return was_touched

    def fades_at(self, sid: SessionId) -> float:
        """Return the instant when less than half of the idle timeout is left; ``inf`` if there is no session."""
        return inf if self._awaited is not None else super().fades_at(sid)

    def find(self, *, now: float, user_id: str | None = None) -> Iterator[SessionInfo]:
        """Yield the infos of the sessions that are live at ``now``, in no order; with ``user_id``, only that user's."""
        self._require(now)
        return super().find(now=now, user_id=user_id)

    def prune(self, *, now: float, limit: int) -> list[SessionInfo]:
        """Forget up to ``limit`` sessions that have expired; return their infos, each once."""
        self._require(now)
        return super().prune(now=now, limit=limit)

    def next_expiry(self) -> float | None:
        """Return an instant before which :meth:`prune` has nothing to do; None if there is nothing to wait for."""
        self._require()
        return super().next_expiry()

    def bury(self, endings: Sequence[Ending], *, until: float) -> None:
        """Remember until the instant ``until`` how these sessions ended."""
        self._require()
        super().bury(endings, until=until)

    def ending(self, sid: SessionId, *, now: float) -> Ending | None:
        """Return how the session ended, or None if that is not remembered at ``now``."""
        self._require(now)
        return super().ending(sid, now=now)

    def _note(self, key: int, change: Change) -> None:
        if change.rotation is not None:
            self._journal.note_turn(key)
            if change.rotation.grace_ends_at is None:
                self._journal.settle()
            else:  # Nobody asked for it, so nobody is refused a page for it while the disk is bad.
                self._settle_if_possible()
        elif not change.is_touch:
            self._journal.note_change(key)
            if self._waits:
                self._settle_if_possible()
        elif change.last_seen_at is not None or change.refresh_by is not None:
            self._journal.note_touch(key)

    def delete(self, sid: SessionId) -> bool:
        """Forget the session, and return when that is on the disk; return whether there was one.

        Raise :exc:`~flask_idlesession.StoreError` if the disk did not take it. The session is forgotten then, and a
        crash may bring it back.
        """
        self._require()
        found = super().delete(sid)
        if found or self._journal.trouble is None:  # Another may be deleting it just now: then this waits too.
            self._journal.settle()
        return found

    def delete_many(self, sids: Sequence[SessionId]) -> list[SessionInfo]:
        """Forget these sessions, and return when that is on the disk; return the infos of those that were there."""
        self._require()
        infos = super().delete_many(sids)
        if infos or self._journal.trouble is None:
            self._journal.settle()
        return infos

    def close(self) -> None:
        """Write what is left, and close the journal. Calling it again does nothing."""
        super().close()
        if self._awaited is None:
            self._close()

    def _require(self, now: float | None = None) -> None:
        """Raise :exc:`~flask_idlesession.StoreUnavailable` while another process has the journal.

        A call that says what time it is sees whether it is free now.
        """
        if self._awaited is None:
            return
        if now is None or time.monotonic() < self._try_at or not self._trying.acquire(blocking=False):
            raise StoreUnavailable(str(self._awaited))
        try:
            if self._awaited is not None:
                self._start(now, patience=0.0)
                self._awaited = None
                _logger.warning("The journal %s is free, and is used from now on. [ISW016]", quoted(self.path))
        except ConfigError as error:
            self._try_at = time.monotonic() + _TRIED_EVERY
            raise StoreUnavailable(str(error)) from error
        finally:
            self._trying.release()

    def _drop(self, key: int, packed: bytes, info: SessionInfo) -> None:
        super()._drop(key, packed, info)
        self._journal.note_change(key)

    def _settle_if_possible(self) -> None:
        with suppress(StoreError):  # It was said in the log.
            self._journal.settle()

    def _open(self, disk: Disk, *, now: float) -> JournalFile | None:
        """Fill the memory from the file; return it if it can be written on."""
        opened = open_existing(self.path, disk=disk)
        with suppress(OSError):
            disk.unlink(f"{self.path}.new")
        if opened is None:
            return None
        fd, size = opened
        file = None
        try:
            if size:
                file = self._load(fd, size, disk, now=now)
            else:
                _logger.warning(
                    "The journal %s is empty; if it was not new, its sessions are lost. [ISW016]", quoted(self.path)
                )
        finally:
            if file is None:
                os.close(fd)
        return file

    def _load(self, fd: int, size: int, disk: Disk, *, now: float) -> JournalFile | None:
        read = partial(read_piece, fd, disk=disk)
        preamble = self._unpack_preamble(read(0, min(size, PREAMBLE)))
        mark, guard = (b"", None) if preamble is None else preamble
        replay = Replay(self._shards, guard=guard)
        if preamble is None:
            replay.unreadable = size
        else:
            replay.run(FrameReader(read, mark=mark, end=size), self.path, size=size)
        self.restore(now=now)
        _logger.info("The journal %s gave back %d sessions.", self.path, len(self))
        if preamble is None or replay.is_damaged:
            replay.tell(self.path, self._keep_beside(disk))
            return None
        replay.tell(self.path, None)
        file = JournalFile(fd, mark, end=replay.end, number=replay.number, last_end=replay.last_end, disk=disk)
        if replay.cut:
            try:
                file.cut()
            except OSError:
                return None  # And a new file is written, or tried to.
        return file

    def _unpack_preamble(self, data: bytes) -> tuple[bytes, Guard | None] | None:
        try:
            return unpack_preamble(data)
        except NotAJournal as error:
            raise refuse_content(self.path, "it is something else") from error
        except OtherVersion as error:
            raise refuse_content(
                self.path, f"it is of version {error}, and this package writes version {VERSION}"
            ) from error

    def _keep_beside(self, disk: Disk) -> Path | None:
        kept = self.path.with_name(self.path.name + ".damaged")
        try:
            with suppress(FileNotFoundError):
                disk.unlink(kept)
            disk.link(self.path, kept)
        except OSError:
            return None
        return kept


def _live_size(store: "weakref.ref[JournalStore]") -> int:
    """Return about how large a journal would be that holds nothing but what lives."""
    held = store()
    return sys.maxsize if held is None else PREAMBLE + held.size(overhead=ROW_OVERHEAD)


@cache
def _kept(traits: Traits) -> Traits:
    return replace(traits, forgetful=False)
