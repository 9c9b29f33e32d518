"""How the session server should be set up is told once, in the background, and again when it changes."""

import time

import pytest
from flask import Flask
from flask import session
from support.own_time import give_own_time
from support.redis_servers import a_full_server
from support.redis_servers import redis_program
from support.waiting import wait_until

from flask_idlesession import IdleSession
from flask_idlesession import StoreError
from flask_idlesession.operations import store_advice
from flask_idlesession.operations.store_advice import StoreAdvice
from flask_idlesession.process import pace


class Adviser:
    """A store that says what it is told to."""

    def __init__(self, *advice):
        self.advised = list(advice)
        self.asked = 0
        self.is_away = False

    def advice(self):
        self.asked += 1
        if self.is_away:
            raise StoreError("Nobody answers.")
        return self.advised


@pytest.fixture
def now(monkeypatch):
    instant = [1000.0]
    give_own_time(monkeypatch, pace, monotonic=lambda: instant[0])
    monkeypatch.setattr(store_advice.cleaner, "register", lambda task: None)
    return instant


def test_each_advice_is_logged_once_while_it_stands(now, caplog):
    store = Adviser("It forgets.", "It is old.")
    task = StoreAdvice(store)
    for _ in range(3):
        assert task.run() == 3600
        now[0] += 3600
    assert store.asked == 3 and caplog.messages == ["It forgets.", "It is old."]
    store.advised = []
    task.run()
    now[0] += 3600
    store.advised = ["It forgets."]
    task.run()
    assert caplog.messages[2:] == ["It forgets."]


def test_a_store_that_does_not_answer_is_asked_again_in_a_minute(now, caplog):
    store = Adviser("It forgets.")
    store.is_away = True
    task = StoreAdvice(store)
    assert task.run() == 60 and not caplog.messages
    assert task.run() == 60 and store.asked == 1
    now[0] += 60
    store.is_away = False
    assert task.run() == 3600 and caplog.messages == ["It forgets."]


def test_an_application_on_a_redis_that_evicts_is_told_at_its_start(caplog):
    with a_full_server(redis_program(), size=50_000_000, policy="allkeys-lru") as server:
        app = Flask(__name__)
        app.config.update(TESTING=True, SECRET_KEY="of the tests of advice", IDLESESSION_STORE=server.url)
        IdleSession(app)
        app.add_url_rule("/", view_func=lambda: session.update(a=1) or "")
        app.test_client().get("/")
        wait_until(lambda: "allkeys-lru" in caplog.text, "the policy is named")
        time.sleep(0.1)
        assert caplog.text.count("allkeys-lru") == 1
        app.extensions["idlesession"].manager.close()
