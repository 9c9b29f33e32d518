"""flask-sock: each message uses the session as it is, sockets do not prolong it, and are closed with it."""

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from flask import session
from support.users_site import UsersSite
from werkzeug.serving import make_server

from flask_idlesession import active
from flask_idlesession.testing import FakeClock

pytest.importorskip("flask_sock")

from simple_websocket import Client
from simple_websocket import ConnectionClosed

from flask_idlesession.integrations.flask_sock import Sock


class Site(UsersSite):
    """An application with WebSockets on a real server."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__("sockets", clock)
        app, sock = self.app, Sock(self.app)

        @sock.route("/talk")  # type: ignore[untyped-decorator]
        def talk(ws: Any) -> None:
            while True:
                word = ws.receive()
                session.setdefault("words", []).append(word)
                ws.send(str(session.get("a")))

        @sock.route("/type")  # type: ignore[untyped-decorator]
        @active
        def typing(ws: Any) -> None:
            while True:
                ws.send(ws.receive())

        self.server = make_server("127.0.0.1", 0, app, threaded=True)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def socket(self, browser: Any, path: str = "/talk") -> Any:
        cookie = browser.get_cookie("session")
        headers = {} if cookie is None else {"Cookie": f"session={cookie.value}"}
        return Client(f"ws://127.0.0.1:{self.server.port}{path}", headers=headers)


@pytest.fixture
def site(clock: FakeClock) -> Iterator[Site]:
    site = Site(clock)
    yield site
    site.server.shutdown()
    site.server.server_close()


def ask(socket: Any, text: str) -> Any:
    socket.send(text)
    return socket.receive(timeout=5)


def closing_of(socket: Any) -> tuple[Any, Any]:
    with pytest.raises(ConnectionClosed) as closed:
        assert socket.receive(timeout=5) is not None
    return closed.value.reason, closed.value.message


def test_a_message_reads_the_session_as_it_is_then_and_writes_it(site: Site) -> None:
    browser = site.browser("ada")
    socket = site.socket(browser)
    browser.post("/put/a/1")
    assert ask(socket, "one") == "1"
    browser.post("/put/a/2")
    assert ask(socket, "two") == "2"
    socket.close()
    for _ in range(100):
        if browser.get("/all").json.get("words") == ["one", "two"]:
            break
        time.sleep(0.02)
    assert browser.get("/all").json == {"a": "2", "words": ["one", "two"]}


def test_messages_do_not_prolong_the_session_and_it_closes_the_socket(site: Site, clock: FakeClock) -> None:
    browser = site.browser("ada")
    clock.advance(60)
    socket = site.socket(browser)
    ask(socket, "one")
    clock.advance(39)
    ask(socket, "two")
    assert site.is_signed_in("ada")
    clock.advance(1)
    assert closing_of(socket) == (4000, "idle")


def test_messages_of_a_view_that_is_marked_active_prolong_it(site: Site, clock: FakeClock) -> None:
    socket = site.socket(site.browser("ada"), "/type")
    for _ in range(3):
        clock.advance(90)
        assert ask(socket, "a") == "a"
    assert site.is_signed_in("ada")
    socket.close()


def test_a_revocation_closes_the_socket_within_a_second(site: Site) -> None:
    socket, other = site.socket(site.browser("ada")), site.socket(site.browser("bob"))
    ask(socket, "one")
    began_at = time.monotonic()
    site.revoke("ada")
    assert closing_of(socket) == (4000, "revoked")
    assert time.monotonic() - began_at < 1.0
    assert ask(other, "still") == "None"
    other.close()


def test_a_new_token_closes_the_socket(site: Site) -> None:
    browser = site.browser()
    browser.post("/put/a/1")
    socket = site.socket(browser)
    assert ask(socket, "one") == "1"
    browser.post("/enter/ada")
    assert closing_of(socket) == (4000, "new token")


def test_a_socket_without_a_session_works(site: Site) -> None:
    socket = site.socket(site.browser())
    assert ask(socket, "one") == "None"
    assert ask(socket, "two") == "None"
    with suppress(ConnectionClosed):
        socket.close()
