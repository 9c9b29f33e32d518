"""The polling finder names what pages ask for by themselves, and nothing that people open."""

import random
import time
from itertools import chain

import pytest
from flask import Flask
from flask import session
from support.visitors import an_id
from support.visitors import found_in
from support.visitors import of_a_person
from support.visitors import of_a_poll
from support.visitors import people

from flask_idlesession import IdleSession
from flask_idlesession import passive
from flask_idlesession.operations.beats import beat_of
from flask_idlesession.operations.beats import Beats
from flask_idlesession.operations.polling import Poller
from flask_idlesession.operations.polling import pollers_in
from flask_idlesession.testing import FakeClock

MINUTES = 5
SECONDS = 60 * MINUTES


def polled(chance, *, sessions=40, endpoint="notifications", **beat):
    for _ in range(sessions):
        yield endpoint, an_id(chance), of_a_poll(chance, SECONDS, **beat)


@pytest.mark.parametrize(
    ("period", "jitter"), [(2, 0.1), (5, 0.15), (15, 0.5), (30, 0.5), (60, 1), (60, 3), (75, 2), (100, 1)]
)
def test_a_poller_among_fifty_endpoints_is_named_within_five_minutes(period, jitter):
    chance = random.Random(period + jitter)
    visits = chain(people(chance, SECONDS, sessions=40), polled(chance, period=period, jitter=jitter))
    found = found_in(visits, chance, minutes=MINUTES)
    assert set(found) == {"notifications"}, "It, and no page that people open."
    assert found["notifications"].period == pytest.approx(period, rel=0.06)
    assert found["notifications"].spread <= max(2 * jitter, 0.2)
    assert found["notifications"].share > 0.75


@pytest.mark.parametrize("seed", range(2))
def test_four_processes_find_it_together(seed):
    chance = random.Random(seed)
    visits = chain(people(chance, SECONDS, sessions=40), polled(chance, period=60, jitter=1, sessions=60))
    assert set(found_in(visits, chance, minutes=MINUTES, processes=4)) == {"notifications"}


@pytest.mark.parametrize("sessions", [2, 5])
def test_it_is_named_with_few_sessions_too(sessions):
    chance = random.Random(sessions)
    assert set(found_in(polled(chance, period=60, jitter=1, sessions=sessions), chance, minutes=5)) == {"notifications"}


@pytest.mark.parametrize("tabs", [2, 3])
def test_several_tabs_do_not_hide_it(tabs):
    chance = random.Random(tabs)
    visits = chain(
        polled(chance, period=60, jitter=1, sessions=20), polled(chance, period=60, jitter=1, sessions=20, tabs=tabs)
    )
    found = found_in(visits, chance, minutes=MINUTES)
    assert found["notifications"].period == pytest.approx(60, rel=0.06)


def test_several_pollers_are_named_each_with_its_period():
    chance = random.Random(7)
    periods = {"status": 10, "unread": 20, "notifications": 60}
    several = [polled(chance, endpoint=name, period=period, jitter=0.3) for name, period in periods.items()]
    found = found_in(chain(people(chance, SECONDS, sessions=20), *several), chance, minutes=MINUTES)
    assert {name: round(poller.period) for name, poller in found.items()} == periods


def test_one_endpoint_with_two_periods_is_named():
    chance = random.Random(8)
    visits = chain(
        polled(chance, period=20, jitter=0.3, sessions=25), polled(chance, period=50, jitter=0.5, sessions=15)
    )
    found = found_in(visits, chance, minutes=MINUTES)
    assert found["notifications"].period == pytest.approx(20, rel=0.06) and found["notifications"].share > 0.9


@pytest.mark.parametrize("seed", range(3))
def test_no_page_that_people_open_is_named(seed):
    chance = random.Random(100 + seed)
    assert not found_in(people(chance, 1200, sessions=6 + 15 * seed), chance, minutes=20)


@pytest.mark.parametrize("seed", range(4))
def test_a_page_that_people_open_and_few_sessions_poll_is_not_named(seed):
    chance = random.Random(seed)
    visits = chain(
        polled(chance, endpoint="inbox", period=30, jitter=0.5, sessions=4),
        (("inbox", an_id(chance), of_a_person(chance, SECONDS, mean=50, pauses="any")) for _ in range(20)),
    )
    assert not found_in(visits, chance, minutes=MINUTES)


def test_a_page_that_most_open_once_is_not_named_for_a_few_that_poll_it():
    chance = random.Random(3)
    visits = chain(
        polled(chance, endpoint="inbox", period=30, jitter=0.5, sessions=5),
        (("inbox", an_id(chance), [chance.uniform(0, 200)]) for _ in range(40)),
    )
    assert not found_in(visits, chance, minutes=MINUTES)


def test_a_page_that_browsers_say_was_opened_by_hand_is_not_named():
    chance, beats = random.Random(4), Beats()
    for _, sid, times in polled(chance, period=30, jitter=0.2, sessions=20):
        for at in times:
            beats.note("inbox", sid, at=at, is_opened=True)
    amounts = dict(beats.judge_if_due(now=300.0))
    assert amounts["beat.inbox.opened"] == 20 and not pollers_in({5: amounts})
    assert pollers_in({5: amounts | {"beat.inbox.opened": 2}})


def test_memory_is_bounded():
    chance, beats = random.Random(5), Beats()
    known = an_id(chance)
    for turn in range(1000):
        beats.note("page", known, at=turn, is_opened=False)
    assert [len(trail.times) for trail in beats._trails["page"].values()] == [12]
    for number in range(300):
        for turn in range(100):
            beats.note(f"page_{number}", an_id(chance), at=turn, is_opened=False)
    assert len(beats._trails) == 200 and max(map(len, beats._trails.values())) == 64


def test_sessions_that_ask_no_more_are_forgotten():
    beats = Beats()
    beats.note("page", an_id(random.Random(1)), at=0.0, is_opened=False)
    list(beats.judge_if_due(now=1100.0))
    assert beats._trails
    list(beats.judge_if_due(now=1300.0))
    assert not beats._trails


def test_how_well_requests_keep_to_a_period():
    beat = beat_of([0.0, 60.5, 120.0, 240.0, 241.7, 290.0, 301.0], 60.0)
    assert beat.hits == 4, "Two in the middle and one near the end are a person's."
    assert beat.largest_error == pytest.approx(0.7)


def test_a_judgement_of_fifty_busy_endpoints_takes_a_fraction_of_a_second():
    chance, beats = random.Random(6), Beats()
    for endpoint, sid, times in people(chance, SECONDS, sessions=60):
        for at in times:
            beats.note(endpoint, sid, at=at, is_opened=False)
    began_at = time.thread_time()
    assert list(beats.judge_if_due(now=SECONDS))
    assert time.thread_time() - began_at < 2.0


@pytest.mark.parametrize(
    ("poller", "text"),
    [
        ((60.0, 1.0, 0.94), "/notifications comes every 60 s ± 1 s in 94% of the sessions"),
        ((2.5, 0.04, 1.0), "/notifications comes every 2.5 s ± 0.1 s in 100% of the sessions"),
    ],
)
def test_a_poller_is_told_in_one_sentence(poller, text):
    period, spread, share = poller
    told = Poller(endpoint="notifications", period=period, spread=spread, share=share).told("/notifications")
    assert told.startswith(text) and "@passive" in told and "ever goes idle" in told


# In an application.


def make_app(clock):
    app = Flask(__name__)
    app.config.update(TESTING=True, SECRET_KEY="k" * 32, IDLESESSION_TALLIES=True)
    IdleSession(app, clock=clock)

    @app.get("/")
    def index():
        session["n"] = session.get("n", 0) + 1
        return "hello"

    @app.get("/notifications")
    def notifications():
        return str(session.get("n"))

    @app.get("/quiet")
    @passive
    def quiet():
        return "quiet"

    @app.get("/closed")
    def closed():
        return "closed"

    return app


def test_an_application_names_its_poller_and_neither_a_passive_one_nor_that_of_no_session():
    clock = FakeClock()
    app = make_app(clock)
    clients, strangers = [app.test_client() for _ in range(6)], app.test_client()
    for client in clients:
        client.get("/")
    tallies = app.extensions["idlesession"].tallies
    assert tallies.pollers() == []
    for _ in range(5):
        clock.advance(58)
        for client in clients:
            assert client.get("/notifications").text == "1"
            client.get("/quiet")
        strangers.get("/closed")
    clock.advance(10)
    (poller,) = tallies.pollers()
    assert poller.endpoint == "notifications" and poller.period == 58 and poller.share == 1.0
    totals = tallies.totals()
    assert totals["requests.notifications"] == totals["requests.quiet"] == 30 and totals["requests.closed"] == 5


def test_requests_without_an_endpoint_are_counted_together():
    app = make_app(FakeClock())
    for number in range(3):
        assert app.test_client().get(f"/none-{number}").status_code == 404
    totals = app.extensions["idlesession"].tallies.totals()
    assert totals["requests.(none)"] == 3 and not any("none-" in name for name in totals)
