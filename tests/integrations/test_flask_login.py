"""Flask-Login and Flask-Security, as they are: what they do with the user is done with the session, by no code."""

import gc
import sys
import types
import warnings
import weakref
from collections.abc import Callable
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from unittest import mock

import pytest
from flask import flash
from flask import Flask
from flask import get_flashed_messages
from flask import Response
from flask import session

from flask_idlesession import authentication_age
from flask_idlesession import current_user_id
from flask_idlesession import fresh_login_required
from flask_idlesession import IdleSession
from flask_idlesession import log_out
from flask_idlesession import login_required
from flask_idlesession import MemoryStore
from flask_idlesession import revoke_user
from flask_idlesession import StoreError
from flask_idlesession import TooManySessions
from flask_idlesession.testing import FakeClock

flask_login = pytest.importorskip("flask_login")

#: Flask-Login 0.6.3 asks datetime for the time in a way that Python 3.12 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")


class User(flask_login.UserMixin):  # type: ignore[misc]
    def __init__(self, name: str) -> None:
        self.id = name


def make_app(clock: FakeClock, *, is_first: bool = True, **config: Any) -> Flask:
    """An application with both extensions, ours set up before or after; ``users`` is whom the loader knows."""
    app = Flask(__name__)
    app.config.update(TESTING=True, SECRET_KEY="of the flask-login tests", **config)
    users = app.users = {"ada", "grace"}  # type: ignore[attr-defined]
    login = flask_login.LoginManager()
    if is_first:
        IdleSession(app, clock=clock, store=MemoryStore())
    login.init_app(app)
    if not is_first:
        IdleSession(app, clock=clock, store=MemoryStore())

    @login.user_loader  # type: ignore[untyped-decorator]
    def load(name: str) -> User | None:
        return User(name) if name in users else None

    @app.get("/in/<name>")
    def enter(name: str) -> str:
        try:
            flask_login.login_user(User(name), **app.options)  # type: ignore[attr-defined]
        except TooManySessions:
            return f"refused {flask_login.current_user.is_authenticated}"
        return "in"

    app.options = {}  # type: ignore[attr-defined]

    @app.get("/out")
    def leave() -> str:
        flask_login.logout_user()
        return "out"

    @app.get("/out-and-flash")
    def leave_and_flash() -> str:
        flask_login.logout_user()
        flash("You were logged out.")
        return "out"

    @app.get("/confirm")
    def confirm() -> str:
        flask_login.confirm_login()
        return "confirmed"

    @app.get("/who")
    def who() -> list[Any]:
        return [getattr(flask_login.current_user, "id", None), current_user_id()]

    @app.get("/set/<key>")
    def put(key: str) -> str:
        session[key] = 1
        return "set"

    @app.get("/all")
    def show() -> dict[str, Any]:
        kept = {key: value for key, value in session.items() if key not in ("_flashes", "_fresh")}
        return {**kept, "flashes": get_flashed_messages()}

    @app.get("/theirs")
    @flask_login.login_required  # type: ignore[untyped-decorator]
    def theirs() -> str:
        return "theirs"

    @app.get("/theirs-fresh")
    @flask_login.fresh_login_required  # type: ignore[untyped-decorator]
    def theirs_fresh() -> str:
        return "theirs"

    @app.get("/ours")
    @login_required
    def ours() -> str:
        return str(authentication_age())

    @app.get("/ours-fresh")
    @fresh_login_required()
    def ours_fresh() -> str:
        return "ours"

    return app


def infos(app: Flask) -> list[Any]:
    return list(app.extensions["idlesession"].manager.find())


def token(client: Any) -> str | None:
    cookie = client.get_cookie("session")
    return None if cookie is None else cookie.value


def statuses(client: Any) -> list[int]:
    paths = ("/theirs", "/theirs-fresh", "/ours", "/ours-fresh")
    return [client.get(path).status_code for path in paths]


# Log-in and log-out.


@pytest.mark.parametrize("is_first", [True, False])
def test_a_log_in_binds_the_user_and_rotates(clock: FakeClock, is_first: bool) -> None:
    app = make_app(clock, is_first=is_first)
    client, copied = app.test_client(), app.test_client()
    client.get("/set/cart")
    (before,) = infos(app)
    planted = token(client)
    client.get("/in/ada")
    (after,) = infos(app)
    assert (after.sid, after.user_id) == (before.sid, "ada") and token(client) != planted
    assert client.get("/who").json == ["ada", "ada"] and client.get("/all").json["cart"] == 1  # type: ignore[index]
    assert statuses(client) == [200] * 4
    copied.set_cookie("session", str(planted))
    assert copied.get("/who").json == [None, None]


def test_a_log_out_ends_the_session_for_every_copy_of_the_cookie(clock: FakeClock) -> None:
    app = make_app(clock)
    client, copied = app.test_client(), app.test_client()
    client.get("/in/ada")
    copied.set_cookie("session", str(token(client)))
    answer = client.get("/out")
    assert "session=;" in answer.headers["Set-Cookie"] and token(client) is None
    assert infos(app) == []
    assert copied.get("/who").json == [None, None] and statuses(copied) == [401] * 4


def test_what_is_said_after_a_log_out_is_in_a_session_of_another_id(clock: FakeClock) -> None:
    app = make_app(clock)
    client = app.test_client()
    client.get("/in/ada")
    (before,) = infos(app)
    client.get("/out-and-flash")
    (after,) = infos(app)
    assert after.sid != before.sid and after.user_id is None
    assert client.get("/all").json == {"flashes": ["You were logged out."]}


def test_who_was_nobody_keeps_their_cart_through_a_log_out(clock: FakeClock) -> None:
    app = make_app(clock)
    client = app.test_client()
    client.get("/set/cart")
    client.get("/out")
    assert client.get("/all").json == {"cart": 1, "flashes": []}


def test_another_user_who_logs_in_begins_a_session_of_their_own(clock: FakeClock) -> None:
    app = make_app(clock)
    client = app.test_client()
    client.get("/in/ada")
    client.get("/set/diary")
    (before,) = infos(app)
    app.options = {"remember": True}  # type: ignore[attr-defined]
    client.get("/in/grace")
    (after,) = infos(app)
    assert after.sid != before.sid and after.user_id == "grace"
    assert "diary" not in client.get("/all").json  # type: ignore[operator]
    assert client.get("/who").json == ["grace", "grace"] and client.get_cookie("remember_token") is not None


def test_a_user_whose_sessions_are_revoked_is_nobody_to_both(clock: FakeClock) -> None:
    app = make_app(clock)
    client = app.test_client()
    client.get("/in/ada")
    with app.app_context():
        assert revoke_user("ada") == 1
    assert client.get("/who").json == [None, None]


def test_a_log_in_that_is_not_fresh_is_so_to_both(clock: FakeClock) -> None:
    app = make_app(clock)
    app.options = {"fresh": False}  # type: ignore[attr-defined]
    client = app.test_client()
    client.get("/in/ada")
    assert statuses(client) == [200, 401, 200, 401]
    assert client.get("/ours").text == "None"


def test_a_confirmed_log_in_is_fresh_to_both_and_rotates(clock: FakeClock) -> None:
    app = make_app(clock)
    client = app.test_client()
    client.get("/in/ada")
    clock.advance(400)
    assert statuses(client) == [200, 200, 200, 401]
    before = token(client)
    client.get("/confirm")
    assert statuses(client) == [200] * 4 and token(client) != before


# The remember cookie.


def test_a_remembered_user_is_bound_and_not_fresh(clock: FakeClock) -> None:
    app = make_app(clock)
    app.options = {"remember": True}  # type: ignore[attr-defined]
    client = app.test_client()
    client.get("/in/ada")
    (before,) = infos(app)
    clock.advance(2000)
    assert client.get("/who").json == ["ada", "ada"]
    (after,) = infos(app)
    assert after.sid != before.sid and after.user_id == "ada" and after.authenticated_at is None
    assert statuses(client) == [200, 401, 200, 401]
    client.get("/confirm")
    assert statuses(client) == [200] * 4
    assert infos(app)[0].authenticated_at == clock()


def test_a_remembered_user_takes_over_the_session_that_is_nobodys_with_a_new_token(clock: FakeClock) -> None:
    app = make_app(clock)
    app.options = {"remember": True}  # type: ignore[attr-defined]
    client, copied = app.test_client(), app.test_client()
    client.get("/in/ada")
    client.delete_cookie("session")
    other = app.test_client()
    other.get("/set/cart")
    client.set_cookie("session", str(token(other)))
    copied.set_cookie("session", str(token(other)))
    assert client.get("/who").json == ["ada", "ada"]
    assert client.get("/all").json["cart"] == 1 and token(client) != token(other)  # type: ignore[index]
    assert copied.get("/who").json == [None, None]


def test_a_remembered_user_is_bound_once(clock: FakeClock) -> None:
    app = make_app(clock)
    app.options = {"remember": True}  # type: ignore[attr-defined]
    client = app.test_client()
    client.get("/in/ada")
    clock.advance(2000)
    client.get("/who")
    before = token(client)
    for _ in range(3):
        assert "Set-Cookie" not in client.get("/who").headers
    assert token(client) == before and len(infos(app)) == 1


def log_out_and_clear() -> None:
    flask_login.logout_user()
    session.clear()


def clear_and_log_out() -> None:
    session.clear()
    flask_login.logout_user()


def log_out_clear_and_flash() -> None:
    flask_login.logout_user()
    session.clear()
    flash("You were logged out.")


def log_out_and_pop_all() -> None:
    flask_login.logout_user()
    for key in list(session):
        session.pop(key)


LOG_OUTS = [log_out, log_out_and_clear, clear_and_log_out, log_out_clear_and_flash, log_out_and_pop_all]
LOG_OUTS += [flask_login.logout_user]


def remembered(clock: FakeClock, leave: Callable[[], object], **config: Any) -> Any:
    """Return a browser in which ada asked to be remembered, and an application that logs out so."""
    app = make_app(clock, **config)
    app.options = {"remember": True}  # type: ignore[attr-defined]

    @app.get("/leave")
    def depart() -> str:
        leave()
        return str(flask_login.current_user.is_authenticated)

    @app.after_request
    def add_policy(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = "default-src 'none'"
        return response

    client = app.test_client()
    client.get("/in/ada")
    assert client.get_cookie("remember_token") is not None
    return client


@pytest.mark.parametrize("leave", LOG_OUTS)
def test_a_log_out_is_final_in_spite_of_a_remember_cookie(clock: FakeClock, leave: Callable[[], object]) -> None:
    client = remembered(clock, leave)
    assert client.get("/leave").text == "False"
    assert client.get_cookie("remember_token") is None
    assert client.get("/who").json == [None, None]


@pytest.mark.parametrize("leave", LOG_OUTS)
def test_a_log_out_after_the_session_had_expired_is_final_too(clock: FakeClock, leave: Callable[[], object]) -> None:
    client = remembered(clock, leave)
    clock.advance(1800)
    client.get("/leave")
    assert client.get("/who").json == [None, None]


@pytest.mark.parametrize("leave", LOG_OUTS)
def test_a_log_out_is_final_while_the_store_is_down(
    clock: FakeClock, leave: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = remembered(clock, leave)

    def fail(*args: object, **how: object) -> None:
        raise StoreError("down")

    monkeypatch.setattr(MemoryStore, "delete", fail)
    answer = client.get("/leave")
    monkeypatch.undo()
    assert answer.status_code == 503 and answer.headers["Content-Security-Policy"] == "default-src 'none'"
    assert client.get_cookie("remember_token") is None and client.get_cookie("session") is None
    assert client.get("/who").json == [None, None]


def test_a_log_out_of_ours_is_final_while_the_store_cannot_even_be_read(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = remembered(clock, log_out)

    def fail(*args: object, **how: object) -> None:
        raise StoreError("down")

    for verb in ("load", "commit", "delete"):
        monkeypatch.setattr(MemoryStore, verb, fail)
    assert client.get("/leave").status_code == 503
    monkeypatch.undo()
    assert client.get("/who").json == [None, None]


def test_the_remember_cookie_is_deleted_where_it_was_set(clock: FakeClock) -> None:
    config = {"REMEMBER_COOKIE_NAME": "__Secure-keep", "REMEMBER_COOKIE_SECURE": True, "REMEMBER_COOKIE_PATH": "/app"}
    config |= {"REMEMBER_COOKIE_DOMAIN": "example.test", "REMEMBER_COOKIE_SAMESITE": "Lax"}
    app = make_app(clock, **config)
    app.add_url_rule("/app/leave", view_func=lambda: log_out() or "out")
    cookie = {"Cookie": "__Secure-keep=ada|x"}
    answer = app.test_client(use_cookies=False).get("/app/leave", headers=cookie, base_url="https://example.test")
    (line,) = [line for line in answer.headers.getlist("Set-Cookie") if line.startswith("__Secure-keep=;")]
    assert all(part in line for part in ("Domain=example.test", "Path=/app", "Secure", "HttpOnly", "SameSite=Lax"))


def test_who_logs_in_again_in_the_request_that_logged_out_is_remembered(clock: FakeClock) -> None:
    def switch() -> None:
        log_out()
        flask_login.login_user(User("grace"), remember=True)

    client = remembered(clock, switch)
    client.get("/leave")
    assert client.get("/who").json == ["grace", "grace"]
    clock.advance(1800)
    assert client.get("/who").json == ["grace", "grace"]


def test_a_session_that_is_cleared_without_a_log_out_is_remembered_as_with_flasks_own(clock: FakeClock) -> None:
    client = remembered(clock, lambda: session.clear())
    client.get("/leave")
    assert client.get("/who").json == ["ada", "ada"]


def test_a_log_out_takes_the_remember_cookie_too(clock: FakeClock) -> None:
    app = make_app(clock)
    app.options = {"remember": True, "duration": timedelta(days=3)}  # type: ignore[attr-defined]
    client = app.test_client()
    client.get("/in/ada")
    assert client.get_cookie("remember_token") is not None
    client.get("/out")
    assert client.get_cookie("remember_token") is None and client.get_cookie("session") is None
    assert client.get("/who").json == [None, None] and infos(app) == []


# A number of sessions, protection, and both in one house.


def test_who_may_have_no_more_sessions_is_refused_and_nobody_to_both(clock: FakeClock) -> None:
    app = make_app(clock, IDLESESSION_MAX_SESSIONS_PER_USER=1, IDLESESSION_AT_MAX_SESSIONS_PER_USER="refuse")
    first, second, guest = app.test_client(), app.test_client(), app.test_client()
    app.options = {"remember": True}  # type: ignore[attr-defined]
    first.get("/in/ada")
    guest.get("/set/cart")
    for client in (second, guest):
        assert client.get("/in/ada").text == "refused False"
        assert client.get("/who").json == [None, None]
        assert client.get_cookie("remember_token") is None
    assert guest.get("/all").json == {"cart": 1, "flashes": []}
    assert first.get("/who").json == ["ada", "ada"]
    assert first.get("/in/ada").text == "in", "It is the same session."
    assert len([info for info in infos(app) if info.user_id == "ada"]) == 1


def test_the_oldest_session_makes_room(clock: FakeClock) -> None:
    app = make_app(clock, IDLESESSION_MAX_SESSIONS_PER_USER=1)
    first, second = app.test_client(), app.test_client()
    first.get("/in/ada")
    second.get("/in/ada")
    assert [client.get("/who").json for client in (first, second)] == [[None, None], ["ada", "ada"]]


def test_whom_flask_login_turns_away_has_no_session(clock: FakeClock) -> None:
    app = make_app(clock, SESSION_PROTECTION="strong")
    client = app.test_client()
    client.get("/in/ada")
    assert client.get("/who", headers={"User-Agent": "another"}).json == [None, None]
    assert infos(app) == []


def test_applications_are_let_go(clock: FakeClock) -> None:
    app = make_app(clock)
    app.test_client().get("/in/ada")
    kept = weakref.ref(app)
    del app
    gc.collect()
    assert kept() is None


def test_an_application_without_our_sessions_is_left_alone(clock: FakeClock) -> None:
    make_app(clock)
    app = Flask(__name__)
    app.config.update(TESTING=True, SECRET_KEY="k")
    login = flask_login.LoginManager(app)
    login.user_loader(lambda name: User(name))
    app.add_url_rule("/in", view_func=lambda: str(flask_login.login_user(User("ada"))), endpoint="in")
    assert app.test_client().get("/in").text == "True"


# Flask-Security names a user by fs_uniquifier, and has a datastore.


def make_secure_app(clock: FakeClock, **config: Any) -> Flask:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        security = pytest.importorskip("flask_security")
        from flask_security.datastore import UserDatastore

    class Role(security.RoleMixin):  # type: ignore[misc, name-defined]
        pass

    class SecureUser(security.UserMixin):  # type: ignore[misc, name-defined]
        fs_uniquifier: str | None = None

        def __init__(self, **fields: Any) -> None:
            self.__dict__.update({"mf_recovery_codes": None, "roles": [], **fields})

    class MemoryDatastore(UserDatastore):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(SecureUser, Role)
            self.users: list[Any] = []

        def put(self, user: Any) -> Any:
            if user not in self.users:
                self.users.append(user)
            return user

        def commit(self) -> None:
            pass

        def delete(self, user: Any) -> None:
            self.users.remove(user)

        def find_user(self, case_insensitive: bool = False, **wanted: Any) -> Any:
            ((name, value),) = wanted.items()
            return next((user for user in self.users if getattr(user, name, None) == value), None)

        def find_role(self, role: str) -> Any:
            return None

    app = Flask(__name__)
    app.config.update(
        TESTING=True,
        SECRET_KEY="of the flask-security tests",
        SECURITY_PASSWORD_SALT="1234567890",
        SECURITY_PASSWORD_HASH="plaintext",
        SECURITY_PASSWORD_SCHEMES=["plaintext"],
        SECURITY_DEPRECATED_PASSWORD_SCHEMES=[],
        SECURITY_PASSWORD_SINGLE_HASH=["plaintext"],
        SECURITY_CHANGEABLE=True,
        SECURITY_SEND_PASSWORD_CHANGE_EMAIL=False,
        SECURITY_SEND_PASSWORD_RESET_NOTICE_EMAIL=False,
        SECURITY_EMAIL_VALIDATOR_ARGS={"check_deliverability": False},
        WTF_CSRF_ENABLED=False,
    )
    app.config.update(config)
    people = MemoryDatastore()
    IdleSession(app, clock=clock, store=MemoryStore())
    if config:
        pytest.importorskip("flask_wtf").CSRFProtect(app)
    security.Security(app, people)
    for name in ("ada", "grace"):
        people.put(
            SecureUser(
                id=len(people.users),
                email=f"{name}@example.com",
                password="correct horse battery",
                active=True,
                fs_uniquifier=f"{name}-1",
            )
        )

    @app.get("/who")
    def who() -> list[Any]:
        return [getattr(flask_login.current_user, "email", None), current_user_id()]

    @app.get("/set/<key>")
    def put(key: str) -> str:
        session[key] = 1
        return "set"

    @app.get("/all")
    def show() -> dict[str, Any]:
        return {key: value for key, value in session.items() if not key.startswith("_")}

    @app.get("/reset/<name>")
    def reset(name: str) -> str:
        from flask_security.recoverable import update_password

        update_password(people.find_user(email=f"{name}@example.com"), "another horse battery")
        return "reset"

    return app


@pytest.fixture
def secure_app(clock: FakeClock) -> Iterator[Flask]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Theirs, not ours.
        yield make_secure_app(clock)


def enter(client: Any, name: str, password: str = "correct horse battery", **more: str) -> Any:
    return client.post("/login", data={"email": f"{name}@example.com", "password": password, **more})


def test_flask_security_logs_in_and_out(secure_app: Flask) -> None:
    app = secure_app
    client, copied = app.test_client(), app.test_client()
    client.get("/set/cart")
    (before,) = infos(app)
    planted = token(client)
    assert enter(client, "ada", "wrong horse battery").status_code == 200
    assert client.get("/who").json == [None, None]
    assert enter(client, "ada").status_code == 302
    (after,) = infos(app)
    assert (after.sid, after.user_id) == (before.sid, "ada-1") and token(client) != planted
    assert client.get("/who").json == ["ada@example.com", "ada-1"]
    copied.set_cookie("session", str(token(client)))
    client.post("/logout")
    assert infos(app) == [] and copied.get("/who").json == [None, None]


def test_flask_securitys_csrf_cookie_goes_with_the_log_out(clock: FakeClock) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        app = make_secure_app(
            clock,
            SECURITY_CSRF_COOKIE_NAME="XSRF-TOKEN",
            SECURITY_CSRF_IGNORE_UNAUTH_ENDPOINTS=True,
            WTF_CSRF_CHECK_DEFAULT=False,
            WTF_CSRF_ENABLED=True,
        )
        client = app.test_client()
        enter(client, "ada")
        assert client.get_cookie("XSRF-TOKEN") is not None
        client.post("/logout")
        assert client.get_cookie("XSRF-TOKEN") is None and infos(app) == []


def test_a_changed_password_leaves_its_user_one_session_with_what_it_held(secure_app: Flask) -> None:
    app = secure_app
    client, other, grace, copied = (app.test_client() for _ in range(4))
    for someone, name in ((client, "ada"), (other, "ada"), (grace, "grace")):
        enter(someone, name)
    client.get("/set/cart")
    copied.set_cookie("session", str(token(client)))
    new = "a wholly new horse"
    data = {"password": "correct horse battery", "new_password": new, "new_password_confirm": new}
    assert client.post("/change", data=data).status_code == 302
    name, user_id = client.get("/who").json  # type: ignore[misc]
    assert name == "ada@example.com" and user_id != "ada-1"
    assert client.get("/all").json["cart"] == 1  # type: ignore[index]
    assert sorted(info.user_id for info in infos(app)) == sorted([user_id, "grace-1"])
    assert [someone.get("/who").json[1] for someone in (other, copied, grace)] == [  # type: ignore[index]
        None,
        None,
        "grace-1",
    ]


def test_a_password_that_was_reset_ends_every_session_of_its_user(secure_app: Flask) -> None:
    app = secure_app
    clients = [app.test_client() for _ in range(3)]
    for client in clients[:2]:
        enter(client, "ada")
    enter(clients[2], "grace")
    assert app.test_client().get("/reset/ada").text == "reset"
    assert [client.get("/who").json[1] for client in clients] == [None, None, "grace-1"]  # type: ignore[index]
    assert clients[2].get("/reset/grace").text == "reset"
    assert infos(app) == [], "Its own session too, if the request does not log in anew."


def test_flask_securitys_remember_cookie_is_understood(secure_app: Flask, clock: FakeClock) -> None:
    app = secure_app
    client = app.test_client()
    enter(client, "ada", remember="y")
    clock.advance(2000)
    assert client.get("/who").json == ["ada@example.com", "ada-1"]
    client.post("/logout")
    assert client.get_cookie("remember_token") is None and client.get("/who").json == [None, None]


# Signals in any state, users who are put in by hand, and modules that only have the name.


def test_signals_without_a_user_or_a_request_change_nothing(clock: FakeClock) -> None:
    app = make_app(clock)
    names = ["user_logged_in", "user_loaded_from_cookie", "user_login_confirmed", "user_logged_out"]
    signals = [getattr(flask_login.signals, name) for name in [*names, "session_protected"]]

    @app.get("/send")
    def send() -> str:
        for signal in signals:
            signal.send(app, user=User("ada"))
        return "sent"

    client = app.test_client()
    assert client.get("/send").text == "sent"
    assert client.get("/confirm").text == "confirmed"
    assert client.get("/who").json == [None, None]
    client.get("/in/ada")
    assert client.get("/send").text == "sent"
    for signal in signals:
        signal.send(app, user=User("ada"))
    with app.app_context():
        for signal in signals:
            signal.send(app, user=User("ada"))


@pytest.mark.parametrize("fresh", [True, False])
def test_flask_logins_test_client_logs_in_for_our_functions_too(clock: FakeClock, fresh: bool) -> None:
    app = make_app(clock)
    app.test_client_class = flask_login.FlaskLoginClient
    client = app.test_client(user=User("ada"), fresh_login=fresh)
    (info,) = infos(app)
    assert info.user_id == "ada"
    assert client.get("/who").json == ["ada", "ada"]
    assert statuses(client) == [200, 401, 200, 200 if fresh else 401]  # Flask-Login misses its "_id", and doubts.
    revoke_in(app, "ada")
    assert client.get("/who").json == [None, None]


def revoke_in(app: Flask, user_id: str) -> None:
    with app.app_context():
        revoke_user(user_id)


def test_a_user_whom_a_view_puts_into_the_session_by_hand_is_logged_in_with_a_new_token(clock: FakeClock) -> None:
    app = make_app(clock)

    @app.get("/by-hand/<name>")
    def by_hand(name: str) -> str:
        session["_user_id"] = name
        return "in"

    client = app.test_client()
    client.get("/set/cart")
    planted = token(client)
    client.get("/by-hand/ada")
    assert token(client) != planted and client.get("/who").json == ["ada", "ada"]
    assert client.get("/all").json["cart"] == 1  # type: ignore[index]
    client.get("/by-hand/grace")
    assert client.get("/who").json == ["grace", "grace"] and "cart" not in client.get("/all").json
    client.get("/by-hand/nobody-we-know")
    assert client.get("/who").json == [None, "grace"]


def test_a_user_whom_a_view_takes_out_of_the_session_by_hand_is_logged_out(clock: FakeClock) -> None:
    app = make_app(clock)

    @app.get("/by-hand")
    def by_hand() -> str:
        session.pop("_user_id")
        return "out"

    client = app.test_client()
    client.get("/in/ada")
    client.get("/set/cart")
    copied = token(client)
    client.get("/by-hand")
    assert client.get("/who").json == [None, None] and client.get("/all").json["cart"] == 1  # type: ignore[index]
    client.set_cookie("session", str(copied))
    assert client.get("/who").json == [None, None] and client.get("/all").json == {"flashes": []}


def test_one_session_too_many_by_hand_is_taken_out_again(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    app = make_app(clock, IDLESESSION_MAX_SESSIONS_PER_USER=1, IDLESESSION_AT_MAX_SESSIONS_PER_USER="refuse")
    app.test_client().get("/in/ada")
    app.test_client_class = flask_login.FlaskLoginClient
    client = app.test_client(user=User("ada"))
    assert client.get("/who").json == [None, None] and "ISW006" in caplog.text


def test_a_loader_that_raises_logs_nobody_in(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    app = make_app(clock)

    def load(name: str) -> User:
        raise LookupError(name)

    app.login_manager.user_loader(load)  # type: ignore[attr-defined]
    with app.test_client().session_transaction() as stored:
        stored["_user_id"] = "ada"
    assert [info.user_id for info in infos(app)] == [None] and "ISE006" in caplog.text


@pytest.mark.parametrize("stub", [types.ModuleType("flask_login"), mock.MagicMock(), object()])
def test_a_module_that_only_has_the_name_is_not_followed(stub: object, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "flask_login"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "flask_idlesession.integrations.flask_login")
    monkeypatch.setitem(sys.modules, "flask_login", stub)
    app = Flask(__name__)
    app.config.update(TESTING=True, SECRET_KEY="9f3c2a7be10d44f8a6c5d2e1b7a890ff")
    IdleSession(app)
    app.add_url_rule("/", view_func=lambda: session.update(a=1) or "set")
    assert app.test_client().get("/").text == "set"
