"""Tells the log how the session server should be set up and is not, in the background."""

import logging
import time
from collections.abc import Sequence

from ..model.errors import StoreError
from ..process.background import cleaner
from ..stores.contract import Advising

_logger = logging.getLogger("flask_idlesession")

#: Seconds between two questions, for a setting may change; and until the next one where the server did not answer.
_INTERVAL = 3600.0
_RETRY = 60.0


class StoreAdvice:
    """Asks a store for its advice soon after the start, then each hour. Each advice is logged once, while it stands.

    The cleaner's thread asks, so that no request waits for the answer.
    """

    def __init__(self, store: Advising) -> None:
        self._store = store
        self._due = 0.0
        self._told: Sequence[str] = ()
        cleaner.register(self)

    def run(self) -> float:
        """Ask if it is time to; return in how many seconds to come again. The cleaner calls this."""
        now = time.monotonic()
        if now >= self._due:
            self._due = now + (_INTERVAL if self._ask() else _RETRY)
        return self._due - now

    def _ask(self) -> bool:
        """Return whether the store answered."""
        try:
            advice = self._store.advice()
        except StoreError:
            return False
        for said in advice:
            if said not in self._told:
                _logger.warning("%s", said)
        self._told = advice
        return True
