"""What a session needs of the manager that opened it."""

from typing import Protocol

from .codec import Codec
from .errors import DecodeError
from .ids import Claim
from .policy import Policy
from .record import Change
from .record import Outcome
from .record import Record


class Keeper(Protocol):
    """Reads and writes the sessions that claims are laid to."""

    codec: Codec
    policy: Policy

    def now(self) -> float:
        """Return the present instant."""

    def load(self, claim: Claim) -> Record | None:
        """Return the live record that the claim opens, or None: a request arrives with it."""

    def reload(self, claim: Claim) -> Record | None:
        """Return the live record that the claim opens now, or None."""

    def commit(self, claim: Claim, change: Change) -> Outcome:
        """Apply the change in one step."""

    def abandon(self, claim: Claim, error: DecodeError) -> None:
        """End a session whose stored bytes cannot be decoded."""
