"""What the signals tell of a session's life: each thing once, to receivers that may fail."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask import session

from flask_idlesession import EndReason
from flask_idlesession import IdleSession
from flask_idlesession import log_in
from flask_idlesession import log_out
from flask_idlesession import MemoryStore
from flask_idlesession import session_created
from flask_idlesession import session_ended
from flask_idlesession import session_loaded
from flask_idlesession import session_rotated
from flask_idlesession import SessionManager
from flask_idlesession.testing import FakeClock

SIGNALS = {
    "created": session_created,
    "loaded": session_loaded,
    "rotated": session_rotated,
    "ended": session_ended,
}


def make_app(clock: FakeClock, **how: Any) -> Flask:
    app = Flask(__name__)
    app.config.update(TESTING=True, IDLESESSION_IDLE_TIMEOUT=100, IDLESESSION_LIFETIME=250)
    app.secret_key = "of the signal tests"
    IdleSession(app, clock=clock, **how)

    @app.get("/get")
    def get() -> str:
        return str(session.get("a"))

    @app.get("/set/<value>")
    def put(value: str) -> str:
        session["a"] = value
        return "set"

    @app.get("/pop")
    def pop() -> str:
        return str(session.pop("a", None))

    @app.get("/in/<user>")
    def enter(user: str) -> str:
        log_in(user)
        return "in"

    @app.get("/out")
    def leave() -> str:
        log_out()
        return "out"

    return app


class Told:
    """All that was told of one sender, in order."""

    def __init__(self, sender: Any) -> None:
        self.sender = sender
        self.all: list[tuple[str, Any, Any]] = []
        self._receivers = {name: self._receiver(name) for name in SIGNALS}
        for name, signal in SIGNALS.items():
            signal.connect(self._receivers[name], sender)

    def _receiver(self, name: str) -> Any:
        def receive(sender: Any, *, info: Any, reason: EndReason | None = None) -> None:
            assert sender is self.sender
            self.all.append((name, info.sid, reason))

        return receive

    def stop(self) -> None:
        for name, signal in SIGNALS.items():
            signal.disconnect(self._receivers[name], self.sender)

    @property
    def names(self) -> list[str]:
        return [name for name, _, _ in self.all]

    @property
    def endings(self) -> list[tuple[Any, EndReason]]:
        return [(sid, reason) for name, sid, reason in self.all if name == "ended"]


@pytest.fixture
def told(app: Flask) -> Iterator[Told]:
    told = Told(app)
    yield told
    told.stop()


def manager_of(app: Flask) -> SessionManager:
    manager: SessionManager = app.extensions["idlesession"].manager
    return manager


# What is told.


def test_a_whole_life_is_told_in_order_by_the_application(app: Flask, told: Told) -> None:
    client = app.test_client()
    for path in ("/get", "/set/1", "/get", "/in/ada", "/out", "/get"):
        client.get(path)
    assert told.names == ["created", "loaded", "loaded", "rotated", "loaded", "ended"]
    assert len({sid for _, sid, _ in told.all}) == 1
    assert told.endings[0][1] is EndReason.LOGGED_OUT


def test_a_request_without_a_live_session_tells_nothing(app: Flask, told: Told) -> None:
    client = app.test_client()
    client.set_cookie("session", "garbage")
    client.get("/get")
    client.get("/out")
    assert told.all == []


def test_an_idle_session_is_told_as_idle(app: Flask, told: Told, clock: FakeClock) -> None:
    app.test_client().get("/set/1")
    clock.advance(100)
    assert manager_of(app).prune() == 1
    assert [reason for _, reason in told.endings] == [EndReason.IDLE]


def test_a_session_at_the_end_of_its_lifetime_is_told_so(app: Flask, told: Told, clock: FakeClock) -> None:
    client = app.test_client()
    client.get("/set/1")
    for _ in range(3):
        clock.advance(80)
        client.get("/get")
    clock.advance(10)
    manager_of(app).prune()
    assert [reason for _, reason in told.endings] == [EndReason.LIFETIME]


def test_a_revoked_session_is_told_so(app: Flask, told: Told) -> None:
    app.test_client().get("/set/1")
    (info,) = manager_of(app).find()
    manager_of(app).remove(info.sid)
    assert told.endings == [(info.sid, EndReason.REVOKED)]


def test_an_evicted_session_is_told_so(clock: FakeClock) -> None:
    app = make_app(clock, store=MemoryStore(max_sessions=2))
    told = Told(app)
    for number in range(5):
        clock.advance(1)
        app.test_client().get(f"/set/{number}")
    manager_of(app).prune()
    assert [reason for _, reason in told.endings] == [EndReason.EVICTED] * 3
    assert len({sid for sid, _ in told.endings}) == 3
    told.stop()


def test_a_session_that_is_emptied_is_told_as_logged_out(app: Flask, told: Told) -> None:
    client = app.test_client()
    client.get("/set/1")
    client.get("/pop")
    assert [reason for _, reason in told.endings] == [EndReason.LOGGED_OUT]


def test_clearing_and_writing_tells_an_end_and_a_creation(app: Flask, told: Told) -> None:
    @app.get("/anew")
    def anew() -> str:
        session.clear()
        session["a"] = "new"
        return "anew"

    client = app.test_client()
    client.get("/set/1")
    client.get("/anew")
    assert told.names == ["created", "loaded", "ended", "created"]
    assert told.all[0][1] == told.all[2][1] != told.all[3][1]


# Once.


def test_every_ending_is_told_once_whatever_comes_after(app: Flask, told: Told, clock: FakeClock) -> None:
    client = app.test_client()
    for ending in ("/out", "/pop", None):
        client.get("/set/1")
        if ending:
            client.get(ending)
        clock.advance(1000)
        client.get("/get")
        manager_of(app).prune()
        client.get("/out")
        manager_of(app).prune()
    reasons = [reason for _, reason in told.endings]
    assert reasons == [EndReason.LOGGED_OUT, EndReason.LOGGED_OUT, EndReason.IDLE]


def test_threads_that_end_one_session_together_tell_it_once(app: Flask, told: Told, clock: FakeClock) -> None:
    manager = manager_of(app)
    for _ in range(30):
        client = app.test_client()
        token = client.get("/set/1").headers["Set-Cookie"].partition(";")[0]
        told.all.clear()
        barrier = threading.Barrier(6)

        def end(number: int, barrier: threading.Barrier = barrier, token: str = token) -> None:
            barrier.wait()
            if number < 3:
                app.test_client(use_cookies=False).get("/out", headers={"Cookie": token})
            else:
                manager.prune()

        threads = [threading.Thread(target=end, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        clock.advance(100)
        for thread in threads:
            thread.join()
        manager.prune()
        assert len(told.endings) == 1


# Receivers.


def test_a_receiver_that_raises_neither_keeps_a_session_nor_breaks_a_request(
    app: Flask, caplog: pytest.LogCaptureFixture, clock: FakeClock
) -> None:
    def fail(sender: Any, **what: Any) -> None:
        raise LookupError("for the test")

    for signal in SIGNALS.values():
        signal.connect(fail, app)
    told = Told(app)
    client = app.test_client()
    for path in ("/set/1", "/get", "/in/ada", "/out"):
        assert client.get(path).status_code == 200
    assert client.get("/get").text == "None"
    client.get("/set/1")
    clock.advance(100)
    assert manager_of(app).prune() == 1
    assert told.names.count("ended") == 2
    assert caplog.text.count("A receiver of the signal") >= 6
    told.stop()
    for signal in SIGNALS.values():
        signal.disconnect(fail, app)


def test_receivers_of_one_application_hear_nothing_of_another(clock: FakeClock, told: Told) -> None:
    other = make_app(clock)
    other.test_client().get("/set/1")
    assert told.all == []


def test_a_manager_alone_is_its_own_sender(clock: FakeClock) -> None:
    with SessionManager(clock=clock, idle_timeout=100) as manager:
        told = Told(manager)
        sid = manager.create({"a": 1})
        manager.remove(sid)
        manager.create()
        clock.advance(100)
        manager.prune()
        assert [reason for _, reason in told.endings] == [EndReason.REVOKED, EndReason.IDLE]
        told.stop()


def test_a_receiver_may_use_the_manager(app: Flask, clock: FakeClock) -> None:
    seen: list[int] = []

    def count(sender: Any, **what: Any) -> None:
        seen.append(len(list(manager_of(app).find())))

    session_created.connect(count, app)
    session_ended.connect(count, app)
    client = app.test_client()
    client.get("/set/1")
    client.get("/out")
    assert seen == [1, 0]


def test_without_receivers_nothing_is_looked_up(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> Any:
        raise AssertionError("looked for receivers where there are none")

    for signal in SIGNALS.values():
        monkeypatch.setattr(signal, "receivers", {})
        monkeypatch.setattr(signal, "receivers_for", refuse)
    client = app.test_client()
    for path in ("/set/1", "/get", "/in/ada", "/out"):
        assert client.get(path).status_code == 200


def test_what_is_told_holds_no_secret(app: Flask) -> None:
    shown: list[str] = []

    def show(sender: Any, **what: Any) -> None:
        shown.append(repr(what))

    for signal in SIGNALS.values():
        signal.connect(show, app)
    client = app.test_client()
    client.get("/set/1")
    cookie = client.get_cookie("session")
    assert cookie is not None
    client.get("/get")
    client.get("/out")
    assert len(shown) == 4 and cookie.value[22:60] not in "".join(shown) and "secret" not in "".join(shown)
