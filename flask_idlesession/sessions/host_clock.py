"""Agrees with the other processes of this host on what time it is, and asks the store's server where it has a clock."""

import logging
import time
from collections.abc import Callable

from ..model.clock import Clock
from ..model.clock import host_of_boot
from ..model.clock import is_told_by_test
from ..model.clock import since_boot
from ..model.clock import system_clock
from ..model.clock import TOLERANCE
from ..model.errors import StoreError
from ..process.background import cleaner
from ..process.pace import Pace
from ..stores.contract import has_clock
from ..stores.contract import Store
from ..stores.marks import mark
from ..stores.marks import put_mark

_logger = logging.getLogger("flask_idlesession")

#: Seconds between two looks at what the store says, and until the next one where it did not answer.
_INTERVAL = 120.0
_RETRY = 1.0

#: A mark older than the first number of seconds is written again. One older than the second is nobody's: the
#: application stood still, and begins with the time that the host has by then.
_RENEWED_AFTER = 100.0
_COUNTS_FOR = 600.0

#: Seconds for which the store is asked to keep a mark, also by a process whose clock is wrong.
_KEPT_FOR = 86400.0


class HostClock:
    """The clock of all processes of this host that share a store: the time at its first process's start, and the time
    since boot on top.

    Each process counts from its own start. So a step of the wall clock would set the processes from before it apart
    from those that start later. A mark beside the store has what the first one counted from, and a new one takes it
    over. It is read before the time is first told: what is live by one process must not be idle by another.

    A clock that is more than :data:`TOLERANCE` seconds ahead of the server's tells the server's time: it ends nothing
    that lives by that. One that is behind ends less than the server's would, and is believed.
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Clock = system_clock,
        boot: Callable[[], float] = since_boot,
        host: str | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._boot = boot
        host = host_of_boot() if host is None else host
        self._mark = None if host is None else f"clock of {host}"
        self._shift = 0.0  # Added to this process's own time, to agree with the others.
        self._ahead = 0.0  # Taken away again, because the server says otherwise.
        self._is_pending = True
        self._pace = Pace(interval=_INTERVAL, retry=_RETRY)
        self._asked_at = -_INTERVAL
        cleaner.register(self)

    def __call__(self) -> float:
        """Return the present instant, in POSIX seconds. The first call asks the store."""
        if self._is_pending and time.monotonic() - self._asked_at >= _RETRY:
            self._agree()
        return self.peek()

    def peek(self) -> float:
        """Return the present instant, and ask nobody: for requests that may have no need of the store."""
        if is_told_by_test():
            return self._clock()
        return self._clock() + self._shift - self._ahead

    def of_host(self) -> float:
        """Return the instant by this host's clock, whatever the server says."""
        return self._clock() + self._shift

    def run(self) -> float:
        """Look at the mark and the server if it is time to; return the seconds until the next look."""
        return self._pace.run(self._agree)

    def close(self) -> None:
        """Leave the cleaner."""
        cleaner.unregister(self)

    def _agree(self) -> bool:
        """Take over the host's time; return whether the store answered. Threads may do so at the same time."""
        if is_told_by_test():
            return True
        before = self._shift, self._ahead
        try:
            if self._mark is not None:
                self._take_over(self._mark)
            self._ask_server()
        except StoreError:
            self._asked_at = time.monotonic()
            return False
        if is_told_by_test():  # It began meanwhile, and what was compared is of no use.
            self._shift, self._ahead = before
            return True
        self._is_pending = False
        return True

    def _take_over(self, name: str) -> None:
        boot = self._boot()
        own = self._clock() - boot
        offset, marked_at = _read(mark(self._store, name))
        if offset is None or not 0.0 <= boot - marked_at < _COUNTS_FOR:
            offset, marked_at = own + self._shift, boot - _COUNTS_FOR
        if abs(offset - own - self._shift) > TOLERANCE:
            _logger.warning(
                "The wall clock of this host was set by %+.0f s while its other processes ran. This process goes on "
                "with their time. To go on with the new one, stop the application for %.0f minutes. "
                "[ISW028]",
                own - offset,
                _COUNTS_FOR / 60,
            )
        self._shift = offset - own
        if boot - marked_at >= _RENEWED_AFTER:
            now = own + boot + self._shift
            put_mark(self._store, name, f"{offset!r} {boot!r}", now=now, until=now + _KEPT_FOR)

    def _ask_server(self) -> None:
        server = has_clock(self._store)
        if server is None:
            return
        ahead = server.clock_skew(self.of_host())
        self._ahead = ahead if ahead > TOLERANCE else 0.0


def _read(text: str | None) -> tuple[float | None, float]:
    """Return what is added to the time since boot, and the time since boot when that was written."""
    try:
        offset, marked_at = (text or "").split()
        return float(offset), float(marked_at)
    except ValueError:
        return None, 0.0
