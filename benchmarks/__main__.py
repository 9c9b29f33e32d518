"""Runs the parts, prints their tables, and writes what the documentation shows."""

import argparse
import datetime
import importlib
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .fresh import in_fresh_process
from .programs import find_program
from .programs import Missing
from .report.results import Results
from .report.tables import Table
from .report.targets import FAILS
from .report.targets import targets
from .report.targets import to_table

#: The parts, in the order in which they run, and the modules that know how.
PARTS = {
    "import": "parts.imports",
    "request": "parts.request",
    "server": "parts.server",
    "users": "parts.users",
    "traffic": "parts.traffic",
    "scale": "parts.scale",
    "store": "parts.store",
    "journal": "parts.journal",
    "growth": "parts.growth",
    "pauses": "parts.pauses",
    "tallies": "parts.tallies",
}

#: Those whose measure() takes ``only``.
_CHOOSING = ("server", "users", "traffic", "scale")

#: Where the documentation's figures are, from which "targets" reads them, too.
_FIGURES = Path(__file__).resolve().parent.parent / "docs" / "performance" / "figures.json"

#: The facts that the figures in one file share.
_SAME = ("processor", "memory", "system", "Python", "kind of run")

_PACKAGES = ("Flask", "Werkzeug", "Flask-Session", "Django", "cachelib", "gunicorn")
_DRIVERS = ("SQLAlchemy", "psycopg", "PyMySQL", "redis", "hiredis")
_SERVERS = ("postgres", "mariadbd", "redis-server", "pgbouncer")


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; return 1 if "targets" finds one that is not reached."""
    options = _parse(arguments)
    if options.part == "targets":
        found = targets(_read(options.json or _FIGURES)["parts"])
        print(to_table(found).to_rst())
        return int(any(target.verdict == FAILS for target in found))
    report: dict[str, Any] = {"machine": _machine(quick=options.quick), "parts": {}}
    for name in PARTS if options.part == "all" else [options.part]:
        report["parts"][name] = _run(name, quick=options.quick, only=options.only)
    known = [target for target in targets(report["parts"]) if options.part == "all" or target.found is not None]
    print(to_table(known).to_rst() if known else "")
    if options.json is not None:
        report = _with_others(options.json, report)
        _write(options.json, report)
    if options.plots is not None:
        _illustrate(options.plots, report)
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure what sessions cost.")
    parser.add_argument("part", nargs="?", default="all", choices=[*PARTS, "all", "targets"])
    parser.add_argument("--quick", action="store_true", help="two minutes in all: to see that it runs, not how fast")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there (targets: read them)")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="write the plots, and the tables to include, there")
    parser.add_argument("--only", default="", metavar="TEXT", help="ways to keep sessions with this in their names")
    options = parser.parse_args(arguments)
    if options.only and (options.part not in _CHOOSING or options.json or options.plots):
        parser.error(f"--only is for {', '.join(_CHOOSING)}, without --json and --plots: its figures are not kept.")
    return options


def _run(name: str, *, quick: bool, only: str) -> Results:
    began = time.monotonic()
    part = _part(name)
    chosen = {"only": only} if name in _CHOOSING else {}
    results: Results = in_fresh_process(part.measure, quick=quick, **chosen)
    for table in part.tables(results):
        print(table.to_rst(), flush=True)
    results["took"] = round(time.monotonic() - began, 1)
    print(f"({name} took {results['took']} s)\n", file=sys.stderr, flush=True)
    return results


def _part(name: str) -> Any:
    return importlib.import_module(f".{PARTS[name]}", __package__)


def _read(path: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return report


def _with_others(path: Path, report: dict[str, Any]) -> dict[str, Any]:
    """Return the report with the figures of the parts that did not run, where they are of the same machine."""
    before = _read(path) if path.exists() else {"machine": {}, "parts": {}}
    if any(before["machine"].get(name) != report["machine"][name] for name in _SAME):
        return report
    parts = {**before["parts"], **report["parts"]}
    return {"machine": before["machine"], "parts": {name: parts[name] for name in PARTS if name in parts}}


def _write(path: Path, report: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _illustrate(folder: Path, report: dict[str, Any]) -> None:
    """Write each part's tables into an include file, and its plots beside them."""
    from .report.plots import draw

    folder.mkdir(parents=True, exist_ok=True)
    for name, results in report["parts"].items():
        part = _part(name)
        _include(folder / f"{name}.inc", part.tables(results))
        for title, plot in part.plots(results).items():
            draw(plot, folder / f"{title}.svg")
    if report["parts"].keys() != PARTS.keys():
        return  # The targets and the machine are those of a run of all parts.
    _include(folder / "targets.inc", [to_table(targets(report["parts"]))])
    _include(folder / "machine.inc", [_machine_table(report["machine"])])


def _include(path: Path, tables: list[Table]) -> None:
    path.write_text("\n".join(table.to_rst() for table in tables), encoding="utf-8")


def _machine(*, quick: bool) -> dict[str, str]:
    """Return what the figures are from: the kind of machine, what ran on it, and how busy it was."""
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.machine()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        **{name: _version(name) for name in (*_PACKAGES, *_DRIVERS)},
        **{name: _program_version(name) for name in _SERVERS},
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "processes that wanted a core at the start": f"{os.getloadavg()[0]:.1f}",
        "kind of run": "quick: to see that it runs, not how fast" if quick else "whole",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _program_version(name: str) -> str:
    """Return the first number with a dot in it that the program says of itself."""
    try:
        told = subprocess.run([find_program(name), "--version"], capture_output=True, text=True, check=True).stdout
    except Missing:
        return "not installed"
    found = re.search(r"\d+\.[\d.]*\d", told)
    return found[0] if found else told.strip()


def _machine_table(machine: dict[str, str]) -> Table:
    return Table(title="Machine", heads=["", "these figures"], rows=[list(pair) for pair in machine.items()])


if __name__ == "__main__":
    sys.exit(main())
