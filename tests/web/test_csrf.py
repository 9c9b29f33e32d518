"""The CSRF token: it changes with the secret, forms that are open outlast a rotation, and other sites have none."""

import hashlib
import hmac
import re
from base64 import urlsafe_b64encode
from typing import Any

import pytest
from flask import Blueprint
from flask import Flask
from flask import render_template_string
from flask import request
from flask import session
from flask_wtf.csrf import CSRFProtect

from flask_idlesession import check_csrf
from flask_idlesession import csrf_protect
from flask_idlesession import csrf_token
from flask_idlesession import CsrfError
from flask_idlesession import current_user_id
from flask_idlesession import IdleSession
from flask_idlesession import log_in
from flask_idlesession import log_out
from flask_idlesession import reauthenticate
from flask_idlesession.testing import FakeClock
from flask_idlesession.web.tokens import Tokens

KEY = "of-the-tests-of-csrf-0123456789abcdef"
INTERVAL = 100


def make_app(clock: FakeClock, **config: Any) -> Flask:
    app = Flask(__name__)
    app.config.update({"TESTING": True, "SECRET_KEY": KEY, "IDLESESSION_ROTATION_INTERVAL": INTERVAL, **config})
    IdleSession(app, clock=clock)

    @app.route("/change", methods=["GET", "POST", "PUT", "DELETE"])
    @csrf_protect
    def change() -> str:
        return "changed"

    views: dict[str, Any] = {
        "/form": csrf_token,
        "/in/<user>": lambda user: log_in(user) or csrf_token(),
        "/anew": lambda: reauthenticate() or csrf_token(),
        "/out": lambda: log_out() or "out",
        "/out-and-on": lambda: log_out() or csrf_token(),
        "/rotate": lambda: session.rotate() or csrf_token(),
        "/put/<value>": lambda value: session.__setitem__("v", value) or "put",
        "/pop": lambda: session.pop("v"),
        "/": lambda: str((current_user_id(), dict(session), session.new)),
    }
    for path, view in views.items():
        app.add_url_rule(path, path, view)
    return app


def post(client: Any, token: str | None, **more: Any) -> int:
    data = {} if token is None else {"csrf_token": token}
    return int(client.post("/change", data=data, **more).status_code)


# What it is.


def test_the_token_is_an_hmac_of_the_sessions_secret(app: Flask) -> None:
    client = app.test_client()
    token = client.get("/form").text
    credential = Tokens([KEY]).read(client.get_cookie("session").value)
    expected = urlsafe_b64encode(hmac.new(credential.secret, b"csrf", hashlib.sha256).digest())
    assert token == expected.rstrip(b"=").decode() and len(token) == 43
    assert credential.secret not in token.encode() and token not in client.get_cookie("session").value


def test_a_form_starts_a_session_that_is_empty_and_is_not_for_caches(app: Flask) -> None:
    client = app.test_client()
    answer = client.get("/form")
    assert "Set-Cookie" in answer.headers and "Cookie" in answer.vary
    assert client.get("/").text == "(None, {}, False)"
    assert len(list(app.extensions["idlesession"].manager.find())) == 1


def test_it_stays_the_same_and_is_written_once(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    client = app.test_client()
    client.get("/put/x")
    token = client.get("/form").text
    store = app.extensions["idlesession"].manager.store
    commit, deltas = store.commit, []
    monkeypatch.setattr(
        store, "commit", lambda sid, change, now: deltas.append(change.delta) or commit(sid, change, now=now)
    )
    answer = client.get("/form")
    assert answer.text == token and "Set-Cookie" not in answer.headers and not any(deltas)


def test_asked_for_twice_in_a_response_it_is_the_same(app: Flask) -> None:
    app.add_url_rule("/twice", "twice", lambda: f"{csrf_token()} {csrf_token()}")
    one, two = app.test_client().get("/twice").text.split()
    assert one == two


def test_whoever_asks_for_none_starts_no_session(app: Flask) -> None:
    assert "Set-Cookie" not in app.test_client().get("/").headers


def test_each_session_has_its_own(app: Flask) -> None:
    one, two = app.test_client(), app.test_client()
    theirs = one.get("/form").text
    two.get("/form")
    assert post(one, theirs) == 200 and post(two, theirs) == 403


# What is let through.


@pytest.mark.parametrize("method", ["put", "post", "delete"])
def test_a_change_needs_the_token(app: Flask, method: str) -> None:
    client = app.test_client()
    token = client.get("/form").text
    ask = getattr(client, method)
    assert ask("/change").status_code == 403
    assert ask("/change", data={"csrf_token": token}).status_code == 200
    assert ask("/change", headers={"X-CSRF-Token": token}).status_code == 200
    assert ask("/change", json={"csrf_token": token}).status_code == 403
    assert ask(f"/change?csrf_token={token}").status_code == 403


@pytest.mark.parametrize("wrong", ["", "x", "ä", "\ud800", "A" * 43, "x" * 100_000])
def test_a_wrong_token_is_refused(app: Flask, wrong: str) -> None:
    client = app.test_client()
    client.get("/form")
    assert post(client, wrong.encode("utf-8", "replace").decode()) == 403
    with app.test_request_context(headers={"Cookie": f"session={client.get_cookie('session').value}"}):
        assert not check_csrf(wrong) and not check_csrf(None) and check_csrf(csrf_token())


@pytest.mark.parametrize("change", [lambda t: t[:-1], lambda t: t + "=", lambda t: t.swapcase(), lambda t: t[::-1]])
def test_a_token_that_is_nearly_right_is_refused(app: Flask, change: Any) -> None:
    client = app.test_client()
    assert post(client, change(client.get("/form").text)) == 403


def test_without_a_session_no_token_is_right(app: Flask) -> None:
    token = app.test_client().get("/form").text
    assert post(app.test_client(), token) == 403 and post(app.test_client(), None) == 403


@pytest.mark.parametrize("method", ["get", "head", "options"])
def test_what_changes_nothing_needs_none(app: Flask, method: str) -> None:
    assert getattr(app.test_client(), method)("/change").status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "same-site"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "Cross-Site "}, 403),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://elsewhere.example"}, 200),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"}, 403),
        ({"Origin": "http://localhost"}, 200),
        ({"Origin": "https://localhost"}, 200),
        ({"Origin": "http://LOCALHOST:80"}, 200),
        ({"Origin": "null"}, 200),
        ({"Origin": "http://localhost:8080"}, 403),
        ({"Origin": "https://elsewhere.example"}, 403),
        ({"Origin": "https://localhost.elsewhere.example"}, 403),
        ({"Origin": "https://localhost@elsewhere.example"}, 403),
        ({"Origin": "http://[::1"}, 403),
        ({"Origin": "http://localhost:port"}, 403),
    ],
)
def test_where_a_request_comes_from_counts_before_its_token(app: Flask, headers: Any, status: int) -> None:
    client = app.test_client()
    token = client.get("/form").text
    assert post(client, token, headers=headers) == status
    assert post(client, None, headers=headers) == 403


def test_a_token_in_the_header_of_clients_without_cookies_needs_no_other(clock: FakeClock) -> None:
    app = make_app(clock, IDLESESSION_TOKEN_HEADER="Authorization")
    client = app.test_client()
    client.get("/in/ada")
    cookie = client.get_cookie("session").value
    bearer = {"Authorization": f"Bearer {cookie}"}
    assert app.test_client(use_cookies=False).post("/change", headers=bearer).status_code == 200
    assert client.post("/change", headers={"Authorization": "Basic eDp5"}).status_code == 403
    assert client.post("/change").status_code == 403


# When the secret changes.


def test_a_token_from_before_a_log_in_is_worth_nothing_after_it(app: Flask) -> None:
    """Somebody planted his own session, and with it the token, in the browser (CSRF fixation)."""
    client = app.test_client()
    planted = client.get("/form").text
    client.get("/in/ada")
    assert post(client, planted) == 403
    assert post(client, client.get("/form").text) == 200


def test_former_tokens_are_worth_nothing_after_a_log_in_either(app: Flask, clock: FakeClock) -> None:
    client = app.test_client()
    tokens = [client.get("/form").text]
    for _ in range(2):
        clock.advance(INTERVAL)
        client.get("/")
        tokens.append(client.get("/form").text)
    assert [post(client, token) for token in tokens] == [200, 200, 200]
    client.get("/in/ada")
    assert [post(client, token) for token in tokens] == [403, 403, 403]
    clock.advance(INTERVAL)
    client.get("/")
    assert [post(client, token) for token in tokens] == [403, 403, 403]


@pytest.mark.parametrize("path", ["/in/ada", "/anew", "/rotate", "/out-and-on"])
def test_the_token_in_a_response_that_changes_the_secret_is_right_afterwards(app: Flask, path: str) -> None:
    client = app.test_client()
    client.get("/in/ada")
    before = client.get("/form").text
    token = client.get(path).text
    assert token != before and client.get("/form").text == token
    assert post(client, token) == 200 and post(client, before) == 403


def test_the_token_in_the_response_that_logs_in_first_is_right_afterwards(app: Flask) -> None:
    client = app.test_client()
    assert post(client, client.get("/in/ada").text) == 200


def test_with_a_limit_of_sessions_too(clock: FakeClock) -> None:
    client = make_app(clock, IDLESESSION_MAX_SESSIONS_PER_USER=1).test_client()
    planted = client.get("/form").text
    token = client.get("/in/ada").text
    assert post(client, token) == 200 and post(client, planted) == 403


def test_a_form_that_is_open_while_the_secret_is_replaced_goes_through(app: Flask, clock: FakeClock) -> None:
    client = app.test_client()
    client.get("/in/ada")
    token = client.get("/form").text
    clock.advance(INTERVAL)
    assert "Set-Cookie" in client.get("/").headers
    assert client.get("/form").text != token
    assert post(client, token) == 200


def test_a_form_in_the_very_response_that_replaces_the_secret_goes_through(app: Flask, clock: FakeClock) -> None:
    client = app.test_client()
    client.get("/form")
    clock.advance(INTERVAL)
    answer = client.get("/form")
    assert "Set-Cookie" in answer.headers
    assert post(client, answer.text) == 200


def test_a_form_that_is_sent_by_the_very_request_that_replaces_the_secret_goes_through(
    app: Flask, clock: FakeClock
) -> None:
    client = app.test_client()
    token = client.get("/form").text
    clock.advance(INTERVAL)
    assert post(client, token) == 200 and post(client, token) == 200


def test_only_the_last_few_tokens_are_right(app: Flask, clock: FakeClock) -> None:
    client = app.test_client()
    tokens = []
    for _ in range(8):
        tokens.append(client.get("/form").text)
        clock.advance(INTERVAL)
        client.get("/")
    assert [post(client, token) for token in tokens] == [403] * 3 + [200] * 5


def test_an_interval_remembers_no_token_where_none_was_asked_for(app: Flask, clock: FakeClock) -> None:
    """A session that is emptied ends, and nothing of the package's own keeps it."""
    client = app.test_client()
    client.get("/put/x")
    for _ in range(2):
        clock.advance(INTERVAL)
        client.get("/")
    client.get("/pop")
    assert list(app.extensions["idlesession"].manager.find()) == []


def test_after_a_log_out_no_token_is_right(app: Flask) -> None:
    client = app.test_client()
    client.get("/in/ada")
    token = client.get("/form").text
    client.get("/out")
    assert post(client, token) == 403
    client.get("/form")
    assert post(client, token) == 403


def test_a_session_that_is_emptied_and_has_a_form_open_lives(app: Flask) -> None:
    client = app.test_client()
    token = client.get("/form").text
    client.get("/put/x")
    client.get("/pop")
    assert post(client, token) == 200


def test_whoever_came_with_the_secret_of_before_gets_no_token_that_never_comes(app: Flask, clock: FakeClock) -> None:
    client = app.test_client()
    token = client.get("/form").text
    late = app.test_client()
    late.set_cookie("session", client.get_cookie("session").value)
    clock.advance(INTERVAL)
    client.get("/")
    assert late.get("/rotate").text == token
    assert post(client, token) == 200


# In templates.

FORM = '<input name="csrf_token" value="{{ csrf_token() }}">'


def test_templates_have_it(app: Flask) -> None:
    app.add_url_rule("/page", "page", lambda: render_template_string(FORM))
    client = app.test_client()
    (token,) = re.findall('value="(.+)"', client.get("/page").text)
    assert post(client, token) == 200


def test_macros_that_are_imported_without_context_have_it(app: Flask) -> None:
    from jinja2 import DictLoader

    app.jinja_loader = DictLoader(
        {"m": "{% macro f() %}" + FORM + "{% endmacro %}", "p": "{% import 'm' as m %}{{ m.f() }}"}
    )
    app.add_url_rule(
        "/page", "page", lambda: app.jinja_env.get_template("p") and __import__("flask").render_template("p")
    )
    client = app.test_client()
    (token,) = re.findall('value="(.+)"', client.get("/page").text)
    assert post(client, token) == 200


@pytest.mark.parametrize("first", ["wtf", "ours"])
def test_flask_wtf_keeps_its_own(first: str, clock: FakeClock) -> None:
    app = Flask(__name__)
    app.config.update(TESTING=True, SECRET_KEY=KEY)
    for part in (CSRFProtect, IdleSession) if first == "wtf" else (IdleSession, CSRFProtect):
        part(app)
    app.add_url_rule("/page", "page", lambda: render_template_string(FORM))
    app.add_url_rule("/change", "change", lambda: "changed", methods=["POST"])
    client = app.test_client()
    (token,) = re.findall('value="(.+)"', client.get("/page").text)
    assert len(token) > 43 and client.post("/change", data={"csrf_token": token}).text == "changed"
    assert client.post("/change").status_code == 400


def test_an_application_keeps_its_own(app: Flask) -> None:
    app.jinja_env.globals["csrf_token"] = lambda: "mine"
    app.add_url_rule("/page", "page", lambda: render_template_string("{{ csrf_token() }}"))
    assert app.test_client().get("/page").text == "mine"


# As a guard.


def test_a_whole_blueprint_can_be_guarded(app: Flask) -> None:
    blueprint = Blueprint("b", __name__)
    blueprint.before_request(csrf_protect(lambda: None))
    blueprint.add_url_rule("/b", "b", lambda: "done", methods=["GET", "POST"])
    app.register_blueprint(blueprint)
    client = app.test_client()
    token = client.get("/form").text
    assert client.get("/b").text == "done"
    assert client.post("/b").status_code == 403
    assert client.post("/b", data={"csrf_token": token}).text == "done"


def test_an_application_can_answer_what_was_refused_itself(app: Flask) -> None:
    app.register_error_handler(CsrfError, lambda error: (f"again: {error.code}", 400))
    client = app.test_client()
    client.get("/form")
    answer = client.post("/change")
    assert (answer.status_code, answer.text) == (400, "again: 403")


def test_an_async_view_can_be_guarded(app: Flask) -> None:
    @app.post("/async")
    @csrf_protect
    async def view() -> str:
        return request.form["x"]

    client = app.test_client()
    token = client.get("/form").text
    assert client.post("/async", data={"x": "done", "csrf_token": token}).text == "done"
    assert client.post("/async", data={"x": "done"}).status_code == 403
