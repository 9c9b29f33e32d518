"""Two applications on one server, with one secret key: each has its own users, limits, revocations and sessions."""

import logging
import re
import sqlite3
import time
from contextlib import closing
from uuid import uuid4

import pytest
import sqlalchemy
from cachelib import SimpleCache
from flask import Flask
from flask import session

from flask_idlesession import ConfigError
from flask_idlesession import current_user_id
from flask_idlesession import IdleSession
from flask_idlesession import log_in
from flask_idlesession import log_out
from flask_idlesession import MemoryStore
from flask_idlesession import revoke_all
from flask_idlesession import revoke_user
from flask_idlesession import sessions_of
from flask_idlesession.stores import open_store
from flask_idlesession.stores.cachelib import CachelibStore
from flask_idlesession.stores.redis import RedisStore
from flask_idlesession.stores.sqlalchemy import SQLAlchemyStore
from flask_idlesession.stores.sqlite import SQLiteStore

KEY = "Zt8mQ0vX5yR2aL7nC4pW9sE1uB6dG3hJ"
KINDS = ["sqlite", "redis", "redis client", "engine", "postgresql", "mariadb", "cachelib"]


def make_app(name, spec, *, key=KEY, **config):
    app = Flask(name)
    app.config.update(SECRET_KEY=key, IDLESESSION_STORE=spec, IDLESESSION_MAX_SESSIONS_PER_USER=1)
    app.config.update(config)
    IdleSession(app)

    @app.post("/in")
    def come_in():
        log_in("1")
        return ""

    @app.get("/")
    def look():
        return f"{current_user_id()} {len(sessions_of('1'))} {session.get('n')}"

    @app.post("/n")
    def write():
        session["n"] = 1
        return ""

    ends = {
        "out": lambda: log_out() or "",
        "revoke": lambda: str(revoke_user("1")),
        "revoke-all": lambda: str(revoke_all()),
    }
    for path, end in ends.items():
        app.add_url_rule(f"/{path}", path, end, methods=["POST"])
    return app


@pytest.fixture(params=KINDS)
def spec(request, tmp_path):
    kind = request.param
    if kind.startswith("redis"):
        server = request.getfixturevalue("redis_server")
        client = server.client()
        with closing(client):
            client.flushall()
            yield server.url if kind == "redis" else client
    elif kind == "engine":
        engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/engine.db")
        yield engine
        engine.dispose()
    elif kind in ("postgresql", "mariadb"):
        yield request.getfixturevalue(kind).url
    else:
        yield SimpleCache() if kind == "cachelib" else f"sqlite:///{tmp_path}/own/sessions.db"


@pytest.fixture
def pair(spec):
    # A digit and the longest word: both must do as the beginning of a table's name.
    apps = [make_app("app", spec, IDLESESSION_NAMESPACE=name) for name in ("7", "w" * 32)]
    clients = [app.test_client() for app in apps]
    yield clients
    for client in clients:
        client.post("/revoke-all")
    for app in apps:
        app.extensions["idlesession"].manager.close()


def test_a_user_of_one_application_is_nobody_in_the_other(pair):
    one, other = pair
    one.post("/in"), other.post("/in")
    assert one.get("/").text == other.get("/").text == "1 1 None"


def test_what_one_application_ends_lives_on_in_the_other(pair):
    one, other = pair
    for end, count in (("/revoke", "1"), ("/revoke-all", "1"), ("/out", "")):
        one.post("/in"), other.post("/in")
        assert one.post(end).text == count
        assert one.get("/").text.startswith("None 0")
        assert other.get("/").text.startswith("1 1"), end


def test_a_session_is_never_opened_by_the_other_application_though_the_keys_are_the_same(pair):
    one, other = pair
    one.post("/n")
    token = one.get_cookie("session").value
    other.set_cookie("session", token)
    assert one.get("/").text == "None 0 1"
    answer = other.get("/")
    assert answer.text == "None 0 None" and "Set-Cookie" not in answer.headers


def test_the_names_of_the_stores_begin_with_the_namespace(tmp_path, redis_server):
    with closing(redis_server.client()) as client:
        client.flushall()
        app = make_app("app", redis_server.url, IDLESESSION_NAMESPACE="shop")
        app.test_client().post("/in")
        keys = client.keys()
        assert keys and all(key.startswith(b"shop:idlesession:") for key in keys)
        app.extensions["idlesession"].manager.close()
    path = tmp_path / "own/s.db"
    open_store(f"sqlite:///{path}", folder=tmp_path, namespace="shop").close()
    with closing(sqlite3.connect(path)) as database:
        names = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
    assert {name for name in names if not name.startswith(("shop_", "sqlite_autoindex_shop_"))} == set()
    engine = sqlalchemy.create_engine("sqlite://")
    tables = open_store(engine, folder=tmp_path, namespace="shop").metadata.tables
    assert set(tables) == {"shop_idlesession_session", "shop_idlesession_ending", "shop_idlesession_tally"}
    engine.dispose()


def test_an_application_without_a_namespace_and_one_with_it_share_an_sqlite_file_of_before(tmp_path):
    url = f"sqlite:///{tmp_path}/own/sessions.db"
    old, new = make_app("old", url), make_app("new", url, IDLESESSION_NAMESPACE="new")
    clients = old.test_client(), new.test_client()
    for client in clients:
        client.post("/in")
    assert [client.get("/").text for client in clients] == ["1 1 None"] * 2
    for app in (old, new):
        app.extensions["idlesession"].manager.close()


@pytest.mark.parametrize("value", ["Shop", "a-b", "ä", "a" * 33, "a:", None, 7, "a\n"])
def test_a_namespace_that_is_no_word_is_refused(value):
    with pytest.raises(ConfigError, match="IDLESESSION_NAMESPACE is .*; it must be a word"):
        make_app("app", "memory://", IDLESESSION_NAMESPACE=value)


def test_a_ready_store_that_has_its_names_already_is_refused_with_a_namespace(tmp_path, redis_server):
    engine, file = sqlalchemy.create_engine("sqlite://"), SQLiteStore(tmp_path / "own/s.db", table_prefix="x_")
    with closing(redis_server.client()) as client, closing(file):
        stores = [
            RedisStore(client, prefix="mine:"),
            SQLAlchemyStore(engine, table_prefix="mine_"),
            CachelibStore(SimpleCache(), prefix="mine:"),
            file,
        ]
        for store in stores:
            with pytest.raises(ConfigError, match=f"'shop', but .* {type(store).__name__}, .*'shop:idlesession:'"):
                make_app("app", store, IDLESESSION_NAMESPACE="shop")
            make_app("app", store)
    engine.dispose()


def test_a_ready_memory_store_serves_one_namespace():
    store = MemoryStore()
    make_app("app", store, IDLESESSION_NAMESPACE="shop")
    make_app("again", store, IDLESESSION_NAMESPACE="shop")
    with pytest.raises(ConfigError, match="'wiki', but another application .* 'shop'"):
        make_app("app", store, IDLESESSION_NAMESPACE="wiki")


# Another application is found under the same names.


def warnings_of(apps, caplog, *, expected):
    caplog.set_level(logging.WARNING, "flask_idlesession")
    for app in apps:
        app.test_client().post("/n")
        task = app.extensions["idlesession"]._neighbours
        give_up_at = time.monotonic() + 10
        while not task._pace._due or not task._look():  # The cleaner looks once; the store may have been busy.
            assert time.monotonic() < give_up_at
            time.sleep(0.005)
    for _ in range(2):
        for app in apps:
            app.extensions["idlesession"]._neighbours._look()
    for app in apps:
        app.extensions["idlesession"].manager.close()
    names = {repr(app.name) for app in apps}  # The cleaner may be with applications of other tests, too.
    said = [text for text in caplog.messages if "[ISW009]" in text and names >= set(re.findall("'.*?'", text)[:2])]
    assert len(said) == expected, said
    return said


def test_another_application_under_the_same_names_is_told_once(spec, caplog):
    ours = {"IDLESESSION_NAMESPACE": f"t{uuid4().hex[:8]}"}  # Other tests have left their names on the server.
    (said,) = warnings_of([make_app("shop", spec, **ours), make_app("wiki", spec, **ours)], caplog, expected=1)
    assert "'wiki' and 'shop'" in said and "IDLESESSION_NAMESPACE" in said


def test_an_application_with_another_key_is_another_one(tmp_path, caplog):
    url = f"sqlite:///{tmp_path}/s/s.db"
    (said,) = warnings_of([make_app("app", url), make_app("app", url, key=KEY[::-1])], caplog, expected=1)
    assert KEY not in said and KEY[::-1] not in said
    assert said.startswith("Another process of 'app'") and said.index("SECRET_KEY") < said.index(
        "IDLESESSION_NAMESPACE"
    )


def test_the_processes_of_one_application_are_no_others_also_while_its_key_is_replaced(tmp_path, caplog):
    url = f"sqlite:///{tmp_path}/s/s.db"
    new = make_app("app", url, key=KEY[::-1], SECRET_KEY_FALLBACKS=[KEY])
    warnings_of([make_app("app", url), make_app("app", url), new], caplog, expected=0)


def test_an_application_that_is_gone_is_no_other_one(tmp_path, caplog):
    url = f"sqlite:///{tmp_path}/s/s.db"
    app, gone = make_app("app", url), make_app("app", url)
    warnings_of([app], caplog, expected=0)
    gone.test_client().post("/n")
    task = gone.extensions["idlesession"]._neighbours
    task._keys = list  # What is returned once the application was collected.
    assert task._look()
    assert not [text for text in caplog.messages if "[ISW009]" in text]
    gone.extensions["idlesession"].manager.close()


def test_applications_with_namespaces_are_not_told_of_each_other(tmp_path, caplog):
    url = f"sqlite:///{tmp_path}/s/s.db"
    apps = [make_app(name, url, IDLESESSION_NAMESPACE=name) for name in ("shop", "wiki")]
    warnings_of(apps, caplog, expected=0)
