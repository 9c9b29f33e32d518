"""Reads a journal that another process writes: without its lock, and without changing anything."""

import os
from dataclasses import replace
from functools import partial
from pathlib import Path

from ..contract import Traits
from ..memory.store import MemoryStore
from ..private_files import problem_of
from .file import read_piece
from .file import refuse_content
from .frames import FrameReader
from .frames import NotAJournal
from .frames import OtherVersion
from .frames import PREAMBLE
from .frames import unpack_preamble
from .frames import VERSION
from .ownership import refused
from .replay import Replay

#: How often a journal is read that seems damaged: its process may have been in the middle of a write.
_TRIES = 3

_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


class JournalCopy(MemoryStore):
    """The sessions that a journal holds at present, as a memory store of their own.

    The last writes of its process may be missing. A change of the copy changes nothing else. Raise
    :exc:`~flask_idlesession.ConfigError` if there is no journal, or it cannot be read.
    """

    def __init__(self, path: Path, *, now: float) -> None:
        super().__init__(max_sessions=None, max_bytes=None)
        for _ in range(_TRIES):
            for shard in self._shards:
                shard.clear()
            replay = self._read(path)
            if not replay.is_damaged:
                break
        else:
            replay.tell(path, None)
        self.restore(now=now)

    @property
    def traits(self) -> Traits:
        """The traits of the memory store, but for the tallies: no journal has them."""
        return replace(super().traits, keeps_tallies=False)

    def _read(self, path: Path) -> Replay:
        try:
            fd = os.open(path, _FLAGS)
        except OSError as error:
            raise refused(path, f"{error.strerror}", "name a journal that this user may read", error) from error
        try:
            problem = problem_of(path, os.fstat(fd))
            if problem is not None:
                what, _, mend = problem.partition("; ")
                raise refused(path, what, mend)
            return self._replay(fd, path)
        finally:
            os.close(fd)

    def _replay(self, fd: int, path: Path) -> Replay:
        """Read the preamble first: what it promises is then among the frames that are read after it."""
        read = partial(read_piece, fd)
        try:
            preamble = unpack_preamble(read(0, PREAMBLE))
        except NotAJournal as error:
            raise refuse_content(path, "it is something else") from error
        except OtherVersion as error:
            problem = f"it is of version {error}, and this package reads version {VERSION}"
            raise refuse_content(path, problem) from error
        size = os.fstat(fd).st_size
        mark, guard = (b"", None) if preamble is None else preamble
        replay = Replay(self._shards, guard=guard)
        if preamble is None:
            replay.unreadable = size
        else:
            replay.run(FrameReader(read, mark=mark, end=size), path, size=size)
        return replay
