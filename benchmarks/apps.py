"""Makes the applications that are measured: one for each way to keep sessions, all with the same views."""

import json
import os
import random
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import ExitStack
from dataclasses import dataclass
from dataclasses import field
from itertools import count
from pathlib import Path
from typing import Any

from flask import Flask
from flask import session
from werkzeug.http import parse_cookie
from werkzeug.test import EnvironBuilder
from werkzeug.test import run_wsgi_app

from flask_idlesession import IdleSession
from flask_idlesession import Store

from .programs import a_folder
from .programs import Missing
from .programs import postgresql
from .programs import redis_server
from .tools.trial import Trial

Environ = dict[str, Any]

FLOOR = "no sessions"
COOKIE, PERMANENT = "Flask's cookie", "Flask's cookie, permanent"
SIMPLE_CACHE, FILES = "Flask-Session, SimpleCache", "Flask-Session, files"
THEIR_REDIS, THEIR_SQL = "Flask-Session, Redis", "Flask-Session, PostgreSQL"
TRIAL = "a trial by hand, memory"
MEMORY, JOURNAL, SQLITE = "ours, memory", "ours, memory and journal", "ours, SQLite"
REDIS, SQL = "ours, Redis", "ours, PostgreSQL"

#: Bytes of a session's data as JSON.
SIZES = {"100 B": 100, "1 KB": 1_000, "3 KB": 3_000, "20 KB": 20_000}
#: Browsers keep no larger cookie than 4 KB (RFC 6265bis, section 5.7), so Flask's has no cell above.
LARGEST_COOKIE = 3_000

VIEWS = ("ignore", "read", "write")

_KEY = "a key of the benchmarks, 32 bytes"


@dataclass
class Services:
    """What sessions may be kept in; a server's URL is None if the server is not to be had."""

    folder: Path
    redis: str | None = None
    sql: str | None = None
    missing: list[str] = field(default_factory=list)
    #: The applications that use them.
    apps: list[Flask] = field(default_factory=list)


@contextmanager
def services() -> Iterator[Services]:
    """Run a Redis and a PostgreSQL server, where they are installed, for longer than what uses them."""
    with ExitStack() as stack:
        found = Services(stack.enter_context(a_folder()))
        for name, server in (("redis", redis_server), ("sql", postgresql)):
            try:
                setattr(found, name, stack.enter_context(server()))
            except Missing as reason:
                found.missing.append(str(reason))
        yield found
        for app in found.apps:
            if "idlesession" in app.extensions:
                app.extensions["idlesession"].manager.close()


def make_app(kind: str, at: Services | None = None) -> Flask:
    """Return an application that keeps its sessions in this way."""
    # A name of this process's own: it is no worker of an application that another measurement runs.
    app = Flask(f"{os.getpid()}.{kind}", root_path=str(Path(__file__).parent))
    if kind != FLOOR:
        app.secret_key = _KEY
    _INSTALL.get(kind, lambda app, at: None)(app, at)
    if at is not None:
        at.apps.append(app)
    numbers = count(1)

    @app.get("/start/<int:size>/<int:number>")
    def start(size: int, number: int) -> str:
        session.update(data_of(size, number=number))
        if kind == PERMANENT:
            session.permanent = True
        return "started"

    @app.get("/ignore")
    def ignore() -> str:
        return "ok"

    @app.get("/read")
    def read() -> str:
        return str(session["visits"])

    @app.get("/write")
    def write() -> str:
        session["visits"] = number = next(numbers)
        return str(number)

    return app


def make_app_on(store: Store | None = None, *, clock: Callable[[], float] | None = None, **config: object) -> Flask:
    """Return an application that keeps its sessions in this store, or in what its config says."""
    app = make_app(FLOOR)
    app.config.update(config, SECRET_KEY=_KEY)
    IdleSession(app, store=store, **({} if clock is None else {"clock": clock}))
    return app


def data_of(size: int, *, number: int) -> dict[str, Any]:
    """Return what an application keeps, in ``size`` bytes of JSON: a counter, a name, a CSRF token, a cart."""
    chance = random.Random(number)
    cart: list[dict[str, Any]] = []
    data = {"visits": 0, "name": "Ada", "csrf": f"{chance.getrandbits(128):032x}", "cart": cart}
    while True:
        title = " ".join(chance.choices(("tea", "green", "Assam", "black", "pot", "cup", "strainer", "tin"), k=3))
        article = {"number": chance.randrange(10**6), "title": title, "count": 1, "price": chance.random() * 99}
        if _json_size(data) + _json_size(article) >= size:
            data["name"] += "a" * (size - _json_size(data))
            return data
        cart.append(article)


def _json_size(data: object) -> int:
    return len(json.dumps(data, separators=(",", ":")))


def _flask_session(app: Flask, **config: object) -> None:
    from flask_session import Session

    app.config.update(config)
    Session(app)


def _simple_cache(app: Flask, at: Services | None) -> None:
    from cachelib import SimpleCache

    _flask_session(app, SESSION_TYPE="cachelib", SESSION_CACHELIB=SimpleCache(threshold=10**6))


def _files(app: Flask, at: Services) -> None:
    from cachelib import FileSystemCache

    cache = FileSystemCache(str(at.folder / "files"), threshold=10**6)
    _flask_session(app, SESSION_TYPE="cachelib", SESSION_CACHELIB=cache)


def _their_redis(app: Flask, at: Services) -> None:
    import redis

    _flask_session(app, SESSION_TYPE="redis", SESSION_REDIS=redis.Redis.from_url(str(at.redis)))


def _their_sql(app: Flask, at: Services) -> None:
    from flask_sqlalchemy import SQLAlchemy

    app.config["SQLALCHEMY_DATABASE_URI"] = at.sql
    _flask_session(app, SESSION_TYPE="sqlalchemy", SESSION_SQLALCHEMY=SQLAlchemy(app))


def _trial(app: Flask, at: Services | None) -> None:
    app.session_interface = Trial()


def _ours(**config: Callable[[Services], object]) -> Callable[[Flask, Any], None]:
    def install(app: Flask, at: Any) -> None:
        app.config.update({f"IDLESESSION_{key}": value(at) for key, value in config.items()})
        IdleSession(app)

    return install


_INSTALL: dict[str, Callable[[Flask, Any], None]] = {
    SIMPLE_CACHE: _simple_cache,
    FILES: _files,
    THEIR_REDIS: _their_redis,
    THEIR_SQL: _their_sql,
    TRIAL: _trial,
    MEMORY: _ours(),
    JOURNAL: _ours(JOURNAL=lambda at: at.folder / "journal"),
    SQLITE: _ours(STORE=lambda at: f"sqlite:///{at.folder}/sessions.db"),
    REDIS: _ours(STORE=lambda at: at.redis),
    SQL: _ours(STORE=lambda at: at.sql),
}


def kinds(at: Services) -> list[str]:
    """Return the ways to keep sessions that can be measured with these services."""
    needs = {THEIR_REDIS: at.redis, REDIS: at.redis, THEIR_SQL: at.sql, SQL: at.sql}
    return [kind for kind in (COOKIE, PERMANENT, *_INSTALL) if needs.get(kind, "") is not None]


# Requests.


def environ_of(path: str, cookies: dict[str, str] | None = None) -> Environ:
    """Return what a WSGI server hands to an application for such a request."""
    headers = {"User-Agent": "benchmarks", "Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}
    if cookies:
        headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
    return EnvironBuilder(path, headers=headers).get_environ()


def answer(app: Flask, path: str, cookies: dict[str, str]) -> str:
    """Return what the application answers, and keep its cookies as a browser does."""
    body, status, headers = run_wsgi_app(app, environ_of(path, cookies))
    text = b"".join(body).decode()
    if status != "200 OK":
        raise RuntimeError(f"{app.name} answered {path} with {status}: {text}")
    for header in headers.getlist("Set-Cookie"):
        cookies.update(parse_cookie(header.partition(";")[0]))
    return text


def browser(app: Flask, *, size: int, number: int) -> dict[str, str]:
    """Return the cookies of a browser that has a session with so much data, after a look whether it works."""
    cookies: dict[str, str] = {}
    answer(app, f"/start/{size}/{number}", cookies)
    kept = dict(cookies)
    _expect(answer(app, "/read", cookies), "0", app)
    _expect(answer(app, "/ignore", cookies), "ok", app)
    written = answer(app, "/write", cookies)
    _expect(answer(app, "/read", cookies), written, app)
    if kept != cookies and not app.name.endswith((COOKIE, PERMANENT)):
        raise RuntimeError(f"{app.name} gave a browser a new cookie for no reason.")
    return cookies


def _expect(found: str, wanted: str, app: Flask) -> None:
    if found != wanted:
        raise RuntimeError(f"{app.name} answered {found!r} where {wanted!r} is right.")


def ask(app: Flask, environs: Iterable[Environ]) -> None:
    """Make the requests; the answers were checked before, and are thrown away."""
    for environ in environs:
        body = app(environ.copy(), _start_response)
        for _ in body:
            pass
        body.close()  # type: ignore[attr-defined]


def _start_response(status: str, headers: object, exc_info: object = None) -> Callable[[bytes], object]:
    return len
