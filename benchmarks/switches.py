"""Tries what a switch from one way to keep sessions to another costs: lines of code, and users who are logged out.

``python -m benchmarks.switches`` prints a table; ``--write FILE`` writes it for the page "Compared". The lines that
set an application up are those that its package documents, and one Redis server keeps the sessions of all.
"""

import argparse
import difflib
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from statistics import median
from typing import Any

from flask import Flask
from flask import session
from werkzeug.http import parse_cookie
from werkzeug.test import create_environ
from werkzeug.test import run_wsgi_app

from .programs import redis_server
from .report.tables import figure
from .rounds import timed
from .ways import close

#: The lines that set each application up, in the order in which an application goes from one to the next.
COOKIE = """\
app = Flask("trial")
app.config["SECRET_KEY"] = KEY
"""
FLASK_SESSION = """\
from flask_session import Session
app = Flask("trial")
app.config["SECRET_KEY"] = KEY
app.config["SESSION_TYPE"] = "redis"
app.config["SESSION_REDIS"] = Redis.from_url(URL)
Session(app)
"""
OURS_AFTER_COOKIE = """\
from flask_idlesession import IdleSession
app = Flask("trial")
app.config["SECRET_KEY"] = KEY
app.config["IDLESESSION_STORE"] = URL
app.config["IDLESESSION_ADOPT"] = ["flask"]
IdleSession(app)
"""
OURS_AFTER_FLASK_SESSION = """\
from flask_idlesession.integrations.flask_session import Session
app = Flask("trial")
app.config["SECRET_KEY"] = KEY
app.config["SESSION_TYPE"] = "redis"
app.config["SESSION_REDIS"] = Redis.from_url(URL)
Session(app)
"""
#: The lines by which both cookies stay, for a roll-back.
TWO_COOKIES = """\
app.config["SESSION_COOKIE_NAME"] = "sid"
app.config["IDLESESSION_ADOPT_COOKIE"] = "session"
"""

_KEY = "0f5b2c8e9a7d4136b8e2f1c07d9a6e35"
_USERS = 50


def with_two_cookies(lines: str) -> str:
    """Return an application's lines with those for a roll-back before the last one, which starts the sessions."""
    *first, last = lines.splitlines(keepends=True)
    return "".join([*first, TWO_COOKIES, last])


#: The rows: what an application had, what it gets, and what it would get for a roll-back.
SWITCHES = {
    "Flask's cookie to Flask-Session": (COOKIE, FLASK_SESSION, FLASK_SESSION),
    "Flask's cookie to flask_idlesession": (COOKIE, OURS_AFTER_COOKIE, with_two_cookies(OURS_AFTER_COOKIE)),
    "Flask-Session to flask_idlesession": (
        FLASK_SESSION,
        OURS_AFTER_FLASK_SESSION,
        with_two_cookies(OURS_AFTER_FLASK_SESSION),
    ),
}


@dataclass
class Browser:
    """Keeps cookies from one version of the application to the next."""

    cookies: dict[str, str] = field(default_factory=dict)

    def get(self, app: Flask, path: str) -> str:
        """Return the text of an answer."""
        header = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        environ = create_environ(path, base_url="http://localhost", headers={"Cookie": header} if header else None)
        chunks, _, headers = run_wsgi_app(app, environ, buffered=True)
        for line in headers.getlist("Set-Cookie"):
            ((name, value),) = parse_cookie(line.partition(";")[0]).items()
            self.cookies[name] = value
            if "Max-Age=0" in line or not value:
                del self.cookies[name]
        return b"".join(chunks).decode()


def application(lines: str, url: str) -> Flask:
    """Run the lines that set an application up, give it the views of all, and return it."""
    from redis import Redis

    names: dict[str, Any] = {"Flask": Flask, "Redis": Redis, "KEY": _KEY, "URL": url}
    exec(lines, names)
    app: Flask = names["app"]
    app.logger.disabled = True

    @app.get("/in/<user>")
    def enter(user: str) -> str:
        session["_user_id"] = user  # As Flask-Login notes it.
        return user

    @app.get("/who")
    def who() -> str:
        return str(session.get("_user_id"))

    return app


def lines_changed(before: str, after: str) -> int:
    """Return how many lines somebody writes: new ones, and those that read otherwise."""
    told = difflib.ndiff(before.splitlines(), after.splitlines())
    return sum(line.startswith("+ ") for line in told)


def trial(name: str, url: str) -> list[str]:
    """Return the cells of a switch."""
    before, after, with_way_back = SWITCHES[name]
    return [
        str(lines_changed(before, after)),
        *_try(before, after, url)[:1],
        str(lines_changed(before, with_way_back)),
        *_try(before, with_way_back, url),
        _first_request(before, after, url),
    ]


def _try(before: str, after: str, url: str) -> list[str]:
    """Return whether a user is logged in after the switch, after a roll-back, and after a second switch."""
    browser = Browser()
    versions = [application(lines, url) for lines in (before, after, before, after)]
    browser.get(versions[0], "/in/ada")
    cells = [_state(browser.get(app, "/who")) for app in versions[1:]]
    for app in versions:
        close(app)
    return cells


def _state(user: str) -> str:
    return "logged in" if user == "ada" else "logged out"


def _first_request(before: str, after: str, url: str) -> str:
    """Return the processor time of a user's first request after the switch, and of the next one."""
    old, new = application(before, url), application(after, url)
    browsers = [Browser() for _ in range(_USERS)]
    for number, browser in enumerate(browsers):
        browser.get(old, f"/in/user-{number}")
    first, second = (
        median(timed(lambda each=each: each.get(new, "/who"), calls=1).cpu for each in browsers) for _ in range(2)
    )
    close(new)
    return f"{figure(first * 1e3)} and {figure(second * 1e3)}"


HEADS = [
    "Switch",
    "Lines that change",
    "Its users are",
    "Lines, with a way back",
    "Its users are then",
    "After a roll-back",
    "After a second switch",
    "A user's first request, and the next, ms",
]


def run() -> dict[str, list[str]]:
    """Return each switch's cells; each has a server of its own."""
    rows = {}
    for name in SWITCHES:
        with redis_server() as server:
            rows[name] = trial(name, server.url)
    return rows


def table(rows: dict[str, list[str]]) -> str:
    """Return the table as reStructuredText, with a column for each switch."""
    lines = [".. list-table::", "   :header-rows: 1", "", f"   * - {HEADS[0]}", *(f"     - {name}" for name in rows)]
    for number, head in enumerate(HEADS[1:]):
        lines += [f"   * - {head}", *(f"     - {cells[number]}" for cells in rows.values())]
    return "\n".join([*lines, ""])


def main() -> None:
    """Try all, and print or write the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.switches", description=__doc__)
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the table there")
    written = parser.parse_args().write
    text = table(run())
    print(text)
    if written:
        written.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
