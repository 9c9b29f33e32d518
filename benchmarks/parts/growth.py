"""Measures how the cost of a request and of a commit grows: with the sessions that there are, and with their keys."""

from collections.abc import Callable
from functools import partial
from typing import Any

from flask import Flask
from flask import session

from flask_idlesession import Change
from flask_idlesession import MemoryStore
from flask_idlesession import Outcome
from flask_idlesession import Record

from ..apps import answer
from ..apps import ask
from ..apps import browser
from ..apps import environ_of
from ..apps import make_app
from ..apps import make_app_on
from ..contenders import a_record
from ..contenders import HOLDER
from ..contenders import NOW
from ..report.plots import lines
from ..report.plots import Plot
from ..report.results import Results
from ..report.results import Row
from ..report.tables import figure
from ..report.tables import Table
from ..rounds import Cell
from ..rounds import interleave
from ..rounds import micros
from ..rounds import micros_over
from ..rounds import Sample
from ..rounds import timed
from ..rounds import warm_up
from ..ways import FLOOR

_FLOOR = (FLOOR, 0, "")
KEYS = (1, 10, 100, 1_000)
_BROWSERS = 100

Name = tuple[str, int, str]


def measure(*, quick: bool) -> Results:
    """Measure all in turns: one application for each number of sessions, one session for each number of keys."""
    rounds, calls, largest = (3, 20, 4) if quick else (31, 200, 6)
    floor = make_app(FLOOR)
    cells: dict[Name, Cell] = {_FLOOR: _request_cell(floor, [environ_of("/ignore")] * calls)}
    for power in range(3, largest + 1):
        cells |= _sessions_cells(10**power, calls=calls)
    for keys in KEYS:
        cells |= _keys_cells(keys, calls=calls) | _commit_cells(keys, calls=calls)
    taken = interleave(warm_up(cells), rounds=rounds, reference=_FLOOR)
    reference = taken.pop(_FLOOR)
    rows: list[Row] = []
    for (of, number, view), samples in taken.items():
        cost = micros(samples) if of == "commit" else micros_over(samples, reference)
        rows.append({"of": of, "number": number, "view": view, "cpu": cost.cpu})
    return {"rows": rows, "rounds": rounds, "calls": calls}


def _request_cell(app: Flask, environs: list[dict[str, Any]]) -> Cell:
    return lambda: timed(partial(ask, app, environs), calls=len(environs))


def _sessions_cells(count: int, *, calls: int) -> dict[Name, Cell]:
    store = MemoryStore(max_sessions=None, max_bytes=None)
    app = make_app_on(store)
    cookies = [browser(app, size=1_000, number=number) for number in range(min(calls, _BROWSERS))]
    for number in range(count - len(cookies)):
        store.create(a_record(number, idle_timeout=1e9, lifetime=1e9))
    cells: dict[Name, Cell] = {}
    for view in ("read", "write"):
        environs = [environ_of(f"/{view}", each) for each in cookies]
        cells["sessions", count, view] = _request_cell(app, environs * (calls // len(environs)))
    return cells


def _keys_cells(keys: int, *, calls: int) -> dict[Name, Cell]:
    app = make_app_on(MemoryStore())

    @app.get("/fill")
    def fill() -> str:
        session.clear()
        session.update({f"key {number}": f"value {number}" for number in range(keys - 1)}, visits=0)
        return str(len(session))

    cookies = browser(app, size=100, number=0)
    if answer(app, "/fill", cookies) != str(keys):
        raise RuntimeError(f"The session has not {keys} keys.")
    environs = {view: [environ_of(f"/{view}", cookies)] * calls for view in ("read", "write")}
    return {("keys", keys, view): _request_cell(app, some) for view, some in environs.items()}


def _commit_cells(keys: int, *, calls: int) -> dict[Name, Cell]:
    """Return what it costs to merge one key into a record of many, and to write all of them."""
    store = MemoryStore(max_sessions=None, max_bytes=None)
    values = {f"key {number}": b"value %d" % number for number in range(keys)}
    record = a_record(0, values=values)
    store.create(record)
    return {
        ("commit", keys, "one key"): _commit_cell(store, record, lambda turn: {"key 0": b"other %d" % turn}, calls),
        ("commit", keys, "all keys"): _commit_cell(
            store, record, lambda turn: dict.fromkeys(values, b"other %d" % turn), calls
        ),
    }


def _commit_cell(store: MemoryStore, record: Record, delta: Callable[[int], dict[str, bytes]], calls: int) -> Cell:
    changes = [Change(holder=HOLDER, last_seen_at=NOW, delta=delta(turn)) for turn in range(2)] * (calls // 2)

    def cell() -> Sample:
        return timed(lambda: [_commit(store, record, change) for change in changes], calls=len(changes))

    return cell


def _commit(store: MemoryStore, record: Record, change: Change) -> None:
    if store.commit(record.info.sid, change, now=NOW) is not Outcome.DONE:
        raise RuntimeError("A commit was refused.")


# Report.

_TITLES = {
    "sessions": ("A request, by the sessions that there are", ("read", "write")),
    "keys": ("A request, by the session's keys", ("read", "write")),
    "commit": ("A commit to the store alone, by the session's keys", ("one key", "all keys")),
}


def tables(results: Results) -> list[Table]:
    """Return a table for each thing that grows."""
    made = []
    for of, (title, views) in _TITLES.items():
        costs = _costs(results, of)
        rows = [[f"{number:,}", *(figure(cost.get(view)) for view in views)] for number, cost in costs.items()]
        made.append(Table(title=title, heads=["sessions" if of == "sessions" else "keys", *views], rows=rows))
    last = made.pop()
    note = (
        "Microseconds of processor time on the memory store; of a request over one without sessions. "
        f"Medians of {results['rounds']} rounds of {results['calls']} calls."
    )
    return [*made, Table(title=last.title, heads=last.heads, rows=last.rows, note=note)]


def _costs(results: Results, of: str) -> dict[int, dict[str, float]]:
    found: dict[int, dict[str, float]] = {}
    for row in results["rows"]:
        if row["of"] == of:
            found.setdefault(row["number"], {})[row["view"]] = row["cpu"]
    return found


def plots(results: Results) -> dict[str, Plot]:
    """Return what is plotted: each thing that grows."""
    made = {}
    for of, (title, views) in _TITLES.items():
        costs = _costs(results, of)
        series = {view: [cost.get(view) for cost in costs.values()] for view in views}
        x_unit = "sessions" if of == "sessions" else "keys"
        made[f"growth-{of}"] = lines(list(costs), series, title=title, unit="µs of processor time", x_unit=x_unit)
    return made
