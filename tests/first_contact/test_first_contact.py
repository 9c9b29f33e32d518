"""An application that worked with Flask's cookie, Flask-Login or Flask-Session works here, or is told what it lacks.

Each test is about one habit that such applications have. ``table.py`` says which edit of the package each one notices.
"""

import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from datetime import timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import flask
import pytest
from flask import Flask
from flask import render_template_string
from flask import Response
from flask import session
from flask import stream_with_context
from flask.json.tag import JSONTag
from flask.json.tag import TaggedJSONSerializer
from flask.sessions import SecureCookieSessionInterface

import flask_idlesession
from flask_idlesession import ConfigError
from flask_idlesession import current_user_id
from flask_idlesession import EncodeError
from flask_idlesession import IdleSession
from flask_idlesession import log_in
from flask_idlesession import log_out
from flask_idlesession import login_required
from flask_idlesession import MemoryStore
from flask_idlesession import SessionManager
from flask_idlesession import SessionNotFound
from flask_idlesession import StoreError
from flask_idlesession.testing import FakeClock
from flask_idlesession.testing.store_contract import a_record
from flask_idlesession.testing.store_contract import NOW

KEY = "9f3c2a7be10d44f8a6c5d2e1b7a890ff"

Make = Callable[..., Flask]


@pytest.fixture(params=["memory", "sqlite"])
def make(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Make:
    """Make an application on a store of this kind."""

    def make(before: Callable[[Flask], object] = lambda app: None, **config: Any) -> Flask:
        app = Flask("shop", instance_path=str(tmp_path))
        app.config.update({"SECRET_KEY": KEY, **config})
        if request.param == "sqlite":
            app.config.setdefault("IDLESESSION_STORE", f"sqlite:///{tmp_path}/own/sessions.db")
        before(app)
        IdleSession(app, clock=clock)
        return app

    return make


def route(app: Flask, path: str, view: Callable[[], Any], **options: Any) -> None:
    """Give the application a page; what the view returns is shown as text."""

    def page() -> Any:
        answer = view()
        return answer if isinstance(answer, Response) else str(answer)

    app.add_url_rule(path, path.strip("/") or "root", page, **options)


def lines(caplog: pytest.LogCaptureFixture, code: str) -> list[str]:
    return [line.getMessage() for line in caplog.records if f"[{code}]" in line.getMessage()]


# Keys and cookies.


@pytest.mark.parametrize("key", ["dev", b"dev", "you-will-never-guess", "secret" * 5])
def test_a_weak_key_is_told_once_and_serves_every_page(make: Make, key: Any, caplog: pytest.LogCaptureFixture) -> None:
    app = make(SECRET_KEY=key)
    route(app, "/", lambda: session.update(n=session.get("n", 0) + 1) or session["n"])
    client = app.test_client()
    assert [client.get("/").text for _ in range(3)] == ["1", "2", "3"]
    (line,) = lines(caplog, "ISW001")
    assert "SECRET_KEY" in line and "secret" * 5 not in line and "never-guess" not in line


def test_a_weak_key_among_the_former_ones_is_told_too(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    app = make(SECRET_KEY_FALLBACKS=["changeme"])
    route(app, "/", lambda: session.get("n"))
    assert app.test_client().get("/").text == "None"
    (line,) = lines(caplog, "ISW001")
    assert line.startswith("A key in SECRET_KEY_FALLBACKS") and "changeme" not in line


def test_a_user_with_a_stale_cookie_beside_the_present_one_is_logged_in(make: Make, clock: FakeClock) -> None:
    app = make()
    route(app, "/in", lambda: log_in("ada"))
    route(app, "/who", current_user_id)
    stale = app.test_client().get("/in").headers["Set-Cookie"].partition(";")[0]
    clock.advance(1)
    present = app.test_client().get("/in").headers["Set-Cookie"].partition(";")[0]
    manager = app.extensions["idlesession"].manager
    manager.remove(min(manager.find(), key=lambda info: info.created_at).sid)
    client = app.test_client(use_cookies=False)
    answers = {
        client.get("/who", headers={"Cookie": cookie}).text
        for cookie in (f"{stale}; {present}", f"{present}; {stale}", f"session=garbage; {present}; {stale}")
    }
    assert answers == {"ada"}


@pytest.mark.parametrize("name", ["user_id", "info", "record", "user", "labels", "store", "token", "ending", "data"])
def test_a_template_finds_the_applications_key_by_the_name_of_an_attribute(make: Make, name: str) -> None:
    app = make()
    route(app, "/put", lambda: session.update({name: "the application's"}))
    route(app, "/show", lambda: render_template_string("{{ session." + name + " }}"))
    client = app.test_client()
    client.get("/put")
    assert client.get("/show").text == "the application&#39;s"


@pytest.mark.parametrize("lifetime", [timedelta(days=3650), 10 * 31536000, timedelta(days=400, seconds=1)])
def test_a_permanent_lifetime_of_years_counts_as_400_days_and_is_told_once(
    make: Make, lifetime: Any, caplog: pytest.LogCaptureFixture
) -> None:
    app = make(PERMANENT_SESSION_LIFETIME=lifetime)
    route(app, "/", lambda: setattr(session, "permanent", True))
    cookie = app.test_client().get("/").headers["Set-Cookie"]
    expires = parsedate_to_datetime(re.findall("Expires=([^;]+)", cookie)[0])
    assert timedelta(days=399) < expires - datetime.now(expires.tzinfo) <= timedelta(days=400)
    assert len(lines(caplog, "ISW008")) == 1


# Lifetimes.


def test_a_permanent_lifetime_that_each_request_sets_ends_sessions_on_the_server(make: Make, clock: FakeClock) -> None:
    app = make(IDLESESSION_IDLE_TIMEOUT=7200)

    @app.before_request
    def set_lifetime() -> None:
        session.permanent = True
        app.permanent_session_lifetime = timedelta(minutes=10)

    route(app, "/put", lambda: session.update(a=1))
    route(app, "/get", lambda: session.get("a"))
    client = app.test_client()
    client.get("/put")
    clock.advance(599)
    assert client.get("/get").text == "1"
    clock.advance(601)
    assert client.get("/get").text == "None"


def test_a_permanent_session_that_the_idle_timeout_ends_first_is_told_once(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    app = make(PERMANENT_SESSION_LIFETIME=timedelta(days=7))
    route(app, "/", lambda: setattr(session, "permanent", True))
    for _ in range(2):
        app.test_client().get("/")
    (line,) = lines(caplog, "ISW023")
    assert "7 d" in line and "30 min" in line and "IDLESESSION_IDLE_TIMEOUT" in line


@pytest.mark.parametrize(
    "name", ["SESSION_TYPE", "SESSION_REDIS", "SESSION_KEY_PREFIX", "IDLE_SESSION_STORE", "IDLESESION_IDLE_TIMEOUT"]
)
def test_a_setting_of_another_package_or_of_nearly_our_name_is_told_without_its_value(
    make: Make, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = make(**{name: "redis://:hunter2@localhost"})
    route(app, "/", lambda: "")
    app.test_client().get("/")
    (line,) = lines(caplog, "ISW007")
    assert name in line and "hunter2" not in caplog.text


# Values.


class PairTag(JSONTag):
    """Takes lists of two, before Flask's own tag for lists does."""

    key = " pair"

    def check(self, value: Any) -> bool:
        return isinstance(value, list) and len(value) == 2

    def to_json(self, value: Any) -> Any:
        return {"first": value[0], "second": value[1]}

    def to_python(self, value: Any) -> Any:
        return tuple(value.values())


def flasks_serializer(app: Flask) -> Any:
    """Give the application a serializer of its own, as Flask's is one for all, and return it."""
    interface = SecureCookieSessionInterface()
    interface.serializer = TaggedJSONSerializer()
    app.session_interface = interface
    return interface.serializer


def pair_of(app: Flask) -> str:
    route(app, "/put", lambda: session.update(pair=[1, 2]))
    route(app, "/get", lambda: session["pair"])
    client = app.test_client()
    client.get("/put")
    return client.get("/get").text


def test_a_tag_that_was_registered_before_the_extension_counts(make: Make) -> None:
    assert pair_of(make(lambda app: flasks_serializer(app).register(PairTag, index=0))) == "(1, 2)"


def test_a_tag_is_registered_with_an_index_as_on_flasks_serializer(make: Make) -> None:
    app = make()
    app.session_interface.serializer.register(PairTag, index=0)  # type: ignore[attr-defined]
    assert pair_of(app) == "(1, 2)"


def test_the_modified_flag_tells_of_a_change_in_place(make: Make) -> None:
    app = make()
    route(app, "/put", lambda: session.update(log=[]))
    route(app, "/append", lambda: [session["log"].append(1), session.modified][1])
    route(app, "/read", lambda: [session["log"], session.modified])
    client = app.test_client()
    client.get("/put")
    assert client.get("/append").text == "True"
    assert client.get("/read").text == "[[1], False]"


def test_a_session_of_flask_socketio_is_told_with_the_setting(make: Make) -> None:
    managed = type("_ManagedSession", (dict, flask.sessions.SessionMixin), {"__module__": "flask_socketio"})
    app = make()
    with app.test_request_context() as context:
        slot = "session" if isinstance(vars(context).get("session"), flask.sessions.SessionMixin) else "_session"
        setattr(context, slot, managed())
        with pytest.raises(ConfigError, match=r"SocketIO\(app, manage_session=False\)"):
            current_user_id()


# Flask-Login.


def with_flask_login(make: Make) -> Flask:
    flask_login = pytest.importorskip("flask_login")
    app = make()
    manager = flask_login.LoginManager(app)
    user = type("User", (flask_login.UserMixin,), {"id": "ada"})
    manager.user_loader(lambda user_id: user())
    route(app, "/in", lambda: flask_login.login_user(user(), remember=True))
    route(app, "/ours", log_out)
    route(app, "/theirs", lambda: [flask_login.logout_user(), session.clear()])
    route(app, "/confirm", flask_login.confirm_login)
    route(app, "/who", lambda: [flask_login.current_user.get_id(), current_user_id()])
    return app


@pytest.mark.parametrize("way", ["/ours", "/theirs"])
def test_a_log_out_is_final_in_spite_of_a_remember_cookie(make: Make, way: str) -> None:
    client = with_flask_login(make).test_client()
    client.get("/in")
    assert client.get("/who").text == "['ada', 'ada']"
    client.get(way)
    assert [client.get("/who").text for _ in range(2)] == ["[None, None]"] * 2


def test_a_log_in_is_confirmed_where_nobody_is_logged_in_and_nothing_happens(make: Make) -> None:
    client = with_flask_login(make).test_client()
    assert client.get("/confirm").status_code == 200
    assert client.get("/who").text == "[None, None]"


def test_another_module_that_is_called_flask_login_is_not_followed(make: Make, monkeypatch: Any) -> None:
    for name in ("flask_login.config", "flask_login.signals", "flask_idlesession.integrations.flask_login"):
        monkeypatch.delitem(flask_idlesession.extension.sys.modules, name, raising=False)
    monkeypatch.setitem(flask_idlesession.extension.sys.modules, "flask_login", ModuleType("flask_login"))
    app = make()
    route(app, "/", lambda: session.get("a"))
    assert app.test_client().get("/").text == "None"


# Guards.


def guarded(make: Make) -> Flask:
    app = make(IDLESESSION_LOGIN_VIEW="/log-in")
    route(app, "/account", login_required(lambda: "the account"))
    return app


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 303),
        ({"Accept": "text/html"}, 303),
        ({"Sec-Fetch-Mode": "navigate"}, 303),
        ({"Sec-Fetch-Mode": "cors"}, 401),
        ({"X-Requested-With": "XMLHttpRequest"}, 401),
        ({"HX-Request": "true"}, 401),
        ({"Accept": "application/json, text/plain, */*"}, 401),
    ],
)
def test_a_guard_leads_a_user_to_the_log_in_page_and_tells_a_script(
    make: Make, headers: dict[str, str], status: int
) -> None:
    answer = guarded(make).test_client().get("/account", headers=headers)
    assert answer.status_code == status
    assert answer.headers.get("X-IdleSession") == (None if status == 303 else "none")


@pytest.mark.parametrize("call", [current_user_id, log_out, lambda: log_in("ada"), login_required(lambda: "in")])
def test_without_the_extension_a_function_says_to_call_it(call: Callable[[], Any]) -> None:
    app = Flask("shop")
    app.secret_key = KEY
    with app.test_request_context(), pytest.raises(ConfigError, match=r"no idle sessions; call IdleSession\(app\)"):
        call()


def test_a_guard_above_its_route_guards_it_and_is_told(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    app = make()

    @login_required
    @app.get("/account")
    def account() -> str:
        return "the account"

    assert app.test_client().get("/account").status_code == 401
    assert len(lines(caplog, "ISW010")) == 1


# Requests that come late.


def test_a_visitor_with_a_dead_token_begins_a_session_right_after_a_log_out(make: Make) -> None:
    app = make()
    route(app, "/in", lambda: log_in("ada"))
    route(app, "/out", lambda: session.clear())
    route(app, "/put", lambda: session.update(cart=1))
    route(app, "/get", lambda: session.get("cart"))
    client = app.test_client()
    client.get("/in")
    token = client.get_cookie("session")
    assert token is not None
    client.get("/out")
    client.set_cookie("session", token.value)
    client.get("/put")
    assert client.get("/get").text == "1"


def test_an_assignment_of_a_stream_is_kept(make: Make) -> None:
    app = make()

    def stream() -> Any:
        yield "begun"
        session["late"] = 1

    route(app, "/put", lambda: session.update(a=1))
    route(app, "/stream", lambda: Response(stream_with_context(stream())))
    route(app, "/get", lambda: session.get("late"))
    client = app.test_client()
    client.get("/put")
    assert client.get("/stream").text == "begun"
    assert client.get("/get").text == "1"


@pytest.mark.parametrize(
    "look", [dict, lambda it: [len(it), repr(it)][1], lambda it: list(it.items()), lambda it: it.copy()]
)
def test_a_value_that_cannot_be_decoded_is_no_500(make: Make, look: Callable[[Any], Any]) -> None:
    app = make()
    codec = app.session_interface.serializer  # type: ignore[attr-defined]
    codec.register(complex, name="complex", dump=lambda it: [it.real, it.imag], load=lambda it: complex(*it))
    route(app, "/put", lambda: session.update(z=1j, a=1))
    route(app, "/look", lambda: look(session))
    client = app.test_client()
    client.get("/put")
    del codec._loaders["complex"]
    for _ in range(2):
        answer = client.get("/look")
        assert answer.status_code == 200 and "'a'" in answer.text and "'z'" not in answer.text


def test_a_user_who_is_a_number_is_a_text_to_each_function(make: Make) -> None:
    app = make()
    route(app, "/in", lambda: [log_in(7), current_user_id()][1:])
    route(app, "/who", lambda: [current_user_id()])
    client = app.test_client()
    assert client.get("/in").text == client.get("/who").text == "['7']"
    with app.test_request_context(), pytest.raises(TypeError, match="not None"):
        log_in(None)  # type: ignore[arg-type]


# Messages and files.


def test_no_statement_of_sqlite_has_a_numbered_place_which_some_pythons_warn_of(make: Make) -> None:
    """Python 3.12.0 to 3.12.3 raise a DeprecationWarning at "?1" with a sequence."""
    folder = Path(flask_idlesession.__file__).parent / "stores" / "sqlite"
    assert not [path.name for path in folder.glob("*.py") if re.search(r"\?\d", path.read_text(encoding="utf-8"))]
    app = make()
    route(app, "/", lambda: session.update(a=1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert app.test_client().get("/").status_code == 200


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://ada:hunter2@localhost/shop", "python -m pip install mysqlclient"),
        ("postgres://ada:hunter2@localhost/shop", r"write postgresql\+psycopg://"),
        ("redis:/localhost:6379", "must begin with redis://"),
        ("redis://ada:hunter2@localhost:port", "its port must be a number"),
    ],
)
def test_a_url_that_cannot_be_used_is_told_why_and_without_its_password(
    url: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(flask_idlesession.extension.sys.modules, "MySQLdb", None)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=said) as raised:
        IdleSession(app_with(IDLESESSION_STORE=url))
    assert "hunter2" not in str(raised.value)


def test_a_misspelt_setting_does_not_show_its_value() -> None:
    with pytest.raises(ConfigError, match="did you mean IDLESESSION_ENCRYPTION_KEYS") as raised:
        IdleSession(app_with(IDLESESSION_ENCRYPTION_KEY="hunter2"))
    assert "hunter2" not in str(raised.value)


def test_a_type_of_another_package_is_not_called_by_a_built_in_name(make: Make) -> None:
    value = type("bool", (), {"__module__": "numpy"})()
    with make().test_request_context(), pytest.raises(EncodeError, match=r"session\['a'\] is a numpy\.bool, which"):
        session["a"] = value


def app_with(**config: Any) -> Flask:
    app = Flask("shop")
    app.config.update(SECRET_KEY=KEY, **config)
    return app


def test_a_relative_path_of_sqlite_is_in_the_instance_folder(tmp_path: Path) -> None:
    app = Flask("shop", instance_path=str(tmp_path / "instance"))
    app.config.update(SECRET_KEY=KEY, IDLESESSION_STORE="sqlite:///sessions.db")
    IdleSession(app)
    route(app, "/", lambda: session.update(a=1))
    app.test_client().get("/")
    assert (tmp_path / "instance" / "sessions.db").is_file()
    app.extensions["idlesession"].manager.close()


def test_the_session_is_imported_from_here_too_and_is_flasks() -> None:
    assert flask_idlesession.session is flask.session


# Failures.


class DownStore(MemoryStore):
    down = False

    def load(self, *args: Any, **options: Any) -> Any:
        if self.down:
            raise StoreError
        return super().load(*args, **options)


def test_an_error_page_shows_messages_and_the_user_while_the_store_is_down(clock: FakeClock) -> None:
    app, store = app_with(), DownStore()
    IdleSession(app, store=store, clock=clock)
    route(app, "/in", lambda: log_in("ada"))
    route(app, "/get", lambda: session.get("a"))

    @app.errorhandler(StoreError)
    def sorry(error: StoreError) -> tuple[str, int]:
        return f"Sorry, {current_user_id()} {flask.get_flashed_messages()}", 503

    client = app.test_client()
    client.get("/in")
    store.down = True
    answer = client.get("/get")
    assert (answer.status_code, answer.text) == (503, "Sorry, None []")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("SESSION_COOKIE_SAMESITE", "bogus"),
        ("SESSION_COOKIE_NAME", "a;b"),
        ("SESSION_COOKIE_NAME", ""),
        ("SESSION_COOKIE_PATH", "app"),
        ("SESSION_COOKIE_DOMAIN", "exa mple"),
    ],
)
def test_a_cookie_that_no_browser_takes_is_refused_at_the_start(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"^{key} is {value!r}"):
        IdleSession(app_with(**{key: value}))


# For those who write code around stores.


def test_a_record_of_the_memory_store_is_copied_with_other_fields() -> None:
    store, record = MemoryStore(), a_record(values={"a": b"1"}, user_id="ada")
    store.create(record)
    loaded = store.load(record.info.sid, now=NOW)
    assert loaded is not None
    assert replace(loaded, values={}) == replace(record, values={})


def test_a_session_is_given_timeouts_of_its_own_by_its_id(clock: FakeClock) -> None:
    with SessionManager(idle_timeout=60, lifetime=600, clock=clock) as manager:
        sid = manager.create({"a": 1})
        manager.set_timeouts(sid, idle_timeout=1000, lifetime=timedelta(seconds=900))
        clock.advance(899)
        assert manager.read(sid) == {"a": 1}
        clock.advance(1)
        with pytest.raises(SessionNotFound):
            manager.read(sid)
