"""The breaker: a probe tells an outage from one session's trouble, and no failure stays out of the log."""

import logging
import os
import threading
import time
from collections.abc import Callable

import pytest

from flask_idlesession import MemoryStore
from flask_idlesession import SessionManager
from flask_idlesession import StoreError
from flask_idlesession.model.errors import RecordRejected
from flask_idlesession.model.errors import StoreUnavailable
from flask_idlesession.model.ids import new_session_id
from flask_idlesession.stores import circuit
from flask_idlesession.stores.circuit_breaker import CircuitBreaker
from flask_idlesession.stores.contract import Touch
from flask_idlesession.stores.contract import UnreadableRecord
from flask_idlesession.testing import FakeClock
from flask_idlesession.testing.store_contract import a_record
from flask_idlesession.testing.store_contract import HOLDER
from flask_idlesession.testing.store_contract import NOW


class FailingStore(MemoryStore):
    """A memory store whose reads, writes and creates can be made to fail, and that counts how often it is asked."""

    def __init__(self):
        super().__init__()
        self.fail = {"read": None, "write": None, "create": None}
        self.asked = []

    def _ask(self, verb):
        self.asked.append((verb, threading.current_thread().name))
        what = self.fail[verb]
        if callable(what) and not isinstance(what, type):
            what()
        elif what is not None:
            raise what("nobody answers on port 6379") from ConnectionError("refused")

    def switch_off(self, error=StoreUnavailable):
        self.fail = dict.fromkeys(self.fail, error)

    def switch_on(self):
        self.fail = dict.fromkeys(self.fail)

    def by_callers(self):
        """Return how often a caller came through, and not a probe."""
        return sum("probe" not in name for _, name in self.asked)

    def load(self, sid, *, now, touch=None):
        self._ask("read" if touch is None else "write")
        return super().load(sid, now=now, touch=touch)

    def find(self, *, now, user_id=None):
        self._ask("read")
        yield from super().find(now=now, user_id=user_id)

    def delete(self, sid):
        self._ask("write")
        return super().delete(sid)

    def create(self, record):
        self._ask("create")
        super().create(record)


@pytest.fixture
def clock():
    yield FakeClock()
    for thread in threading.enumerate():
        if "probe" in thread.name:
            thread.join(30)


@pytest.fixture
def store():
    return FailingStore()


@pytest.fixture
def breaker(store, clock):
    return CircuitBreaker(store, clock=clock)


def load(breaker):
    return breaker.load(new_session_id(), now=0.0)


def fail(call: Callable[[], object], *, times=1):
    for _ in range(times):
        with pytest.raises(StoreError):
            call()


def create(breaker):
    return breaker.create(a_record())


def test_a_store_that_works_is_asked_every_time_and_nothing_else(breaker, store):
    for _ in range(10):
        assert load(breaker) is None
    assert len(store.asked) == store.by_callers() == 10


@pytest.mark.parametrize("error", [StoreUnavailable, StoreError])
def test_a_store_that_answers_its_probe_is_no_outage_however_often_one_client_fails(breaker, store, clock, error):
    store.fail["create"] = error
    for _ in range(20):
        fail(lambda: create(breaker))
        assert load(breaker) is None
        assert breaker.delete(new_session_id()) is False
        clock.advance(0.3)
    assert not breaker.is_down and not breaker.refuses_writes


def test_a_store_that_refuses_one_record_is_not_even_probed(breaker, store):
    store.fail["create"] = RecordRejected
    fail(lambda: create(breaker), times=20)
    assert store.by_callers() == len(store.asked) == 20
    assert breaker.failures == 20


def test_a_session_that_is_spoilt_is_no_failure_of_the_store(breaker, store, caplog):
    def spoilt():
        raise UnreadableRecord("damaged", info=a_record().info)

    store.fail["read"] = spoilt
    fail(lambda: load(breaker), times=5)
    assert breaker.failures == 0 and not breaker.is_down and not caplog.records


@pytest.mark.parametrize("error", [StoreUnavailable, StoreError])
def test_one_failure_and_a_probe_without_an_answer_are_an_outage(breaker, store, clock, error):
    store.switch_off(error)
    fail(lambda: load(breaker))
    assert breaker.is_down
    asked = len(store.asked)
    with pytest.raises(StoreUnavailable, match="down, for 0 s now: nobody answers"):
        load(breaker)
    fail(lambda: load(breaker), times=100)
    fail(lambda: create(breaker), times=100)
    assert len(store.asked) == asked


def test_while_it_lasts_a_probe_asks_once_a_second(breaker, store, clock):
    store.switch_off()
    fail(lambda: load(breaker))
    for _ in range(5):
        clock.advance(1.0)
        asked = len(store.asked)
        fail(lambda: load(breaker), times=50)
        assert 0 < len(store.asked) - asked <= circuit._TRIES
    assert store.by_callers() == 1, "A probe waits, and no request."


def test_a_store_that_is_back_is_noticed_within_a_second(breaker, store, clock):
    store.switch_off()
    fail(lambda: load(breaker))
    store.switch_on()
    clock.advance(1.0)
    assert load(breaker) is None
    create(breaker)
    assert not breaker.is_down and breaker.down_for == 0.0


def test_a_store_that_only_reads_is_read_on_and_not_asked_to_write(breaker, store, clock, caplog):
    record = a_record()
    store.create(record)
    store.fail["write"] = StoreUnavailable
    fail(lambda: breaker.load(record.info.sid, now=NOW, touch=Touch(HOLDER)))
    assert breaker.refuses_writes and not breaker.is_down
    asked = len(store.asked)
    fail(lambda: breaker.load(record.info.sid, now=NOW, touch=Touch(HOLDER)), times=9)
    assert len(store.asked) == asked
    assert breaker.load(record.info.sid, now=NOW) == record
    assert [info.sid for info in breaker.find(now=NOW)] == [record.info.sid]
    clock.advance(3)
    store.switch_on()
    assert breaker.delete(record.info.sid)
    assert [each.levelno for each in caplog.records] == [logging.ERROR, logging.WARNING]
    assert "cannot be written: nobody answers on port 6379" in caplog.messages[0] and "3.0 s" in caplog.messages[1]


def test_a_store_that_goes_from_reading_to_nothing_is_told_as_down(breaker, store, caplog):
    store.fail["write"] = StoreUnavailable
    fail(lambda: breaker.delete(new_session_id()))
    store.switch_off()
    fail(lambda: load(breaker))
    assert breaker.is_down
    assert ["cannot be written" in caplog.messages[0], "is down" in caplog.messages[1]] == [True, True]


class Silent:
    """What makes a call hang until it is let go, and then fail."""

    def __init__(self):
        self.let_go = threading.Event()

    def __call__(self):
        self.let_go.wait(30)
        raise StoreUnavailable("no answer within a second")


def test_a_silent_store_makes_one_request_wait_and_no_request_twice(breaker, store):
    silent = Silent()
    store.switch_off(silent)
    threading.Timer(0.3, silent.let_go.set).start()
    fail(lambda: load(breaker))
    store.switch_off(silent := Silent())
    began_at = time.monotonic()
    fail(lambda: load(breaker))
    assert time.monotonic() - began_at < 5, "The request waited for the server, and not for a moment."
    silent.let_go.set()
    assert store.by_callers() == 1


def test_a_store_that_is_only_slow_for_one_client_serves_the_others_after_a_moment(breaker, store):
    store.fail["create"] = silent = Silent()
    slow = threading.Thread(target=lambda: fail(lambda: create(breaker)))
    slow.start()
    for _ in range(5):
        assert load(breaker) is None
    silent.let_go.set()
    slow.join(30)
    for _ in range(5):
        assert load(breaker) is None


def test_a_silent_store_is_probed_by_one_thread(breaker, store):
    store.switch_off(silent := Silent())
    callers = [threading.Thread(target=lambda: fail(lambda: load(breaker))) for _ in range(4)]
    for caller in callers:
        caller.start()
    silent.let_go.set()
    for caller in callers:
        caller.join(30)
    store.switch_off(silent := Silent())
    assert sum("probe" in thread.name for thread in threading.enumerate()) <= 1
    silent.let_go.set()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="There is no fork here.")
def test_a_child_does_not_wait_for_its_parents_probe(breaker, store):
    store.switch_off()
    silent = Silent()
    store.fail["read"] = lambda: silent() if "probe" in threading.current_thread().name else store._fail_at_once()
    store._fail_at_once = lambda: (_ for _ in ()).throw(StoreUnavailable("away"))
    fail(lambda: load(breaker))
    pid = os.fork()
    if pid == 0:  # pragma: no cover
        store.switch_on()
        os._exit(0 if load(breaker) is None else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    silent.let_go.set()


def test_where_no_thread_can_be_started_the_caller_asks(breaker, store, monkeypatch):
    def start(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    store.switch_off()
    fail(lambda: load(breaker))
    assert breaker.is_down


# The log.


def test_an_outage_is_one_line_when_it_begins_and_one_when_it_ends(breaker, store, clock, caplog):
    store.switch_off()
    fail(lambda: load(breaker), times=50)
    clock.advance(7)
    fail(lambda: load(breaker), times=50)
    clock.advance(1)
    store.switch_on()
    load(breaker)
    load(breaker)
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.WARNING]
    assert "nobody answers on port 6379" in caplog.messages[0] and "ConnectionError('refused')" in caplog.messages[0]
    assert "8.0 s" in caplog.messages[1]


@pytest.mark.parametrize("error", [StoreUnavailable, StoreError, RecordRejected])
def test_the_first_failure_is_logged_at_once_with_its_cause_and_then_a_count_a_minute(
    breaker, store, clock, caplog, error
):
    store.fail["create"] = error
    fail(lambda: create(breaker))
    assert len(caplog.records) == 1
    assert "nobody answers on port 6379" in caplog.messages[0] and "ConnectionError('refused')" in caplog.messages[0]
    for _ in range(19):
        clock.advance(1)
        load(breaker)
        fail(lambda: create(breaker))
    assert len(caplog.records) == 1
    clock.advance(41)
    load(breaker)
    assert len(caplog.records) == 2 and " 19 more times" in caplog.messages[1]
    for _ in range(3):
        clock.advance(61)
        load(breaker)
    assert len(caplog.records) == 2
    fail(lambda: create(breaker))
    assert len(caplog.records) == 3 and "nobody answers" in caplog.messages[2]


def test_in_a_long_outage_the_refused_calls_are_counted_once_a_minute(breaker, store, clock, caplog):
    store.switch_off()
    for _ in range(150):
        fail(lambda: load(breaker), times=2)
        clock.advance(1)
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.WARNING, logging.WARNING]
    assert all(" more times" in message for message in caplog.messages[1:])


def test_failures_are_counted_for_a_minute(breaker, store, clock):
    store.fail["create"] = RecordRejected
    for _ in range(10):
        fail(lambda: create(breaker), times=3)
        clock.advance(5)
    assert breaker.failures == 30
    clock.advance(20)
    assert 0 < breaker.failures < 30
    clock.advance(60)
    assert breaker.failures == 0


def test_a_listing_that_fails_counts_although_it_is_lazy(breaker, store):
    manager = SessionManager(store)
    sid = manager.create({"a": 1})
    manager.close()
    assert [info.sid for info in breaker.find(now=manager.now())] == [sid]
    store.switch_off()
    fail(lambda: list(breaker.find(now=manager.now())))
    assert breaker.is_down


def test_a_wrong_argument_is_no_outage(breaker):
    with pytest.raises(AttributeError):
        breaker.load("not an id", now=0.0)
    assert not breaker.is_down
