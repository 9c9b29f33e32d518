"""Makes infos of sessions, and a store that holds them, for tests that need many."""

from collections.abc import Iterable
from random import Random
from uuid import UUID

from flask_idlesession.model.record import Record
from flask_idlesession.model.record import SessionInfo
from flask_idlesession.stores.memory import MemoryStore

NOW = 1_700_000_000.0
random = Random(3)


def an_info(user_id: str | None = None, *, idle: float = 0.0, **labels: float) -> SessionInfo:
    return SessionInfo(
        sid=UUID(int=random.getrandbits(128), version=4),
        user_id=user_id,
        created_at=NOW - 3000,
        last_seen_at=NOW - idle,
        idle_timeout=1800.0,
        lifetime_ends_at=NOW + 86400,
        labels=labels,
    )


def a_store(infos: Iterable[SessionInfo]) -> MemoryStore:
    store = MemoryStore()
    for info in infos:
        store.create(Record(info=info, secret_digest=b"d" * 32, values={"a": b"1"}))
    return store
