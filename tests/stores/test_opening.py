"""IDLESESSION_STORE: a URL or a ready object becomes a store, and what is none is named with its mend."""

import builtins
from pathlib import Path

import pytest
from flask import Flask
from flask import session

import flask_idlesession.stores
from flask_idlesession import ConfigError
from flask_idlesession import IdleSession
from flask_idlesession import MemoryStore
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


def test_a_cachelib_cache_is_taken_with_a_warning():
    cachelib = pytest.importorskip("cachelib")
    with pytest.warns(UserWarning):
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


def test_no_message_shows_a_password(monkeypatch):
    def import_module(name):
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(flask_idlesession.stores, "import_module", import_module)
    with pytest.raises(ConfigError) as caught:
        open_store("redis://user:hunter2@127.0.0.1", folder=Path())
    assert "hunter2" not in str(caught.value)


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
