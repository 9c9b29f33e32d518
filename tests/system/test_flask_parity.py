"""The same views and requests, run on Flask's own cookie sessions and on ours: a browser must see the same.

The differences are deliberate, and these are all:

- Set-Cookie is sent when it says something new (a session created, ended or rotated, its permanence
  changed, a permanent one refreshed), not on every write.
- ``session.clear()`` ends the session; what is set afterwards gets a new id and a new token.
- Clearing the session of an anonymous visitor sends no deletion: there is nothing to delete.
- What changes in place is saved without ``session.modified = True``; and ``session.modified = False`` does
  not take a write back.
- ``session.new`` tells the truth; Flask's is always False.
- The cookie is Secure over HTTPS, whatever SESSION_COOKIE_SECURE says.
- A key that is no string raises TypeError at once; Flask makes it a string with the next request.
- A value that cannot be kept raises TypeError where it is assigned, not after the view; and many values that
  Flask refuses are kept.
- Keys stay in the order in which they came; Flask sorts them.
- The session is a mutable mapping, not a dict.
- Before Flask 3.1.3 ``Vary: Cookie`` was left out where the view only asked ``in``, ``len`` and the like, or
  iterated, popped or deleted nothing; ours is set there too, as in 3.1.3.
"""

import copy
import importlib.metadata
import importlib.util
import os
import threading
from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import replace
from datetime import datetime
from datetime import timedelta
from datetime import UTC
from email.utils import parsedate_to_datetime
from http.cookies import SimpleCookie
from typing import Any

import pytest
from flask import abort
from flask import Blueprint
from flask import copy_current_request_context
from flask import flash
from flask import Flask
from flask import get_flashed_messages
from flask import jsonify
from flask import redirect
from flask import render_template_string
from flask import request
from flask import Response
from flask import session
from flask import stream_with_context
from flask.views import MethodView
from support.versions import FLASK
from werkzeug.test import TestResponse

from flask_idlesession import IdleSession

since_3_1_3 = pytest.mark.skipif(FLASK < (3, 1, 3), reason="Flask notes every access since 3.1.3")
since_3_1_1 = pytest.mark.skipif(FLASK < (3, 1, 1), reason="Flask tries its fallback keys in order since 3.1.1")
since_3_1 = pytest.mark.skipif(FLASK < (3, 1), reason="Flask has this since 3.1")

Build = Callable[[Flask], None]


@dataclass(frozen=True)
class Seen:
    """What a browser and a cache see of one response."""

    status: int
    body: str
    vary: tuple[str, ...]
    cookie: str | None  # "set", "deleted" or None
    attributes: tuple[tuple[str, str], ...]
    expires: float | None


def seen(response: TestResponse) -> Seen:
    headers = response.headers.getlist("Set-Cookie")
    assert len(headers) <= 1, headers
    kind, attributes, expires = None, {}, None
    if headers:
        first, *rest = headers[0].split("; ")
        pairs = [part.partition("=") for part in rest]
        attributes = {name.lower(): value for name, _, value in pairs}
        if "expires" in attributes:
            instant = parsedate_to_datetime(attributes["expires"])
            attributes["expires"] = "given"
            expires = (instant - datetime.now(UTC)).total_seconds()
        kind = "deleted" if attributes.get("max-age") == "0" else "set"
        assert (first.partition("=")[2] == "") is (kind == "deleted")
    vary = tuple(sorted(response.headers.getlist("Vary")))
    return Seen(response.status_code, response.text, vary, kind, tuple(sorted(attributes.items())), expires)


class Pair:
    """One application on Flask's own sessions, and the same one on ours, each with a client."""

    def __init__(self, build: Build, config: dict[str, Any]) -> None:
        self.flask, self.idle = self.make_app(build, config), self.make_app(build, config)
        IdleSession(self.idle)
        self.apps = (self.flask, self.idle)
        self.clients = (self.flask.test_client(), self.idle.test_client())

    @staticmethod
    def make_app(build: Build, config: dict[str, Any]) -> Flask:
        app = Flask("parity")
        app.secret_key = "of the parity tests"
        app.config.update(config)
        build(app)
        return app

    def responses(self, path: str, **how: Any) -> list[TestResponse]:
        method = how.pop("method", "GET")
        responses = []
        for client in self.clients:
            responses.append(client.open(path, method=method, **how))
            responses[-1].get_data()  # To its end, before another request begins.
        return responses

    def same(self, path: str, **how: Any) -> Seen:
        """Send the request to both; everything must be the same. Return it."""
        theirs, ours = map(seen, self.responses(path, **how))
        assert (ours.expires is None) is (theirs.expires is None)
        if theirs.expires is not None and ours.expires is not None and theirs.cookie == "set":
            assert ours.expires == pytest.approx(theirs.expires, abs=3)
        if FLASK < (3, 1, 3):
            assert set(theirs.vary) <= set(ours.vary) <= {*theirs.vary, "Cookie"}
            theirs = replace(theirs, vary=ours.vary)
        assert replace(ours, expires=None) == replace(theirs, expires=None)
        return ours

    def quiet(self, path: str, **how: Any) -> Seen:
        """As :meth:`same`, but where Flask sets the cookie anew, ours says nothing."""
        theirs, ours = map(seen, self.responses(path, **how))
        assert (ours.status, ours.body, ours.vary) == (theirs.status, theirs.body, theirs.vary)
        assert (theirs.cookie, ours.cookie) == ("set", None)
        return ours


MakePair = Callable[..., Pair]


@pytest.fixture
def pair() -> MakePair:
    def make(build: Build, **config: Any) -> Pair:
        return Pair(build, config)

    return make


def basics(app: Flask) -> None:
    """The views that most tests need."""

    @app.get("/ignore")
    def ignore() -> str:
        return "untouched"

    @app.get("/set/<key>/<value>")
    def put(key: str, value: str) -> str:
        session[key] = value
        return "set"

    @app.get("/all")
    def show() -> Response:
        return jsonify(dict(session))

    @app.get("/pop/<key>")
    def pop(key: str) -> str:
        return str(session.pop(key, "no such key"))

    @app.get("/clear")
    def clear() -> str:
        session.clear()
        return "cleared"

    @app.get("/permanent/<int:flag>")
    def permanent(flag: int) -> str:
        session.permanent = bool(flag)
        return str(session.permanent)


# Whole conversations.


def test_a_visit_from_first_write_to_log_out_looks_the_same(pair: MakePair) -> None:
    both = pair(basics)
    assert both.same("/ignore").vary == ()
    assert both.same("/all").cookie is None
    assert both.same("/set/user/ada").cookie == "set"
    both.same("/all")
    both.same("/ignore")
    both.quiet("/set/user/grace")
    both.quiet("/set/lang/en")
    assert both.same("/all").body == '{"lang":"en","user":"grace"}\n'
    both.quiet("/pop/lang")
    both.same("/pop/lang")
    assert both.same("/clear").cookie == "deleted"
    assert both.same("/all").body == "{}\n"


def test_taking_out_the_last_key_deletes_the_cookie_in_both(pair: MakePair) -> None:
    both = pair(basics)
    both.same("/set/only/1")
    assert both.same("/pop/only").cookie == "deleted"
    both.same("/all")
    both.same("/pop/only")
    assert both.same("/set/only/2").cookie == "set"


def test_unknown_paths_and_methods_look_the_same(pair: MakePair) -> None:
    both = pair(basics)
    both.same("/set/a/1")
    assert both.same("/nowhere").status == 404
    assert both.same("/all", method="POST").status == 405
    assert both.same("/all", method="HEAD").status == 200
    assert both.same("/all", method="OPTIONS").status == 200
    assert both.same("/all").body == '{"a":"1"}\n'


# Vary.

LOOKS: dict[str, Callable[[], Any]] = {
    "getitem": lambda: session["a"],
    "missing": lambda: pytest.raises(KeyError, lambda: session["never"]) and None,
    "get": lambda: session.get("a"),
    "get default": lambda: session.get("never", 7),
    "in": lambda: "a" in session,
    "len": lambda: len(session),
    "bool": lambda: bool(session),
    "iter": lambda: sorted(session),
    "reversed": lambda: list(reversed(session)),  # type: ignore[call-overload]
    "keys": lambda: sorted(session.keys()),
    "values": lambda: sorted(session.values()),
    "items": lambda: sorted(session.items()),
    "eq": lambda: session == {"a": "1"},
    "ne": lambda: session != {"a": "1"},
    "pop default": lambda: session.pop("never", 7),
    "repr": lambda: repr(session) and None,
    "dict": lambda: dict(session),
    "unpacked": lambda: {**session},
    "copy": lambda: session.copy(),  # type: ignore[attr-defined]
    "or": lambda: session | {"b": 2},  # type: ignore[operator]
    "ror": lambda: {"b": 2} | session,  # type: ignore[operator]
    "permanent": lambda: session.permanent,
    "modified": lambda: session.modified,
    "accessed": lambda: session.accessed and None,
    "format": lambda: "{a}".format_map(session) if "a" in session else None,
    "match": lambda: next((value for key, value in session.items() if key == "a"), None),
    "flashes": lambda: get_flashed_messages(),
    "template": lambda: render_template_string("{{ session.a }}{{ session['a'] }}{{ 'a' in session }}"),
    "template test": lambda: render_template_string("{% if session %}yes{% endif %}"),
    "object": lambda: session._get_current_object() is not None,  # type: ignore[attr-defined]
    "copy module": lambda: dict(copy.copy(session)),
    "deep copy": lambda: dict(copy.deepcopy(session._get_current_object())),  # type: ignore[attr-defined]
}

NO_LOOKS: dict[str, Callable[[], Any]] = {
    "nothing": lambda: "",
    "template without it": lambda: render_template_string("{{ request.path }}{{ g }}{{ config.DEBUG }}") and None,
    "the proxy alone": lambda: session is None,
    "request only": lambda: request.args.get("a"),
}


@since_3_1_3
@pytest.mark.parametrize("name", LOOKS)
def test_any_look_at_the_session_varies_by_cookie_as_in_flask(pair: MakePair, name: str) -> None:
    both = pair(lambda app: look_at(app, LOOKS[name]))
    assert both.same("/look").vary == ("Cookie",)
    both.same("/set/a/1")
    assert both.same("/look").vary == ("Cookie",)
    assert both.same("/all").body == '{"a":"1"}\n'


@pytest.mark.parametrize("name", [name for name in LOOKS if name not in ("accessed", "modified")])
def test_any_look_at_the_session_answers_as_flask_does(pair: MakePair, name: str) -> None:
    both = pair(lambda app: look_at(app, LOOKS[name]))
    for path in ("/look", "/set/a/1", "/look"):
        theirs, ours = map(seen, both.responses(path))
        assert (ours.status, ours.body, ours.cookie) == (theirs.status, theirs.body, theirs.cookie)
        assert set(theirs.vary) <= set(ours.vary)


@pytest.mark.parametrize("name", NO_LOOKS)
def test_a_request_that_does_not_look_never_varies(pair: MakePair, name: str) -> None:
    both = pair(lambda app: look_at(app, NO_LOOKS[name]))
    assert both.same("/look").vary == ()
    both.same("/set/a/1")
    assert both.same("/look").vary == ()


def look_at(app: Flask, look: Callable[[], Any]) -> None:
    basics(app)

    @app.get("/look")
    def view() -> Response:
        return jsonify(look())


def test_vary_of_the_application_is_kept(pair: MakePair) -> None:
    def build(app: Flask) -> None:
        basics(app)

        @app.after_request
        def vary(response: Response) -> Response:
            response.vary.add("Accept-Encoding")
            return response

    both = pair(build)
    both.same("/set/a/1")
    assert "Cookie" in both.same("/all").vary[0]
    both.same("/ignore")


def test_flashing_and_reading_the_messages_look_the_same(pair: MakePair) -> None:
    def build(app: Flask) -> None:
        basics(app)

        @app.get("/flash/<text>")
        def flash_text(text: str) -> Any:
            flash(text, "note")
            flash(f"<b>{text}</b>")
            return redirect("/read")

        @app.get("/read")
        def read() -> str:
            return render_template_string(
                "{% for kind, text in get_flashed_messages(true) %}{{ kind, text }};{% endfor %}"
            )

    both = pair(build)
    both.same("/read")
    assert both.same("/flash/hello").cookie == "set"
    assert "hello" in both.same("/read").body
    assert both.same("/read").body == ""
    theirs, ours = both.responses("/flash/again", follow_redirects=True)
    assert ours.text == theirs.text and "again" in ours.text
    assert [seen(one).vary for one in (ours, *ours.history)] == [seen(one).vary for one in (theirs, *theirs.history)]


def test_flashing_beside_other_keys_keeps_them(pair: MakePair) -> None:
    def build(app: Flask) -> None:
        basics(app)

        @app.get("/flash")
        def flash_once() -> str:
            flash("once")
            return "flashed"

        @app.get("/read")
        def read() -> Response:
            return jsonify(get_flashed_messages())

    both = pair(build)
    both.same("/set/a/1")
    both.quiet("/flash")
    both.quiet("/read")
    both.same("/read")
    assert both.same("/all").body == '{"a":"1"}\n'


# The cookie's attributes.

COOKIES: list[dict[str, Any]] = [
    {},
    {"SESSION_COOKIE_NAME": "visit"},
    {"SESSION_COOKIE_DOMAIN": "localhost"},
    {"SESSION_COOKIE_PATH": "/"},
    {"APPLICATION_ROOT": "/", "SESSION_COOKIE_PATH": None},
    {"SESSION_COOKIE_HTTPONLY": False},
    {"SESSION_COOKIE_SAMESITE": "Lax"},
    {"SESSION_COOKIE_SAMESITE": "Strict"},
    {"SESSION_COOKIE_SECURE": True},
    {"SESSION_COOKIE_SECURE": True, "SESSION_COOKIE_SAMESITE": "None"},
    pytest.param({"SESSION_COOKIE_SECURE": True, "SESSION_COOKIE_PARTITIONED": True}, marks=since_3_1),
    pytest.param({"SESSION_COOKIE_PARTITIONED": True}, marks=since_3_1),
    {"SESSION_COOKIE_NAME": "__Secure-visit", "SESSION_COOKIE_SECURE": True},
    {"SESSION_COOKIE_NAME": "__Host-visit", "SESSION_COOKIE_SECURE": True, "SESSION_COOKIE_PATH": "/"},
]


@pytest.mark.parametrize("config", COOKIES)
def test_every_attribute_is_the_same_when_the_cookie_is_set_and_when_it_is_deleted(
    pair: MakePair, config: dict[str, Any]
) -> None:
    both = pair(basics, **config)
    is_secure = config.get("SESSION_COOKIE_SECURE") or config.get("SESSION_COOKIE_PARTITIONED")
    where = {"base_url": "https://localhost" if is_secure else "http://localhost"}
    given = both.same("/set/a/1", **where)
    assert given.cookie == "set"
    assert both.same("/all", **where).body == '{"a":"1"}\n'
    gone = both.same("/clear", **where)
    assert gone.cookie == "deleted"
    dropped = [pair for pair in gone.attributes if pair[0] not in ("expires", "max-age")]
    assert dropped == list(given.attributes)
    assert both.same("/all", **where).body == "{}\n"


def test_a_cookie_path_below_the_root_is_kept_to(pair: MakePair) -> None:
    def build(app: Flask) -> None:
        inner = Blueprint("inner", __name__, url_prefix="/inner")

        @inner.get("/set")
        def put() -> str:
            session["a"] = 1
            return "set"

        @inner.get("/clear")
        def clear() -> str:
            session.clear()
            return "cleared"

        app.register_blueprint(inner)

        @app.get("/look")
        def look() -> Response:
            return jsonify(dict(session))

    both = pair(build, SESSION_COOKIE_PATH="/inner")
    assert ("path", "/inner") in both.same("/inner/set").attributes
    assert both.same("/look").body == "{}\n"
    assert both.same("/inner/clear").cookie == "deleted"


# Permanence.


@pytest.mark.parametrize("lifetime", [timedelta(days=2), 3600, timedelta(days=31)])
def test_a_permanent_session_is_refreshed_by_every_request(pair: MakePair, lifetime: Any) -> None:
    both = pair(basics, PERMANENT_SESSION_LIFETIME=lifetime)
    first = both.same("/permanent/1")
    total = lifetime.total_seconds() if isinstance(lifetime, timedelta) else lifetime
    assert first.expires == pytest.approx(total, abs=3)
    for path in ("/ignore", "/all", "/set/a/1", "/permanent/1", "/nowhere"):
        assert both.same(path).expires == pytest.approx(total, abs=3)
    assert both.same("/clear").cookie == "deleted"


def test_without_refreshing_only_a_write_prolongs_a_permanent_session(pair: MakePair) -> None:
    both = pair(basics, SESSION_REFRESH_EACH_REQUEST=False)
    both.same("/permanent/1")
    assert both.same("/ignore").cookie is None
    assert both.same("/all").cookie is None
    assert both.same("/set/a/1").expires is not None


def test_assigning_what_is_there_already_prolongs_a_permanent_session(pair: MakePair) -> None:
    both = pair(basics, SESSION_REFRESH_EACH_REQUEST=False)
    both.same("/permanent/1")
    both.same("/set/a/1")
    assert both.same("/set/a/1").cookie == "set"
    assert both.same("/permanent/1").cookie == "set"


def test_permanence_is_begun_and_ended_with_a_new_cookie(pair: MakePair) -> None:
    both = pair(basics)
    assert both.same("/set/a/1").expires is None
    assert both.same("/permanent/1").expires is not None
    assert both.same("/permanent/0").expires is None
    both.quiet("/set/a/2")
    assert both.same("/permanent/1").expires is not None
    assert both.same("/pop/_permanent").expires is None
    assert both.same("/ignore").cookie is None


def test_permanence_alone_makes_a_session(pair: MakePair) -> None:
    for path in ("/permanent/1", "/permanent/0"):
        both = pair(basics)
        assert both.same(path).cookie == "set"
        both.same("/all")


def test_a_session_made_permanent_before_every_request_looks_the_same(pair: MakePair) -> None:
    def build(app: Flask) -> None:
        basics(app)

        @app.before_request
        def make_permanent() -> None:
            session.permanent = True

    for refresh in (True, False):
        both = pair(build, SESSION_REFRESH_EACH_REQUEST=refresh)
        for path in ("/ignore", "/set/a/1", "/all", "/ignore", "/nowhere"):
            assert both.same(path).cookie == "set"


# What a view may do with the session.


def test_a_view_sees_what_it_wrote_and_what_it_removed(pair: MakePair) -> None:
    def build(app: Flask) -> None:
        basics(app)

        @app.get("/busy")
        def busy() -> Response:
            session.update({"a": 1, "b": [1, 2]}, c={"d": 3})
            told = [session.setdefault("a", 9), session.setdefault("e", 5), session.pop("b"), "b" in session]
            del session["c"]
            told += [session.get("c"), len(session), sorted(session), session.popitem()[0]]
            try:
                del session["c"]
            except KeyError as error:
                told.append(repr(error))
            try:
                session.pop("c")
            except KeyError as error:
                told.append(repr(error))
            return jsonify(told)

    both = pair(build)
    both.same("/busy")
    both.same("/all")
    both.quiet("/busy")
    both.same("/all")


def test_values_come_back_of_the_same_type(pair: MakePair) -> None:
    from uuid import UUID

    from markupsafe import Markup

    values: dict[str, Any] = {
        "tuple": (1, (2, "three")),
        "bytes": b"\x00\xff",
        "markup": Markup("<b>"),
        "uuid": UUID(int=7),
        "datetime": datetime(2024, 2, 29, 12, 30, 45, tzinfo=UTC),
        "nested": {"list": [1, None, True, 2.5, {"x": (1,)}]},
        "empty": [{}, [], (), ""],
        " t": {" t": 1},
    }

    def build(app: Flask) -> None:
        @app.get("/put")
        def put() -> str:
            session.update(values)
            return "put"

        @app.get("/compare")
        def compare() -> Response:
            return jsonify({key: [repr(session[key]), session[key] == values[key]] for key in sorted(values)})

    both = pair(build)
    both.same("/put")
    assert "false" not in both.same("/compare").body


def test_nested_changes_are_saved_when_the_view_says_so(pair: MakePair) -> None:
    def build(app: Flask) -> None:
        basics(app)

        @app.get("/cart/<item>")
        def cart(item: str) -> str:
            session.setdefault("cart", {"items": []})["items"].append(item)
            session.modified = True
            return item

    both = pair(build)
    both.same("/cart/tea")
    both.quiet("/cart/milk")
    assert both.same("/all").body == '{"cart":{"items":["tea","milk"]}}\n'


def test_what_changes_after_it_was_assigned_is_saved_as_it_is_at_the_end(pair: MakePair) -> None:
    def build(app: Flask) -> None:
        basics(app)

        @app.get("/late")
        def late() -> str:
            items: list[Any] = []
            session["items"] = items
            items.append({"a": []})
            items[0]["a"].append(1)
            return "late"

    both = pair(build)
    both.same("/late")
    assert both.same("/all").body == '{"items":[{"a":[1]}]}\n'


def test_modified_and_accessed_begin_false_and_follow_the_view(pair: MakePair) -> None:
    def build(app: Flask) -> None:
        @app.get("/write")
        def write() -> Response:
            told = [session.modified]
            session["a"] = session.get("a", 0) + 1
            return jsonify([*told, session.modified, session.accessed])

        @app.get("/read")
        def read() -> Response:
            session.get("a")
            return jsonify([session.modified, session.accessed, session.permanent])

    both = pair(build)
    both.same("/read")
    both.same("/write")
    both.same("/read")
    both.quiet("/write")


def test_a_copy_of_the_session_is_apart_from_it(pair: MakePair) -> None:
    def build(app: Flask) -> None:
        basics(app)

        @app.get("/copies")
        def copies() -> Response:
            inner = session._get_current_object()  # type: ignore[attr-defined]
            for one in (session.copy(), copy.copy(inner), copy.deepcopy(inner), dict(session)):  # type: ignore[attr-defined]
                one["b"] = 2
            return jsonify(dict(session))

    both = pair(build)
    both.same("/set/a/1")
    both.same("/copies")
    assert both.same("/all").body == '{"a":"1"}\n'


def test_a_value_that_cannot_be_kept_is_a_type_error_in_both(pair: MakePair) -> None:
    def build(app: Flask) -> None:
        basics(app)

        @app.get("/bad")
        def bad() -> str:
            session["a"] = "changed"
            session["bad"] = object()
            return "bad"

        @app.get("/bad-later")
        def bad_later() -> str:
            session["list"] = [1]
            session["list"].append(object())
            return "bad"

    both = pair(build, PROPAGATE_EXCEPTIONS=False)
    both.same("/set/a/1")
    for path in ("/bad-later",):
        theirs, ours = both.responses(path)
        assert theirs.status_code == ours.status_code == 500
        assert "Set-Cookie" not in ours.headers
    assert both.same("/all").body == '{"a":"1"}\n'
    assert [response.status_code for response in both.responses("/bad")] == [500, 500]


# Flask's machinery around the view.


def test_hooks_and_error_handlers_use_the_session_alike(pair: MakePair) -> None:
    def build(app: Flask) -> None:
        basics(app)

        @app.before_request
        def count() -> Any:
            if request.path.startswith("/count"):
                session["count"] = session.get("count", 0) + 1
            if request.path == "/count/stop":
                return f"stopped at {session['count']}"
            return None

        @app.after_request
        def note(response: Response) -> Response:
            if request.path.startswith("/count"):
                session["after"] = response.status_code
            return response

        @app.errorhandler(404)
        def lost(error: Exception) -> Any:
            return jsonify(count=session.get("count")), 404

        @app.errorhandler(ZeroDivisionError)
        def divided(error: Exception) -> Any:
            session["error"] = "divided"
            return jsonify(dict(session)), 418

        @app.get("/count/divide")
        def divide() -> str:
            session["before"] = True
            return str(1 / 0)

        @app.get("/count/refuse")
        def refuse() -> str:
            session["refused"] = True
            abort(403)

        @app.get("/count/fail")
        def fail() -> str:
            session["failed"] = True
            raise LookupError("for the test")

    both = pair(build, PROPAGATE_EXCEPTIONS=False)
    both.same("/count/stop")
    both.same("/all")
    for path in ("/count/nowhere", "/count/divide", "/count/refuse", "/count/fail", "/count/stop"):
        both.quiet(path)
        both.same("/all")


def test_an_exception_that_propagates_saves_nothing(pair: MakePair) -> None:
    def build(app: Flask) -> None:
        basics(app)

        @app.get("/fail")
        def fail() -> str:
            session["a"] = "changed"
            raise LookupError("for the test")

    both = pair(build, TESTING=True)
    both.same("/set/a/1")
    for client in both.clients:
        with pytest.raises(LookupError):
            client.get("/fail")
    assert both.same("/all").body == '{"a":"1"}\n'


def test_blueprints_and_view_classes_use_the_session_alike(pair: MakePair) -> None:
    def build(app: Flask) -> None:
        parent = Blueprint("parent", __name__, url_prefix="/parent")
        child = Blueprint("child", __name__, url_prefix="/child")

        @child.before_request
        def before() -> None:
            session.setdefault("hooks", []).append(request.endpoint)
            session.modified = True

        class Note(MethodView):
            def get(self) -> Response:
                return jsonify(session.get("note"), session.get("hooks"))

            def post(self) -> str:
                session["note"] = request.form["note"]
                return "noted"

            def delete(self) -> str:
                session.pop("note", None)
                return "gone"

        child.add_url_rule("/note", view_func=Note.as_view("note"))
        parent.register_blueprint(child)
        app.register_blueprint(parent)

    both = pair(build)
    path = "/parent/child/note"
    both.same(path, method="POST", data={"note": "milk"})
    both.quiet(path)
    both.quiet(path, method="DELETE")
    both.quiet(path)


@pytest.mark.skipif(
    importlib.util.find_spec("asgiref") is None and os.environ.get("CI") != "true", reason="async views need asgiref"
)
def test_async_views_use_the_session_alike(pair: MakePair) -> None:
    def build(app: Flask) -> None:
        basics(app)

        @app.before_request
        async def before() -> None:
            session["before"] = True

        @app.get("/async")
        async def view() -> Response:
            session["n"] = session.get("n", 0) + 1
            return jsonify(dict(session))

    both = pair(build)
    both.same("/async")
    both.quiet("/async")
    both.quiet("/all")


def test_streamed_responses_read_the_session_alike(pair: MakePair) -> None:
    def build(app: Flask) -> None:
        basics(app)

        @app.get("/stream")
        def stream() -> Response:
            session["streams"] = session.get("streams", 0) + 1

            def lines() -> Iterator[str]:
                yield f"{session['streams']};"
                yield f"{session.get('a')};{sorted(session)}"

            return Response(stream_with_context(lines()))

        @app.get("/stream-only")
        def stream_only() -> Response:
            def lines() -> Iterator[str]:
                yield str(session.get("a"))

            return Response(stream_with_context(lines()))

        @app.get("/stream-cleared")
        def stream_cleared() -> Response:
            session.clear()
            return Response(stream_with_context(str(sorted(session)) for _ in range(2)))

    both = pair(build)
    both.same("/set/a/1")
    assert both.quiet("/stream").body == "1;1;['a', 'streams']"
    both.quiet("/stream")
    assert both.same("/stream-only").body == "1"
    assert both.same("/all").body == '{"a":"1","streams":2}\n'
    assert both.same("/stream-cleared").cookie == "deleted"


def test_a_copied_request_context_shares_the_session(pair: MakePair) -> None:
    def build(app: Flask) -> None:
        basics(app)

        @app.get("/thread")
        def thread() -> Response:
            @copy_current_request_context
            def work() -> None:
                session["from"] = f"thread, with {session.get('a')}"

            worker = threading.Thread(target=work)
            worker.start()
            worker.join()
            return jsonify(session["from"])

    both = pair(build)
    both.same("/set/a/1")
    both.quiet("/thread")
    both.same("/all")


def test_a_client_in_a_with_block_shows_the_session_after_the_request(pair: MakePair) -> None:
    both = pair(basics)
    told = []
    for client in both.clients:
        with client:
            client.get("/set/a/1")
            here = [dict(session), session.get("a")]
            client.get("/all")
            here += [dict(session), session["a"]]
            client.get("/ignore")
            here += [dict(session)]
            client.get("/clear")
            here += [dict(session), session.get("a")]
        told.append(here)
    assert told[1] == told[0] == [{"a": "1"}, "1", {"a": "1"}, "1", {"a": "1"}, {}, None]


def test_a_session_transaction_reads_and_writes_for_the_client(pair: MakePair) -> None:
    both = pair(basics)
    for client in both.clients:
        with client.session_transaction() as before:
            assert dict(before) == {}
            before["a"] = "1"
        with client.session_transaction() as again:
            assert again["a"] == "1"
            again["b"] = [1]
        with client.session_transaction() as nested:
            nested["b"].append(2)
            nested.modified = True
    assert both.same("/all").body == '{"a":"1","b":[1,2]}\n'
    for client in both.clients:
        with client.session_transaction() as last:
            last.clear()
        assert client.get_cookie("session") is None
    assert both.same("/all").body == "{}\n"


def test_a_session_transaction_that_only_reads_makes_no_session(pair: MakePair) -> None:
    both = pair(basics)
    for client in both.clients:
        with client.session_transaction() as one:
            assert "a" not in one
        assert client.get_cookie("session") is None


def test_a_test_request_context_has_an_empty_session(pair: MakePair) -> None:
    both = pair(basics)
    for app in both.apps:
        with app.test_request_context("/all"):
            assert dict(session) == {}
            session["a"] = 1
            assert session["a"] == 1
            response = Response()
            app.session_interface.save_session(app, session._get_current_object(), response)  # type: ignore[attr-defined]
            assert "session=" in response.headers["Set-Cookie"]


# Several applications, and the secret key.


def test_an_application_called_within_the_request_of_another_has_its_own_session(pair: MakePair) -> None:
    inner_pair = pair(basics, SESSION_COOKIE_NAME="inner")
    inner_apps = dict(zip(("flask", "idle"), inner_pair.apps, strict=True))

    def build(app: Flask) -> None:
        basics(app)

        @app.get("/through/<path:path>")
        def through(path: str) -> Response:
            session["outer"] = path
            environ = {**request.environ, "PATH_INFO": f"/{path}"}
            inner = inner_apps["idle" if isinstance_of_ours(app) else "flask"]
            response = Response.from_app(inner, environ)
            session["answer"] = response.get_data(as_text=True)
            return response

        @app.get("/client/<path:path>")
        def by_client(path: str) -> str:
            inner = inner_apps["idle" if isinstance_of_ours(app) else "flask"]
            session["outer"] = path
            with inner.test_client() as client:
                client.get("/set/x/y")
                text = client.get(f"/{path}").text + repr(dict(session))
            return text + repr(sorted(session))

    both = pair(build)
    for path in ("/through/set/b/2", "/through/all", "/through/clear", "/client/all"):
        theirs, ours = both.responses(path)
        assert (theirs.status_code, theirs.text) == (ours.status_code, ours.text)
        both.same("/all")


def isinstance_of_ours(app: Flask) -> bool:
    return "idlesession" in app.extensions


def test_two_applications_in_one_process_do_not_share_sessions(pair: MakePair) -> None:
    both, other = pair(basics), pair(basics)
    both.same("/set/a/1")
    other.same("/set/a/2")
    assert both.same("/all").body == '{"a":"1"}\n'
    assert other.same("/all").body == '{"a":"2"}\n'


def test_without_a_secret_key_reading_is_empty_and_writing_says_flasks_own_words(pair: MakePair) -> None:
    def build(app: Flask) -> None:
        basics(app)

        @app.errorhandler(RuntimeError)
        def told(error: RuntimeError) -> Any:
            return str(error), 500

    both = pair(build)
    for app in both.apps:
        app.secret_key = None
    assert both.same("/all").body == "{}\n"
    assert both.same("/ignore").status == 200
    for path in ("/set/a/1", "/clear", "/pop/a", "/permanent/1"):
        assert "no secret key was set" in both.same(path).body
    for client in both.clients:
        with pytest.raises(RuntimeError, match="Session backend did not open"), client.session_transaction():
            pass


def test_a_secret_key_that_is_set_late_counts(pair: MakePair) -> None:
    both = pair(basics)
    for app in both.apps:
        app.secret_key = None
    both.same("/all")
    for app in both.apps:
        app.secret_key = "set late, but in time"
    both.same("/set/a/1")
    assert both.same("/all").body == '{"a":"1"}\n'
    for app in both.apps:
        app.secret_key = b"another key, also late"
    assert both.same("/all").body == "{}\n"


@since_3_1_1
def test_a_fallback_key_is_accepted_and_a_removed_one_is_not(pair: MakePair) -> None:
    both = pair(basics)
    both.same("/set/a/1")
    for app in both.apps:
        app.secret_key, app.config["SECRET_KEY_FALLBACKS"] = "a new key for the parity", ["of the parity tests"]
    assert [response.text for response in both.responses("/all")] == ['{"a":"1"}\n'] * 2
    assert [response.status_code for response in both.responses("/set/b/2")] == [200, 200]
    for app in both.apps:
        app.config["SECRET_KEY_FALLBACKS"] = None
    assert both.same("/all").body == '{"a":"1","b":"2"}\n'


def test_a_cookie_that_flask_itself_wrote_is_nobodys_session_here(pair: MakePair) -> None:
    both = pair(basics)
    value = both.responses("/set/a/1")[0].headers["Set-Cookie"].split("=")[1].split(";")[0]
    both.clients[1].set_cookie("session", value)
    response = both.clients[1].get("/all")
    assert response.text == "{}\n" and "Set-Cookie" not in response.headers


# The deliberate differences.


def test_clearing_and_writing_gives_a_new_session(pair: MakePair) -> None:
    def build(app: Flask) -> None:
        basics(app)

        @app.get("/anew")
        def anew() -> str:
            session.clear()
            session["b"] = 2
            return "anew"

    both = pair(build)
    both.same("/set/a/1")
    before = cookie_of(both.clients[1])
    assert both.same("/anew").cookie == "set"
    assert cookie_of(both.clients[1]) != before
    assert both.same("/all").body == '{"b":2}\n'


def test_clearing_nothing_deletes_nothing(pair: MakePair) -> None:
    theirs, ours = map(seen, pair(basics).responses("/clear"))
    assert (theirs.cookie, ours.cookie) == ("deleted", None)
    assert ours.vary == ("Cookie",)


def test_a_key_that_is_no_string_is_refused_at_once(pair: MakePair) -> None:
    def build(app: Flask) -> None:
        @app.get("/int")
        def by_int() -> str:
            session[1] = "one"  # type: ignore[index]
            return "kept"

    client = pair(build, TESTING=True).clients[1]
    with pytest.raises(TypeError, match="keys are strings; 1 is of the type int"):
        client.get("/int")


def cookie_of(client: Any) -> str:
    jar: SimpleCookie = SimpleCookie()
    cookie = client.get_cookie("session")
    assert cookie is not None
    jar["session"] = cookie.value
    return jar["session"].value
