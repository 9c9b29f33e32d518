"""What a session needs of the manager that opened it."""

from typing import Any
from typing import Protocol

from .codec import Codec
from .errors import DecodeError
from .ids import Claim
from .ids import SessionId
from .policy import Policy
from .record import Change
from .record import Ending
from .record import Outcome
from .record import Record


class Keeper(Protocol):
    """Reads and writes the sessions that claims are laid to."""

    codec: Codec
    policy: Policy

    def now(self) -> float:
        """Return the present instant."""

    def look(self, session: Any) -> Record | None:
        """Return the live record that the session's claim opens, or None: its request looks at it."""

    def reload(self, claim: Claim) -> Record | None:
        """Return the live record that the claim opens now, or None."""

    def commit(self, claim: Claim, change: Change) -> Outcome:
        """Apply the change in one step."""

    def admit(self, session: Any) -> None:
        """Log the session's user in at once, where the number of a user's sessions is limited."""

    def ending(self, sid: SessionId) -> Ending | None:
        """Return how the session ended, while that is remembered."""

    def abandon(self, claim: Claim, error: DecodeError) -> None:
        """End a session whose stored bytes cannot be decoded."""
