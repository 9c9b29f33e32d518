"""Knows the request that carries a session, apart from what its view does to the session: its facts and its outcome."""

from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum
from typing import Any
from typing import Protocol

from ..model.ids import Credential
from ..model.record import Record


class Older(Protocol):
    """A session that another kind of session interface began, as a request shows it. It is asked when a view looks."""

    def take_over(self) -> Credential | None:
        """Make it a session of ours; return the right to that. None if there is nothing, or it may not be taken."""

    def owe_log_out(self) -> None:
        """Have it ended as soon as the store can: it could not when the user logged out."""

    def follow(self, record: Record, credential: Credential) -> Record | None:
        """Return the session that was made of it, with what has changed there since; None if it ended there."""


@dataclass(slots=True, eq=False)
class RequestFacts:
    """The facts of one request. Only ``sessions/requests.py``, ``sessions/late_writes.py`` and ``web/interface.py``
    write them."""

    #: When the request came. A revocation or a log-out that is later counts against it.
    came_at: float
    #: The right to a session that the request showed, and the one that its holder has by now.
    shown: Credential | None
    credential: Credential | None
    #: The request itself, until its session is saved; None outside HTTP.
    carrier: Any = None
    #: The session from before that the request shows, until it is ours; None for nearly every request.
    older: Older | None = None
    #: Whether the request is activity of the user; None until that is known.
    is_active: bool | None = None
    #: When the request counted as activity; None as long as it did not.
    seen_at: float | None = None
    #: The kind of request, if requests of one kind are likely to do the same.
    kind: Hashable = None
    #: Whether it is expected to change the session, so that its activity is noted with the change.
    is_to_write: bool = False
    #: Whether that activity is stored already.
    is_touched: bool = False
    #: Whether the request told when the user was active, so that its own end is no activity.
    is_told: bool = False
    #: Whether the request only looks: nothing of it is stored, and its holder is told nothing.
    only_looks: bool = False
    #: Whether there is a new token that no response has carried yet.
    is_unsent: bool = False
    #: Whether Flask is about to send the response: no cookie can be set after it was saved.
    is_answered: bool = False
    #: Whether the view met a failure of the store and is over: what runs now finds an empty session.
    is_over: bool = False
    #: The keys that were assigned too late to be stored, until that is logged.
    lost: dict[str, None] | None = None
    #: Whether a response of this request carried the token. That response may have been thrown away.
    was_sent: bool = False


class Saved(Enum):
    """The effect of saving on the session, as far as its holder must be told."""

    #: The token that the holder has is still the right one; nothing to say.
    KEPT = "kept"
    #: The token is still the right one, and its holder should keep it for another time than before.
    REFRESHED = "refreshed"
    #: There is a new token, for the credential in the session's facts.
    ISSUED = "issued"
    #: This request ended the session.
    ENDED = "ended"
    #: The session was over before its changes came; they were dropped.
    GONE = "gone"
