"""When a response says something about the cookie, and what: never more than is new, never an old token."""

import random
import re
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask import request
from flask import Response
from flask import session
from flask.testing import FlaskClient
from werkzeug.http import parse_cookie
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.routing import BaseConverter
from werkzeug.test import TestResponse

from flask_idlesession import ConfigError
from flask_idlesession import IdleSession
from flask_idlesession import log_in
from flask_idlesession import log_out
from flask_idlesession import passive
from flask_idlesession import Traits
from flask_idlesession.stores.memory import MemoryStore
from flask_idlesession.testing import FakeClock
from flask_idlesession.web import cookies as cookies_module


def make_app(clock: FakeClock, **config: Any) -> Flask:
    app = Flask(__name__)
    app.secret_key = "the first key of all"
    app.config.update(config)
    IdleSession(app, clock=clock)

    @app.get("/ignore")
    def ignore() -> str:
        return "ignored"

    @app.get("/get/<key>")
    def get(key: str) -> str:
        return str(session.get(key))

    @app.get("/set/<key>/<value>")
    def put(key: str, value: str) -> str:
        session[key] = value
        return "set"

    @app.get("/permanent/<int:flag>")
    def permanent(flag: int) -> str:
        session.permanent = bool(flag)
        return "done"

    @app.get("/in/<user>")
    def enter(user: str) -> str:
        log_in(user)
        return "in"

    @app.get("/out")
    def leave() -> str:
        log_out()
        return "out"

    @app.get("/rotate")
    def rotate() -> str:
        session.rotate()  # type: ignore[attr-defined]
        return "rotated"

    return app


def cookies(response: TestResponse) -> list[str]:
    return response.headers.getlist("Set-Cookie")


def value_of(response: TestResponse) -> str:
    (line,) = cookies(response)
    return line.partition("=")[2].partition(";")[0]


def infos(app: Flask) -> list[Any]:
    return list(app.extensions["idlesession"].manager.find())


# Only what is new.


def test_the_cookie_is_set_once_and_not_by_writes_and_reads(app: Flask, clock: FakeClock) -> None:
    client = app.test_client()
    assert len(cookies(client.get("/set/a/1"))) == 1
    for path in ("/set/a/2", "/get/a", "/ignore", "/nowhere", "/set/b/1"):
        clock.advance(1)
        assert cookies(client.get(path)) == []


def test_a_log_in_and_a_rotation_tell_a_new_token_of_the_same_session(app: Flask) -> None:
    client = app.test_client()
    told = [value_of(client.get(path)) for path in ("/set/a/1", "/in/ada", "/rotate", "/in/ada")]
    assert len(set(told)) == 4
    assert [info.user_id for info in infos(app)] == ["ada"]
    assert client.get("/get/a").text == "1"


def test_the_token_from_before_a_log_in_is_dead(app: Flask) -> None:
    client = app.test_client()
    planted = value_of(client.get("/set/a/1"))
    client.get("/in/ada")
    thief = app.test_client()
    thief.set_cookie("session", planted)
    assert thief.get("/get/a").text == "None"
    assert client.get("/get/a").text == "1"


def test_permanence_is_told_when_it_changes(app: Flask) -> None:
    client = app.test_client()
    assert "Expires" not in cookies(client.get("/set/a/1"))[0]
    assert "Expires" in cookies(client.get("/permanent/1"))[0]
    (line,) = cookies(client.get("/permanent/0"))
    assert "Expires" not in line


def test_a_permanent_session_is_refreshed_also_when_its_touch_was_written_on_arrival(
    app: Flask, clock: FakeClock
) -> None:
    client = app.test_client()
    client.get("/permanent/1")
    for age in (0, 1, 1000, 1799):
        clock.advance(age)
        assert len(cookies(client.get("/ignore"))) == 1


def test_a_log_out_deletes_the_cookie_and_later_requests_say_nothing(app: Flask) -> None:
    client = app.test_client()
    dead = value_of(client.get("/in/ada"))
    assert "Max-Age=0" in cookies(client.get("/out"))[0]
    assert cookies(client.get("/out")) == []
    copied = app.test_client()
    copied.set_cookie("session", dead)
    for path in ("/get/a", "/ignore"):
        assert cookies(copied.get(path)) == []
    assert infos(app) == []


def test_an_expired_session_is_not_deleted_from_the_browser_nor_adopted(app: Flask, clock: FakeClock) -> None:
    client = app.test_client()
    old = value_of(client.get("/set/a/1"))
    clock.advance(1800)
    response = client.get("/get/a")
    assert (response.text, cookies(response)) == ("None", [])
    assert value_of(client.get("/set/a/2")) != old


# Attributes.

ATTRIBUTES: list[dict[str, Any]] = [
    {},
    {"SESSION_COOKIE_SAMESITE": "Strict", "SESSION_COOKIE_DOMAIN": "localhost"},
    {"SESSION_COOKIE_HTTPONLY": False, "SESSION_COOKIE_PATH": "/"},
    {"SESSION_COOKIE_NAME": "__Host-id", "SESSION_COOKIE_SECURE": True, "SESSION_COOKIE_SAMESITE": "Lax"},
    {"SESSION_COOKIE_SECURE": True, "SESSION_COOKIE_PARTITIONED": True, "SESSION_COOKIE_SAMESITE": "None"},
]


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("config", ATTRIBUTES)
def test_a_deletion_repeats_every_attribute(clock: FakeClock, config: dict[str, Any], scheme: str) -> None:
    client = make_app(clock, **config).test_client()
    base = f"{scheme}://localhost"
    (given,) = cookies(client.get("/set/a/1", base_url=base))
    header = {"Cookie": given.partition(";")[0]}
    (gone,) = cookies(client.get("/out", base_url=base, headers=header))
    attributes = set(given.split("; ")[1:])
    assert attributes == {part for part in gone.split("; ")[1:] if not part.startswith(("Expires", "Max-Age"))}
    assert ("Secure" in attributes) is (scheme == "https" or config.get("SESSION_COOKIE_SECURE", False))


def test_a_cookie_is_secure_over_https_and_where_the_setting_says_so(clock: FakeClock) -> None:
    app = make_app(clock)
    assert "Secure" not in cookies(app.test_client().get("/set/a/1"))[0]
    assert "Secure" in cookies(app.test_client().get("/set/a/1", base_url="https://localhost"))[0]
    app = make_app(clock, SESSION_COOKIE_SECURE=True)
    assert "Secure" in cookies(app.test_client().get("/set/a/1"))[0]


def test_a_proxy_that_speaks_https_counts_only_when_it_is_trusted(clock: FakeClock) -> None:
    app = make_app(clock)
    headers = {"X-Forwarded-Proto": "https"}
    assert "Secure" not in cookies(app.test_client().get("/set/a/1", headers=headers))[0]
    app.wsgi_app = ProxyFix(app.wsgi_app, x_proto=1)  # type: ignore[method-assign]
    assert "Secure" in cookies(app.test_client().get("/set/a/1", headers=headers))[0]


@pytest.mark.parametrize(
    ("config", "names"),
    [
        ({"SESSION_COOKIE_NAME": "__Host-id"}, "SESSION_COOKIE_SECURE is False"),
        ({"SESSION_COOKIE_NAME": "__Secure-id"}, "SESSION_COOKIE_SECURE is False"),
        ({"SESSION_COOKIE_NAME": "__host-id"}, "SESSION_COOKIE_SECURE is False"),
        (
            {"SESSION_COOKIE_NAME": "__Host-id", "SESSION_COOKIE_SECURE": True, "SESSION_COOKIE_DOMAIN": "x.test"},
            "SESSION_COOKIE_DOMAIN is 'x.test'",
        ),
        (
            {"SESSION_COOKIE_NAME": "__Host-id", "SESSION_COOKIE_SECURE": True, "SESSION_COOKIE_PATH": "/a"},
            "SESSION_COOKIE_PATH is '/a'",
        ),
        (
            {"SESSION_COOKIE_NAME": "__Host-id", "SESSION_COOKIE_SECURE": True, "APPLICATION_ROOT": "/a"},
            "SESSION_COOKIE_PATH = '/'",
        ),
    ],
)
def test_a_prefixed_name_with_settings_that_browsers_refuse_is_an_error(
    clock: FakeClock, config: dict[str, Any], names: str
) -> None:
    with pytest.raises(ConfigError, match=names):
        make_app(clock, **config)


def test_a_prefixed_name_with_fitting_settings_works(clock: FakeClock) -> None:
    for name in ("__Host-id", "__Secure-id"):
        client = make_app(clock, SESSION_COOKIE_NAME=name, SESSION_COOKIE_SECURE=True).test_client()
        client.get("/set/a/1", base_url="https://localhost")
        assert client.get("/get/a", base_url="https://localhost").text == "1"


# Keys.


def test_a_token_signed_with_a_fallback_is_accepted_and_signed_anew(app: Flask) -> None:
    client = app.test_client()
    old = value_of(client.get("/set/a/1"))
    app.secret_key, app.config["SECRET_KEY_FALLBACKS"] = "the second key of all", ["the first key of all"]
    response = client.get("/get/a")
    new = value_of(response)
    assert response.text == "1" and new != old
    assert new.partition(".")[0] == old.partition(".")[0]
    assert cookies(client.get("/get/a")) == []
    app.config["SECRET_KEY_FALLBACKS"] = []
    assert client.get("/get/a").text == "1"


def test_a_removed_key_opens_nothing(app: Flask) -> None:
    client = app.test_client()
    client.get("/set/a/1")
    app.secret_key = "the second key of all"
    response = client.get("/get/a")
    assert (response.text, cookies(response)) == ("None", [])
    app.secret_key = "the first key of all"
    assert client.get("/get/a").text == "1"


def test_several_fallbacks_are_tried_and_a_deletion_needs_no_new_signature(app: Flask) -> None:
    client = app.test_client()
    client.get("/set/a/1")
    app.secret_key, app.config["SECRET_KEY_FALLBACKS"] = (
        b"the third key of all",
        ["second", "the first key of all", b"zeroth"],
    )
    assert client.get("/get/a").text == "1"
    (line,) = cookies(client.get("/out"))
    assert "Max-Age=0" in line


def test_the_attribute_counts_and_not_what_the_config_said_before(app: Flask) -> None:
    app.config["SECRET_KEY"] = None
    app.secret_key = "set as an attribute"
    client = app.test_client()
    client.get("/set/a/1")
    assert client.get("/get/a").text == "1"


def test_what_only_our_sessions_have_also_asks_for_the_key_in_flasks_words(clock: FakeClock) -> None:
    app = make_app(clock, TESTING=True)
    app.secret_key = None
    client = app.test_client()
    assert client.get("/get/a").text == "None"
    for path in ("/in/ada", "/out", "/rotate"):
        with pytest.raises(RuntimeError, match="no secret key was set"):
            client.get(path)


def test_a_fallback_token_of_a_passive_latecomer_is_not_signed_anew_after_a_log_in(app: Flask) -> None:
    arrived, go_on = threading.Event(), threading.Event()

    @app.get("/slow")
    @passive
    def slow() -> str:
        text = str(session.get("a"))
        arrived.set()
        assert go_on.wait(10)
        return text

    client = app.test_client()
    token = value_of(client.get("/set/a/1"))
    app.secret_key, app.config["SECRET_KEY_FALLBACKS"] = "the second key of all", ["the first key of all"]
    late = in_thread(app, "/slow", token)
    assert arrived.wait(10)
    assert len(cookies(client.get("/in/ada"))) == 1
    go_on.set()
    response = late()
    assert (response.text, cookies(response)) == ("1", [])


# Responses that come late.


@pytest.mark.parametrize("ending", ["/in/ada", "/out"])
@pytest.mark.parametrize("does", ["read", "write", "permanent"])
def test_a_late_response_after_a_log_in_or_log_out_sets_nothing(app: Flask, ending: str, does: str) -> None:
    arrived, go_on = threading.Event(), threading.Event()

    @app.get("/slow")
    def slow() -> str:
        session.get("a")
        arrived.set()
        assert go_on.wait(10)
        if does == "write":
            session["a"] = "late"
        elif does == "permanent":
            session.permanent = True
        return "late"

    client = app.test_client()
    late = in_thread(app, "/slow", value_of(client.get("/set/a/1")))
    assert arrived.wait(10)
    client.get(ending)
    go_on.set()
    assert cookies(late()) == []
    assert client.get("/get/a").text == ("1" if ending == "/in/ada" else "None")
    assert len(infos(app)) == (1 if ending == "/in/ada" else 0)


@pytest.mark.parametrize("meanwhile", ["/in/ada", "/out"])
def test_a_late_log_out_by_a_token_that_is_dead_ends_nothing_and_sets_nothing(app: Flask, meanwhile: str) -> None:
    arrived, go_on = threading.Event(), threading.Event()

    @app.get("/slow-out")
    def slow_out() -> str:
        session.get("a")
        arrived.set()
        assert go_on.wait(10)
        log_out()
        return "out"

    client = app.test_client()
    late = in_thread(app, "/slow-out", value_of(client.get("/set/a/1")))
    assert arrived.wait(10)
    client.get(meanwhile)
    client.get("/set/a/2")
    go_on.set()
    assert cookies(late()) == []
    assert client.get("/get/a").text == "2"


def test_a_late_refresh_within_the_grace_of_a_rotation_does_not_put_the_old_token_back(app: Flask) -> None:
    arrived, go_on = threading.Event(), threading.Event()

    @app.get("/slow")
    def slow() -> str:
        arrived.set()
        assert go_on.wait(10)
        return "late"

    client = app.test_client()
    client.get("/set/a/1")
    app.extensions["idlesession"].manager.now.advance(1)
    token = value_of(client.get("/permanent/1"))
    late = in_thread(app, "/slow", token)
    assert arrived.wait(10)
    app.extensions["idlesession"].manager.now.advance(1)
    assert value_of(client.get("/rotate")) != token
    go_on.set()
    assert cookies(late()) == []


def in_thread(app: Flask, path: str, token: str) -> Callable[[], TestResponse]:
    """Begin a request with the token in a thread; return what waits for its response."""
    responses: list[TestResponse] = []

    def run() -> None:
        client = app.test_client()
        client.set_cookie("session", token)
        responses.append(client.get(path))

    thread = threading.Thread(target=run)
    thread.start()

    def finish() -> TestResponse:
        thread.join(10)
        return responses[0]

    return finish


# Saving outside of the end of a request.


def test_saving_into_a_throw_away_response_stores_at_once(app: Flask) -> None:
    with app.test_request_context():
        session["a"] = "1"
        app.session_interface.save_session(app, session._get_current_object(), Response())  # type: ignore[attr-defined]
        assert len(infos(app)) == 1


@pytest.mark.parametrize("path", ["/early", "/early-rotated"])
def test_a_token_that_went_into_a_throw_away_response_is_told_again(app: Flask, path: str) -> None:
    def save() -> None:
        app.session_interface.save_session(app, session._get_current_object(), Response())  # type: ignore[attr-defined]

    @app.get("/early")
    def early() -> str:
        session["a"] = "early"
        save()
        return "early"

    @app.get("/early-rotated")
    def early_rotated() -> str:
        session["a"] = "early"
        log_in("ada")
        save()
        save()
        return "early"

    client = app.test_client()
    assert len(cookies(client.get(path))) == 1
    assert client.get("/get/a").text == "early"
    assert len(infos(app)) == 1
    assert len(cookies(client.get(path))) == (0 if path == "/early" else 1)
    assert client.get("/get/a").text == "early"


def test_what_is_written_after_an_early_save_is_saved_too(app: Flask) -> None:
    @app.get("/twice")
    def twice() -> str:
        session["a"] = ["early"]
        app.session_interface.save_session(app, session._get_current_object(), Response())  # type: ignore[attr-defined]
        session["a"].append("late")
        session["b"] = "late"
        return "twice"

    client = app.test_client()
    client.get("/twice")
    assert (client.get("/get/a").text, client.get("/get/b").text) == ("['early', 'late']", "late")


def test_saving_twice_stores_one_session_and_writes_once(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    @app.after_request
    def save_twice(response: Response) -> Response:
        app.session_interface.save_session(app, session._get_current_object(), Response())  # type: ignore[attr-defined]
        return response

    client = app.test_client()
    client.get("/set/a/1")
    store = app.extensions["idlesession"].manager.store
    commits: list[Any] = []
    commit = store.commit
    monkeypatch.setattr(store, "commit", lambda *args, **how: commits.append(args[1]) or commit(*args, **how))
    client.get("/set/b/2")
    assert [set(change.delta) for change in commits if change.delta] == [{"b"}]
    assert len(infos(app)) == 1


def test_a_session_is_saved_outside_of_any_request(app: Flask) -> None:
    with app.test_request_context():
        inner = session._get_current_object()  # type: ignore[attr-defined]
        inner["a"] = "1"
    response = Response()
    app.session_interface.save_session(app, inner, response)
    assert response.headers["Set-Cookie"].startswith("session=")
    assert len(infos(app)) == 1


def test_a_response_without_a_session_is_left_alone(app: Flask) -> None:
    response = Response()
    app.session_interface.save_session(app, None, response)  # type: ignore[arg-type]
    assert "Set-Cookie" not in response.headers


def test_an_application_without_a_key_in_the_request_of_another_leaves_its_session_alone(clock: FakeClock) -> None:
    outer, inner = make_app(clock), make_app(clock)
    inner.secret_key = None

    @outer.get("/through")
    @passive
    def through() -> Response:
        response = Response.from_app(inner.wsgi_app, {**request.environ, "PATH_INFO": "/ignore"})
        session["after"] = "kept"
        return response

    client = outer.test_client()
    client.get("/set/a/1")
    (before,) = infos(outer)
    clock.advance(1700)
    assert client.get("/through").text == "ignored"
    assert [info.sid for info in infos(outer)] == [before.sid]
    assert (client.get("/get/a").text, client.get("/get/after").text) == ("1", "kept")


def test_two_clients_have_two_sessions(app: Flask) -> None:
    clients: list[FlaskClient] = [app.test_client() for _ in range(3)]
    for number, client in enumerate(clients):
        client.get(f"/set/a/{number}")
    assert [client.get("/get/a").text for client in clients] == ["0", "1", "2"]
    assert len(infos(app)) == 3


# Short ways to what Werkzeug says.


def test_a_cookie_that_is_plain_to_see_is_the_one_that_werkzeug_finds() -> None:
    chance, found = random.Random(7), 0
    pieces = ["session", "sessions", "xsession", "=", "=", "; ", ";", " ", '"', "\\073", "a", "Ã©", ",", "\t", "b=c"]
    for _ in range(20_000):
        header = "".join(chance.choices(pieces, k=chance.randrange(1, 9)))
        plain = cookies_module._plain_cookie(header, "session") if "session" in header else None
        if plain is not None and re.fullmatch(r"[A-Za-z0-9_.-]*", plain):
            found += 1
            assert parse_cookie(header).getlist("session") == [plain], header
    assert found > 30


@pytest.mark.parametrize("others", ["a=1; {}", "{}; a=1", "a=1; {}; b=2", '{}; a="x;y"', "sessions=1; {}", " {} ;a=1"])
def test_a_token_is_found_among_other_cookies(app: Flask, others: str) -> None:
    client = app.test_client()
    client.get("/set/a/1")
    cookie = client.get_cookie("session")
    assert cookie is not None
    header = others.format(f"session={cookie.value}")
    plain = app.test_client(use_cookies=False)
    assert plain.get("/get/a", headers={"Cookie": header}).text == "1"


@pytest.mark.parametrize("said", ["Accept-Encoding", "Cookie", "cookie, Accept"])
def test_what_a_view_said_of_its_response_is_kept(app: Flask, said: str) -> None:
    @app.get("/varied")
    def varied() -> Response:
        session.get("a")
        return Response("varied", headers={"vary": said})

    vary = app.test_client().get("/varied").vary
    assert vary.to_header().lower().split(", ").count("cookie") == 1
    assert all(name in vary for name in said.split(", "))


def test_a_slow_view_is_activity_once_more_when_it_ends(app: Flask, clock: FakeClock) -> None:
    @app.get("/slow")
    def slow() -> str:
        clock.advance(1000)
        return "done"

    client = app.test_client()
    client.get("/set/a/1")
    client.get("/slow")
    clock.advance(1799)
    assert client.get("/get/a").text == "1"


# When little life is left: the session was live when its user came.


class FarStore(MemoryStore):
    """Says nothing of what its sessions are but when it is asked for one, as a server does."""

    traits = Traits()  # type: ignore[assignment]


@pytest.fixture(params=[MemoryStore, FarStore])
def slow_app(request: pytest.FixtureRequest, clock: FakeClock) -> Flask:
    """An application whose views take a while, also where its store cannot tell in passing how much life is left."""
    app = make_app(clock, IDLESESSION_STORE=request.param())
    assert app.extensions["idlesession"].manager.store.traits.in_process is (request.param is MemoryStore)

    @app.get("/slow/<what>")
    def slow(what: str) -> str:
        clock.advance(1000)
        return str(session.get("a")) if what == "look" else what

    @app.get("/slow/poll")
    @passive
    def poll() -> str:
        clock.advance(1000)
        return str(session.get("a"))

    return app


@pytest.mark.parametrize("what", ["look", "ignore"])
def test_a_slow_view_keeps_the_session_that_was_live_when_its_user_came(
    slow_app: Flask, clock: FakeClock, what: str
) -> None:
    client = slow_app.test_client()
    client.get("/set/a/1")
    clock.advance(1799)
    assert client.get(f"/slow/{what}").text in ("1", "ignore")
    clock.advance(1799)
    assert client.get("/get/a").text == "1"


@pytest.mark.parametrize("by", ["the session", "the manager"])
def test_a_slow_view_keeps_the_session_whose_idle_timeout_was_shortened(
    slow_app: Flask, clock: FakeClock, by: str
) -> None:
    @slow_app.get("/shorten")
    def shorten() -> str:
        session.idle_timeout = 700
        return ""

    @slow_app.get("/less-slow")
    def less_slow() -> str:
        clock.advance(500)
        return ""

    client = slow_app.test_client()
    client.get("/set/a/1")
    client.get("/get/a")
    if by == "the session":
        client.get("/shorten")
    else:
        manager = slow_app.extensions["idlesession"].manager
        (info,) = manager.find()
        manager.set_timeouts(info.sid, idle_timeout=700)
    clock.advance(699)
    client.get("/less-slow")
    assert client.get("/get/a").text == "1"


def test_a_slow_view_that_is_passive_keeps_nothing(slow_app: Flask, clock: FakeClock) -> None:
    client = slow_app.test_client()
    client.get("/set/a/1")
    clock.advance(1799)
    assert client.get("/slow/poll").text == "None"
    assert client.get("/get/a").text == "None"


def test_a_url_that_leads_nowhere_is_activity_when_little_life_is_left(slow_app: Flask, clock: FakeClock) -> None:
    client = slow_app.test_client()
    client.get("/set/a/1")
    clock.advance(1799)
    assert client.get("/nowhere").status_code == 404
    clock.advance(1799)
    assert client.get("/get/a").text == "1"


def test_a_converter_may_look_at_the_session(slow_app: Flask, clock: FakeClock) -> None:
    class Mine(BaseConverter):
        def to_python(self, value: str) -> str:
            return f"{value} {session.get('a')}"

    slow_app.url_map.converters["mine"] = Mine
    slow_app.add_url_rule("/mine/<mine:what>", view_func=lambda what: what, endpoint="mine")
    client = slow_app.test_client()
    client.get("/set/a/1")
    for wait in (10, 1799, 1799):
        clock.advance(wait)
        assert client.get("/mine/x").text == "x 1"


def test_what_is_known_of_a_sessions_end_is_forgotten_when_it_gets_another(app: Flask, clock: FakeClock) -> None:
    @app.get("/hurry")
    def hurry() -> str:
        session.idle_timeout = 60
        return "hurry"

    @app.get("/slow")
    def slow() -> str:
        clock.advance(29)
        return str(session.get("a"))

    client = app.test_client()
    client.get("/set/a/1")
    client.get("/get/a")
    client.get("/hurry")
    clock.advance(59)
    assert client.get("/slow").text == "1"


def test_an_application_may_have_a_secret_key_of_its_own_way(clock: FakeClock) -> None:
    class Rotating(Flask):
        @property  # type: ignore[override]
        def secret_key(self) -> str:
            return keys[-1]

    keys = ["the first key of all", "the second key of all"]
    app = Rotating(__name__)
    IdleSession(app, clock=clock)
    app.add_url_rule("/set", "set", view_func=lambda: session.update(a=1) or "set", methods=["POST"])
    app.add_url_rule("/get", "get", view_func=lambda: str(session.get("a")))
    client = app.test_client()
    client.post("/set")
    assert client.get("/get").text == "1"
    keys.append("the third key of all")
    assert client.get("/get").text == "None"
    keys.pop()
    assert client.get("/get").text == "1"


def test_a_request_leaves_no_circle_for_the_garbage_collector(app: Flask) -> None:
    client = app.test_client()
    client.get("/set/a/1")
    opened = []
    open_session = app.session_interface.open_session
    app.session_interface.open_session = lambda *args: opened.append(open_session(*args)) or opened[-1]  # type: ignore
    client.get("/get/a")
    assert [each._facts.carrier for each in opened] == [None]


# How long permanent sessions last.


def idiom(app: Flask, minutes: dict[str, Any]) -> None:
    """Add the best known way to an idle timeout with Flask's own sessions."""

    @app.before_request
    def limit() -> None:
        session.permanent = True
        app.permanent_session_lifetime = timedelta(minutes=minutes["now"])


@pytest.mark.parametrize("interval", [0, 20])
@pytest.mark.parametrize("store", [MemoryStore, FarStore])
def test_the_permanent_lifetime_that_a_request_sets_counts_on_the_server_too(
    clock: FakeClock, store: type[MemoryStore], interval: float
) -> None:
    app = make_app(clock, IDLESESSION_STORE=store(), IDLESESSION_TOUCH_INTERVAL=interval)
    idiom(app, {"now": 5})
    client = app.test_client()
    client.get("/set/a/1")
    for _ in range(3):
        clock.advance(4 * 60)
        assert client.get("/get/a").text == "1"
    clock.advance(5 * 60 + interval)
    assert client.get("/get/a").text == "None"


@pytest.mark.parametrize("interval", [0, 20])
def test_a_new_worker_takes_over_sessions_that_a_request_made_short(clock: FakeClock, interval: float) -> None:
    store = MemoryStore()
    minutes = {"now": 5}
    apps = [make_app(clock, IDLESESSION_STORE=store, IDLESESSION_TOUCH_INTERVAL=interval) for _ in range(2)]
    for app in apps:
        idiom(app, minutes)
    client = apps[0].test_client()
    client.get("/set/a/1")
    clock.advance(60)
    client.application = apps[1]  # Its config says 31 days until this request has come.
    assert client.get("/get/a").text == "1"
    clock.advance(5 * 60 + interval)
    assert client.get("/get/a").text == "None"


def test_the_lifetime_of_each_refresh_is_the_present_one_longer_or_shorter(clock: FakeClock) -> None:
    app = make_app(clock, IDLESESSION_IDLE_TIMEOUT=7200)
    minutes = {"now": 5}
    idiom(app, minutes)
    client = app.test_client()
    client.get("/set/a/1")
    for minutes["now"] in (60, 10, 30, 5):
        client.get("/ignore")
        (info,) = infos(app)
        assert info.refresh_by == clock() + 60 * minutes["now"]
        clock.advance(60)
    clock.advance(4 * 60)
    assert client.get("/get/a").text == "None"


def test_a_permanent_lifetime_that_is_set_in_the_config_counts_with_the_next_request(clock: FakeClock) -> None:
    app = make_app(clock)
    client = app.test_client()
    client.get("/permanent/1")
    app.config["PERMANENT_SESSION_LIFETIME"] = 300
    client.get("/ignore")
    clock.advance(299)
    (info,) = infos(app)
    assert info.is_live(clock())
    clock.advance(1)
    assert infos(app) == []


def test_a_permanent_lifetime_that_is_wrong_is_refused_when_it_is_set(clock: FakeClock) -> None:
    app = make_app(clock, TESTING=True)
    client = app.test_client()
    client.get("/permanent/1")
    app.config["PERMANENT_SESSION_LIFETIME"] = "300"
    with pytest.raises((ConfigError, TypeError)):
        client.get("/ignore")
