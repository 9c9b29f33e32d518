"""Settings of the cookie with which browsers would keep none are refused, and nothing is stored for such a cookie."""

from typing import Any

import pytest
from flask import Flask
from flask import session

from flask_idlesession import ConfigError
from flask_idlesession import IdleSession
from flask_idlesession.settings.cookie import check_cookie

WRONG: list[dict[str, Any]] = [
    {"SESSION_COOKIE_NAME": name}
    for name in ("", "a;b", "a b", "a=b", "ünï", "a\nb", "a,b", 'a"b', "ses/sion", None, 5)
]
WRONG += [{"SESSION_COOKIE_SAMESITE": value} for value in ("bogus", "", "Lax; Secure", True, False, 5)]
WRONG += [{"SESSION_COOKIE_PATH": path} for path in ("app", "/a;b", "/a\nb", "./", "/a b", "\\", "/x?y", 5)]
WRONG += [{"APPLICATION_ROOT": "app"}, {"SESSION_COOKIE_PATH": "", "APPLICATION_ROOT": "app"}]
WRONG += [
    {"SESSION_COOKIE_DOMAIN": domain}
    for domain in ("exa mple", "a;b", "http://example.com", "example.com:5000", "a..b", "example.com/", "-a.b", ".", 5)
]
WRONG += [{key: "False"} for key in ("SESSION_COOKIE_SECURE", "SESSION_COOKIE_HTTPONLY", "SESSION_COOKIE_PARTITIONED")]
WRONG += [{"SESSION_REFRESH_EACH_REQUEST": "0"}]

RIGHT: list[dict[str, Any]] = [
    {"SESSION_COOKIE_NAME": "my-session_1.x"},
    {"SESSION_COOKIE_NAME": "__Host-id", "SESSION_COOKIE_SECURE": True},
    {"SESSION_COOKIE_SAMESITE": None},
    {"SESSION_COOKIE_SAMESITE": "lax"},
    {"SESSION_COOKIE_SAMESITE": "STRICT"},
    {"SESSION_COOKIE_SAMESITE": "none", "SESSION_COOKIE_SECURE": True},
    {"SESSION_COOKIE_SAMESITE": "none", "SESSION_COOKIE_PARTITIONED": True},
    {"SESSION_COOKIE_PATH": None},
    {"SESSION_COOKIE_PATH": "/shop/größe"},
    {"SESSION_COOKIE_PATH": "/", "APPLICATION_ROOT": "/app"},
    {"SESSION_COOKIE_DOMAIN": None},
    {"SESSION_COOKIE_DOMAIN": False},
    {"SESSION_COOKIE_DOMAIN": ".example.com"},
    {"SESSION_COOKIE_DOMAIN": "a-b.example.co.uk"},
    {"SESSION_COOKIE_DOMAIN": "127.0.0.1"},
    {"SESSION_COOKIE_DOMAIN": "localhost"},
    {"SESSION_COOKIE_DOMAIN": "bücher.example"},
    {"SESSION_COOKIE_SECURE": None, "SESSION_COOKIE_HTTPONLY": 1},
]


def make_app() -> Flask:
    app = Flask(__name__)
    app.config.update(SECRET_KEY="9f3c2a7be10d44f8a6c5d2e1b7a890ff", TESTING=True)

    @app.post("/set")
    def put() -> str:
        session["a"] = 1
        return "set"

    @app.get("/get")
    def get() -> str:
        return str(session.get("a"))

    return app


@pytest.mark.parametrize("config", WRONG, ids=str)
def test_a_wrong_setting_is_refused_at_the_start_by_key_value_and_what_to_write(config: dict[str, Any]) -> None:
    app = make_app()
    app.config.update(config)
    with pytest.raises(ConfigError) as raised:
        IdleSession(app)
    key = [*config][-1]
    message = str(raised.value)
    assert key in message and repr(config[key]) in message and "it must be " in message


@pytest.mark.parametrize(
    "config", [config for config in WRONG if "SESSION_REFRESH_EACH_REQUEST" not in config], ids=str
)
def test_nothing_is_stored_for_a_cookie_whose_settings_went_wrong_later(config: dict[str, Any]) -> None:
    app = make_app()
    IdleSession(app)
    app.test_client().post("/set")
    app.config.update(config)
    with pytest.raises(ConfigError):
        app.test_client().post("/set")
    assert len(list(app.extensions["idlesession"].manager.find())) == 1


@pytest.mark.parametrize("config", RIGHT, ids=str)
def test_a_right_setting_is_taken(config: dict[str, Any]) -> None:
    app = make_app()
    app.config.update(config)
    check_cookie(app.config)
    IdleSession(app)
    assert app.test_client().post("/set").headers["Set-Cookie"]


@pytest.mark.parametrize("value", ["None", "none", "NONE"])
def test_a_cookie_for_all_sites_must_be_secure_however_it_is_spelt(value: str) -> None:
    with pytest.raises(ConfigError, match="only with SESSION_COOKIE_SECURE = True"):
        check_cookie({"SESSION_COOKIE_SAMESITE": value})
