"""Log-ins of one user go on one at a time, in the order in which they came to their process, and leave nothing."""

import os
import threading
import time
from collections.abc import Iterator

import pytest

from flask_idlesession import SessionManager
from flask_idlesession.sessions.turns import Turns


@pytest.fixture
def turns() -> Iterator[Turns]:
    with SessionManager() as manager:
        yield manager.revocation.turns


def wait_for_queue(turns: Turns, number: int) -> None:
    give_up_at = time.monotonic() + 30
    while turns._queues["ada"][1] < number:
        assert time.monotonic() < give_up_at
        time.sleep(0.001)


def test_threads_have_their_turns_in_the_order_in_which_they_came(turns: Turns) -> None:
    order: list[int] = []

    def log_in(number: int) -> None:
        with turns.of("ada"):
            order.append(number)

    threads = [threading.Thread(target=log_in, args=(number,)) for number in range(8)]
    with turns.of("ada"):
        for number, thread in enumerate(threads):
            thread.start()
            wait_for_queue(turns, number + 2)
        with turns.of("bob"):  # Another user's turn is another one.
            assert order == []
    for thread in threads:
        thread.join(30)
    assert order == list(range(8))
    assert turns._queues == {} and turns._store.next_expiry() is None


def test_a_child_waits_for_no_thread_of_its_parent(turns: Turns) -> None:
    done = threading.Event()

    def hold() -> None:
        with turns.of("ada"):
            done.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    wait_for_queue(turns, 1)
    pid = os.fork()
    if not pid:
        with turns._queue("ada", until=time.monotonic() + 1):
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    done.set()
    thread.join(30)


def test_a_log_in_that_fails_gives_its_turn_back(turns: Turns) -> None:
    with pytest.raises(ZeroDivisionError), turns.of("ada"):
        raise ZeroDivisionError
    began = time.monotonic()
    with turns.of("ada"):
        assert time.monotonic() - began < 2
