"""Who is logged in: users are bound to sessions, and every log-in gives a new token."""

from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from flask import session

from flask_idlesession import current_user_id
from flask_idlesession import IdleSession
from flask_idlesession import log_in
from flask_idlesession import log_out
from flask_idlesession import revoke_user
from flask_idlesession import revoke_where
from flask_idlesession import sessions_of
from flask_idlesession.testing import FakeClock


@pytest.fixture
def app(clock: FakeClock) -> Flask:
    app = Flask(__name__)
    app.config.update(TESTING=True, IDLESESSION_IDLE_TIMEOUT=100, IDLESESSION_LIFETIME=250)
    app.secret_key = "of the account tests"
    IdleSession(app, clock=clock)

    @app.get("/who")
    def who() -> str:
        return str(current_user_id())

    @app.get("/set/<key>/<value>")
    def put(key: str, value: str) -> str:
        session[key] = value
        return "set"

    @app.get("/all")
    def show() -> dict[str, Any]:
        return dict(session)

    @app.get("/in/<user>")
    def enter(user: str) -> str:
        log_in(user)
        return str(current_user_id())

    @app.get("/out")
    def leave() -> str:
        log_out()
        return str(current_user_id())

    return app


def infos(app: Flask) -> list[Any]:
    return list(app.extensions["idlesession"].manager.find())


def test_nobody_is_logged_in_before_a_log_in_and_after_a_log_out(app: Flask) -> None:
    client = app.test_client()
    told = [client.get(path).text for path in ("/who", "/in/ada", "/who", "/out", "/who")]
    assert told == ["None", "ada", "ada", "None", "None"]


def test_asking_who_it_is_makes_no_session(app: Flask) -> None:
    response = app.test_client().get("/who")
    assert "Set-Cookie" not in response.headers and infos(app) == []


def test_a_log_in_without_any_value_makes_a_session(app: Flask) -> None:
    app.test_client().get("/in/ada")
    assert [info.user_id for info in infos(app)] == ["ada"]


def test_a_log_in_keeps_the_session_id_and_the_values(app: Flask) -> None:
    client = app.test_client()
    client.get("/set/cart/tea")
    (before,) = infos(app)
    client.get("/in/ada")
    (after,) = infos(app)
    assert after.sid == before.sid
    assert client.get("/all").json == {"cart": "tea"}


def test_clearing_before_a_log_in_starts_a_session_of_another_id(app: Flask) -> None:
    @app.get("/fresh")
    def fresh() -> str:
        session.clear()
        log_in("ada")
        session["greeting"] = "hello"
        return "in"

    client = app.test_client()
    client.get("/set/cart/tea")
    (before,) = infos(app)
    client.get("/fresh")
    (after,) = infos(app)
    assert after.sid != before.sid and after.user_id == "ada"
    assert client.get("/all").json == {"greeting": "hello"}


def test_a_log_in_starts_both_clocks_anew(app: Flask, clock: FakeClock) -> None:
    client = app.test_client()
    client.get("/set/a/1")
    for _ in range(3):
        clock.advance(70)
        client.get("/who")
    client.get("/in/ada")
    for _ in range(3):
        clock.advance(80)
        assert client.get("/who").text == "ada"
    clock.advance(10)
    assert client.get("/who").text == "None"


def test_activity_and_rotation_do_not_prolong_the_lifetime(app: Flask, clock: FakeClock) -> None:
    @app.get("/rotate")
    def rotate() -> str:
        session.rotate()  # type: ignore[attr-defined]
        return "rotated"

    client = app.test_client()
    client.get("/in/ada")
    for _ in range(4):
        clock.advance(60)
        client.get("/rotate")
    clock.advance(10)
    assert client.get("/who").text == "None"


def test_another_log_in_on_the_same_session_replaces_the_user(app: Flask) -> None:
    client = app.test_client()
    client.get("/in/ada")
    assert client.get("/in/grace").text == "grace"
    manager = app.extensions["idlesession"].manager
    assert list(manager.find(user_id="ada")) == []
    assert [info.user_id for info in manager.find(user_id="grace")] == ["grace"]


def test_the_last_of_what_one_request_asks_for_counts(app: Flask) -> None:
    @app.get("/in-out")
    def in_out() -> str:
        log_in("ada")
        log_out()
        return str(current_user_id())

    @app.get("/out-in")
    def out_in() -> str:
        log_out()
        log_in("grace")
        return str(current_user_id())

    client = app.test_client()
    assert [client.get(path).text for path in ("/in-out", "/who")] == ["None", "None"]
    assert infos(app) == []
    client.get("/in/ada")
    assert [client.get(path).text for path in ("/out-in", "/who")] == ["grace", "grace"]
    assert [client.get(path).text for path in ("/in-out", "/who")] == ["None", "None"]
    assert infos(app) == []


def test_a_session_of_a_user_that_is_emptied_stays_logged_in(app: Flask) -> None:
    @app.get("/pop")
    def pop() -> str:
        return str(session.pop("a"))

    client = app.test_client()
    client.get("/set/a/1")
    client.get("/in/ada")
    assert "Set-Cookie" not in client.get("/pop").headers
    assert client.get("/who").text == "ada"


def test_a_log_out_is_final_for_every_copy_of_the_cookie(app: Flask, clock: FakeClock) -> None:
    client, copied = app.test_client(), app.test_client()
    client.get("/in/ada")
    cookie = client.get_cookie("session")
    assert cookie is not None
    copied.set_cookie("session", cookie.value)
    assert copied.get("/who").text == "ada"
    client.get("/out")
    assert copied.get("/who").text == "None"
    assert infos(app) == []
    assert "Set-Cookie" in copied.get("/set/a/1").headers  # It came after the log-out: a new visitor.
    assert [info.user_id for info in infos(app)] == [None]


def test_a_write_with_the_token_from_before_a_log_in_does_not_push_the_new_one_out(
    app: Flask, clock: FakeClock
) -> None:
    client, late = app.test_client(), app.test_client()
    client.get("/set/a/1")
    cookie = client.get_cookie("session")
    assert cookie is not None
    late.set_cookie("session", cookie.value)
    client.get("/in/ada")
    assert "Set-Cookie" not in late.get("/set/b/2").headers
    assert [info.user_id for info in infos(app)] == ["ada"]
    assert "Set-Cookie" in late.get("/in/ada").headers  # Nobody is kept from logging in.
    clock.advance(10)
    late.set_cookie("session", cookie.value)
    assert "Set-Cookie" in late.get("/set/b/2").headers


def test_one_user_has_a_session_for_each_browser_and_logs_out_of_one(app: Flask) -> None:
    phone, laptop = app.test_client(), app.test_client()
    phone.get("/in/ada")
    laptop.get("/in/ada")
    assert len(list(app.extensions["idlesession"].manager.find(user_id="ada"))) == 2
    phone.get("/out")
    assert laptop.get("/who").text == "ada"


@pytest.mark.parametrize("user_id", ["7", 7, 0, UUID(int=7), "ähm ✓", " "])
def test_an_id_is_kept_as_a_string(app: Flask, user_id: Any) -> None:
    app.add_url_rule("/enter", view_func=lambda: log_in(user_id) or "in")
    client = app.test_client()
    client.get("/enter")
    assert client.get("/who").text == str(user_id)


@pytest.mark.parametrize("user_id", [None, "", True, False, 1.0, b"7", object(), ["ada"]])
def test_what_is_no_id_is_refused_and_logs_nobody_in(app: Flask, user_id: Any) -> None:
    app.add_url_rule("/enter", view_func=lambda: log_in(user_id) or "in")
    client = app.test_client()
    with pytest.raises(TypeError, match="log_in|A user's id"):
        client.get("/enter")
    assert client.get("/who").text == "None"


@pytest.mark.parametrize("user_id", [None, True, 7.0, b"7"])
def test_no_sessions_are_listed_or_ended_of_what_is_no_id(app: Flask, user_id: Any) -> None:
    with app.test_request_context():
        for call in (sessions_of, revoke_user, lambda user_id: revoke_where(user_id=user_id)):
            with pytest.raises(TypeError):
                call(user_id)


def test_a_number_names_the_same_user_in_each_function(app: Flask) -> None:
    app.add_url_rule("/enter", view_func=lambda: log_in(7) or str([current_user_id()]))
    client = app.test_client()
    assert client.get("/enter").text == "['7']"
    with app.test_request_context():
        assert len(sessions_of(7)) == len(sessions_of("7")) == 1
        assert revoke_where(user_id=7) == 1
    client.get("/enter")
    with app.test_request_context():
        assert revoke_user(7) == 1


@pytest.mark.parametrize("user_id", ["x" * 1025, "é" * 513, "\ud800"])
def test_an_id_that_no_store_could_keep_is_refused_where_it_is_given(app: Flask, user_id: str) -> None:
    told: list[str] = []

    @app.get("/try")
    def try_it() -> str:
        try:
            log_in(user_id)
        except ValueError as error:
            told.append(str(error))
        return "not in"

    client = app.test_client()
    client.get("/set/a/1")
    assert client.get("/try").text == "not in"
    assert told and len(told[0]) < 200
    assert client.get("/who").text == "None"


def test_a_long_id_is_kept_whole(app: Flask) -> None:
    app.add_url_rule("/enter", view_func=lambda: log_in("é" * 512) or "in")
    client = app.test_client()
    client.get("/enter")
    assert client.get("/who").text == "é" * 512


def test_a_revoked_user_is_nobody(app: Flask) -> None:
    client = app.test_client()
    client.get("/in/ada")
    manager = app.extensions["idlesession"].manager
    manager.remove(infos(app)[0].sid)
    assert client.get("/who").text == "None"
