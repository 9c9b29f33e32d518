"""The breaker: an outage costs microseconds a request, is logged once, and ends by itself."""

import logging

import pytest

from flask_idlesession import MemoryStore
from flask_idlesession import SessionManager
from flask_idlesession import StoreError
from flask_idlesession.model.ids import new_session_id
from flask_idlesession.stores.circuit_breaker import CircuitBreaker
from flask_idlesession.testing import FakeClock


class FailingStore(MemoryStore):
    """A memory store that can be switched off, and counts how often it is asked."""

    def __init__(self):
        super().__init__()
        self.is_off = False
        self.asked = 0
        self.wait = lambda: None

    def load(self, sid, *, now, touch=None):
        self.asked += 1
        if self.is_off:
            self.wait()
            raise StoreError("nobody answers on port 6379") from ConnectionError("refused")
        return super().load(sid, now=now, touch=touch)

    def find(self, *, now, user_id=None):
        if self.is_off:
            raise StoreError("nobody answers on port 6379")
        yield from super().find(now=now, user_id=user_id)


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def store():
    return FailingStore()


@pytest.fixture
def breaker(store, clock):
    return CircuitBreaker(store, clock=clock)


def load(breaker):
    return breaker.load(new_session_id(), now=0.0)


def fail(breaker, times):
    for _ in range(times):
        with pytest.raises(StoreError):
            load(breaker)


def test_a_store_that_works_is_asked_every_time(breaker, store):
    for _ in range(10):
        assert load(breaker) is None
    assert store.asked == 10


def test_one_failure_is_no_outage(breaker, store):
    store.is_off = True
    fail(breaker, 1)
    assert not breaker.is_down
    store.is_off = False
    assert load(breaker) is None


def test_who_waited_in_vain_does_not_wait_again(breaker, store, clock):
    store.is_off = True
    store.wait = lambda: clock.advance(2.0)
    for failed in range(1, 6):
        fail(breaker, 10)
        assert store.asked == failed, "A request that asks ten times waits once."
        clock.advance(1.0)
    store.is_off = False
    assert load(breaker) is None
    assert load(breaker) is None


def test_a_store_that_is_down_is_asked_once_a_second(breaker, store, clock):
    store.is_off = True
    fail(breaker, 3)
    assert breaker.is_down
    fail(breaker, 100)
    assert store.asked == 3
    clock.advance(1.0)
    fail(breaker, 100)
    assert store.asked == 4


def test_a_store_that_is_back_is_noticed_within_a_second(breaker, store, clock):
    store.is_off = True
    fail(breaker, 3)
    store.is_off = False
    clock.advance(1.0)
    assert load(breaker) is None
    assert not breaker.is_down


def test_an_outage_is_one_line_in_the_log_and_its_end_another(breaker, store, clock, caplog):
    store.is_off = True
    fail(breaker, 50)
    clock.advance(7)
    fail(breaker, 50)
    clock.advance(1)
    store.is_off = False
    load(breaker)
    load(breaker)
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.WARNING]
    assert "nobody answers on port 6379" in caplog.records[0].message
    assert "8.0 s" in caplog.records[1].message


def test_a_listing_that_fails_counts_although_it_is_lazy(breaker, store):
    manager = SessionManager(store)
    sid = manager.create({"a": 1})
    manager.close()
    assert [info.sid for info in breaker.find(now=manager.now())] == [sid]
    store.is_off = True
    for _ in range(3):
        with pytest.raises(StoreError):
            list(breaker.find(now=manager.now()))
    assert breaker.is_down


def test_a_wrong_argument_is_no_outage(breaker):
    with pytest.raises(AttributeError):
        breaker.load("not an id", now=0.0)
    assert not breaker.is_down
