"""The tallies agree with what all workers did, to the unit: each event is counted once, whichever worker saw it."""

import os
import random
import signal
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.fleet import a_fleet
from support.fleet import Fleet
from support.fleet import Kind
from support.fleet import SERVERS
from support.fleet import SQLITE

from flask_idlesession.stores.contract import keeps_tallies
from flask_idlesession.stores.contract import Store

#: Seconds after which all workers have added what they counted.
_ADDED = 12.0

#: How many sessions end in each way.
_EACH = 10

#: Seconds without activity after which they end: no machine is so slow that one ends before its log-out comes.
_IDLE = 3.0

_REDIS = next(kind for kind in SERVERS if kind.name == "redis")


def totals_in(store: Store) -> Mapping[str, int]:
    kept = keeps_tallies(store)
    assert kept is not None
    return kept.tally_totals()


def live(fleet: Fleet, chance: random.Random) -> None:
    """Begin sessions on any worker, and end them on any other: by log-out, from outside, and by leaving them alone."""
    workers = list(fleet.workers.values())

    def one(number: int) -> None:
        cookie = chance.choice(workers).ask(f"/in/user-{number}").token
        if number < _EACH:
            assert chance.choice(workers).ask("/out", cookie).status == 200
        elif number < 2 * _EACH:
            assert chance.choice(workers).ask(f"/revoke/user-{number}").body == "1"
        else:
            time.sleep(_IDLE)  # Its end is the same for all workers, each of which looks for it and is asked about it.
            for worker in workers:
                worker.ask("/show", cookie, passive=True)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(3 * _EACH)))
    for number in range(7):
        chance.choice(workers).ask("/show", f"session=garbage-{number}")


def await_totals(store: Store, expected: Mapping[str, int]) -> None:
    """Wait until the sessions have ended, and then until the tallies are those, for as long as they may take.

    It is an error if they ever have more.
    """
    while any(store.find(now=0.0)):
        time.sleep(0.05)
    give_up_at = time.monotonic() + _ADDED
    while True:
        totals = totals_in(store)
        found = {name: totals.get(name, 0) for name in expected}
        assert all(found[name] <= expected[name] for name in expected), found
        if found == expected:
            return
        assert time.monotonic() < give_up_at, {name: found[name] - expected[name] for name in expected}
        time.sleep(0.2)


@pytest.mark.parametrize(
    "kind",
    [SQLITE, _REDIS, *(pytest.param(kind, marks=pytest.mark.soak) for kind in SERVERS if kind is not _REDIS)],
    ids=lambda kind: kind.name,
)
def test_the_tallies_agree_with_four_workers_to_the_unit_after_twelve_seconds(kind: Kind, tmp_path: Path) -> None:
    with a_fleet(kind, tmp_path, idle_timeout=_IDLE, tallies=True) as fleet, fleet.open_store() as store:
        fleet.meet(connections=3)
        live(fleet, random.Random(1))
        expected = {
            "created": 3 * _EACH,
            "log_ins": 3 * _EACH,
            "ended.logged-out": _EACH,
            "ended.revoked": _EACH,
            "ended.idle": _EACH,
            "ended.lifetime": 0,
            "bad_tokens": 7,
            "requests.enter": 3 * _EACH,
            "requests.show": 4 * _EACH + 7,
        }
        await_totals(store, expected)
        lose_one(fleet)
        del expected["ended.idle"]  # The others find the ends of its sessions, within a minute.
        time.sleep(1.0)
        totals = totals_in(store)
        assert {name: totals.get(name, 0) for name in expected} == expected, "It loses its last seconds, and no more."


def lose_one(fleet: Fleet) -> None:
    """Begin four sessions on one worker, and kill it at once: it loses the last seconds of what it counted."""
    pid, worker = next(iter(fleet.workers.items()))
    for number in range(4):
        assert worker.ask(f"/in/lost-{number}").status == 200
    os.kill(pid, signal.SIGKILL)
    while not worker.connections.empty():
        worker.connections.get().close()
    del fleet.workers[pid]


def test_a_worker_that_is_stopped_adds_what_it_counted(tmp_path: Path) -> None:
    with a_fleet(SQLITE, tmp_path, tallies=True) as fleet:
        fleet.meet(connections=1)
        for number, worker in enumerate(fleet.workers.values()):
            assert worker.ask(f"/in/user-{number}").status == 200
    with fleet.open_store() as store:
        totals = totals_in(store)
    assert totals["created"] == totals["requests.enter"] == 4
    assert totals["requests.pid"] >= 4
