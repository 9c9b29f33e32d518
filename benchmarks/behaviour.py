"""Tries what each way to keep sessions does when requests meet, a store leaks, and a server is away.

``python -m benchmarks.behaviour`` prints a table; ``--write FILE`` writes it for the page "Compared". All that have a
store have the same Redis server. Each answer is what the trial saw, and none is taken from a manual.
"""

import argparse
import os
import signal
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from flask import Flask
from flask import request
from flask import session
from werkzeug.http import parse_cookie
from werkzeug.test import create_environ
from werkzeug.test import run_wsgi_app

from .programs import a_folder
from .programs import redis_server
from .programs import Server
from .ways import close
from .ways import COOKIE
from .ways import install
from .ways import REDIS
from .ways import THEIR_REDIS

DJANGO = "Django, Redis"
WAYS = [COOKIE, THEIR_REDIS, DJANGO, REDIS]
_PACKAGES = {THEIR_REDIS: "Flask-Session", DJANGO: "Django"}

_KEY = "a key of the trials, which nobody else has"
_PATIENCE = 10.0
#: Seconds that an answer may take while the server hangs, and seconds until everything has noticed that it goes on.
_HANGS, _RECOVERY = 5.0, 2.0


class Gate:
    """Holds a view back until it is let go, so that another request comes in between."""

    def __init__(self) -> None:
        self.entered, self.may_go = threading.Event(), threading.Event()

    def __call__(self) -> None:
        """Say that the view is here, and wait."""
        self.entered.set()
        if not self.may_go.wait(_PATIENCE):
            raise TimeoutError("Nobody let the view go.")


@dataclass
class Site:
    """An application, its gates, and the server that keeps its sessions."""

    wsgi: Any
    server: Server
    gates: dict[str, Gate] = field(default_factory=dict)

    def wait(self, path: str) -> None:
        """Hold a view back, if a trial wants it."""
        if path in self.gates:
            self.gates[path]()

    def everything_stored(self) -> bytes:
        """Return all that a reader of the store sees: keys and values."""
        import redis

        with redis.Redis.from_url(self.server.url) as client:
            return b"\n".join(part for key in client.scan_iter() for part in (key, _value(client, key)))


def _value(client: Any, key: bytes) -> bytes:
    read = {b"string": client.get, b"hash": client.hgetall, b"set": client.smembers}.get(client.type(key))
    found = read(key) if read else b""
    return found if isinstance(found, bytes) else repr(found).encode()


@dataclass
class Browser:
    """Keeps cookies, and asks."""

    site: Site
    cookies: dict[str, str] = field(default_factory=dict)

    def copy(self) -> "Browser":
        """Return a thief's browser: another one with the same cookies."""
        return Browser(self.site, dict(self.cookies))

    def get(self, path: str) -> tuple[int, str]:
        """Return the status and the text of an answer."""
        header = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        environ = create_environ(path, base_url="http://localhost", headers={"Cookie": header} if header else None)
        chunks, status, headers = run_wsgi_app(self.site.wsgi, environ, buffered=True)
        for line in headers.getlist("Set-Cookie"):
            ((name, value),) = parse_cookie(line.partition(";")[0]).items()
            self.cookies[name] = value
            if "Max-Age=0" in line or not value:
                del self.cookies[name]
        return int(status.split()[0]), b"".join(chunks).decode()

    @contextmanager
    def meanwhile(self, path: str) -> Iterator[None]:
        """Have a request held back in its view while the block runs; it is answered before the block is left."""
        gate = self.site.gates[path] = Gate()
        thread = threading.Thread(target=self.get, args=(path,), daemon=True)
        thread.start()
        if not gate.entered.wait(_PATIENCE):
            raise TimeoutError(f"{path} did not reach its view.")
        try:
            yield
        finally:
            gate.may_go.set()
            thread.join(_PATIENCE)
            del self.site.gates[path]


# The trials. Each returns a word or two for its cell.


def two_keys(site: Site) -> str:
    """Return what became of two writes of different keys that met."""
    browser = Browser(site)
    browser.get("/in/ada")
    with browser.meanwhile("/write/a"):
        browser.get("/write/b")
    return "both are kept" if {"a", "b"} <= set(browser.get("/keys")[1].split()) else "one is lost"


def slow_request(site: Site) -> str:
    """Return whether a session lives on that a user left while a slower request of it was under way."""
    browser = Browser(site)
    browser.get("/in/ada")
    copied = browser.copy()
    with browser.meanwhile("/write/a"):
        browser.get("/out")
    is_back = "ada" in (browser.get("/who")[1], copied.get("/who")[1])
    return "it comes back" if is_back else "it stays ended"


def copied_cookie(site: Site) -> str:
    """Return whether a copied cookie opens anything after the log-out."""
    browser = Browser(site)
    browser.get("/in/ada")
    copied = browser.copy()
    browser.get("/out")
    return "is logged in" if copied.get("/who")[1] == "ada" else "opens nothing"


def planted(site: Site) -> str:
    """Return whether a cookie that an attacker planted is logged in once the victim is."""
    attacker = Browser(site)
    attacker.get("/write/a")
    victim = attacker.copy()
    victim.get("/in/ada")
    return "is logged in" if attacker.get("/who")[1] == "ada" else "opens nothing"


def in_place(site: Site) -> str:
    """Return whether a list is kept that a view appended to, and did not assign."""
    browser = Browser(site)
    browser.get("/append/tea")
    browser.get("/append/milk")
    return "is kept" if browser.get("/cart")[1] == "tea milk" else "is lost"


def leaked_store(site: Site) -> str:
    """Return whether a reader of the store can make a cookie of what is there."""
    browser = Browser(site)
    browser.get("/in/ada")
    stored = site.everything_stored()
    if not stored:
        return "there is none"
    return "has each cookie" if any(value.encode() in stored for value in browser.cookies.values()) else "has no cookie"


def server_hangs(site: Site) -> str:
    """Return how a page with its session, and one without, are answered within five seconds while the server hangs."""
    browser = Browser(site)
    browser.get("/in/ada")
    if not site.everything_stored():
        return "there is none"
    with _hanging(site):
        return " and ".join(_answer_in_time(browser, path) for path in ("/keys", "/plain"))


@contextmanager
def _hanging(site: Site) -> Iterator[None]:
    """Have the server hang for the block."""
    os.kill(site.server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(site.server.pid, signal.SIGCONT)
        time.sleep(_RECOVERY)  # Requests that waited are answered, and a package may look whether its server is back.


def _answer_in_time(browser: Browser, path: str) -> str:
    statuses: list[int] = []
    thread = threading.Thread(target=lambda: statuses.append(browser.copy().get(path)[0]), daemon=True)
    thread.start()
    thread.join(_HANGS)
    return str(statuses[0]) if statuses else "no answer"


def store_back(site: Site) -> str:
    """Return whether a user is logged in after pages were asked for while the server hung."""
    browser = Browser(site)
    browser.get("/in/ada")
    if not site.everything_stored():
        return "there is none"
    with _hanging(site):
        _answer_in_time(browser, "/write/a")
    return "is logged in" if browser.get("/who")[1] == "ada" else "is logged out"


def store_away(site: Site) -> str:
    """Return how a page that needs its session, and one that does not, are answered while the server is away."""
    browser = Browser(site)
    browser.get("/in/ada")
    if not site.everything_stored():
        return "there is none"
    os.kill(site.server.pid, signal.SIGKILL)
    time.sleep(0.2)
    return f"{browser.get('/keys')[0]} and {browser.get('/plain')[0]}"


TRIALS: dict[str, Callable[[Site], str]] = {
    "Two requests write different keys": two_keys,
    "A log-out while a slower request writes": slow_request,
    "A copied cookie after the log-out": copied_cookie,
    "A planted cookie after the victim's log-in": planted,
    "A list that a view appends to": in_place,
    "A reader of the store": leaked_store,
    "The server hangs for five seconds: a page with its session, and one without": server_hangs,
    "Its user when the server goes on": store_back,
    "The server is gone: a page with its session, and one without": store_away,
}


# The sites.


@contextmanager
def site_of(way: str) -> Iterator[Site]:
    """Run a server, and an application that keeps its sessions in this way."""
    with redis_server() as server, a_folder() as folder:
        if way == DJANGO:
            from .tools.django_trial import make_site

            site = Site(None, server)
            site.wsgi = make_site(server.url, folder, wait=site.wait)
            yield site
        else:
            app = Flask("trial")
            app.config.update(SECRET_KEY=_KEY, PROPAGATE_EXCEPTIONS=False)
            app.logger.disabled = True
            install(way, app, folder, {"redis": server.url})
            site = Site(app, server)
            _add_views(app, site, ours=way == REDIS)
            yield site
            close(app)


def _add_views(app: Flask, site: Site, *, ours: bool) -> None:
    from flask_idlesession import log_in
    from flask_idlesession import log_out

    @app.get("/in/<user>")
    def enter(user: str) -> str:
        if ours:
            log_in(user)
        session["user"] = user
        return user

    @app.get("/out")
    def leave() -> str:
        log_out() if ours else session.clear()
        return ""

    @app.get("/who")
    def who() -> str:
        return str(session.get("user"))

    @app.get("/keys")
    def keys() -> str:
        return " ".join(session)

    @app.get("/write/<key>")
    def write(key: str) -> str:
        session.get(key)  # A view looks at its session before it does anything.
        site.wait(request.path)
        session[key] = 1
        return ""

    @app.get("/append/<item>")
    def append(item: str) -> str:
        session.setdefault("cart", []).append(item)
        return ""

    @app.get("/cart")
    def cart() -> str:
        return " ".join(session.get("cart", []))

    @app.get("/plain")
    def plain() -> str:
        return "plain"


def run(ways: list[str]) -> dict[str, dict[str, str]]:
    """Return what each trial saw, by the way; each way has a server and an application of its own."""
    seen: dict[str, dict[str, str]] = {name: {} for name in TRIALS}
    for way in ways:
        with site_of(way) as site:
            for name, trial in TRIALS.items():
                seen[name][way] = trial(site)
    return seen


def table(seen: dict[str, dict[str, str]]) -> str:
    """Return the table as reStructuredText."""
    ways = list(next(iter(seen.values())))
    lines = [".. list-table::", "   :header-rows: 1", "", "   * - Trial", *(f"     - {title_of(way)}" for way in ways)]
    for name, cells in seen.items():
        lines += [f"   * - {name}", *(f"     - {cells[way]}" for way in ways)]
    return "\n".join([*lines, ""])


def title_of(way: str) -> str:
    """Return how a column is called."""
    if way in _PACKAGES:
        return f"{_PACKAGES[way]} {'.'.join(version(_PACKAGES[way]).split('.')[:2])}"
    return "flask_idlesession" if way == REDIS else way


def main() -> None:
    """Try all, and print or write the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.behaviour", description=__doc__)
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the table there")
    written = parser.parse_args().write
    text = table(run(WAYS))
    print(text)
    if written:
        written.parent.mkdir(parents=True, exist_ok=True)
        written.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
