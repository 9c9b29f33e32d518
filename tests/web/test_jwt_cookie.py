"""The JWT beside the session: what it says, how long, when it is renewed, and that it ends with its session."""

import base64
import json
import logging
import subprocess
import sys
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.asymmetric import rsa
from flask import Flask
from flask import make_response
from flask import session

from flask_idlesession import ConfigError
from flask_idlesession import IdleSession
from flask_idlesession import log_in
from flask_idlesession import log_out
from flask_idlesession import MemoryStore
from flask_idlesession import passive
from flask_idlesession import reauthenticate
from flask_idlesession import revoke_user
from flask_idlesession import SessionInfo
from flask_idlesession import StoreError
from flask_idlesession.testing import FakeClock

KEY = "of-the-tests-of-claims-0123456789abcdef"
IDLE, LIFETIME, CLAIMS = 600, 3600, 100


def make_app(clock: FakeClock, *, claims: Any = None, store: Any = None, **config: Any) -> Flask:
    app = Flask(__name__)
    app.config.update({"TESTING": True, "SECRET_KEY": "the-secret-key-of-these-tests-of-claims"})
    app.config.update(IDLESESSION_IDLE_TIMEOUT=IDLE, IDLESESSION_LIFETIME=LIFETIME, IDLESESSION_CLAIMS="claims")
    app.config.update({"IDLESESSION_CLAIMS_KEY": KEY, "IDLESESSION_CLAIMS_LIFETIME": CLAIMS, **config})
    IdleSession(app, clock=clock, claims=claims, store=store)

    def public() -> Any:
        answer = make_response("public")
        answer.cache_control.public = True
        return answer

    views: dict[str, Any] = {
        "/in/<user>": lambda user: log_in(user) or "in",
        "/short": lambda: log_in("ada", idle_timeout=30) or "in",
        "/anew": lambda: reauthenticate() or "anew",
        "/out": lambda: log_out() or "out",
        "/out-and-on": lambda: log_out() or session.__setitem__("flash", "bye") or "out",
        "/quiet-out": passive(lambda: log_out() or "out"),
        "/put/<value>": lambda value: session.__setitem__("v", value) or "put",
        "/": lambda: "plain",
        "/poll": passive(lambda: str(session.get("v"))),
        "/public": public,
    }
    for path, view in views.items():
        app.add_url_rule(path, path, view)
    return app


def set_cookies(answer: Any) -> list[str]:
    return [line for line in answer.headers.getlist("Set-Cookie") if line.startswith("claims=")]


def told(answer: Any, key: Any = KEY, algorithm: str = "HS256") -> dict[str, Any] | None:
    """Return what the JWT in an answer says; None if there is none."""
    lines = set_cookies(answer)
    assert len(lines) <= 1
    token = lines[0].partition(";")[0].partition("=")[2] if lines else ""
    if not token:
        return None
    return jwt.decode(token, key, algorithms=[algorithm], options={"verify_exp": False, "verify_iat": False})


def is_deleted(answer: Any) -> bool:
    return any("claims=;" in line and "Max-Age=0" in line for line in set_cookies(answer))


# What it says.


def test_a_log_in_brings_a_jwt_that_another_service_can_verify(app: Flask, clock: FakeClock) -> None:
    answer = app.test_client().get("/in/ada")
    (info,) = app.extensions["idlesession"].manager.find()
    now = int(clock())
    assert told(answer) == {"sub": "ada", "sid": str(info.sid), "iat": now, "exp": now + CLAIMS, "auth_time": now}
    assert "Cookie" in answer.vary


def test_nobody_gets_one_who_is_not_logged_in(app: Flask) -> None:
    client = app.test_client()
    assert not set_cookies(client.get("/put/x")) and not set_cookies(client.get("/"))


def test_the_application_adds_what_it_knows(clock: FakeClock) -> None:
    asked: list[SessionInfo] = []

    def more(info: SessionInfo) -> dict[str, Any]:
        asked.append(info)
        return {"roles": ["admin"], "aud": "edge", "sub": "root", "exp": 9e9}

    client = make_app(clock, claims=more).test_client()
    token = set_cookies(client.get("/in/ada"))[0].partition(";")[0].partition("=")[2]
    claims = jwt.decode(token, KEY, algorithms=["HS256"], audience="edge", options={"verify_exp": False})
    assert claims["roles"] == ["admin"] and claims["sub"] == "ada" and claims["exp"] == int(clock()) + CLAIMS
    client.get("/")
    assert [info.user_id for info in asked] == ["ada"]


def test_if_the_application_cannot_tell_there_is_no_jwt_and_the_request_goes_on(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    client = make_app(clock, claims=lambda info: {}["roles"]).test_client()
    with caplog.at_level(logging.ERROR):
        answer = client.get("/in/ada")
    assert answer.text == "in" and not set_cookies(answer)
    assert "gets no JWT" in caplog.text and "KeyError" in caplog.text


def test_no_token_or_secret_is_in_it(app: Flask) -> None:
    client = app.test_client()
    answer = client.get("/in/ada")
    token = client.get_cookie("session").value
    payload = json.dumps(told(answer))
    assert token not in set_cookies(answer)[0]
    assert base64.urlsafe_b64decode(token[:64])[16:].hex() not in payload and token[22:60] not in payload


@pytest.mark.parametrize("secure", [False, True])
def test_the_cookie_is_like_the_sessions_and_always_http_only(clock: FakeClock, secure: bool) -> None:
    config = {"SESSION_COOKIE_SECURE": secure, "SESSION_COOKIE_HTTPONLY": False, "SESSION_COOKIE_SAMESITE": "Strict"}
    answer = make_app(clock, **config).test_client().get("/in/ada")
    (line,) = set_cookies(answer)
    assert "HttpOnly" in line and "SameSite=Strict" in line and ("Secure" in line) is secure and "Path=/" in line
    assert f"Max-Age={CLAIMS}" in line and "Expires=Tue, 14 Nov 2023 22:15:00 GMT" in line


# How long, and how often.


def test_it_is_renewed_when_half_of_its_life_is_gone(app: Flask, clock: FakeClock) -> None:
    client = app.test_client()
    client.get("/in/ada")
    clock.advance(CLAIMS / 2 - 1)
    assert not set_cookies(client.get("/"))
    clock.advance(1)
    claims = told(client.get("/"))
    assert claims is not None and claims["iat"] == int(clock()) and claims["exp"] == int(clock()) + CLAIMS
    assert not set_cookies(client.get("/"))


def test_a_lifetime_with_a_fraction_is_not_renewed_each_time(clock: FakeClock) -> None:
    clock.advance(0.7)
    client = make_app(clock, IDLESESSION_CLAIMS_LIFETIME=99.5).test_client()
    client.get("/in/ada")
    assert not set_cookies(client.get("/"))


def test_it_never_outlives_the_lifetime_of_the_session(app: Flask, clock: FakeClock) -> None:
    client = app.test_client()
    client.get("/in/ada")
    ends_at = clock() + LIFETIME
    while clock() < ends_at - 10:
        clock.advance(9)
        claims = told(client.get("/"))
        assert claims is None or claims["exp"] <= ends_at
    assert told(client.get("/")) is not None or clock() < ends_at
    clock.advance(10)
    assert not set_cookies(client.get("/"))


def test_it_never_outlives_an_idle_session(app: Flask, clock: FakeClock) -> None:
    client = app.test_client()
    claims = told(client.get("/short"))
    assert claims is not None and claims["exp"] == int(clock()) + 30


def test_it_is_made_anew_where_the_session_is_to_end_sooner(app: Flask, clock: FakeClock) -> None:
    client = app.test_client()
    client.get("/in/ada")
    claims = told(client.get("/short"))
    assert claims is not None and claims["exp"] == int(clock()) + 30


def test_a_touch_that_is_written_late_does_not_make_it_live_longer(clock: FakeClock) -> None:
    config = {"IDLESESSION_TOUCH_INTERVAL": 30, "IDLESESSION_IDLE_TIMEOUT": 60, "IDLESESSION_CLAIMS_LIFETIME": 500}
    claims = told(make_app(clock, **config).test_client().get("/in/ada"))
    assert claims is not None and claims["exp"] == int(clock()) + 60


def test_a_passive_request_renews_nothing(app: Flask, clock: FakeClock) -> None:
    client = app.test_client()
    client.get("/in/ada")
    clock.advance(CLAIMS)
    client.delete_cookie("claims")
    assert not set_cookies(client.get("/poll"))
    assert not set_cookies(client.get("/", headers={"X-IdleSession-Passive": "1"}))
    assert told(client.get("/")) is not None


def test_a_session_that_ended_gets_none(app: Flask, clock: FakeClock) -> None:
    client = app.test_client()
    client.get("/in/ada")
    clock.advance(IDLE)
    assert not set_cookies(client.get("/"))
    assert is_deleted(client.get("/put/x"))


def test_a_request_whose_session_ends_meanwhile_gets_none(app: Flask, clock: FakeClock) -> None:
    app.add_url_rule("/cut", "cut", lambda: session.get("v") or revoke_user("ada") and "cut")
    client = app.test_client()
    client.get("/in/ada")
    clock.advance(CLAIMS)
    assert not set_cookies(client.get("/cut"))


def test_what_caches_may_give_to_others_carries_none(app: Flask, clock: FakeClock) -> None:
    client = app.test_client()
    client.get("/in/ada")
    clock.advance(CLAIMS)
    assert not set_cookies(client.get("/public"))
    assert told(client.get("/")) is not None


def test_a_new_log_in_is_told_at_once(app: Flask, clock: FakeClock) -> None:
    client = app.test_client()
    client.get("/in/ada")
    clock.advance(1)
    for path, user in (("/anew", "ada"), ("/in/eve", "eve")):
        claims = told(client.get(path))
        assert claims is not None and claims["sub"] == user and claims["auth_time"] == int(clock())
        clock.advance(1)


@pytest.mark.parametrize("path", ["/out", "/out-and-on", "/quiet-out"])
def test_a_log_out_takes_it_away(app: Flask, path: str) -> None:
    client = app.test_client()
    client.get("/in/ada")
    answer = client.get(path)
    assert is_deleted(answer) and client.get_cookie("claims") is None


def test_whoever_has_none_is_not_told_to_delete_it(app: Flask) -> None:
    assert not set_cookies(app.test_client().get("/put/x"))


@pytest.mark.parametrize(
    "forge",
    [
        lambda token, claims: "x",
        lambda token, claims: "",
        lambda token, claims: token.split(".")[0],
        lambda token, claims: token.split(".")[0] + ".!!!.x",
        lambda token, claims: token.split(".")[0] + ".W10.x",
        lambda token, claims: token.split(".")[0] + ".MQ.x",
        lambda token, claims: jwt.encode({**claims, "sub": "eve"}, KEY),
        lambda token, claims: jwt.encode({**claims, "exp": claims["exp"] + 9999}, "y" * 32),
        lambda token, claims: jwt.encode({**claims, "exp": None}, KEY),
        lambda token, claims: "\ud83e" if False else "ä.ö.ü",
    ],
)
def test_whatever_else_is_in_the_cookie_is_replaced(app: Flask, forge: Any) -> None:
    client = app.test_client()
    claims = told(client.get("/in/ada"))
    client.set_cookie("claims", forge(client.get_cookie("claims").value, claims))
    assert told(client.get("/")) == claims


def test_one_of_another_session_is_replaced(app: Flask) -> None:
    one, two = app.test_client(), app.test_client()
    one.get("/in/ada")
    claims = told(two.get("/in/ada"))
    two.set_cookie("claims", one.get_cookie("claims").value)
    assert told(two.get("/")) == claims


def test_a_client_that_uses_the_token_header_gets_no_cookie(clock: FakeClock) -> None:
    app = make_app(clock, IDLESESSION_TOKEN_HEADER="X-Session")
    answer = app.test_client().get("/in/ada", headers={"X-Session": ""})
    assert answer.headers["X-IdleSession-Token"] and "Set-Cookie" not in answer.headers


class SwitchedStore(MemoryStore):
    is_off = False

    def create(self, record: Any) -> None:
        if self.is_off:
            raise StoreError("nobody answers")
        super().create(record)

    def load(self, sid: Any, *, now: float, touch: Any = None) -> Any:
        if self.is_off:
            raise StoreError("nobody answers")
        return super().load(sid, now=now, touch=touch)


def test_a_log_in_that_was_not_stored_brings_none(clock: FakeClock) -> None:
    store = SwitchedStore()
    client = make_app(clock, store=store).test_client()
    store.is_off = True
    answer = client.get("/in/ada")
    assert answer.status_code == 503 and "Set-Cookie" not in answer.headers


def test_a_log_in_that_was_not_stored_in_a_session_that_is_there_brings_none(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore()
    client = make_app(clock, store=store).test_client()
    client.get("/put/x")

    def fail(*args: Any, **how: Any) -> Any:
        raise StoreError("nobody answers")

    monkeypatch.setattr(store, "commit", fail)
    answer = client.get("/in/ada")
    assert answer.status_code == 503 and not set_cookies(answer)


def test_a_log_out_that_was_not_stored_takes_it_away_all_the_same(clock: FakeClock) -> None:
    store = SwitchedStore()
    client = make_app(clock, store=store).test_client()
    client.get("/in/ada")
    store.is_off = True
    answer = client.get("/out")
    assert answer.status_code == 503 and is_deleted(answer)


def test_without_the_setting_there_is_none(clock: FakeClock) -> None:
    client = make_app(clock, IDLESESSION_CLAIMS=None).test_client()
    assert len(client.get("/in/ada").headers.getlist("Set-Cookie")) == 1
    assert not set_cookies(client.get("/out"))


# Keys.


def pem(key: Any, password: bytes | None = None) -> str:
    protection = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection).decode()


KEYS = {
    "RS256": rsa.generate_private_key(65537, 2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}


@pytest.mark.parametrize("algorithm", KEYS)
@pytest.mark.parametrize("as_bytes", [False, True])
def test_a_private_key_signs_and_the_public_one_verifies(clock: FakeClock, algorithm: str, as_bytes: bool) -> None:
    key = KEYS[algorithm]
    text = pem(key)
    client = make_app(clock, IDLESESSION_CLAIMS_KEY=text.encode() if as_bytes else text).test_client()
    answer = client.get("/in/ada")
    claims = told(answer, key.public_key(), algorithm)
    assert claims is not None and claims["sub"] == "ada"
    assert not set_cookies(client.get("/"))
    token = client.get_cookie("claims").value
    assert jwt.get_unverified_header(token).keys() == {"alg", "typ", "kid"}


def test_a_new_key_is_used_at_once(clock: FakeClock) -> None:
    store = MemoryStore()
    client = make_app(clock, store=store).test_client()
    client.get("/in/ada")
    other = make_app(clock, store=store, IDLESESSION_CLAIMS_KEY="n" * 32)
    again = other.test_client()
    for name in ("session", "claims"):
        again.set_cookie(name, client.get_cookie(name).value)
    assert told(again.get("/"), "n" * 32) is not None


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"IDLESESSION_CLAIMS_KEY": None}, "IDLESESSION_CLAIMS_KEY is of type NoneType"),
        ({"IDLESESSION_CLAIMS_KEY": "k" * 31}, "has 31 bytes"),
        ({"IDLESESSION_CLAIMS_KEY": 12345}, "of type int"),
        ({"IDLESESSION_CLAIMS_KEY": "the-secret-key-of-these-tests-of-claims"}, "is the SECRET_KEY"),
        ({"IDLESESSION_CLAIMS_KEY": "-----BEGIN NOTHING-----\nx\n-----END NOTHING-----"}, "no private key"),
        ({"IDLESESSION_CLAIMS_KEY": pem(KEYS["ES256"], b"password")}, "with a password"),
        ({"IDLESESSION_CLAIMS_KEY": pem(rsa.generate_private_key(65537, 1024))}, "RSA of 2048 bits or more"),
        ({"IDLESESSION_CLAIMS_KEY": pem(ec.generate_private_key(ec.SECP256K1()))}, "NIST curve"),
        ({"IDLESESSION_CLAIMS_KEY": pem(dsa.generate_private_key(2048))}, "no JWT should be signed with"),
        ({"IDLESESSION_CLAIMS": "session"}, "IDLESESSION_CLAIMS is 'session'"),
        ({"IDLESESSION_CLAIMS": "two words"}, "the name of a cookie"),
        ({"IDLESESSION_CLAIMS": "a;b"}, "the name of a cookie"),
        ({"IDLESESSION_CLAIMS": "__Host-claims"}, "SESSION_COOKIE_SECURE"),
        ({"IDLESESSION_CLAIMS_LIFETIME": 0}, "IDLESESSION_CLAIMS_LIFETIME"),
    ],
)
def test_what_is_wrong_is_said(clock: FakeClock, config: Any, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint) as caught:
        make_app(clock, **config).test_client().get("/")
    assert "kkkk" not in str(caught.value) and "PRIVATE" not in str(caught.value)


def test_a_public_key_is_no_key(clock: FakeClock) -> None:
    public = (
        KEYS["ES256"]
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    with pytest.raises(ConfigError, match="holds no private key"):
        make_app(clock, IDLESESSION_CLAIMS_KEY=public).test_client().get("/")


def test_without_the_package_the_message_says_what_to_install() -> None:
    code = """
import sys
sys.modules["jwt"] = None
from flask import Flask
from flask_idlesession import ConfigError, IdleSession
app = Flask(__name__)
app.config.update(SECRET_KEY="s" * 32, TESTING=True, IDLESESSION_CLAIMS="c", IDLESESSION_CLAIMS_KEY="k" * 32)
try:
    IdleSession(app)
except ConfigError as error:
    print(error)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "pip install 'flask_idlesession[jwt]'" in ran.stdout
