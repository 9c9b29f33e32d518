"""The clock that a test moves: it is the time of every application, whatever made it and wherever its sessions are."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import date
from datetime import datetime
from datetime import timedelta
from datetime import UTC
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask import session
from flask.testing import FlaskClient
from support.programs import need_packages

from flask_idlesession import IdleSession
from flask_idlesession import log_in
from flask_idlesession import SessionManager
from flask_idlesession.model.clock import system_clock
from flask_idlesession.testing import assert_logged_in
from flask_idlesession.testing import assert_logged_out
from flask_idlesession.testing import FakeClock
from flask_idlesession.testing import IdleClock
from flask_idlesession.testing import logged_in
from flask_idlesession.testing import session_info_of

pytest_plugins = ["flask_idlesession.testing.plugin"]

STORES = ["memory", "journal", "sqlite", "redis", "valkey", "postgresql", "mariadb", "cachelib"]


def create_app(**config: Any) -> Flask:
    """Make an application as a user's factory does: it knows no clock."""
    app = Flask("of the tests")
    app.config.update(SECRET_KEY="0d3f7c9a54f14e0f8f2b", IDLESESSION_IDLE_TIMEOUT=30 * 60, **config)
    IdleSession(app)

    @app.get("/log-in")
    def start() -> str:
        log_in("ada")
        return ""

    @app.get("/count")
    def count() -> str:
        session["visits"] = session.get("visits", 0) + 1
        return str(session["visits"])

    return app


@pytest.fixture
def freezegun() -> Any:
    need_packages("freezegun")
    return import_module("freezegun")


@pytest.fixture
def time_machine() -> Any:
    need_packages("time_machine")
    return import_module("time_machine")


@pytest.fixture(params=STORES)
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Flask]:
    config: dict[str, Any]
    if request.param == "memory":
        config = {}
    elif request.param == "journal":
        config = {"IDLESESSION_JOURNAL": str(tmp_path / "sessions.journal")}
    elif request.param == "sqlite":
        config = {"IDLESESSION_STORE": f"sqlite:///{tmp_path / 'sessions.db'}"}
    elif request.param == "cachelib":
        from cachelib import SimpleCache

        from flask_idlesession.stores.cachelib import CachelibStore

        config = {"IDLESESSION_STORE": CachelibStore(SimpleCache())}
    else:
        name = request.param if "sql" in request.param or request.param == "mariadb" else f"{request.param}_server"
        config = {"IDLESESSION_STORE": request.getfixturevalue(name).url}
    app = create_app(**config)
    yield app
    app.extensions["idlesession"].manager.close()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def test_the_user_is_logged_out_after_thirty_idle_minutes(client: FlaskClient, idle_clock: IdleClock) -> None:
    logged_in(client, "ada")
    idle_clock.advance(30 * 60)
    assert_logged_out(client, reason="idle")
    assert client.get("/count").text == "1"


def test_a_user_who_is_active_stays(client: FlaskClient, idle_clock: IdleClock) -> None:
    client.get("/log-in")
    for visit in range(1, 5):
        idle_clock.advance(timedelta(minutes=29, seconds=59))
        assert client.get("/count").text == str(visit)
    assert_logged_in(client, "ada")


def test_freezegun_is_followed_while_it_is_active(client: FlaskClient, freezegun: Any) -> None:
    with freezegun.freeze_time("2031-05-04 10:00") as frozen:
        client.get("/log-in")
        frozen.tick(30 * 60 - 1)
        assert client.get("/count").text == "1"
        frozen.tick(30 * 60)
        assert_logged_out(client, reason="idle")
        assert client.get("/count").text == "1"
    assert abs(system_clock() - time.time()) < 5


def test_time_machine_is_followed_while_it_is_active(client: FlaskClient, time_machine: Any) -> None:
    with time_machine.travel("2031-05-04 10:00", tick=False) as traveller:
        client.get("/log-in")
        traveller.shift(30 * 60 - 1)
        assert client.get("/count").text == "1"
        traveller.shift(30 * 60)
        assert_logged_out(client, reason="idle")
        assert client.get("/count").text == "1"
    assert abs(system_clock() - time.time()) < 5


# Without a store of its own: the rest is the same on each.


def test_an_application_that_is_older_than_the_clock_follows_it() -> None:
    client = logged_in(create_app().test_client(), "ada")
    with IdleClock() as clock:
        clock.advance(30 * 60)
        assert_logged_out(client, reason="idle")


def test_a_manager_without_flask_follows_the_clock(idle_clock: IdleClock) -> None:
    with SessionManager(idle_timeout=100) as manager:
        manager.create({})
        assert len(list(manager.find())) == 1
        idle_clock.advance(100)
        assert not list(manager.find())


def test_an_application_with_a_clock_of_its_own_keeps_it(idle_clock: IdleClock) -> None:
    app = Flask("own")
    app.secret_key = "0d3f7c9a54f14e0f8f2b"
    IdleSession(app, clock=FakeClock(100.0))
    idle_clock.advance(3600)
    assert app.extensions["idlesession"].manager.now() == 100.0


def test_the_clock_stands_still_and_afterwards_goes_on() -> None:
    with IdleClock() as clock:
        began = clock()
        assert abs(began - time.time()) < 5
        assert clock.advance(10) == system_clock() == began + 10
        with IdleClock() as inner:
            assert inner.advance(5) == system_clock() == began + 15
        assert system_clock() == began + 10
    assert 0 <= system_clock() - began < 5


def test_a_thread_has_the_same_time(idle_clock: IdleClock) -> None:
    told: list[float] = []
    idle_clock.advance(3600)
    thread = threading.Thread(target=lambda: told.append(system_clock()))
    thread.start()
    thread.join()
    assert told == [idle_clock()]


@pytest.mark.parametrize("value", ["30 min", None, True])
def test_what_is_no_duration_is_refused(idle_clock: IdleClock, value: Any) -> None:
    with pytest.raises(TypeError, match="needs seconds or a timedelta"):
        idle_clock.advance(value)


def test_a_step_back_is_refused(idle_clock: IdleClock) -> None:
    with pytest.raises(ValueError, match="0 seconds or more"):
        idle_clock.advance(-1)


# Together with packages that move the time.


def test_a_frozen_time_is_told_to_threads_too(freezegun: Any) -> None:
    told: list[float] = []
    with freezegun.freeze_time("2012-01-14 03:21:34.5"):
        thread = threading.Thread(target=lambda: told.append(system_clock()))
        thread.start()
        thread.join()
        assert told == [system_clock()] == [datetime(2012, 1, 14, 3, 21, 34, 500_000, UTC).timestamp()]


def test_the_frozen_past_ends_nothing_that_lives_in_it(freezegun: Any) -> None:
    client = create_app().test_client()
    with freezegun.freeze_time("2012-01-14"):
        logged_in(client, "ada")
        time.sleep(1.2)  # The cleaner comes by.
        assert_logged_in(client, "ada")


@pytest.mark.parametrize("options", [{"tz_offset": -5}, {"tick": True}, {"auto_tick_seconds": 0}])
def test_a_frozen_time_is_utc(options: Any, freezegun: Any) -> None:
    with freezegun.freeze_time("2031-05-04 10:00", **options):
        assert abs(system_clock() - datetime(2031, 5, 4, 10, tzinfo=UTC).timestamp()) < 5


def test_the_idle_clock_goes_on_from_a_frozen_time(idle_clock: IdleClock, freezegun: Any) -> None:
    client = create_app().test_client()
    with freezegun.freeze_time("2031-05-04 10:00") as frozen:
        logged_in(client, "ada")
        frozen.tick(15 * 60)
        idle_clock.advance(15 * 60 - 1)
        assert_logged_in(client)
        idle_clock.advance(1)
        assert_logged_out(client, reason="idle")


def test_the_idle_clock_begins_where_the_time_is_frozen(freezegun: Any) -> None:
    with freezegun.freeze_time("2031-05-04 10:00"), IdleClock() as clock:
        assert clock() == datetime(2031, 5, 4, 10, tzinfo=UTC).timestamp()
        clock.advance(60)
        assert system_clock() == datetime(2031, 5, 4, 10, 1, tzinfo=UTC).timestamp()


def test_a_frozen_datetime_is_kept_as_a_datetime(freezegun: Any) -> None:
    client = create_app().test_client()
    with freezegun.freeze_time("2031-05-04 10:00"), client.session_transaction() as stored:
        stored["at"], stored["on"] = datetime.now(UTC), date.today()
    with client.session_transaction() as stored:
        assert stored["at"] == datetime(2031, 5, 4, 10, tzinfo=UTC)
        assert stored["on"] == date(2031, 5, 4)


@pytest.mark.parametrize("freeze", ["freezegun", "time_machine"])
def test_the_package_may_be_imported_while_the_time_is_frozen(freeze: str) -> None:
    need_packages(freeze)
    how = "freezegun.freeze_time" if freeze == "freezegun" else "time_machine.travel"
    code = (
        f"import {freeze}, time\n"
        f"with {how}('2031-05-04'):\n"
        "    from flask_idlesession.model.clock import system_clock\n"
        "    assert abs(system_clock() - 1935619200) < 60, system_clock()\n"
        "assert abs(system_clock() - time.time()) < 5, system_clock()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_info_tells_the_frozen_instant(time_machine: Any) -> None:
    client = create_app().test_client()
    with time_machine.travel("2031-05-04 10:00", tick=False):
        info = session_info_of(logged_in(client, "ada"))
    assert info is not None
    assert info.last_seen_at == datetime(2031, 5, 4, 10, tzinfo=UTC).timestamp()
