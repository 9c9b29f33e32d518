"""Flask-SocketIO: events use the session as it is, sockets keep it from nothing, and are closed with it."""

import gc
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Flask
from flask import request
from flask import session
from support.users_site import TIMEOUT
from support.users_site import UsersSite
from support.waiting import wait_until
from werkzeug.serving import make_server

from flask_idlesession import active
from flask_idlesession import current_user_id
from flask_idlesession import IdleSession
from flask_idlesession import log_in
from flask_idlesession import log_out
from flask_idlesession import StoreUnavailable
from flask_idlesession.testing import FakeClock

flask_socketio = pytest.importorskip("flask_socketio")

from flask_idlesession.integrations.socketio import SocketIO  # noqa: E402


class Site(UsersSite):
    """An application with sockets, in this process, and its clients."""

    def __init__(self, clock: FakeClock, **config: Any) -> None:
        super().__init__("sockets", clock, **config)
        self.socketio: Any = SocketIO(self.app, async_mode="threading")
        self.seen: list[Any] = []
        self._add_views()
        self._add_events()

    def _add_views(self) -> None:
        app = self.app

        @app.post("/rotate")
        def rotate() -> str:
            session.rotate()  # type: ignore[attr-defined]
            return ""

        @app.post("/leave")
        def leave() -> str:
            log_out()
            return ""

    def _add_events(self) -> None:
        on: Any = self.socketio.on

        @on("get")
        def get(key: str) -> Any:
            return session.get(key)

        @on("put")
        def put(key: str, value: Any) -> Any:
            session[key] = value
            return current_user_id()

        @on("append")
        def append(key: str, value: Any) -> None:
            session.setdefault(key, []).append(value)

        @on("count")
        def count() -> Any:
            return session.modify("count", lambda count: count + 1, default=0)  # type: ignore[attr-defined]

        @on("typed")
        @active
        def typed() -> str:
            return "typed"

        @on("enter")
        def enter(name: str) -> str:
            try:
                log_in(name)
            except RuntimeError as error:
                return str(error)
            return "logged in"

        @on("leave")
        def leave() -> None:
            log_out()

        @on("run")
        def run() -> None:
            self.seen.append("run")

    def socket(self, browser: Any, **options: Any) -> Any:
        return self.socketio.test_client(self.app, flask_test_client=browser, **options)


@pytest.fixture
def site(clock: FakeClock) -> Site:
    return Site(clock)


def reasons(socket: Any) -> list[Any]:
    return [told["args"][0] for told in socket.queue if told["name"] == "session_ended"]


def ask(socket: Any, *told: Any) -> Any:
    return socket.emit(*told, callback=True) or None


# Reading and writing.


def test_an_event_reads_the_session_as_it_is_then(site: Site) -> None:
    browser = site.browser("ada")
    socket = site.socket(browser)
    for value in "12":
        browser.post(f"/put/a/{value}")
        assert ask(socket, "get", "a") == value


def test_an_events_assignment_is_stored_at_once(site: Site) -> None:
    browser = site.browser("ada")
    socket = site.socket(browser)
    assert ask(socket, "put", "a", 7) == "ada"
    assert browser.get("/all").json == {"a": 7}


def test_an_events_change_in_place_is_stored(site: Site) -> None:
    browser = site.browser("ada")
    socket = site.socket(browser)
    for value in (1, 2, 3):
        socket.emit("append", "list", value)
    assert browser.get("/all").json == {"list": [1, 2, 3]}


def test_fifty_events_at_once_count_exactly(site: Site) -> None:
    browser = site.browser("ada")
    clients = [site.socket(browser) for _ in range(10)]
    threads = [
        threading.Thread(target=lambda socket: [ask(socket, "count") for _ in range(5)], args=(socket,))
        for socket in clients
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert browser.get("/all").json == {"count": 50}


def test_a_socket_without_a_session_may_have_events(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    browser = site.browser()
    socket = site.socket(browser)
    assert ask(socket, "get", "a") is None
    assert ask(socket, "put", "a", 1) is None
    assert "'a'" in caplog.text and "cookie" in caplog.text
    assert socket.is_connected()
    assert browser.get("/all").json == {}


# Activity.


def test_a_socket_and_its_events_do_not_prolong_the_session(site: Site, clock: FakeClock) -> None:
    browser = site.browser("ada")
    clock.advance(60)
    socket = site.socket(browser)
    socket.emit("put", "a", 1)
    clock.advance(39)
    socket.emit("put", "a", 2)
    assert site.is_signed_in("ada")
    clock.advance(1)
    assert not site.is_signed_in("ada")
    wait_until(lambda: not socket.is_connected())
    assert reasons(socket) == [{"reason": "idle"}]


def test_an_event_that_is_marked_active_prolongs_the_session(site: Site, clock: FakeClock) -> None:
    socket = site.socket(site.browser("ada"))
    for _ in range(3):
        clock.advance(90)
        assert ask(socket, "typed") == "typed"
    assert site.is_signed_in("ada")


@pytest.mark.parametrize("interval", [0, 10])
def test_activity_is_noted_however_seldom_it_is_written(clock: FakeClock, interval: float) -> None:
    site = Site(clock, IDLESESSION_TOUCH_INTERVAL=interval)
    socket = site.socket(site.browser("ada"))
    clock.advance(50)
    ask(socket, "typed")
    clock.advance(TIMEOUT - 1)
    assert site.is_signed_in("ada")
    clock.advance(interval + 1)
    assert not site.is_signed_in("ada")


# The end.


def test_a_socket_is_closed_with_its_session_and_told_why(site: Site) -> None:
    browser = site.browser("ada")
    hers, his = [site.socket(browser) for _ in range(3)], site.socket(site.browser("bob"))
    began_at = time.monotonic()
    site.revoke("ada")
    wait_until(lambda: not any(socket.is_connected() for socket in hers))
    assert time.monotonic() - began_at < 1
    assert [reasons(socket) for socket in hers] == [[{"reason": "revoked"}]] * 3
    assert his.is_connected()


def test_a_log_out_closes_sockets(site: Site) -> None:
    for leave in ("event", "view"):
        browser = site.browser("ada")
        socket = site.socket(browser)
        socket.emit("leave") if leave == "event" else browser.post("/leave")
        wait_until(lambda: not socket.is_connected())  # noqa: B023
        assert reasons(socket) == [{"reason": "logged out"}]
        assert not site.is_signed_in("ada")


def test_no_handler_runs_once_the_session_is_over(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site.socketio, "_end", lambda ending: None)  # The news is late.
    socket = site.socket(site.browser("ada"))
    socket.emit("run")
    site.revoke("ada")
    socket.emit("run")
    assert site.seen == ["run"]
    wait_until(lambda: not socket.is_connected())
    assert reasons(socket) == [{"reason": "revoked"}]


def test_handlers_of_connections_are_called_as_they_are(site: Site) -> None:
    seen = site.seen

    @site.socketio.on("connect")
    def connect(auth: Any) -> None:
        seen.append((auth, current_user_id(), request.sid))  # type: ignore[attr-defined]

    @site.socketio.on("disconnect")
    def disconnect(reason: Any) -> None:
        seen.append((reason, current_user_id()))

    socket = site.socket(site.browser("ada"), auth={"a": 1})
    socket.disconnect()
    assert [told[:2] for told in seen] == [({"a": 1}, "ada"), (seen[1][0], "ada")]
    assert not site.socketio._followed and not site.socketio._session_of


def test_old_handlers_that_take_nothing_are_called(site: Site) -> None:
    site.socketio.on("connect")(lambda: site.seen.append("came"))
    site.socketio.on("disconnect")(lambda: site.seen.append("went"))
    site.socket(site.browser("ada")).disconnect()
    assert site.seen == ["came", "went"]


def test_sockets_of_a_class_are_followed(site: Site) -> None:
    class Room(flask_socketio.Namespace):  # type: ignore[misc]
        def on_say(self, text: str) -> Any:
            session["said"] = text
            return current_user_id()

        @active
        def on_type(self) -> None: ...

    site.socketio.on_namespace(Room("/room"))
    browser = site.browser("ada")
    socket = site.socket(browser, namespace="/room")
    assert socket.emit("say", "hello", namespace="/room", callback=True) == "ada"
    assert browser.get("/all").json == {"said": "hello"}
    site.revoke("ada")
    wait_until(lambda: not socket.is_connected("/room"))


def test_a_store_that_is_away_is_an_error_of_the_event(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    socket = site.socket(site.browser("ada"))
    failures: list[Any] = []
    site.socketio.on_error_default(failures.append)
    store = site.app.extensions["idlesession"].manager.store

    def fail(*_: Any, **__: Any) -> None:
        raise StoreUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(store, "load", fail)
        socket.emit("run")
    assert site.seen == [] and isinstance(failures[0], StoreUnavailable)
    socket.emit("run")
    assert site.seen == ["run"]


# Another token.


def test_an_event_cannot_log_in_and_says_so(site: Site) -> None:
    browser = site.browser("ada")
    assert "in the view" in ask(site.socket(browser), "enter", "bob")
    assert site.is_signed_in("ada") and not site.is_signed_in("bob")


def test_a_socket_from_before_a_log_in_gets_nothing_of_it(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    dropped: list[Any] = []
    monkeypatch.setattr(site.socketio, "_cut", dropped.append)  # A test client has none.
    browser = site.browser()
    browser.post("/put/a/1")
    planted = site.socket(browser)
    assert ask(planted, "get", "a") == "1"
    browser.post("/enter/ada")
    planted.emit("run")
    planted.emit("put", "b", 2)
    assert site.seen == [] and browser.get("/all").json == {"a": "1"}
    wait_until(lambda: dropped)
    wait_until(lambda: len(dropped) >= 3)
    assert ask(site.socket(browser), "put", "b", 3) == "ada"


def test_a_new_token_drops_the_sockets_of_the_old_one(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    dropped: list[Any] = []
    monkeypatch.setattr(site.socketio, "_cut", dropped.append)
    browser = site.browser("ada")
    socket = site.socket(browser)
    browser.post("/put/a/1")
    browser.post("/rotate")
    assert ask(socket, "get", "a") == "1", "The old token opens the session for ten seconds more."
    wait_until(lambda: dropped)
    assert ask(site.socket(browser), "get", "a") == "1"


# Flask-SocketIO's own class.


class PlainSite:
    """An application with Flask-SocketIO's own class, which hands the session to its events as Flask does."""

    def __init__(self) -> None:
        self.app = Flask("plain sockets")
        self.app.config.update(SECRET_KEY="2c1f0fd0a3c3ff60e8a8a9d7b0c1d5f1")
        IdleSession(self.app)
        self.socketio: Any = flask_socketio.SocketIO(self.app, async_mode="threading", manage_session=False)
        self.raised: list[BaseException] = []
        self.socketio.on_error_default(self.raised.append)
        self.app.add_url_rule("/enter", "enter", view_func=lambda: log_in("ada") or "", methods=["POST"])
        self.app.add_url_rule("/who", "who", view_func=lambda: {"user": current_user_id(), **session})
        self.socketio.on("put")(lambda key, value: session.__setitem__(key, value))
        self.socketio.on("log in")(lambda name: log_in(name))
        self.socketio.on("rotate")(lambda: session.rotate())

    def emit(self, client: Any, *event: Any) -> None:
        socket = self.socketio.test_client(self.app, flask_test_client=client)
        socket.emit(*event)
        socket.disconnect()


@pytest.mark.parametrize("event", [("log in", "bob"), ("log in", "ada"), ("rotate",)])
def test_an_event_of_the_plain_class_gives_no_token_that_nobody_gets(event: tuple[str, ...]) -> None:
    site = PlainSite()
    client = site.app.test_client()
    client.post("/enter")
    site.emit(client, *event)
    assert "an event cannot set a cookie" in str(site.raised[0])
    assert client.get("/who").json == {"user": "ada"}, "the session is as it was"


def test_an_event_of_the_plain_class_writes_into_a_session_that_there_is(caplog: pytest.LogCaptureFixture) -> None:
    site = PlainSite()
    client = site.app.test_client()
    client.post("/enter")
    site.emit(client, "put", "cart", ["tea"])
    assert client.get("/who").json == {"user": "ada", "cart": ["tea"]}
    assert not [line for line in caplog.messages if "ISW005" in line]


def test_an_event_of_the_plain_class_begins_no_session_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    site = PlainSite()
    client = site.app.test_client()
    site.emit(client, "put", "cart", ["tea"])
    assert list(site.app.extensions["idlesession"].manager.find()) == []
    assert any("ISW005" in line and "cart" in line for line in caplog.messages)
    assert not site.raised


# A real server and a real client.


@contextmanager
def served(app: Flask) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, app, threaded=True)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    server.server_close()


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_a_client_connects_again_after_a_log_in_and_is_the_user_then(site: Site, transport: str) -> None:
    pytest.importorskip("simple_websocket")
    socketio = pytest.importorskip("socketio")
    browser, told = site.browser(), []
    browser.post("/put/a/1")
    with served(site.app) as url:
        client = socketio.Client(reconnection_delay=0.1)
        client.on("session_ended", told.append)
        client.connect(
            url,
            headers=lambda: {"Cookie": f"session={browser.get_cookie('session').value}"},
            transports=[transport],
            wait_timeout=10,
        )
        first = client.get_sid()
        assert client.call("put", ("b", 2)) is None
        browser.post("/enter/ada")
        wait_until(lambda: client.connected and client.get_sid() not in (None, first), seconds=10)
        assert client.call("put", ("b", 3)) == "ada" and not told
        site.revoke("ada")
        wait_until(lambda: told == [{"reason": "revoked"}] and not client.connected)
        client.disconnect()
    client = None
    gc.collect()  # The client leaves the socket of a lost connection to the collector.
