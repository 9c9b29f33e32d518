"""For the tests of applications: clocks that stand still until they are told to move."""

from datetime import timedelta

from ..model.clock import StoppedClock


class FakeClock:
    """A clock for tests: ``IdleSession(app, clock=clock)``, then ``clock.advance(1800)``."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self._now = now

    def __call__(self) -> float:
        """Return the present instant, in POSIX seconds."""
        return self._now

    def advance(self, by: float | timedelta) -> float:
        """Move on by ``by`` seconds or a timedelta (or back, as a wall clock may); return the new instant."""
        self._now += seconds_of(by)
        return self._now


class IdleClock(StoppedClock):
    """The time of every application in this process that was handed no clock of its own: the fixture ``idle_clock``.

    It stands still in a ``with`` block. It begins at the present instant, or at that of freezegun or time-machine.
    """

    def advance(self, seconds: float | timedelta) -> float:
        """Move on by this many seconds, or a timedelta; return the new instant, in POSIX seconds.

        Nobody is active meanwhile. Raise ValueError for a step back, which no user can take.
        """
        by = seconds_of(seconds)
        if by < 0:
            raise ValueError(f"idle_clock.advance() was told {seconds!r}; time that passes is 0 seconds or more.")
        return super().advance(by)


def seconds_of(duration: float | timedelta) -> float:
    """Return a duration in seconds. Raise TypeError for anything that is none."""
    if isinstance(duration, timedelta):
        return duration.total_seconds()
    if isinstance(duration, bool) or not isinstance(duration, int | float):
        raise TypeError(f"advance() was told {duration!r}; it needs seconds or a timedelta.")
    return duration
