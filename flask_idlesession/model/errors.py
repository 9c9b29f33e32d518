"""The errors that the package raises, each a kind of :class:`IdleSessionError`."""

import re

from werkzeug.exceptions import Forbidden
from werkzeug.exceptions import ServiceUnavailable

#: The code at the end of a message.
_CODE = re.compile(r"\[IS[EWH]\d{3}\]$")


class IdleSessionError(Exception):
    """The root of every error that this package raises on purpose.

    Its message ends with a code in brackets, which :doc:`errors` explains.
    """

    #: The code of a message that has none of its own.
    CODE = "ISE100"

    def __init__(self, message: str = "") -> None:
        super().__init__(self._coded(message))

    @classmethod
    def _coded(cls, message: str) -> str:
        return message if _CODE.search(message) else f"{message} [{cls.CODE}]".lstrip()


class ConfigError(IdleSessionError, ValueError):
    """A setting is wrong. The message names the key, its value and what to write instead."""

    CODE = "ISE018"


class SessionNotFound(IdleSessionError, LookupError):
    """No live session has this id: it never was, it ended, or it expired."""

    CODE = "ISE070"


class SessionExists(IdleSessionError):
    """A store was asked to create a session under an id that it already holds."""

    CODE = "ISE071"


class ConflictError(IdleSessionError):
    """Another request changed the session first. Nothing was written."""

    CODE = "ISE072"


class LeaseTimeout(ConflictError, TimeoutError):
    """Somebody else was alone with the session for longer than this request was told to wait."""

    CODE = "ISE073"


class TooManySessions(IdleSessionError):
    """The user has as many sessions as they may have, and the application refuses another."""

    CODE = "ISE074"


class CsrfError(IdleSessionError, Forbidden):
    """A request that would change something was sent by another site, or cannot show that it was not."""

    CODE = "ISE075"


class StoreError(IdleSessionError, ServiceUnavailable):
    """The store could not do what it was asked; what the driver said is the ``__cause__``.

    A request that meets it is answered 503 with Retry-After, unless the application has an error handler for this
    class, for 503, or for all. The message is for the log: the answer does not show it.
    """

    CODE = "ISE080"

    #: Seconds after which a client may try again; None if that is of no use.
    RETRY_AFTER: int | None = 2

    #: The text of the answer.
    TOLD = "The session could not be read or saved just now. Please try again in a moment."

    def __init__(self, message: str = "The session store failed.") -> None:
        ServiceUnavailable.__init__(self, self.TOLD, retry_after=self.RETRY_AFTER)
        self.message = self._coded(message)
        self.args = (self.message,)

    def __str__(self) -> str:
        return self.message


class StoreUnavailable(StoreError):
    """The store cannot be reached, is too slow, or refuses everybody: an outage."""

    CODE = "ISE081"


class RecordRejected(StoreError):
    """One session's data cannot be stored: it is too large, or of a kind that the store cannot hold.

    That is no outage: it is answered 503 without Retry-After, for the same request would fail again.
    """

    CODE = "ISE082"
    RETRY_AFTER = None
    TOLD = "The session cannot keep what this request wrote: it may be too large."


class EncodeError(IdleSessionError, TypeError):
    """A value cannot be kept in a session. The message gives the path to it.

    It is a :exc:`TypeError` because that is what Flask's own session raises for such a value.
    """

    CODE = "ISE060"


class DecodeError(IdleSessionError, ValueError):
    """Stored bytes are not a value that this codec wrote, or hold a type that it does not know."""

    CODE = "ISE064"
