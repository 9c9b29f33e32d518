"""A host whose clock is off is warned of: once, in the background, and whatever the server does."""

import logging
import threading
import time

import pytest
from flask import Flask
from flask import session

from flask_idlesession import IdleSession
from flask_idlesession import MemoryStore
from flask_idlesession import StoreError
from flask_idlesession import Traits
from flask_idlesession.operations.clock_skew import ClockSkew
from flask_idlesession.process.background import cleaner
from flask_idlesession.process.pace import Pace
from flask_idlesession.stores.contract import has_clock
from flask_idlesession.testing import FakeClock
from flask_idlesession.testing import IdleClock


class ServedStore(MemoryStore):
    """A store whose server has a clock of its own, may be away, and may take its time."""

    traits = Traits(has_clock=True)

    def __init__(self, clock):
        super().__init__()
        self.clock = clock
        self.is_off = False
        self.takes = 0.0
        self.asked = []

    def clock_skew(self, now):
        self.asked.append(threading.current_thread())
        if self.is_off:
            raise StoreError("nobody answers on port 6379")
        self.clock.advance(self.takes)
        return now - 1_700_000_000.0


@pytest.fixture
def store(clock):
    return ServedStore(clock)


@pytest.fixture
def check(store, clock):
    check = ClockSkew(store, clock=clock)
    cleaner.unregister(check)  # The test calls it in the cleaner's place.
    check._pace = Pace()
    check._is_off = False
    store.asked.clear()
    return check


def again(check):
    check._pace = Pace()
    return check.run()


def test_clocks_that_agree_are_nothing_to_speak_of(check, clock, caplog):
    clock.advance(0.9)
    assert again(check) == pytest.approx(3600)
    clock.advance(-1.8)
    again(check)
    assert caplog.records == []


@pytest.mark.parametrize(("by", "said"), [(12.34, "12.3 s ahead"), (-90, "90.0 s behind")])
def test_a_clock_that_is_off_is_warned_of_with_the_mend(check, clock, caplog, by, said):
    clock.advance(by)
    again(check)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    for part in (said, "sessions", "NTP", "restart the application"):
        assert part in caplog.text


def test_one_that_stays_off_is_warned_of_once_and_one_that_is_off_again_again(check, clock, caplog):
    for by, lines in ((5, 1), (1, 1), (-6, 1), (5, 2)):
        clock.advance(by)
        again(check)
        assert len(caplog.records) == lines


@pytest.mark.parametrize(("by", "takes", "lines"), [(-20, 30, 0), (0, 30, 0), (5, 30, 1), (-40, 30, 1)])
def test_an_answer_that_took_long_is_no_skew(check, store, clock, caplog, by, takes, lines):
    clock.advance(by)
    store.takes = takes
    again(check)
    assert len(caplog.records) == lines


def test_a_server_that_is_away_is_asked_again_in_a_minute_and_nothing_is_raised(check, store, clock, caplog):
    store.is_off = True
    assert again(check) == pytest.approx(60)
    assert check.run() <= 60
    assert len(store.asked) == 1, "It was asked before it was time to."
    store.is_off = False
    clock.advance(100)
    assert again(check) == pytest.approx(3600)
    assert "100.0 s ahead" in caplog.text


def make_app(store, clock):
    app = Flask(__name__)
    app.config.update(TESTING=True, SECRET_KEY="k" * 32)
    IdleSession(app, store=store, clock=clock)

    @app.get("/")
    def index():
        session["n"] = session.get("n", 0) + 1
        return str(session["n"])

    return app


@pytest.mark.parametrize("is_off", [False, True])
def test_an_application_compares_clocks_in_the_background_after_its_first_request(store, clock, caplog, is_off):
    clock.advance(30)
    store.is_off = is_off
    app = make_app(store, clock)
    assert app.test_client().get("/").text == "1"
    give_up_at = time.monotonic() + 60
    while not (store.asked and (is_off or "30.0 s ahead" in caplog.text)):
        assert time.monotonic() < give_up_at
        time.sleep(0.01)
    assert {thread.name for thread in store.asked} == {"flask_idlesession cleaner"}


def test_a_store_without_a_server_has_no_clock_to_compare():
    app = make_app(MemoryStore(), FakeClock())
    assert app.test_client().get("/").text == "1"
    assert app.extensions["idlesession"]._clock_skew is None
    assert has_clock(MemoryStore()) is None


def test_a_test_that_moves_the_time_is_not_warned_of(check, store, caplog):
    with IdleClock() as clock:
        clock.advance(3600)
        assert again(check) == pytest.approx(60)
    assert not caplog.messages
    assert not store.asked
