"""Measures what it costs to count an event, a call of the store and a request for the tallies of all workers."""

from collections.abc import Callable
from functools import partial
from itertools import repeat
from typing import Any

from flask import Flask
from flask import request_finished
from flask import session

from flask_idlesession import IdleSession

from ..report.plots import Plot
from ..report.results import pick
from ..report.results import Results
from ..report.tables import figure
from ..report.tables import Table
from ..rounds import interleave
from ..rounds import micros
from ..rounds import Sample
from ..rounds import timed
from ..rounds import warm_up

_EVENT, _CALL, _BEAT, _REQUEST = "an event", "a call of the store", "a request of a session", "a request, by its signal"
_NOTHING = "a loop that counts nothing"


def measure(*, quick: bool) -> Results:
    """Time loops of each function alone."""
    calls, rounds = (2_000, 3) if quick else (100_000, 15)
    app = an_app()
    cells: dict[str, Callable[[], Sample]] = {}
    with app.test_request_context("/", headers={"Cookie": cookie_of(app)}):
        for name, function in functions(app).items():
            cells[name] = partial(timed, partial(_loop, function, calls), calls=calls)
        taken = interleave(warm_up(cells), rounds=rounds)
    rows = [{"counted": name, **micros(samples)._asdict()} for name, samples in taken.items()]
    return {"rows": rows, "rounds": rounds, "calls": calls}


def _loop(function: Callable[[], Any], calls: int) -> None:
    for _ in repeat(None, calls):
        function()


def an_app() -> Flask:
    """Return an application whose events are counted."""
    app = Flask(__name__)
    app.config.update(TESTING=True, SECRET_KEY="of no use to anybody but a benchmark", IDLESESSION_TALLIES=True)
    IdleSession(app)

    @app.get("/")
    def index() -> str:
        session["n"] = session.get("n", 0) + 1
        return "hello"

    return app


def cookie_of(app: Flask) -> str:
    """Return the cookie of a new session."""
    client = app.test_client()
    client.get("/")
    return f"session={client.get_cookie('session').value}"


def functions(app: Flask) -> dict[str, Callable[[], Any]]:
    """Return the functions that count, with the arguments of a usual call. They need a request of a session."""
    state = app.extensions["idlesession"]
    tallies = state.tallies
    session.get("n")
    gauge, sid = state.manager.store._gauge, session.sid
    return {
        _NOTHING: int,
        _EVENT: partial(tallies.counter.count, "created"),
        _CALL: partial(gauge.note_call, "load", 0.0007),
        _BEAT: partial(tallies.beats.note, "index", sid, at=1e9, is_opened=False),
        _REQUEST: partial(request_finished.send, app, response=None),
    }


def microseconds(results: Results | None) -> float | None:
    """Return what it takes on the processor to count an event, the loop included."""
    return pick(results, "cpu", counted=_EVENT)


def tables(results: Results) -> list[Table]:
    """Return what each costs."""
    rows = [[row["counted"], figure(row["cpu"])] for row in results["rows"]]
    note = f"Loops of {results['calls']:,} calls, the loop included; medians of {results['rounds']} rounds."
    heads = ["counted", "µs of processor time"]
    return [Table(title="Tallies", heads=heads, rows=rows, note=note)]


def plots(results: Results) -> dict[str, Plot]:
    """Return nothing: a few figures need no plot."""
    return {}
