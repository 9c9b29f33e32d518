"""Measures what importing the package adds to importing Flask, in fresh processes."""

import os
import subprocess
import sys
from functools import partial

from ..programs import ROOT
from ..report.plots import Plot
from ..report.results import pick
from ..report.results import Results
from ..report.tables import figure
from ..report.tables import Table
from ..rounds import interleave
from ..rounds import micros
from ..rounds import Sample
from ..rounds import warm_up

_MODULES = ("flask", "flask_idlesession")

#: Prints the seconds that importing the module takes, of the processor and on the wall, after Flask's import. That of
#: the package is imported with what every application asks it for.
_CODE = """
import sys
if sys.argv[1] != "flask": import flask
from time import perf_counter, process_time
wall, cpu = perf_counter(), process_time()
getattr(__import__(sys.argv[1]), "IdleSession", None)
print(process_time() - cpu, perf_counter() - wall)
"""


def measure(*, quick: bool) -> Results:
    """Import each in turn, in processes that do nothing else; the first ones fill the caches."""
    rounds = 3 if quick else 41
    cells = {name: partial(import_once, name) for name in _MODULES}
    taken = interleave(warm_up(cells), rounds=rounds)
    rows = [{"module": name, **micros(samples)._asdict()} for name, samples in taken.items()]
    return {"rows": rows, "rounds": rounds}


def import_once(name: str) -> Sample:
    """Return what importing the module takes in a fresh process."""
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}  # Else it may be the compiler that is measured.
    command = [sys.executable, "-c", _CODE, name]
    done = subprocess.run(command, cwd=ROOT, env=env, check=True, capture_output=True, text=True)
    cpu, wall = map(float, done.stdout.split())
    return Sample(cpu, wall)


def milliseconds(results: Results | None) -> float | None:
    """Return what the package's import takes on the processor after Flask's."""
    cpu = pick(results, "cpu", module="flask_idlesession")
    return None if cpu is None else cpu / 1000


def tables(results: Results) -> list[Table]:
    """Return both imports' times."""
    rows = [[row["module"], figure(row["cpu"] / 1000), figure(row["wall"] / 1000)] for row in results["rows"]]
    note = f"flask_idlesession after flask; medians of {results['rounds']} fresh processes each."
    heads = ["import", "ms of processor time", "ms on the wall"]
    return [Table(title="Import", heads=heads, rows=rows, note=note)]


def plots(results: Results) -> dict[str, Plot]:
    """Return nothing: two figures need no plot."""
    return {}
