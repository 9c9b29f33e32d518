"""The errors that the package raises, each a kind of :class:`IdleSessionError`."""

from werkzeug.exceptions import Forbidden
from werkzeug.exceptions import ServiceUnavailable


class IdleSessionError(Exception):
    """The root of every error that this package raises on purpose."""


class ConfigError(IdleSessionError, ValueError):
    """A setting is wrong. The message names the key, its value and what to write instead."""


class SessionNotFound(IdleSessionError, LookupError):
    """No live session has this id: it never was, it ended, or it expired."""


class SessionExists(IdleSessionError):
    """A store was asked to create a session under an id that it already holds."""


class ConflictError(IdleSessionError):
    """Another request changed the session first. Nothing was written."""


class LeaseTimeout(ConflictError, TimeoutError):
    """Somebody else was alone with the session for longer than this request was told to wait."""


class TooManySessions(IdleSessionError):
    """The user has as many sessions as they may have, and the application refuses another."""


class CsrfError(IdleSessionError, Forbidden):
    """A request that would change something was sent by another site, or cannot show that it was not."""


class StoreError(IdleSessionError, ServiceUnavailable):
    """The store could not do what it was asked; what the driver said is the ``__cause__``.

    A request that meets it is answered 503 with Retry-After, unless the application has an error handler for this
    class, for 503, or for all. The message is for the log: the answer does not show it.
    """

    #: Seconds after which a client may try again; None if that is of no use.
    RETRY_AFTER: int | None = 2

    #: The text of the answer.
    TOLD = "The session could not be read or saved just now. Please try again in a moment."

    def __init__(self, message: str = "The session store failed.") -> None:
        super().__init__(self.TOLD, retry_after=self.RETRY_AFTER)
        self.args = (message,)
        self.message = message

    def __str__(self) -> str:
        return self.message


class StoreUnavailable(StoreError):
    """The store cannot be reached, is too slow, or refuses everybody: an outage."""


class RecordRejected(StoreError):
    """One session's data cannot be stored: it is too large, or of a kind that the store cannot hold.

    That is no outage: it is answered 503 without Retry-After, for the same request would fail again.
    """

    RETRY_AFTER = None
    TOLD = "The session cannot keep what this request wrote: it may be too large."


class EncodeError(IdleSessionError, TypeError):
    """A value cannot be kept in a session. The message gives the path to it.

    It is a :exc:`TypeError` because that is what Flask's own session raises for such a value.
    """


class DecodeError(IdleSessionError, ValueError):
    """Stored bytes are not a value that this codec wrote, or hold a type that it does not know."""
