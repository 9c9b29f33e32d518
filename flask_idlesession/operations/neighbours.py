"""Notices, in the background, another application that keeps its sessions under the same names of one store."""

import hmac
from collections.abc import Callable
from collections.abc import Sequence
from hashlib import sha256

from ..model.clock import Clock
from ..model.errors import StoreError
from ..model.messages import Notices
from ..process.background import cleaner
from ..process.pace import Pace
from ..stores.contract import Store
from ..stores.marks import mark
from ..stores.marks import put_mark

#: Seconds between two looks, and for which an application that is not seen again is remembered.
_INTERVAL, _MEMORY = 1200.0, 3600.0

#: How many characters tell two keys apart: too few to try out words with, and enough for the applications of a server.
_LENGTH = 4

_MARK = "application"

_SAME_NAME = (
    "Another process of %r, which uses the same store, has another SECRET_KEY: the cookies of one open no session of "
    "the other, so users are logged out. Give all processes one key, and keep a former key in SECRET_KEY_FALLBACKS. If "
    'they are two applications that are both called %r, set app.config["IDLESESSION_NAMESPACE"] to another word for '
    "each. [ISW009]"
)
_WARNING = (
    "The applications %r and %r keep their sessions under the same names of one store, so they share users, limits and "
    'revocations. Set app.config["IDLESESSION_NAMESPACE"] to another word for each, unless they are meant to share. '
    "[ISW009]"
)


class Neighbours:
    """Says once if another application uses the store: one of another name, or with other keys.

    ``keys`` returns the application's secret keys of today, and none once it is gone. The first application of a store
    leaves its name there and what tells its keys apart, and the others compare.
    """

    def __init__(
        self, name: str, store: Store, *, keys: Callable[[], Sequence[str | bytes]], clock: Clock, notices: Notices
    ) -> None:
        self._name = name
        self._store = store
        self._keys = keys
        self._clock = clock
        self._notices = notices
        self._pace = Pace(interval=_INTERVAL)
        cleaner.register(self)

    def run(self) -> float:
        """Look if it is time to; return in how many seconds to come again. The cleaner calls this."""
        return self._pace.run(self._look)

    def _look(self) -> bool:
        """Return whether the store answered, or there is nobody to tell any more."""
        ours = [_fingerprint(key) for key in self._keys()]
        if not ours:
            return True
        try:
            name, theirs = _read(mark(self._store, _MARK))
            if theirs and (name != self._name or not set(ours).intersection(theirs)):
                self._warn(name)
                return True
            now = self._clock()
            put_mark(self._store, _MARK, f"{','.join(ours)} {self._name}", now=now, until=now + _MEMORY)
        except StoreError:
            return False
        return True

    def _warn(self, name: str) -> None:
        warning = _SAME_NAME if name == self._name else _WARNING
        self._notices.warn("neighbour", warning, self._name, name)


def _read(text: str | None) -> tuple[str, list[str]]:
    """Return an application's name, and what tells its keys apart: nothing if there is none."""
    marks, _, name = (text or "").partition(" ")
    return name, [each for each in marks.split(",") if each]


def _fingerprint(key: str | bytes) -> str:
    raw = key.encode() if isinstance(key, str) else key
    return hmac.new(raw, b"flask_idlesession neighbours", sha256).hexdigest()[:_LENGTH]
