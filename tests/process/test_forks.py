"""The registry of fork hooks: one order for all, and nobody's failure is another's."""

import os
from typing import Any

import pytest
from sqlalchemy import event

from flask_idlesession import SessionManager
from flask_idlesession.process import forks
from flask_idlesession.process.forks import ForkAware
from flask_idlesession.process.forks import Stage
from flask_idlesession.stores.sqlalchemy import SQLAlchemyStore

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="This system has no fork.")


class Noting(ForkAware):
    __slots__ = ("told", "name", "__weakref__")

    def __init__(self, told: list[str], name: str, stage: Stage) -> None:
        self.told, self.name = told, name
        forks.register(self, stage=stage)

    def before_fork(self) -> None:
        self.told.append(f"before {self.name}")

    def after_fork_in_parent(self) -> None:
        self.told.append(f"parent {self.name}")

    def after_fork_in_child(self) -> None:
        self.told.append(f"child {self.name}")

    def start_in_child(self) -> None:
        self.told.append(f"start {self.name}")


def run_in_child(work: Any) -> bytes:
    """Fork, and return what ``work`` returned in the child."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writing, work())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(pid, 0)
    return answer


def test_stores_rest_before_locks_and_threads_start_after_stores() -> None:
    told: list[str] = []
    items = [
        Noting(told, "thread", Stage.THREADS),
        Noting(told, "lock", Stage.LOCKS),
        Noting(told, "store", Stage.STORES),
    ]
    in_child = run_in_child(lambda: " ".join(told[3:]).encode()).decode()
    assert told[:3] == ["before thread", "before store", "before lock"]
    assert told[3:] == ["parent lock", "parent store", "parent thread"]
    assert in_child == "child lock child store child thread start lock start store start thread" and len(items) == 3


def test_no_thread_starts_before_everything_has_begun_again() -> None:
    told: list[str] = []
    items = [Noting(told, str(number), Stage.THREADS) for number in range(20)]
    in_child = run_in_child(lambda: " ".join(told).encode()).decode()
    assert in_child.index("start") > in_child.rindex("child") and len(items) == 20


def test_one_that_fails_keeps_no_other_from_its_turn(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(Noting):
        __slots__ = ()

        def before_fork(self) -> None:
            raise OSError("no space left")

        after_fork_in_parent = after_fork_in_child = start_in_child = before_fork

    told: list[str] = []
    items = [Failing([], "failing", Stage.STORES), Noting(told, "other", Stage.STORES)]
    assert run_in_child(lambda: " ".join(told[-2:]).encode()) == b"child other start other"
    assert told == ["before other", "parent other"] and len(items) == 2
    assert "around a fork failed" in caplog.text


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_childs_cleaner_never_speaks_on_its_parents_connection(postgresql: Any) -> None:
    store = SQLAlchemyStore.from_url(postgresql.url, table_prefix="forks_")
    opened: list[int] = []
    event.listen(store._connections.engine, "connect", lambda *_: opened.append(os.getpid()))
    with SessionManager(store, idle_timeout=0.05, cleanup_interval=0.05) as manager:
        for _ in range(5):
            manager.create({})

        def wait_for_the_cleaner() -> bytes:
            give_up_at = manager.now() + 10
            while os.getpid() not in opened and manager.now() < give_up_at:
                manager.create({})
            return b"%d" % (os.getpid() in opened)

        assert run_in_child(wait_for_the_cleaner) == b"1"
        sid = manager.create({"a": 1})
        assert manager.read(sid) == {"a": 1}
