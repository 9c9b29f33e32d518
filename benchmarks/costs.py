"""Measures what each way to keep sessions costs: time of a request, bytes of a cookie, room in the store.

``python -m benchmarks.costs`` prints a table; ``--write FILE`` writes it for the page "Compared". All that have a store
have the same Redis server, and are measured in one run, in turns. ``--quick`` shows that it runs, not how fast.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import cycle
from itertools import islice
from pathlib import Path
from typing import Any

from .apps import answer
from .apps import ask
from .apps import data_of
from .apps import environ_of
from .apps import make_app
from .apps import visit
from .behaviour import DJANGO
from .behaviour import title_of
from .behaviour import WAYS
from .fresh import in_fresh_process
from .programs import redis_server
from .programs import ROOT
from .programs import Server
from .report.tables import figure
from .report.tables import Table
from .rounds import Cell
from .rounds import interleave
from .rounds import micros_over
from .rounds import Sample
from .rounds import Taken
from .rounds import timed
from .rounds import warm_up
from .tools.django_site import make_plain_site
from .tools.django_site import make_redis_site
from .tools.django_site import save_each_request
from .ways import COOKIE
from .ways import FLOOR
from .ways import install
from .ways import PERMANENT
from .ways import REDIS
from .ways import THEIR_REDIS

#: Bytes of a session as JSON.
_SIZE = 1_000
_MEGA = 1e6

IGNORE, READ, READ_ON, WRITE = "ignore", "read", "read, and go on", "write"

#: The name of the row of each time.
TIMED = {
    IGNORE: "A page that does not look at its session, µs",
    READ: "A page that reads one key, µs",
    READ_ON: "A page that reads one key and puts the session's end off, µs",
    WRITE: "A page that writes one key, µs",
}
COOKIE_SIZE = "The cookie that comes with each request, bytes"
SERVER_ROOM = "Memory of the Redis server for each session, bytes"
PROCESS_ROOM = "Memory of an application's process for the package, MB"

#: A process whose memory is looked at runs its framework, then its sessions, then a request.
_FLASK = """
import sys
from flask import Flask
from werkzeug.test import create_environ, run_wsgi_app
app = Flask("app")
app.secret_key = "a key of the benchmarks, 32 bytes"
"""
_DJANGO = """
import sys
import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from werkzeug.test import create_environ, run_wsgi_app
settings.configure(SECRET_KEY="a key of the benchmarks", ALLOWED_HOSTS=["localhost"], ROOT_URLCONF="__main__")
urlpatterns = []
app = get_wsgi_application()
"""
_SESSIONS = {
    COOKIE: "",
    THEIR_REDIS: """
from flask_session import Session
from redis import Redis
app.config.update(SESSION_TYPE="redis", SESSION_REDIS=Redis.from_url(sys.argv[1]))
Session(app)
""",
    DJANGO: """
cache = {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": sys.argv[1]}
settings.CACHES = {"default": cache}
settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"
settings.MIDDLEWARE = ["django.contrib.sessions.middleware.SessionMiddleware"]
app = get_wsgi_application()
from django.core.cache import caches
caches["default"].get("a")
""",
    REDIS: """
from flask_idlesession import IdleSession
app.config["IDLESESSION_STORE"] = sys.argv[1]
IdleSession(app)
""",
}
_SERVED = """
run_wsgi_app(app, create_environ("/"))
from benchmarks.processes import resident
print(resident())
"""

Row = dict[str, str]


def measure(*, quick: bool) -> dict[str, Row]:
    """Return the cells of each row, by the way to keep sessions."""
    rounds, calls, browsers, kept = (3, 4, 2, 50) if quick else (31, 100, 50, 5_000)
    with redis_server() as server:
        rows: dict[str, Row] = in_fresh_process(_times, server, rounds=rounds, calls=calls, browsers=browsers)
        rooms = {way: in_fresh_process(_room, way, server, kept=kept) for way in WAYS}
        grown = {way: _grown(way, server) for way in WAYS}
    rows[COOKIE_SIZE] = {way: figure(float(cookie)) for way, (cookie, _) in rooms.items()}
    rows[SERVER_ROOM] = {way: figure(room) if room else "" for way, (_, room) in rooms.items()}
    rows[PROCESS_ROOM] = {way: figure(grown[way] / _MEGA) if way != COOKIE else "" for way in WAYS}
    return rows


# Applications.


def plain_site(way: str, server: Server) -> Any:
    """Return an application of the way's framework that has no sessions."""
    return make_plain_site(data_of, redis=server.url) if way == DJANGO else make_app(FLOOR)


def site_of(way: str, server: Server) -> Any:
    """Return an application that keeps its sessions in this way, where :func:`plain_site` was called before."""
    if way == DJANGO:
        return make_redis_site()
    app = make_app(FLOOR)
    app.secret_key = "a key of the benchmarks, 32 bytes"
    install(way, app, None, {"redis": server.url})
    return app


def _cookies(site: Any, way: str, number: int) -> dict[str, str]:
    return visit(partial(answer, site), COOKIE if way == PERMANENT else way, size=_SIZE, number=number)


# Time.


def _times(server: Server, *, rounds: int, calls: int, browsers: int) -> dict[str, Row]:
    cells: dict[tuple[str, str], Cell] = {}
    sites = {FLOOR: plain_site(FLOOR, server), _floor_of(DJANGO): plain_site(DJANGO, server)}
    sites |= {way: site_of(way, server) for way in WAYS} | {PERMANENT: make_app(PERMANENT)}
    for floor in (FLOOR, _floor_of(DJANGO)):
        cells[floor, IGNORE] = _cell(sites[floor], IGNORE, [{"session": "x" * 107}] * browsers, calls)
    for way in (*WAYS, PERMANENT):
        cookies = [_cookies(sites[way], way, number) for number in range(browsers)]
        for view in (IGNORE, READ, WRITE):
            cells[way, view] = _cell(sites[way], view, cookies, calls)
        if way == DJANGO:
            cells[way, READ_ON] = _prolonging(_cell(sites[way], READ, cookies, calls))
    taken = interleave(warm_up(cells), rounds=rounds)
    return {TIMED[what]: {way: _cost(taken, way, what) for way in WAYS} for what in TIMED}


def _floor_of(way: str) -> str:
    return "Django, no sessions" if way == DJANGO else FLOOR


def _cell(site: Any, view: str, cookies: list[dict[str, str]], calls: int) -> Cell:
    environs = [environ_of(f"/{view}", each) for each in cookies]
    return lambda: timed(partial(ask, site, list(islice(cycle(environs), calls))), calls=calls)


def _prolonging(cell: Cell) -> Cell:
    """Return the cell with Django's setting by which a request prolongs its session. Others do that by themselves."""

    def measured() -> Sample:
        save_each_request(wanted=True)
        try:
            return cell()
        finally:
            save_each_request(wanted=False)

    return measured


def _cost(taken: Taken[tuple[str, str], Sample], way: str, what: str) -> str:
    """Return processor time over the same framework without sessions; in brackets, the time on the wall."""
    measured = taken[_measured_as(way, what)]
    over = micros_over(measured, taken[_floor_of(way), IGNORE])
    return f"{figure(over.cpu)} ({figure(over.wall)})"


def _measured_as(way: str, what: str) -> tuple[str, str]:
    """Return the cell: a cookie's end moves if it is permanent; the stores of Flask's packages note each request."""
    if what != READ_ON or way == DJANGO:
        return way, what
    return (PERMANENT if way == COOKIE else way), READ


# Room.


def _room(way: str, server: Server, *, kept: int) -> tuple[int, float]:
    """Return the bytes of a cookie, and those that a session adds to the server's memory."""
    plain_site(way, server)
    with _emptied(server) as client:
        site = site_of(way, server)
        cookies = _cookies(site, way, 0)
        before = client.info("memory")["used_memory"]
        for number in range(kept):
            answer(site, f"/start/{_SIZE}/{number}", {})
        taken = client.info("memory")["used_memory"] - before
    return sum(len(value) for value in cookies.values()), taken / kept if way != COOKIE else 0.0


def _grown(way: str, server: Server) -> int:
    """Return by how much more a process takes that served one request with sessions than one without them."""
    framework = _DJANGO if way == DJANGO else _FLASK
    return _taken(framework + _SESSIONS[way] + _SERVED, server) - _taken(framework + _SERVED, server)


def _taken(code: str, server: Server) -> int:
    done = subprocess.run([sys.executable, "-c", code, server.url], cwd=ROOT, capture_output=True, check=True)
    return int(done.stdout)


@contextmanager
def _emptied(server: Server) -> Iterator[Any]:
    """Forget what the measurement before has left on the server; lend a client."""
    import redis

    with redis.Redis.from_url(server.url) as client:
        client.flushall()
        yield client


# The table.


def table(rows: dict[str, Row], *, rounds: int, calls: int) -> str:
    """Return the table as reStructuredText."""
    note = (
        "Times are the processor's, over a request of the same framework without sessions. In brackets are those on "
        f"the wall. Medians of {rounds} rounds of {calls} requests. A session has {_SIZE:,} bytes as JSON."
    )
    heads = ["", *map(title_of, WAYS)]
    cells = [[row, *(found[way] for way in WAYS)] for row, found in rows.items()]
    return Table(title="What sessions cost", heads=heads, rows=cells, note=note).to_rst()


def main() -> None:
    """Measure, and print or write the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.costs", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="to see that it runs, not how fast")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the table there")
    options = parser.parse_args()
    rounds, calls = (3, 4) if options.quick else (31, 100)
    text = table(measure(quick=options.quick), rounds=rounds, calls=calls)
    print(text)
    if options.write:
        options.write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
