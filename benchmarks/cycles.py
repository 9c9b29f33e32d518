"""Estimates what a request costs from what valgrind counts, which no load of the machine disturbs.

    python -m benchmarks.cycles [TREE ...] [--size BYTES]

Each TREE is a checkout of the package; without one it is this. A request is counted by the difference of two processes,
of which one makes more of them. "over no sessions" is what it costs beside a request without sessions.
"""

import argparse
import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from flask import Flask

from flask_idlesession import MemoryStore

from .acts import Actors
from .acts import GUARDED
from .apps import ask
from .apps import browser
from .apps import Environ
from .apps import environ_of
from .apps import LARGEST_COOKIE
from .apps import make_app
from .apps import VIEWS
from .programs import find_program
from .programs import Missing
from .programs import ROOT
from .report.tables import figure
from .report.tables import Table
from .rounds import settle
from .tools.trees import command
from .ways import COOKIE
from .ways import FLOOR
from .ways import MEMORY
from .ways import TRIAL

#: How many requests each of the two processes makes, and how many browsers take turns in them.
_FEW, _MANY, _BROWSERS = 50, 250, 50

#: The caches nearest to a core: 32 KB of each kind, and 512 KB behind them, each line of 64 bytes in one of 8 places.
_CACHES = ("--I1=32768,8,64", "--D1=32768,8,64", "--LL=524288,8,64")

#: The cycles that each count takes, about as on a processor with such caches.
_INSTRUCTION, _FIRST_MISS, _SECOND_MISS = 0.4, 12, 45

_COUNTED = (r"I\s+refs", "I1  misses", "D1  misses", "LL misses")


class Count(NamedTuple):
    """Valgrind's counts: instructions, and misses of the first caches and of the second."""

    instructions: float
    first: float
    second: float

    @property
    def cycles(self) -> float:
        """Return the estimate."""
        return self.instructions * _INSTRUCTION + self.first * _FIRST_MISS + self.second * _SECOND_MISS

    def over(self, other: "Count", *, calls: int = 1) -> "Count":
        """Return by how much this is more than ``other``, for each of ``calls`` calls."""
        return Count(*((mine - others) / calls for mine, others in zip(self, other, strict=True)))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print what each view costs, by hand and with each tree, and beside Flask's cookie."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cycles", description=__doc__.partition("\n")[0])
    parser.add_argument("trees", nargs="*", type=Path, metavar="TREE", help="a checkout of the package")
    parser.add_argument("--size", type=int, default=1_000, metavar="BYTES", help="of the session's data")
    options = parser.parse_args(arguments)
    try:
        find_program("valgrind")
    except Missing as missing:
        parser.error(f"{missing}; install it, as by: apt-get install valgrind")
    names = {tree.resolve(): f", {tree}" for tree in options.trees} or {ROOT: ""}
    cells = [(FLOOR, "ignore", ROOT)]
    for view in VIEWS:
        cells += [(kind, view, ROOT) for kind in (COOKIE, TRIAL) if kind == TRIAL or options.size <= LARGEST_COOKIE]
        cells += [(MEMORY, view, tree) for tree in names]
    cells += [(MEMORY, GUARDED, tree) for tree in names]
    with ThreadPoolExecutor(os.cpu_count()) as executor:
        counts = dict(zip(cells, executor.map(lambda cell: count(*cell, size=options.size), cells), strict=True))
    print(to_table(counts, names).to_rst())


def count(kind: str, view: str, tree: Path, *, size: int) -> Count:
    """Return what one request takes."""
    few, many = (_run(kind, view, tree, size, calls=calls) for calls in (_FEW, _MANY))
    return many.over(few, calls=_MANY - _FEW)


def _run(kind: str, view: str, tree: Path, size: int, *, calls: int) -> Count:
    tool = ["valgrind", "--tool=cachegrind", "--cache-sim=yes", *_CACHES]
    counted = command(tree, "cycles", kind, view, str(size), str(calls))
    with tempfile.NamedTemporaryFile() as counts:
        environ = {**os.environ, "PYTHONHASHSEED": "0"}  # With another one dicts lie elsewhere in the caches.
        done = subprocess.run(
            [*tool, f"--cachegrind-out-file={counts.name}", *counted],
            capture_output=True,
            text=True,
            env=environ,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"valgrind could not count {view} with {kind}:\n{done.stderr[-2000:]}")
    return read(done.stderr)


def read(report: str) -> Count:
    """Return the counts in what cachegrind reports."""
    found = [re.search(rf"{name}:\s+([\d,]+)", report) for name in _COUNTED]
    numbers = [int(each[1].replace(",", "")) for each in found if each is not None]
    instructions, of_code, of_data, second = numbers
    return Count(instructions, of_code + of_data, second)


def to_table(counts: dict[tuple[str, str, Path], Count], names: dict[Path, str]) -> Table:
    """Return the table of all cells but the reference; ``names`` tells the trees apart."""
    floor = counts[FLOOR, "ignore", ROOT]
    rows = []
    for (kind, view, tree), found in counts.items():
        if kind == FLOOR:
            continue
        cost = found.over(floor)
        cookie = counts.get((COOKIE, view, ROOT))
        share = "" if cookie is None else figure(cost.cycles / cookie.over(floor).cycles)
        name = kind + names[tree] if kind == MEMORY else kind
        rows.append([f"{view}, {name}", *(f"{number:,.0f}" for number in cost), figure(cost.cycles / 1000), share])
    heads = ["over no sessions", "instructions", "first misses", "second", "1,000 cycles", "of Flask's cookie"]
    note = f"The request without sessions takes {figure(floor.cycles / 1000)} thousand cycles."
    return Table(title="A request, by simulated caches", heads=heads, rows=rows, note=note)


def serve(kind: str, view: str, size: str, calls: str) -> None:
    """Make the requests: this is what the counted process does."""
    app, environs = _guarded(int(size)) if view == GUARDED else _plain(kind, view, int(size))
    ask(app, environs)
    settle()
    ask(app, islice(cycle(environs), int(calls)))


def _plain(kind: str, view: str, size: int) -> tuple[Flask, list[Environ]]:
    app = make_app(kind)
    cookies = [
        {"session": "x" * 107} if kind == FLOOR else browser(app, size=size, number=number)
        for number in range(_BROWSERS)
    ]
    return app, [environ_of(f"/{view}", each) for each in cookies]


def _guarded(size: int) -> tuple[Flask, list[Environ]]:
    actors = Actors(MemoryStore(), browsers=_BROWSERS, size=size)
    return actors.app_for(GUARDED), actors.requests(GUARDED, calls=_BROWSERS)


if __name__ == "__main__":
    main()
