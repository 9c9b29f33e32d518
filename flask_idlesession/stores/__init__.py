"""Opens the store that ``IDLESESSION_STORE`` names, importing a driver only when it is asked for."""

from collections.abc import Callable
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from urllib.parse import urlsplit

from ..model.errors import ConfigError
from ..model.messages import without_secrets
from .contract import Store
from .memory.store import MemoryStore

#: Seconds within which a server must answer, so that one which hangs does not hang the application.
TIMEOUT = 1.0

#: Seconds within which a request must have its turn to write to a file.
_SQLITE_TIMEOUT = 2.0

_SHAPES = (
    "a URL (memory://, sqlite:///sessions.db, redis://…, valkey://…, postgresql+psycopg://… or another SQLAlchemy "
    "URL), a store, a Redis client, an SQLAlchemy engine or a cachelib cache"
)


def open_store(spec: Any, *, folder: Path, open_memory: Callable[[], Store] = MemoryStore) -> Store:
    """Return the store that ``spec`` names or is. A relative path is taken from ``folder``.

    Raise :exc:`~flask_idlesession.ConfigError` for what is no store, and for a driver that is missing.
    """
    if isinstance(spec, str):
        return _open_url(spec, folder, open_memory)
    for is_kind, open_kind in _KINDS:
        if is_kind(spec):
            return open_kind(spec)
    raise _no_store(spec)


def check_store(spec: Any) -> None:
    """Raise :exc:`~flask_idlesession.ConfigError` for what :func:`open_store` refuses, without asking a server and
    without touching a file.
    """
    if not isinstance(spec, str):
        if not any(is_kind(spec) for is_kind, _ in _KINDS):
            raise _no_store(spec)
        return
    scheme = urlsplit(spec).scheme
    if scheme == "sqlite":
        _path_of(spec)
    elif scheme == "redis+cluster":  # A client of a cluster asks it when it is made.
        _import("redis.cluster", extra="redis", url=spec)
    elif scheme != "memory":
        open_store(spec, folder=Path()).close()


def describe(spec: Any) -> str:
    """Return where sessions are, fit for a message: a URL without its password, or the kind of a ready object."""
    return without_secrets(spec) if isinstance(spec, str) else f"a ready {type(spec).__name__}"


def _no_store(spec: Any) -> ConfigError:
    return ConfigError(f"IDLESESSION_STORE is of the type {type(spec).__name__}; it must be {_SHAPES}.")


def _open_url(url: str, folder: Path, open_memory: Callable[[], Store]) -> Store:
    scheme = urlsplit(url).scheme
    if scheme == "memory":
        return open_memory()
    if scheme == "sqlite":
        return _open_sqlite(url, folder)
    if scheme in _REDIS:
        return _open_redis(_REDIS[scheme](url))
    if "://" in url:
        return _open_sql_url(url)
    raise ConfigError(f"IDLESESSION_STORE is {without_secrets(url)!r}; it must be {_SHAPES}.")


def _import(name: str, *, extra: str, url: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"IDLESESSION_STORE is {without_secrets(url)!r}, which needs the package {error.name!r}; "
            f"install it with: python -m pip install 'flask_idlesession[{extra}]'"
        ) from error


def _path_of(url: str) -> str:
    """Return the path of an SQLite file."""
    path = unquote(url.removeprefix("sqlite://").removeprefix("/"))
    if not path or path == ":memory:":
        raise ConfigError(
            f'IDLESESSION_STORE is {without_secrets(url)!r}; it must name a file, as "sqlite:///sessions.db" does. For '
            'sessions in memory write "memory://".'
        )
    return path


def _open_sqlite(url: str, folder: Path) -> Store:
    from .sqlite.store import SQLiteStore

    return SQLiteStore(folder / _path_of(url), busy_timeout=_SQLITE_TIMEOUT)


def _open_sql_url(url: str) -> Store:
    sqlalchemy = _import("sqlalchemy", extra="sqlalchemy", url=url)
    from .sqlalchemy.store import SQLAlchemyStore

    try:
        return SQLAlchemyStore.from_url(url, timeout=TIMEOUT)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"IDLESESSION_STORE is {without_secrets(url)!r}, which needs the driver {error.name!r}; "
            f"install it with: python -m pip install {error.name}"
        ) from error
    except sqlalchemy.exc.ArgumentError as error:
        raise ConfigError(f"IDLESESSION_STORE is {without_secrets(url)!r}; it must be {_SHAPES}.") from error


def _open_sql(engine: Any) -> Store:
    from .sqlalchemy.store import SQLAlchemyStore

    return SQLAlchemyStore(engine)


def _open_redis(client: Any) -> Store:
    from .redis.store import RedisStore

    return RedisStore(client)


def _open_cachelib(cache: Any) -> Store:
    from .cachelib import CachelibStore

    return CachelibStore(cache)


def _redis(url: str) -> Any:
    redis = _import("redis", extra="redis", url=url)
    return redis.Redis.from_url(url, **_impatience("redis"))


def _impatience(package: str) -> dict[str, Any]:
    """Return what makes a client of redis-py's kind answer or fail in time: one try, and one more where a
    connection had gone stale.
    """
    retry = import_module(f"{package}.retry").Retry(import_module(f"{package}.backoff").NoBackoff(), 1)
    return {"socket_timeout": TIMEOUT, "socket_connect_timeout": TIMEOUT, "retry": retry}


def _redis_cluster(url: str) -> Any:
    cluster = _import("redis.cluster", extra="redis", url=url)
    plain = url.replace("redis+cluster://", "redis://", 1)
    return cluster.RedisCluster.from_url(plain, **_impatience("redis"))


def _redis_sentinel(url: str) -> Any:
    """``redis+sentinel://[[user]:password@]host[:port][,host[:port]…]/service[/db]``"""
    sentinel = _import("redis.sentinel", extra="redis", url=url)
    login, _, hosts = urlsplit(url).netloc.rpartition("@")
    service, _, db = urlsplit(url).path.strip("/").partition("/")
    if not hosts or not service:
        raise ConfigError(
            f"IDLESESSION_STORE is {without_secrets(url)!r}; it must be "
            "redis+sentinel://host:26379,host:26379/service-name/db."
        )
    addresses = [(host, int(port or 26379)) for host, _, port in (each.partition(":") for each in hosts.split(","))]
    user, _, password = login.partition(":")
    options = _impatience("redis")
    if login:
        options |= {"username": unquote(user) or None, "password": unquote(password)}
    return sentinel.Sentinel(addresses, socket_timeout=TIMEOUT).master_for(service, db=int(db or 0), **options)


def _valkey(url: str) -> Any:
    valkey = _import("valkey", extra="valkey", url=url)
    return valkey.Valkey.from_url(url, **_impatience("valkey"))


_REDIS: Mapping[str, Callable[[str], Any]] = {
    "redis": _redis,
    "rediss": _redis,
    "unix": _redis,
    "redis+cluster": _redis_cluster,
    "redis+sentinel": _redis_sentinel,
    "valkey": _valkey,
    "valkeys": _valkey,
}

# What a ready object is, by what it can do.
_KINDS: tuple[tuple[Callable[[Any], bool], Callable[[Any], Store]], ...] = (
    (
        lambda spec: all(hasattr(spec, verb) for verb in ("create", "load", "commit", "find", "prune")),
        lambda spec: spec,
    ),
    (lambda spec: hasattr(spec, "evalsha") and hasattr(spec, "script_load"), _open_redis),
    (lambda spec: hasattr(spec, "dialect") and hasattr(spec, "connect"), _open_sql),
    (lambda spec: all(hasattr(spec, verb) for verb in ("get", "set", "add", "delete", "has")), _open_cachelib),
)
