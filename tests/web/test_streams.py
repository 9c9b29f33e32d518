"""Streams end with the session of the request that opened them, and do not keep it alive."""

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from flask import Response
from support.users_site import TIMEOUT
from support.users_site import UsersSite

from flask_idlesession import EventStream
from flask_idlesession import log_out
from flask_idlesession import SessionManager
from flask_idlesession import until_session_ends
from flask_idlesession.testing import FakeClock

EVENT_STREAM = {"Accept": "text/event-stream"}


class Site(UsersSite):
    def __init__(self, clock: FakeClock, **config: Any) -> None:
        super().__init__("streams", clock, **config)
        app = self.app
        self.streams: set[EventStream] = set()
        self.is_closed = threading.Event()

        @app.post("/leave")
        def leave() -> str:
            log_out()
            return ""

        @app.get("/events")
        def events() -> Response:
            stream = EventStream(on_close=self.streams.discard, heartbeat=0.2)
            self.streams.add(stream)
            return stream.response()

        @app.get("/ticks")
        def ticks() -> Response:
            def each() -> Iterator[str]:
                try:
                    while True:
                        yield "tick\n"
                finally:
                    self.is_closed.set()

            return Response(until_session_ends(each()), mimetype="text/plain")


@pytest.fixture
def site(clock: FakeClock) -> Site:
    return Site(clock)


def opened(site: Site, browser: Any) -> tuple[Iterator[str], EventStream]:
    """Open a stream; return what it says, from after its first line."""
    before = set(site.streams)
    response = browser.get("/events", headers=EVENT_STREAM)
    assert (response.mimetype, response.headers["Cache-Control"]) == ("text/event-stream", "no-store")
    said = (chunk.decode() for chunk in response.iter_encoded())
    assert next(said) == ":\n\n"
    return said, next(iter(site.streams - before))


def rest_of(said: Iterator[str]) -> list[str]:
    return [text for text in said if text != ":\n\n"]


def test_events_are_sent_as_browsers_read_them(site: Site) -> None:
    said, stream = opened(site, site.browser("ada"))
    assert stream.send("one\ntwo\r\n\rthree") and stream.send({"a": [1]}, event="news")
    assert next(said) == "data: one\ndata: two\ndata: \ndata: three\n\n"
    assert next(said) == 'event: news\ndata: {"a":[1]}\n\n'.replace('"a":', '"a": ')
    assert next(said) == ":\n\n", "A comment tells whether the client is still there."
    stream.send("x", event="a\nid: b")
    assert next(said) == "event: a id: b\ndata: x\n\n"
    stream.close()
    assert rest_of(said) == [] and not stream.send("late")


@pytest.mark.parametrize("end", ["revoked", "idle", "logged out"])
def test_a_stream_ends_with_its_session_and_says_why(site: Site, clock: FakeClock, end: str) -> None:
    browser = site.browser("ada")
    said, stream = opened(site, browser)
    began_at = time.monotonic()
    if end == "revoked":
        site.revoke("ada")
    elif end == "idle":
        clock.advance(TIMEOUT)
    else:
        browser.post("/leave")
    told = rest_of(said)
    assert time.monotonic() - began_at < 1.0
    assert told == [f"event: session_ended\ndata: {json.dumps({'reason': end})}\n\n"]
    assert not stream.is_open and not site.streams


def test_a_stream_does_not_prolong_its_session_unless_it_says_so(site: Site, clock: FakeClock) -> None:
    browser = site.browser("ada")
    clock.advance(90)
    said, stream = opened(site, browser)
    stream.send("news")
    assert next(said)
    clock.advance(9)
    assert site.is_signed_in("ada")
    stream.note_activity()
    clock.advance(99)
    assert site.is_signed_in("ada")
    clock.advance(1)
    assert not site.is_signed_in("ada")
    assert "idle" in rest_of(said)[0]


def test_a_stream_of_the_token_before_a_log_in_ends_without_a_word(site: Site) -> None:
    browser = site.browser()
    browser.post("/put/a/1")
    said, stream = opened(site, browser)
    browser.post("/enter/ada")
    assert rest_of(said) == [] and not stream.is_open


def test_a_client_that_is_too_slow_is_closed(site: Site) -> None:
    said, stream = opened(site, site.browser("ada"))
    assert all(stream.send(str(number)) for number in range(1000))
    assert not stream.send("one too many")
    assert rest_of(said) == []


def test_a_stream_without_a_session_works(site: Site) -> None:
    said, stream = opened(site, site.browser())
    stream.send("news")
    assert next(said) == "data: news\n\n"
    stream.close()


def test_a_generator_is_closed_when_the_session_is_over(site: Site) -> None:
    response = site.browser("ada").get("/ticks")
    ticks = response.iter_encoded()
    assert next(ticks) == b"tick\n"
    site.revoke("ada")
    deadline = time.monotonic() + 5
    while next(ticks, None) is not None:
        assert time.monotonic() < deadline
    assert site.is_closed.is_set()


def test_a_generator_is_closed_when_the_client_leaves(site: Site) -> None:
    with site.browser("ada").get("/ticks") as response:
        assert next(response.iter_encoded()) == b"tick\n"
    assert site.is_closed.is_set()


def held() -> tuple[int, int]:
    """Return how many threads this process has, and how many files and connections are open in it."""
    return threading.active_count(), len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="Only Linux tells what a process has open.")
@pytest.mark.parametrize("kind", ["memory", "sqlite", "redis_server", "postgresql"])
def test_a_thousand_open_streams_have_no_thread_and_no_connection_of_their_own(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/sessions.db"}
    site = Site(clock, IDLESESSION_STORE=places.get(kind) or request.getfixturevalue(kind).url)
    manager = site.app.extensions["idlesession"].manager
    with closing(manager):
        first = opened(site, site.browser("bob"))  # It stays open, too.
        settle(manager)
        before = held()
        browsers = [site.browser("ada") for _ in range(100)]
        open_ones = [opened(site, browser) for browser in browsers for _ in range(10)]
        settle(manager)
        assert all(now <= then + 10 for now, then in zip(held(), before, strict=True)), "A few are made at first use."
        started: list[str] = []
        start = threading.Thread.start
        monkeypatch.setattr(threading.Thread, "start", lambda self: (started.append(self.name), start(self)))
        site.revoke("ada")
        assert all("revoked" in rest_of(said)[0] for said, _ in open_ones)
        assert not [name for name in started if "probe" not in name], "An end costs a thread."
        first[1].close()


def settle(manager: SessionManager) -> None:
    """Wait until the thread that watches sessions has begun with all of them."""
    watch = manager.lifecycle._watch
    assert watch is not None
    deadline = time.monotonic() + 20
    while watch._asked or (watch._hears and watch._news is None):
        assert time.monotonic() < deadline
        time.sleep(0.01)
