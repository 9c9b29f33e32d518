"""The fair lock: one thread has it at a time, in the order in which they came, and none is lost."""

import threading
import time
from collections.abc import Callable

import pytest

from flask_idlesession.process.fair_lock import FairLock

PATIENCE = 30.0


def in_thread(act: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    return thread


def wait_until(condition: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < give_up_at, "It did not happen in time."
        time.sleep(0.001)


def test_the_threads_that_wait_are_served_in_their_order() -> None:
    lock, served = FairLock(), []
    assert lock.acquire(timeout=0.0)

    def wait(number: int) -> None:
        assert lock.acquire(timeout=PATIENCE)
        served.append(number)
        lock.release()

    threads = []
    for number in range(20):
        threads.append(in_thread(lambda number=number: wait(number)))
        wait_until(lambda number=number: len(lock._waiting) == number + 1)
    lock.release()
    for thread in threads:
        thread.join(PATIENCE)
    assert served == list(range(20))
    assert lock.acquire(timeout=0.0), "It is free again."


def test_a_thread_that_has_waited_long_enough_leaves_the_queue() -> None:
    lock = FairLock()
    assert lock.acquire(timeout=0.0)
    assert not lock.acquire(timeout=0.01)
    lock.release()
    assert lock.acquire(timeout=0.0)


def test_a_thread_that_is_interrupted_leaves_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(BaseException):
        pass

    class Interrupting:
        """A lock whose waiter is interrupted by a signal, before or after it was given its turn."""

        def __init__(self) -> None:
            self.given = 0

        def acquire(self, timeout: float | None = None) -> bool:
            if timeout is None:
                return True
            if hands_over:
                lock.release()
            raise Interrupted

        def release(self) -> None:
            self.given += 1

    for hands_over in (False, True):
        lock = FairLock()
        assert lock.acquire(timeout=0.0)
        monkeypatch.setattr("flask_idlesession.process.fair_lock.threading.Lock", Interrupting)
        with pytest.raises(Interrupted):
            lock.acquire(timeout=PATIENCE)
        monkeypatch.undo()
        if not hands_over:
            lock.release()
        assert lock.acquire(timeout=0.0), hands_over


def test_one_thread_has_it_at_a_time_also_where_some_give_up() -> None:
    lock, inside, worst, taken = FairLock(), [0], [0], [0]

    def work(patience: float) -> None:
        for _ in range(300):
            if lock.acquire(timeout=patience):
                inside[0] += 1
                worst[0] = max(worst[0], inside[0])
                taken[0] += 1
                time.sleep(0)
                inside[0] -= 1
                lock.release()

    threads = [in_thread(lambda patience=patience: work(patience)) for patience in (0.0, 1e-5, 1e-4, 1e-3, PATIENCE)]
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive(), "A thread is stuck."
    assert worst[0] == 1
    assert taken[0] >= 300
    assert lock.acquire(timeout=0.0)
