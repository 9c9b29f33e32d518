"""A store whose calls are measured keeps every promise of the one inside, and tells how long each call took."""

import inspect
import threading

import pytest

from flask_idlesession import MemoryStore
from flask_idlesession import StoreError
from flask_idlesession.model.errors import StoreUnavailable
from flask_idlesession.process.background import cleaner
from flask_idlesession.stores import contract
from flask_idlesession.stores.circuit_breaker import CircuitBreaker
from flask_idlesession.stores.encrypted import EncryptedStore
from flask_idlesession.stores.timed import TimedStore
from flask_idlesession.testing.store_contract import a_record
from flask_idlesession.testing.store_contract import NOW
from flask_idlesession.testing.store_contract import StoreContract


class NotingGauge:
    def __init__(self):
        self.calls = []
        self.failures = []

    def note_call(self, verb, seconds):
        self.calls.append((verb, seconds))

    def note_failure(self, error):
        self.failures.append(error)


class TestTimedStore(StoreContract):
    crowd = 50

    @pytest.fixture
    def make_store(self):
        return lambda: TimedStore(MemoryStore(), NotingGauge())


@pytest.mark.parametrize("wrapper", [TimedStore, EncryptedStore, CircuitBreaker])
def test_a_store_around_another_hands_on_all_that_a_trait_promises(wrapper):
    protocols = [kind for _, kind in inspect.getmembers(contract, inspect.isclass) if contract.Store in kind.__mro__]
    promised = {name for kind in protocols for name in vars(kind) if not name.startswith("_")}
    assert len(protocols) > 8 and promised >= {"add_tally", "delete_many"}
    assert {name for name in promised if not hasattr(wrapper, name)} == set()


def test_each_call_is_told_with_its_duration():
    gauge = NotingGauge()
    store, record = TimedStore(MemoryStore(), gauge), a_record()
    store.create(record)
    store.load(record.info.sid, now=NOW)
    store.delete(record.info.sid)
    assert [verb for verb, _ in gauge.calls] == ["create", "load", "delete"]
    assert all(0 < seconds < 1 for _, seconds in gauge.calls)


def test_a_failure_is_told_and_raised_and_its_duration_is_not():
    class Down(MemoryStore):
        def load(self, sid, *, now, touch=None):
            raise StoreUnavailable("It is off.")

        def find(self, *, now, user_id=None):
            yield from super().find(now=now, user_id=user_id)
            raise StoreUnavailable("It is off.")

    gauge = NotingGauge()
    store = TimedStore(Down(), gauge)
    with pytest.raises(StoreError):
        store.load(a_record().info.sid, now=NOW)
    with pytest.raises(StoreError):
        list(store.find(now=NOW))
    assert not gauge.calls and [type(error) for error in gauge.failures] == [StoreUnavailable] * 2


def test_what_the_cleaner_asks_while_nothing_happens_is_not_told(monkeypatch):
    gauge = NotingGauge()
    store, record = TimedStore(MemoryStore(), gauge), a_record()
    monkeypatch.setattr(cleaner, "thread", threading.current_thread())
    assert store.prune(now=NOW, limit=9) == [] and store.next_expiry() is None
    assert gauge.calls == []
    store.create(record)
    assert len(store.prune(now=record.expires_at, limit=9)) == 1
    assert [verb for verb, _ in gauge.calls] == ["prune"]
