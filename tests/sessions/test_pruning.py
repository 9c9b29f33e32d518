"""Who forgets what has expired: a request, where that costs nothing, and else the cleaner, if there is one."""

import threading

import pytest
from support.requests import requests_of

from flask_idlesession import MemoryStore
from flask_idlesession import SessionManager
from flask_idlesession import StoreError
from flask_idlesession import Traits
from flask_idlesession.model.ids import Credential
from flask_idlesession.process.background import Cleaner


class FarStore(MemoryStore):
    """A memory store that says that it is none, and notes which threads prune it."""

    traits = Traits()

    def __init__(self):
        super().__init__()
        self.pruned_by = []
        self.is_off = False

    def prune(self, *, now, limit):
        self.pruned_by.append(threading.current_thread())
        if self.is_off:
            raise StoreError("nobody answers")
        return super().prune(now=now, limit=limit)


@pytest.fixture
def wakes(monkeypatch):
    """Let the cleaner sleep whatever happens, and note that it is woken. The test calls what it would call."""
    wakes = []
    monkeypatch.setattr(Cleaner, "register", lambda self, cleanable: None)
    monkeypatch.setattr(Cleaner, "wake", lambda self, *, within: wakes.append(within))
    monkeypatch.setattr(Cleaner, "is_running", True)
    return wakes


def open_manager(store, clock):
    return SessionManager(store, clock=clock, idle_timeout=10)


def arrive(manager):
    assert requests_of(manager)._load(Credential.new()) is None


def test_a_request_forgets_four_where_that_is_memory_work(clock, wakes):
    manager = open_manager(MemoryStore(max_sessions=None, max_bytes=None), clock)
    for _ in range(10):
        manager.create({})
    clock.advance(10)
    left = []
    for _ in range(4):
        arrive(manager)
        left.append(len(manager.store))
    assert left == [6, 2, 0, 0]


def test_where_a_server_must_be_asked_a_request_wakes_the_cleaner_instead(clock, wakes):
    store = FarStore()
    manager = open_manager(store, clock)
    for _ in range(10):
        manager.create({})
    wakes.clear()
    arrive(manager)
    assert wakes == []
    store.pruned_by.clear()
    clock.advance(10)
    arrive(manager)
    assert len(wakes) == 1 and store.pruned_by == []
    manager.lifecycle.pruner.run()
    assert len(store) == 0
    arrive(manager)
    assert len(wakes) == 1, "There is nothing left to wake it for."


def test_where_there_is_no_cleaner_a_request_asks_the_server(clock, wakes, monkeypatch):
    manager = open_manager(FarStore(), clock)
    for _ in range(10):
        manager.create({})
    clock.advance(10)
    monkeypatch.setattr(Cleaner, "is_running", False)
    arrive(manager)
    assert len(manager.store) == 6


def test_while_the_server_is_away_requests_let_the_cleaner_sleep_until_it_tries_again(clock, wakes):
    store = FarStore()
    manager = open_manager(store, clock)
    manager.create({})
    clock.advance(10)
    store.is_off = True
    assert manager.lifecycle.pruner.run() == 1.0
    wakes.clear()
    for _ in range(10):
        arrive(manager)
    assert wakes == []
    clock.advance(1)
    arrive(manager)
    assert len(wakes) == 1
    store.is_off = False
    manager.lifecycle.pruner.run()
    assert len(store) == 0
