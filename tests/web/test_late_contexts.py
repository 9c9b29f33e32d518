"""Changes after the response has begun: stored where that can be, and logged where it cannot."""

import gc
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from contextlib import ExitStack
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
from flask import copy_current_request_context
from flask import flash
from flask import Flask
from flask import get_flashed_messages
from flask import request
from flask import request_tearing_down
from flask import Response
from flask import session
from flask import stream_template_string
from flask import stream_with_context
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from flask_idlesession import csrf_protect
from flask_idlesession import current_user_id
from flask_idlesession import IdleSession
from flask_idlesession import log_in
from flask_idlesession import log_out
from flask_idlesession import MemoryStore
from flask_idlesession import reauthenticate
from flask_idlesession import StoreError
from flask_idlesession import Traits
from flask_idlesession.stores.contract import Store
from flask_idlesession.stores.redis import RedisStore
from flask_idlesession.stores.sqlite import SQLiteStore
from flask_idlesession.testing import FakeClock


class FarStore(MemoryStore):
    """Says nothing of its sessions unless it is asked, as a server does."""

    traits = Traits()  # type: ignore[assignment]


@pytest.fixture(params=["memory", "far", "sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with ExitStack() as stack:
        if request.param == "redis":
            client = request.getfixturevalue("redis_server").client()
            yield RedisStore(stack.enter_context(closing(client)), prefix=f"{token_hex(8)}:")
        elif request.param == "sqlite":
            yield stack.enter_context(closing(SQLiteStore(tmp_path / "sessions.db")))
        else:
            yield MemoryStore() if request.param == "memory" else FarStore()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(time.time())  # Near to what the Redis server says.


@pytest.fixture
def app(store: Store, clock: FakeClock) -> Flask:
    return make_app(store, clock)


class Begun(FlaskClient):
    """A browser with a session, which begins when the browser is first used: by then all views are there."""

    is_begun = False

    def open(self, *args: Any, **how: Any) -> TestResponse:
        if not self.is_begun:
            self.is_begun = True
            self.get("/begin")
        return super().open(*args, **how)

    def copy(self) -> FlaskClient:
        """Return another browser with the same cookie."""
        self.get("/all")
        cookie = self.get_cookie("session")
        assert cookie is not None
        other = FlaskClient(self.application, self.response_wrapper)
        other.set_cookie("session", cookie.value)
        return other


@pytest.fixture
def client(app: Flask) -> Begun:
    return Begun(app, app.response_class)


def make_app(store: Store, clock: FakeClock, **config: Any) -> Flask:
    app = Flask(__name__)
    app.config.update(TESTING=True, SECRET_KEY="9f3c2a7be10d44f8a6c5d2e1b7a890ff", **config)
    IdleSession(app, store=store, clock=clock)

    @app.get("/begin")
    def begin() -> str:
        session["log"] = ["begun"]
        return "begun"

    @app.get("/all")
    def show() -> dict[str, Any]:
        return dict(session)

    @app.get("/in/<user>")
    def enter(user: str) -> str:
        log_in(user)
        return "in"

    @app.get("/who")
    def who() -> str:
        return str(current_user_id())

    @app.get("/out")
    def leave() -> str:
        log_out()
        return "out"

    return app


def stream(app: Flask, path: str, *, before: Any = None) -> Any:
    """Register a view that streams what the decorated function yields, after ``before`` was called in the view."""

    def register(lines: Any) -> Any:
        def view() -> Response:
            if before is not None:
                before()
            return Response(stream_with_context(lines()))

        app.add_url_rule(path, endpoint=path, view_func=view)
        return lines

    return register


def lines_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname in ("WARNING", "ERROR")]


# What is kept.


def test_each_assignment_in_a_stream_is_stored_at_once(app: Flask, client: Begun) -> None:
    others: list[FlaskClient] = []
    seen = []

    @stream(app, "/stream")
    def lines() -> Iterator[str]:
        session["step"] = 1
        seen.append(others[0].get("/all").json)
        yield "one"
        session["step"] = (2, "two")
        session.setdefault("more", {"a": 1})
        seen.append(others[0].get("/all").json)
        yield "two"
        del session["more"]
        session.update(step=3)

    others.append(client.copy())
    assert client.get("/stream").text == "onetwo"
    assert [each["step"] for each in seen] == [1, [2, "two"]] and seen[1]["more"] == {"a": 1}
    assert client.get("/all").json == {"log": ["begun"], "step": 3}


def test_what_was_changed_in_place_is_stored_when_the_stream_ends(app: Flask, client: Begun) -> None:
    @stream(app, "/stream")
    def lines() -> Iterator[str]:
        session["log"].append("streamed")
        yield "one"
        session["log"].append("ended")

    client.get("/stream").get_data()
    assert client.get("/all").json == {"log": ["begun", "streamed", "ended"]}


def test_what_a_view_had_read_can_be_changed_by_its_stream_without_a_context(app: Flask, client: Begun) -> None:
    @app.get("/held")
    def held() -> Response:
        log = session["log"]

        def lines() -> Iterator[str]:
            yield "one"
            log.append("held")

        return Response(lines())

    client.get("/held", buffered=True)
    assert client.get("/all").json == {"log": ["begun", "held"]}


def test_a_stream_that_its_client_leaves_keeps_what_it_did(app: Flask, client: Begun) -> None:
    @stream(app, "/stream")
    def lines() -> Iterator[str]:
        session["step"] = 1
        session["log"].append("in place")
        yield "one"
        session["step"] = 2
        yield "two"

    response = client.get("/stream", buffered=False)
    assert next(iter(response.response)) == b"one"
    response.close()
    assert client.get("/all").json == {"log": ["begun", "in place"], "step": 1}


def test_a_copied_context_keeps_what_it_assigns_and_what_it_changes_in_place(app: Flask, client: Begun) -> None:
    go_on = threading.Event()
    threads = []

    @app.get("/copied")
    def copied() -> str:
        session["view"] = 1

        @copy_current_request_context
        def work() -> None:
            assert go_on.wait(10)
            session["assigned"] = session["view"] + 1
            session["log"].append("copied")

        threads.append(threading.Thread(target=work))
        threads[0].start()
        return "started"

    client.get("/copied")
    assert client.get("/all").json == {"log": ["begun"], "view": 1}
    go_on.set()
    threads[0].join()
    assert client.get("/all").json == {"log": ["begun", "copied"], "view": 1, "assigned": 2}


def test_a_teardown_and_a_close_keep_what_they_do(app: Flask, client: Begun) -> None:
    @app.teardown_request
    def note(error: object) -> None:
        if request.path == "/late":
            session["teardown"] = True
            session["log"].append("teardown")

    @app.get("/late")
    def late() -> str:
        return "late"

    client.get("/late")
    assert client.get("/all").json == {"log": ["begun", "teardown"], "teardown": True}


def test_messages_that_a_streamed_template_shows_are_shown_once(app: Flask, client: Begun) -> None:
    @app.get("/flash")
    def say() -> str:
        flash("hello")
        return "said"

    @app.get("/page")
    def page() -> Any:
        return stream_template_string("{% for message in get_flashed_messages() %}[{{ message }}]{% endfor %}.")

    @app.get("/page-in-view")
    def page_in_view() -> Any:
        return f"{get_flashed_messages()}"

    client.get("/flash")
    assert [client.get("/page").text for _ in range(2)] == ["[hello].", "."]
    assert client.get("/page-in-view").text == "[]"


def test_a_streamed_page_of_a_stored_session_has_a_csrf_token_that_is_right(app: Flask, client: Begun) -> None:
    @app.get("/form")
    def form() -> Any:
        return stream_template_string("{{ csrf_token() }}")

    @app.post("/form")
    @csrf_protect
    def send() -> str:
        return "sent"

    token = client.get("/form").text
    assert client.post("/form", data={"csrf_token": token}).text == "sent"


def test_a_log_out_in_a_stream_is_final(app: Flask, client: Begun, caplog: pytest.LogCaptureFixture) -> None:
    @stream(app, "/stream")
    def lines() -> Iterator[str]:
        log_out()
        yield str(session.get("log"))
        session["after"] = 1

    client.get("/in/ada")
    assert client.get("/stream").text == "None"
    assert client.get("/who").text == "None" and client.get("/all").json == {}
    (line,) = lines_of(caplog)
    assert "'after'" in line and "ISW005" in line


def test_an_idle_timeout_that_a_stream_sets_counts(app: Flask, client: Begun, clock: FakeClock) -> None:
    @stream(app, "/stream")
    def lines() -> Iterator[str]:
        session.idle_timeout = 60  # type: ignore[attr-defined]
        yield "one"
        yield str(session.idle_timeout)  # type: ignore[attr-defined]

    assert client.get("/stream").text == "one60.0"
    clock.advance(60)
    assert client.get("/all").json == {}


def test_modify_and_exclusive_work_in_a_stream(app: Flask, client: Begun) -> None:
    @stream(app, "/stream")
    def lines() -> Iterator[str]:
        session.modify("count", lambda count: count + 1, default=0)  # type: ignore[attr-defined]
        with session.exclusive():  # type: ignore[attr-defined]
            session["log"].append("exclusive")
            session["alone"] = True
        yield "end"

    client.get("/stream").get_data()
    assert client.get("/all").json == {"log": ["begun", "exclusive"], "count": 1, "alone": True}


def test_what_a_view_wrote_and_its_stream_goes_on_with_is_kept(app: Flask) -> None:
    @stream(app, "/stream", before=lambda: session.update(cart=["tea"]))
    def lines() -> Iterator[str]:
        session["cart"].append("milk")
        session["paid"] = True
        yield "one"

    client = app.test_client()
    client.get("/stream").get_data()
    assert client.get("/all").json == {"cart": ["tea", "milk"], "paid": True}


def test_a_log_in_of_the_view_lets_its_stream_write(app: Flask, client: Begun) -> None:
    @stream(app, "/stream", before=lambda: log_in("ada"))
    def lines() -> Iterator[str]:
        session["mine"] = str(current_user_id())
        yield "one"

    client.get("/stream").get_data()
    assert client.get("/all").json == {"log": ["begun"], "mine": "ada"}


def test_reading_in_a_stream_writes_nothing_and_says_nothing(
    app: Flask, client: Begun, store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    commits: list[Any] = []

    @stream(app, "/stream")
    def lines() -> Iterator[str]:
        commit = store.commit
        monkeypatch.setattr(type(store), "commit", lambda *args, **how: commits.append(args) or commit(*args, **how))
        yield str(dict(session)) + str(session.get("nothing")) + str(current_user_id())

    assert "begun" in client.get("/stream").text
    assert commits == [] and lines_of(caplog) == []


# What is not, and is said.


def test_what_would_need_a_cookie_is_told_once_with_all_its_keys(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    @stream(app, "/stream")
    def lines() -> Iterator[str]:
        session["a"] = 1
        yield "one"
        session["b"] = [2]
        session["b"].append(3)
        flash("hello")

    client = app.test_client()
    answer = client.get("/stream")
    assert "Set-Cookie" not in answer.headers and answer.text == "one"
    (line,) = lines_of(caplog)
    assert all(f"'{key}'" in line for key in ("a", "b", "_flashes")) and "in the view" in line
    assert client.get("/all").json == {}


def test_a_csrf_token_that_nothing_will_accept_is_told(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    @app.get("/form")
    def form() -> Any:
        return stream_template_string("{{ csrf_token() }}")

    app.test_client().get("/form").get_data()
    (line,) = lines_of(caplog)
    assert "csrf_token()" in line


@pytest.mark.parametrize("path", ["/out", "/in/grace"])
def test_what_comes_after_another_request_ended_or_rotated_the_session_is_told_and_not_kept(
    app: Flask, client: Begun, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    @stream(app, "/stream")
    def lines() -> Iterator[str]:
        session["before"] = 1
        yield "one"
        client.get(path)
        session["after"] = 2
        session["later"] = 3
        yield "two"

    client.get("/in/ada")
    client.copy().get("/stream").get_data()
    (line,) = lines_of(caplog)
    assert "'after', 'later'" in line and "'before'" not in line
    assert "after" not in (client.get("/all").json or {})


def test_a_session_made_permanent_too_late_is_told(app: Flask, client: Begun, caplog: pytest.LogCaptureFixture) -> None:
    @stream(app, "/stream")
    def lines() -> Iterator[str]:
        session.permanent = True
        yield "one"

    client.get("/stream").get_data()
    (line,) = lines_of(caplog)
    assert "'_permanent'" in line
    (info,) = app.extensions["idlesession"].manager.find()
    assert info.refresh_by < float("inf")


@pytest.mark.parametrize("what", ["log_in", "reauthenticate", "rotate"])
def test_a_log_in_or_a_rotation_after_the_response_has_begun_is_an_error_and_changes_nothing(
    app: Flask, client: Begun, what: str
) -> None:
    called = {
        "log_in": lambda: log_in("grace"),
        "reauthenticate": reauthenticate,
        "rotate": lambda: session.rotate(),  # type: ignore[attr-defined]
    }[what]

    @stream(app, "/stream")
    def lines() -> Iterator[str]:
        with pytest.raises(RuntimeError, match=f"{what if what == 'rotate' else 'log_in'}.* after the response had"):
            called()
        yield str(current_user_id())

    client.get("/in/ada")
    assert client.get("/stream").text == "ada"
    assert client.get("/who").text == "ada"


def test_a_value_changed_in_place_into_what_cannot_be_stored_is_told(
    app: Flask, client: Begun, caplog: pytest.LogCaptureFixture
) -> None:
    @stream(app, "/stream")
    def lines() -> Iterator[str]:
        session["log"].append(object())
        yield "one"

    assert client.get("/stream").text == "one"
    (line,) = lines_of(caplog)
    assert "session['log'][1]" in line and "ISE003" in line
    assert client.get("/all").json == {"log": ["begun"]}


def test_a_store_that_fails_late_is_told_of(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    class Failing(MemoryStore):
        fails = False

        def commit(self, *args: Any, **how: Any) -> Any:
            if self.fails:
                raise StoreError("The disk is full.")
            return super().commit(*args, **how)

    store = Failing()
    app = make_app(store, clock)

    @stream(app, "/stream")
    def lines() -> Iterator[str]:
        store.fails = True
        with pytest.raises(StoreError):
            session["a"] = 1
        session["log"].append("lost")
        yield "one"

    client = app.test_client()
    client.get("/begin")
    assert client.get("/stream").text == "one"
    (line,) = lines_of(caplog)
    assert "The disk is full." in line and "'log'" in line


# When it is late.


def test_a_session_that_is_saved_early_is_not_late(app: Flask) -> None:
    @app.get("/early")
    def early() -> str:
        app.session_interface.save_session(app, session._get_current_object(), Response())  # type: ignore[attr-defined]
        session["a"] = 1
        log_in("ada")
        return "early"

    client = app.test_client()
    client.get("/early")
    assert client.get("/all").json == {"a": 1} and client.get("/who").text == "ada"


def test_a_request_that_uses_its_session_in_time_listens_to_no_context(app: Flask, client: Begun) -> None:
    @stream(app, "/stream")
    def lines() -> Iterator[str]:
        session["a"] = 1
        yield "one"

    client.get("/all")
    assert not list(request_tearing_down.receivers_for(app))
    client.get("/stream").get_data()
    client.get("/all")
    assert not list(request_tearing_down.receivers_for(app))


def test_an_answer_that_sets_a_cookie_is_no_late_look(app: Flask) -> None:
    before = set(request_tearing_down.receivers)
    assert app.test_client().get("/begin").headers["Set-Cookie"]
    assert set(request_tearing_down.receivers) <= before


def test_blinker_forgets_a_listener_once_no_session_is_used_late(app: Flask, client: Begun) -> None:
    @stream(app, "/stream")
    def lines() -> Iterator[str]:
        session["a"] = 1
        yield "one"

    before = set(request_tearing_down.receivers)
    client.get("/stream").get_data()
    assert not set(request_tearing_down.receivers) <= before
    gc.collect()
    client.get("/all")
    assert set(request_tearing_down.receivers) <= before
