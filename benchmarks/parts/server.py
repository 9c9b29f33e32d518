"""Measures a real server: gunicorn with workers of four threads, and wrk, which asks for more than it can give."""

import json
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from http.cookies import SimpleCookie
from pathlib import Path
from statistics import median
from typing import NamedTuple
from urllib.request import Request
from urllib.request import urlopen

from ..apps import visit
from ..processes import processor_seconds
from ..programs import find_program
from ..programs import gunicorn
from ..programs import Missing
from ..programs import Server
from ..report.plots import bars
from ..report.plots import Plot
from ..report.results import missing_note
from ..report.results import pick
from ..report.results import Results
from ..report.results import Row
from ..report.results import values
from ..report.tables import figure
from ..report.tables import Table
from ..rounds import interleave
from ..rounds import Taken
from ..ways import BOUNCED
from ..ways import BY_HAND
from ..ways import COOKIE
from ..ways import DJANGO
from ..ways import DJANGO_FLOOR
from ..ways import django_kinds
from ..ways import FLOOR
from ..ways import HAND_SQL
from ..ways import HAND_SQLITE
from ..ways import kinds
from ..ways import MARIADB
from ..ways import REDIS
from ..ways import Services
from ..ways import services
from ..ways import SQL
from ..ways import SQLITE
from ..ways import THEIR_SQL

VIEWS = ("read", "write")
#: How many workers those are served by, too, whose sessions processes can share.
MORE_WORKERS = (2, 4)
SHARED = (FLOOR, HAND_SQLITE, SQLITE, REDIS, HAND_SQL, SQL, MARIADB)

#: Enough to see that each kind of them runs.
_QUICK = (
    FLOOR,
    COOKIE,
    THEIR_SQL,
    DJANGO_FLOOR,
    DJANGO,
    HAND_SQLITE,
    SQLITE,
    REDIS,
    HAND_SQL,
    SQL,
    MARIADB,
)

_SIZE = 1_000
_CONNECTIONS = 8
_MILLI = 1e3

#: Wrk's requests, and the report that it prints: the browsers take turns.
_SCRIPT = """
local cookies, turn = { %s }, 0
request = function()
  turn = turn %% #cookies + 1
  return wrk.format("GET", "%s", { ["Cookie"] = cookies[turn] })
end
done = function(summary, latency)
  local errors = summary.errors
  io.write(string.format('\\n{"requests": %%d, "micros": %%d, "p50": %%f, "p99": %%f, "errors": %%d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""

#: A way to keep sessions, the view that is asked for, and the number of workers.
Name = tuple[str, str, int]


class Load(NamedTuple):
    """Seconds: of the server's processor time for each request, between two answers, and two answers' waits."""

    cpu: float
    wall: float
    p50: float
    p99: float


def measure(*, quick: bool, only: str = "") -> Results:
    """Serve all kinds at once, and load one after the other."""
    rounds, seconds, browsers = (1, 1, 8) if quick else (9, 3, 50)
    results: Results = {"rows": [], "rounds": rounds, "seconds": seconds}
    try:
        wrk = find_program("wrk")
    except Missing as reason:
        return {**results, "missing": [str(reason)]}
    with ExitStack() as stack:
        # Behind PgBouncer only when that is asked for.
        bouncer = ("bouncer",) if only and only in BOUNCED else ()
        at = stack.enter_context(services("redis", "sql", "mariadb", *bouncer))
        cells: dict[Name, Callable[[], Load]] = {}
        for kind, workers in _served(at, quick=quick, only=only):
            application = f"benchmarks.apps:make_worker({kind!r}, {str(at.folder)!r}, {at.urls()!r})"
            server = stack.enter_context(gunicorn(application, workers=workers))
            cookies = _cookies(kind, server, browsers)
            for view in _views(kind, workers, quick=quick and not only):
                script = at.folder / f"{len(cells)}.lua"
                script.write_text(_SCRIPT % (", ".join(map(repr, cookies)), f"/{view}"))
                name = kind, view, workers
                cells[name] = partial(_load, name, wrk, server, script, seconds=seconds)
        reference = (FLOOR, "ignore", 1)
        taken: Taken[Name, Load] = interleave(cells, rounds=rounds, reference=reference, references=1 if quick else 3)
    return {**results, "rows": [row_of(name, taken) for name in taken], "missing": at.missing}


def _served(at: Services, *, quick: bool, only: str) -> list[tuple[str, int]]:
    """Return the kinds that are served, each with its number of workers."""
    found = [FLOOR, *kinds(at, only=only), *django_kinds(at, only=only)]
    if quick and not only:
        return [(kind, 1) for kind in found if kind in _QUICK] + [(kind, 2) for kind in (FLOOR, SQLITE)]
    several = [kind for kind in SHARED if kind in found]
    return [(kind, 1) for kind in found] + [(kind, workers) for workers in MORE_WORKERS for kind in several]


def _views(kind: str, workers: int, *, quick: bool) -> tuple[str, ...]:
    if kind in (FLOOR, DJANGO_FLOOR):
        return ("ignore",)
    return VIEWS if workers == 1 and not quick else ("read",)


def _cookies(kind: str, server: Server, browsers: int) -> list[str]:
    """Return the browsers' cookies, after a look whether each one's session works."""
    if kind in (FLOOR, DJANGO_FLOOR):
        return ["session=none"]
    found = [visit(partial(_answer, server), kind, size=_SIZE, number=number) for number in range(browsers)]
    return ["; ".join(f"{name}={value}" for name, value in cookies.items()) for cookies in found]


def _answer(server: Server, path: str, cookies: dict[str, str]) -> str:
    """Return what the server answers, and keep its cookies as a browser does."""
    header = "; ".join(f"{name}={value}" for name, value in cookies.items())
    with urlopen(Request(server.url + path, headers={"Cookie": header} if header else {}), timeout=30) as answer:
        for set_cookie in answer.headers.get_all("Set-Cookie", ()):
            cookies.update({name: morsel.value for name, morsel in SimpleCookie(set_cookie).items()})
        return str(answer.read().decode())


def _load(name: Name, wrk: str, server: Server, script: Path, *, seconds: int) -> Load:
    before = processor_seconds(server.pid)
    command = [wrk, "-t1", f"-c{_CONNECTIONS}", f"-d{seconds}s", "-s", str(script), server.url]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=seconds + 30).stdout
    found = json.loads(said.splitlines()[-1])
    if found["errors"] or not found["requests"]:
        log = (server.folder / "log").read_text()
        raise RuntimeError(f"{name} did not answer all: {said}\n{log[-2000:]}")
    cpu, wall = processor_seconds(server.pid) - before, found["micros"] / 1e6
    return Load(cpu / found["requests"], wall / found["requests"], found["p50"] / 1e6, found["p99"] / 1e6)


def row_of(name: Name, taken: Taken[Name, Load]) -> Row:
    """Return the medians of what was taken, and of what each round's was of the same round's others."""
    kind, view, workers = name
    floor = taken[_floor_of(kind), "ignore", workers]
    row = {"kind": kind, "view": view, "workers": workers, "per_second": 1 / median(each.wall for each in taken[name])}
    row |= {key: median(getattr(each, key) for each in taken[name]) * _MILLI for key in ("cpu", "p50", "p99")}
    row["of_none"] = _share(floor, taken[name], "wall")
    row["cpu_over_none"] = median(mine.cpu - none.cpu for mine, none in zip(taken[name], floor, strict=True)) * _MILLI
    by_hand = taken.get((BY_HAND.get(kind, ""), view, workers))
    if by_hand is not None:
        row |= {"of_hand": _share(by_hand, taken[name], "wall"), "p99_over_hand": _share(taken[name], by_hand, "p99")}
    return row


def _share(one: list[Load], other: list[Load], key: str) -> float:
    """Return the median, over the rounds, of one's time divided by the other's."""
    return float(median(getattr(mine, key) / getattr(theirs, key) for mine, theirs in zip(one, other, strict=True)))


def _floor_of(kind: str) -> str:
    return DJANGO_FLOOR if kind.startswith("Django") else FLOOR


# Report.

_HEADS = ("requests in a second", "of none", "of by hand", "processor time, ms", "over none", "p50, ms", "p99, ms")
_KEYS = ("per_second", "of_none", "of_hand", "cpu", "cpu_over_none", "p50", "p99")


def tables(results: Results) -> list[Table]:
    """Return a table for each view with one worker, and one for more workers."""
    made = [
        Table(
            title=f"Requests of a server whose view {says}",
            heads=["sessions", *_HEADS],
            rows=[
                [row["kind"], *(figure(row.get(key)) for key in _KEYS)]
                for row in results["rows"]
                if row["workers"] == 1 and row["view"] in (view, "ignore")
            ],
        )
        for view, says in (("read", "reads one key"), ("write", "writes one key"))
        if view in values(results, "view")
    ]
    note = (
        f"gunicorn gthread with workers of 4 threads, wrk with {_CONNECTIONS} connections, and the databases on one "
        f"machine. A session of 1 KB. Medians of {results['rounds']} rounds of {results['seconds']} s; of shares, "
        f"the medians of each round's. {missing_note(results)}"
    )
    return [*made, _workers_table(results, note)]


def _workers_table(results: Results, note: str) -> Table:
    rows = []
    for kind in values(results, "kind"):
        view = "ignore" if kind == FLOOR else "read"
        rates = [pick(results, "per_second", kind=kind, view=view, workers=workers) for workers in (1, *MORE_WORKERS)]
        if any(rates[1:]):
            rows.append([kind, *map(figure, rates)])
    heads = ["sessions, one key read", *(f"{workers} workers" for workers in (1, *MORE_WORKERS))]
    return Table(title="Requests in a second, by workers", heads=heads, rows=rows, note=note)


def plots(results: Results) -> dict[str, Plot]:
    """Return what is plotted: how much of the requests without sessions are left, and the waits."""
    found = [kind for kind in values(results, "kind") if kind not in (FLOOR, DJANGO_FLOOR)]
    shares = {view: [pick(results, "of_none", kind=kind, view=view, workers=1) for kind in found] for view in VIEWS}
    waits = {key: [pick(results, key, kind=kind, view="read", workers=1) for kind in found] for key in ("p50", "p99")}
    return {
        "server": bars(found, shares, title="Requests of a server, of those without sessions", unit="share"),
        "server-waits": bars(found, waits, title="Wait for an answer that reads one key", unit="ms"),
    }
