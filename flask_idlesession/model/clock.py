"""Tells the time: the one module that knows what "now" is made of."""

import time
from collections.abc import Callable

#: Returns the present instant in POSIX seconds. Every part that needs the time is handed one.
Clock = Callable[[], float]


#: Tells, called with these arguments, seconds that no change of the wall clock can move, counted through a suspend
#: where the system can: CLOCK_MONOTONIC stands still while a laptop sleeps, and its user is idle all the same.
_since_boot: Callable[..., float] = time.monotonic
_ARGUMENTS: tuple[int, ...] = ()
if hasattr(time, "CLOCK_BOOTTIME"):
    _since_boot, _ARGUMENTS = time.clock_gettime, (time.CLOCK_BOOTTIME,)
_START = time.time() - _since_boot(*_ARGUMENTS)


def system_clock() -> float:
    """Return the wall time at which this process began, plus the time that has passed since.

    A step of the wall clock (NTP, an administrator, daylight saving set by hand) therefore neither
    ends a session nor prolongs one.
    """
    return _START + _since_boot(*_ARGUMENTS)
