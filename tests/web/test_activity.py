"""What counts as activity: users prolong their sessions, and polls, files and timers do not."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from flask import Blueprint
from flask import Flask
from flask import Request
from flask import Response
from flask import session
from flask import stream_with_context
from flask.testing import FlaskClient
from flask.views import MethodView
from flask.views import View

from flask_idlesession import active
from flask_idlesession import IdleSession
from flask_idlesession import log_in
from flask_idlesession import passive
from flask_idlesession.testing import FakeClock

TIMEOUT = 100

#: A shorter time, which one session is given.
SHORT = 10


@pytest.fixture
def app(clock: FakeClock, tmp_path: Any) -> Flask:
    return make_app(clock, str(tmp_path))


def make_app(clock: FakeClock, static: str, **config: Any) -> Flask:
    app = Flask(__name__, static_folder=static, static_url_path="/static")
    app.config.update(IDLESESSION_IDLE_TIMEOUT=TIMEOUT, **config)
    app.secret_key = "of the activity tests"
    IdleSession(app, clock=clock)

    @app.get("/set/<value>")
    def put(value: str) -> str:
        session["a"] = value
        return "set"

    @app.route("/get", methods=["GET", "POST"])
    def get() -> str:
        return str(session.get("a"))

    @app.get("/ignore")
    def ignore() -> str:
        return "ignored"

    return app


def prolongs(app: Flask, clock: FakeClock, path: str, **how: Any) -> bool:
    """Whether a request for the path keeps a new session alive beyond its first deadline."""
    client = app.test_client()
    client.get("/set/1")
    clock.advance(TIMEOUT - 1)
    with client.open(path, **how) as response:
        assert response.status_code < 500
    clock.advance(1)
    return is_alive(client)


def is_alive(client: FlaskClient) -> bool:
    return client.get("/get").text == "1"


# "all".


@pytest.mark.parametrize("path", ["/get", "/ignore", "/set/1", "/nowhere"])
def test_by_default_every_request_is_activity(app: Flask, clock: FakeClock, path: str) -> None:
    assert prolongs(app, clock, path)


def test_by_default_every_method_is_activity(app: Flask, clock: FakeClock) -> None:
    for method in ("GET", "HEAD", "POST", "OPTIONS"):
        assert prolongs(app, clock, "/get", method=method)


def test_by_default_sec_fetch_headers_change_nothing(app: Flask, clock: FakeClock) -> None:
    assert prolongs(app, clock, "/get", headers={"Sec-Fetch-Mode": "cors"})


def test_a_session_without_activity_is_over_at_its_deadline_and_not_before(app: Flask, clock: FakeClock) -> None:
    client = app.test_client()
    client.get("/set/1")
    clock.advance(TIMEOUT - 0.001)
    assert is_alive(client)
    clock.advance(TIMEOUT)
    assert not is_alive(client)


def test_a_hook_that_answers_before_the_others_does_not_hide_activity(clock: FakeClock) -> None:
    app = Flask(__name__)
    app.config["IDLESESSION_IDLE_TIMEOUT"] = TIMEOUT
    app.secret_key = "a key of the tests"

    @app.before_request
    def answer() -> str:
        return str(session.setdefault("a", "1"))

    IdleSession(app, clock=clock)
    client = app.test_client()
    client.get("/")
    (before,) = app.extensions["idlesession"].manager.find()
    for _ in range(3):
        clock.advance(TIMEOUT - 1)
        client.get("/")
    (after,) = app.extensions["idlesession"].manager.find()
    assert after.sid == before.sid


# "navigation".

NAVIGATION: list[tuple[dict[str, str], bool]] = [
    ({"Sec-Fetch-Mode": "navigate", "Sec-Fetch-User": "?1", "Sec-Fetch-Dest": "document"}, True),
    ({"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, False),
    ({"Sec-Fetch-Mode": "navigate", "Sec-Fetch-User": "?0"}, False),
    ({"Sec-Fetch-Mode": "cors"}, False),
    ({"Sec-Fetch-Mode": "cors", "Sec-Fetch-User": "?1"}, False),
    ({"Sec-Fetch-Mode": "same-origin"}, False),
    ({"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}, False),
    ({"Sec-Fetch-Mode": "websocket"}, False),
    ({"Sec-Fetch-Mode": ""}, False),
    ({"Sec-Fetch-User": "?1"}, True),
    ({}, True),
]


@pytest.mark.parametrize(("headers", "expected"), NAVIGATION)
def test_navigation_is_what_the_fetch_metadata_say(
    clock: FakeClock, tmp_path: Any, headers: dict[str, str], expected: bool
) -> None:
    app = make_app(clock, str(tmp_path), IDLESESSION_ACTIVITY="navigation")
    assert prolongs(app, clock, "/get", headers=headers) is expected


def test_a_form_that_a_user_sends_is_navigation(clock: FakeClock, tmp_path: Any) -> None:
    app = make_app(clock, str(tmp_path), IDLESESSION_ACTIVITY="navigation")
    headers = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-User": "?1"}
    assert prolongs(app, clock, "/get", method="POST", headers=headers)


def test_a_marked_view_is_passive_also_when_a_user_goes_there(clock: FakeClock, tmp_path: Any) -> None:
    app = make_app(clock, str(tmp_path), IDLESESSION_ACTIVITY="navigation")
    app.add_url_rule("/poll", view_func=passive(lambda: "polled"))
    assert not prolongs(app, clock, "/poll", headers={"Sec-Fetch-Mode": "navigate", "Sec-Fetch-User": "?1"})


# A callable.


def test_a_callable_is_given_the_request_and_decides(clock: FakeClock, tmp_path: Any) -> None:
    asked: list[tuple[str, str | None]] = []

    def rule(request: Request) -> bool:
        asked.append((request.path, request.endpoint))
        return "poll" not in request.args

    app = make_app(clock, str(tmp_path), IDLESESSION_ACTIVITY=rule)
    assert prolongs(app, clock, "/get?user")
    assert not prolongs(app, clock, "/get?poll")
    assert ("/get", "get") in asked


def test_a_callable_that_raises_prolongs_nothing_and_is_logged(
    clock: FakeClock, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def rule(request: Request) -> bool:
        raise LookupError("for the test")

    app = make_app(clock, str(tmp_path), IDLESESSION_ACTIVITY=rule)
    assert not prolongs(app, clock, "/get")
    assert "IDLESESSION_ACTIVITY raised for '/get'" in caplog.text


def test_a_callable_is_asked_once_for_a_request_and_never_for_passive_ones(clock: FakeClock, tmp_path: Any) -> None:
    asked: list[str] = []
    app = make_app(clock, str(tmp_path), IDLESESSION_ACTIVITY=lambda request: asked.append(request.path) or True)
    app.add_url_rule("/poll", view_func=passive(lambda: "polled"))
    client = app.test_client()
    client.get("/set/1")
    asked.clear()
    client.get("/get")
    client.get("/poll")
    client.get("/static/none")
    assert asked == ["/get"]


# What is marked.


def test_a_passive_view_does_not_prolong_in_either_order_of_decorators(app: Flask, clock: FakeClock) -> None:
    @app.get("/below")
    @passive
    def below() -> str:
        return str(session.get("a"))

    @passive
    @app.get("/above")
    def above() -> str:
        return str(session.get("a"))

    assert not prolongs(app, clock, "/below")
    assert not prolongs(app, clock, "/above")
    assert not prolongs(app, clock, "/above", method="OPTIONS")


def test_a_mark_survives_a_decorator_that_wraps(app: Flask, clock: FakeClock) -> None:
    from functools import wraps

    def decorate(view: Any) -> Any:
        @wraps(view)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return view(*args, **kwargs)

        return wrapper

    app.add_url_rule("/poll", view_func=decorate(passive(lambda: "polled")), endpoint="poll")
    assert not prolongs(app, clock, "/poll")


def test_view_classes_are_marked_as_a_whole(app: Flask, clock: FakeClock) -> None:
    @passive
    class Poll(MethodView):
        def get(self) -> str:
            return "polled"

        def post(self) -> str:
            return "posted"

    class Other(View):
        decorators = [passive]

        def dispatch_request(self) -> str:
            return "other"

    app.add_url_rule("/poll", view_func=Poll.as_view("poll"))
    app.add_url_rule("/other", view_func=Other.as_view("other"))
    for path, method in (("/poll", "GET"), ("/poll", "POST"), ("/poll", "HEAD"), ("/other", "GET")):
        assert not prolongs(app, clock, path, method=method)


def test_one_method_of_a_view_class_can_be_marked(app: Flask, clock: FakeClock) -> None:
    class Messages(MethodView):
        @passive
        def get(self) -> str:
            return "polled"

        def post(self) -> str:
            return "sent"

    app.add_url_rule("/messages", view_func=Messages.as_view("messages"))
    assert not prolongs(app, clock, "/messages")
    assert not prolongs(app, clock, "/messages", method="HEAD")
    assert prolongs(app, clock, "/messages", method="POST")


def test_a_blueprint_is_marked_with_all_that_is_nested_in_it(app: Flask, clock: FakeClock) -> None:
    polls, inner, other = (Blueprint(name, __name__, url_prefix=f"/{name}") for name in ("polls", "inner", "other"))
    passive(polls)
    for blueprint in (polls, inner, other):
        blueprint.add_url_rule("/", endpoint="view", view_func=lambda: "seen")
    polls.register_blueprint(inner)
    app.register_blueprint(polls)
    app.register_blueprint(other)
    assert not prolongs(app, clock, "/polls/")
    assert not prolongs(app, clock, "/polls/inner/")
    assert prolongs(app, clock, "/other/")


def test_a_marked_blueprint_in_one_that_is_not_marks_only_itself(app: Flask, clock: FakeClock) -> None:
    outer, polls = Blueprint("outer", __name__, url_prefix="/outer"), passive(Blueprint("polls", __name__))
    outer.add_url_rule("/", endpoint="view", view_func=lambda: "seen")
    polls.add_url_rule("/polls", endpoint="view", view_func=lambda: "polled")
    outer.register_blueprint(polls, name="renamed")
    app.register_blueprint(outer)
    assert prolongs(app, clock, "/outer/")
    assert not prolongs(app, clock, "/outer/polls")


@pytest.mark.parametrize(("value", "expected"), [("1", False), ("true", False), ("", False), ("0", True)])
def test_a_script_can_say_that_its_request_is_passive(app: Flask, clock: FakeClock, value: str, expected: bool) -> None:
    assert prolongs(app, clock, "/get", headers={"X-IdleSession-Passive": value}) is expected


def test_static_files_are_passive_those_of_blueprints_too(clock: FakeClock, tmp_path: Any) -> None:
    (tmp_path / "icon.svg").write_text("<svg/>")
    app = make_app(clock, str(tmp_path))
    outer = Blueprint("outer", __name__, url_prefix="/outer")
    pages = Blueprint("pages", __name__, url_prefix="/pages", static_folder=str(tmp_path), static_url_path="/static")
    outer.register_blueprint(pages)
    app.register_blueprint(outer)
    assert not prolongs(app, clock, "/static/icon.svg")
    assert not prolongs(app, clock, "/outer/pages/static/icon.svg")
    assert not prolongs(app, clock, "/static/missing.svg")


def test_a_view_that_is_replaced_or_marked_after_its_first_request_is_looked_at_anew(
    app: Flask, clock: FakeClock
) -> None:
    assert prolongs(app, clock, "/ignore")
    app.view_functions["ignore"] = passive(lambda: "passive now")
    assert not prolongs(app, clock, "/ignore")
    app.view_functions["ignore"] = lambda: "and active again"
    assert prolongs(app, clock, "/ignore")
    passive(app.view_functions["ignore"])
    assert not prolongs(app, clock, "/ignore")


def test_a_view_in_two_blueprints_is_passive_in_the_one_that_is_marked(app: Flask, clock: FakeClock) -> None:
    for name in ("one", "two"):
        blueprint = Blueprint(name, __name__, url_prefix=f"/{name}")
        blueprint.add_url_rule("/view", view_func=app.view_functions["ignore"], endpoint="view")
        app.register_blueprint(passive(blueprint) if name == "two" else blueprint)
    for _ in range(2):
        assert prolongs(app, clock, "/one/view")
        assert not prolongs(app, clock, "/two/view")


# What passive requests may do.


def test_a_passive_request_reads_and_writes_and_does_not_prolong(app: Flask, clock: FakeClock) -> None:
    @app.get("/poll")
    @passive
    def poll() -> str:
        session["polls"] = session.get("polls", 0) + 1
        return f"{session['a']} {session['polls']}"

    client = app.test_client()
    client.get("/set/1")
    for number in range(1, 4):
        clock.advance(TIMEOUT / 4)
        assert client.get("/poll").text == f"1 {number}"
    clock.advance(TIMEOUT / 4)
    assert not is_alive(client)


def test_a_passive_first_write_makes_a_session_with_its_full_time(app: Flask, clock: FakeClock) -> None:
    @app.get("/poll")
    @passive
    def poll() -> str:
        session["a"] = "1"
        return "polled"

    client = app.test_client()
    client.get("/poll")
    clock.advance(TIMEOUT - 1)
    assert is_alive(client)


def test_a_log_in_is_activity_also_in_a_passive_view(app: Flask, clock: FakeClock) -> None:
    app.add_url_rule("/in", view_func=passive(lambda: log_in("ada") or "in"))
    assert prolongs(app, clock, "/in")


def test_a_passive_request_does_not_refresh_a_permanent_session(clock: FakeClock, tmp_path: Any) -> None:
    app = make_app(clock, str(tmp_path), PERMANENT_SESSION_LIFETIME=60)

    @app.get("/permanent")
    def permanent() -> str:
        session.permanent = True
        session["a"] = "1"
        return "permanent"

    @app.get("/poll")
    @passive
    def poll() -> str:
        session["polled"] = True
        return "polled"

    client = app.test_client()
    client.get("/permanent")
    clock.advance(40)
    assert "Set-Cookie" not in client.get("/poll").headers
    clock.advance(20)
    assert not is_alive(client)


def test_a_passive_request_sees_the_time_run_down_and_an_active_one_does_not(app: Flask, clock: FakeClock) -> None:
    def left() -> str:
        return str(session.seconds_left)  # type: ignore[attr-defined]

    app.add_url_rule("/active", view_func=left, endpoint="active")
    app.add_url_rule("/passive", view_func=passive(lambda: left()), endpoint="passive")
    client = app.test_client()
    client.get("/set/1")
    clock.advance(30)
    assert float(client.get("/passive").text) == TIMEOUT - 30
    assert float(client.get("/active").text) == TIMEOUT
    clock.advance(10)
    assert float(client.get("/passive").text) == TIMEOUT - 10


# Views that take their time.


@pytest.mark.parametrize("age", [TIMEOUT * 0.51, TIMEOUT * 0.75, TIMEOUT - 0.001])
def test_a_slow_view_that_outlives_the_old_deadline_keeps_its_session_and_its_write(
    app: Flask, clock: FakeClock, age: float
) -> None:
    @app.get("/slow")
    def slow() -> str:
        clock.advance(TIMEOUT - 1)
        session["slow"] = "kept"
        return str(session["a"])

    @app.get("/slow-kept")
    def slow_kept() -> str:
        return str(session.get("slow"))

    client = app.test_client()
    client.get("/set/1")
    clock.advance(age)
    assert client.get("/slow").text == "1"
    assert client.get("/slow-kept").text == "kept"
    assert is_alive(client)


@pytest.mark.parametrize("age", [0, 1, TIMEOUT * 0.25, TIMEOUT * 0.5])
def test_a_view_may_take_half_the_idle_timeout_at_any_time(app: Flask, clock: FakeClock, age: float) -> None:
    @app.get("/slow")
    def slow() -> str:
        clock.advance(TIMEOUT / 2 - 0.001)
        session["a"] = "1"
        return "slow"

    client = app.test_client()
    client.get("/set/0")
    clock.advance(age)
    client.get("/slow")
    assert is_alive(client)


def add_ways_to_shorten(app: Flask) -> None:
    @app.get("/in-a-view")
    def in_a_view() -> str:
        session.idle_timeout = SHORT  # type: ignore[attr-defined]
        return "shorter"

    @app.get("/in-a-stream")
    def in_a_stream() -> Response:
        def shorten() -> Iterator[str]:
            yield "soon "
            session.idle_timeout = SHORT  # type: ignore[attr-defined]
            yield "shorter"

        return Response(stream_with_context(shorten()))

    @app.get("/by-permanence")
    def by_permanence() -> str:
        app.permanent_session_lifetime = timedelta(seconds=SHORT)
        session.permanent = True
        return "shorter"

    @app.get("/from-outside")
    @passive
    def from_outside() -> str:
        app.extensions["idlesession"].manager.set_timeouts(session.sid, idle_timeout=SHORT)  # type: ignore[attr-defined]
        return "shorter"


@pytest.mark.parametrize("path", ["/in-a-view", "/in-a-stream", "/by-permanence", "/from-outside"])
def test_a_slow_view_keeps_a_session_that_was_given_a_shorter_time_before(
    app: Flask, clock: FakeClock, path: str
) -> None:
    add_ways_to_shorten(app)

    @app.get("/slow")
    def slow() -> str:
        clock.advance(SHORT * 0.8)
        session["slow"] = "kept"
        return "slow"

    client = app.test_client()
    client.get("/set/1")
    client.get("/ignore")  # By now it is known for how long the session is fresh.
    assert client.get(path).text.endswith("shorter")
    clock.advance(SHORT * 0.6)
    client.get("/slow")
    assert is_alive(client)
    clock.advance(SHORT)
    assert not is_alive(client)


def test_a_slow_passive_view_does_not_keep_a_session(app: Flask, clock: FakeClock) -> None:
    @app.get("/slow")
    @passive
    def slow() -> str:
        assert session["a"] == "1"
        clock.advance(TIMEOUT)
        session["slow"] = "lost"
        return "slow"

    client = app.test_client()
    client.get("/set/1")
    response = client.get("/slow")
    assert response.status_code == 200 and "Set-Cookie" not in response.headers
    assert not is_alive(client)


def test_a_view_slower_than_the_whole_timeout_loses_its_session(app: Flask, clock: FakeClock) -> None:
    @app.get("/slow")
    def slow() -> str:
        clock.advance(TIMEOUT)
        session["slow"] = "lost"
        return "slow"

    client = app.test_client()
    client.get("/set/1")
    clock.advance(TIMEOUT - 1)
    assert "Set-Cookie" not in client.get("/slow").headers
    assert list(app.extensions["idlesession"].manager.find()) == []


EVENT_STREAM = {"Accept": "text/event-stream"}
WEBSOCKET = {"Upgrade": "websocket", "Connection": "Upgrade"}


def add_streams(app: Flask) -> None:
    @app.route("/feed", methods=["GET", "POST"])
    def feed() -> str:
        return str(session.get("a"))

    @app.get("/clicked")
    @active
    def clicked() -> str:
        return str(session.get("a"))

    app.add_url_rule("/socket", "socket", lambda: str(session.get("a")), websocket=True)
    app.add_url_rule("/clicked-socket", "clicked socket", clicked, websocket=True)


def test_a_request_that_opens_a_stream_or_a_socket_is_passive(app: Flask, clock: FakeClock) -> None:
    add_streams(app)
    assert not prolongs(app, clock, "/feed", headers=EVENT_STREAM)
    assert not prolongs(app, clock, "/socket", headers=WEBSOCKET)
    assert not prolongs(app, clock, "/socket", headers={**WEBSOCKET, "Upgrade": "WebSocket"})


def test_a_form_that_is_answered_by_a_stream_is_activity(app: Flask, clock: FakeClock) -> None:
    add_streams(app)
    assert prolongs(app, clock, "/feed", headers=EVENT_STREAM, method="POST")
    assert prolongs(app, clock, "/feed", headers={"Upgrade": "h2c"})
    assert prolongs(app, clock, "/feed", headers={"Accept": "text/event-stream, text/html"})


def test_a_stream_may_be_marked_active(app: Flask, clock: FakeClock) -> None:
    add_streams(app)
    assert prolongs(app, clock, "/clicked", headers=EVENT_STREAM)
    assert prolongs(app, clock, "/clicked-socket", headers=WEBSOCKET)
    assert not prolongs(app, clock, "/clicked", headers={"X-IdleSession-Passive": "1", **EVENT_STREAM})


def test_a_view_of_a_passive_blueprint_may_be_marked_active(app: Flask, clock: FakeClock) -> None:
    polls = passive(Blueprint("polls", __name__))

    @polls.get("/poll")
    def poll() -> str:
        return str(session.get("a"))

    @polls.get("/sent")
    @active
    def sent() -> str:
        return str(session.get("a"))

    app.register_blueprint(polls)
    assert not prolongs(app, clock, "/poll")
    assert prolongs(app, clock, "/sent")


def test_a_rule_of_the_application_is_not_asked_about_streams(clock: FakeClock, tmp_path: Any) -> None:
    app = make_app(clock, str(tmp_path), IDLESESSION_ACTIVITY=lambda request: True)
    add_streams(app)
    assert not prolongs(app, clock, "/feed", headers=EVENT_STREAM)
    assert prolongs(app, clock, "/feed")
