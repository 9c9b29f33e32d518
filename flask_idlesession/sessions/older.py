"""Finds the session of a request that shows one from before: what was made of it, or else is made of it now."""

from collections.abc import Callable

from ..model.errors import StoreError
from ..model.ids import Credential
from ..model.record import Record
from .facts import Older
from .facts import RequestFacts


def look(
    facts: RequestFacts, older: Older, *, look_at_ours: Callable[[RequestFacts, Credential], Record | None]
) -> Record | None:
    """Return what the credential opens, with what changed in the session from before; else take that one over.

    It is left where it is if no cookie can be set for it.
    """
    if facts.credential is not None:
        record = look_at_ours(facts, facts.credential)
        followed = None if record is None else older.follow(record, facts.credential)
        if followed is not None:
            return followed
    if facts.is_answered or facts.only_looks:
        return None
    credential = take_over(facts)
    return None if credential is None else look_at_ours(facts, credential)


def take_over_to_end(facts: RequestFacts) -> Credential | None:
    """Return the right to the session, which is about to end. Where the store fails it ends when that is back."""
    try:
        return take_over(facts)
    except StoreError:
        if facts.older is not None:
            facts.older.owe_log_out()
        raise


def take_over(facts: RequestFacts) -> Credential | None:
    """Return the right to the session that is made of what the request shows, which then has it; None for nothing."""
    if facts.older is None:
        return None
    credential = facts.older.take_over()
    facts.older = None
    if credential is not None:
        facts.credential, facts.is_unsent = credential, True
    return credential
