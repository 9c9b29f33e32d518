"""Sessions of Flask-Session go on after one line was changed, from every place where it kept them."""

import base64
import json
import logging
import pickle
import sys
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import ExitStack
from contextlib import suppress
from datetime import datetime
from datetime import UTC
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import redis
from cachelib import FileSystemCache
from cachelib import SimpleCache
from flask import current_app
from flask import Flask
from flask import session
from flask.testing import FlaskClient
from support.programs import find_program
from support.redis_servers import one_server
from support.servers import memcached

from flask_idlesession import ConfigError
from flask_idlesession import current_user_id
from flask_idlesession import IdleSession
from flask_idlesession import MemoryStore
from flask_idlesession import revoke_user
from flask_idlesession import SessionManager
from flask_idlesession.integrations.flask_session import Session
from flask_idlesession.integrations.flask_session import store_of
from flask_idlesession.testing import FakeClock

flask_session = pytest.importorskip("flask_session")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

KEY = "5b1c7f0e9a3d4c8e8f6a2d9b0c7e1f43"
DAY = 86400.0
FIXTURE = Path(__file__).parents[1] / "fixtures" / "flask-session-0.5" / "sessions.json"

KINDS = [
    "redis",
    "redis signed",
    "redis json",
    "filesystem",
    "cachelib files",
    "cachelib",
    "sqlalchemy",
    "sqlalchemy signed",
    "memcached",
]

Make = Callable[..., Flask]

#: The applications of the present test.
apps: list[Flask] = []


@pytest.fixture(autouse=True)
def closing() -> Iterator[None]:
    yield
    while apps:
        app = apps.pop()
        if "idlesession" in app.extensions:
            with suppress(ConfigError):
                manager_of(app).close()
        if "sqlalchemy" in app.extensions:
            with app.app_context():
                app.extensions["sqlalchemy"].engine.dispose()


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, Any]]:
    started: dict[str, Any] = {}
    with ExitStack() as stack:
        started["stack"] = stack
        yield started


def redis_client(servers: dict[str, Any]) -> "redis.Redis":
    if "redis" not in servers:
        servers["redis"] = servers["stack"].enter_context(one_server(find_program("redis-server"))).client()
        servers["stack"].callback(servers["redis"].close)
    servers["redis"].flushall()
    return servers["redis"]


def memcached_client(servers: dict[str, Any]) -> Any:
    import memcache

    if "memcached" not in servers:
        server = servers["stack"].enter_context(memcached())
        servers["memcached"] = memcache.Client([server.url])
        servers["stack"].callback(servers["memcached"].disconnect_all)
    servers["memcached"].flush_all()
    return servers["memcached"]


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest, servers: dict[str, Any], tmp_path: Path) -> Make:
    """Makes an application with the given extension, over one place for the sessions."""
    kind = request.param.split()[0]
    config: dict[str, Any] = {"SESSION_TYPE": kind, "SESSION_USE_SIGNER": request.param.endswith("signed")}
    if kind == "redis":
        config["SESSION_REDIS"] = redis_client(servers)
        config["SESSION_SERIALIZATION_FORMAT"] = "json" if request.param.endswith("json") else "msgpack"
    elif kind == "memcached":
        config["SESSION_MEMCACHED"] = memcached_client(servers)
        config["IDLESESSION_STORE"] = "sqlite:///sessions.db"  # Its client has a socket in each thread.
    elif kind == "filesystem":
        config["SESSION_FILE_DIR"] = str(tmp_path / "files")
    elif kind == "cachelib":
        is_files = request.param.endswith("files")
        config["SESSION_CACHELIB"] = FileSystemCache(str(tmp_path / "cache")) if is_files else SimpleCache()
    return lambda extension, **more: make_app(extension, tmp_path, **{**config, **more})


def make_app(extension: Callable[[Flask], object], folder: Path, **config: Any) -> Flask:
    app = Flask(__name__, instance_path=str(folder / "instance"))
    apps.append(app)
    app.config.update(TESTING=True, SECRET_KEY=KEY, IDLESESSION_ADOPT_PICKLE_UNTIL="2999-12-31")
    app.config.setdefault("SESSION_FILE_DIR", str(folder / "files"))
    app.config.update(config)
    if config.get("SESSION_TYPE") == "sqlalchemy":
        from flask_sqlalchemy import SQLAlchemy

        app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{folder / 'old.db'}"
        app.config["SESSION_SQLALCHEMY"] = SQLAlchemy(app)
    extension(app)

    @app.get("/")
    def show() -> dict[str, Any]:
        return dict(session)

    @app.get("/in/<name>")
    def enter(name: str) -> str:
        session["_user_id"] = name
        session["cart"] = [1, "two", {"three": 3.5}]
        return "in"

    @app.get("/write/<key>")
    def write(key: str) -> str:
        session[key] = 1
        return "written"

    @app.get("/out")
    def out() -> str:
        session.clear()
        return "out"

    @app.get("/sid")
    def sid() -> str:
        return "id " + session.sid  # type: ignore[attr-defined, no-any-return]

    @app.get("/regenerate")
    def regenerate() -> str:
        current_app.session_interface.regenerate(session)  # type: ignore[attr-defined]
        return "regenerated"

    @app.get("/user")
    def user() -> str:
        return str(current_user_id())

    return app


def cookie_of(client: FlaskClient, name: str = "session") -> str | None:
    cookie = client.get_cookie(name)
    return None if cookie is None else cookie.value


def browser(app: Flask, value: str | None = None) -> FlaskClient:
    client = app.test_client()
    if value is not None:
        client.set_cookie("session", value)
    return client


def manager_of(app: Flask) -> SessionManager:
    manager: SessionManager = app.extensions["idlesession"].manager
    return manager


def signed_in(make: Make) -> str:
    client = make(flask_session.Session).test_client()
    client.get("/in/ada")
    value = cookie_of(client)
    assert value is not None
    return value


ADA = {"_permanent": True, "_user_id": "ada", "cart": [1, "two", {"three": 3.5}]}


def test_a_session_goes_on_and_the_old_one_is_gone(make: Make) -> None:
    value = signed_in(make)
    app = make(Session)
    client = browser(app, value)
    assert client.get("/").json == ADA
    assert cookie_of(client) != value
    assert client.get("/").json == ADA
    assert client.get("/user").text == "ada"
    assert "_user_id" not in browser(make(flask_session.Session), value).get("/").json


def test_the_user_is_whom_adopt_user_names(make: Make) -> None:
    value = signed_in(make)
    app = make(lambda app: Session(app, adopt_user=lambda data: f"{data['_user_id']} of {data['cart'][1]}"))
    assert browser(app, value).get("/").json == ADA
    assert [info.user_id for info in manager_of(app).find()] == ["ada of two"]


def test_requests_that_come_together_get_one_session(make: Make) -> None:
    value = signed_in(make)
    app = make(Session)
    first, second = browser(app, value), browser(app, value)
    assert first.get("/").json == second.get("/").json == ADA
    assert cookie_of(first) == cookie_of(second)
    assert len(list(manager_of(app).find())) == 1


def test_no_copy_opens_anything_after_a_log_out(make: Make) -> None:
    value = signed_in(make)
    app = make(Session)
    client = browser(app, value)
    client.get("/")
    token = cookie_of(client)
    client.get("/out")
    for copy in (value, token):
        assert browser(app, copy).get("/").json == {}


def test_a_session_of_a_revoked_user_is_not_taken_over(make: Make) -> None:
    value = signed_in(make)
    app = make(Session)
    with app.app_context():
        revoke_user("ada")
    assert browser(app, value).get("/").json == {}


def test_a_log_out_on_one_device_leaves_the_others(make: Make) -> None:
    one, other = signed_in(make), signed_in(make)
    app = make(Session)
    client = browser(app, one)
    client.get("/")
    client.get("/out")
    assert browser(app, other).get("/").json == ADA


def test_an_id_that_nobody_gave_out_opens_nothing(make: Make) -> None:
    app = make(Session)
    for value in ("A" * 43, "855bd47d-879d-4f9a-9a91-d993dca0b982", "../../etc/passwd", "A" * 43 + "." + "B" * 27):
        client = browser(app, value)
        assert client.get("/").json == {}
    assert list(manager_of(app).find()) == []


def other_name(make: Make) -> Flask:
    return make(Session, SESSION_COOKIE_NAME="sid", IDLESESSION_ADOPT_COOKIE="session")


def test_a_roll_back_finds_the_session_as_on_the_day_of_the_switch_and_forth_it_goes_on(make: Make) -> None:
    old, new = make(flask_session.Session), other_name(make)
    client = browser(new, signed_in(make))
    client.get("/write/new")
    token = cookie_of(client, "sid")
    back = browser(old, cookie_of(client))
    assert back.get("/").json == ADA
    back.get("/write/old")
    assert client.get("/").json == {**ADA, "new": 1, "old": 1}
    assert cookie_of(client, "sid") == token


def test_a_log_out_after_the_switch_is_one_after_a_roll_back(make: Make) -> None:
    old, new = make(flask_session.Session), other_name(make)
    value = signed_in(make)
    client = browser(new, value)
    client.get("/")
    client.get("/out")
    assert (cookie_of(client), cookie_of(client, "sid")) == (None, None)
    assert "_user_id" not in browser(old, value).get("/").json


def test_a_revoked_session_takes_the_old_one_along(make: Make) -> None:
    old, new = make(flask_session.Session), other_name(make)
    value = signed_in(make)
    browser(new, value).get("/")
    with new.app_context():
        revoke_user("ada")
    assert "_user_id" not in browser(old, value).get("/").json


def test_a_log_out_in_the_older_version_ends_the_session(make: Make) -> None:
    old, new = make(flask_session.Session), other_name(make)
    value = signed_in(make)
    client = browser(new, value)
    client.get("/")
    browser(old, value).get("/out")
    if make(Session).config["SESSION_TYPE"] in ("memcached", "cachelib") and not hasattr(
        new.config.get("SESSION_CACHELIB"), "_path"
    ):
        client.delete_cookie("session")  # It cannot be told there from a record that has expired.
        pytest.skip("This kind of place does not tell when a record expires.")
    assert client.get("/").json == {}
    assert list(manager_of(new).find()) == []


# Names and settings.


@pytest.fixture
def app(tmp_path: Path) -> Flask:
    return make_app(Session, tmp_path, SESSION_TYPE="filesystem", SESSION_FILE_DIR=str(tmp_path / "files"))


def test_the_id_of_a_session_is_a_text(app: Flask) -> None:
    client = app.test_client()
    client.get("/in/ada")
    shown = client.get("/sid").text
    (info,) = manager_of(app).find()
    assert shown == f"id {info.sid}"


def test_a_new_session_has_its_id_before_it_is_stored(app: Flask) -> None:
    with app.test_request_context():
        sid = session.sid  # type: ignore[attr-defined]
        session["a"] = 1
        assert sid == session.sid  # type: ignore[attr-defined]
        app.session_interface.save_session(app, session._get_current_object(), app.response_class())  # type: ignore[attr-defined]
        assert sid == session.sid == str(next(manager_of(app).find()).sid)  # type: ignore[attr-defined]


def test_regenerate_gives_the_session_a_new_token(app: Flask) -> None:
    client = app.test_client()
    client.get("/in/ada")
    before = cookie_of(client)
    client.get("/regenerate")
    assert cookie_of(client) != before
    assert client.get("/").json == ADA


def test_regenerate_does_nothing_to_an_empty_session(app: Flask) -> None:
    assert "Set-Cookie" not in app.test_client().get("/regenerate").headers


def test_sessions_are_permanent_unless_a_setting_says_otherwise(tmp_path: Path, app: Flask) -> None:
    client = app.test_client()
    client.get("/in/ada")
    cookie = client.get_cookie("session")
    assert cookie is not None and cookie.expires is not None
    passing = make_app(Session, tmp_path, SESSION_TYPE="filesystem", SESSION_PERMANENT=False).test_client()
    passing.get("/in/ada")
    cookie = passing.get_cookie("session")
    assert cookie is not None and cookie.expires is None


def test_a_session_lasts_as_long_as_with_flask_session(tmp_path: Path) -> None:
    app = make_app(Session, tmp_path, SESSION_TYPE="filesystem", PERMANENT_SESSION_LIFETIME=7200)
    app.test_client().get("/in/ada")
    (info,) = manager_of(app).find()
    assert info.idle_timeout == 7200
    assert info.lifetime_ends_at - info.created_at > 300 * DAY


def test_a_second_call_reads_the_settings_again_until_the_first_request(tmp_path: Path) -> None:
    app = Flask(__name__)
    apps.append(app)
    app.config.update(SECRET_KEY=KEY, SESSION_TYPE="filesystem", SESSION_FILE_DIR=str(tmp_path / "one"))
    app.config["IDLESESSION_LIFETIME"] = 7200
    app.add_url_rule("/in", view_func=lambda: session.__setitem__("a", 1) or str(session.permanent))
    Session(app)
    app.config.update(SESSION_FILE_DIR=str(tmp_path / "two"), SESSION_PERMANENT=False)
    Session().init_app(app)
    client = app.test_client()
    assert client.get("/in").text == "False"
    assert not (tmp_path / "one" / "idlesession").exists() and (tmp_path / "two" / "idlesession").exists()
    assert app.config["IDLESESSION_LIFETIME"] == 7200
    app.config.update(SESSION_FILE_DIR=str(tmp_path / "three"))
    Session(app)
    assert client.get("/in").text == "False" and not (tmp_path / "three" / "idlesession").exists()
    assert len(list(manager_of(app).find())) == 1
    with pytest.raises(RuntimeError, match="already set up"):
        IdleSession(app)


def test_where_another_extension_has_the_sessions_a_call_is_an_error(tmp_path: Path) -> None:
    app = Flask(__name__)
    apps.append(app)
    app.config.update(SECRET_KEY=KEY, SESSION_TYPE="filesystem", SESSION_FILE_DIR=str(tmp_path))
    IdleSession(app)
    with pytest.raises(RuntimeError, match="already set up"):
        Session(app)


def test_settings_of_ours_count_more(tmp_path: Path) -> None:
    app = make_app(Session, tmp_path, SESSION_TYPE="filesystem", IDLESESSION_IDLE_TIMEOUT=600, IDLESESSION_ADOPT=[])
    app.test_client().get("/in/ada")
    (info,) = manager_of(app).find()
    assert info.idle_timeout == 600
    assert info.lifetime_ends_at - info.created_at == DAY


def test_each_setting_is_named_once_with_its_modern_key(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_app(Session, tmp_path, SESSION_TYPE="filesystem", SESSION_FILE_DIR=str(tmp_path), SESSION_KEY_PREFIX="s:")
    for key in ("SESSION_TYPE", "SESSION_FILE_DIR", "SESSION_KEY_PREFIX"):
        assert len([line for line in caplog.messages if line.startswith(f"{key} is understood")]) == 1
    assert "IDLESESSION_STORE" in caplog.text


@pytest.mark.parametrize("kind", ["mongodb", "dynamodb"])
def test_a_store_that_there_is_none_for_is_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(ConfigError, match="SESSION_TYPE"):
        make_app(Session, tmp_path, SESSION_TYPE=kind)


def test_memcached_stays_the_place_of_the_sessions(servers: dict[str, Any], tmp_path: Path) -> None:
    app = Flask(__name__)
    app.config.update(SESSION_TYPE="memcached", SESSION_MEMCACHED=memcached_client(servers))
    assert type(store_of(app)).__name__ == "MemcachedCache"


def test_without_a_kind_nothing_is_taken_over(tmp_path: Path) -> None:
    app = make_app(Session, tmp_path)
    assert app.extensions["idlesession"].settings.adopt == ()


def test_the_sessions_are_taken_over_without_the_class_too(servers: dict[str, Any], tmp_path: Path) -> None:
    config = {"SESSION_TYPE": "redis", "SESSION_REDIS": redis_client(servers)}
    client = make_app(flask_session.Session, tmp_path, **config).test_client()
    client.get("/in/ada")
    app = make_app(
        lambda app: IdleSession(app, store=MemoryStore()), tmp_path, IDLESESSION_ADOPT=["flask-session"], **config
    )
    assert browser(app, cookie_of(client)).get("/").json == ADA


def test_an_outage_of_the_old_store_is_a_503_and_keeps_the_cookie(tmp_path: Path) -> None:
    class Away:
        def get(self, key: str) -> None:
            raise redis.ConnectionError("away")

    app = make_app(
        lambda app: IdleSession(app, store=MemoryStore()),
        tmp_path,
        IDLESESSION_ADOPT=["flask-session"],
        SESSION_TYPE="redis",
        SESSION_REDIS=Away(),
        TESTING=False,
    )
    answer = browser(app, "A" * 43).get("/")
    assert answer.status_code == 503
    assert "Set-Cookie" not in answer.headers


# Pickles.


def of_0_5(servers: dict[str, Any], name: str, folder: Path, **config: Any) -> tuple[Flask, str]:
    """An application over what Flask-Session 0.5 stored, and the cookie that it gave out."""
    kind, _, how = name.partition(" ")
    made = json.loads(FIXTURE.read_text(encoding="utf-8"))["sessions"][name]
    value = base64.b64decode(made["value"])
    client = redis_client(servers) if kind == "redis" else memcached_client(servers)
    client.set(made["key"], value)
    key = "SESSION_REDIS" if kind == "redis" else "SESSION_MEMCACHED"
    more = {"SESSION_TYPE": kind, key: client, "SESSION_USE_SIGNER": how == "signed", **config}
    more["IDLESESSION_STORE"] = "sqlite:///sessions.db"
    return make_app(Session, folder, **more), made["cookie"]


@pytest.mark.parametrize("name", ["redis plain", "redis signed", "memcached plain", "memcached signed"])
def test_a_session_of_flask_session_0_5_goes_on_with_all_its_values(
    servers: dict[str, Any], tmp_path: Path, name: str
) -> None:
    app, cookie = of_0_5(servers, name, tmp_path)
    seen: list[dict[str, Any]] = []
    app.add_url_rule("/all", view_func=lambda: seen.append(dict(session)) or "seen")
    browser(app, cookie).get("/all")
    assert seen == [
        {
            "_permanent": True,
            "_user_id": "ada",
            "cart": [1, "two", (3.0, None)],
            "when": datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC),
            "price": Decimal("9.90"),
            "id": UUID("12345678-1234-4234-8234-123456789012"),
            "seen": {1, 2},
        }
    ]


@pytest.mark.parametrize("until", [None, "2020-01-01"])
def test_no_pickle_is_read_unless_a_date_says_so(
    servers: dict[str, Any], tmp_path: Path, until: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    app, cookie = of_0_5(servers, "redis plain", tmp_path, IDLESESSION_ADOPT_PICKLE_UNTIL=until)
    assert browser(app, cookie).get("/").json == {}
    assert "IDLESESSION_ADOPT_PICKLE_UNTIL" in caplog.text


class Evil:
    def __reduce__(self) -> Any:
        return (sys.modules[__name__].note_run, ())


ran: list[int] = []


def note_run() -> None:
    ran.append(1)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("place", ["redis", "files", "cache"])
def test_a_pickle_that_names_anything_but_plain_values_runs_nothing(
    servers: dict[str, Any], tmp_path: Path, place: str, protocol: int, caplog: pytest.LogCaptureFixture
) -> None:
    config: dict[str, Any] = {"SESSION_TYPE": "redis" if place == "redis" else "cachelib"}
    bad, sid = {"_user_id": "ada", "evil": Evil()}, "A" * 43
    if place == "redis":
        config["SESSION_REDIS"] = redis_client(servers)
        config["SESSION_REDIS"].set(f"session:{sid}", pickle.dumps(bad, protocol))
    else:
        cache = FileSystemCache(str(tmp_path / "cache")) if place == "files" else SimpleCache()
        cache.set(f"session:{sid}", bad, timeout=1000)
        config["SESSION_CACHELIB"] = cache
    app = make_app(Session, tmp_path, **config)
    answer = browser(app, sid).get("/")
    assert answer.json == {}
    assert not ran
    assert "no plain value" in caplog.text


def test_a_clock_of_the_tests_ends_the_time_for_pickles(servers: dict[str, Any], tmp_path: Path) -> None:
    clock = FakeClock(datetime(2030, 1, 31, 12, tzinfo=UTC).timestamp())

    def extend(app: Flask) -> None:
        app.config["IDLESESSION_ADOPT"] = ["flask-session"]
        IdleSession(app, clock=clock, store=MemoryStore())

    made = json.loads(FIXTURE.read_text(encoding="utf-8"))["sessions"]["redis plain"]
    client = redis_client(servers)
    client.set(made["key"], base64.b64decode(made["value"]))
    config = {"SESSION_TYPE": "redis", "SESSION_REDIS": client, "IDLESESSION_ADOPT_PICKLE_UNTIL": "2030-01-31"}
    app = make_app(extend, tmp_path, **config)
    clock.advance(DAY)
    assert browser(app, made["cookie"]).get("/user").text == "None"
    clock.advance(-DAY)
    assert browser(app, made["cookie"]).get("/user").text == "ada"


def test_no_warning_calls_an_old_id_garbage(
    servers: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app, cookie = of_0_5(servers, "redis plain", tmp_path)
    with caplog.at_level(logging.WARNING):
        assert browser(app, cookie).get("/user").text == "ada"
    assert "garbage" not in caplog.text
