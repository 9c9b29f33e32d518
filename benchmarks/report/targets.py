"""Holds the measurements against what they are to be: the figures by which the package is judged."""

from collections.abc import Mapping
from dataclasses import dataclass

from ..parts import imports
from ..parts import tallies
from .results import over
from .results import pick
from .results import ratio
from .results import Results
from .tables import figure
from .tables import NONE
from .tables import Table

PASSES, FAILS, UNKNOWN = "pass", "FAIL", "not measured"

# The names that the parts give their rows, as they stand in a file of results.
_COOKIE, _CACHE, _THEIR_REDIS = "Flask's cookie", "Flask-Session, SimpleCache", "Flask-Session, Redis"
_MEMORY, _SQLITE, _REDIS = "ours, memory", "ours, SQLite", "ours, Redis"
_SQL, _MARIADB = "ours, PostgreSQL", "ours, MariaDB"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A target: the measured thing, the bound, and the figure that was found; None if nobody measured it."""

    what: str
    bound: float
    found: float | None
    unit: str = ""
    at_least: bool = False

    @property
    def verdict(self) -> str:
        """Return whether the figure is within the bound."""
        if self.found is None:
            return UNKNOWN
        holds = self.found >= self.bound if self.at_least else self.found <= self.bound
        return PASSES if holds else FAILS


def targets(parts: Mapping[str, Results]) -> list[Target]:
    """Return every target, with what the parts found."""
    return [
        *_request_targets(parts.get("request")),
        *_server_targets(parts.get("server")),
        *_user_targets(parts.get("users"), parts.get("traffic")),
        *_scale_targets(parts.get("scale")),
        *_pause_targets(parts.get("pauses")),
        *_store_targets(parts.get("store")),
        Target(
            what="first answer with 1,000,000 journaled sessions",
            bound=1.5,
            found=pick(parts.get("journal"), "wall", start=1_000_000),
            unit="s",
        ),
        Target(
            what="to count an event for the tallies",
            bound=2,
            found=tallies.microseconds(parts.get("tallies")),
            unit="µs",
        ),
        Target(what="import, over Flask's", bound=30, found=imports.milliseconds(parts.get("import")), unit="ms"),
    ]


def _request_targets(results: Results | None) -> list[Target]:
    def cost(kind: str, view: str, size: str) -> float | None:
        return pick(results, "cpu", kind=kind, view=view, size=size)

    def against(mine: str, theirs: str, view: str, size: str, bound: float) -> Target:
        found = ratio(cost(mine, view, size), cost(theirs, view, size))
        return Target(what=f"{view}, {size}: {mine} / {theirs}", bound=bound, found=found)

    return [
        against(_MEMORY, _COOKIE, "ignore", "1 KB", 0.07),
        *(against(_MEMORY, _COOKIE, "read", *pair) for pair in (("100 B", 0.10), ("1 KB", 0.07), ("3 KB", 0.05))),
        *(against(_MEMORY, _COOKIE, "write", *pair) for pair in (("100 B", 0.08), ("1 KB", 0.05), ("3 KB", 0.03))),
        *(
            Target(
                what=f"{view}, {_MEMORY}: 20 KB / 100 B",
                bound=1.8,
                found=ratio(cost(_MEMORY, view, "20 KB"), cost(_MEMORY, view, "100 B")),
            )
            for view in ("read", "write")
        ),
        against(_MEMORY, _CACHE, "read", "1 KB", 0.15),
        against(_MEMORY, _CACHE, "read", "20 KB", 0.08),
        against(_SQLITE, _COOKIE, "read", "1 KB", 0.25),
        against(_SQLITE, _COOKIE, "write", "1 KB", 0.25),
        against(_REDIS, _THEIR_REDIS, "read", "1 KB", 0.45),
        against(_REDIS, _THEIR_REDIS, "write", "1 KB", 0.65),
    ]


#: Of a server with one worker: the store, what is held against what, and the bounds of a read and of a write.
_RATES = (
    (_SQL, "of_none", "requests / without sessions", (0.50, 0.40)),
    (_SQL, "of_hand", "requests / by hand", (0.85, 0.75)),
    (_MARIADB, "of_hand", "requests / by hand", (0.80, 0.70)),
    (_SQLITE, "of_hand", "requests / by hand", (1.0, 0.95)),
    (_REDIS, "of_hand", "requests / by hand", (1.0, 1.0)),
    (_SQL, "p99_over_hand", "p99 / by hand's", (1.3, 1.3)),
    (_SQLITE, "p99_over_hand", "p99 / by hand's", (1.3, 1.3)),
)


def _server_targets(results: Results | None) -> list[Target]:
    def target(kind: str, view: str, key: str, says: str, bound: float, unit: str = "") -> Target:
        return Target(
            what=f"gunicorn, {view}, {kind}: {says}",
            bound=bound,
            found=pick(results, key, kind=kind, view=view, workers=1),
            unit=unit,
            at_least=key in ("of_none", "of_hand"),
        )

    return [
        target(_MEMORY, "read", "of_none", "requests / without sessions", 0.88),
        *(
            target(kind, view, key, says, bound)
            for kind, key, says, bounds in _RATES
            for view, bound in zip(("read", "write"), bounds, strict=True)
        ),
        target(_SQL, "read", "cpu_over_none", "processor time over none", 0.6, "ms"),
    ]


def _user_targets(users: Results | None, traffic: Results | None) -> list[Target]:
    def sent(key: str, kind: str) -> float | None:
        return pick(traffic, key, kind=kind, act="log-in")

    return [
        Target(
            what=f"guarded view / plain read, {_MEMORY}, whole requests",
            bound=1.25,
            found=pick(users, "of_read", kind=_MEMORY, act="guarded view"),
        ),
        Target(what=f"log-in, {_SQL}: statements", bound=3, found=sent("sent", _SQL)),
        Target(what=f"log-in, {_REDIS}: commands", bound=3, found=sent("sent", _REDIS)),
        Target(what=f"log-in, {_SQLITE}: transactions that write", bound=1, found=sent("transactions", _SQLITE)),
    ]


def _scale_targets(results: Results | None) -> list[Target]:
    return [
        Target(
            what=f"read, {kind}: processor time with 1,000,000 sessions / 1,000",
            bound=1.15,
            found=pick(results, "of_fewest", kind=kind, sessions=1_000_000),
        )
        for kind in (_MEMORY, _SQLITE, _REDIS, _SQL, _MARIADB)
    ]


def _pause_targets(results: Results | None) -> list[Target]:
    is_whole = results is not None and results["sessions"] == 1_000_000
    found = results if is_whole else None
    ends, stays, scan = (
        pick(found, "longest", waits=mode)
        for mode in ("ours, half of them end", "ours, none ends", "dict, half end, one full scan")
    )
    return [
        Target(what="longest wait while half end, over none", bound=5, found=over(ends, stays), unit="ms"),
        Target(what="longest wait while half end / a full scan's", bound=0.03, found=ratio(ends, scan)),
        Target(what="longest insert up to 1,000,000", bound=2, found=pick(found, "cpu", grows="memory"), unit="ms"),
        Target(what="gc.collect(), over none", bound=10, found=pick(found, "gc", grows="memory"), unit="ms"),
    ]


def _store_targets(results: Results | None) -> list[Target]:
    million = {"sessions": 1_000_000}
    plain = pick(results, "bytes", store="memory, without users", **million)
    indexed = pick(results, "bytes", store="memory, with users and an order of eviction", **million)

    def share(verb: str) -> Target:
        speeds = (
            pick(results, "per_second", store=store, verb=verb, threads=8) for store in ("memory", "dict under a lock")
        )
        what = f"{verb} from 8 threads: memory / dict under a lock"
        return Target(what=what, bound=0.4, found=ratio(*speeds), at_least=True)

    return [
        Target(what="memory for each session, without users", bound=400, found=plain, unit="B"),
        Target(what="memory for each session, with users and order", bound=500, found=indexed, unit="B"),
        share("load"),
        share("touch"),
    ]


def to_table(found: list[Target]) -> Table:
    """Return the table of all targets, the bound beside the figure."""
    rows = []
    for target in found:
        bound = f"{'at least' if target.at_least else 'at most'} {target.bound:g} {target.unit}".rstrip()
        rows.append([target.what, bound, figure(target.found, target.unit) or NONE, target.verdict])
    return Table(title="What was to be reached", heads=["", "target", "measured", ""], rows=rows)
