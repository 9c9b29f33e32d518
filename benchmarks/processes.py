"""Reads what processes use from /proc: processor time, memory, and who their children are."""

import resource
from pathlib import Path

_NANO = 1e-9


def processor_seconds(pid: int) -> float:
    """Return the processor time that a process, its threads and its children's trees have used until now.

    A thread or child that has ended meanwhile is left out: servers keep theirs while they are measured.
    """
    return sum(_run_time(each) for each in family(pid))


def family(pid: int) -> list[int]:
    """Return the process and all that descend from it."""
    found = [pid]
    for each in found:
        for task in _tasks(each):
            found += map(int, _read(task / "children").split())
    return found


def resident(pid: int | str = "self") -> int:
    """Return the bytes of memory that a process has now."""
    return int(_read(Path(f"/proc/{pid}/statm")).split()[1]) * resource.getpagesize()


def _run_time(pid: int) -> float:
    """Return the seconds that the process's threads have run, to the nanosecond (fs/proc/base.c: schedstat)."""
    return sum(int((_read(task / "schedstat") or "0").split()[0]) for task in _tasks(pid)) * _NANO


def _tasks(pid: int) -> list[Path]:
    return list(Path(f"/proc/{pid}/task").glob("[0-9]*"))


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):  # It has ended since it was listed.
        return ""
