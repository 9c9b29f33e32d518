"""Tells the time: the one module that knows what "now" is made of."""

import sys
import time
from calendar import timegm
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

#: Returns the present instant in POSIX seconds. Every part that needs the time is handed one.
Clock = Callable[[], float]

#: Seconds by which two clocks may differ and still be believed. An instant that lies further in the future was
#: written by a clock that was ahead.
TOLERANCE = 5.0

#: The real one, whatever a test puts in its place later.
_monotonic = time.monotonic


def _count_awake(_: int) -> float:
    return _monotonic()


#: The number of a clock that no change of the wall clock can move, and what reads it. It counts through a suspend where
#: the system can: CLOCK_MONOTONIC stands still while a laptop sleeps, and its user is idle all the same.
_BOOTTIME: int = getattr(time, "CLOCK_BOOTTIME", -1)
_since_boot: Callable[[int], float] = _count_awake if _BOOTTIME < 0 else time.clock_gettime


def _wall_time() -> float:
    """Return the wall time, also where freezegun or time-machine has moved it while this module is imported."""
    machine = sys.modules.get("time_machine")
    if machine is not None and machine.escape_hatch.is_travelling():
        return float(machine.escape_hatch.time.time())
    if "freezegun" in sys.modules and hasattr(time, "CLOCK_REALTIME"):
        return time.clock_gettime(time.CLOCK_REALTIME)
    return time.time()


_START = _wall_time() - _since_boot(_BOOTTIME)

#: Where the packages are seen that move the time for tests. Both leave the time since boot alone.
_modules = sys.modules


def system_clock() -> float:
    """Return the wall time at which this process began, plus the time that has passed since.

    A step of the wall clock (NTP, an administrator, daylight saving set by hand) therefore neither
    ends a session nor prolongs one. In a test it follows :class:`StoppedClock`, freezegun and time-machine.
    """
    if _stopped is not None or "freezegun" in _modules or "time_machine" in _modules:  # Takes 0.05 µs.
        return _tell_test()
    return _START + _since_boot(_BOOTTIME)


def since_boot() -> float:
    """Return the seconds since this host was started: the same for all its processes."""
    return _since_boot(_BOOTTIME)


def host_of_boot() -> str | None:
    """Return what names this host from one start to the next; None where the system does not tell.

    A container shares the host's, unless it was given a time of its own.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    with suppress(OSError):
        own_times = Path("/proc/self/timens_offsets").read_text().split()
        boot += "" if set(own_times) <= {"monotonic", "boottime", "0"} else f" {' '.join(own_times)}"
    return boot


def is_told_by_test() -> bool:
    """Return whether a test tells the time: :class:`StoppedClock`, freezegun or time-machine."""
    if _stopped is not None:
        return True
    return ("freezegun" in _modules or "time_machine" in _modules) and _frozen_at() is not None


class StoppedClock:
    """The process's clock as a test has stopped it: it stands still, and moves when it is told to.

    It stops in a ``with`` block, for each application and each manager that has no clock of its own. While freezegun or
    time-machine is active it tells their time, and :meth:`advance` comes on top.
    """

    def __init__(self) -> None:
        self._stands_at = system_clock()
        self._ahead = 0.0
        self._before: StoppedClock | None = None

    def __call__(self) -> float:
        """Return the present instant, in POSIX seconds."""
        frozen = _frozen_at()
        return (self._stands_at if frozen is None else frozen) + self._ahead

    def advance(self, seconds: float) -> float:
        """Move on by this number of seconds; return the new instant."""
        self._ahead += seconds
        return self()

    def __enter__(self) -> Self:
        global _stopped
        self._before, _stopped = _stopped, self
        return self

    def __exit__(self, *_: object) -> None:
        global _stopped
        _stopped = self._before


_stopped: StoppedClock | None = None


def _tell_test() -> float:
    """Return the time as a test has set it, if one has."""
    if _stopped is not None:
        return _stopped()
    frozen = _frozen_at()
    return _START + _since_boot(_BOOTTIME) if frozen is None else frozen


def _frozen_at() -> float | None:
    """Return the time that freezegun or time-machine tells; None while neither is active.

    ``time.time()`` of freezegun tells the real time to some threads, so its own function is asked.
    """
    freezegun = _modules.get("freezegun.api")
    if freezegun is not None and freezegun.freeze_factories:
        instant = freezegun.get_current_time()
        return float(timegm(instant.timetuple()) + instant.microsecond / 1e6)
    machine = _modules.get("time_machine")
    if machine is not None and machine.escape_hatch.is_travelling():
        return time.time()
    return None
