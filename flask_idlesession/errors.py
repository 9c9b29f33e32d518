"""The errors that the package raises, each a kind of :class:`IdleSessionError`."""


class IdleSessionError(Exception):
    """The root of every error that this package raises on purpose."""


class ConfigError(IdleSessionError, ValueError):
    """A setting is wrong. The message names the key, its value and what to write instead."""


class SessionNotFound(IdleSessionError, LookupError):
    """No live session has this id: it never was, it ended, or it expired."""


class SessionExists(IdleSessionError):
    """A store was asked to create a session under an id that it already holds."""


class ConflictError(IdleSessionError):
    """What was to be done in one step with others kept away could not be: nothing of it was written."""


class LeaseTimeout(ConflictError, TimeoutError):
    """Somebody else was alone with the session for longer than this request was told to wait."""


class StoreError(IdleSessionError):
    """The store could not do what it was asked; what the driver said is the ``__cause__``."""


class EncodeError(IdleSessionError, TypeError):
    """A value cannot be kept in a session. The message gives the path to it.

    It is a :exc:`TypeError` because that is what Flask's own session raises for such a value.
    """


class DecodeError(IdleSessionError, ValueError):
    """Stored bytes are not a value that this codec wrote, or hold a type that it does not know."""
