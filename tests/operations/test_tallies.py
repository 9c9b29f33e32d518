"""Tallies: what all workers count together is exact, costs next to nothing, and tells nothing of a user."""

import gc
import os
import weakref
from math import inf

import pytest
from flask import Flask
from flask import session

from flask_idlesession import IdleSession
from flask_idlesession import log_in
from flask_idlesession import log_out
from flask_idlesession import MemoryStore
from flask_idlesession import revoke_user
from flask_idlesession import session_info
from flask_idlesession import StoreError
from flask_idlesession.operations.event_counter import EventCounter
from flask_idlesession.operations.latency import BOUNDS
from flask_idlesession.operations.latency import histogram_of_all
from flask_idlesession.operations.latency import histograms
from flask_idlesession.operations.store_gauge import StoreGauge
from flask_idlesession.operations.tallies import summed
from flask_idlesession.testing import FakeClock


class BadStore(MemoryStore):
    """A store whose tallies, and nothing else, can fail."""

    is_bad = False
    added = 0

    def add_tally(self, minute, amounts, *, now):
        if self.is_bad:
            raise StoreError("The table of the tallies is gone.")
        self.added += 1
        super().add_tally(minute, amounts, now=now)


def make_app(clock, store=None, **config):
    app = Flask(__name__)
    config = {"IDLESESSION_TALLIES": True, "IDLESESSION_IDLE_TIMEOUT": 60, "IDLESESSION_LIFETIME": 100, **config}
    app.config.update(TESTING=True, SECRET_KEY="k" * 32, **config)
    IdleSession(app, store=store, clock=clock)

    @app.get("/write")
    def write():
        session["n"] = session.get("n", 0) + 1
        return str(session_info().sid) if session_info() else "none"

    @app.get("/in/<user>")
    def come(user):
        log_in(user)
        return "in"

    @app.get("/out")
    def leave():
        log_out()
        return "out"

    @app.get("/nothing")
    def nothing():
        return "nothing"

    return app


def state_of(app):
    return app.extensions["idlesession"]


def tallies_of(app):
    tallies = state_of(app).tallies
    assert tallies is not None
    return tallies


def test_nothing_is_counted_unless_it_is_asked_for():
    app = make_app(FakeClock(), IDLESESSION_TALLIES=False)
    app.test_client().get("/write")
    assert state_of(app).tallies is None
    assert type(state_of(app).manager.store) is MemoryStore, "Nothing stands between a request and its store."
    assert state_of(app).manager.store.tally_totals() == {}


def test_each_end_is_counted_once_by_its_reason():
    clock = FakeClock()
    app = make_app(clock)
    clients = [app.test_client() for _ in range(5)]
    for number, client in enumerate(clients):
        client.get(f"/in/user-{number}")
    clients[0].get("/out")
    with app.app_context():
        assert revoke_user("user-1") == 1
    clock.advance(50)
    clients[4].get("/write")
    clock.advance(30)
    for client in clients:
        client.get("/write")  # Where the session is over this begins another.
    state_of(app).manager.prune()
    totals = tallies_of(app).totals()
    assert totals["ended.logged-out"] == 1
    assert totals["ended.revoked"] == 1
    ended = sum(amount for name, amount in totals.items() if name.startswith("ended."))
    live = len(list(state_of(app).manager.find()))
    assert totals["created"] == ended + live
    clock.advance(101)
    state_of(app).manager.prune()
    totals = tallies_of(app).totals()
    assert totals["created"] == sum(amount for name, amount in totals.items() if name.startswith("ended."))
    assert totals["ended.lifetime"] + totals["ended.idle"] == totals["created"] - 2


def test_evicted_sessions_are_counted():
    app = make_app(FakeClock(), IDLESESSION_MAX_SESSIONS=3)
    for _ in range(10):
        app.test_client().get("/write")
    totals = tallies_of(app).totals()
    assert totals["created"] == 10 and totals["ended.evicted"] == 7


def test_refused_log_ins_are_counted():
    config = {"IDLESESSION_MAX_SESSIONS_PER_USER": 1, "IDLESESSION_AT_MAX_SESSIONS_PER_USER": "refuse"}
    app = make_app(FakeClock(), PROPAGATE_EXCEPTIONS=False, **config)
    for _ in range(3):
        app.test_client().get("/in/ada")
    totals = tallies_of(app).totals()
    assert totals["log_ins"] == 1 and totals["log_ins_refused"] == 2


def test_each_bad_token_is_counted():
    app = make_app(FakeClock())
    for number in range(30):
        client = app.test_client()
        client.set_cookie("session", f"garbage {number}")
        client.get("/write")
    assert tallies_of(app).totals()["bad_tokens"] == 30


def test_amounts_are_of_the_minute_in_which_they_were_counted():
    clock = FakeClock(now=1_700_000_040.0)  # Of the minute 28333334 the first second.
    app = make_app(clock)
    app.test_client().get("/write")
    clock.advance(59)
    app.test_client().get("/write")
    clock.advance(1)
    app.test_client().get("/write")
    by_minute = tallies_of(app).read()
    assert {minute: amounts["created"] for minute, amounts in by_minute.items()} == {28333334: 2, 28333335: 1}
    assert summed(by_minute)["created"] == 3
    assert set(tallies_of(app).read(minutes=1)) == {28333335}


def test_nothing_is_written_while_nothing_happens():
    store = BadStore()
    app = make_app(FakeClock(), store)
    app.test_client().get("/write")
    tallies = tallies_of(app)
    assert tallies.flush() and store.added == 1
    assert tallies.flush() and store.added == 1
    assert tallies.run() == inf, "The cleaner need not come before something happens."
    app.test_client().get("/write")
    assert 0 < tallies.run() <= 10 and store.added == 1


def test_a_failure_disturbs_no_request_and_loses_nothing(caplog):
    store, clock = BadStore(), FakeClock()
    app = make_app(clock, store)
    store.is_bad = True
    for _ in range(3):
        assert app.test_client().get("/write").status_code == 200
        assert not tallies_of(app).flush()
        clock.advance(20)
    store.is_bad = False
    assert tallies_of(app).totals()["created"] == 3
    assert caplog.text.count("The tallies cannot be kept: The table of the tallies is gone") == 1


def test_what_cannot_be_written_for_an_hour_is_bounded():
    clock = FakeClock()
    counter = EventCounter(clock)
    for _ in range(100):
        counter.count("created")
        counter.put_back(counter.take())
        clock.advance(60)
    assert len(counter.take()) == 60


def test_a_forked_child_begins_at_zero():
    counter = EventCounter(FakeClock())
    counter.count("created", 5)
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        counter.count("created")
        os.write(theirs, str(summed(counter.take())).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(ours, 100) == b"{'created': 1}"
    assert summed(counter.take()) == {"created": 5}


def test_a_store_that_keeps_no_tallies_leaves_them_to_the_process(caplog):
    class Forgetful(MemoryStore):
        @property
        def traits(self):
            from dataclasses import replace

            return replace(super().traits, keeps_tallies=False)

        add_tally = tallies = tally_totals = None

    app = make_app(FakeClock(), Forgetful())
    with caplog.at_level("WARNING", "flask_idlesession"):
        app.test_client().get("/write")
    assert "Forgetful, which keeps no tallies" in caplog.text and "[ISW030]" in caplog.text
    assert not tallies_of(app).is_shared
    assert tallies_of(app).totals()["created"] == 1
    assert summed(tallies_of(app).read())["created"] == 1


def test_no_application_is_kept_alive():
    app = make_app(FakeClock())
    app.test_client().get("/write")
    assert tallies_of(app).totals()
    gone = weakref.ref(app)
    del app
    gc.collect()
    assert gone() is None


def test_no_user_id_or_address_is_in_the_tallies():
    app = make_app(FakeClock())
    client = app.test_client()
    client.get("/in/ada@example.org", environ_base={"REMOTE_ADDR": "192.0.2.77"})
    sid = client.get("/write").text
    text = repr(tallies_of(app).read()) + repr(tallies_of(app).totals())
    assert "created" in text
    for secret in ("ada", "192.0.2", sid, client.get_cookie("session").value):
        assert secret not in text


def test_calls_of_the_store_are_counted_by_how_long_they_took():
    counter = EventCounter(FakeClock())
    gauge = StoreGauge(counter)
    for seconds in (0.00005, 0.0001, 0.0002, 0.004, 0.004, 0.3, 9.0):
        gauge.note_call("load", seconds)
    gauge.note_call("commit", 0.001)
    found = histograms(summed(counter.take()))
    load = found["load"]
    assert load.count == 7 and load.counts[0] == 2 and load.counts[BOUNDS.index(0.005)] == 5
    assert load.counts[-2] == 6 and load.total == pytest.approx(9.30835)
    assert found["commit"].count == 1
    assert 0.0025 < load.quantile(0.5) <= 0.005
    assert load.quantile(0.99) == BOUNDS[-1]


def test_a_histogram_of_all_verbs_is_their_sum():
    counter = EventCounter(FakeClock())
    gauge = StoreGauge(counter)
    assert histogram_of_all({}).count == 0 and histogram_of_all({}).quantile(0.5) is None
    gauge.note_call("load", 0.001)
    gauge.note_call("commit", 0.1)
    both = histogram_of_all(summed(counter.take()))
    assert both.count == 2 and both.total == pytest.approx(0.101)


def test_the_calls_of_requests_are_measured_and_failures_counted_by_kind():
    class Down(MemoryStore):
        def create(self, record):
            raise StoreError("no")

    app = make_app(FakeClock(), Down())
    assert app.test_client().get("/write").status_code == 503
    assert tallies_of(app).totals()["store_errors.other"] == 1
    app = make_app(FakeClock())
    client = app.test_client()
    client.get("/write")
    client.get("/write")
    found = histograms(tallies_of(app).totals())
    assert found["create"].count == 1 and found["load"].count >= 1 and found["commit"].count == 1
