"""Keeps small notes beside the sessions, on every store: what processes that share it are to know of each other."""

from uuid import UUID
from uuid import uuid5

from ..model.ids import SessionId
from ..model.record import Ending
from ..model.record import EndReason
from .contract import Store

#: Where the ids come from under which notes are kept: as endings of many sessions, which no flood of ends pushes out.
_NAMES = UUID("7b1c0d7e-55a4-4f0b-9f0e-2a64c1b7d3aa")

#: An instant at which nothing is forgotten yet: a clock that is wrong must find the notes, too.
_LONG_AGO = 0.0


def put_mark(store: Store, name: str, text: str, *, now: float, until: float) -> None:
    """Keep a text under a name, in the place of an earlier one. It may be lost before its time."""
    ending = Ending(sid=id_of_mark(name), reason=EndReason.REVOKED, ended_at=now, user_id=None, by=text)
    store.bury([ending], until=until)


def mark(store: Store, name: str) -> str | None:
    """Return the text that is kept under the name; None if there is none."""
    ending = store.ending(id_of_mark(name), now=_LONG_AGO)
    return None if ending is None else ending.by


def id_of_mark(name: str) -> SessionId:
    """Return the id under which a text of this name is kept."""
    return uuid5(_NAMES, name)
