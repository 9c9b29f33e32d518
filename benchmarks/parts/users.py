"""Measures what users cost: reads of theirs, guarded views, log-ins, lists and revocations, on each store."""

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from statistics import median

from ..acts import Actors
from ..acts import ACTS
from ..acts import GUARDED
from ..acts import READ
from ..acts import UNTOUCHED
from ..apps import ask
from ..apps import environ_of
from ..apps import make_app
from ..report.plots import bars
from ..report.plots import Plot
from ..report.results import missing_note
from ..report.results import pick
from ..report.results import Results
from ..report.results import Row
from ..report.results import values
from ..report.tables import figure
from ..report.tables import Table
from ..rounds import Cost
from ..rounds import interleave
from ..rounds import Taken
from ..rounds import timed_with
from ..rounds import warm_up
from ..ways import FLOOR
from ..ways import kinds
from ..ways import open_store
from ..ways import Services
from ..ways import services
from ..ways import STORES

_MICRO = 1e6

#: The store and the act.
Name = tuple[str, str]
_FLOOR: Name = (FLOOR, READ)


def measure(*, quick: bool, only: str = "") -> Results:
    """Measure every act on every store."""
    rounds, calls, browsers = (2, 4, 4) if quick else (15, 30, 30)
    with services() as at, ExitStack() as stack:
        nothing = partial(ask, make_app(FLOOR), [environ_of("/ignore")] * calls)
        cells = {_FLOOR: partial(timed_with, nothing, calls=calls, pid=None)}
        for kind, actors in all_actors(stack, at, browsers=browsers, only=only):
            cells |= {(kind, act): partial(_act, actors, act, calls, _pid(at, kind)) for act in ACTS}
        taken = interleave(warm_up(cells), rounds=rounds, reference=_FLOOR)
    rows = [_row(name, taken) for name in taken]
    return {"rows": rows, "rounds": rounds, "calls": calls, "missing": at.missing}


def all_actors(stack: ExitStack, at: Services, *, browsers: int, only: str) -> Iterator[tuple[str, Actors]]:
    """Yield the actors on each store that is to be had; the stack closes them."""
    for kind in kinds(at, only=only):
        if kind in STORES:
            actors = Actors(open_store(kind, at.folder, at.url(STORES[kind])), browsers=browsers)
            stack.callback(actors.close)
            yield kind, actors


def _pid(at: Services, kind: str) -> int | None:
    server = at.servers.get(STORES[kind])
    return None if server is None else server.pid


def _act(actors: Actors, act: str, calls: int, pid: int | None) -> Cost:
    app, environs = actors.app_for(act), actors.requests(act, calls=calls)
    return timed_with(partial(ask, app, environs), calls=len(environs), pid=pid)


def _row(name: Name, taken: Taken[Name, Cost]) -> Row:
    kind, act = name
    row: Row = {"kind": kind, "act": act}
    row |= {key: median(getattr(each, key) for each in taken[name]) * _MICRO for key in Cost._fields}
    if kind != FLOOR:
        pairs = [*zip(taken[name], taken[kind, READ], taken[_FLOOR], strict=True)]
        row["cpu_over_none"] = median(mine.cpu - floor.cpu for mine, _, floor in pairs) * _MICRO
        row["of_read"] = median(mine.cpu / read.cpu for mine, read, _ in pairs)
    return row


# Report.


def tables(results: Results) -> list[Table]:
    """Return a table of the acts on every store, and what a touch that is held back saves."""
    stores = [kind for kind in values(results, "kind") if kind != FLOOR]
    rows = [[act, *(_costs(results, kind, act) for kind in stores)] for act in ACTS]
    floor = pick(results, "cpu", kind=FLOOR)
    note = (
        f"Microseconds of the application's processor time for a whole request, of which one without sessions takes "
        f"{figure(floor)}; in brackets the server's, and after them those on the wall. Medians of {results['rounds']} "
        f"rounds of up to {results['calls']} requests. {missing_note(results)}"
    )
    saved = [[kind, *(_saved(results, kind, key) for key in ("cpu", "server", "wall"))] for kind in stores]
    heads = ["a read", "processor time", "of the server", "on the wall"]
    guards = ", ".join(
        f"{kind.removeprefix('ours, ')} {figure(pick(results, 'of_read', kind=kind, act=GUARDED))}" for kind in stores
    )
    return [
        Table(title="What users do", heads=["request", *stores], rows=rows, note=note),
        Table(
            title="What a touch that is held back saves",
            heads=heads,
            rows=saved,
            note=f"Microseconds. A guarded view over a plain read, whole requests: {guards}.",
        ),
    ]


def _costs(results: Results, kind: str, act: str) -> str:
    cpu, server, wall = (pick(results, key, kind=kind, act=act) for key in ("cpu", "server", "wall"))
    return f"{figure(cpu)} ({figure(server)}) {figure(wall)}" if server else f"{figure(cpu)}"


def _saved(results: Results, kind: str, key: str) -> str:
    read, held_back = (pick(results, key, kind=kind, act=act) for act in (READ, UNTOUCHED))
    return figure(read - held_back) if read and held_back else ""


def plots(results: Results) -> dict[str, Plot]:
    """Return what is plotted: the acts on every store."""
    stores = [kind for kind in values(results, "kind") if kind != FLOOR]
    costs = {kind: [pick(results, "cpu", kind=kind, act=act) for act in ACTS] for kind in stores}
    return {"users": bars(ACTS, costs, title="Processor time of what users do", unit="µs for a whole request")}
