"""Reads what statements answer, and refuses an answer that is about another session than was asked about."""

from collections.abc import Sequence
from typing import Any

from ...model.errors import StoreUnavailable
from ...model.ids import SessionId
from ...model.record import SessionInfo
from .. import columns as row
from .connection import Connection
from .connection import Rows
from .connection import Told
from .statements import HAS_RETURNING
from .statements import Statements


def changed(connection: Connection, statement: str, told: Told, sid: SessionId) -> bool:
    """Run a statement that changes one session, and return whether it did: it says which one it was."""
    answered = connection.rows(statement, told)
    if not HAS_RETURNING:
        return bool(connection.rows("SELECT changes()")[0][0])
    return is_about(sid, answered)


def is_about(sid: SessionId, answered: Rows) -> bool:
    """Return whether a statement that answers with the id of the session that it changed did change it."""
    if answered and answered != [(sid.bytes,)]:
        raise wrong_answer(sid, answered)
    return bool(answered)


def delete_some(connection: Connection, sql: Statements, ids: Sequence[bytes]) -> list[SessionInfo]:
    """Forget these, and return the infos of those that were there."""
    if HAS_RETURNING:
        return infos_of(connection.rows(sql.delete_some(len(ids)), ids), ids)
    infos = infos_of(connection.rows(sql.list_some(len(ids)), ids), ids)
    connection.rows(sql.delete_some(len(ids)), ids)
    return infos


def info_of(found: Sequence[Any]) -> SessionInfo | None:
    """Return the info in a row; None if the row was spoilt, so that it is nobody's session."""
    try:
        return row.to_info(SessionId(bytes=found[0]), found)
    except (TypeError, ValueError):
        return None


def infos_of(rows: Sequence[Sequence[Any]], asked: Sequence[bytes]) -> list[SessionInfo]:
    """Return the infos in the rows that a statement about these sessions returned."""
    answered = {found[0] for found in rows}
    if len(answered) != len(rows) or not answered.issubset(asked):
        raise wrong_answer(f"{len(asked)} sessions", [found[0] for found in rows])
    return [info for info in map(info_of, rows) if info is not None]


def wrong_answer(asked: object, answered: object) -> StoreUnavailable:
    """Return the error for an answer about another session than the one that was asked about."""
    return StoreUnavailable(f"The session database was asked about {asked}, and answered about {answered!r}.")
