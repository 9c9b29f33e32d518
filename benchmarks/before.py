"""Compares requests with the same ones on another version of the package, measured in turns.

    python -m benchmarks.before TREE [--store NAME] [--size BYTES] [--quick]

TREE is a checkout of that version. Each has a process, and a database, of its own, and each round asks both for every
view in random order; "over" is what the view costs beside a request without sessions.
"""

import argparse
import subprocess
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from .acts import Actors
from .acts import GUARDED
from .acts import IGNORE
from .acts import LISTED
from .acts import LOG_IN
from .acts import NEW_LOG_IN
from .acts import READ
from .acts import REVOKED
from .acts import USER_READ
from .acts import WRITE
from .apps import ask
from .apps import environ_of
from .apps import make_app
from .programs import ROOT
from .report.tables import figure
from .report.tables import Table
from .rounds import Cell
from .rounds import interleave
from .rounds import micros
from .rounds import micros_over
from .rounds import Sample
from .rounds import settle
from .rounds import timed
from .rounds import warm_up
from .tools.trees import command
from .ways import FLOOR
from .ways import open_store
from .ways import services
from .ways import STORES

ACTS = (IGNORE, READ, WRITE, USER_READ, GUARDED, LOG_IN, NEW_LOG_IN, LISTED, list(REVOKED)[1])

_CALLS = 200
_BROWSERS = 20
_FLOOR = (FLOOR, IGNORE)
_STORES = {kind.removeprefix("ours, ").lower(): kind for kind in STORES}


def main() -> None:
    """Print what each view costs on both."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.before", description=__doc__.partition("\n")[0])
    parser.add_argument("tree", type=Path, help="a checkout of another version")
    parser.add_argument("--store", default="memory", choices=_STORES)
    parser.add_argument("--size", type=int, default=1_000, metavar="BYTES", help="of the session's data")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    trees = {"before": options.tree.resolve(), "now": ROOT}
    with ExitStack() as stack:
        servers = {name: _begin(stack, tree, options) for name, tree in trees.items()}
        cells: dict[tuple[str, str], Cell] = {_FLOOR: partial(servers["now"].batch, FLOOR)}
        cells |= {(name, act): partial(server.batch, act) for name, server in servers.items() for act in ACTS}
        taken = interleave(warm_up(cells), rounds=7 if options.quick else 61, reference=_FLOOR)
    floor, rows = taken[_FLOOR], []
    for act in ACTS:
        before, now = (micros_over(taken[name, act], floor).cpu for name in trees)
        whole_before, whole_now = (micros(taken[name, act]).cpu for name in trees)
        shares = [figure(now / before), figure(whole_before), figure(whole_now), figure(whole_now / whole_before)]
        rows.append([act, figure(before), figure(now), *shares])
    heads = ["over no sessions", "before", "now", "now / before", "whole before", "now", "now / before"]
    print(Table(title="µs of processor time", heads=heads, rows=rows).to_rst())


def _begin(stack: ExitStack, tree: Path, options: argparse.Namespace) -> "Asked":
    """Return the process with that tree's package, which uses a server of its own where the store needs one."""
    kind = _STORES[options.store]
    at = stack.enter_context(services(*filter(None, [STORES[kind]])))
    asked = Asked(tree, kind, str(at.folder), at.url(STORES[kind]) or "", str(options.size))
    stack.callback(asked.close)
    return asked


class Asked:
    """A process with the package of one tree, which makes a batch of requests when it is told to."""

    def __init__(self, tree: Path, *arguments: str) -> None:
        served = command(tree, "before", *arguments)
        self._process = subprocess.Popen(served, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def batch(self, act: str) -> Sample:
        """Return what a request for this takes there."""
        assert self._process.stdin is not None and self._process.stdout is not None
        print(act, file=self._process.stdin, flush=True)
        cpu, wall = map(float, self._process.stdout.readline().split())
        return Sample(cpu, wall)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)


def serve(kind: str, folder: str, url: str, size: str) -> None:
    """Answer each act's name on the standard input with the two times of a request."""
    floor = make_app(FLOOR)
    actors = Actors(open_store(kind, Path(folder), url or None), browsers=_BROWSERS, size=int(size))
    settle()
    for line in sys.stdin:
        act = line.strip()
        if act == FLOOR:
            app, environs = floor, [environ_of("/ignore")] * _CALLS
        else:
            app, environs = actors.app_for(act), actors.requests(act, calls=_CALLS)
        print(*timed(partial(ask, app, environs), calls=len(environs)), flush=True)
    actors.close()


if __name__ == "__main__":
    main()
