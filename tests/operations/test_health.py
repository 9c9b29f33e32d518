"""Health: whether the store answers, told without an error and without waiting longer than a request does."""

import signal
import time

import pytest
from flask import Flask
from flask import session
from support.redis_servers import one_server
from support.redis_servers import redis_program

from flask_idlesession import IdleSession
from flask_idlesession import MemoryStore
from flask_idlesession import StoreError
from flask_idlesession.model.errors import RecordRejected
from flask_idlesession.model.ids import new_session_id
from flask_idlesession.model.record import Change
from flask_idlesession.operations.health import examine
from flask_idlesession.operations.health import Health
from flask_idlesession.stores.circuit_breaker import CircuitBreaker
from flask_idlesession.testing import FakeClock


class FailingStore(MemoryStore):
    is_off = False
    is_read_only = False

    def load(self, sid, *, now, touch=None):
        if self.is_off:
            raise StoreError("nobody answers on port 6379")
        return super().load(sid, now=now, touch=touch)

    def commit(self, sid, change, *, now):
        raise RecordRejected("It is too large.")

    def delete(self, sid):
        if self.is_read_only:
            raise StoreError("This is a replica.")
        return super().delete(sid)


def make_app(**config):
    app = Flask(__name__)
    app.config.update(TESTING=True, SECRET_KEY="k" * 32, **config)
    IdleSession(app)

    @app.get("/")
    def index():
        session["n"] = session.get("n", 0) + 1
        return str(session["n"])

    return app


def test_a_memory_store_is_up():
    app = make_app()
    health = app.extensions["idlesession"].health()
    assert health == Health(kind="MemoryStore", is_up=True, down_for=0.0, latency=health.latency)
    assert 0 < health.latency < 1


def test_how_long_a_store_is_down_counts_from_its_first_failure():
    clock, store = FakeClock(), FailingStore()
    breaker = CircuitBreaker(store, clock=clock)
    assert examine(breaker, now=0.0).is_up
    store.is_off = True
    for elapsed in range(5):
        health = examine(breaker, now=0.0)
        assert health == Health(kind="FailingStore", is_up=False, down_for=elapsed, latency=None, failures=elapsed + 1)
        clock.advance(1)
    store.is_off = False
    health = examine(breaker, now=0.0)
    assert health.is_up and health.down_for == 0.0 and health.latency is not None
    assert health.failures == 5, "It was away within the last minute."
    clock.advance(60)
    assert examine(breaker, now=0.0).failures == 0


def test_a_store_that_fails_now_and_then_is_up_and_its_failures_are_told():
    clock, store = FakeClock(), FailingStore()
    breaker = CircuitBreaker(store, clock=clock)
    for _ in range(4):
        with pytest.raises(RecordRejected):
            breaker.commit(new_session_id(), Change(holder=b""), now=0.0)
        clock.advance(5)
    assert examine(breaker, now=0.0).is_up and examine(breaker, now=0.0).failures == 4


def test_a_store_that_takes_no_writes_is_up_and_that_is_told():
    store = FailingStore()
    breaker = CircuitBreaker(store, clock=FakeClock())
    store.is_read_only = True
    with pytest.raises(StoreError):
        breaker.delete(new_session_id())
    health = examine(breaker, now=0.0)
    assert health.is_up and health.refuses_writes and health.down_for == 0.0


def test_a_fault_of_the_program_is_not_taken_for_an_outage():
    with pytest.raises(AttributeError):
        examine(CircuitBreaker(object()), now=0.0)


def test_a_redis_that_hangs_or_is_gone_is_told_of_and_its_return_too():
    with one_server(redis_program()) as server:
        app = make_app(IDLESESSION_STORE=server.url)
        state = app.extensions["idlesession"]
        client = app.test_client()
        assert client.get("/").text == "1"
        health = state.health()
        assert health.kind == "RedisStore" and health.is_up and 0 < health.latency < 1
        server.signal(signal.SIGSTOP)
        began_at = time.monotonic()
        for _ in range(4):
            assert not state.health().is_up
        assert 0 < state.health().down_for <= time.monotonic() - began_at
        assert client.get("/").status_code == 503
        server.signal(signal.SIGCONT)
        while not (health := state.health()).is_up:
            assert time.monotonic() - began_at < 30
            time.sleep(0.05)
        assert health.down_for == 0.0
        server.stop()
        assert not state.health().is_up
        state.manager.close()
