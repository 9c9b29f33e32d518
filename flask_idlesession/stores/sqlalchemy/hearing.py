"""Hears by PostgreSQL's LISTEN how sessions ended, and tells it by NOTIFY."""

import select
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from ...model.errors import StoreUnavailable
from ...model.record import Ending
from ...process.socket_timeout import Watchdog
from .. import news

#: The drivers whose connections tell what the server told them.
DRIVERS = ("psycopg", "psycopg2")

#: Seconds after which the server is asked whether it is there.
_ASK_AFTER = 5.0


class Hearing:
    """A subscription. ``connection`` is the driver's, in autocommit mode, and nobody else has it."""

    def __init__(
        self, connection: Any, channel: str, *, watchdog: Watchdog, raised: tuple[type[Exception], ...]
    ) -> None:
        self._connection = connection
        self._raised: tuple[type[Exception], ...] = (*raised, ValueError)  # A socket that was shut has no number.
        self._watchdog = watchdog
        self._guard = watchdog.guard(connection.fileno())
        self._asked_at = time.monotonic()
        #: Texts that came together with an answer to :meth:`_say`.
        self._came: list[str] = []
        if hasattr(connection, "add_notify_handler"):  # Without one psycopg drops them.
            keep = self._came.append
            connection.add_notify_handler(lambda told: keep(told.payload))
        try:
            self._say(f'LISTEN "{channel}"')
        except BaseException:
            self.close()
            raise

    def wait(self, seconds: float) -> list[Ending]:
        """As :meth:`EndNews.wait`."""
        try:
            if time.monotonic() - self._asked_at > _ASK_AFTER:
                self._asked_at = time.monotonic()
                self._say("SELECT 1")
            found = self._take()
            if not found and _is_readable(self._connection.fileno(), seconds):
                found = self._take()
        except self._raised as error:
            raise StoreUnavailable(f"The session database failed: {error}") from error
        return [ending for text in found for ending in news.to_endings(text)]

    def close(self) -> None:
        """Hear no more."""
        with suppress(*self._raised):
            self._connection.close()

    def _say(self, text: str) -> None:
        self._watchdog.watch(self._guard)
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(text)
        except self._raised as error:
            raise StoreUnavailable(f"The session database failed: {error}") from error
        finally:
            is_whole = self._watchdog.release(self._guard)
        if not is_whole:
            raise StoreUnavailable("The session database has not answered in time.")

    def _take(self) -> Sequence[str | bytes]:
        """Return what came, without waiting."""
        connection = self._connection
        low = getattr(connection, "pgconn", None)
        if low is None:  # psycopg2
            connection.poll()
            texts = [told.payload for told in connection.notifies]
            connection.notifies.clear()
            return texts
        low.consume_input()
        found: list[str | bytes] = [*self._came]
        self._came.clear()
        while (told := low.notifies()) is not None:
            found.append(told.extra)
        return found


def _is_readable(number: int, seconds: float) -> bool:
    """Wait until there is something to read, for so long at most."""
    if not hasattr(select, "poll"):
        return bool(select.select([number], [], [], seconds)[0])
    poll = select.poll()  # It takes numbers of any size, other than select().
    poll.register(number, select.POLLIN)
    return bool(poll.poll(seconds * 1000))
