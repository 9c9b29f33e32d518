"""How the extension is set up: in any order, more than once, and without keeping an application alive."""

import gc
import threading
import weakref
from collections.abc import Callable
from datetime import datetime
from datetime import timedelta
from datetime import UTC
from email.utils import parsedate_to_datetime
from math import inf
from math import nan
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask import session

from flask_idlesession import Codec
from flask_idlesession import ConfigError
from flask_idlesession import IdleSession
from flask_idlesession import MemoryStore
from flask_idlesession import SessionManager
from flask_idlesession.testing import FakeClock


def make_app(**config: Any) -> Flask:
    app = Flask(__name__)
    app.config.update(TESTING=True, **config)
    app.secret_key = "of the extension tests"

    @app.get("/count")
    def count() -> str:
        session["n"] = session.get("n", 0) + 1
        return str(session["n"])

    @app.get("/timeout")
    def timeout() -> str:
        return str(session.idle_timeout)  # type: ignore[attr-defined]

    return app


def settings_of(app: Flask) -> Any:
    return app.extensions["idlesession"].settings


# Setting up.


def test_an_application_is_set_up_by_the_constructor_or_later() -> None:
    by_constructor, later = make_app(), make_app()
    IdleSession(by_constructor)
    extension = IdleSession()
    extension.init_app(later)
    for app in (by_constructor, later):
        client = app.test_client()
        assert [client.get("/count").text for _ in range(3)] == ["1", "2", "3"]


def test_a_factory_makes_applications_that_share_nothing() -> None:
    extension = IdleSession()

    def create_app() -> Flask:
        app = make_app()
        extension.init_app(app)
        return app

    one, other = create_app(), create_app()
    client = one.test_client()
    client.get("/count")
    cookie = client.get_cookie("session")
    assert cookie is not None
    stranger = other.test_client()
    stranger.set_cookie("session", cookie.value)
    assert stranger.get("/count").text == "1"
    assert client.get("/count").text == "2"
    assert one.extensions["idlesession"].manager is not other.extensions["idlesession"].manager


def test_setting_an_application_up_twice_is_an_error_and_leaves_the_first_one_whole() -> None:
    app = make_app()
    extension = IdleSession(app)
    interface = app.session_interface
    for again in (extension.init_app, IdleSession().init_app, IdleSession):
        with pytest.raises(RuntimeError, match="already set up"):
            again(app)
    assert app.session_interface is interface
    client = app.test_client()
    assert [client.get("/count").text for _ in range(2)] == ["1", "2"]


def test_nothing_is_started_before_the_first_request(tmp_path: Path) -> None:
    before = threading.active_count()
    app = make_app(IDLESESSION_STORE=f"sqlite:///{tmp_path}/sessions.db")
    app.secret_key = None
    IdleSession(app)
    assert threading.active_count() == before and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1", "valkey://127.0.0.1:1", "postgresql+psycopg://127.0.0.1:1/x"])
def test_a_server_is_not_asked_when_the_extension_is_set_up(url: str) -> None:
    IdleSession(make_app(IDLESESSION_STORE=url))


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis", "it must begin with redis://"),
        ("nothing", "it must be a URL"),
        ("sqlite://", "must name a file"),
        ("mysql+nosuch://localhost/x", "it must be"),
        ("mysql+asyncmy://localhost/x", "pip install asyncmy"),
        (5, "is 5, of the type int; it must be a URL"),
    ],
)
def test_a_store_that_cannot_be_opened_is_told_when_the_extension_is_set_up(url: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        IdleSession(make_app(IDLESESSION_STORE=url))


def test_one_line_at_the_start_says_where_sessions_are_and_how_they_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "flask_idlesession")
    app = make_app(IDLESESSION_STORE="redis://user:hunter2@127.0.0.1:1/0?password=hunter2", IDLESESSION_LIFETIME=43200)
    app.config.update(SESSION_COOKIE_SECURE=True, SESSION_COOKIE_SAMESITE="Lax", SESSION_COOKIE_DOMAIN="a.example")
    IdleSession(app)
    for _ in range(2):
        app.test_client().get("/count")
    (line,) = [line for line in caplog.messages if line.startswith("The sessions of")]
    assert line == (
        f"The sessions of {app.name!r} are in redis://user:***@127.0.0.1:1/0?password=***: idle timeout 30 min, "
        "lifetime 12 h; cookie 'session' with Secure, HttpOnly, SameSite=Lax, Domain=a.example."
    )


def test_the_line_is_said_again_if_the_config_was_changed_before_the_first_request(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "flask_idlesession")
    app = make_app()
    IdleSession(app, store=MemoryStore())
    app.config.update(IDLESESSION_IDLE_TIMEOUT=90, SESSION_COOKIE_HTTPONLY=False)
    app.test_client().get("/count")
    first, last = [line for line in caplog.messages if line.startswith("The sessions of")]
    assert "a ready MemoryStore: idle timeout 30 min, lifetime 1 d;" in first and "SameSite=unset" in first
    assert "idle timeout 90 s" in last and "Secure over HTTPS alone, no HttpOnly" in last


def test_a_request_without_a_key_reads_no_settings() -> None:
    app = make_app()
    app.secret_key = None
    IdleSession(app)
    app.config["IDLESESSION_IDLE_TIMEOUT"] = "wrong"
    app.add_url_rule("/plain", view_func=lambda: str(dict(session)))
    assert app.test_client().get("/plain").text == "{}"


def test_what_is_handed_in_is_used() -> None:
    store, codec, clock = MemoryStore(), Codec(), FakeClock()
    app = make_app()
    IdleSession(app, store=store, codec=codec, clock=clock)
    app.test_client().get("/count")
    manager = app.extensions["idlesession"].manager
    assert (manager.store, manager.codec, manager.now()) == (store, codec, clock())
    assert len(store) == 1


def test_the_codec_of_the_extension_is_where_types_are_registered() -> None:
    app = make_app()
    extension = IdleSession(app)
    extension.codec.register(complex, name="complex", dump=lambda value: [value.real, value.imag], load=to_complex)

    @app.get("/put")
    def put() -> str:
        session["z"] = 1 + 2j
        return "put"

    app.add_url_rule("/z", view_func=lambda: repr(session["z"]))
    client = app.test_client()
    client.get("/put")
    assert client.get("/z").text == "(1+2j)"


def to_complex(parts: Any) -> complex:
    return complex(*parts)


# Nothing keeps an application.


def test_the_extension_does_not_know_its_applications() -> None:
    app = make_app()
    extension = IdleSession(app)
    app.test_client().get("/count")
    assert not any(isinstance(value, Flask) for value in vars(extension).values())
    state = app.extensions["idlesession"]
    assert not any(isinstance(value, Flask) for value in vars(state).values())


@pytest.mark.parametrize("is_used", [True, False])
def test_an_application_that_is_dropped_is_collected_with_its_sessions(is_used: bool) -> None:
    extension = IdleSession()
    gone: list[weakref.ref[Any]] = []

    def use() -> None:
        app = make_app()
        extension.init_app(app)
        gone.append(weakref.ref(app))
        if is_used:
            client = app.test_client()
            client.get("/count")
            state = app.extensions["idlesession"]
            gone.extend(map(weakref.ref, (state, state.manager, state.manager.store, app.session_interface)))

    use()
    deadline = threading.Event()
    for _ in range(200):  # The cleaner may hold a manager for the moment of a pass.
        gc.collect()
        if not any(ref() for ref in gone):
            break
        deadline.wait(0.01)
    assert [ref() for ref in gone] == [None] * len(gone)


def test_many_applications_have_one_thread_between_them_at_most() -> None:
    before = threading.active_count()
    apps = [make_app() for _ in range(30)]
    for app in apps:
        IdleSession(app)
        assert app.test_client().get("/count").text == "1"
    cleaners = [thread for thread in threading.enumerate() if thread.name == "flask_idlesession cleaner"]
    assert len(cleaners) == 1 and threading.active_count() <= before + 1


# The first requests.


def test_sixteen_first_requests_at_once_have_one_runtime() -> None:
    for _ in range(20):
        app = make_app()
        IdleSession(app)
        barrier = threading.Barrier(16)
        managers: list[SessionManager] = []

        def first(app: Flask = app, barrier: threading.Barrier = barrier, managers: list[Any] = managers) -> None:
            client = app.test_client()
            barrier.wait()
            counts = [client.get("/count").text for _ in range(2)]
            managers.append(app.extensions["idlesession"].manager if counts == ["1", "2"] else counts)

        threads = [threading.Thread(target=first) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(managers) == 16 and len(set(map(id, managers))) == 1
        assert len(list(managers[0].find())) == 16


def test_the_state_gives_the_same_runtime_before_and_after_the_first_request() -> None:
    app = make_app()
    IdleSession(app)
    state = app.extensions["idlesession"]
    before = state.runtime()
    app.test_client().get("/count")
    assert state.runtime() is before and state.manager is before.manager and state.settings is before.settings


# Settings.


def test_settings_made_after_the_extension_count() -> None:
    app = make_app()
    IdleSession(app)
    app.config["IDLESESSION_IDLE_TIMEOUT"] = timedelta(minutes=2)
    app.config["SESSION_COOKIE_NAME"] = "late"
    client = app.test_client()
    assert client.get("/timeout").text == "120.0"
    client.get("/count")
    assert client.get_cookie("late") is not None


def test_defaults_are_half_an_hour_and_a_day() -> None:
    app = make_app()
    IdleSession(app)
    policy = settings_of(app).policy
    assert (policy.idle_timeout, policy.lifetime) == (1800, 86400)


@pytest.mark.parametrize("value", [90, 90.0, timedelta(seconds=90)])
def test_durations_are_numbers_or_timedeltas(value: Any) -> None:
    app = make_app(IDLESESSION_IDLE_TIMEOUT=value, IDLESESSION_LIFETIME=value, PERMANENT_SESSION_LIFETIME=value)
    IdleSession(app)
    policy = settings_of(app).policy
    assert (policy.idle_timeout, policy.lifetime, policy.permanent_lifetime) == (90, 90, 90)


def test_a_lifetime_below_the_default_idle_timeout_shortens_that() -> None:
    app = make_app(IDLESESSION_LIFETIME=60)
    IdleSession(app)
    assert settings_of(app).policy.idle_timeout == 60


DURATIONS = ["IDLESESSION_IDLE_TIMEOUT", "IDLESESSION_LIFETIME", "PERMANENT_SESSION_LIFETIME"]
BAD_DURATIONS = [0, -5, nan, inf, -inf, "30", None, True, [], timedelta(0), timedelta(days=-1), 10**400]


@pytest.mark.parametrize("key", DURATIONS)
@pytest.mark.parametrize("value", BAD_DURATIONS, ids=lambda value: repr(value)[:20])
def test_a_wrong_duration_is_told_by_key_value_and_mend(key: str, value: Any) -> None:
    assert_refused(f"{key} is {value!r}", "must be", **{key: value})


@pytest.mark.parametrize("key", DURATIONS[:2])
def test_a_duration_that_no_cookie_lasts_is_told_by_key_value_and_mend(key: str) -> None:
    assert_refused(f"{key} is {401 * 86400}", "34560000 seconds at most", **{key: 401 * 86400})


@pytest.mark.parametrize("value", [timedelta(days=3650), 10 * 365 * 86400, timedelta.max])
def test_a_permanent_lifetime_of_ten_years_counts_as_400_days_and_is_told_once(
    value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(PERMANENT_SESSION_LIFETIME=value)
    IdleSession(app)
    assert settings_of(app).policy.permanent_lifetime == 400 * 86400
    (line,) = [line for line in caplog.messages if "PERMANENT_SESSION_LIFETIME" in line]
    assert "400 days" in line
    with app.test_request_context():
        session.permanent = True
        session["a"] = 1
        response = app.process_response(app.make_response("saved"))
    attributes = dict(part.partition("=")[::2] for part in response.headers["Set-Cookie"].split("; "))
    assert 399 <= (parsedate_to_datetime(attributes["Expires"]) - datetime.now(UTC)).days <= 400


@pytest.mark.parametrize(
    ("config", "says", "mend"),
    [
        (
            {"IDLESESSION_IDLE_TIMEOUT": 7200, "IDLESESSION_LIFETIME": 3600},
            "IDLESESSION_IDLE_TIMEOUT is 7200",
            "shorten",
        ),
        ({"IDLESESSION_IDLE_TIMEOUT": 86401}, "IDLESESSION_IDLE_TIMEOUT is 86401", "raise the lifetime"),
        (
            {"IDLESESSION_IDLE_TIMOUT": 5},
            "There is no setting IDLESESSION_IDLE_TIMOUT",
            "did you mean IDLESESSION_IDLE_TIMEOUT",
        ),
        ({"IDLESESSION_MAXSESSIONS": 5}, "There is no setting", "did you mean IDLESESSION_MAX_SESSIONS"),
        ({"IDLESESSION_": 5}, "There is no setting", "did you mean"),
        ({"IDLESESSION_ACTIVITY": "none"}, "IDLESESSION_ACTIVITY is 'none'", '"all", "navigation" or a callable'),
        ({"IDLESESSION_ACTIVITY": None}, "IDLESESSION_ACTIVITY is None", '"all", "navigation" or a callable'),
        ({"IDLESESSION_CLEANUP_INTERVAL": 1.5}, "IDLESESSION_CLEANUP_INTERVAL is 1.5", "1 second at most"),
        ({"IDLESESSION_CLEANUP_INTERVAL": 0}, "IDLESESSION_CLEANUP_INTERVAL is 0", "above 0"),
        ({"IDLESESSION_MAX_SESSIONS": 0}, "IDLESESSION_MAX_SESSIONS is 0", "above 0, or None"),
        ({"IDLESESSION_MAX_SESSIONS": 1.5}, "IDLESESSION_MAX_SESSIONS is 1.5", "a whole number"),
        ({"IDLESESSION_MAX_BYTES": True}, "IDLESESSION_MAX_BYTES is True", "a whole number"),
        ({"IDLESESSION_MAX_BYTES": "1G"}, "IDLESESSION_MAX_BYTES is '1G'", "a whole number"),
    ],
)
def test_a_wrong_setting_is_told_by_key_value_and_mend(config: dict[str, Any], says: str, mend: str) -> None:
    assert_refused(says, mend, **config)


def assert_refused(says: str, mend: str, **config: Any) -> None:
    """The config is refused when the extension is set up; set afterwards, with each request until it is right."""
    with pytest.raises(ConfigError) as caught:
        IdleSession(make_app(**config))
    app = make_app()
    IdleSession(app)
    app.config.update(config)
    for _ in range(2):
        with pytest.raises(ConfigError) as later:
            app.test_client().get("/count")
        assert str(later.value) == str(caught.value)
    assert says in str(caught.value) and mend in str(caught.value)


def test_a_mended_setting_is_read_at_the_next_request() -> None:
    app = make_app()
    IdleSession(app)
    app.config["IDLESESSION_IDLE_TIMEOUT"] = -5
    with pytest.raises(ConfigError):
        app.test_client().get("/count")
    app.config["IDLESESSION_IDLE_TIMEOUT"] = 5
    assert app.test_client().get("/count").text == "1"


@pytest.mark.parametrize("sends_on_error", [True, False])
def test_in_production_a_wrong_setting_is_a_logged_500_and_nothing_else(
    caplog: pytest.LogCaptureFixture, sends_on_error: bool
) -> None:
    app = make_app(IDLESESSION_SAVE_ON_ERROR=sends_on_error)
    app.config["TESTING"] = False
    IdleSession(app)
    app.config["IDLESESSION_IDLE_TIMEOUT"] = -5  # After the extension was set up: then it waits for a request.
    caplog.clear()
    assert app.test_client().get("/count").status_code == 500
    assert caplog.records
    for record in caplog.records:
        assert record.exc_info is not None and isinstance(record.exc_info[1], ConfigError)


def test_none_unbounds_the_memory_store() -> None:
    app = make_app(IDLESESSION_MAX_SESSIONS=None, IDLESESSION_MAX_BYTES=None)
    IdleSession(app)
    assert not app.extensions["idlesession"].manager.store.bounded


def test_keys_that_say_nothing_here_are_told_once_and_stop_nothing(caplog: pytest.LogCaptureFixture) -> None:
    app = make_app(IDLE_SESSION_TIMEOUT=5, idlesession_idle_timeout=-1, SESSION_TYPE="redis")
    IdleSession(app)
    assert [app.test_client().get("/count").text for _ in range(2)] == ["1", "1"]
    told = [line for line in caplog.messages if "says nothing to flask_idlesession" in line]
    assert [line.split()[2] for line in told] == ["IDLE_SESSION_TIMEOUT", "idlesession_idle_timeout", "SESSION_TYPE"]


def test_a_callable_activity_is_kept_as_it_is() -> None:
    rule: Callable[[Any], bool] = lambda request: True  # noqa: E731
    app = make_app(IDLESESSION_ACTIVITY=rule)
    IdleSession(app)
    assert settings_of(app).activity is rule
