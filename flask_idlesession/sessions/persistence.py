"""What a session needs of the manager that opened it."""

from typing import Any
from typing import Protocol

from ..model.codec import Codec
from ..model.errors import DecodeError
from ..model.ids import Credential
from ..model.ids import SessionId
from ..model.policy import Policy
from ..model.record import Change
from ..model.record import Ending
from ..model.record import Outcome
from ..model.record import Record


class Persistence(Protocol):
    """Reads and writes the sessions that claims are laid to."""

    codec: Codec
    policy: Policy

    def now(self) -> float:
        """Return the present instant."""

    def look(self, session: Any) -> Record | None:
        """Return the live record that the session's credential opens, or None: its request looks at it."""

    def reload(self, credential: Credential) -> Record | None:
        """Return the live record that the credential opens now, or None."""

    def commit(self, credential: Credential, change: Change) -> Outcome:
        """Apply the change in one step."""

    def admit(self, session: Any) -> None:
        """Log the session's user in at once, where the number of a user's sessions is limited."""

    def ending(self, sid: SessionId) -> Ending | None:
        """Return how the session ended, while that is remembered."""

    def abandon(self, credential: Credential, error: DecodeError) -> None:
        """End a session whose stored bytes cannot be decoded."""
