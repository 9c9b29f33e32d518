"""Opens the store that ``IDLESESSION_STORE`` names, importing a driver only when it is asked for."""

import re
import weakref
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from ..model.errors import ConfigError
from ..model.messages import without_secrets
from .contract import Store
from .memory.store import MemoryStore

#: Seconds within which a database must answer, so that one which hangs does not hang the application.
_TIMEOUT = 1.0

_REDIS = {"redis", "rediss", "unix", "redis+cluster", "rediss+cluster", "redis+sentinel", "rediss+sentinel"}
_REDIS |= {"valkey", "valkeys"}

#: For a URL without a driver: with one, and its package.
_DRIVERS = {
    "mysql": ("mysql+pymysql", "PyMySQL"),
    "mariadb": ("mariadb+pymysql", "PyMySQL"),
    "postgresql": ("postgresql+psycopg", "'psycopg[binary]'"),
}

#: The packages of drivers that are called otherwise than the modules in them.
_PACKAGES = {
    "MySQLdb": "mysqlclient",
    "psycopg": "'psycopg[binary]'",
    "psycopg2": "psycopg2-binary",
    "pymysql": "PyMySQL",
}

#: Seconds within which a request must have its turn to write to a file.
_SQLITE_TIMEOUT = 2.0

_SHAPES = (
    "a URL (memory://, sqlite:///sessions.db, redis://…, valkey://…, postgresql+psycopg://… or another SQLAlchemy "
    "URL), a store, a Redis client, an SQLAlchemy engine or a cachelib cache"
)


def open_store(
    spec: Any, *, folder: Path, open_memory: Callable[[], Store] = MemoryStore, namespace: str = ""
) -> Store:
    """Return the store that ``spec`` names or is. A relative path is taken from ``folder``, and what the store's names
    begin with from ``namespace``.

    Raise :exc:`~flask_idlesession.ConfigError` for what is no store, for a driver that is missing, and for a ready
    store that has its names already.
    """
    if isinstance(spec, str):
        return _open_url(spec, folder, open_memory, namespace)
    for is_kind, open_kind in [] if isinstance(spec, type) else _KINDS:
        if is_kind(spec):
            return open_kind(spec, namespace)
    raise _no_store(spec)


def check_store(spec: Any, *, namespace: str = "") -> None:
    """Raise :exc:`~flask_idlesession.ConfigError` for what :func:`open_store` refuses, without asking a server and
    without touching a file.
    """
    if not isinstance(spec, str):
        if isinstance(spec, type) or not any(is_kind(spec) for is_kind, _ in _KINDS):
            raise _no_store(spec)
        if _is_store(spec):
            _open_ready(spec, namespace)
        return
    if spec.partition(":")[0].lower() == "sqlite":
        path_of(spec)
    else:
        open_store(spec, folder=Path(), namespace=namespace).close()


def describe(spec: Any) -> str:
    """Return where sessions are, fit for a message: a URL without its password, or the kind of a ready object."""
    return without_secrets(spec) if isinstance(spec, str) else f"a ready {type(spec).__name__}"


def _no_store(spec: Any) -> ConfigError:
    if isinstance(spec, type):
        name = spec.__name__
        return ConfigError(
            f"IDLESESSION_STORE is the class {name}; give it an object, as {name}(…), or a URL. [ISE024]"
        )
    kind = type(spec).__name__
    # Bytes may be a URL. The repr of a list, a dict or another object may hold a password.
    shown = without_secrets(repr(spec)) if isinstance(spec, bytes | int | float | None) else "an object"
    return ConfigError(f"IDLESESSION_STORE is {shown}, of the type {kind}; it must be {_SHAPES}. [ISE024]")


def _open_url(url: str, folder: Path, open_memory: Callable[[], Store], namespace: str) -> Store:
    scheme, colon, rest = url.partition(":")
    scheme = scheme.lower()
    url = f"{scheme}{colon}{rest}"
    if scheme == "memory":
        return open_memory()
    if scheme == "sqlite":
        return _open_sqlite(url, folder, namespace)
    if scheme in _REDIS:
        return _open_redis_url(url, namespace)
    if "://" in url:
        return _open_sql_url(url, namespace)
    raise ConfigError(f"IDLESESSION_STORE is {without_secrets(url)!r}; it must be {_SHAPES}. [ISE024]")


def _open_redis_url(url: str, namespace: str) -> Store:
    from .redis import urls

    extra = "valkey" if url.startswith("valkey") else "redis"
    try:
        client = urls.client_of(url, lambda name: _import(name, extra=extra, url=url))
        return _open_redis(client, namespace)
    except urls.BadUrl as error:
        raise ConfigError(f"IDLESESSION_STORE is {without_secrets(url)!r}; {error}. [ISE024]") from None


def _import(name: str, *, extra: str, url: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"IDLESESSION_STORE is {without_secrets(url)!r}, which needs the package {error.name!r}; "
            f"install it with: python -m pip install 'flask_idlesession[{extra}]'"
            " [ISE023]"
        ) from error


def path_of(url: str) -> str:
    """Return the path of a file, as of sqlite:///sessions.db."""
    path = unquote(url.partition(":")[2].removeprefix("//").removeprefix("/"))
    if not path or path == ":memory:":
        raise ConfigError(
            f'IDLESESSION_STORE is {without_secrets(url)!r}; it must name a file, as "sqlite:///sessions.db" does. For '
            'sessions in memory write "memory://".'
            " [ISE024]"
        )
    return path


def _open_sqlite(url: str, folder: Path, namespace: str) -> Store:
    from .sqlite.store import SQLiteStore

    prefix = f"{namespace}_" if namespace else ""
    return SQLiteStore(folder / path_of(url), busy_timeout=_SQLITE_TIMEOUT, table_prefix=prefix)


def _open_sql_url(url: str, namespace: str) -> Store:
    sqlalchemy = _import("sqlalchemy", extra="sqlalchemy", url=url)
    from .sqlalchemy.store import SQLAlchemyStore

    shown = without_secrets(url)
    try:
        return SQLAlchemyStore.from_url(url, timeout=_TIMEOUT, table_prefix=_table_prefix(namespace))
    except ModuleNotFoundError as error:
        package = _PACKAGES.get(error.name or "", error.name)
        raise ConfigError(
            f"IDLESESSION_STORE is {shown!r}, which needs the driver {error.name!r}; install it with: "
            f"python -m pip install {package}{_other_driver(url)}"
            " [ISE023]"
        ) from error
    except (sqlalchemy.exc.ArgumentError, ValueError):  # Its text may have a part of the password.
        raise ConfigError(f"IDLESESSION_STORE is {shown!r}; {_fault_in(url)}. [ISE024]") from None


def _other_driver(url: str) -> str:
    """Return what else may be written where the URL names no driver."""
    other = _DRIVERS.get(url.partition("://")[0])
    return "" if other is None else f" (or write {other[0]}://… and install {other[1]})"


def _fault_in(url: str) -> str:
    shown = without_secrets(url)
    scheme, _, rest = shown.partition("://")
    if scheme.partition("+")[0] == "postgres":
        return f"SQLAlchemy calls this kind of database postgresql; write postgresql+psycopg://{rest}"
    host = rest.rpartition("@")[2].partition("/")[0].partition("?")[0]
    if re.search(r":[^\]:]*[^\]:0-9][^\]:]*$", host):
        return "its port must be a number; write each special character of a password by its code: / is %2F, @ is %40"
    return f"it must be {_SHAPES}"


def _open_sql(engine: Any, namespace: str) -> Store:
    from .sqlalchemy.store import SQLAlchemyStore

    return SQLAlchemyStore(engine, table_prefix=_table_prefix(namespace))


def _open_redis(client: Any, namespace: str) -> Store:
    from .redis.store import RedisStore

    return RedisStore(client, prefix=_key_prefix(namespace))


def _open_cachelib(cache: Any, namespace: str) -> Store:
    from .cachelib import CachelibStore

    return CachelibStore(cache, prefix=_key_prefix(namespace))


def _key_prefix(namespace: str) -> str:
    return f"{namespace}:idlesession:" if namespace else "idlesession:"


def _table_prefix(namespace: str) -> str:
    return f"{namespace}_idlesession_" if namespace else "idlesession_"


def _is_store(spec: Any) -> bool:
    return all(hasattr(spec, verb) for verb in ("create", "load", "commit", "find", "prune"))


def _open_ready(store: Any, namespace: str) -> Store:
    """Return a ready store. In this process each namespace has a store of its own; outside, a store has its names."""
    if namespace and not store.traits.in_process:
        raise ConfigError(
            f"IDLESESSION_NAMESPACE is {namespace!r}, but IDLESESSION_STORE is a ready {type(store).__name__}, whose "
            f"names were chosen when it was made. Give the store the prefix ({_key_prefix(namespace)!r} for keys, "
            f"{_table_prefix(namespace)!r} for tables) and remove the namespace, or set IDLESESSION_STORE to its URL, "
            "client, engine or cache."
        )
    if store.traits.in_process and _namespaces.setdefault(store, namespace) != namespace:
        raise ConfigError(
            f"IDLESESSION_NAMESPACE is {namespace!r}, but another application keeps its sessions in the same "
            f"{type(store).__name__} with {_namespaces[store]!r}; give each application a store of its own."
        )
    return store  # type: ignore[no-any-return]


#: The namespaces of the ready stores that are in this process.
_namespaces: "weakref.WeakKeyDictionary[Any, str]" = weakref.WeakKeyDictionary()

# How a ready object is recognized, by its methods, and the store that it makes.
_KINDS: tuple[tuple[Callable[[Any], bool], Callable[[Any, str], Store]], ...] = (
    (_is_store, _open_ready),
    (lambda spec: hasattr(spec, "evalsha") and hasattr(spec, "script_load"), _open_redis),
    (lambda spec: hasattr(spec, "dialect") and hasattr(spec, "connect"), _open_sql),
    (lambda spec: all(hasattr(spec, verb) for verb in ("get", "set", "add", "delete", "has")), _open_cachelib),
)
