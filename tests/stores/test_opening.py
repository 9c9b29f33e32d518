"""IDLESESSION_STORE: a URL or a ready object becomes a store, and what is none is named with its mend."""

import builtins
import sys
import traceback
from pathlib import Path

import pytest
from flask import Flask
from flask import session

import flask_idlesession.stores
from flask_idlesession import ConfigError
from flask_idlesession import IdleSession
from flask_idlesession import MemoryStore
from flask_idlesession.model.errors import StoreUnavailable
from flask_idlesession.model.ids import new_session_id
from flask_idlesession.stores import open_store


def opened(spec, folder=Path("/nowhere")):
    store = open_store(spec, folder=folder)
    try:
        return type(store).__name__
    finally:
        store.close()


def test_memory_is_a_store_of_its_own_each_time():
    assert opened("memory://") == "MemoryStore"
    assert open_store("memory://", folder=Path()) is not open_store("memory://", folder=Path())


def test_a_ready_store_is_taken_as_it_is():
    store = MemoryStore()
    assert open_store(store, folder=Path()) is store


def test_a_relative_sqlite_path_is_taken_from_the_folder(tmp_path):
    assert opened("sqlite:///instance/sessions.db", tmp_path) == "SQLiteStore"
    assert (tmp_path / "instance" / "sessions.db").exists()


def test_an_absolute_sqlite_path_is_one(tmp_path):
    assert opened(f"sqlite:///{tmp_path}/there.db") == "SQLiteStore"
    assert (tmp_path / "there.db").exists()


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:1/0",
        "rediss://127.0.0.1:1",
        "unix:///nowhere/redis.sock",
        "redis+sentinel://user:word@127.0.0.1:1,127.0.0.1:2/service/3",
        "valkey://127.0.0.1:1",
    ],
)
def test_redis_and_its_kin_are_opened_without_a_server(url):
    assert opened(url) == "RedisStore"


def test_a_database_is_opened_without_a_server():
    assert opened("postgresql+psycopg://somebody@127.0.0.1:1/nothing") == "SQLAlchemyStore"


def test_ready_objects_are_known_by_what_they_can_do(tmp_path):
    redis = pytest.importorskip("redis")
    sqlalchemy = pytest.importorskip("sqlalchemy")
    assert opened(redis.Redis(port=1)) == "RedisStore"
    assert opened(sqlalchemy.create_engine(f"sqlite:///{tmp_path}/a.db")) == "SQLAlchemyStore"


def test_a_cachelib_cache_is_taken():
    cachelib = pytest.importorskip("cachelib")
    assert opened(cachelib.SimpleCache()) == "CachelibStore"


@pytest.mark.parametrize("spec", [None, 5, object(), "sessions.db", ""])
def test_what_is_no_store_is_named_with_what_is(spec):
    with pytest.raises(ConfigError, match=r"^IDLESESSION_STORE is .*it must be a URL \(memory://, sqlite:///"):
        open_store(spec, folder=Path())


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_sqlite_in_memory_is_refused_because_each_connection_would_have_its_own(url):
    with pytest.raises(ConfigError, match="must name a file"):
        open_store(url, folder=Path())


def test_a_database_of_an_unknown_kind_is_refused():
    with pytest.raises(ConfigError, match="IDLESESSION_STORE is 'tortoise://nothing'"):
        open_store("tortoise://nothing", folder=Path())


@pytest.mark.parametrize(
    ("url", "package", "extra"),
    [
        ("redis://127.0.0.1", "redis", "redis"),
        ("valkey://127.0.0.1", "valkey", "valkey"),
        ("postgresql+psycopg://127.0.0.1/a", "sqlalchemy", "sqlalchemy"),
    ],
)
def test_a_missing_driver_is_a_sentence_with_the_command_that_mends_it(monkeypatch, url, package, extra):
    def import_module(name):
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)

    monkeypatch.setattr(flask_idlesession.stores, "import_module", import_module)
    with pytest.raises(ConfigError) as caught:
        open_store(url, folder=Path())
    assert f"python -m pip install 'flask_idlesession[{extra}]'" in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:hunter2@127.0.0.1?nothing=1",
        "redis://:hunter2@127.0.0.1?nothing=1",
        "redis://hunter2@127.0.0.1?nothing=1",
        "redis:/user:hunter2@127.0.0.1",
        "redis:hunter2@127.0.0.1",
        "redis://user:hun#ter2@127.0.0.1",
        "redis://user:hun/ter2@127.0.0.1",
        "redis://user:hunter@hunter2@127.0.0.1?nothing=1",
        "redis://127.0.0.1?password=hunter2&socket_timeout=x",
        "redis://127.0.0.1:x/0?username=a&password=hunter2",
        "redis+sentinel://user:hunter2@127.0.0.1",
        "redis+sentinel://127.0.0.1/svc/0?sentinel_password=hunter2&nothing=1",
        "redis+cluster://:hunter2@127.0.0.1/0?nothing=1",
        "valkey://:hunter2@127.0.0.1?nothing=1",
        "postgres://user:hunter2@127.0.0.1/db?password=hunter2&sslpassword=hunter2",
        "postgresql+psycopg://user:hunter2@127.0.0.1:x/db",
        "postgresql+psycopg://user:hunter2/@127.0.0.1:x/db",
        "postgresql+nothing://user:hunter2@127.0.0.1/db",
        "tortoise://user:hunter2@127.0.0.1",
        "mysql://user:hunter2@127.0.0.1/db?passwd=hunter2",
        b"redis://user:hunter2@127.0.0.1?nothing=1",
        "user:hunter2@127.0.0.1",
    ],
)
def test_no_message_shows_a_password(url):
    with pytest.raises(ConfigError) as caught:
        open_store(url, folder=Path())
    told = traceback.format_exception_only(caught.value.__cause__ or caught.value)
    for text in (str(caught.value), *told):
        assert "hun" not in text and "ter2" not in text
    assert caught.value.__context__ is None or caught.value.__cause__ is not None or caught.value.__suppress_context__


def test_no_message_about_a_missing_driver_shows_one_either(monkeypatch):
    def import_module(name):
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(flask_idlesession.stores, "import_module", import_module)
    for url in (
        "redis://user:hunter2@127.0.0.1?nothing=1",
        "valkey://127.0.0.1?password=hunter2",
        "oracle://a:hunter2@b",
    ):
        with pytest.raises(ConfigError) as caught:
            open_store(url, folder=Path())
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis:/127.0.0.1", "it must begin with redis://"),
        ("rediss:127.0.0.1", "it must begin with rediss://"),
        ("redis://127.0.0.1:six", "its port must be a number"),
        ("redis://127.0.0.1:99999", "its port must be a number up to 65535"),
        ("redis://127.0.0.1?socket_timeout=x", "'socket_timeout'"),
        ("redis://127.0.0.1?speed=1", "does not know: 'speed'"),
        ("valkey://127.0.0.1?speed=1", "does not know: 'speed'"),
        ("redis+cluster://127.0.0.1?speed=1", "does not know: 'speed'"),
        ("redis+sentinel://127.0.0.1", "it must be redis+sentinel://host:26379"),
        ("redis+sentinel://127.0.0.1/service/x", "it must be redis+sentinel://host:26379"),
        ("redis+sentinel://127.0.0.1:x/service", "its port must be a number"),
        ("redis+sentinel://a,,b/service", "it must be redis+sentinel://host:26379"),
        ("postgres://user@127.0.0.1/db", "write postgresql+psycopg://***@127.0.0.1/db"),
        ("postgres+psycopg2://127.0.0.1/db", "write postgresql+psycopg://127.0.0.1/db"),
        ("postgresql+psycopg://127.0.0.1:six/db", "its port must be a number"),
    ],
)
def test_a_url_that_cannot_be_used_is_told_why(url, said):
    with pytest.raises(ConfigError, match=r"^IDLESESSION_STORE is '") as caught:
        open_store(url, folder=Path())
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("url", "module", "said"),
    [
        ("mysql://127.0.0.1/db", "MySQLdb", "pip install mysqlclient (or write mysql+pymysql://… and install PyMySQL)"),
        ("mariadb://127.0.0.1/db", "MySQLdb", "pip install mysqlclient (or write mariadb+pymysql://…"),
        ("mysql+mysqldb://127.0.0.1/db", "MySQLdb", "pip install mysqlclient"),
        ("mysql+pymysql://127.0.0.1/db", "pymysql", "pip install PyMySQL"),
        ("postgresql+psycopg2://127.0.0.1/db", "psycopg2", "pip install psycopg2-binary"),
        ("postgresql+psycopg://127.0.0.1/db", "psycopg", "pip install 'psycopg[binary]'"),
        ("oracle+oracledb://127.0.0.1/db", "oracledb", "pip install oracledb"),
    ],
)
def test_a_missing_driver_of_a_database_is_named_by_its_package(monkeypatch, url, module, said):
    pytest.importorskip("sqlalchemy")
    for name in {each.partition(".")[0] for each in sys.modules} & {module}:
        monkeypatch.setitem(sys.modules, name, None)
    real = builtins.__import__

    def without_it(name, names=None, here=None, wanted=(), level=0):
        if level == 0 and name.partition(".")[0] == module:
            raise ModuleNotFoundError(f"No module named {module!r}", name=module)
        return real(name, names, here, wanted, level)

    monkeypatch.setattr(builtins, "__import__", without_it)
    with pytest.raises(ConfigError) as caught:
        open_store(url, folder=Path())
    assert said in str(caught.value)


def test_a_scheme_may_be_written_in_capitals(tmp_path):
    assert opened("REDIS://127.0.0.1:1") == "RedisStore"
    assert opened("Memory://") == "MemoryStore"


def options_of(store):
    client = store._client
    return client.connection_pool.connection_kwargs, client.connection_pool.sentinel_manager


def test_sentinels_may_have_a_password_of_their_own_and_the_servers_another():
    url = "rediss+sentinel://ada:a%2Fb@one:1,[::1]:2,three/service/5?sentinel_username=eve&sentinel_password=s%3D&db=1"
    servers, manager = options_of(open_store(url + "&health_check_interval=7&socket_timeout=9", folder=Path()))
    watchers = [client.connection_pool.connection_kwargs for client in manager.sentinels]
    assert [(each["host"], each["port"]) for each in watchers] == [("one", 1), ("::1", 2), ("three", 26379)]
    assert {(each["username"], each["password"], each["socket_timeout"]) for each in watchers} == {("eve", "s=", 1.0)}
    assert (servers["username"], servers["password"], servers["db"]) == ("ada", "a/b", 5)
    assert servers["health_check_interval"] == 7 and servers["socket_timeout"] == 1.0


def test_a_cluster_is_opened_without_a_server_and_asked_at_the_first_call():
    redis = pytest.importorskip("redis")
    store = open_store("redis+cluster://:word@127.0.0.1:1/0", folder=Path())
    with pytest.raises(StoreUnavailable) as caught:
        store.load(new_session_id(), now=0.0)
    assert isinstance(caught.value.__cause__, redis.exceptions.RedisClusterException | redis.ConnectionError)
    store.close()


def test_drivers_are_imported_only_when_asked_for(monkeypatch):
    asked = []
    real = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", lambda name, *rest: asked.append(name) or real(name, *rest))
    open_store("memory://", folder=Path())
    assert not {"redis", "sqlalchemy", "cachelib", "valkey"} & set(asked)


def test_two_applications_share_what_one_line_of_config_names(tmp_path):
    clients = []
    for _ in range(2):
        app = Flask("shared", instance_path=str(tmp_path / "instance"))
        app.testing = True
        app.secret_key = "k" * 32
        app.config["IDLESESSION_STORE"] = "sqlite:///sessions.db"
        IdleSession(app)
        app.add_url_rule("/write", view_func=lambda: session.update(a=1) or "", endpoint="write")
        app.add_url_rule("/read", view_func=lambda: dict(session), endpoint="read")
        clients.append(app.test_client())
    clients[0].get("/write")
    clients[1].set_cookie("session", clients[0].get_cookie("session").value)
    assert clients[1].get("/read").json == {"a": 1}
    for client in clients:
        client.application.extensions["idlesession"].manager.close()


def test_a_store_in_memory_and_a_journal_go_together_and_no_other(tmp_path):
    app = Flask("journal", instance_path=str(tmp_path / "instance"))
    app.testing = True
    app.secret_key = "k" * 32
    app.config.update(IDLESESSION_STORE="sqlite:///sessions.db", IDLESESSION_JOURNAL="sessions.journal")
    with pytest.raises(ConfigError, match="IDLESESSION_JOURNAL"):
        IdleSession(app)
