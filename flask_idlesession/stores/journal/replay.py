"""Makes what a journal says happen again, and decides what may still be believed of a damaged one."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from ..memory.packed import with_touch
from .frames import Frame
from .frames import FrameReader
from .frames import Guard
from .frames import is_ending
from .frames import Kind
from .frames import PREAMBLE

_logger = logging.getLogger("flask_idlesession")

#: Seconds of reading after which a line says how far it is.
_PATIENCE = 1.0

#: A session's key and its packed record, in as many dicts as the memory store has.
Shards = Sequence[dict[int, bytes]]


#: Frames that hold whole records.
_STATES = (Kind.BASE, Kind.PUT, Kind.TURN)


class Replay:
    """Fills ``shards`` with what a journal holds.

    A session whose newest state is lost is left out: its state before that may be the one that a log-out
    or a new token made an end of. Where a frame is lost and nothing tells whose it was, the frames after
    it tell whether it ended or rotated anything; if it did, any session from before it may be the one, and
    all of them are left out.
    """

    def __init__(self, shards: Shards, *, guard: Guard | None) -> None:
        self._shards = shards
        self._guard = Guard() if guard is None else guard
        self._has_guard = guard is not None
        self._last_end = 0  # The last of the frames that end something whose session is known.
        #: Sessions left out because their newest state is lost,
        self.lost = 0
        #: and because any one of them may have been ended.
        self.distrusted = 0
        #: Bytes in which nothing was understood, with intact frames after them.
        self.unreadable = 0
        #: Bytes at the end of the file that are not a whole frame.
        self.cut = 0
        #: Frames that the disk had, and that are no longer there.
        self.missing = 0
        #: Where the last whole frame ends, its number, and that of the last that ends something.
        self.end = PREAMBLE
        self.number = 0

    @property
    def last_end(self) -> int:
        """The number of the last frame that ended or rotated a session."""
        return self._last_end

    @property
    def is_damaged(self) -> bool:
        """Whether there is more amiss than a write that a crash cut short."""
        return bool(self.lost or self.distrusted or self.unreadable or self.missing or not self._has_guard)

    def run(self, reader: FrameReader, path: Path, *, size: int) -> None:
        """Apply every frame that can be read."""
        line_at = time.monotonic() + _PATIENCE
        for item in reader:
            if isinstance(item, Frame):
                self._apply(item)
                if item.is_complete:
                    self.number = item.number
            elif not item.at_end:
                self.unreadable += item.size
            if time.monotonic() >= line_at:
                line_at += _PATIENCE
                _logger.info("Reading the journal %s: %d %%.", path, 100 * reader.position // size)
        self.end = reader.position
        self.cut = max(size - self.end, 0)  # The preamble itself may be cut short.
        self.missing = max(self._guard.synced - self.number, 0)
        if self._guard.last_end > self._last_end or (self.cut and not self._has_guard):
            self._distrust()

    def _apply(self, frame: Frame) -> None:
        if frame.previous_end > self._last_end:
            if self._is_promised(frame.previous_end) or self._guard.last_end > self._last_end:
                self._distrust()
            self._last_end = frame.previous_end
        if not frame.is_complete and not self._is_promised(frame.number):
            return  # It is cut off, so that the next start would not have what it says.
        if is_ending(frame.kind) and frame.is_complete:
            self._last_end = frame.number
        shards, count = self._shards, len(self._shards)
        if frame.is_intact and frame.kind in _STATES:
            for key, body in zip(frame.keys, frame.bodies, strict=True):
                shards[key % count][key] = body  # type: ignore[assignment]
            return
        for key, body in zip(frame.keys, frame.bodies, strict=True):
            shard = shards[key % count]
            if frame.kind is Kind.END:
                shard.pop(key, None)
            elif frame.kind is Kind.TOUCH:
                if body is not None and key in shard:
                    shard[key] = with_touch(shard[key], body)
            elif body is not None:
                shard[key] = body
            else:
                self._lose(frame, key)

    def _lose(self, frame: Frame, key: int) -> None:
        """Decide what becomes of a session of which this frame said something that is lost.

        A frame that the disk never confirmed was promised to nobody, so the state before it counts. The exception is a
        rotation that is whole and wrong: no crash of the process leaves that.
        """
        if not self._is_promised(frame.number) and frame.kind is not Kind.TURN:
            return
        self._shards[key % len(self._shards)].pop(key, None)
        self.lost += 1

    def _is_promised(self, number: int) -> bool:
        """Whether the disk may have confirmed the frame."""
        return number <= self._guard.synced or not self._has_guard

    def _distrust(self) -> None:
        for shard in self._shards:
            self.distrusted += len(shard)
            shard.clear()

    def tell(self, path: Path, kept: Path | None) -> None:
        """Say in the log what was lost, and what that means."""
        if not self.is_damaged:
            if self.cut:
                _logger.warning(
                    "The last write to the journal %s was cut short by a crash; %d bytes were cut off. [ISW016]",
                    path,
                    self.cut,
                )
            return
        _logger.critical(
            "The journal %s is damaged: %s. %s%s [ISE087]",
            path,
            ", ".join(self._findings()) or "nothing of what it holds was lost",
            "Something that ended a session or gave it a new token is among what was lost: so that nobody who has "
            f"logged out is logged in again, all sessions from before the damage ({self.distrusted}) were ended. "
            if self.distrusted
            else "",
            f"The damaged file is kept as {kept}." if kept is not None else "",
        )

    def _findings(self) -> list[str]:
        findings = {
            "the newest state of {} sessions is lost, and they were ended": self.lost,
            "{} bytes could not be read": self.unreadable,
            "{} bytes at its end are no whole frame": self.cut,
            "{} frames at its end are missing": self.missing,
        }
        return [text.format(count) for text, count in findings.items() if count]
