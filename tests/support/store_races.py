"""Sets processes and threads on one store at the same time, and counts what is left."""

import threading
import traceback
from collections.abc import Callable
from collections.abc import Iterator
from functools import cache
from typing import Any
from uuid import UUID
from uuid import uuid4

import pytest
from support.processes import quick_context

from flask_idlesession.model.errors import SessionExists
from flask_idlesession.model.record import Change
from flask_idlesession.model.record import Outcome
from flask_idlesession.model.record import Record
from flask_idlesession.model.record import Rotation
from flask_idlesession.model.record import SessionInfo
from flask_idlesession.stores.contract import Store

NOW = 1_700_000_000.0
HOLDER = b"h" * 32

#: What each process does: (store, its number, how many there are, what else it is told) -> a result.
Work = Callable[..., Any]


def a_record(sid: UUID | None = None, **info: Any) -> Record:
    """A record that expires a minute after NOW."""
    told: dict[str, Any] = {"created_at": NOW, "last_seen_at": NOW, "idle_timeout": 60.0, "lifetime_ends_at": NOW + 9e6}
    return Record(
        info=SessionInfo(sid=uuid4() if sid is None else sid, **told | info),
        secret_digest=HOLDER,
        values={"kept": b"k"},
    )


def in_processes(
    opener: Callable[[str], Store] | None, spec: str, works: list[tuple[Work, tuple[Any, ...]]]
) -> list[Any]:
    """Run each work in a process of its own, all at once when each has opened the store; return what they return."""
    crew = [each for each, _ in zip(_crew(), works, strict=False)]
    for number, (pipe, (work, told)) in enumerate(zip(crew, works, strict=True)):
        pipe.send((opener, spec, number, work, told))
    assert _answers(crew) == [None] * len(crew)
    for pipe in crew:
        pipe.send("go")
    return _answers(crew)


def _answers(crew: list[Any]) -> list[Any]:
    for pipe in crew:
        assert pipe.poll(120), "A process does not answer."
    answers = [pipe.recv() for pipe in crew]
    failures = [answer for answer in answers if isinstance(answer, Failure)]
    assert not failures, "\n".join(map(str, failures))
    return answers


@cache
def _crew() -> list[Any]:
    """Return pipes to eight processes, which are started once and end with this one."""
    context = quick_context()
    pipes = []
    for _ in range(8):
        ours, theirs = context.Pipe()
        context.Process(target=_serve, args=(theirs,), daemon=True).start()
        pipes.append(ours)
    return pipes


class Failure(str):
    """The traceback of a process that failed."""


def _serve(pipe: Any) -> None:
    while True:
        opener, spec, number, work, told = pipe.recv()
        try:
            store = spec if opener is None else opener(spec)
            pipe.send(None)
            pipe.recv()
            result = work(store, number, *told)
            if opener is not None:
                store.close()
            pipe.send(result)
        except BaseException:
            pipe.send(Failure(traceback.format_exc()))


def in_threads(works: list[Callable[[], Any]]) -> None:
    """Run the works in threads, all from one barrier on; raise what one of them raised."""
    barrier, errors = threading.Barrier(len(works)), []

    def run(work: Callable[[], Any]) -> None:
        barrier.wait(30)
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    if errors:
        raise errors[0]


def write_keys(store: Store, number: int, sid: UUID, count: int) -> None:
    for index in range(count):
        change = Change(holder=HOLDER, last_seen_at=NOW + index, delta={f"{number}.{index}": b"%d" % index})
        assert store.commit(sid, change, now=NOW + index) is Outcome.DONE


def add_up(store: Store, number: int, sid: UUID, count: int) -> int:
    """Add one, ``count`` times; return how many tries that took."""
    tries = 0
    for _ in range(count):
        while True:
            tries += 1
            record = store.load(sid, now=NOW)
            assert record is not None
            before = record.values.get("sum")
            after = b"%d" % (int(before or b"0") + 1)
            change = Change(holder=HOLDER, delta={"sum": after}, expect={"sum": before})
            if store.commit(sid, change, now=NOW) is Outcome.DONE:
                break
    return tries


def change_all(store: Store, number: int, sids: list[UUID]) -> int:
    """Change each session until it is gone; return how many commits came through."""
    done = 0
    for sid in sids:
        for tries in range(10_000):
            change = (
                Change(holder=HOLDER, last_seen_at=NOW + tries / 100),
                Change(holder=HOLDER, last_seen_at=NOW, delta={"a": b"%d" % tries}),
                Change(holder=HOLDER, rotation=Rotation(secret_digest=HOLDER, user_id=f"u{tries}")),
            )[(tries + number) % 3]
            if store.commit(sid, change, now=NOW) is Outcome.GONE:
                break
            done += 1
        else:
            raise AssertionError(f"{sid} was never deleted.")
    return done


def delete_all(store: Store, number: int, sids: list[UUID]) -> None:
    """Delete each session, from when on others have begun to change them."""
    while store.load(sids[0], now=NOW) == a_record(sids[0]):
        pass
    for sid in sids:
        assert store.delete(sid), "It was deleted by nobody else."
        assert store.load(sid, now=NOW) is None, "A deleted session is back."


def prune_all(store: Store, number: int, now: float) -> list[UUID]:
    gone: list[UUID] = []
    while ended := store.prune(now=now, limit=7):
        assert len(ended) <= 7
        gone += [info.sid for info in ended]
    return gone


def create_each(store: Store, number: int, sids: list[UUID]) -> int:
    created = 0
    for sid in sids:
        try:
            store.create(a_record(sid))
        except SessionExists:
            continue
        created += 1
    return created


class StoreRaces:
    """What must be true of every store that processes share: a test class inherits it and says how to open one."""

    #: Opens the store that a string names, in any process.
    opener: Callable[[str], Store]
    rounds = 300
    writes = 25
    additions = 40

    @pytest.fixture
    def spec(self) -> str:
        raise NotImplementedError

    @pytest.fixture
    def store(self, spec: str) -> Iterator[Store]:
        store = type(self).opener(spec)
        yield store
        store.close()

    def race(self, spec: str, works: list[tuple[Work, tuple[Any, ...]]]) -> list[Any]:
        return in_processes(type(self).opener, spec, works)

    def test_eight_processes_that_write_different_keys_all_keep_them(self, store: Store, spec: str) -> None:
        record = a_record()
        store.create(record)
        self.race(spec, [(write_keys, (record.info.sid, self.writes))] * 8)
        left = store.load(record.info.sid, now=NOW + self.writes)
        assert left is not None
        assert left.values == {"kept": b"k"} | {f"{p}.{i}": b"%d" % i for p in range(8) for i in range(self.writes)}
        assert left.info.last_seen_at == NOW + self.writes - 1

    def test_a_counter_with_expect_is_exact_over_processes(self, store: Store, spec: str) -> None:
        record = a_record()
        store.create(record)
        tries = self.race(spec, [(add_up, (record.info.sid, self.additions))] * 8)
        left = store.load(record.info.sid, now=NOW)
        assert left is not None and left.values["sum"] == b"%d" % (8 * self.additions)
        assert sum(tries) >= 8 * self.additions

    def test_a_commit_never_brings_back_a_session_that_another_process_deletes(self, store: Store, spec: str) -> None:
        records = [a_record() for _ in range(self.rounds)]
        for record in records:
            store.create(record)
        sids = [record.info.sid for record in records]
        _, *done = self.race(
            spec, [(delete_all, (sids,)), (change_all, (sids,)), (change_all, (sids,)), (change_all, (sids,))]
        )
        assert list(store.find(now=NOW)) == []
        assert all(store.load(sid, now=NOW) is None for sid in sids)
        assert sum(done) > 0, "The processes did not meet."

    def test_an_expired_session_is_returned_by_one_prune_of_all_processes(self, store: Store, spec: str) -> None:
        expired, live = [a_record() for _ in range(400)], [a_record(idle_timeout=6000.0) for _ in range(20)]
        for record in expired + live:
            store.create(record)
        touched = {record.info.sid for record in expired[:50]}
        for sid in touched:
            store.commit(sid, Change(holder=HOLDER, last_seen_at=NOW + 30), now=NOW + 30)
        gone = [sid for each in self.race(spec, [(prune_all, (NOW + 75,))] * 4) for sid in each]
        assert sorted(gone) == sorted({record.info.sid for record in expired} - touched)
        assert {info.sid for info in store.find(now=NOW)} == touched | {record.info.sid for record in live}

    def test_of_eight_processes_that_create_one_session_one_does(self, store: Store, spec: str) -> None:
        sids = [uuid4() for _ in range(40)]
        assert sum(self.race(spec, [(create_each, (sids,))] * 8)) == 40

    def test_threads_that_share_a_store_lose_nothing(self, store: Store) -> None:
        record = a_record()
        store.create(record)
        sid = record.info.sid
        in_threads(
            [lambda number=number: write_keys(store, number, sid, 10) for number in range(4)]
            + [lambda: add_up(store, 0, sid, 10)] * 4
        )
        left = store.load(sid, now=NOW)
        assert left is not None and left.values["sum"] == b"40" and len(left.values) == 42
