"""Finds the records of Flask-Session where its settings say: in Redis, files, SQL, a cachelib cache or memcached."""

import hashlib
import io
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
from contextlib import suppress
from copy import copy
from dataclasses import dataclass
from dataclasses import field
from datetime import datetime
from datetime import UTC
from pathlib import Path
from struct import error as StructError
from struct import Struct
from typing import Any
from typing import IO
from typing import Protocol

from flask import Flask

from ..model.errors import ConfigError
from ..model.errors import StoreUnavailable
from .old_values import Pickled
from .old_values import read_pickle
from .old_values import read_values
from .old_values import Unreadable

#: A file of cachelib begins with the instant at which it expires; 0 is never.
_EXPIRES = Struct("I")

#: How Flask-Session calls a folder of files where no setting names one.
_FOLDER = "flask_session"


@dataclass(frozen=True, slots=True, kw_only=True)
class OldRecord:
    """A record as it was found."""

    #: Tells one state of it from another.
    state: bytes = field(repr=False)
    read: Callable[[bool], dict[str, Any]] = field(repr=False)
    #: When it expires; None if that cannot be told.
    expires_at: float | None


class OldStore(Protocol):
    """One of the places where Flask-Session keeps records."""

    def load(self, key: str, *, now: float) -> OldRecord | None:
        """Return the live record of this key. Raise StoreUnavailable if the place cannot be reached."""

    def delete(self, key: str) -> None:
        """Forget the record."""

    def keys(self, prefix: str) -> Iterator[str]:
        """Yield the keys that begin so; none where the place cannot tell."""


@contextmanager
def _reaching(place: str) -> Iterator[None]:
    try:
        yield
    except (ConfigError, Unreadable):
        raise
    except Exception as error:  # Each driver raises errors of its own.
        raise StoreUnavailable(
            f"Sessions from before cannot be read from {place}: {type(error).__name__}. Requests that show an old "
            "cookie are answered 503 until it is back."
        ) from error


def _record(data: bytes, expires_at: float | None) -> OldRecord:
    return OldRecord(
        state=hashlib.sha256(data).digest(),
        read=lambda pickled: read_values(data, pickled=pickled),
        expires_at=expires_at,
    )


class OldRedis:
    """Records in Redis: each is a text of its own, which expires."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def load(self, key: str, *, now: float) -> OldRecord | None:
        """Return the live record of this key."""
        with _reaching("Redis"):
            data = self._client.get(key)
            if not data:
                return None
            left = self._client.pttl(key)
        data = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
        return _record(data, None if left < 0 else now + left / 1000)

    def delete(self, key: str) -> None:
        """Forget the record."""
        with _reaching("Redis"):
            self._client.delete(key)

    def keys(self, prefix: str) -> Iterator[str]:
        """Yield the keys that begin so."""
        escaped = "".join(f"\\{char}" if char in "*?[]\\" else char for char in prefix)
        for key in self._client.scan_iter(match=f"{escaped}*", count=1000):
            yield key if isinstance(key, str) else key.decode()


class OldMemcached:
    """Records in memcached, which does not tell when they expire."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def load(self, key: str, *, now: float) -> OldRecord | None:
        """Return the live record of this key."""
        with _reaching("memcached"):
            data = self._client.get(key)
        if not data:
            return None
        return _record(data.encode() if isinstance(data, str) else data, None)

    def delete(self, key: str) -> None:
        """Forget the record."""
        with _reaching("memcached"):
            self._client.delete(key)

    def keys(self, prefix: str) -> Iterator[str]:
        """Yield nothing: memcached does not tell its keys."""
        return iter(())


class OldFiles:
    """Records in the files of cachelib's FileSystemCache, each a pickle. They are read without cachelib, which would
    load any class.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, key: str, *, now: float) -> OldRecord | None:
        """Return the live record of this key."""
        with _reaching("its files"):
            data = next(self._contents(key), None)
        if data is None:
            return None
        try:
            (expires_at,) = _EXPIRES.unpack_from(data)
        except StructError:
            return None
        if expires_at and expires_at <= now:
            return None
        return _record(data[_EXPIRES.size :], float(expires_at) if expires_at else None)

    def delete(self, key: str) -> None:
        """Forget the record."""
        with _reaching("its files"):
            for path in self._paths(key):
                path.unlink(missing_ok=True)

    def keys(self, prefix: str) -> Iterator[str]:
        """Yield nothing: a file is named by the digest of its key."""
        return iter(())

    def _contents(self, key: str) -> Iterator[bytes]:
        for path in self._paths(key):
            with suppress(FileNotFoundError):
                yield path.read_bytes()

    def _paths(self, key: str) -> list[Path]:
        """Return how cachelib names the file of a key: by SHA-256 from 0.14 on, and by MD5 before."""
        names = hashlib.sha256(key.encode()), hashlib.md5(key.encode(), usedforsecurity=False)
        return [self._folder / name.hexdigest() for name in names]


class _Within:
    """A serializer for cachelib that loads plain values alone."""

    def load(self, file: IO[bytes]) -> Any:
        return read_pickle(file)

    def loads(self, data: bytes | None) -> Any:
        if data is None:
            return None
        return read_pickle(io.BytesIO(data.removeprefix(b"!")))


class OldCache:
    """Records in another cache of cachelib's, each a pickle."""

    def __init__(self, cache: Any) -> None:
        if not hasattr(cache, "serializer"):
            raise ConfigError(
                f"SESSION_CACHELIB is a {type(cache).__name__}, whose sessions cannot be read safely: its client loads "
                "any class. Leave IDLESESSION_ADOPT empty; users log in again."
            )
        self._cache = copy(cache)
        self._cache.serializer = _Within()
        self._own = cache

    def load(self, key: str, *, now: float) -> OldRecord | None:
        """Return the live record of this key."""
        with _reaching("its cache"):
            if not self._own.has(key):
                return None
            data = self._cache.get(key)
        if not isinstance(data, dict):
            return None
        state = hashlib.sha256(repr(sorted(data.items(), key=repr)).encode("utf-8", "replace")).digest()

        def read(pickled: bool) -> dict[str, Any]:
            if not pickled:
                raise Pickled("it is pickled")
            return dict(data)

        return OldRecord(state=state, read=read, expires_at=None)

    def delete(self, key: str) -> None:
        """Forget the record."""
        with _reaching("its cache"):
            self._own.delete(key)

    def keys(self, prefix: str) -> Iterator[str]:
        """Yield nothing: a cache does not tell its keys."""
        return iter(())


class OldTable:
    """Records in a table. ``engine`` returns the engine that reaches it."""

    def __init__(self, engine: Callable[[], Any], *, table: str, schema: str | None) -> None:
        import sqlalchemy

        self._engine = engine
        self._sql = sqlalchemy
        columns: list[Any] = [
            sqlalchemy.Column("session_id", sqlalchemy.String(255)),
            sqlalchemy.Column("data", sqlalchemy.LargeBinary),
            sqlalchemy.Column("expiry", sqlalchemy.DateTime),
        ]
        self._table = sqlalchemy.Table(table, sqlalchemy.MetaData(), *columns, schema=schema)

    def load(self, key: str, *, now: float) -> OldRecord | None:
        """Return the live record of this key."""
        columns = self._table.c
        query = self._sql.select(columns.data, columns.expiry).where(columns.session_id == key)
        with _reaching("its table"):
            found = self._first(query)
        if found is None or found.expiry is None or found.data is None:
            return None
        expires_at = found.expiry.replace(tzinfo=UTC).timestamp()
        return _record(bytes(found.data), expires_at) if now < expires_at else None

    def _first(self, query: Any) -> Any:
        try:
            with self._engine().connect() as connection:
                return connection.execute(query).first()
        except self._sql.exc.DBAPIError:
            if not self._sql.inspect(self._engine()).has_table(self._table.name, schema=self._table.schema):
                return None  # Flask-Session makes its table when it starts, so it never did on this database.
            raise

    def delete(self, key: str) -> None:
        """Forget the record."""
        with _reaching("its table"), self._engine().begin() as connection:
            connection.execute(self._sql.delete(self._table).where(self._table.c.session_id == key))

    def keys(self, prefix: str) -> Iterator[str]:
        """Yield the keys that begin so."""
        column = self._table.c.session_id
        with self._engine().connect() as connection:
            found = connection.execute(self._sql.select(column).where(column.startswith(prefix, autoescape=True)))
            yield from found.scalars().all()


def now_in_utc(now: float) -> datetime:
    """Return an instant as a date and time of UTC."""
    return datetime.fromtimestamp(now, tz=UTC)


def open_old_store(app: Flask, config: Mapping[str, Any]) -> OldStore:
    """Return where Flask-Session keeps its records, as its settings say.

    Raise :exc:`~flask_idlesession.ConfigError` for a kind that cannot be read.
    """
    kind = str(config.get("SESSION_TYPE") or "").lower()
    if kind == "redis":
        return OldRedis(redis_client(config))
    if kind == "memcached":
        return OldMemcached(memcached_client(config))
    cache = config.get("SESSION_CACHELIB")
    if kind == "filesystem" or kind == "cachelib" and (cache is None or type(cache).__name__ == "FileSystemCache"):
        return OldFiles(folder_of(config))
    if kind == "cachelib":
        return OldCache(cache)
    if kind == "sqlalchemy":
        table, schema = config.get("SESSION_SQLALCHEMY_TABLE") or "sessions", config.get("SESSION_SQLALCHEMY_SCHEMA")
        return OldTable(lambda: sql_engine(app, config), table=table, schema=schema)
    raise ConfigError(
        f"SESSION_TYPE is {config.get('SESSION_TYPE')!r}, and sessions of that kind cannot be taken over; it must be "
        '"redis", "memcached", "filesystem", "cachelib" or "sqlalchemy". Leave IDLESESSION_ADOPT empty to go on '
        "without them."
    )


def redis_client(config: Mapping[str, Any]) -> Any:
    """Return the client of Redis that the settings name, or one for this host as Flask-Session makes it."""
    client = config.get("SESSION_REDIS")
    if client is not None:
        return client
    from redis import Redis

    return Redis()


def folder_of(config: Mapping[str, Any]) -> Path:
    """Return the absolute folder of the files that the settings name, or the one that Flask-Session takes else."""
    cache, kind = config.get("SESSION_CACHELIB"), str(config.get("SESSION_TYPE") or "").lower()
    if kind == "cachelib":
        return Path(_FOLDER if cache is None else cache._path).absolute()
    return Path(config.get("SESSION_FILE_DIR") or _FOLDER).absolute()


def memcached_client(config: Mapping[str, Any]) -> Any:
    """Return the client of memcached that the settings name."""
    client = config.get("SESSION_MEMCACHED")
    if client is None:
        raise ConfigError('SESSION_TYPE is "memcached"; set SESSION_MEMCACHED to the client of it.')
    return client


def sql_engine(app: Flask, config: Mapping[str, Any]) -> Any:
    """Return the engine of the database that the settings name."""
    db = config.get("SESSION_SQLALCHEMY")
    if db is None:
        db = app.extensions.get("sqlalchemy")
    if db is None:
        raise ConfigError('SESSION_TYPE is "sqlalchemy"; set SESSION_SQLALCHEMY to the SQLAlchemy(app) of it.')
    if hasattr(db, "connect") and hasattr(db, "dialect"):
        return db
    with app.app_context():
        key = config.get("SESSION_SQLALCHEMY_BIND_KEY")
        return db.engine if key is None else db.engines[key]
