"""Gives a process another wall clock than this one has, and moves it while the process runs."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.programs import find_program


class FakedTime:
    """The wall clock of the processes that are started with ``environment``; what counts since boot stays true."""

    def __init__(self, preload: str, file: Path) -> None:
        self._file = file
        self.environment = {
            "LD_PRELOAD": preload,
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set_offset(self, seconds: float) -> None:
        """Set the wall clock of all these processes, also of those that run, this far ahead of the true time."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+f}")
        new.replace(self._file)  # A process that reads it meanwhile sees all of the one or of the other.


@contextmanager
def faked_time(*, offset: float = 0.0) -> Iterator[FakedTime]:
    """Lend a wall clock that is this many seconds ahead of the true time, and goes as fast."""
    program = find_program("faketime")
    command = [program, "-f", "+0", "printenv", "LD_PRELOAD"]
    preload = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.strip()
    with tempfile.TemporaryDirectory(prefix="idle-time-") as folder:
        time = FakedTime(preload, Path(folder) / "offset")
        time.set_offset(offset)
        yield time
