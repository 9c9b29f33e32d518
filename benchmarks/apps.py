"""Makes the applications that are measured, all with the same views, and asks them as a browser does."""

import json
import os
import random
from collections.abc import Callable
from collections.abc import Iterable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from flask import Flask
from flask import session
from werkzeug.http import parse_cookie
from werkzeug.test import EnvironBuilder
from werkzeug.test import run_wsgi_app

from flask_idlesession import IdleSession
from flask_idlesession import log_in
from flask_idlesession import login_required
from flask_idlesession import revoke_user
from flask_idlesession import sessions_of
from flask_idlesession import Store

from .tools.django_site import make_site
from .ways import DJANGO_FLOOR
from .ways import DJANGO_SAVING
from .ways import FLOOR
from .ways import install
from .ways import is_cookie
from .ways import PERMANENT
from .ways import Services

Environ = dict[str, Any]
#: A function that asks for a path with a browser's cookies, keeps those that come back, and returns the answer's text.
Asker = Callable[[str, dict[str, str]], str]

#: Bytes of a session's data as JSON.
SIZES = {"100 B": 100, "1 KB": 1_000, "3 KB": 3_000, "20 KB": 20_000}
#: Browsers keep no larger cookie than 4 KB (RFC 6265bis, section 5.7), so Flask's has no cell above.
LARGEST_COOKIE = 3_000

VIEWS = ("ignore", "read", "write")
#: The user whose sessions the views of a user are about.
USER = "ada"

_KEY = "a key of the benchmarks, 32 bytes"


def make_app(kind: str, at: Services | None = None) -> Flask:
    """Return an application that keeps its sessions in this way, for this process alone."""
    # A name of this process's own: it is no worker of an application that another measurement runs.
    app = _flask_app(kind, name=f"{os.getpid()}.{kind}")
    if kind != FLOOR:
        install(kind, app, at.folder if at else None, at.urls() if at else {})
    if at is not None:
        at.apps.append(app)
    return app


def make_worker(kind: str, folder: str, urls: dict[str, str]) -> Any:
    """Return the application that one of a server's workers serves: they are of the process that began them."""
    if kind.startswith("Django"):
        sql = None if kind == DJANGO_FLOOR else urls["sql"]
        return make_site(data_of, sql=sql, saves_each_request=kind == DJANGO_SAVING)
    app = _flask_app(kind, name=f"{os.getppid()}.{kind}")
    if kind != FLOOR:
        install(kind, app, Path(folder), urls)
    return app


def _flask_app(kind: str, *, name: str) -> Flask:
    """Return an application with the views that are measured."""
    app = Flask(name, root_path=str(Path(__file__).parent))
    if kind != FLOOR:
        app.secret_key = _KEY
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


def add_user_views(app: Flask) -> None:
    """Give the application the views of users that this package's sessions have."""

    @app.get("/log-in/<user_id>")
    def log_in_as(user_id: str) -> str:
        log_in(user_id)
        return "logged in"

    @app.get("/guarded")
    @login_required
    def guarded() -> str:
        return str(session["visits"])

    @app.get("/sessions-of/<user_id>")
    def count_sessions(user_id: str) -> str:
        return str(len(sessions_of(user_id)))

    @app.get("/revoke/<user_id>")
    def revoke(user_id: str) -> str:
        return str(revoke_user(user_id))


def make_app_on(store: Store | None = None, *, clock: Callable[[], float] | None = None, **config: object) -> Flask:
    """Return an application that keeps its sessions in this store, or in what its config says."""
    app = make_app(FLOOR)
    app.config.update(config, SECRET_KEY=_KEY)
    add_user_views(app)
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
        raise RuntimeError(f"An application answered {path} with {status}: {text}")
    for header in headers.getlist("Set-Cookie"):
        cookies.update(parse_cookie(header.partition(";")[0]))
    return text


def browser(app: Flask, *, size: int, number: int) -> dict[str, str]:
    """Return the cookies of a browser that has a session with so much data, after a look whether it works."""
    kind = app.name.partition(".")[2]
    return visit(partial(answer, app), kind, size=size, number=number)


def visit(asker: Asker, kind: str, *, size: int, number: int) -> dict[str, str]:
    """Begin a session of so much data; return its cookies, after a look whether it answers rightly."""

    def expect(path: str, wanted: str) -> None:
        if (found := asker(path, cookies)) != wanted:
            raise RuntimeError(f"{kind} answered {found!r} to {path} where {wanted!r} is right.")

    cookies: dict[str, str] = {}
    asker(f"/start/{size}/{number}", cookies)
    kept = dict(cookies)
    expect("/read", "0")
    expect("/ignore", "ok")
    expect("/read", asker("/write", cookies))
    if kept != cookies and not is_cookie(kind):
        raise RuntimeError(f"{kind} gave a browser a new cookie for no reason.")
    return cookies


def ask(app: Flask, environs: Iterable[Environ]) -> None:
    """Make the requests; the answers were checked before, and are thrown away. Raise where one is an error."""
    for environ in environs:
        body = app(environ.copy(), _start_response)
        for _ in body:
            pass
        body.close()  # type: ignore[attr-defined]


def _start_response(status: str, headers: object, exc_info: object = None) -> Callable[[bytes], object]:
    if status != "200 OK":
        raise RuntimeError(f"A request was answered with {status}.")
    return len
