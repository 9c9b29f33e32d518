"""Requests, the cleaner and time meet in orders that a seed decides: what holds in each of them."""

import os
from collections import Counter
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from support.requests import requests_of
from support.scheduler import ScheduledLock
from support.scheduler import Scheduler
from support.scheduler import Stuck
from support.scheduler import WatchedStore

from flask_idlesession import EndReason
from flask_idlesession import MemoryStore
from flask_idlesession import Outcome
from flask_idlesession import Policy
from flask_idlesession import Record
from flask_idlesession import Session
from flask_idlesession import session_created
from flask_idlesession import session_ended
from flask_idlesession import session_rotated
from flask_idlesession import SessionExists
from flask_idlesession import SessionManager
from flask_idlesession import SessionNotFound
from flask_idlesession import Touch
from flask_idlesession import Traits
from flask_idlesession.model.ids import Credential
from flask_idlesession.sessions import locking as concurrency
from flask_idlesession.sessions import manager as manager_module
from flask_idlesession.sessions import pruning as pruner
from flask_idlesession.sessions.facts import Saved

#: To run one seed alone: SCHEDULER_SEED=17 pytest tests/system/test_scheduler.py
_SEEDS = [int(os.environ["SCHEDULER_SEED"])] if "SCHEDULER_SEED" in os.environ else list(range(60))

View = Callable[[Session], object]


class Scene:
    """One run of requests of one session, which is there already, on a memory store."""

    def __init__(
        self,
        seed: int,
        *,
        spoil: Callable[[Any, Scheduler], Any] | None = None,
        max_sessions: int | None = None,
        policy: Policy | None = None,
    ) -> None:
        self.scheduler = scheduler = Scheduler(seed)
        self.memory = MemoryStore(lock=scheduler.lock(), max_sessions=max_sessions, max_bytes=None)
        store = WatchedStore(self.memory, scheduler)
        self.manager = SessionManager(
            store if spoil is None else spoil(store, scheduler),
            clock=scheduler.clock,
            policy=policy or Policy(idle_timeout=10.0, lifetime=100.0, rotation_grace=5.0),
        )
        self.created: list[UUID] = []
        self.rotated: list[UUID] = []
        self.ended: list[tuple[UUID, EndReason]] = []
        self.saved: dict[str, Saved] = {}
        self.claims: dict[str, Credential | None] = {}
        self._receivers = (self._note_created, self._note_rotated, self._note_ended)
        session_created.connect(self._receivers[0], self.manager)
        session_rotated.connect(self._receivers[1], self.manager)
        session_ended.connect(self._receivers[2], self.manager)
        self.serve("first", None, lambda session: session.update(kept=1, count=0))
        first = self.claims["first"]
        assert first is not None
        self.credential = first
        self.sid = first.sid

    def _note_created(self, sender: object, info: Any) -> None:
        self.created.append(info.sid)

    def _note_rotated(self, sender: object, info: Any) -> None:
        self.rotated.append(info.sid)

    def _note_ended(self, sender: object, info: Any, reason: EndReason) -> None:
        self.ended.append((info.sid, reason))

    def serve(self, name: str, credential: Credential | None, view: View, *, active: bool = True) -> None:
        """Do what the interface does for a request."""
        session = requests_of(self.manager).open(credential)
        if active and credential is not None:
            requests_of(self.manager).note_arrival(session)
        try:
            view(session)
        except SessionNotFound:
            self.scheduler.trace.append(f"{name}: the session had ended")
        self.saved[name] = requests_of(self.manager).save(session, active=active)
        self.claims[name] = session._facts.credential

    def request(self, name: str, view: View, *, active: bool = True, credential: Credential | None = None) -> None:
        self.scheduler.spawn(name, lambda: self.serve(name, credential or self.credential, view, active=active))

    def create(self, *names: str) -> None:
        """Have each of them begin a session that holds its name."""
        for name in names:
            self.scheduler.spawn(name, lambda name=name: self.serve(name, None, lambda s: s.update(name=name)))

    def passes(self, count: int = 3) -> None:
        """Let the cleaner go round beside the requests."""

        def clean() -> None:
            for _ in range(count):
                self.manager.lifecycle.pruner.run()

        self.scheduler.spawn("cleaner", clean)

    def run(self) -> None:
        try:
            self.scheduler.run()
        except SessionNotFound as error:
            raise AssertionError(str(error)) from error

    def values(self) -> dict[str, Any]:
        try:
            return self.manager.read(self.sid)
        except SessionNotFound:
            return {}

    def check(self, holds: object, message: str) -> None:
        assert holds, f"{message}\n{self.saved}\n{self.ended}\n{self.scheduler.tell()}"

    def check_ends(self) -> None:
        """Whatever happened: when all has expired, each session that was created was ended once."""
        self.scheduler.now += 1_000
        self.manager.prune()
        ended = Counter(sid for sid, _ in self.ended)
        self.check(ended == Counter(set(self.created)), "each session ends once")
        self.check(len(self.memory) == 0, "nothing is left")

    def reasons(self) -> list[EndReason]:
        return [reason for sid, reason in self.ended if sid == self.sid]


@contextmanager
def stage(scheduler: Scheduler) -> Iterator[None]:
    with scheduler.patched(concurrency, pruner):
        yield


@pytest.fixture(autouse=True)
def _no_cleaner_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scheduler's threads are the only ones."""
    nothing = lambda *_, **__: None  # noqa: E731
    idle = SimpleNamespace(register=nothing, unregister=nothing, wake=nothing, is_running=True, thread=object())
    monkeypatch.setattr(pruner, "cleaner", idle)


# The scenes: each is given a seed, and perhaps a fault to spoil the store with.

Spoil = Callable[[Any, Scheduler], Any] | None


def log_out_is_final(seed: int, spoil: Spoil = None) -> Scene:
    scene = Scene(seed, spoil=spoil)
    scene.request("log-out", lambda session: session.clear())
    scene.request("writer", lambda session: session.__setitem__("a", 1))
    scene.request("reader", lambda session: session.get("kept"))
    scene.request("poll", lambda session: session.get("kept"), active=False)
    scene.request("rotation", lambda session: session.rotate())
    scene.request("counter", lambda session: session.modify("count", lambda n: n + 1, default=0))
    scene.passes()
    with stage(scene.scheduler):
        scene.run()
        scene.check(scene.memory.load(scene.sid, now=scene.scheduler.now) is None, "the session is over")
        for name, credential in scene.claims.items():
            is_dead = (
                credential is None
                or credential.sid != scene.sid
                or requests_of(scene.manager).reload(credential) is None
            )
            scene.check(is_dead, f"the token of {name} is dead")
            is_own = name == "log-out" or scene.saved[name] is not Saved.ENDED
            scene.check(is_own, f"{name} takes no cookie away")
        scene.check(scene.reasons() == [EndReason.LOGGED_OUT], "the log-out is told")
        scene.check_ends()
    return scene


def two_log_outs_are_one(seed: int, spoil: Spoil = None) -> Scene:
    scene = Scene(seed, spoil=spoil)
    for name in ("log-out", "another"):
        scene.request(name, lambda session: session.clear())
    scene.scheduler.spawn("administrator", lambda: _try_to_revoke(scene))
    with stage(scene.scheduler):
        scene.run()
        scene.check(len(scene.reasons()) == 1, "it ended once")
        scene.check_ends()
    return scene


def _try_to_revoke(scene: Scene) -> None:
    try:
        scene.manager.remove(scene.sid)
    except SessionNotFound:
        scene.scheduler.trace.append("administrator: came too late")


def expiry_is_told_once(seed: int, spoil: Spoil = None) -> Scene:
    scene = Scene(seed, spoil=spoil)
    scene.request("reader", lambda session: session.get("kept"))
    scene.request("writer", lambda session: session.__setitem__("a", 1))
    scene.request("log-out", lambda session: session.clear())
    scene.scheduler.spawn("time", lambda: [scene.scheduler.advance(4.0) for _ in range(4)])
    scene.passes()
    scene.scheduler.spawn("cleaner of another worker", lambda: scene.manager.prune())
    with stage(scene.scheduler):
        scene.run()
        scene.check_ends()
    return scene


def who_came_in_time_is_served(seed: int, spoil: Spoil = None) -> Scene:
    """A session that was live when its user came does not expire under a slow view."""
    scene = Scene(seed, spoil=spoil)
    scene.scheduler.now += 9.0

    def slow(session: Session) -> None:
        was_there = not session.new
        scene.scheduler.sleep(7.0)
        session["a"] = 1
        scene.scheduler.trace.append(f"slow: {was_there}")

    scene.request("slow", slow)
    scene.passes(5)
    with stage(scene.scheduler):
        scene.run()
        was_there = "slow: True" in scene.scheduler.trace
        scene.check(not was_there or scene.values().get("a") == 1, "what it wrote is there")
        scene.check_ends()
    return scene


def eviction_is_told_once(seed: int, spoil: Spoil = None) -> Scene:
    scene = Scene(seed, spoil=spoil, max_sessions=2)
    scene.create("one", "two", "three")
    scene.request("log-out", lambda session: session.clear())
    scene.request("writer", lambda session: session.modify("count", lambda n: n + 1, default=0))
    scene.passes()
    with stage(scene.scheduler):
        scene.run()
        scene.check(len(scene.memory) <= 2, "the bound holds")
        scene.check_ends()
    return scene


def one_rotation_wins(seed: int, spoil: Spoil = None) -> Scene:
    scene = Scene(seed, spoil=spoil)

    def rotate(session: Session, name: str) -> None:
        session[name] = 1
        session.rotate()

    names = ("one", "two", "three")
    for name in names:
        scene.request(name, lambda session, name=name: rotate(session, name))
    scene.request("writer", lambda session: session.__setitem__("a", 1))
    with stage(scene.scheduler):
        scene.run()
        winners = [name for name in names if scene.saved[name] is Saved.ISSUED]
        scene.check(len(winners) == 1 and scene.rotated == [scene.sid], "one rotation wins")
        others = {scene.saved[name] for name in (*names, "writer") if name not in winners}
        scene.check(others == {Saved.KEPT}, "the others say nothing of a cookie")
        scene.check(scene.values() == dict.fromkeys((*names, "kept", "a"), 1) | {"count": 0}, "every write is kept")
        winner = scene.claims[winners[0]]
        scene.check(winner is not None and requests_of(scene.manager).reload(winner) is not None, "its token opens")
        scene.scheduler.now += 5.0
        scene.check(
            requests_of(scene.manager).reload(scene.credential) is None, "the old token is dead after the grace"
        )
        scene.check_ends()
    return scene


def log_in_is_final(seed: int, spoil: Spoil = None) -> Scene:
    scene = Scene(seed, spoil=spoil)
    for name in ("log-in", "another"):
        scene.request(name, lambda session, name=name: session._log_in(name))
    scene.request("writer", lambda session: session.__setitem__("a", 1))
    scene.request("rotation", lambda session: session.rotate())
    with stage(scene.scheduler):
        scene.run()
        live = {
            name
            for name, credential in scene.claims.items()
            if name != "first" and credential is not None and requests_of(scene.manager).reload(credential) is not None
        }
        scene.check(
            requests_of(scene.manager).reload(scene.credential) is None,
            "the token from before the log-in is dead",
        )
        bound = [info.user_id for info in scene.manager.find() if info.sid == scene.sid]
        scene.check(len(bound) == 1 and bound[0] in live, f"who is bound ({bound}) has the token that opens ({live})")
        # One that came with the dead token (and not only finished with it) wrote to a session of its own.
        is_written = "a" in scene.values()
        scene.check(is_written is (scene.saved["writer"] is Saved.KEPT), "what was dropped is told to be")
        scene.check_ends()
    return scene


def nothing_is_counted_twice(seed: int, spoil: Spoil = None) -> Scene:
    scene = Scene(seed, spoil=spoil)

    def alone(session: Session) -> None:
        with session.exclusive(timeout=60.0):
            count = session.get("total", 0)
            scene.scheduler.switch("in the block")
            session["total"] = count + 1

    names = ("one", "two", "three")
    for name in names:
        scene.request(name, lambda session, name=name: session.update({name: 1}))
        scene.request(f"count {name}", lambda session: session.modify("count", lambda n: n + 1))
        scene.request(f"alone {name}", alone)
    with stage(scene.scheduler):
        scene.run()
        expected = dict.fromkeys((*names, "kept"), 1) | {"count": 3, "total": 3}
        scene.check(scene.values() == expected, f"it holds {scene.values()}")
        scene.check_ends()
    return scene


SCENES = (
    log_out_is_final,
    two_log_outs_are_one,
    expiry_is_told_once,
    who_came_in_time_is_served,
    eviction_is_told_once,
    one_rotation_wins,
    log_in_is_final,
    nothing_is_counted_twice,
)


@pytest.mark.parametrize("play", SCENES)
def test_it_holds_in_every_order(play: Callable[[int], Scene]) -> None:
    for seed in _SEEDS:
        play(seed)


@pytest.mark.soak
@pytest.mark.parametrize("play", SCENES)
def test_it_holds_in_thousands_of_orders(play: Callable[[int], Scene]) -> None:
    for seed in range(1_000, 6_000):
        play(seed)


def test_of_two_creations_with_one_id_the_second_takes_another() -> None:
    for seed in _SEEDS:
        scene = Scene(seed)
        same = Credential.new()
        scene.create("one", "two")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(manager_module.Credential, "new", lambda same=same: Credential(same.sid, os.urandom(32)))
            scene.run()
        sids = {credential.sid for name in ("one", "two") if (credential := scene.claims[name]) is not None}
        scene.check(len(sids) == 2 and same.sid in sids, "two sessions, one of them under the id")
        for name in ("one", "two"):
            credential = scene.claims[name]
            record = None if credential is None else requests_of(scene.manager).reload(credential)
            scene.check(record and record.values["name"] == scene.manager.codec.encode(name), "each has its own")


# The scheduler itself.


def test_the_same_seed_gives_the_same_run() -> None:
    for play in (log_out_is_final, nothing_is_counted_twice):
        assert play(7).scheduler.trace == play(7).scheduler.trace
        assert play(7).scheduler.trace != play(8).scheduler.trace


def test_a_failing_run_says_its_seed() -> None:
    scheduler = Scheduler(31)
    scheduler.spawn("wrong", lambda: scheduler.switch("before") or {}["missing"])
    with pytest.raises(KeyError) as caught:
        scheduler.run()
    assert "seed is 31" in caught.value.__notes__[0] and "wrong: before" in caught.value.__notes__[0]


def test_threads_that_wait_for_each_other_are_found() -> None:
    scheduler = Scheduler(1)
    one, other = scheduler.lock(), scheduler.lock()

    def take(first: ScheduledLock, second: ScheduledLock) -> None:
        with first:
            scheduler.wait_until(lambda: one._is_held and other._is_held, "both are taken")
            with second:
                pass

    scheduler.spawn("here", lambda: take(one, other))
    scheduler.spawn("there", lambda: take(other, one))
    with pytest.raises(Stuck, match="here.*there"):
        scheduler.run()


# The planted faults: stores that do in several steps what must be one, or do something else.


class Spoiled:
    def __init__(self, store: Any, scheduler: Scheduler) -> None:
        self.store = store
        self.scheduler = scheduler

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


class Revives(Spoiled):
    """An upsert: writes the record although it was ended meanwhile."""

    def commit(self, sid: UUID, change: Any, *, now: float) -> Outcome:
        record = self.store.load(sid, now=now)
        outcome = self.store.commit(sid, change, now=now)
        if outcome is Outcome.GONE and record is not None and record.opens_to(change.holder, now=now):
            with suppress(SessionExists):
                self.store.create(record.apply(change, now=now))
            return Outcome.DONE
        return outcome


class WritesAll(Spoiled):
    """Writes every key as it was when the record was read."""

    def commit(self, sid: UUID, change: Any, *, now: float) -> Outcome:
        record: Record | None = self.store.load(sid, now=now)
        if record is not None and change.delta:
            change = replace(change, delta={**record.values, **change.delta})
        return self.store.commit(sid, change, now=now)


class ForgetsToCompare(Spoiled):
    def commit(self, sid: UUID, change: Any, *, now: float) -> Outcome:
        return self.store.commit(sid, replace(change, expect={}), now=now)


class DeletesTwice(Spoiled):
    def delete(self, sid: UUID) -> bool:
        was_there = self.store.load(sid, now=0.0) is not None
        return self.store.delete(sid) or was_there


class PrunesTwice(Spoiled):
    """Hands over what another thread is about to hand over."""

    def __init__(self, store: Any, scheduler: Scheduler) -> None:
        super().__init__(store, scheduler)
        self._ended: list[Any] = []

    def prune(self, *, now: float, limit: int) -> list[Any]:
        self._ended += self.store.prune(now=now, limit=limit)
        ended = list(self._ended)
        self.scheduler.switch("prunes twice")
        self._ended.clear()
        return ended


class PrunesSilently(Spoiled):
    def prune(self, *, now: float, limit: int) -> list[Any]:
        return self.store.prune(now=now, limit=limit)[1:]


class RotatesTwice(Spoiled):
    """Lets everybody rotate who has read the old secret."""

    def commit(self, sid: UUID, change: Any, *, now: float) -> Outcome:
        outcome = self.store.commit(sid, change, now=now)
        if outcome is Outcome.CONFLICT and change.rotation is not None:
            holder = self.store.load(sid, now=now).secret_digest
            return self.store.commit(sid, replace(change, holder=holder), now=now)
        return outcome


class KeepsTheOldSecret(Spoiled):
    """A log-in leaves the token before it a grace."""

    def commit(self, sid: UUID, change: Any, *, now: float) -> Outcome:
        if change.rotation is not None and change.rotation.grace_ends_at is None:
            change = replace(change, rotation=replace(change.rotation, grace_ends_at=now + 50.0))
        return self.store.commit(sid, change, now=now)


class NeverForgetsTheFormer(Spoiled):
    def commit(self, sid: UUID, change: Any, *, now: float) -> Outcome:
        if change.rotation is not None and change.rotation.grace_ends_at is not None:
            change = replace(change, rotation=replace(change.rotation, grace_ends_at=now + 1e9))
        return self.store.commit(sid, change, now=now)


class TouchesLate(Spoiled):
    """Loses a touch that comes alone."""

    def commit(self, sid: UUID, change: Any, *, now: float) -> Outcome:
        return Outcome.DONE if change.is_touch else self.store.commit(sid, change, now=now)

    def load(self, sid: UUID, *, now: float, touch: Touch | None = None) -> Record | None:
        record = self.store.load(sid, now=now)
        return record if record is not None and (touch is None or record.opens_to(touch.holder, now=now)) else None

    @property
    def traits(self) -> Traits:
        return replace(self.store.traits, in_process=False)


FAULTS = {
    Revives: log_out_is_final,
    WritesAll: nothing_is_counted_twice,
    ForgetsToCompare: nothing_is_counted_twice,
    DeletesTwice: two_log_outs_are_one,
    PrunesTwice: expiry_is_told_once,
    PrunesSilently: expiry_is_told_once,
    RotatesTwice: one_rotation_wins,
    KeepsTheOldSecret: log_in_is_final,
    NeverForgetsTheFormer: one_rotation_wins,
    TouchesLate: who_came_in_time_is_served,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault: type[Spoiled]) -> None:
    def search() -> None:
        for seed in range(500):
            FAULTS[fault](seed, fault)

    with pytest.raises(AssertionError, match="seed is"):
        search()
