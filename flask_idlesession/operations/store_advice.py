"""Tells the log how the session server should be set up and is not, in the background."""

import logging
from collections.abc import Sequence

from ..model.errors import StoreError
from ..process.background import cleaner
from ..process.pace import Pace
from ..stores.contract import Advising

_logger = logging.getLogger("flask_idlesession")


class StoreAdvice:
    """Asks a store for its advice soon after the start, then each hour. Each advice is logged once, while it stands.

    ``consequence`` is said after each.
    """

    def __init__(self, store: Advising, *, consequence: str = "") -> None:
        self._store = store
        self._consequence = consequence
        self._pace = Pace()
        self._told: Sequence[str] = ()
        cleaner.register(self)

    def run(self) -> float:
        """Ask if it is time to; return in how many seconds to come again. The cleaner calls this."""
        return self._pace.run(self._ask)

    def _ask(self) -> bool:
        """Return whether the store answered."""
        try:
            advice = self._store.advice()
        except StoreError:
            return False
        for said in advice:
            if said not in self._told:
                _logger.warning("%s%s", said, self._consequence)
        self._told = advice
        return True
