"""Keeps the tallies of one process in its memory."""

from collections.abc import Mapping

from ...process.locks import ForkSafeLock
from ..contract import oldest_tallied


class TalliesInMemory:
    """Amounts by minute and name, and their totals. A lock of its own guards all; nothing is called under it."""

    def __init__(self) -> None:
        self._lock = ForkSafeLock()
        self._minutes: dict[int, dict[str, int]] = {}
        self._totals: dict[str, int] = {}

    def add(self, minute: int, amounts: Mapping[str, int], *, now: float) -> None:
        """Add the amounts to those of the minute and to the totals; forget the minutes that are too old."""
        oldest = oldest_tallied(now)
        with self._lock:
            for kept in [self._totals] if minute < oldest else [self._minutes.setdefault(minute, {}), self._totals]:
                for name, amount in amounts.items():
                    kept[name] = kept.get(name, 0) + amount
            for old in [known for known in self._minutes if known < oldest]:
                del self._minutes[old]

    def since(self, minute: int) -> dict[int, dict[str, int]]:
        """Return a copy of the amounts of each minute from this one on, in order."""
        with self._lock:
            return {known: dict(self._minutes[known]) for known in sorted(self._minutes) if known >= minute}

    def totals(self) -> dict[str, int]:
        """Return a copy of the totals."""
        with self._lock:
            return dict(self._totals)
