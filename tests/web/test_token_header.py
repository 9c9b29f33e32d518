"""The token in a header, for clients without cookies: the same rules, and nowhere else than in the two places."""

import logging
from typing import Any

import pytest
from flask import Flask
from flask import request
from flask import session
from werkzeug.test import TestResponse

from flask_idlesession import ConfigError
from flask_idlesession import current_user_id
from flask_idlesession import IdleSession
from flask_idlesession import log_in
from flask_idlesession import log_out
from flask_idlesession import MemoryStore
from flask_idlesession import StoreError
from flask_idlesession.testing import FakeClock
from flask_idlesession.web.token_header import TOKEN_HEADER

KEY = "of-the-tests-of-headers-0123456789"


def make_app(clock: FakeClock, *, store: Any = None, **config: Any) -> Flask:
    app = Flask(__name__)
    app.config.update({"TESTING": True, "SECRET_KEY": KEY, "IDLESESSION_TOKEN_HEADER": "Authorization", **config})
    IdleSession(app, clock=clock, store=store)
    views: dict[str, Any] = {
        "/in/<user>": lambda user: log_in(user) or "in",
        "/out": lambda: log_out() or "out",
        "/put/<value>": lambda value: session.__setitem__("v", value) or "put",
        "/pop": lambda: session.pop("v"),
        "/": lambda: str((current_user_id(), session.get("v"))),
        "/rotate": lambda: session.rotate() or "rotated",
        "/plain": lambda: "plain",
        "/permanent": lambda: setattr(session, "permanent", True) or "permanent",
    }
    for path, view in views.items():
        app.add_url_rule(path, path.replace(".", ""), view, methods=["GET", "POST"])
    return app


@pytest.fixture(params=["Authorization", "X-Session"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def app(clock: FakeClock, name: str) -> Flask:
    return make_app(clock, IDLESESSION_TOKEN_HEADER=name)


def shown(name: str, token: str) -> dict[str, str]:
    return {name: f"Bearer {token}" if name == "Authorization" else token}


def ask(app: Flask, path: str, name: str, token: str = "", **more: Any) -> TestResponse:
    """Ask as a client without cookies does."""
    answer = app.test_client(use_cookies=False).get(path, headers=shown(name, token), **more)
    assert "Set-Cookie" not in answer.headers
    return answer


def begin(app: Flask, name: str, path: str = "/put/mine") -> str:
    return ask(app, path, name).headers[TOKEN_HEADER]


def test_a_client_that_shows_an_empty_header_is_given_its_token_in_one(app: Flask, name: str) -> None:
    answer = ask(app, "/put/mine", name)
    assert answer.headers["Cache-Control"] == "no-store"
    assert {"Cookie", name} <= set(answer.vary)
    token = answer.headers[TOKEN_HEADER]
    again = ask(app, "/", name, token)
    assert again.text == "(None, 'mine')" and TOKEN_HEADER not in again.headers and name in again.vary


def test_a_request_that_starts_nothing_is_given_nothing(app: Flask, name: str) -> None:
    answer = ask(app, "/", name)
    assert TOKEN_HEADER not in answer.headers and "no-store" not in answer.headers.get("Cache-Control", "")
    plain = ask(app, "/plain", name)
    assert not plain.vary


def test_a_log_in_gives_a_new_token_and_the_old_one_is_dead(app: Flask, name: str) -> None:
    before = begin(app, name)
    after = ask(app, "/in/ada", name, before).headers[TOKEN_HEADER]
    assert after != before
    assert ask(app, "/", name, after).text == "('ada', 'mine')"
    dead = ask(app, "/", name, before)
    assert dead.text == "(None, None)" and TOKEN_HEADER not in dead.headers


def test_a_rotation_is_told_once(app: Flask, name: str) -> None:
    before = begin(app, name)
    after = ask(app, "/rotate", name, before).headers[TOKEN_HEADER]
    assert after != before and TOKEN_HEADER not in ask(app, "/", name, after).headers


@pytest.mark.parametrize("path", ["/out", "/pop"])
def test_an_end_is_told_by_an_empty_header(app: Flask, name: str, path: str) -> None:
    token = begin(app, name)
    answer = ask(app, path, name, token)
    assert answer.headers[TOKEN_HEADER] == "" and answer.headers["Cache-Control"] == "no-store"
    assert ask(app, "/", name, token).text == "(None, None)"


def test_a_permanent_session_is_not_told_its_token_again_and_again(app: Flask, name: str, clock: FakeClock) -> None:
    token = begin(app, name, "/permanent")
    clock.advance(60)
    assert TOKEN_HEADER not in ask(app, "/", name, token).headers


def test_a_token_signed_with_a_fallback_key_is_signed_anew(app: Flask, name: str) -> None:
    old = begin(app, name)
    app.config.update(SECRET_KEY="the-next-key-of-these-tests-of-headers", SECRET_KEY_FALLBACKS=[KEY])
    new = ask(app, "/", name, old).headers[TOKEN_HEADER]
    app.config.update(SECRET_KEY_FALLBACKS=[])
    assert ask(app, "/", name, new).text == "(None, 'mine')"
    assert ask(app, "/", name, old).text == "(None, None)"


@pytest.mark.parametrize(
    "spoil", [lambda t: "garbage", lambda t: t[:-2] + "AA", lambda t: f"{t}, {t}", lambda t: f"{t},{t}"]
)
def test_a_bad_token_or_two_of_them_are_an_anonymous_request(
    app: Flask, name: str, spoil: Any, caplog: pytest.LogCaptureFixture
) -> None:
    token = begin(app, name)
    with caplog.at_level(logging.WARNING):
        answer = ask(app, "/", name, spoil(token))
    assert answer.text == "(None, None)" and TOKEN_HEADER not in answer.headers
    (line,) = caplog.messages
    assert "header" in line and token not in line


def test_two_bearer_headers_are_none(clock: FakeClock) -> None:
    app = make_app(clock)
    token = begin(app, "Authorization")
    assert ask(app, "/", "Authorization", f"{token},Bearer {token}").text == "(None, None)"


def test_an_empty_header_is_no_bad_token(app: Flask, name: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        ask(app, "/", name)
    assert not caplog.messages


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "  Bearer  "])
def test_the_scheme_is_read_in_any_case(clock: FakeClock, scheme: str) -> None:
    app = make_app(clock)
    token = begin(app, "Authorization")
    client = app.test_client(use_cookies=False)
    assert client.get("/", headers={"Authorization": f"{scheme} {token}"}).text == "(None, 'mine')"


def test_another_scheme_leaves_the_cookie_alone(clock: FakeClock) -> None:
    """A staging server with a password before it, for one."""
    client = make_app(clock).test_client()
    basic = {"Authorization": "Basic YTpi"}
    answer = client.get("/put/mine", headers=basic)
    assert "Set-Cookie" in answer.headers and TOKEN_HEADER not in answer.headers
    assert client.get("/", headers=basic).text == "(None, 'mine')"


# Beside cookies.


def test_browsers_go_on_with_cookies(app: Flask, name: str) -> None:
    client = app.test_client()
    answer = client.get("/put/mine")
    assert "Set-Cookie" in answer.headers and TOKEN_HEADER not in answer.headers
    read = client.get("/")
    assert read.text == "(None, 'mine')" and {"Cookie", name} <= set(read.vary)
    assert "Set-Cookie" in client.get("/out").headers


@pytest.mark.parametrize("token", ["", "garbage"])
def test_where_there_is_a_header_the_cookie_counts_for_nothing(app: Flask, name: str, token: str) -> None:
    client = app.test_client()
    client.get("/put/of-the-cookie")
    cookie = client.get_cookie("session")
    assert client.get("/", headers=shown(name, token)).text == "(None, None)"
    other = begin(app, name, "/put/of-the-header")
    assert client.get("/", headers=shown(name, other)).text == "(None, 'of-the-header')"
    answer = client.get("/out", headers=shown(name, other))
    assert "Set-Cookie" not in answer.headers and client.get_cookie("session") == cookie
    assert client.get("/").text == "(None, 'of-the-cookie')"


def test_a_token_works_in_the_one_place_as_in_the_other(app: Flask, name: str) -> None:
    token = begin(app, name)
    client = app.test_client()
    client.set_cookie("session", token)
    assert client.get("/").text == "(None, 'mine')"


def test_without_the_setting_the_header_is_nothing(clock: FakeClock, name: str) -> None:
    app = make_app(clock, IDLESESSION_TOKEN_HEADER=None)
    client = app.test_client()
    client.get("/put/mine")
    token = client.get_cookie("session").value  # type: ignore[union-attr]
    bare = app.test_client(use_cookies=False)
    answer = bare.get("/", headers=shown(name, token))
    assert answer.text == "(None, None)" and name not in answer.vary
    started = bare.get("/put/x", headers=shown(name, ""))
    assert TOKEN_HEADER not in started.headers and "Set-Cookie" in started.headers


# Nowhere else.


def test_no_token_or_id_is_taken_from_a_url_a_form_or_json(app: Flask, name: str) -> None:
    token = begin(app, name, "/in/ada")
    (info,) = app.extensions["idlesession"].manager.find()
    for value in (token, str(info.sid), info.sid.hex):
        for key in ("session", name, "sid", "session_id", "token", "access_token", TOKEN_HEADER, "PHPSESSID"):
            client = app.test_client(use_cookies=False)
            answers = [
                client.get("/", query_string={key: value}),
                client.get(f"/;{key}={value}") if key == "session" else client.get("/", query_string=value),
                client.post("/", data={key: value}),
                client.post("/", json={key: value}),
                client.post("/", data={key: value}, content_type="multipart/form-data"),
                client.get("/", headers={TOKEN_HEADER: value}),
                client.get("/", headers={"X-Session-Id": value, "X-Auth-Token": value}),
            ]
            assert all(answer.status_code == 404 or answer.text == "(None, None)" for answer in answers)
            assert not any(TOKEN_HEADER in answer.headers or "Set-Cookie" in answer.headers for answer in answers)


def test_an_id_without_its_secret_opens_nothing_in_the_header(app: Flask, name: str) -> None:
    begin(app, name, "/in/ada")
    (info,) = app.extensions["idlesession"].manager.find()
    for value in (str(info.sid), info.sid.hex):
        assert ask(app, "/", name, value).text == "(None, None)"


# Trouble.


@pytest.mark.parametrize("wrong", ["X Session", "Cookie", "X:Session", "Sitzung-ä", "host", "X_Session"])
def test_a_name_that_is_no_header_is_refused(clock: FakeClock, wrong: str) -> None:
    with pytest.raises(ConfigError, match="IDLESESSION_TOKEN_HEADER is"):
        make_app(clock, IDLESESSION_TOKEN_HEADER=wrong)


class SwitchedStore(MemoryStore):
    is_off = False

    def delete(self, sid: Any) -> bool:
        if self.is_off:
            raise StoreError("nobody answers")
        return super().delete(sid)


def test_a_log_out_is_one_for_this_client_though_the_store_failed(clock: FakeClock, name: str) -> None:
    store = SwitchedStore()
    app = make_app(clock, store=store, IDLESESSION_TOKEN_HEADER=name)
    token = begin(app, name, "/in/ada")
    store.is_off = True
    answer = ask(app, "/out", name, token)
    assert answer.status_code == 503 and answer.headers[TOKEN_HEADER] == ""
    assert ask(app, "/", name, token).text == "(None, None)"


def test_a_session_saved_without_a_request_is_a_cookies(clock: FakeClock) -> None:
    client = make_app(clock).test_client()
    with client.session_transaction() as ours:
        ours["v"] = "mine"
    assert client.get("/").text == "(None, 'mine')"


def test_a_view_may_read_the_header_itself(clock: FakeClock) -> None:
    app = make_app(clock)
    app.add_url_rule("/auth", "auth", lambda: str(request.authorization and request.authorization.type))
    assert ask(app, "/auth", "Authorization", "x").text == "bearer"
