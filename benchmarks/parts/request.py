"""Measures what a session costs a request: processor time of the WSGI application over one without sessions."""

from functools import partial
from itertools import cycle
from itertools import islice
from typing import Any

from ..apps import ask
from ..apps import browser
from ..apps import environ_of
from ..apps import LARGEST_COOKIE
from ..apps import make_app
from ..apps import SIZES
from ..apps import VIEWS
from ..report.plots import bars
from ..report.plots import Plot
from ..report.results import missing_note
from ..report.results import pick
from ..report.results import Results
from ..report.results import values
from ..report.tables import figure
from ..report.tables import Table
from ..rounds import Cell
from ..rounds import interleave
from ..rounds import micros
from ..rounds import micros_over
from ..rounds import Sample
from ..rounds import timed
from ..rounds import warm_up
from ..ways import COOKIE
from ..ways import FLOOR
from ..ways import is_cookie
from ..ways import kinds
from ..ways import MEMORY
from ..ways import Services
from ..ways import services

Name = tuple[str, str, str]
_FLOOR: Name = (FLOOR, "ignore", "")


def measure(*, quick: bool) -> Results:
    """Measure every way to keep sessions, at every size, in every view."""
    rounds, calls, browsers = (3, 4, 2) if quick else (31, 100, 50)
    with services("redis", "sql") as at:
        cells = make_cells(at, calls=calls, browsers=browsers)
        taken = interleave(warm_up(cells), rounds=rounds, reference=_FLOOR)
    floor = taken.pop(_FLOOR)
    rows = [_row(_FLOOR, micros(floor))]
    rows += [_row(name, micros_over(samples, floor)) for name, samples in taken.items()]
    return {"rows": rows, "rounds": rounds, "calls": calls, "browsers": browsers, "missing": at.missing}


def _row(name: Name, cost: Sample) -> dict[str, Any]:
    kind, view, size = name
    return {"kind": kind, "view": view, "size": size, "cpu": cost.cpu, "wall": cost.wall}


def make_cells(at: Services, *, calls: int, browsers: int) -> dict[Name, Cell]:
    """Return a cell for each kind, view and size: this many browsers take turns."""
    floor = make_app(FLOOR)
    cells: dict[Name, Cell] = {_FLOOR: _cell(floor, "ignore", [{"session": "x" * 107}] * browsers, calls=calls)}
    for kind in kinds(at):
        app = make_app(kind, at)
        for label, size in SIZES.items():
            if is_cookie(kind) and size > LARGEST_COOKIE:
                continue
            cookies = [browser(app, size=size, number=number) for number in range(browsers)]
            for view in VIEWS:
                cells[kind, view, label] = _cell(app, view, cookies, calls=calls)
    return cells


def _cell(app: Any, view: str, cookies: list[dict[str, str]], *, calls: int) -> Cell:
    environs = [environ_of(f"/{view}", each) for each in cookies]
    return lambda: timed(partial(ask, app, list(islice(cycle(environs), calls))), calls=calls)


def tables(results: Results) -> list[Table]:
    """Return a table for each view: processor time, and in brackets the time on the wall."""
    made = []
    for view in VIEWS:
        rows = []
        for kind in values(results, "kind")[1:]:
            costs = [_both(results, kind, view, size) for size in SIZES]
            share = _share(results, kind, view)
            rows.append([kind, *costs, share])
        heads = [f"the view {_SAYS[view]}", *SIZES, "of Flask's cookie, 1 KB"]
        made.append(Table(title=f"A request whose view {_SAYS[view]}", heads=heads, rows=rows))
    floor = pick(results, "cpu", kind=FLOOR)
    note = (
        f"Microseconds of processor time over the same request without sessions ({figure(floor)} µs); in brackets "
        f"those on the wall. Medians of {results['rounds']} rounds of {results['calls']} requests. "
    )
    last = made.pop()
    return [*made, Table(title=last.title, heads=last.heads, rows=last.rows, note=note + missing_note(results))]


_SAYS = {"ignore": "ignores the session", "read": "reads one key", "write": "writes one key"}


def _both(results: Results, kind: str, view: str, size: str) -> str:
    cpu, wall = (pick(results, key, kind=kind, view=view, size=size) for key in ("cpu", "wall"))
    return "" if cpu is None else f"{figure(cpu)} ({figure(wall)})"


def _share(results: Results, kind: str, view: str) -> str:
    mine, theirs = (pick(results, "cpu", kind=each, view=view, size="1 KB") for each in (kind, COOKIE))
    return f"{mine / theirs:.2f}" if mine is not None and theirs else ""


def plots(results: Results) -> dict[str, Plot]:
    """Return what is plotted: the cost of reading and of writing one key, at 1 KB and by size."""
    found = values(results, "kind")[1:]
    views = ("read", "write")
    costs = {view: [pick(results, "cpu", kind=kind, view=view, size="1 KB") for kind in found] for view in views}
    chosen = [kind for kind in found if kind in (COOKIE, "Flask-Session, SimpleCache", MEMORY)]
    by_size = {
        f"{kind}, {view}": [pick(results, "cpu", kind=kind, view=view, size=size) for size in SIZES]
        for kind in chosen
        for view in views
    }
    return {
        "request": bars(found, costs, title="Cost of a session of 1 KB to a request", unit="µs of processor time"),
        "request-size": bars(list(SIZES), by_size, title="By the session's size", unit="µs of processor time"),
    }
