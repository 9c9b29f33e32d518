"""Sessions that Flask kept in its cookie go on as sessions of ours: each once, and none after its user's log-out."""

import logging
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask import session
from flask.sessions import SecureCookieSessionInterface
from flask.testing import FlaskClient
from support.programs import find_program
from support.redis_servers import one_server
from support.versions import FLASK

from flask_idlesession import ConfigError
from flask_idlesession import current_user_id
from flask_idlesession import IdleSession
from flask_idlesession import log_in
from flask_idlesession import MemoryStore
from flask_idlesession import revoke_all
from flask_idlesession import revoke_user
from flask_idlesession import SessionManager
from flask_idlesession import StoreUnavailable
from flask_idlesession.cli import cli
from flask_idlesession.model.clock import system_clock
from flask_idlesession.stores.contract import UnreadableRecord
from flask_idlesession.stores.redis import RedisStore
from flask_idlesession.stores.sqlite import SQLiteStore
from flask_idlesession.testing import FakeClock

KEY = "5b1c7f0e9a3d4c8e8f6a2d9b0c7e1f43"
OTHER_KEY = "c0a8f4e19b7d4e02a6f3b8d15e9c7a60"
DAY = 86400.0


@pytest.fixture(params=["memory", "sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    if request.param == "redis":
        with one_server(find_program("redis-server")) as server:
            yield RedisStore(server.client())
    elif request.param == "sqlite":
        kept = SQLiteStore(tmp_path / "sessions.db")
        yield kept
        kept.close()
    else:
        yield MemoryStore()


def make_app(clock: FakeClock, *, store: Any = None, adopt_user: Any = None, **config: Any) -> Flask:
    app = Flask(__name__)
    app.config.update(TESTING=True, SECRET_KEY=KEY, IDLESESSION_ADOPT=["flask"])
    app.config.update(config)
    IdleSession(app, store=MemoryStore() if store is None else store, clock=clock, adopt_user=adopt_user)

    @app.get("/")
    def show() -> dict[str, Any]:
        return {**session, "user": current_user_id()}

    @app.get("/write/<key>")
    def write(key: str) -> str:
        session[key] = 1
        return "written"

    @app.get("/out")
    def out() -> str:
        session.clear()
        return "out"

    @app.get("/in/<name>")
    def enter(name: str) -> str:
        log_in(name)
        return "in"

    @app.get("/plain")
    def plain() -> str:
        return "plain"

    return app


def old_cookie(clock: FakeClock, data: dict[str, Any], *, key: str = KEY, permanent: bool = False) -> str:
    """The cookie that Flask makes of this session at the clock's instant."""
    app = Flask(__name__)
    app.secret_key = key
    serializer = SecureCookieSessionInterface().get_signing_serializer(app)
    assert serializer is not None
    signer = serializer.make_signer(serializer.salt)
    signer.get_timestamp = lambda: int(clock())  # type: ignore[attr-defined]
    data = {**data, "_permanent": True} if permanent else data
    return signer.sign(serializer.dump_payload(data)).decode()


def browser(app: Flask, value: str | None = None, *, name: str = "session") -> FlaskClient:
    client = app.test_client()
    if value is not None:
        client.set_cookie(name, value)
    return client


def cookie_of(client: FlaskClient, name: str = "session") -> str | None:
    cookie = client.get_cookie(name)
    return None if cookie is None else cookie.value


def manager_of(app: Flask) -> SessionManager:
    manager: SessionManager = app.extensions["idlesession"].manager
    return manager


ADA = {"_user_id": "ada", "_fresh": True, "cart": [1, (2, 3)]}


def test_an_old_cookie_opens_a_session_of_ours_with_all_that_was_in_it(clock: FakeClock, store: Any) -> None:
    app = make_app(clock, store=store)
    client = browser(app, old_cookie(clock, ADA))
    assert client.get("/").json == {"_user_id": "ada", "_fresh": False, "cart": [1, [2, 3]], "user": "ada"}
    assert cookie_of(client) != old_cookie(clock, ADA)
    clock.advance(100)
    assert client.get("/").json["cart"] == [1, [2, 3]]
    assert [info.user_id for info in manager_of(app).find()] == ["ada"]


def test_the_user_of_an_old_cookie_is_not_fresh(clock: FakeClock) -> None:
    app = make_app(clock)
    browser(app, old_cookie(clock, ADA)).get("/")
    (info,) = manager_of(app).find(user_id="ada")
    assert info.authenticated_at is None


def test_nothing_is_taken_over_unless_that_is_asked_for(clock: FakeClock) -> None:
    client = browser(make_app(clock, IDLESESSION_ADOPT=[]), old_cookie(clock, ADA))
    assert client.get("/").json == {"user": None}


def test_an_old_cookie_opens_the_same_session_for_a_while_and_then_none(clock: FakeClock, store: Any) -> None:
    app, cookie = make_app(clock, store=store), old_cookie(clock, ADA)
    first, second, late = browser(app, cookie), browser(app, cookie), browser(app, cookie)
    first.get("/")
    second.get("/write/other")
    assert cookie_of(first) == cookie_of(second)
    assert first.get("/").json["other"] == 1
    clock.advance(61)
    assert late.get("/").json == {"user": None}
    assert first.get("/").json["user"] == "ada"


def test_requests_at_once_take_an_old_session_over_once(clock: FakeClock, store: Any) -> None:
    cookie = old_cookie(clock, ADA)
    apps = [make_app(clock, store=store) for _ in range(4)]
    clients = [browser(apps[number % 4], cookie) for number in range(12)]
    answers: list[Any] = []
    start = threading.Barrier(len(clients))

    def ask(client: FlaskClient) -> None:
        start.wait()
        answers.append(client.get("/").json)

    threads = [threading.Thread(target=ask, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer["user"] for answer in answers] == ["ada"] * len(clients)
    assert len({cookie_of(client) for client in clients}) == 1
    assert len(list(manager_of(apps[0]).find())) == 1


def test_an_adopted_cookie_is_refused_after_a_log_out(clock: FakeClock, store: Any) -> None:
    app, cookie = make_app(clock, store=store), old_cookie(clock, ADA)
    client = browser(app, cookie)
    client.get("/")
    token = cookie_of(client)
    client.get("/out")
    assert cookie_of(client) is None
    for copy in (cookie, token):
        assert browser(app, copy).get("/").json == {"user": None}


def test_an_earlier_copy_is_refused_after_its_user_has_logged_out(clock: FakeClock, store: Any) -> None:
    app, earlier = make_app(clock, store=store), old_cookie(clock, {**ADA, "cart": []})
    clock.advance(60)
    client = browser(app, old_cookie(clock, ADA))
    client.get("/")
    clock.advance(60)
    client.get("/out")
    assert browser(app, earlier).get("/").json == {"user": None}
    clock.advance(29 * DAY)
    assert browser(app, earlier).get("/").json == {"user": None}


def test_a_cookie_that_was_made_after_the_log_out_is_accepted(clock: FakeClock, store: Any) -> None:
    app = make_app(clock, store=store)
    client = browser(app, old_cookie(clock, ADA))
    client.get("/")
    client.get("/out")
    clock.advance(2)
    assert browser(app, old_cookie(clock, ADA)).get("/").json["user"] == "ada"


def test_the_last_of_several_log_outs_counts(clock: FakeClock, store: Any) -> None:
    app = make_app(clock, store=store)
    for _ in range(3):
        clock.advance(20 * DAY)
        between = old_cookie(clock, ADA)
        clock.advance(2)
        client = browser(app)
        client.get("/in/ada")
        client.get("/out")
        assert browser(app, between).get("/").json == {"user": None}


@pytest.mark.parametrize("how", ["user", "everybody", "one session"])
def test_a_cookie_from_before_a_revocation_is_refused(clock: FakeClock, store: Any, how: str) -> None:
    app, untouched = make_app(clock, store=store), old_cookie(clock, {**ADA, "cart": []})
    client = browser(app, old_cookie(clock, ADA))
    client.get("/")
    clock.advance(1)
    with app.app_context():
        if how == "user":
            revoke_user("ada")
        elif how == "everybody":
            revoke_all()
        else:
            (info,) = manager_of(app).find()
            manager_of(app).revoke(info.sid)
    clock.advance(2 * 3600)
    assert client.get("/").json == {"user": None}
    assert browser(app, untouched).get("/").json == {"user": None}


def test_an_anonymous_cookie_is_refused_once_everybody_was_revoked(clock: FakeClock) -> None:
    app, cookie = make_app(clock), old_cookie(clock, {"cart": [1]})
    with app.app_context():
        revoke_all()
    assert browser(app, cookie).get("/").json == {"user": None}


def test_a_cookie_is_not_adopted_again_after_its_session_was_idle(clock: FakeClock, store: Any) -> None:
    for data in (ADA, {"cart": [1]}):
        app, cookie = make_app(clock, store=store), old_cookie(clock, data)
        browser(app, cookie).get("/")
        clock.advance(3 * DAY)
        manager_of(app).prune()
        assert browser(app, cookie).get("/").json == {"user": None}


def test_the_user_is_whom_adopt_user_names(clock: FakeClock) -> None:
    app = make_app(clock, adopt_user=lambda data: data.get("account"))
    earlier = old_cookie(clock, {"account": 7})
    clock.advance(1)
    client = browser(app, old_cookie(clock, {"account": 7, "cart": []}))
    assert client.get("/").json == {"account": 7, "cart": [], "user": "7"}
    client.get("/out")
    assert browser(app, earlier).get("/").json == {"user": None}


def test_nothing_is_taken_over_where_adopt_user_raises(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    app = make_app(clock, adopt_user=lambda data: data["absent"])
    assert browser(app, old_cookie(clock, ADA)).get("/").json == {"user": None}
    assert "cannot be told" in caplog.text


@pytest.mark.parametrize(("age", "is_accepted"), [(31 * DAY - 2, True), (31 * DAY, False), (-60.0, False)])
def test_an_old_cookie_is_accepted_for_31_days(clock: FakeClock, age: float, is_accepted: bool) -> None:
    app, cookie = make_app(clock), old_cookie(clock, ADA)
    clock.advance(age)
    assert (browser(app, cookie).get("/").json["user"] == "ada") is is_accepted


@pytest.mark.parametrize(
    "config",
    [{"IDLESESSION_ADOPT_FOR": 3600}, {"PERMANENT_SESSION_LIFETIME": timedelta(hours=1)}],
    ids=["our setting", "Flask's own"],
)
def test_an_old_cookie_is_accepted_for_as_long_as_both_settings_say(clock: FakeClock, config: dict[str, Any]) -> None:
    app, cookie = make_app(clock, **config), old_cookie(clock, ADA)
    clock.advance(3601)
    assert browser(app, cookie).get("/").json == {"user": None}


def test_a_cookie_of_another_key_is_refused(clock: FakeClock) -> None:
    assert browser(make_app(clock), old_cookie(clock, ADA, key=OTHER_KEY)).get("/").json == {"user": None}


@pytest.mark.skipif(FLASK < (3, 1), reason="Flask itself knows no former keys before 3.1.")
def test_a_cookie_of_a_former_key_is_accepted(clock: FakeClock) -> None:
    app = make_app(clock, SECRET_KEY_FALLBACKS=[OTHER_KEY])
    assert browser(app, old_cookie(clock, ADA, key=OTHER_KEY)).get("/").json["user"] == "ada"


def test_a_cookie_that_was_changed_is_refused(clock: FakeClock) -> None:
    cookie = old_cookie(clock, ADA)
    for place in range(0, len(cookie), 7):
        changed = cookie[:place] + ("A" if cookie[place] != "A" else "B") + cookie[place + 1 :]
        assert browser(make_app(clock), changed).get("/").json == {"user": None}


def test_a_cookie_that_a_weak_key_has_signed_is_refused(clock: FakeClock) -> None:
    app = make_app(clock, SECRET_KEY="dev")
    assert browser(app, old_cookie(clock, ADA, key="dev")).get("/").json == {"user": None}
    app = make_app(clock, SECRET_KEY_FALLBACKS=["dev"])
    assert browser(app, old_cookie(clock, ADA, key="dev")).get("/").json == {"user": None}
    assert browser(app, old_cookie(clock, ADA)).get("/").json["user"] == "ada"


def test_an_application_with_a_weak_key_does_not_start_with_adoption(clock: FakeClock) -> None:
    app = make_app(clock, TESTING=False, SECRET_KEY="dev")
    with pytest.raises(ConfigError, match="IDLESESSION_ADOPT needs a secret key"):
        app.extensions["idlesession"].runtime()


def test_a_session_that_is_too_large_is_not_taken_over(clock: FakeClock) -> None:
    app = make_app(clock, IDLESESSION_MAX_SESSION_BYTES=1000)
    assert browser(app, old_cookie(clock, {"much": "x" * 2000})).get("/").json == {"user": None}
    header = {"Cookie": f"session={old_cookie(clock, {'much': [*range(9000)]})}"}
    assert make_app(clock).test_client(use_cookies=False).get("/", headers=header).json == {"user": None}


def test_a_request_that_does_not_look_takes_nothing_over(clock: FakeClock) -> None:
    app, cookie = make_app(clock), old_cookie(clock, ADA)
    client = browser(app, cookie)
    assert "Set-Cookie" not in client.get("/plain").headers
    assert list(manager_of(app).store.find(now=clock())) == []
    assert client.get("/").json["user"] == "ada"


def test_no_warning_calls_an_old_cookie_garbage(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    browser(make_app(clock), old_cookie(clock, ADA)).get("/")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING and "ISW020" not in record.msg]


def test_a_warning_names_the_setting_where_old_cookies_are_not_taken_over(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    browser(make_app(clock, IDLESESSION_ADOPT=()), old_cookie(clock, ADA)).get("/")
    assert "IDLESESSION_ADOPT takes their sessions over" in caplog.text


def test_a_store_in_memory_is_warned_of(clock: FakeClock, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lasting = make_app(clock, store=SQLiteStore(tmp_path / "sessions.db"))
    lasting.extensions["idlesession"].runtime()
    assert "ISW020" not in caplog.text
    forgetful = make_app(clock)
    forgetful.extensions["idlesession"].runtime()
    assert "ISW020" in caplog.text


def test_the_line_at_the_start_tells_of_the_adoption(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "flask_idlesession")
    make_app(clock)
    assert "those of flask are taken over for 31 d" in caplog.text


class Failing(MemoryStore):
    fails = False

    def load(self, *args: Any, **kwargs: Any) -> Any:
        if self.fails:
            raise StoreUnavailable("The store is away.")
        return super().load(*args, **kwargs)


def test_an_outage_of_the_store_leaves_the_old_cookie_where_it_is(clock: FakeClock) -> None:
    store = Failing()
    app = make_app(clock, store=store)
    client = browser(app, old_cookie(clock, ADA))
    store.fails = True
    answer = client.get("/")
    assert answer.status_code == 503
    assert "Set-Cookie" not in answer.headers
    assert client.get("/plain").status_code == 200
    store.fails = False
    assert client.get("/").json["user"] == "ada"


def test_a_log_out_while_the_store_is_away_takes_the_old_cookie_from_the_browser(clock: FakeClock) -> None:
    store = Failing()
    client = browser(make_app(clock, store=store), old_cookie(clock, ADA))
    store.fails = True
    client.get("/out")
    assert cookie_of(client) is None


@pytest.mark.parametrize("noted_by", ["the cleaner", "a request"])
def test_a_log_out_while_the_store_is_away_refuses_every_copy_of_the_cookie_later(
    clock: FakeClock, noted_by: str
) -> None:
    store = Failing()
    app = make_app(clock, store=store)
    early = old_cookie(clock, ADA)
    clock.advance(5)
    shown = old_cookie(clock, {**ADA, "more": 1})
    pruner = manager_of(app).lifecycle.pruner
    pruner.close()  # Or the cleaner's thread may be amid a pass of its own.
    clock.advance(5)
    store.fails = True
    assert browser(app, shown).get("/out").status_code == 503
    pruner.run()
    store.fails = False
    if noted_by == "the cleaner":
        pruner.run()
    for copy in (shown, early, shown):
        assert browser(app, copy).get("/").json["user"] is None
    clock.advance(5)
    assert browser(app, old_cookie(clock, ADA)).get("/").json["user"] == "ada"
    assert [info.user_id for info in manager_of(app).find()] == ["ada"]


@pytest.mark.parametrize("name", ["session", "other"])
def test_a_log_out_from_an_adopted_session_while_the_store_is_away_refuses_every_copy_later(
    clock: FakeClock, name: str
) -> None:
    store = Failing()
    more = {"SESSION_COOKIE_NAME": "sid", "IDLESESSION_ADOPT_COOKIE": "session"} if name == "other" else {}
    app = make_app(clock, store=store, **more)
    early = old_cookie(clock, ADA)
    clock.advance(5)
    shown = old_cookie(clock, {**ADA, "more": 1})
    client = browser(app, shown)
    assert client.get("/").json["user"] == "ada"
    manager_of(app).lifecycle.pruner.close()
    clock.advance(5)
    store.fails = True
    assert client.get("/out").status_code == 503
    assert cookie_of(client) is None and cookie_of(client, "sid") is None
    store.fails = False
    for copy in (shown, early):
        assert browser(app, copy).get("/").json["user"] is None


def test_a_cookie_that_nobody_has_signed_is_not_kept_for_a_log_out(clock: FakeClock) -> None:
    store = Failing()
    app = make_app(clock, store=store)
    store.fails = True
    browser(app, old_cookie(clock, ADA, key="another key " * 4)).get("/out")
    assert not manager_of(app).lifecycle.pruner._owed


def test_a_flood_of_log_outs_while_the_store_is_away_is_kept_to_a_number(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flask_idlesession.sessions.pruning._MOST_OWED", 3)
    store = Failing()
    app = make_app(clock, store=store)
    store.fails = True
    for number in range(5):
        browser(app, old_cookie(clock, {**ADA, "number": number})).get("/out")
    assert len(manager_of(app).lifecycle.pruner._owed) == 3


def test_a_mark_that_cannot_be_read_refuses_its_cookie_and_nothing_else(clock: FakeClock) -> None:
    class Spoilt(MemoryStore):
        is_spoilt = False

        def load(self, sid: Any, **kwargs: Any) -> Any:
            record = super().load(sid, **kwargs)
            if record is not None and self.is_spoilt and sid.version == 5:
                raise UnreadableRecord("spoilt", info=record.info)
            return record

    store = Spoilt()
    app, adopted, other = make_app(clock, store=store), old_cookie(clock, ADA), old_cookie(clock, {"_user_id": "grace"})
    client = browser(app, adopted)
    client.get("/")
    client.get("/out")
    clock.advance(5)
    store.is_spoilt = True
    for cookie in (adopted, old_cookie(clock, ADA)):
        assert browser(app, cookie).get("/").json == {"user": None}
    assert browser(app, other).get("/").json["user"] == "grace"


def test_a_log_out_is_final_where_sessions_were_moved_to_another_store(tmp_path: Path) -> None:
    clock = FakeClock(system_clock())
    urls = [f"sqlite:///{tmp_path / name}" for name in ("one.db", "two.db")]
    one, two = (make_app(clock, store=SQLiteStore(url.removeprefix("sqlite:///"))) for url in urls)
    one.instance_path = str(tmp_path)  # The command notes there what it carried.
    cookies = [old_cookie(clock, data) for data in (ADA, {"cart": [1]})]
    for cookie in cookies:
        client = browser(one, cookie)
        client.get("/")
        client.get("/out")
    moved = one.test_cli_runner().invoke(cli, ["move", *urls])
    assert moved.exit_code == 0, moved.output
    for cookie in cookies:
        assert browser(two, cookie).get("/").json == {"user": None}
    for app in (one, two):
        manager_of(app).close()


def test_a_permanent_session_stays_permanent(clock: FakeClock) -> None:
    client = browser(make_app(clock), old_cookie(clock, ADA, permanent=True))
    client.get("/")
    cookie = client.get_cookie("session")
    assert cookie is not None and cookie.expires is not None


def test_adopting_counts_against_a_users_number_of_sessions(clock: FakeClock) -> None:
    app = make_app(clock, IDLESESSION_MAX_SESSIONS_PER_USER=1)
    for number in range(3):
        assert browser(app, old_cookie(clock, {**ADA, "n": number})).get("/").json["user"] == "ada"
        clock.advance(1)
    assert len(manager_of(app).sessions_of("ada")) == 1


def test_a_request_that_was_held_up_until_the_log_out_brings_nothing_back(clock: FakeClock) -> None:
    """Another request adopts the cookie and logs out just before this one would make the session."""

    class Slow(MemoryStore):
        before_create: Any = None

        def create(self, record: Any) -> None:
            act, self.before_create = self.before_create, None
            if act is not None:
                act()
            super().create(record)

    for data in (ADA, {"cart": [1]}):
        store = Slow()
        app, cookie = make_app(clock, store=store), old_cookie(clock, data)
        client, token = browser(app, cookie), []

        def log_out_meanwhile(app: Flask = app, cookie: str = cookie, token: list[Any] = token) -> None:
            other = browser(app, cookie)
            other.get("/")
            token.append(cookie_of(other))
            other.get("/out")

        store.before_create = log_out_meanwhile
        assert client.get("/").json == {"user": None}
        assert list(manager_of(app).find()) == []
        for copy in (cookie, token[0]):
            assert browser(app, copy).get("/").json == {"user": None}


# With another name: the old cookie stays, for a roll-back.


def other_name(clock: FakeClock, **more: Any) -> Flask:
    return make_app(clock, SESSION_COOKIE_NAME="sid", IDLESESSION_ADOPT_COOKIE="session", **more)


def test_the_old_cookie_stays_under_another_name_until_the_session_ends(clock: FakeClock, store: Any) -> None:
    cookie = old_cookie(clock, ADA)
    client = browser(other_name(clock, store=store), cookie)
    assert client.get("/").json["user"] == "ada"
    assert cookie_of(client) == cookie
    clock.advance(100)
    assert client.get("/").json["user"] == "ada"
    client.get("/out")
    assert (cookie_of(client), cookie_of(client, "sid")) == (None, None)


def test_a_log_out_in_the_older_version_ends_the_session(clock: FakeClock, store: Any) -> None:
    app = other_name(clock, store=store)
    client = browser(app, old_cookie(clock, ADA))
    client.get("/")
    client.delete_cookie("session")
    assert client.get("/").json == {"user": None}
    assert list(manager_of(app).find()) == []


def test_the_session_goes_on_when_the_old_cookie_is_over(clock: FakeClock) -> None:
    app = other_name(clock, IDLESESSION_IDLE_TIMEOUT=40 * DAY, IDLESESSION_LIFETIME=40 * DAY)
    client = browser(app, old_cookie(clock, ADA))
    client.get("/")
    clock.advance(32 * DAY)
    client.delete_cookie("session")
    assert client.get("/").json["user"] == "ada"


def test_both_versions_write_and_no_key_is_lost(clock: FakeClock, store: Any) -> None:
    app = other_name(clock, store=store)
    client = browser(app, old_cookie(clock, {**ADA, "gone": 1}))
    client.get("/write/new")
    clock.advance(5)
    client.set_cookie("session", old_cookie(clock, {**ADA, "cart": [9], "old": 1}))
    shown = client.get("/").json
    assert shown == {"_user_id": "ada", "_fresh": False, "cart": [9], "old": 1, "new": 1, "user": "ada"}
    assert client.get("/").json == shown


def test_an_older_copy_of_the_cookie_changes_nothing(clock: FakeClock) -> None:
    earlier = old_cookie(clock, {**ADA, "cart": ["earlier"]})
    clock.advance(5)
    client = browser(other_name(clock), old_cookie(clock, ADA))
    client.get("/")
    client.set_cookie("session", earlier)
    assert client.get("/").json["cart"] == [1, [2, 3]]


def test_another_user_of_the_older_version_gets_a_session_of_their_own(clock: FakeClock, store: Any) -> None:
    app = other_name(clock, store=store)
    client = browser(app, old_cookie(clock, ADA))
    client.get("/write/secret")
    clock.advance(5)
    client.set_cookie("session", old_cookie(clock, {"_user_id": "grace"}))
    assert client.get("/").json == {"_user_id": "grace", "user": "grace"}
    assert [info.user_id for info in manager_of(app).find()] == ["grace"]


def test_a_token_that_opens_nothing_gives_way_to_an_old_cookie(clock: FakeClock) -> None:
    app = other_name(clock)
    client = browser(app)
    client.get("/in/ada")
    clock.advance(3 * DAY)
    client.set_cookie("session", old_cookie(clock, {"_user_id": "grace"}))
    assert client.get("/").json["user"] == "grace"


@pytest.mark.parametrize(
    "config",
    [
        {"IDLESESSION_ADOPT": "flask"},
        {"IDLESESSION_ADOPT": ["django"]},
        {"IDLESESSION_ADOPT_FOR": 0},
        {"IDLESESSION_ADOPT_COOKIE": "a b"},
        {"IDLESESSION_ADOPT_PICKLE_UNTIL": "soon"},
    ],
)
def test_a_wrong_setting_is_refused_by_its_name(clock: FakeClock, config: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(config))):
        make_app(clock, **config)
