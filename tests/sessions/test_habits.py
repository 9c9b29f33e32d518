"""A request that is likely to write notes its activity with its write, and none loses it by a wrong guess."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask import request
from flask import session

from flask_idlesession import current_user_id
from flask_idlesession import IdleSession
from flask_idlesession import log_in
from flask_idlesession.model.ids import SessionId
from flask_idlesession.model.record import Change
from flask_idlesession.sessions.habits import Habits
from flask_idlesession.stores.contract import Touch
from flask_idlesession.stores.sqlite import SQLiteStore
from flask_idlesession.testing import FakeClock

NOW = 1_700_000_000.0


class Noting(SQLiteStore):
    """A store that notes its calls that write."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.told: list[str] = []

    def load(self, sid: SessionId, *, now: float, touch: Touch | None = None) -> Any:
        if touch is not None:
            self.told.append("touched load")
        return super().load(sid, now=now, touch=touch)

    def commit(self, sid: SessionId, change: Change, *, now: float) -> Any:
        self.told.append("touch" if change.is_touch else "commit")
        return super().commit(sid, change, now=now)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
def store(tmp_path: Path) -> Noting:
    return Noting(tmp_path / "own" / "sessions.db")


@pytest.fixture
def app(clock: FakeClock, store: Noting) -> Iterator[Flask]:
    app = Flask(__name__)
    app.config.update(TESTING=True, SECRET_KEY="0123456789 of the tests of habits", IDLESESSION_IDLE_TIMEOUT=100)
    IdleSession(app, clock=clock, store=store)

    @app.route("/in", methods=["GET", "POST"])
    def enter() -> str:
        if request.method == "POST" and "password" in request.args:
            log_in("ada")
        return str(current_user_id())

    @app.get("/set")
    def put() -> str:
        if "x" in request.args:
            session["x"] = request.args["x"]
        clock.advance(float(request.args.get("takes", 0)))
        return "set"

    @app.get("/begin")
    def begin() -> str:
        session["begun"] = 1
        return "begun"

    yield app
    app.extensions["idlesession"].manager.close()


def ask(app: Flask, store: Noting, client: Any, path: str, method: str = "GET") -> list[str]:
    """Make a request; return what it had the store write."""
    store.told.clear()
    assert client.open(path, method=method).status_code == 200
    return list(store.told)


def seen_at(store: Noting, clock: FakeClock) -> float:
    (info,) = store.find(now=clock())
    return info.last_seen_at


def test_the_second_write_of_a_route_notes_activity_with_what_it_writes(
    app: Flask, store: Noting, clock: FakeClock
) -> None:
    client = app.test_client()
    client.get("/begin")
    assert ask(app, store, client, "/set?x=1") == ["touched load", "commit"]
    for number in range(3):
        clock.advance(7)
        assert ask(app, store, client, f"/set?x={number + 2}") == ["commit"]
        assert seen_at(store, clock) == clock()


def test_a_wrong_guess_costs_a_touch_and_loses_none(app: Flask, store: Noting, clock: FakeClock) -> None:
    client = app.test_client()
    client.get("/begin")
    ask(app, store, client, "/set?x=1")
    clock.advance(7)
    assert ask(app, store, client, "/set") == ["touch"]
    assert seen_at(store, clock) == clock()
    assert ask(app, store, client, "/set") == ["touched load"]


def test_a_session_with_little_life_left_is_touched_before_its_view_runs(
    app: Flask, store: Noting, clock: FakeClock
) -> None:
    client = app.test_client()
    client.get("/begin")
    ask(app, store, client, "/set?x=1")
    clock.advance(60)
    assert ask(app, store, client, "/set?x=2&takes=90") == ["touch", "commit"]
    assert seen_at(store, clock) == clock()
    clock.advance(10)
    assert ask(app, store, client, "/set?x=3&takes=60") == ["commit"]
    assert client.get("/begin").status_code == 200 and len(list(store.find(now=clock()))) == 1


def test_a_route_s_methods_have_habits_of_their_own(app: Flask, store: Noting) -> None:
    for number in range(3):
        client = app.test_client()
        client.get("/begin")
        assert ask(app, store, client, "/in") == ["touched load"]
        expected = ["commit"] if number else ["touched load", "commit"]
        assert ask(app, store, client, "/in?password=x", "POST") == expected
        assert client.get("/in").text == "ada"


def test_a_log_in_alone_is_one_write(app: Flask, store: Noting) -> None:
    with app.test_request_context():
        pass
    first, second = app.test_client(), app.test_client()
    for client in (first, second):
        client.get("/begin")
    ask(app, store, first, "/in?password=x", "POST")
    assert ask(app, store, second, "/in?password=x", "POST") == ["commit"]


def test_habits_are_forgotten_as_they_are_learnt() -> None:
    habits = Habits()
    assert not habits.writes("a")
    habits.note("a", wrote=True)
    assert habits.writes("a") and not habits.writes("b")
    habits.note("a", wrote=False)
    habits.note("b", wrote=False)
    assert not habits.writes("a")
