"""Workers of one or of two gunicorns that share a store: a log-out is final, and idle sessions end on time, on each."""

import random
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.fleet import a_fleet
from support.fleet import Answer
from support.fleet import Fleet
from support.fleet import Kind
from support.fleet import SERVERS
from support.fleet import SQLITE
from support.fleet import Worker

from flask_idlesession.stores.contract import Store

#: So many sessions are logged out at the same time, each while others of its requests are under way.
_LANES = 3
_RACERS = 5

#: How long a view is under way at most, so that the log-out falls before, into and behind it.
_LONGEST_PAUSE = 0.012

#: By so many seconds may clocks of two processes, and the test's own, be apart.
_JITTER = 0.03


def log_out_often(kind: Kind, folder: Path, rounds: int) -> Counter[str]:
    """Log so many sessions out; return how often another request that had seen the session came too late."""
    met: Counter[str] = Counter()
    with a_fleet(kind, folder) as fleet, ThreadPoolExecutor(_LANES) as lanes:
        fleet.meet(connections=_LANES * 3)

        def lane(number: int) -> Counter[str]:
            chance, mine = random.Random(number), Counter[str]()
            with ThreadPoolExecutor(_RACERS) as pool:
                for _ in range(rounds // _LANES + 1):
                    mine += log_out_in_the_midst(list(fleet.workers.values()), pool, chance)
            return mine

        for each in lanes.map(lane, range(_LANES)):
            met += each
    return met


def log_out_in_the_midst(workers: list[Worker], pool: ThreadPoolExecutor, chance: random.Random) -> Counter[str]:
    """Log in on one worker, write, read and rotate on any, log out on another; see that it was the end."""
    entry, exit_ = chance.sample(workers, 2)
    cookie = entry.ask("/in/ada").token

    def ask(path: str, worker: Worker | None = None) -> Callable[[], Answer]:
        pause, worker = chance.uniform(0, _LONGEST_PAUSE), worker or chance.choice(workers)
        return lambda: worker.ask(f"{path}?pause={pause:.4f}", cookie)

    racers = [ask("/out", exit_), ask("/write/late/1"), ask("/write/later/2"), ask("/read"), ask("/rotate")]
    out, *others = (future.result() for future in [pool.submit(racer) for racer in racers])
    assert out.status == 200 and len(out.cookies) == 1 and "Max-Age=0" in out.cookies[0], out
    *_, rotation = others
    assert [answer.status for answer in others] == [200] * 4, others
    told = [answer.body.split() for answer in others]
    late = [float(done_at) > out.answered_at for done_at, _ in told]
    for answer, is_late in zip(others, late, strict=True):
        assert not answer.cookies or answer is rotation and not is_late, (answer, out)
    for dead in [cookie] + ([rotation.token] if rotation.cookies else []):
        for worker in workers:
            answer = worker.ask("/show", dead)
            assert (answer.status, answer.body.strip(), answer.cookies) == (200, "{}", []), answer
    in_the_midst = [is_late and was_open == "1" for is_late, (_, was_open) in zip(late, told, strict=True)]
    return Counter(
        writes=sum(in_the_midst[:2]), reads=in_the_midst[2], rotations=in_the_midst[3], rotated=len(rotation.cookies)
    )


def test_a_log_out_on_one_worker_is_final_on_all(tmp_path: Path) -> None:
    met = log_out_often(SQLITE, tmp_path, 20)
    assert met["writes"] + met["reads"] > 0, "No log-out came into the midst of a request."


@pytest.mark.soak
@pytest.mark.parametrize("kind", [SQLITE, *SERVERS], ids=lambda kind: kind.name)
def test_a_thousand_log_outs_are_final_on_all_workers(kind: Kind, tmp_path: Path) -> None:
    met = log_out_often(kind, tmp_path, 1000)
    assert min(met[each] for each in ("writes", "reads", "rotations", "rotated")) > 20, met


@pytest.mark.soak
def test_ten_thousand_log_outs_are_final_on_all_workers(tmp_path: Path) -> None:
    met = log_out_often(SQLITE, tmp_path, 10_000)
    assert min(met[each] for each in ("writes", "reads", "rotations", "rotated")) > 200, met


class Visit:
    """One user's session on all gunicorns: used for a while, then left alone until it ends."""

    def __init__(self, fleet: Fleet, store: Store, *, number: int, timeout: float, slack: float) -> None:
        self.fleet, self.store, self.timeout, self.slack = fleet, store, timeout, slack
        self.user = f"user{number}"
        self.turn = number
        self.cookie = ""

    def ask(self, path: str, *, passive: bool = False) -> Answer:
        """Ask the gunicorns in turn."""
        self.turn += 1
        port = self.fleet.ports[self.turn % len(self.fleet.ports)]
        answer = self.fleet.ask(port, path, self.cookie, passive=passive)
        assert answer.status == 200, (answer, self.fleet.log)
        return answer

    def is_kept(self) -> bool:
        """Return whether the store has the session, be it live or not."""
        return any(self.store.find(now=0.0, user_id=self.user))

    def run(self) -> None:
        last = self.ask(f"/in/{self.user}")
        self.cookie = last.token
        for step in range(5):
            # The second touch of two is not written at once where touches are throttled.
            for part in (0.8 if step % 3 == 0 else 0.4, 0.05):
                time.sleep(max(last.sent_at + self.timeout * part - time.monotonic(), 0))
                touch = self.ask("/show")
                if touch.answered_at > last.sent_at + self.timeout:
                    self.run()  # This machine was too busy to keep the session alive.
                    return
                assert self.user in touch.body, ("The session ended early.", last, touch)
                last = touch
        self.watch(last)

    def watch(self, touch: Answer) -> None:
        """See that the session lives up to its end after the last touch, no longer, and is forgotten then."""
        never_before = touch.sent_at + self.timeout - _JITTER
        never_after = touch.answered_at + self.timeout + self.slack + _JITTER
        while time.monotonic() < never_before:
            answer, is_kept = self.ask("/show", passive=True), self.is_kept()
            if time.monotonic() < never_before:
                assert self.user in answer.body and is_kept, "The session ended early."
            time.sleep(0.02)
        time.sleep(max(never_after - time.monotonic(), 0))
        for _ in self.fleet.ports:
            answer = self.ask("/show", passive=True)
            assert answer.body.strip() == "{}" and not answer.cookies, "The session outlived its end."
        while self.is_kept():
            assert time.monotonic() < never_after + 1.0, "The session was not forgotten within a second of its end."
            time.sleep(0.02)


def end_on_time(kind: Kind, folder: Path, *, timeout: float, visits: int, touch_interval: float) -> None:
    config = {"idle_timeout": timeout, "touch_interval": touch_interval}
    with a_fleet(kind, folder, **config) as fleet, fleet.open_store() as store, ThreadPoolExecutor(visits) as pool:

        def visit(number: int) -> None:
            time.sleep(number * timeout / visits)
            Visit(fleet, store, number=number, timeout=timeout, slack=touch_interval).run()

        list(pool.map(visit, range(visits)))


TWO_ON_SQLITE = Kind("sqlite", gunicorns=(2, 2))


def test_an_idle_session_ends_on_time_on_each_gunicorn(tmp_path: Path) -> None:
    end_on_time(TWO_ON_SQLITE, tmp_path, timeout=0.7, visits=2, touch_interval=0.2)


@pytest.mark.soak
@pytest.mark.parametrize("touch_interval", [0.0, 0.5])
@pytest.mark.parametrize("kind", [TWO_ON_SQLITE, *SERVERS], ids=lambda kind: kind.name)
def test_idle_sessions_end_within_a_second_of_due_on_each_gunicorn(
    kind: Kind, tmp_path: Path, touch_interval: float
) -> None:
    end_on_time(kind, tmp_path, timeout=3.0, visits=6, touch_interval=touch_interval)
