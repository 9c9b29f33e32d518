"""Compares a request with the same one on another version of the package, measured in turns.

    python -m benchmarks.before TREE [--store URL] [--size BYTES] [--quick]

TREE is a checkout of that version. Each has a process of its own, and each round asks both for every view in random
order; "over" is what the view costs beside a request without sessions.
"""

import argparse
import subprocess
import sys
from functools import partial
from pathlib import Path

from .apps import ask
from .apps import browser
from .apps import environ_of
from .apps import make_app
from .apps import make_app_on
from .apps import VIEWS
from .programs import ROOT
from .report.tables import figure
from .report.tables import Table
from .rounds import Cell
from .rounds import interleave
from .rounds import micros_over
from .rounds import Sample
from .rounds import settle
from .rounds import timed
from .rounds import warm_up
from .tools.trees import command
from .ways import FLOOR

_CALLS = 200
_BROWSERS = 20
_FLOOR = (FLOOR, "ignore")


def main() -> None:
    """Print what each view costs on both."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.before", description=__doc__.partition("\n")[0])
    parser.add_argument("tree", type=Path, help="a checkout of another version")
    parser.add_argument("--store", default="memory://", metavar="URL", help="IDLESESSION_STORE")
    parser.add_argument("--size", type=int, default=1_000, metavar="BYTES", help="of the session's data")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    trees = {"before": options.tree.resolve(), "now": ROOT}
    servers = {name: Asked(tree, store=options.store, size=options.size) for name, tree in trees.items()}
    try:
        cells: dict[tuple[str, str], Cell] = {_FLOOR: partial(servers["now"].batch, FLOOR)}
        cells |= {(name, view): partial(server.batch, view) for name, server in servers.items() for view in VIEWS}
        taken = interleave(warm_up(cells), rounds=7 if options.quick else 61, reference=_FLOOR)
    finally:
        for server in servers.values():
            server.close()
    floor, rows = taken[_FLOOR], []
    for view in VIEWS:
        before, now = (micros_over(taken[name, view], floor).cpu for name in servers)
        rows.append([view, figure(before), figure(now), figure(now / before)])
    print(Table(title="µs of processor time", heads=["over no sessions", *servers, "now / before"], rows=rows).to_rst())


class Asked:
    """A process with the package of one tree, which makes a batch of requests when it is told to."""

    def __init__(self, tree: Path, *, store: str, size: int) -> None:
        served = command(tree, "before", store, str(size))
        self._process = subprocess.Popen(served, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def batch(self, view: str) -> Sample:
        """Return what a request for this view takes there."""
        assert self._process.stdin is not None and self._process.stdout is not None
        print(view, file=self._process.stdin, flush=True)
        cpu, wall = map(float, self._process.stdout.readline().split())
        return Sample(cpu, wall)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)


def serve(store: str, size: str) -> None:
    """Answer each view's name on the standard input with the two times of a request."""
    app, floor = make_app_on(IDLESESSION_STORE=store), make_app(FLOOR)
    cookies = [browser(app, size=int(size), number=number) for number in range(_BROWSERS)]
    apps = {FLOOR: (floor, [environ_of("/ignore")] * _CALLS)}
    for view in VIEWS:
        apps[view] = (app, [environ_of(f"/{view}", each) for each in cookies] * (_CALLS // _BROWSERS))
    settle()
    for line in sys.stdin:
        print(*timed(partial(ask, *apps[line.strip()]), calls=_CALLS), flush=True)


if __name__ == "__main__":
    main()
