"""Measures requests in a second of a real server: gunicorn with one worker of four threads, and wrk."""

import re
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from http.cookies import SimpleCookie
from pathlib import Path
from statistics import median
from urllib.request import Request
from urllib.request import urlopen

from ..apps import COOKIE
from ..apps import FLOOR
from ..apps import MEMORY
from ..apps import SIMPLE_CACHE
from ..programs import a_folder
from ..programs import find_program
from ..programs import gunicorn
from ..programs import Missing
from ..report.plots import Plot
from ..report.results import missing_note
from ..report.results import pick
from ..report.results import ratio
from ..report.results import Results
from ..report.tables import figure
from ..report.tables import Table
from ..rounds import interleave
from ..rounds import Sample

KINDS = (FLOOR, COOKIE, SIMPLE_CACHE, MEMORY)
_SIZE = 1_000
_CONNECTIONS = 8

#: What wrk asks: the browsers take turns.
_SCRIPT = """
local cookies, turn = { %s }, 0
request = function()
  turn = turn %% #cookies + 1
  return wrk.format("GET", "%s", { ["Cookie"] = cookies[turn] })
end
"""


def measure(*, quick: bool) -> Results:
    """Serve all kinds at once, and load one after the other."""
    rounds, seconds, browsers = (1, 1, 3) if quick else (9, 4, 50)
    results: Results = {"rows": [], "rounds": rounds, "seconds": seconds}
    try:
        wrk = find_program("wrk")
    except Missing as reason:
        return {**results, "missing": [str(reason)]}
    with ExitStack() as stack:
        folder = stack.enter_context(a_folder())
        cells: dict[str, Callable[[], Sample]] = {}
        for number, kind in enumerate(KINDS):
            port = stack.enter_context(gunicorn(f"benchmarks.apps:make_app({kind!r})"))
            script = folder / f"script{number}.lua"
            script.write_text(_script_for(kind, port, browsers))
            cells[kind] = _cell(wrk, port, script, seconds=seconds)
        taken = interleave(cells, rounds=rounds)
    for kind, samples in taken.items():
        results["rows"].append({"kind": kind, "per_second": 1 / median(sample.wall for sample in samples)})
    return results


def _script_for(kind: str, port: int, browsers: int) -> str:
    """Return wrk's script, after a look whether each browser's session can be read."""
    headers = []
    for number in range(browsers):
        if kind == FLOOR:
            headers.append("session=none")
            continue
        with urlopen(f"http://127.0.0.1:{port}/start/{_SIZE}/{number}", timeout=10) as answer:
            cookies = SimpleCookie(answer.headers["Set-Cookie"])
        headers.append(f"session={cookies['session'].value}")
        request = Request(f"http://127.0.0.1:{port}/read", headers={"Cookie": headers[-1]})
        with urlopen(request, timeout=10) as answer:
            if answer.read() != b"0":
                raise RuntimeError(f"{kind} does not find a session that it has just begun.")
    return _SCRIPT % (", ".join(f"'{header}'" for header in headers), "/ignore" if kind == FLOOR else "/read")


def _cell(wrk: str, port: int, script: Path, *, seconds: int) -> Callable[[], Sample]:
    command = [wrk, "-t1", f"-c{_CONNECTIONS}", f"-d{seconds}s", "-s", str(script), f"http://127.0.0.1:{port}"]

    def load() -> Sample:
        said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=seconds + 30).stdout
        if "Non-2xx" in said or "Socket errors" in said:
            raise RuntimeError(f"The server did not answer all: {said}")
        (rate,) = re.findall(r"Requests/sec: +([0-9.]+)", said)
        return Sample(0.0, 1 / float(rate))

    return load


def tables(results: Results) -> list[Table]:
    """Return the requests in a second, also as a part of those without sessions."""
    floor = pick(results, "per_second", kind=FLOOR)
    rows = [
        [row["kind"], figure(row["per_second"]), figure(ratio(row["per_second"], floor))] for row in results["rows"]
    ]
    note = (
        f"gunicorn gthread, 1 worker, 4 threads; wrk with {_CONNECTIONS} connections on the same machine. A session of "
        f"1 KB, one key read. Medians of {results['rounds']} rounds of {results['seconds']} s. {missing_note(results)}"
    )
    heads = ["sessions", "requests in a second", "of none"]
    return [Table(title="Requests in a second of a server", heads=heads, rows=rows, note=note)]


def plots(results: Results) -> dict[str, Plot]:
    """Return nothing: four figures need no plot."""
    return {}
