"""Binds users to sessions: log in, log out, and who it is."""

from typing import cast
from uuid import UUID

from flask import session

from .session import Session


def log_in(user_id: str | int | UUID) -> None:
    """Log the user in: the session gets a new token with this response, and both its clocks start anew.

    What the session held is kept; ``session.clear()`` before drops it. The id is kept as a string.
    Anything else, such as the None of a user that was not found, is a TypeError.
    """
    if not isinstance(user_id, str | int | UUID) or isinstance(user_id, bool):
        raise TypeError(f"log_in() needs the user's id as a str, an int or a UUID, not {user_id!r}.")
    cast(Session, session).log_in(str(user_id))


def log_out() -> None:
    """End the session of this request. Nothing brings it back: no other request, no copied cookie."""
    session.clear()


def current_user_id() -> str | None:
    """Return the id of the user that is logged in, or None."""
    return cast(Session, session).user_id
