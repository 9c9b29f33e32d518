"""Hears on a channel of Redis or Valkey how sessions ended."""

import time
from typing import Any

from ...model.errors import StoreUnavailable
from ...model.record import Ending
from .. import news

#: Seconds of silence after which the server is asked whether it is there, and after which it is taken to be gone.
_ASK_AFTER = 5.0
_GONE_AFTER = 10.0


class Hearing:
    """A subscription. It has a connection of its own."""

    def __init__(self, pubsub: Any, channel: bytes, *, errors: tuple[type[Exception], ...]) -> None:
        self._pubsub = pubsub
        self._errors = errors
        # The last ones are the client's where another thread has closed the connection meanwhile.
        self._broken: tuple[type[Exception], ...] = (*errors, OSError, ValueError, AttributeError)
        self._heard_at = time.monotonic()
        self._has_asked = False
        self._is_subscribed = False
        try:
            pubsub.subscribe(channel)
        except BaseException as error:
            self.close()
            if isinstance(error, errors):
                raise _lost(error) from error
            raise

    def wait(self, seconds: float) -> list[Ending]:
        """As :meth:`EndNews.wait`."""
        found: list[Ending] = []
        try:
            self._ask_if_silent()
            while (message := self._pubsub.get_message(timeout=seconds)) is not None:
                self._heard_at, self._has_asked = time.monotonic(), False
                if message["type"] == "subscribe":
                    self._note_subscribed()
                elif message["type"] == "message":
                    found += news.to_endings(message["data"])
                    seconds = 0.0
        except self._broken as error:
            raise _lost(error) from error
        return found

    def close(self) -> None:
        """Hear no more."""
        try:
            self._pubsub.close()
        except self._errors:
            return

    def _note_subscribed(self) -> None:
        """Raise if it is not the first time: the client has connected again, and what was told meanwhile is lost."""
        if self._is_subscribed:
            raise StoreUnavailable("The connection to the session server was lost.")
        self._is_subscribed = True

    def _ask_if_silent(self) -> None:
        """Find out that the other host went away without a word."""
        silent_for = time.monotonic() - self._heard_at
        if silent_for > _GONE_AFTER:
            raise StoreUnavailable("The session server has not answered for a while.")
        if silent_for > _ASK_AFTER and not self._has_asked:
            self._has_asked = True
            self._pubsub.ping()


def _lost(error: BaseException) -> StoreUnavailable:
    return StoreUnavailable(f"The session server failed: {error}")
