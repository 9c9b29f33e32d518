"""Stores and what one might take in their place, behind one face: load, touch, write and create, by session id."""

import threading
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from typing import Protocol
from uuid import UUID
from uuid import uuid4

from flask_idlesession import Change
from flask_idlesession import MemoryStore
from flask_idlesession import Outcome
from flask_idlesession import Record
from flask_idlesession import SessionInfo
from flask_idlesession import Store
from flask_idlesession.stores.journal import JournalStore
from flask_idlesession.stores.sqlite import SQLiteStore

NOW = 1_700_000_000.0
HOLDER = b"h" * 32
IDLE_TIMEOUT = 1800.0
#: Sessions that are created while the time is taken get so little, and are pruned together afterwards.
_SHORT = 1.0

DICT, SIMPLE_CACHE, CACHETOOLS, DISKCACHE = "dict under a lock", "cachelib SimpleCache", "cachetools", "diskcache"
MEMORY, JOURNAL, SQLITE, REDIS, SQL = "memory", "memory and journal", "SQLite", "Redis", "PostgreSQL"

Values = dict[str, bytes]


def values_of(number: int) -> Values:
    """Return 200 bytes in three keys, which no two sessions share."""
    return {"a": b"%060d" % number, "b": b"%070d" % number, "c": b"%070d" % number}


def a_record(
    number: int,
    *,
    user_id: str | None = None,
    now: float = NOW,
    idle_timeout: float = IDLE_TIMEOUT,
    lifetime: float = 86400.0,
    values: Values | None = None,
) -> Record:
    """Return a session with 200 bytes in three keys, or with these values."""
    info = SessionInfo(
        sid=uuid4(),
        user_id=user_id,
        created_at=now,
        last_seen_at=now,
        idle_timeout=idle_timeout,
        lifetime_ends_at=now + lifetime,
    )
    return Record(info=info, secret_digest=HOLDER, values=values_of(number) if values is None else values)


class Contender(Protocol):
    """The calls that are compared. Their arguments are made ready before the time is taken."""

    def made(self, number: int) -> Any:
        """Return what :meth:`create` takes."""

    def create(self, made: Any) -> None:
        """Begin a session."""

    def id_of(self, made: Any) -> Any:
        """Return what the session is found by."""

    def change(self, number: int, *, writes: bool) -> Any:
        """Return what :meth:`commit` takes: a touch, or one key written and a touch."""

    def load(self, sid: Any) -> object:
        """Return a copy of the values."""

    def commit(self, sid: Any, change: Any) -> None:
        """Apply the change."""

    def forget(self, made: list[Any]) -> None:
        """Forget what was created while the time was taken."""

    def close(self) -> None:
        """Let go of everything."""


class Ours:
    """A store of this package."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def made(self, number: int) -> Record:
        """Return what :meth:`create` takes."""
        return a_record(number, idle_timeout=_SHORT)

    def create(self, made: Record) -> None:
        """Begin a session."""
        self.store.create(made)

    def id_of(self, made: Record) -> UUID:
        """Return what the session is found by."""
        return made.info.sid

    def change(self, number: int, *, writes: bool) -> Change:
        """Return what :meth:`commit` takes."""
        delta = {"a": b"%060d" % number} if writes else {}
        return Change(holder=HOLDER, last_seen_at=NOW + number % 1000 / 1e4, delta=delta)

    def load(self, sid: UUID) -> Record | None:
        """Return a copy of the values."""
        return self.store.load(sid, now=NOW)

    def commit(self, sid: UUID, change: Change) -> None:
        """Apply the change."""
        if self.store.commit(sid, change, now=NOW + 0.1) is not Outcome.DONE:
            raise RuntimeError(f"{self.store!r} has lost a session.")

    def forget(self, made: list[Record]) -> None:
        """Forget what was created while the time was taken."""
        while self.store.prune(now=NOW + 2 * _SHORT, limit=1000):
            pass

    def close(self) -> None:
        """Let go of everything."""
        self.store.close()


class DictUnderLock:
    """The least that a store can be: a dict of deadlines and values under one lock; load copies the values."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sessions: dict[UUID, list[Any]] = {}

    def made(self, number: int) -> tuple[UUID, Values]:
        """Return what :meth:`create` takes."""
        return uuid4(), values_of(number)

    def create(self, made: tuple[UUID, Values]) -> None:
        """Begin a session."""
        sid, values = made
        with self._lock:
            self._sessions[sid] = [NOW + IDLE_TIMEOUT, values]

    def id_of(self, made: tuple[UUID, Values]) -> UUID:
        """Return what the session is found by."""
        return made[0]

    def change(self, number: int, *, writes: bool) -> tuple[float, Values]:
        """Return what :meth:`commit` takes."""
        return NOW + number % 1000 / 1e4 + IDLE_TIMEOUT, {"a": b"%060d" % number} if writes else {}

    def load(self, sid: UUID) -> Values | None:
        """Return a copy of the values."""
        with self._lock:
            ends_at, values = self._sessions[sid]
            return dict(values) if ends_at > NOW else None

    def commit(self, sid: UUID, change: tuple[float, Values]) -> None:
        """Apply the change."""
        ends_at, delta = change
        with self._lock:
            session = self._sessions[sid]
            if session[0] > NOW:
                session[0] = ends_at
                if delta:
                    session[1].update(delta)

    def __len__(self) -> int:
        return len(self._sessions)

    def expire(self, sids: list[UUID]) -> None:
        """Have these sessions be over."""
        for sid in sids:
            self._sessions[sid][0] = 0.0

    def scan(self) -> None:
        """Forget what is over as one does who looks at all of them."""
        with self._lock:
            over = [sid for sid, session in self._sessions.items() if session[0] <= NOW]
            for sid in over:
                del self._sessions[sid]

    def forget(self, made: list[tuple[UUID, Values]]) -> None:
        """Forget what was created while the time was taken."""
        for sid, _ in made:
            del self._sessions[sid]

    def close(self) -> None:
        """Let go of everything."""
        self._sessions.clear()


class Cache:
    """A cache: the values under the session's id as text. A write reads first, and a touch sets again."""

    def __init__(self, get: Callable[[str], Any], put: Callable[[str, Any], object], drop: Callable[[str], object]):
        self.get, self.put, self.drop = get, put, drop

    def made(self, number: int) -> tuple[str, Values]:
        """Return what :meth:`create` takes."""
        return str(uuid4()), values_of(number)

    def create(self, made: tuple[str, Values]) -> None:
        """Begin a session."""
        self.put(*made)

    def id_of(self, made: tuple[str, Values]) -> str:
        """Return what the session is found by."""
        return made[0]

    def change(self, number: int, *, writes: bool) -> Values:
        """Return what :meth:`commit` takes."""
        return {"a": b"%060d" % number} if writes else {}

    def load(self, sid: str) -> Values:
        """Return a copy of the values."""
        return dict(self.get(sid))

    def commit(self, sid: str, change: Values) -> None:
        """Apply the change."""
        self.put(sid, {**self.get(sid), **change})

    def forget(self, made: list[tuple[str, Values]]) -> None:
        """Forget what was created while the time was taken."""
        for sid, _ in made:
            self.drop(sid)

    def close(self) -> None:
        """Let go of everything."""


def simple_cache() -> Cache:
    """Return cachelib's SimpleCache, which pickles, with room for everything."""
    from cachelib import SimpleCache

    cache = SimpleCache(threshold=10**9, default_timeout=int(IDLE_TIMEOUT))
    return Cache(cache.get, cache.set, cache.delete)


def cachetools() -> Cache:
    """Return a TTLCache of cachetools, under the lock that its documentation asks for."""
    from cachetools import TTLCache

    cache: Any = TTLCache(maxsize=10**9, ttl=IDLE_TIMEOUT)
    lock = threading.Lock()

    def get(key: str) -> Any:
        with lock:
            return cache[key]

    def put(key: str, value: Any) -> None:
        with lock:
            cache[key] = value

    def drop(key: str) -> None:
        with lock:
            del cache[key]

    return Cache(get, put, drop)


def diskcache(folder: Path) -> Cache:
    """Return a Cache of diskcache, which keeps nothing in memory."""
    from diskcache import Cache as DiskCache

    cache = DiskCache(str(folder / "diskcache"), size_limit=1 << 40)
    contender = Cache(cache.get, lambda key, value: cache.set(key, value, expire=IDLE_TIMEOUT), cache.delete)
    contender.close = cache.close  # type: ignore[method-assign]
    return contender


def in_memory(folder: Path) -> dict[str, Contender]:
    """Return those that one process has to itself."""
    return {
        MEMORY: Ours(MemoryStore()),
        JOURNAL: Ours(JournalStore(folder / "journal", now=NOW)),
        DICT: DictUnderLock(),
        SIMPLE_CACHE: simple_cache(),
        CACHETOOLS: cachetools(),
        DISKCACHE: diskcache(folder),
    }


def shared(folder: Path, *, redis_url: str | None, sql_url: str | None) -> dict[str, Contender]:
    """Return the stores that processes share, as far as their servers run."""
    found: dict[str, Contender] = {SQLITE: Ours(SQLiteStore(folder / "sessions.db"))}
    if redis_url is not None:
        import redis

        from flask_idlesession.stores.redis import RedisStore

        found[REDIS] = Ours(RedisStore(redis.Redis.from_url(redis_url)))
    if sql_url is not None:
        from flask_idlesession.stores.sqlalchemy import SQLAlchemyStore

        found[SQL] = Ours(SQLAlchemyStore.from_url(sql_url, timeout=5.0))
    return found


@contextmanager
def closing_all(contenders: dict[str, Contender]) -> Iterator[dict[str, Contender]]:
    """Close them when the block is left."""
    try:
        yield contenders
    finally:
        for contender in contenders.values():
            contender.close()
