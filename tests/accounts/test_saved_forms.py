"""Forms that came too late: the same user gets them back, without passwords and files, and nobody else does."""

import io
import re
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask import redirect
from flask import request
from flask import session
from support.waiting import wait_until

from flask_idlesession import Change
from flask_idlesession import current_user_id
from flask_idlesession import forget_form
from flask_idlesession import fresh_login_required
from flask_idlesession import IdleSession
from flask_idlesession import is_form_kept
from flask_idlesession import kept_form
from flask_idlesession import log_in
from flask_idlesession import log_out
from flask_idlesession import login_required
from flask_idlesession import never_kept
from flask_idlesession import Outcome
from flask_idlesession import remember_form
from flask_idlesession import remembered_form
from flask_idlesession import revoke_user
from flask_idlesession import session_ending
from flask_idlesession import SessionId
from flask_idlesession.accounts.saved_forms import _is_secret
from flask_idlesession.stores.sqlite import SQLiteStore
from flask_idlesession.testing import FakeClock
from flask_idlesession.web.tokens import Tokens

IDLE = 100
TEXT = "what-took-an-hour-to-write"


def make_app(clock: FakeClock, *, store: Any = None, **config: Any) -> Flask:
    app = Flask(__name__)
    app.config.update(
        {"TESTING": True, "SECRET_KEY": "of-the-tests-of-forms-0123456789", "IDLESESSION_KEEP_FORMS": 10_000}
    )
    app.config.update({"IDLESESSION_IDLE_TIMEOUT": IDLE, "IDLESESSION_LOGIN_VIEW": "/login", **config})
    IdleSession(app, clock=clock, store=store)

    def save() -> Any:
        return request.form

    def kept() -> Any:
        form = kept_form()
        return (
            {} if form is None else {"path": form.path, "fields": form.fields.to_dict(flat=False), "at": form.kept_at}
        )

    def remembered() -> Any:
        form = remembered_form()
        return {} if form is None else {"path": form.path, "fields": form.fields.to_dict(flat=False)}

    views: dict[str, Any] = {
        "/in/<user>": lambda user: log_in(user, keep=request.args.get("keep") != "0") or str(kept_form() is not None),
        "/out": lambda: log_out() or "out",
        "/who": lambda: str(current_user_id()),
        "/all": lambda: dict(session),
        "/login": lambda: f"{session_ending() and session_ending().reason.value} {is_form_kept()}",
        "/save": login_required(save),
        "/broken": login_required(lambda: 1 / 0),
        "/fresh": fresh_login_required(max_age=20)(save),
        "/some": login_required(never_kept("diagnosis")(save)),
        "/never": never_kept()(login_required(save)),
        "/kept": kept,
        "/forget": lambda: forget_form() or "forgotten",
        "/remember": lambda: str(remember_form(exclude={"excluded"})),
        "/remembered": remembered,
    }
    for path, view in views.items():
        app.add_url_rule(path, path, view, methods=["GET", "POST"])
    return app


def go_idle(app: Flask, clock: FakeClock, client: Any, *, seconds: float = IDLE) -> None:
    sid, manager = sid_of(app, client), app.extensions["idlesession"].manager
    clock.advance(seconds)
    manager.prune()
    # The cleaner may have been faster, and be about to note how the session ended.
    wait_until(lambda: manager.store.ending(sid, now=clock()) is not None, "the end is remembered")


def late_post(app: Flask, clock: FakeClock, path: str = "/save", user: str = "ada", **how: Any) -> Any:
    """Let a user's session end, and send a form after that; return the client."""
    client = app.test_client()
    client.get(f"/in/{user}")
    go_idle(app, clock, client)
    answer = client.post(path, **{"data": {"text": TEXT, "tag": ["a", "b"]}, **how})
    assert answer.status_code in (302, 303)
    return client


def sid_of(app: Flask, client: Any) -> SessionId:
    credential = Tokens([app.config["SECRET_KEY"]]).read(client.get_cookie("session").value)
    assert credential is not None
    return credential.sid


# There and back.


def test_a_form_that_came_too_late_is_there_again_for_the_same_user(app: Flask, clock: FakeClock) -> None:
    client = late_post(app, clock, "/save?page=2")
    sent_at = clock()
    assert client.get("/login").text == "idle True"
    assert client.get("/kept").json == {}
    assert client.get("/in/ada").text == "True"
    assert client.get("/kept").json == {
        "path": "/save?page=2",
        "fields": {"text": [TEXT], "tag": ["a", "b"]},
        "at": sent_at,
    }
    assert client.get("/all").json == {}


def test_it_survives_a_log_in_that_keeps_nothing_else(app: Flask, clock: FakeClock) -> None:
    client = late_post(app, clock)
    assert client.get("/in/ada?keep=0").text == "True"


def test_it_is_forgotten_once_it_was_sent_again(app: Flask, clock: FakeClock) -> None:
    client = late_post(app, clock)
    client.get("/in/ada")
    client.post("/fresh", data={"another": "form"})
    client.get("/save")
    assert client.get("/kept").json
    assert client.post("/save", data=client.get("/kept").json["fields"]).json == {"text": TEXT, "tag": "a"}
    assert client.get("/kept").json == {}


def test_it_is_there_still_if_the_view_failed(app: Flask, clock: FakeClock) -> None:
    app.config["PROPAGATE_EXCEPTIONS"] = False
    client = late_post(app, clock, "/broken")
    client.get("/in/ada")
    assert client.post("/broken").status_code == 500
    assert client.get("/kept").json["path"] == "/broken"


def test_it_is_forgotten_on_demand(app: Flask, clock: FakeClock) -> None:
    client = late_post(app, clock)
    client.get("/in/ada")
    client.get("/forget")
    assert client.get("/kept").json == {}


def test_it_is_kept_for_an_hour_and_no_longer(clock: FakeClock) -> None:
    app = make_app(clock, IDLESESSION_IDLE_TIMEOUT=7200)
    for seconds, is_there in ((3599.9, True), (3600, False)):
        client = app.test_client()
        client.get("/in/ada")
        go_idle(app, clock, client, seconds=7200)
        client.post("/save", data={"text": TEXT})
        clock.advance(seconds)
        client.get("/in/ada")
        assert bool(client.get("/kept").json) is is_there


def test_a_later_form_takes_the_place_of_the_one_before(app: Flask, clock: FakeClock) -> None:
    client = late_post(app, clock)
    client.post("/some", data={"text": "later"})
    client.get("/in/ada")
    assert client.get("/kept").json["fields"]["text"] == ["later"]


def test_a_form_of_a_user_who_is_to_log_in_anew_is_kept_in_the_session_they_have(app: Flask, clock: FakeClock) -> None:
    client = app.test_client()
    client.get("/in/ada")
    clock.advance(30)
    assert client.post("/fresh", data={"text": TEXT}).status_code == 303
    assert client.get("/kept").json["fields"] == {"text": [TEXT]}
    client.get("/in/ada")
    assert client.get("/kept").json["fields"] == {"text": [TEXT]}


@pytest.mark.parametrize("multipart", [False, True])
def test_text_of_all_kinds_comes_back(app: Flask, clock: FakeClock, multipart: bool) -> None:
    data = {"a": "ä名前🪑\r\n\x00", "": "no name", "ünï": ["", "x"]}
    kind = {"content_type": "multipart/form-data"} if multipart else {}
    client = late_post(app, clock, data=data, **kind)
    client.get("/in/ada")
    assert client.get("/kept").json["fields"] == {"a": [data["a"]], "": ["no name"], "ünï": ["", "x"]}


# Nobody else's.


def test_another_user_never_sees_it_and_it_is_gone_when_they_log_in(app: Flask, clock: FakeClock) -> None:
    client = late_post(app, clock)
    assert client.get("/in/eve").text == "False"
    assert client.get("/kept").json == {} and client.get("/login").text == "None False"
    assert client.get("/in/ada").text == "False"


def test_another_user_who_logged_in_past_the_functions_here_does_not_see_it(app: Flask, clock: FakeClock) -> None:
    app.add_url_rule("/past/<user>", "past", lambda user: session._log_in(user) or "in")  # type: ignore[attr-defined]
    client = late_post(app, clock)
    client.get("/past/eve")
    assert client.get("/kept").json == {} and client.get("/login").text == "None False"


def test_it_is_gone_when_somebody_else_logs_in_and_nobody_asked_for_it(app: Flask, clock: FakeClock) -> None:
    app.add_url_rule("/just-in/<user>", "just-in", lambda user: log_in(user) or "in")
    client = late_post(app, clock)
    client.get("/just-in/eve")
    assert client.get("/login").text == "None False"


def test_after_a_log_out_it_is_gone(app: Flask, clock: FakeClock) -> None:
    client = late_post(app, clock)
    client.get("/in/ada")
    client.get("/out")
    assert client.get("/in/ada").text == "False"


def test_in_another_browser_it_is_not(app: Flask, clock: FakeClock) -> None:
    late_post(app, clock)
    assert app.test_client().get("/in/ada").text == "False"


def test_it_opens_in_its_own_session_alone(clock: FakeClock) -> None:
    app = make_app(clock, IDLESESSION_ANONYMOUS_IDLE_TIMEOUT=3000)
    clients = [late_post(app, clock) for _ in range(3)]
    store, key = app.extensions["idlesession"].manager.store, "__idlesession_kept_form"
    records = {client: store.load(sid_of(app, client), now=clock()) for client in clients}
    for client, other in zip(clients[:2], clients[1::-1], strict=True):
        change = Change(holder=records[client].secret_digest, delta={key: records[other].values[key]})
        assert store.commit(records[client].info.sid, change, now=clock()) is Outcome.DONE
    assert [client.get("/in/ada").text for client in clients] == ["False", "False", "True"]


def test_no_store_holds_it_as_plain_text(tmp_path: Path, clock: FakeClock) -> None:
    with closing(SQLiteStore(tmp_path / "sessions.db")) as store:
        app = make_app(clock, store=store)
        client = late_post(app, clock)
        assert client.get("/in/ada").text == "True"
        held = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"kept_form" in held and TEXT.encode() not in held


def test_a_change_of_the_secret_key_loses_no_form(app: Flask, clock: FakeClock) -> None:
    client = late_post(app, clock)
    old = app.config["SECRET_KEY"]
    app.config.update(SECRET_KEY="the-next-key-of-these-tests-of-forms", SECRET_KEY_FALLBACKS=[old])
    assert client.get("/in/ada").text == "True"


# What is kept, and what is not.


def test_passwords_and_files_are_not_kept(app: Flask, clock: FakeClock) -> None:
    data = {"text": TEXT, "password": "p", "csrf_token": "t", "file": (io.BytesIO(b"in the file"), "file.txt")}
    client = late_post(app, clock, data=data)
    client.get("/in/ada")
    assert client.get("/kept").json["fields"] == {"text": [TEXT]}


SECRET_NAMES = """
    password passwd Passphrase newPassword pwd db_pwd client_secret csrf_token access-token card cardNumber credit_card
    cvv CVC otp otp_code smsOtp totp pin userPin PIN[0] tan pan ssn g-recaptcha-captcha pass
"""
OTHER_NAMES = "text footprint spinner title company span opinion pinned expander passengers"


@pytest.mark.parametrize("name", SECRET_NAMES.split())
def test_names_that_say_secret_are_secret(name: str) -> None:
    assert _is_secret(name)


@pytest.mark.parametrize("name", OTHER_NAMES.split())
def test_names_that_do_not_are_not(name: str) -> None:
    assert not _is_secret(name)


def test_a_view_can_name_what_is_never_kept(app: Flask, clock: FakeClock) -> None:
    client = late_post(app, clock, "/some", data={"text": TEXT, "diagnosis": "secret"})
    client.get("/in/ada")
    assert client.get("/kept").json["fields"] == {"text": [TEXT]}
    client = late_post(app, clock, "/never")
    assert client.get("/in/ada").text == "False"


@pytest.mark.parametrize(
    "how",
    [
        {"data": None, "json": {"text": TEXT}},
        {"data": TEXT, "content_type": "text/plain"},
        {"data": {"text": "x" * 10_001}},
        {"data": {}},
        {"data": {"password": "p"}},
        {"headers": {"Sec-Fetch-Site": "cross-site"}},
        {"headers": {"Origin": "https://elsewhere.example"}},
        {"data": {f"f{number}": "" for number in range(1500)}, "content_type": "multipart/form-data"},
    ],
)
def test_what_is_no_form_or_too_large_or_from_elsewhere_is_not_kept(app: Flask, clock: FakeClock, how: Any) -> None:
    app.config["MAX_FORM_PARTS"] = 1000
    client = late_post(app, clock, **how)
    assert client.get("/login").text == "idle False" and client.get("/in/ada").text == "False"


def test_too_many_parts_are_no_error(clock: FakeClock) -> None:
    app = make_app(clock, IDLESESSION_KEEP_FORMS=1_000_000)
    app.config["MAX_FORM_PARTS"] = 1000
    data = {f"f{number}": "" for number in range(1500)}
    client = late_post(app, clock, data=data, content_type="multipart/form-data")
    assert client.get("/in/ada").text == "False"


@pytest.mark.parametrize("method", ["get", "put", "delete"])
def test_only_a_post_is_kept(app: Flask, clock: FakeClock, method: str) -> None:
    app.add_url_rule("/any", "any", login_required(lambda: "any"), methods=["GET", "PUT", "DELETE"])
    client = app.test_client()
    client.get("/in/ada")
    clock.advance(IDLE)
    getattr(client, method)("/any", data={"text": TEXT})
    assert client.get("/in/ada").text == "False"


def test_a_form_of_nobody_is_not_kept_and_starts_no_session(app: Flask, clock: FakeClock) -> None:
    client = app.test_client()
    answer = client.post("/save", data={"text": TEXT})
    assert answer.status_code == 303 and "Set-Cookie" not in answer.headers


def test_a_cookie_of_a_session_that_never_was_keeps_nothing(app: Flask, clock: FakeClock) -> None:
    client = late_post(app, clock)
    client.get("/in/ada")
    clock.advance(7200)
    app.extensions["idlesession"].manager.prune()
    clock.advance(7200)
    answer = client.post("/save", data={"text": TEXT})
    assert answer.status_code == 303 and "Set-Cookie" not in answer.headers


def test_without_the_setting_nothing_is_kept(clock: FakeClock) -> None:
    app = make_app(clock, IDLESESSION_KEEP_FORMS=0)
    client = app.test_client()
    client.get("/in/ada")
    clock.advance(IDLE)
    assert "Set-Cookie" not in client.post("/save", data={"text": TEXT}).headers
    assert client.get("/in/ada").text == "False"


def test_a_session_that_was_revoked_keeps_its_form_for_its_user_too(app: Flask, clock: FakeClock) -> None:
    client = app.test_client()
    client.get("/in/ada")
    with app.app_context():
        revoke_user("ada")
    clock.advance(1)
    client.post("/save", data={"text": TEXT})
    assert client.get("/login").text == "revoked True"
    assert client.get("/in/ada").text == "True"
    assert re.match("None", client.get("/login").text)


def test_without_the_package_the_message_says_what_to_install() -> None:
    code = """
import sys
sys.modules["cryptography"] = None
from flask import Flask
from flask_idlesession import ConfigError, IdleSession
app = Flask(__name__)
app.config.update(SECRET_KEY="k" * 32, TESTING=True, IDLESESSION_KEEP_FORMS=1000)
try:
    IdleSession(app)
except ConfigError as error:
    print(error)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout
    assert "pip install 'flask_idlesession[encryption]'" in told


# On purpose.


@pytest.mark.parametrize("room", [0, 10_000])
def test_a_form_can_be_remembered_for_the_next_page(clock: FakeClock, room: int) -> None:
    client = make_app(clock, IDLESESSION_KEEP_FORMS=room).test_client()
    data = {"text": TEXT, "password": "p", "excluded": "x"}
    assert client.post("/remember?a=1", data=data).text == "True"
    assert client.get("/remembered").json == {"path": "/remember?a=1", "fields": {"text": [TEXT]}}
    assert client.get("/all").json == {}
    client.get("/forget")
    assert client.get("/remembered").json == {}


def test_what_is_remembered_lasts_for_an_hour(clock: FakeClock) -> None:
    client = make_app(clock, IDLESESSION_IDLE_TIMEOUT=7200).test_client()
    client.post("/remember", data={"text": TEXT})
    clock.advance(3599.9)
    assert client.get("/remembered").json
    clock.advance(0.1)
    assert client.get("/remembered").json == {}


@pytest.mark.parametrize("data", [{"text": "x" * 100_000}, {}, {"password": "p"}])
def test_what_is_too_much_or_nothing_is_not_remembered(app: Flask, data: Any) -> None:
    client = app.test_client()
    answer = client.post("/remember", data=data)
    assert answer.text == "False" and "Set-Cookie" not in answer.headers


def test_what_one_user_had_remembered_another_does_not_see(app: Flask) -> None:
    client = app.test_client()
    client.get("/in/ada")
    client.post("/remember", data={"text": TEXT})
    client.get("/in/eve")
    assert client.get("/remembered").json == {}


def test_the_pattern_of_the_documentation_works(app: Flask, clock: FakeClock) -> None:
    @app.post("/login2")
    def enter() -> Any:
        log_in(request.form["user"])
        form = kept_form()
        return redirect("/" if form is None else form.path, 303)

    client = late_post(app, clock)
    assert client.post("/login2", data={"user": "ada"}).location == "/save"


@pytest.mark.parametrize(
    ("value", "is_kept"),
    [
        ("4111 1111 1111 1111", False),
        ("4111-1111-1111-1111", False),
        ("5555555555554444", False),
        ("378282246310005", False),
        ("6304 0000 0000 0000", False),
        ("4111 1111 1111 1112", True),  # Its check digit is another one.
        ("0049 89 1234 5678 9", True),
        ("1234567890", True),
        ("4111 1111 1111 1111 and more", True),
        ("٤١١١١١١١١١١١١١١١", True),
    ],
)
def test_the_number_of_a_payment_card_is_not_kept_whatever_its_field_is_called(
    app: Flask, clock: FakeClock, value: str, is_kept: bool
) -> None:
    client = late_post(app, clock, data={"text": TEXT, "reference": value})
    client.get("/in/ada")
    assert ("reference" in client.get("/kept").json["fields"]) is is_kept


def test_fields_that_the_page_names_as_secret_are_not_kept_and_neither_are_their_names(
    app: Flask, clock: FakeClock
) -> None:
    data = {"text": TEXT, "phrase": "hush", "my words": "hush", "idlesession:secret": "phrase\r\nmy words"}
    client = late_post(app, clock, data=data)
    client.get("/in/ada")
    assert client.get("/kept").json["fields"] == {"text": [TEXT]}
