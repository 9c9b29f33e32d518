"""Looks for faults of a store: of its file, its server, and how that answers a trial session."""

import time
from collections.abc import Iterator
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..model.errors import StoreError
from ..settings.keys import Settings
from ..stores import path_of
from ..stores.contract import has_clock
from ..stores.contract import has_facts
from ..stores.contract import Store
from ..stores.sqlite.file_systems import file_system_of
from ..stores.sqlite.file_systems import NETWORK_FILE_SYSTEMS
from .probes import innermost
from .probes import probe

#: Seconds that two clocks may differ by, and that a round trip may take, before something is said.
_SKEW, _SLOW = 1.0, 0.05

#: How many processes can write to one SQLite file before more of them add waits and no requests: it is measured, see
#: docs/performance.rst.
_WRITERS = 4

#: The least version of Redis.
_REDIS = (6, 2)

#: Words by which servers refuse what a user may not do.
_REFUSALS = ("noperm", "no permissions", "permission denied", "command denied", "access denied")

_Pairs = Iterator[tuple[str, str]]


def in_files(settings: Settings, config: Mapping[str, Any], *, folder: Path) -> _Pairs:
    """Yield what is wrong with the file of the store or the journal, without opening it."""
    if settings.journal is not None:
        yield from _modes_of(folder / settings.journal)
    store = config.get("IDLESESSION_STORE")
    if isinstance(store, str) and store.lower().startswith("sqlite:"):
        path = folder / path_of(store)
        yield from _modes_of(path)
        found = file_system_of(path.parent)
        if found in NETWORK_FILE_SYSTEMS:
            yield "ISE109", f"The folder {path.parent} is on a network file system ({found})."


def _modes_of(path: Path) -> _Pairs:
    try:
        mode = path.stat().st_mode & 0o777
    except OSError:
        return
    if mode & 0o077:
        yield "ISE107", f"The file {path} has the mode {mode:o}."


def in_store(store: Store, *, now: float, touched_by: int | None) -> _Pairs:
    """Yield what a trial session meets with, and what is wrong with the server.

    ``touched_by`` is the number of processes that store each activity at once; None if activity is stored at intervals.
    """
    began_at = time.perf_counter()
    try:
        result = probe(store, now=now)
    except StoreError as error:
        is_refusal = any(word in str(error).lower() for word in _REFUSALS)
        yield ("ISE108" if is_refusal else "ISE105"), f"The store failed: {error}"
        return
    if result.fault is not None:
        yield "ISE105", f"The store answered a trial session wrongly: {result.fault}."
    if result.latency > _SLOW:
        yield "ISW112", f"A round trip to the store takes {1000 * result.latency:.0f} ms."
    inner = innermost(store)
    facts = facts_of(inner)
    yield from _in_server(facts)
    yield from _in_file(facts)
    if touched_by is not None:
        yield from _in_touches(facts, writers=touched_by)
    took, timed = time.perf_counter() - began_at, has_clock(inner)
    skew = 0.0 if timed is None else timed.clock_skew(now + took)
    if abs(skew) > _SKEW + took:
        yield "ISW111", f"The clock of this host and that of the store's server differ by {abs(skew):.1f} s."


def facts_of(store: Store) -> Mapping[str, object]:
    """Return what the store tells of its server or file; nothing where it cannot."""
    telling = has_facts(store)
    try:
        return {} if telling is None else telling.facts()
    except StoreError:
        return {}


def _in_server(facts: Mapping[str, object]) -> _Pairs:
    policy, version = facts.get("maxmemory_policy"), facts.get("redis_version")
    if policy is not None and policy != "noeviction":
        yield "ISE106", f"The server's maxmemory-policy is {policy}."
    if facts.get("is_persistent") is False:
        yield "ISW109", "The server writes nothing to disk."
    if isinstance(version, str) and tuple(int(part) for part in version.split(".")[:2]) < _REDIS:
        yield "ISW120", f"The server is Redis {version}."
    if "open_at" in facts:
        yield "ISW114", f"The server at {facts['open_at']} asks for no password."
    if facts.get("is_pooled") and facts.get("statement_timeout") == "0":
        yield "ISW115", "A pooler such as PgBouncer is between, and the server has no statement_timeout."


def _in_file(facts: Mapping[str, object]) -> _Pairs:
    mode = facts.get("mode")
    if isinstance(mode, int) and mode & 0o077:
        yield "ISE107", f"The file {facts['path']} has the mode {mode:o}."
    if facts.get("has_wal_fault"):
        yield "ISW110", f"SQLite is {facts['version']}."


def _in_touches(facts: Mapping[str, object], *, writers: int) -> _Pairs:
    if facts.get("waits_for_disk"):
        yield "ISW121", "Each activity is stored at once, and waits until it is on the server's disk."
    elif "has_wal_fault" in facts and writers > _WRITERS:
        yield "ISW121", f"Each activity is stored at once, by {writers} processes in one SQLite file."
