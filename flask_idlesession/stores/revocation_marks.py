"""Names the notes that say when all sessions of a user, or of everybody, were revoked."""

from uuid import UUID
from uuid import uuid5

from ..model.ids import SessionId

#: The namespace of the ids under which a store remembers two things: a user's sessions were revoked, and a log-in of
#: that user is under way.
NAMES = UUID("4f8a3a52-3f0e-4d0e-9d0e-6d1a4c1e7b11")

#: The id under which the ending of everybody's sessions is kept.
EVERYBODY = uuid5(NAMES, "everybody")

#: Seconds for which a revocation is remembered: no request that began before it takes longer.
MEMORY = 3600.0


def mark_of(user_id: str) -> SessionId:
    """Return the id under which the ending of all sessions of a user is kept."""
    return uuid5(NAMES, f"user {user_id}")
