"""Compares this host's clock with that of the server where the sessions are, in the background."""

import logging

from ..model.clock import Clock
from ..model.clock import is_told_by_test
from ..model.errors import StoreError
from ..process.background import cleaner
from ..process.pace import Pace
from ..stores.contract import HasClock

_logger = logging.getLogger("flask_idlesession")

#: Seconds by which two clocks may differ and nobody is told: what ends a session is exact to so much.
_TOLERANCE = 1.0


class ClockSkew:
    """Warns if ``clock`` and the store's server do not agree, once each time that it begins to be so.

    They are compared soon after the start, and then each hour, for clocks drift. ``clock`` is compared rather than the
    wall clock, because it ends sessions.
    """

    def __init__(self, store: HasClock, *, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._pace = Pace()
        self._is_off = False
        cleaner.register(self)

    def run(self) -> float:
        """Compare the clocks if it is time to; return in how many seconds to come again. The cleaner calls this."""
        return self._pace.run(self._compare)

    def _compare(self) -> bool:
        """Return whether the server told its time. While a test tells it, there is nothing to compare."""
        if is_told_by_test():
            return False
        asked_at = self._clock()
        try:
            skew = self._store.clock_skew(asked_at)
        except StoreError:
            return False
        if is_told_by_test():
            return False
        # The server looked at its clock at some moment between the question and now.
        least, most = skew, skew + self._clock() - asked_at
        was_off, self._is_off = self._is_off, least > _TOLERANCE or most < -_TOLERANCE
        if self._is_off and not was_off:
            _warn(least if least > 0 else most)
        return True


def _warn(skew: float) -> None:
    if skew > 0:
        said = "ahead of that of the session server: sessions end up to so much too early"
    else:
        said = "behind that of the session server: sessions that are over are opened here for so much longer"
    _logger.warning(
        "The clock of this process is %.1f s %s. Set the host's clock (by NTP), then restart the application: "
        "a process counts from the time that it was told at its start. [ISW111]",
        abs(skew),
        said,
    )
