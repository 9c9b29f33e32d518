"""Counts events of this process by minute and name, until somebody takes what was counted."""

from collections.abc import Mapping

from ..model.clock import Clock
from ..process.background import cleaner
from ..process.forks import ForkAware
from ..process.forks import register
from ..process.forks import Stage
from ..process.locks import ForkSafeLock

#: Seconds within which the cleaner looks after the first count.
SOON = 1.0

#: Minutes that wait at most while nobody can take them. Of more the oldest are given up.
_MOST_WAITING = 60


class EventCounter(ForkAware):
    """The counts of this process since they were last taken. A forked child begins at zero.

    The first count of a minute sees to it that the cleaner looks. A lock guards the dicts; nothing is called under it.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._fork_safe = ForkSafeLock()
        self._lock = self._fork_safe.plain
        self._waiting: dict[int, dict[str, int]] = {}
        register(self, stage=Stage.STORES)

    @property
    def are_waiting(self) -> bool:
        """Whether anything was counted since it was last taken."""
        return bool(self._waiting)

    def count(self, name: str, amount: int = 1) -> None:
        """Add an amount by this name to those of the present minute."""
        minute = int(self.clock() // 60)
        with self._lock:
            amounts = self._waiting.get(minute)
            if amounts is not None:
                amounts[name] = amounts.get(name, 0) + amount
                return
            self._waiting[minute] = {name: amount}
        cleaner.wake(within=SOON)

    def count_all(self, counted: Mapping[str, int]) -> None:
        """Add several amounts in one step: all are of the same minute."""
        minute = int(self.clock() // 60)
        with self._lock:
            amounts = self._waiting.get(minute)
            is_first = amounts is None
            if amounts is None:
                amounts = self._waiting[minute] = {}
            for name, amount in counted.items():
                amounts[name] = amounts.get(name, 0) + amount
        if is_first:
            cleaner.wake(within=SOON)

    def take(self) -> dict[int, dict[str, int]]:
        """Return all that was counted, by minute, and begin at zero."""
        if not self._waiting:
            return {}
        with self._lock:
            taken, self._waiting = self._waiting, {}
        return taken

    def put_back(self, taken: Mapping[int, Mapping[str, int]]) -> None:
        """Take into account again what was taken and could not be kept."""
        with self._lock:
            for minute, amounts in taken.items():
                waiting = self._waiting.setdefault(minute, {})
                for name, amount in amounts.items():
                    waiting[name] = waiting.get(name, 0) + amount
            for minute in sorted(self._waiting)[:-_MOST_WAITING]:
                del self._waiting[minute]

    def after_fork_in_child(self) -> None:
        """Leave to the parent what it has counted."""
        self._waiting = {}
