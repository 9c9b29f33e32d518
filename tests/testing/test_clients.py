"""Test clients that are logged in, and what tests can say of their sessions."""

from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from flask import session
from flask.testing import FlaskClient

from flask_idlesession import ConfigError
from flask_idlesession import current_user_id
from flask_idlesession import EndReason
from flask_idlesession import fresh_login_required
from flask_idlesession import IdleSession
from flask_idlesession import log_out
from flask_idlesession import login_required
from flask_idlesession import passive
from flask_idlesession.testing import assert_logged_in
from flask_idlesession.testing import assert_logged_out
from flask_idlesession.testing import IdleClock
from flask_idlesession.testing import logged_in
from flask_idlesession.testing import session_ending_of
from flask_idlesession.testing import session_info_of

pytest_plugins = ["flask_idlesession.testing.plugin", "pytester"]


def create_app(**config: Any) -> Flask:
    app = Flask("of the tests")
    app.config.update({"SECRET_KEY": "0d3f7c9a54f14e0f8f2b", **config})
    IdleSession(app)

    @app.get("/who")
    def who() -> dict[str, Any]:
        return {"user": current_user_id(), "cart": session.get("cart")}

    @app.get("/account")
    @login_required
    def account() -> str:
        return "account"

    @app.get("/delete")
    @fresh_login_required(level="passkey")
    def delete() -> str:
        return "deleted"

    @app.get("/log-out")
    def leave() -> str:
        log_out()
        return ""

    @app.get("/poll")
    @passive
    def poll() -> str:
        return str(session.get("cart"))

    return app


@pytest.fixture
def app() -> Flask:
    return create_app()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.mark.parametrize("user_id", ["ada", 7, UUID(int=7)], ids=str)
def test_a_client_is_logged_in(client: FlaskClient, user_id: Any) -> None:
    assert client.get("/account").status_code == 401
    assert logged_in(client, user_id) is client
    assert client.get("/account").text == "account"
    assert client.get("/who").json == {"user": str(user_id), "cart": None}


def test_a_fixture_has_the_function_too(client: FlaskClient, request: pytest.FixtureRequest) -> None:
    assert request.getfixturevalue("logged_in") is logged_in


def test_a_level_is_proven(client: FlaskClient) -> None:
    assert logged_in(client, "ada").get("/delete").status_code == 401
    assert logged_in(client, "ada", level="passkey").get("/delete").text == "deleted"


def test_what_is_no_user_is_refused(client: FlaskClient) -> None:
    with pytest.raises(TypeError, match="needs the user's id"):
        logged_in(client, None)  # type: ignore[arg-type]


def test_an_application_without_idle_sessions_is_told_how_to_get_them() -> None:
    app = Flask("bare")
    app.secret_key = "0d3f7c9a54f14e0f8f2b"
    for look in (lambda client: logged_in(client, "ada"), session_info_of, session_ending_of, assert_logged_out):
        with pytest.raises(ConfigError, match=r"call IdleSession\(app\)"):
            look(app.test_client())  # type: ignore[operator]


def test_another_user_gets_a_session_of_their_own(client: FlaskClient) -> None:
    with client.session_transaction() as stored:
        stored["cart"] = ["tea"]
    logged_in(client, "ada")
    assert client.get("/who").json == {"user": "ada", "cart": ["tea"]}
    logged_in(client, "bob")
    assert client.get("/who").json == {"user": "bob", "cart": None}


# In a transaction.


def test_a_client_is_logged_in_within_a_transaction(client: FlaskClient) -> None:
    with client.session_transaction() as stored:
        logged_in(client, "ada")
        stored["cart"] = ["tea"]
    assert client.get("/who").json == {"user": "ada", "cart": ["tea"]}


def test_a_transaction_may_have_begun_what_the_user_goes_on_with(client: FlaskClient) -> None:
    with client.session_transaction() as stored:
        stored["cart"] = ["tea"]
        logged_in(client, "ada")
    assert client.get("/who").json == {"user": "ada", "cart": ["tea"]}


def test_a_transaction_of_another_client_is_left_alone(app: Flask) -> None:
    ada, bob = app.test_client(), app.test_client()
    with ada.session_transaction() as stored:
        stored["cart"] = ["tea"]
        logged_in(bob, "bob")
    assert ada.get("/who").json == {"user": None, "cart": ["tea"]}
    assert bob.get("/who").json == {"user": "bob", "cart": None}


def test_a_transaction_after_the_log_in_is_of_the_same_session(client: FlaskClient) -> None:
    before = session_info_of(logged_in(client, "ada"))
    with client.session_transaction() as stored:
        stored["cart"] = ["tea"]
    after = session_info_of(client)
    assert before is not None
    assert after is not None
    assert before.sid == after.sid
    assert client.get("/who").json == {"user": "ada", "cart": ["tea"]}


def test_a_transaction_that_fails_is_forgotten(client: FlaskClient) -> None:
    with pytest.raises(ZeroDivisionError), client.session_transaction():
        raise ZeroDivisionError
    assert logged_in(client, "ada").get("/who").json == {"user": "ada", "cart": None}


# With Flask-Login and pytest-flask.


class User:
    is_authenticated = is_active = True
    is_anonymous = False

    def __init__(self, name: str) -> None:
        self.name = name

    def get_id(self) -> str:
        return self.name


@pytest.fixture(params=["basic", "strong"])
def with_flask_login(request: pytest.FixtureRequest) -> Flask:
    flask_login = pytest.importorskip("flask_login")
    app = create_app(SESSION_PROTECTION=request.param)
    manager = flask_login.LoginManager(app)
    manager.user_loader(lambda name: User(name) if name in ("ada", "bob") else None)
    app.test_client_class = flask_login.FlaskLoginClient

    @app.get("/private")
    @flask_login.login_required
    def private() -> str:
        return str(flask_login.current_user.name)

    @app.get("/fresh")
    @flask_login.fresh_login_required
    def fresh() -> str:
        return "fresh"

    return app


def test_the_user_of_flask_login_is_logged_in(with_flask_login: Flask) -> None:
    client = logged_in(with_flask_login.test_client(), "ada")
    assert client.get("/private").text == "ada"
    assert client.get("/fresh").text == "fresh"
    assert client.get("/account").text == "account"
    assert client.get("/who").json == {"user": "ada", "cart": None}


def test_a_client_of_flask_login_may_change_its_user(with_flask_login: Flask) -> None:
    client = with_flask_login.test_client(user=User("bob"))
    assert_logged_in(client, "bob")
    assert logged_in(client, "ada").get("/private").text == "ada"
    assert_logged_in(client, "ada")


def test_a_user_of_flask_login_is_logged_in_within_a_transaction(with_flask_login: Flask) -> None:
    client = with_flask_login.test_client()
    with client.session_transaction() as stored:
        stored["cart"] = ["tea"]
        logged_in(client, "ada")
    assert client.get("/private").text == "ada"
    assert client.get("/who").json == {"user": "ada", "cart": ["tea"]}


def test_a_user_whom_flask_login_does_not_know_is_an_error(with_flask_login: Flask) -> None:
    with pytest.raises(LookupError, match="knows no user 'eve'; create the user before"):
        logged_in(with_flask_login.test_client(), "eve")


def test_a_user_of_flask_login_is_logged_out_after_thirty_idle_minutes(
    with_flask_login: Flask, idle_clock: IdleClock
) -> None:
    client = logged_in(with_flask_login.test_client(), "ada")
    idle_clock.advance(30 * 60)
    assert client.get("/private").status_code == 401


def test_the_kit_works_beside_pytest_flask(pytester: pytest.Pytester) -> None:
    """pytest-flask has a request of its own open during each test, and brings ``client``."""
    pytest.importorskip("pytest_flask")
    pytester.makeconftest(
        """
        import pytest
        from flask import Flask
        from flask_idlesession import IdleSession, login_required

        pytest_plugins = ["flask_idlesession.testing.plugin"]

        @pytest.fixture
        def app():
            app = Flask("app")
            app.secret_key = "0d3f7c9a54f14e0f8f2b"
            IdleSession(app)
            app.add_url_rule("/account", view_func=login_required(lambda: "account"), endpoint="account")
            return app
        """
    )
    pytester.makepyfile(
        """
        def test_the_user_is_logged_out_after_thirty_idle_minutes(client, logged_in, idle_clock):
            assert logged_in(client, "ada").get("/account").status_code == 200
            idle_clock.advance(30 * 60)
            assert client.get("/account").status_code == 401

        def test_in_a_transaction(client, logged_in):
            with client.session_transaction() as stored:
                stored["cart"] = 1
                logged_in(client, "ada")
            assert client.get("/account").status_code == 200
        """
    )
    pytester.runpytest("-p", "no:xdist", "-p", "no:cacheprovider").assert_outcomes(passed=2)


# From outside.


def test_a_look_from_outside_is_no_activity(client: FlaskClient, idle_clock: IdleClock) -> None:
    logged_in(client, "ada")
    idle_clock.advance(30 * 60 - 1)
    info = session_info_of(client)
    assert info is not None
    assert (info.user_id, info.idle_timeout, info.expires_at) == ("ada", 1800, idle_clock() + 1)
    assert session_ending_of(client) is None
    idle_clock.advance(1)
    assert session_info_of(client) is None


def test_a_passive_request_is_seen_to_be_none(client: FlaskClient, idle_clock: IdleClock) -> None:
    logged_in(client, "ada")
    idle_clock.advance(60)
    client.get("/poll")
    info = assert_logged_in(client)
    assert idle_clock() - info.last_seen_at == 60
    client.get("/who")
    assert assert_logged_in(client).last_seen_at == idle_clock()


def test_the_idle_timeout_is_told_as_it_was_set() -> None:
    client = create_app(IDLESESSION_IDLE_TIMEOUT=600, IDLESESSION_TOUCH_INTERVAL=20).test_client()
    assert assert_logged_in(logged_in(client, "ada")).idle_timeout == 600


def test_the_end_is_told_with_its_reason(client: FlaskClient, idle_clock: IdleClock) -> None:
    logged_in(client, "ada")
    idle_clock.advance(1801)
    ending = session_ending_of(client)
    assert ending is not None
    assert (ending.reason, ending.ended_at, ending.user_id) == (EndReason.IDLE, idle_clock() - 1, "ada")


def test_who_has_no_cookie_has_no_session(client: FlaskClient) -> None:
    assert session_info_of(client) is None
    assert session_ending_of(client) is None
    assert_logged_out(client)


def test_who_is_anonymous_is_logged_out(client: FlaskClient) -> None:
    with client.session_transaction() as stored:
        stored["cart"] = 1
    assert_logged_out(client)
    with pytest.raises(AssertionError, match="nobody is logged in"):
        assert_logged_in(client)


def test_who_logs_out_is_logged_out(client: FlaskClient) -> None:
    logged_in(client, "ada").get("/log-out")
    assert_logged_out(client)


def test_an_assertion_says_what_is_so_instead(client: FlaskClient, idle_clock: IdleClock) -> None:
    with pytest.raises(AssertionError, match="has no cookie of this application"):
        assert_logged_in(client)
    logged_in(client, 7)
    assert_logged_in(client, 7)
    with pytest.raises(AssertionError, match="logged in as '7', not as 'ada'"):
        assert_logged_in(client, "ada")
    with pytest.raises(AssertionError, match="still logged in as '7'"):
        assert_logged_out(client)
    idle_clock.advance(1802.5)
    with pytest.raises(AssertionError, match=r"its session ended 2.5 s ago \(idle\)"):
        assert_logged_in(client)
    assert_logged_out(client, reason="idle")
    assert_logged_out(client, reason=EndReason.IDLE)
    with pytest.raises(AssertionError, match=r"reason 'revoked': its session ended 2.5 s ago \(idle\)"):
        assert_logged_out(client, reason="revoked")
