"""The fair lock: one thread has it at a time, those that wait in the order in which they came, and none is lost."""

import threading
import time
from collections.abc import Callable

import pytest
from support.waiting import wait_until

from flask_idlesession.process.fair_lock import _LONG as LONG
from flask_idlesession.process.fair_lock import _Waiter
from flask_idlesession.process.fair_lock import FairLock

PATIENCE = 30.0


def in_thread(act: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    return thread


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


def that_waits(lock: FairLock) -> _Waiter:
    """Return a thread in the queue that does not run."""
    waiter = _Waiter()
    lock._waiting.append(waiter)
    return waiter


def is_woken(waiter: _Waiter) -> bool:
    return not waiter.turn.locked()


def test_a_lock_that_is_free_is_had_before_a_thread_that_is_just_waking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flask_idlesession.process.fair_lock._LONG", PATIENCE)
    lock = FairLock()
    assert lock.acquire(timeout=0.0)
    first, second = that_waits(lock), that_waits(lock)
    lock.release()
    assert is_woken(first) and not is_woken(second)
    assert lock.acquire(timeout=0.0)
    assert not lock._take(first), "It finds that another one was quicker, and goes on waiting."
    lock.release()
    assert lock._take(first) and not is_woken(second), "Of those that wait it is still the first."
    lock.release()
    assert is_woken(second) and lock._take(second)


def test_a_thread_that_has_waited_for_long_comes_before_those_that_come_now() -> None:
    lock, served = FairLock(), []
    assert lock.acquire(timeout=0.0)
    thread = in_thread(lambda: served.append(lock.acquire(timeout=PATIENCE)))
    wait_until(lambda: len(lock._waiting) == 1)
    time.sleep(2 * LONG)
    lock.release()
    assert not lock.acquire(timeout=0.0), "It was handed over, although its new owner does not run yet."
    thread.join(PATIENCE)
    assert served == [True]


def test_the_next_thread_is_woken_where_the_first_one_leaves_a_free_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flask_idlesession.process.fair_lock._LONG", PATIENCE)
    lock = FairLock()
    assert lock.acquire(timeout=0.0)
    first, second = that_waits(lock), that_waits(lock)
    lock.release()
    assert lock._leave(first)
    assert is_woken(second) and lock._take(second)


def test_a_thread_that_has_waited_long_enough_leaves_the_queue() -> None:
    lock = FairLock()
    assert lock.acquire(timeout=0.0)
    assert not lock.acquire(timeout=0.01)
    lock.release()
    assert lock.acquire(timeout=0.0)


@pytest.mark.parametrize("long", [0.0, PATIENCE])
def test_a_thread_that_is_interrupted_leaves_the_queue(monkeypatch: pytest.MonkeyPatch, long: float) -> None:
    lock_type = threading.Lock

    class Interrupted(BaseException):
        pass

    class Interrupting:
        """A lock whose waiter is interrupted by a signal, before or after it was given its turn."""

        def acquire(self, timeout: float | None = None) -> bool:
            if timeout is None:
                return True
            if hands_over:
                lock.release()
            raise Interrupted

        def locked(self) -> bool:
            return True

        def release(self) -> None:
            pass

    monkeypatch.setattr("flask_idlesession.process.fair_lock._LONG", long)
    for hands_over in (False, True):
        lock = FairLock()
        assert lock.acquire(timeout=0.0)
        monkeypatch.setattr("flask_idlesession.process.fair_lock.threading.Lock", Interrupting)
        with pytest.raises(Interrupted):
            lock.acquire(timeout=PATIENCE)
        monkeypatch.setattr("flask_idlesession.process.fair_lock.threading.Lock", lock_type)
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
