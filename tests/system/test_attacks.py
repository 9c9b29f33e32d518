"""What an audit found, by row of its table C: each attempt fails, and each right use goes on working."""

import json
from base64 import urlsafe_b64encode
from typing import Any

import pytest
from flask import Flask
from flask import request
from flask import session
from flask.testing import FlaskClient

from flask_idlesession import authentication_level
from flask_idlesession import check_csrf
from flask_idlesession import ConfigError
from flask_idlesession import csrf_protect
from flask_idlesession import csrf_token
from flask_idlesession import current_user_id
from flask_idlesession import fresh_login_required
from flask_idlesession import IdleSession
from flask_idlesession import kept_form
from flask_idlesession import log_in
from flask_idlesession import log_out
from flask_idlesession import login_required
from flask_idlesession import reauthenticate
from flask_idlesession import remember_form
from flask_idlesession import remembered_form
from flask_idlesession import revoke_others
from flask_idlesession import revoke_where
from flask_idlesession import token_reused
from flask_idlesession.testing import FakeClock

KEY = "of-the-tests-of-attacks-0123456789abcdef"


def make_app(clock: FakeClock, **config: Any) -> Flask:
    app = Flask(__name__)
    app.config.update({"TESTING": True, "SECRET_KEY": KEY, "IDLESESSION_LOGIN_VIEW": "login", **config})
    IdleSession(app, clock=clock)

    @app.get("/login")
    def login() -> str:
        return request.args.get("next", "none")

    @app.get("/in/<user>")
    def enter(user: str) -> str:
        log_in(user, keep=request.args.get("keep", "1") == "1", level=request.args.get("level"))
        return "in"

    app.add_url_rule("/who", "who", lambda: str(current_user_id()))
    app.add_url_rule("/rotate", "rotate", lambda: session.rotate() or "rotated")
    app.add_url_rule("/others", "others", lambda: str(revoke_others()))
    app.add_url_rule("/fresh", "fresh", fresh_login_required()(lambda: "fresh"))
    app.add_url_rule("/guarded/<path:rest>", "guarded", login_required(lambda rest: rest))
    return app


def copy_of(client: FlaskClient, app: Flask) -> FlaskClient:
    cookie = client.get_cookie("session")
    assert cookie is not None
    copied = app.test_client()
    copied.set_cookie("session", cookie.value)
    return copied


@pytest.mark.parametrize("path", ["%09/evil.example", "%5Cevil.example", "%5c%5cevil", "a%09b", "%00", "%7F"])
def test_no_path_that_browsers_read_otherwise_becomes_the_place_to_come_back_to(clock: FakeClock, path: str) -> None:
    client = make_app(clock).test_client()
    answer = client.get(f"/guarded/{path}", follow_redirects=True)
    assert answer.text == "none"


@pytest.mark.parametrize("path", ["/guarded/a%20b?x=1&y=%2F", "/guarded/%E2%82%AC", "/guarded/a;b=c,d"])
def test_the_place_to_come_back_to_is_the_very_path_and_query(clock: FakeClock, path: str) -> None:
    client = make_app(clock).test_client()
    assert client.get(path, follow_redirects=True).text == path


def test_a_copy_of_the_token_is_dead_at_once_after_the_others_were_revoked(clock: FakeClock) -> None:
    app = make_app(clock)
    client = app.test_client()
    client.get("/in/ada")
    thief = copy_of(client, app)
    assert thief.get("/who").text == "ada"
    client.get("/others")
    assert (client.get("/who").text, thief.get("/who").text) == ("ada", "None")


def test_revoking_the_others_ends_the_grace_of_a_rotation_before_it_too(clock: FakeClock) -> None:
    app = make_app(clock)
    client = app.test_client()
    client.get("/in/ada")
    thief = copy_of(client, app)
    client.get("/rotate")
    assert thief.get("/who").text == "ada"
    client.get("/others")
    assert thief.get("/who").text == "None" and client.get("/who").text == "ada"


def test_a_proof_without_a_level_proves_none(clock: FakeClock) -> None:
    app = make_app(clock)
    app.add_url_rule("/again", "again", lambda: reauthenticate() or str(authentication_level()))
    app.add_url_rule("/level", "level", lambda: str(authentication_level()))
    client = app.test_client()
    client.get("/in/ada?level=passkey")
    assert client.get("/level").text == "passkey"
    assert client.get("/again").text == client.get("/level").text == "None"


@pytest.mark.parametrize(
    "payload",
    ['{"iat": 1e999}', "[" * 20_000, '{"iat": 9' + "9" * 5000 + "}", "null", '{"iat": "x", "exp": "y"}', "\\"],
)
def test_a_planted_claims_cookie_is_no_error(clock: FakeClock, payload: str) -> None:
    app = make_app(clock, IDLESESSION_CLAIMS="claims", IDLESESSION_CLAIMS_KEY="c" * 40)
    client = app.test_client()
    client.get("/in/ada")
    cookie = client.get_cookie("claims")
    assert cookie is not None
    head, _, rest = cookie.value.partition(".")
    planted = f"{head}.{urlsafe_b64encode(payload.encode()).decode().rstrip('=')}.{rest.partition('.')[2]}"
    token = client.get_cookie("session")
    assert token is not None
    plain = app.test_client(use_cookies=False)
    assert plain.get("/who", headers={"Cookie": f"session={token.value}; claims={planted}"}).text == "ada"


def test_a_suspect_session_is_given_no_jwt_and_loses_the_one_it_has(clock: FakeClock) -> None:
    app = make_app(
        clock, IDLESESSION_CLAIMS="claims", IDLESESSION_CLAIMS_KEY="c" * 40, IDLESESSION_BIND_ADDRESS="reauthenticate"
    )
    client = app.test_client()
    client.get("/in/ada", environ_overrides={"REMOTE_ADDR": "192.0.2.1"})
    assert client.get_cookie("claims") is not None
    client.get("/who", environ_overrides={"REMOTE_ADDR": "203.0.113.9"})
    assert client.get_cookie("claims") is None
    client.get("/who", environ_overrides={"REMOTE_ADDR": "203.0.113.9"})
    assert client.get_cookie("claims") is None
    client.get("/in/ada", environ_overrides={"REMOTE_ADDR": "203.0.113.9"})
    assert client.get_cookie("claims") is not None


@pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")  # Flask-Login 0.6.3 calls it.
def test_flask_login_loads_no_user_while_a_session_is_suspect(clock: FakeClock) -> None:
    flask_login = pytest.importorskip("flask_login")
    app = make_app(clock, IDLESESSION_BIND_ADDRESS="reauthenticate")
    manager = flask_login.LoginManager(app)

    class User(flask_login.UserMixin):  # type: ignore[misc, name-defined]
        def __init__(self, user_id: str) -> None:
            self.id = user_id

    manager.user_loader(User)
    app.add_url_rule("/enter", "enter_by", lambda: str(flask_login.login_user(User("ada"), remember=True)))
    app.add_url_rule("/inner", "inner", flask_login.login_required(lambda: flask_login.current_user.id))
    client = app.test_client()
    here, elsewhere = ({"REMOTE_ADDR": address} for address in ("192.0.2.1", "203.0.113.9"))
    client.get("/enter", environ_overrides=here)
    assert client.get("/inner", environ_overrides=here).text == "ada"
    for _ in range(2):  # The remember cookie is no proof either.
        assert client.get("/inner", environ_overrides=elsewhere).status_code == 401
    client.get("/enter", environ_overrides=elsewhere)
    assert client.get("/inner", environ_overrides=elsewhere).text == "ada"


@pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")  # Flask-Login 0.6.3 calls it.
def test_a_remember_cookie_tells_no_token_to_a_script_that_uses_the_header(clock: FakeClock) -> None:
    flask_login = pytest.importorskip("flask_login")
    app = make_app(clock, IDLESESSION_TOKEN_HEADER="X-Session")
    manager = flask_login.LoginManager(app)

    class User(flask_login.UserMixin):  # type: ignore[misc, name-defined]
        def __init__(self, user_id: str) -> None:
            self.id = user_id

    manager.user_loader(User)
    app.add_url_rule("/enter", "enter_by", lambda: str(flask_login.login_user(User("ada"), remember=True)))
    app.add_url_rule("/user", "user", lambda: str(flask_login.current_user.is_authenticated))
    app.add_url_rule("/move", "move", csrf_protect(lambda: "moved"), methods=["POST"])
    client = app.test_client()
    client.get("/enter")
    client.delete_cookie("session")
    answer = client.get("/user", headers={"X-Session": ""})
    assert answer.text == "False" and "X-IdleSession-Token" not in answer.headers
    assert client.post("/move", headers={"X-Session": "nonsense"}).status_code == 403


@pytest.mark.parametrize(
    "name", ["Origin", "Referer", "User-Agent", "Sec-Fetch-Site", "Accept-Language", "X-Forwarded-For", "If-None-Match"]
)
def test_a_header_that_browsers_send_by_themselves_is_refused_as_the_tokens(clock: FakeClock, name: str) -> None:
    with pytest.raises(ConfigError, match="IDLESESSION_TOKEN_HEADER"):
        make_app(clock, IDLESESSION_TOKEN_HEADER=name).test_client().get("/who")


def test_a_log_in_that_keeps_nothing_keeps_no_remembered_form(clock: FakeClock) -> None:
    app = make_app(clock)
    app.add_url_rule("/form", "form", lambda: str(remember_form()), methods=["POST"])
    app.add_url_rule("/remembered", "remembered", lambda: str(remembered_form() is not None))
    client = app.test_client()
    client.post("/form", data={"note": "mine"})
    assert client.get("/remembered").text == "True"
    client.get("/in/bob?keep=0")
    assert client.get("/remembered").text == "False"


def test_a_criterion_that_is_none_ends_nobody(clock: FakeClock) -> None:
    app = make_app(clock)
    client = app.test_client()
    client.get("/in/ada")
    with app.test_request_context():
        for criteria in ({"idp_sid": None}, {"user_id": None, "idle_for": 0.0}, {"address": None}):
            with pytest.raises(TypeError, match="None"):
                revoke_where(**criteria)
    assert client.get("/who").text == "ada"


@pytest.mark.parametrize(
    ("labels", "error"),
    [
        ({"__idlesession_turn": 1}, ValueError),
        ({"authenticated_at": 2e9}, ValueError),
        ({"first_address": "x"}, ValueError),
        ({"level": "passkey"}, ValueError),
        ({"big": "x" * 70_000}, ValueError),
        ({"half": "\ud800"}, ValueError),
        ({"list": []}, TypeError),
        ({1: "x"}, TypeError),
    ],
)
def test_a_label_that_no_application_may_set_is_refused(clock: FakeClock, labels: Any, error: type[Exception]) -> None:
    with make_app(clock).test_request_context(), pytest.raises(error):
        log_in("ada", labels=labels)


@pytest.mark.parametrize(
    ("headers", "is_kept"),
    [
        ({}, True),
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "http://sub.localhost"}, False),
        ({"Origin": "http://localhost"}, True),
    ],
)
def test_only_forms_of_this_very_origin_are_kept(clock: FakeClock, headers: dict[str, str], is_kept: bool) -> None:
    app = make_app(clock, IDLESESSION_KEEP_FORMS=10_000)
    app.add_url_rule("/save", "save", login_required(lambda: "saved"), methods=["POST"])
    app.add_url_rule("/kept", "kept", lambda: json.dumps((kept_form() or None) and [*kept_form().fields]))  # type: ignore
    client = app.test_client()
    client.get("/in/ada")
    clock.advance(1800)
    client.post("/save", data={"note": "x", "iban": "DE", "pw": "1", "mfa_code": "2", "apiKey": "3"}, headers=headers)
    client.get("/in/ada")
    assert json.loads(client.get("/kept").text) == (["note"] if is_kept else None)


def test_the_csrf_token_of_the_ended_session_keeps_a_form_from_a_page_without_an_origin(clock: FakeClock) -> None:
    app = make_app(clock, IDLESESSION_KEEP_FORMS=10_000)
    app.add_url_rule("/save", "save", login_required(lambda: "saved"), methods=["POST"])
    app.add_url_rule("/token", "token", lambda: csrf_token() if not check_csrf("") else "")
    app.add_url_rule("/kept", "kept", lambda: str(kept_form() is not None))
    client = app.test_client()
    client.get("/in/ada")
    token = client.get("/token").text
    clock.advance(1800)
    client.post("/save", data={"note": "x", "csrf_token": token}, headers={"Origin": "null"})
    client.get("/in/ada")
    assert client.get("/kept").text == "True"


def test_a_token_goes_into_no_response_that_caches_give_to_others(clock: FakeClock) -> None:
    app = make_app(clock)

    @app.get("/public")
    def public() -> Any:
        answer = app.make_response(str(session.get("a")))
        answer.cache_control.public = True
        return answer

    @app.get("/stay")
    def stay() -> str:
        session.permanent, session["a"] = True, 1
        return "stay"

    client = app.test_client()
    assert client.get("/stay").headers["Cache-Control"] == "private"
    assert "Set-Cookie" in client.get("/who").headers, "A permanent session's cookie is refreshed."
    assert "Set-Cookie" not in client.get("/public").headers


@pytest.mark.parametrize("reaction", ["log", "end"])
def test_a_replaced_token_that_is_shown_later_is_told_and_ends_the_session_if_asked(
    clock: FakeClock, reaction: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(clock, IDLESESSION_TOKEN_REUSE=reaction)
    told = []
    token_reused.connect(lambda sender, info: told.append(info.user_id), app, weak=False)
    client = app.test_client()
    client.get("/in/ada")
    clock.advance(60)
    thief = copy_of(client, app)
    client.get("/rotate")
    assert thief.get("/who").text == "ada" and not told, "In the grace it may be on the wire."
    clock.advance(60)
    assert [thief.get("/who").text for _ in range(3)] == ["None"] * 3
    assert told == ["ada"] and caplog.text.count("somebody has a copy") == 1
    assert client.get("/who").text == ("ada" if reaction == "log" else "None")


def test_a_token_of_before_a_log_in_that_is_still_on_the_wire_is_not_told(clock: FakeClock) -> None:
    app = make_app(clock)
    told = []
    token_reused.connect(lambda sender, info: told.append(info), app, weak=False)
    app.add_url_rule("/out", "out", lambda: log_out() or "out")
    client = app.test_client()
    client.get("/in/ada")
    late = copy_of(client, app)
    client.get("/in/ada")
    assert late.get("/who").text == "None" and not told
