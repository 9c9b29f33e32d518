"""How sure it is who a user is: views that ask for a log-in, or for a fresh one, and how long log-ins last."""

from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask import session
from flask.views import MethodView

from flask_idlesession import authentication_age
from flask_idlesession import authentication_level
from flask_idlesession import ConfigError
from flask_idlesession import current_user_id
from flask_idlesession import fresh_login_required
from flask_idlesession import IdleSession
from flask_idlesession import is_authenticated
from flask_idlesession import log_in
from flask_idlesession import login_required
from flask_idlesession import reauthenticate
from flask_idlesession.model.policy import PRESETS
from flask_idlesession.settings.keys import read_settings
from flask_idlesession.testing import FakeClock

DAY = 86400


def make_app(clock: FakeClock, **config: Any) -> Flask:
    app = Flask(__name__)
    app.config.update(TESTING=True, SECRET_KEY="of the freshness tests", **config)
    IdleSession(app, clock=clock)

    @app.get("/in/<user>")
    def enter(user: str) -> str:
        log_in(user, **app.log_in_options)  # type: ignore[attr-defined]
        return str(authentication_age())

    app.log_in_options = {}  # type: ignore[attr-defined]

    @app.get("/again/<level>")
    def again(level: str) -> str:
        reauthenticate(level=None if level == "-" else level)
        return f"{authentication_age()} {authentication_level()}"

    @app.get("/age")
    def age() -> str:
        return f"{authentication_age()} {authentication_level()} {is_authenticated()}"

    @app.get("/who")
    def who() -> str:
        return str(current_user_id())

    @app.get("/set")
    def put() -> str:
        session["a"] = 1
        return "set"

    @app.get("/log-in")
    def log_in_page() -> str:
        return "Who are you?"

    @app.route("/members", methods=["GET", "POST"])
    @login_required
    def members() -> str:
        return "members"

    @app.get("/soon")
    @login_required
    async def soon() -> str:
        return "members, soon"

    @app.get("/sensitive")
    @fresh_login_required(max_age=300)
    def sensitive() -> str:
        return "sensitive"

    @app.get("/vault")
    @fresh_login_required(max_age=timedelta(minutes=5), level="passkey")
    async def vault() -> str:
        return "vault"

    return app


# Views that ask.


def test_a_guest_is_led_to_the_log_in_page_and_back(clock: FakeClock) -> None:
    app = make_app(clock, IDLESESSION_LOGIN_VIEW="log_in_page")
    client = app.test_client()
    for path in ("/members", "/soon", "/sensitive", "/vault"):
        answer = client.get(path)
        assert (answer.status_code, answer.location) == (303, f"/log-in?next={path}")
    assert client.get("/members?a=1&b=//evil").location == "/log-in?next=/members?a%3D1%26b%3D//evil"
    assert client.post("/members").location == "/log-in", "A form that was not taken is not asked for again."
    client.get("/in/ada")
    assert [client.get(path).text for path in ("/members", "/soon", "/sensitive")] == [
        "members",
        "members, soon",
        "sensitive",
    ]


def test_without_a_log_in_page_it_is_401(clock: FakeClock) -> None:
    client = make_app(clock).test_client()
    assert [client.get(path).status_code for path in ("/members", "/sensitive")] == [401, 401]


def test_a_log_in_page_elsewhere_is_led_to_as_it_is(clock: FakeClock) -> None:
    app = make_app(clock, IDLESESSION_LOGIN_VIEW="https://id.example/log-in")
    assert app.test_client().get("/members").location == "https://id.example/log-in"


def test_nobody_is_led_to_another_site_after_logging_in(clock: FakeClock) -> None:
    app = make_app(clock, IDLESESSION_LOGIN_VIEW="log_in_page")

    @app.get("/<path:anything>")
    @login_required
    def anything(anything: str) -> str:
        return anything

    for path in ("//evil.example/x", "///evil.example", "/%2Fevil.example/"):
        location = app.test_client().get(path).location
        assert location.startswith("/log-in?next=/") and not location.startswith("/log-in?next=//"), location
        assert not location.startswith("/log-in?next=/%2F")


def test_a_method_view_may_be_guarded(clock: FakeClock) -> None:
    app = make_app(clock)

    class Account(MethodView):
        decorators = [login_required]

        def get(self) -> str:
            return "account"

    app.add_url_rule("/account", view_func=Account.as_view("account"))
    client = app.test_client()
    assert client.get("/account").status_code == 401
    client.get("/in/ada")
    assert client.get("/account").text == "account"


def test_activity_keeps_nobody_fresh(clock: FakeClock) -> None:
    client = make_app(clock).test_client()
    client.get("/in/ada")
    for _ in range(5):
        clock.advance(60)
        assert client.get("/sensitive").text == "sensitive"
    clock.advance(1)
    assert client.get("/sensitive").status_code == 401
    assert client.get("/members").text == "members"
    assert client.get("/age").text == "301.0 None True"


def test_who_proves_anew_who_they_are_is_fresh_with_a_new_token_in_the_same_session(clock: FakeClock) -> None:
    app = make_app(clock, IDLESESSION_IDLE_TIMEOUT=600, IDLESESSION_LIFETIME=1000)
    client, copied = app.test_client(), app.test_client()
    client.get("/set")
    client.get("/in/ada")
    for _ in range(2):
        clock.advance(400)
        client.get("/who")
    (before,) = app.extensions["idlesession"].manager.find()
    old = client.get_cookie("session").value  # type: ignore[union-attr]
    copied.set_cookie("session", old)
    assert client.get("/sensitive").status_code == 401
    assert client.get("/again/-").text == "0.0 None"
    assert client.get("/sensitive").text == "sensitive"
    (after,) = app.extensions["idlesession"].manager.find()
    assert after.sid == before.sid and after.user_id == "ada"
    assert client.get_cookie("session").value != old  # type: ignore[union-attr]
    assert copied.get("/who").text == "None"
    assert after.expires_at == clock() + 600 and after.lifetime_ends_at == clock() + 1000


def test_a_guest_cannot_prove_anew_who_they_are(clock: FakeClock) -> None:
    with pytest.raises(PermissionError, match=r"call log_in\(\)"):
        make_app(clock).test_client().get("/again/-")


def test_a_level_is_kept_until_another_is_shown_and_lapses_by_its_own_time(clock: FakeClock) -> None:
    app = make_app(clock)
    client = app.test_client()
    app.log_in_options = {"level": "password"}  # type: ignore[attr-defined]
    client.get("/in/ada")
    assert client.get("/age").text == "0.0 password True"
    assert client.get("/vault").status_code == 401
    assert client.get("/again/passkey").text == "0.0 passkey"
    assert client.get("/vault").text == "vault"
    clock.advance(299)
    assert client.get("/vault").text == "vault"
    assert client.get("/again/-").text == "0.0 None"
    assert client.get("/vault").status_code == 401, "This proof was of no level, and makes no older one fresh."
    assert client.get("/again/passkey").text == "0.0 passkey"
    clock.advance(301)
    assert client.get("/vault").status_code == 401
    assert client.get("/in/ada").status_code == 200
    assert client.get("/vault").status_code == 401, "This log-in was by password."


def test_a_level_counts_in_the_request_that_shows_it(clock: FakeClock) -> None:
    app = make_app(clock)

    @app.get("/step-up")
    def step_up() -> str:
        log_in("ada", level="passkey")
        return str(app.ensure_sync(app.view_functions["vault"])())

    assert app.test_client().get("/step-up").text == "vault"


def test_nobody_has_no_age_and_no_level(clock: FakeClock) -> None:
    assert make_app(clock).test_client().get("/age").text == "None None False"


def test_a_session_that_a_manager_made_for_a_user_is_as_old_as_it_is(clock: FakeClock) -> None:
    app = make_app(clock)
    manager = app.extensions["idlesession"].manager
    manager.create({}, user_id="ada")
    (info,) = manager.find()
    assert info.authenticated_at == clock()


# How long log-ins last.


def test_a_remembered_user_stays_for_the_time_that_is_set_and_keeps_the_cookie(clock: FakeClock) -> None:
    app = make_app(clock, IDLESESSION_REMEMBER_LIFETIME=timedelta(days=20))
    client = app.test_client()
    app.log_in_options = {"remember": True}  # type: ignore[attr-defined]
    answer = client.get("/in/ada")
    assert "Expires=" in answer.headers["Set-Cookie"]
    clock.advance(20 * DAY - 1)
    assert client.get("/who").text == "ada"
    assert client.get("/sensitive").status_code == 401, "To be remembered is not to be fresh."
    clock.advance(1)
    assert client.get("/who").text == "None"


def test_a_user_who_is_not_remembered_has_the_usual_timeouts_and_a_cookie_that_goes_with_the_browser(
    clock: FakeClock,
) -> None:
    app = make_app(clock)
    client = app.test_client()
    assert "Expires=" not in client.get("/in/ada").headers["Set-Cookie"]
    clock.advance(1800)
    assert client.get("/who").text == "None"


def test_a_role_may_have_timeouts_of_its_own(clock: FakeClock) -> None:
    app = make_app(clock)
    admin, user = app.test_client(), app.test_client()
    app.log_in_options = {"idle_timeout": timedelta(minutes=5), "lifetime": 1000}  # type: ignore[attr-defined]
    admin.get("/in/root")
    app.log_in_options = {}  # type: ignore[attr-defined]
    user.get("/in/ada")
    clock.advance(300)
    assert [client.get("/who").text for client in (admin, user)] == ["None", "ada"]
    app.log_in_options = {"idle_timeout": timedelta(minutes=5), "lifetime": 1000}  # type: ignore[attr-defined]
    admin.get("/in/root")
    for _ in range(4):
        clock.advance(249)
        assert admin.get("/who").text == "root"
    clock.advance(4)
    assert admin.get("/who").text == "None"


def test_a_roles_timeouts_last_through_a_reauthentication(clock: FakeClock) -> None:
    app = make_app(clock)
    app.log_in_options = {"idle_timeout": 300}  # type: ignore[attr-defined]
    client = app.test_client()
    client.get("/in/root")
    client.get("/again/-")
    clock.advance(299)
    assert client.get("/who").text == "root"
    clock.advance(300)
    assert client.get("/who").text == "None"


@pytest.mark.parametrize("options", [{"lifetime": 1000}, {"remember": True}])
def test_a_lifetime_of_its_own_starts_anew_with_a_reauthentication_and_stays_as_long(
    clock: FakeClock, options: dict[str, Any]
) -> None:
    app = make_app(clock)
    app.log_in_options = options  # type: ignore[attr-defined]
    client = app.test_client()
    client.get("/in/root")
    clock.advance(500)
    client.get("/again/-")
    (info,) = app.extensions["idlesession"].manager.find()
    assert info.lifetime_ends_at - clock() == options.get("lifetime", 30 * DAY)


@pytest.mark.parametrize("name", ["idle_timeout", "lifetime"])
@pytest.mark.parametrize("value", [0, -1, float("inf"), "300", True])
def test_an_impossible_timeout_is_refused_at_log_in(clock: FakeClock, name: str, value: Any) -> None:
    app = make_app(clock)
    app.log_in_options = {name: value}  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=name):
        app.test_client().get("/in/ada")


def test_an_anonymous_session_may_end_sooner_and_a_log_in_gives_it_the_usual_time(clock: FakeClock) -> None:
    app = make_app(clock, IDLESESSION_IDLE_TIMEOUT=600, IDLESESSION_ANONYMOUS_IDLE_TIMEOUT=60)
    guest, user = app.test_client(), app.test_client()
    for client in (guest, user):
        client.get("/set")
    clock.advance(59)
    user.get("/in/ada")
    clock.advance(1)
    assert len(list(app.extensions["idlesession"].manager.find())) == 1
    clock.advance(598)
    assert user.get("/who").text == "ada"
    clock.advance(600)
    assert user.get("/who").text == "None"


# NIST SP 800-63B-4 (sections 2.1.3, 2.2.3 and 2.3.3, read at pages.nist.gov/800-63-4): the overall timeout is 30 days
# at most at AAL1, 24 hours at AAL2 and 12 hours at AAL3; inactivity 1 hour at most at AAL2 and 15 minutes at AAL3.
# OWASP ASVS 4.0.3, 3.3.2: 30 days; 12 hours or 30 minutes of inactivity; 12 hours or 15 minutes.


@pytest.mark.parametrize(
    ("preset", "idle_timeout", "lifetime"),
    [
        ("nist-aal1", 30 * DAY, 30 * DAY),
        ("nist-aal2", 3600, DAY),
        ("nist-aal3", 900, DAY / 2),
        ("asvs-l1", 30 * DAY, 30 * DAY),
        ("asvs-l2", 1800, DAY / 2),
        ("asvs-l3", 900, DAY / 2),
    ],
)
def test_a_preset_is_the_rule_that_it_is_named_for(
    clock: FakeClock, preset: str, idle_timeout: float, lifetime: float
) -> None:
    app = make_app(clock, IDLESESSION_PRESET=preset)
    client = app.test_client()
    client.get("/in/ada")
    (info,) = app.extensions["idlesession"].manager.find()
    assert (info.idle_timeout, info.lifetime_ends_at - clock()) == (idle_timeout, lifetime)
    clock.advance(idle_timeout - 1)
    assert client.get("/who").text == "ada"
    clock.advance(min(idle_timeout, lifetime - idle_timeout + 1))
    assert client.get("/who").text == "None"


def test_there_is_no_preset_without_a_test() -> None:
    assert set(PRESETS) == {"nist-aal1", "nist-aal2", "nist-aal3", "asvs-l1", "asvs-l2", "asvs-l3"}


def test_a_timeout_that_is_set_counts_more_than_the_preset() -> None:
    policy = read_settings({"IDLESESSION_PRESET": "nist-aal2", "IDLESESSION_IDLE_TIMEOUT": 60}).policy
    assert (policy.idle_timeout, policy.lifetime) == (60, DAY)
    policy = read_settings({"IDLESESSION_PRESET": "nist-aal1", "IDLESESSION_LIFETIME": 3600}).policy
    assert (policy.idle_timeout, policy.lifetime) == (3600, 3600)


def test_an_unknown_preset_is_named() -> None:
    with pytest.raises(ConfigError, match="IDLESESSION_PRESET is 'nist-aal4'; it must be \"nist-aal1\""):
        read_settings({"IDLESESSION_PRESET": "nist-aal4"})


def test_the_guard_works_without_brackets(clock: FakeClock) -> None:
    app = make_app(clock)
    app.add_url_rule("/bare", "bare", fresh_login_required(lambda: "fresh"))
    client = app.test_client()
    client.get("/in/ada")
    assert client.get("/bare").text == "fresh"
    clock.advance(301)
    assert client.get("/bare").status_code == 401
