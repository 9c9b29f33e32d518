"""Knows the ways to keep sessions that are compared: this package's, those by hand, and those of other packages."""

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import ExitStack
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path

from flask import Flask

from flask_idlesession import IdleSession
from flask_idlesession import MemoryStore
from flask_idlesession import Store

from .programs import a_folder
from .programs import mariadb
from .programs import Missing
from .programs import pgbouncer
from .programs import postgresql
from .programs import redis_server
from .programs import Server
from .tools import by_hand
from .tools.trial import Trial

FLOOR = "no sessions"
COOKIE, PERMANENT = "Flask's cookie", "Flask's cookie, permanent"
SIMPLE_CACHE, FILES = "Flask-Session, SimpleCache", "Flask-Session, files"
THEIR_REDIS, THEIR_SQL = "Flask-Session, Redis", "Flask-Session, PostgreSQL"
TRIAL, HAND_SQLITE, HAND_REDIS = "a trial by hand, memory", "by hand, SQLite", "by hand, Redis"
HAND_SQL, HAND_MARIADB = "by hand, PostgreSQL", "by hand, MariaDB"
MEMORY, JOURNAL, SQLITE = "ours, memory", "ours, memory and journal", "ours, SQLite"
REDIS, SQL, MARIADB = "ours, Redis", "ours, PostgreSQL", "ours, MariaDB"
BOUNCED = "ours, PgBouncer"
DJANGO_FLOOR, DJANGO = "Django, no sessions", "Django, PostgreSQL"
DJANGO_SAVING = "Django, PostgreSQL, each request saved"

#: The rival of each of this package's stores: the same driver, and as little as can be done.
BY_HAND = {
    MEMORY: TRIAL,
    SQLITE: HAND_SQLITE,
    REDIS: HAND_REDIS,
    SQL: HAND_SQL,
    BOUNCED: HAND_SQL,
    MARIADB: HAND_MARIADB,
}

#: The stores of this package that are measured alone, and the server that works for each.
STORES = {MEMORY: "", SQLITE: "", REDIS: "redis", SQL: "sql", MARIADB: "mariadb"}

#: Each kind of server, and what begins one.
_SERVERS = {"redis": redis_server, "sql": postgresql, "mariadb": mariadb}


@dataclass
class Services:
    """The places where sessions may be kept: a folder, and the servers that run."""

    folder: Path
    servers: dict[str, Server] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    #: The applications that use them.
    apps: list[Flask] = field(default_factory=list)

    def url(self, name: str) -> str | None:
        """Return the server's URL; None if it is not to be had."""
        return self.servers[name].url if name in self.servers else None

    def urls(self) -> dict[str, str]:
        """Return the URL of each server by its name."""
        return {name: server.url for name, server in self.servers.items()}


@contextmanager
def services(*names: str) -> Iterator[Services]:
    """Run these servers (all but PgBouncer by default) where they are installed, for longer than their users."""
    with ExitStack() as stack:
        found = Services(stack.enter_context(a_folder()))
        for name in names or _SERVERS:
            try:
                if name == "bouncer":
                    if "sql" in found.servers:
                        found.servers[name] = stack.enter_context(pgbouncer(found.servers["sql"]))
                else:
                    found.servers[name] = stack.enter_context(_SERVERS[name]())
            except Missing as reason:
                found.missing.append(str(reason))
        yield found
        for app in found.apps:
            close(app)


def close(app: Flask) -> None:
    """Let go of the store, where the application has one of this package's."""
    if "idlesession" in app.extensions:
        app.extensions["idlesession"].manager.close()


def install(kind: str, app: Flask, folder: Path | None, urls: dict[str, str]) -> None:
    """Have the application keep its sessions in this way."""
    _INSTALL[kind](app, _Place(folder or Path(), urls))


def open_store(kind: str, folder: Path, url: str | None) -> Store:
    """Return a new store of this package's: in memory, in the folder, or on the server that is found there."""
    if kind == MEMORY:
        return MemoryStore(max_sessions=None, max_bytes=None)
    if kind == SQLITE:
        from flask_idlesession.stores.sqlite import SQLiteStore

        return SQLiteStore(folder / "sessions.db")
    if url is None:
        raise Missing(f"{kind} has no server")
    if kind == REDIS:
        import redis

        from flask_idlesession.stores.redis import RedisStore

        return RedisStore(redis.Redis.from_url(url))
    from flask_idlesession.stores.sqlalchemy import SQLAlchemyStore

    return SQLAlchemyStore.from_url(url, timeout=5.0)


def kinds(at: Services, *, only: str = "") -> list[str]:
    """Return the ways to keep Flask's sessions that can be measured with these services, in the order of tables."""
    found = [kind for kind in _INSTALL if _NEEDS.get(kind) is None or _NEEDS[kind] in at.servers]
    return [kind for kind in found if only in kind]


def django_kinds(at: Services, *, only: str = "") -> list[str]:
    """Return the ways to keep Django's sessions that can be measured, and none."""
    found = [DJANGO_FLOOR, DJANGO, DJANGO_SAVING] if "sql" in at.servers else []
    return found if any(only in kind for kind in found) else []


def is_cookie(kind: str) -> bool:
    """Return whether the session is in the browser alone."""
    return kind in (COOKIE, PERMANENT)


@dataclass(frozen=True, slots=True)
class _Place:
    folder: Path
    urls: dict[str, str]


def _flask_session(app: Flask, **config: object) -> None:
    from flask_session import Session

    app.config.update(config)
    Session(app)


def _simple_cache(app: Flask, at: _Place) -> None:
    from cachelib import SimpleCache

    _flask_session(app, SESSION_TYPE="cachelib", SESSION_CACHELIB=SimpleCache(threshold=10**6))


def _files(app: Flask, at: _Place) -> None:
    from cachelib import FileSystemCache

    cache = FileSystemCache(str(at.folder / "files"), threshold=10**6)
    _flask_session(app, SESSION_TYPE="cachelib", SESSION_CACHELIB=cache)


def _their_redis(app: Flask, at: _Place) -> None:
    import redis

    _flask_session(app, SESSION_TYPE="redis", SESSION_REDIS=redis.Redis.from_url(at.urls["redis"]))


def _their_sql(app: Flask, at: _Place) -> None:
    from flask_sqlalchemy import SQLAlchemy

    app.config["SQLALCHEMY_DATABASE_URI"] = at.urls["sql"]
    _flask_session(app, SESSION_TYPE="sqlalchemy", SESSION_SQLALCHEMY=SQLAlchemy(app))


def _cookie(app: Flask, at: _Place) -> None:
    """Flask does it by itself."""


def _trial(app: Flask, at: _Place) -> None:
    app.session_interface = Trial()


def _hand(make: Callable[[_Place], by_hand.Keeper]) -> Callable[[Flask, _Place], None]:
    def install(app: Flask, at: _Place) -> None:
        app.session_interface = by_hand.ByHand(make(at))

    return install


def _ours(**config: Callable[[_Place], object]) -> Callable[[Flask, _Place], None]:
    def install(app: Flask, at: _Place) -> None:
        app.config.update({f"IDLESESSION_{key}": value(at) for key, value in config.items()})
        IdleSession(app)

    return install


_INSTALL: dict[str, Callable[[Flask, _Place], None]] = {
    COOKIE: _cookie,
    PERMANENT: _cookie,
    SIMPLE_CACHE: _simple_cache,
    FILES: _files,
    THEIR_REDIS: _their_redis,
    THEIR_SQL: _their_sql,
    TRIAL: _trial,
    HAND_SQLITE: _hand(lambda at: by_hand.InSQLite(at.folder / "by_hand.db")),
    HAND_REDIS: _hand(lambda at: by_hand.InRedis(at.urls["redis"])),
    HAND_SQL: _hand(lambda at: by_hand.InPostgreSQL(at.urls["sql"])),
    HAND_MARIADB: _hand(lambda at: by_hand.InMariaDB(at.urls["mariadb"])),
    MEMORY: _ours(),
    JOURNAL: _ours(JOURNAL=lambda at: at.folder / "journal"),
    SQLITE: _ours(STORE=lambda at: f"sqlite:///{at.folder}/sessions.db"),
    REDIS: _ours(STORE=lambda at: at.urls["redis"]),
    SQL: _ours(STORE=lambda at: at.urls["sql"]),
    BOUNCED: _ours(STORE=lambda at: at.urls["bouncer"]),
    MARIADB: _ours(STORE=lambda at: at.urls["mariadb"]),
}

_NEEDS = {
    **dict.fromkeys((THEIR_REDIS, HAND_REDIS, REDIS), "redis"),
    **dict.fromkeys((THEIR_SQL, HAND_SQL, SQL), "sql"),
    **dict.fromkeys((HAND_MARIADB, MARIADB), "mariadb"),
    BOUNCED: "bouncer",
}
