"""For the tests of applications: a clock that stands still until it is told to move."""


class FakeClock:
    """A clock for tests: ``IdleSession(app, clock=clock)``, then ``clock.advance(1800)``."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self._now = now

    def __call__(self) -> float:
        """Return the present instant, in POSIX seconds."""
        return self._now

    def advance(self, by: float) -> float:
        """Move on by ``by`` seconds (or back, as a wall clock may); return the new instant."""
        self._now += by
        return self._now
