"""What the config may say, and what each complaint names: the key, the value, and the mend."""

import math
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from flask_idlesession import IdleSession
from flask_idlesession.model.errors import ConfigError
from flask_idlesession.settings.keys import KEYS
from flask_idlesession.settings.keys import read_settings

DURATIONS = ["IDLESESSION_IDLE_TIMEOUT", "IDLESESSION_LIFETIME", "IDLESESSION_CLEANUP_INTERVAL"]
BOUNDS = ["IDLESESSION_MAX_SESSIONS", "IDLESESSION_MAX_BYTES", "IDLESESSION_MAX_SESSION_BYTES"]


def complaint(config: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        read_settings(config)
    return str(caught.value)


def test_an_empty_config_has_the_defaults_of_the_table() -> None:
    settings = read_settings({})
    assert settings.policy.idle_timeout == KEYS["IDLESESSION_IDLE_TIMEOUT"][0] == 1800
    assert settings.policy.lifetime == KEYS["IDLESESSION_LIFETIME"][0] == 86400
    assert settings.activity == "all"
    assert settings.cleanup_interval == 1.0
    assert settings.policy.permanent_lifetime == 31 * 86400
    assert settings.policy.refresh_each_request is True
    assert settings == read_settings({key: default for key, (default, _) in KEYS.items()})


def test_the_config_of_a_new_app_is_right() -> None:
    assert read_settings(Flask("app").config) == read_settings({})


@pytest.mark.parametrize("value", [90, 90.0, timedelta(seconds=90)])
def test_a_duration_is_an_int_a_float_or_a_timedelta(value: Any) -> None:
    config = {
        "IDLESESSION_IDLE_TIMEOUT": value,
        "IDLESESSION_LIFETIME": value,
        "PERMANENT_SESSION_LIFETIME": value,
    }
    policy = read_settings(config).policy
    assert policy.idle_timeout == policy.lifetime == policy.permanent_lifetime == 90.0


@pytest.mark.parametrize("key", [*DURATIONS, "PERMANENT_SESSION_LIFETIME", "IDLESESSION_ROTATION_INTERVAL"])
@pytest.mark.parametrize(
    "value", [0, 0.0, -5, -0.1, math.nan, math.inf, -math.inf, timedelta(), timedelta(days=-1), 10**400], ids=repr
)
def test_a_duration_that_is_not_above_0_and_finite_is_refused(key: str, value: Any) -> None:
    assert complaint({key: value}) == f"{key} is {value!r}; it must be seconds above 0, and finite. [ISE020]"


@pytest.mark.parametrize("key", [*DURATIONS, "PERMANENT_SESSION_LIFETIME", "IDLESESSION_ROTATION_INTERVAL"])
@pytest.mark.parametrize("value", ["1800", "", b"5", True, False, [5], {}, object], ids=repr)
def test_a_duration_of_another_type_is_refused(key: str, value: Any) -> None:
    message = complaint({key: value})
    assert message.startswith(f"{key} is {value!r}; it must be seconds above 0, as a number or a timedelta, ")


@pytest.mark.parametrize("key", [*DURATIONS, "PERMANENT_SESSION_LIFETIME"])
def test_no_duration_can_be_left_out_by_none(key: str) -> None:
    assert complaint({key: None}).startswith(f"{key} is None; it must be seconds above 0")


def test_an_idle_timeout_that_is_longer_than_the_lifetime_is_refused() -> None:
    message = complaint({"IDLESESSION_IDLE_TIMEOUT": timedelta(hours=2), "IDLESESSION_LIFETIME": 3600})
    assert message == (
        f"IDLESESSION_IDLE_TIMEOUT is {timedelta(hours=2)!r}, which is longer than IDLESESSION_LIFETIME (3600) and "
        "would never be reached; shorten it, or raise the lifetime. [ISE021]"
    )
    assert "IDLESESSION_LIFETIME (86400)" in complaint({"IDLESESSION_IDLE_TIMEOUT": 86401})


def test_an_idle_timeout_that_equals_the_lifetime_is_taken() -> None:
    policy = read_settings({"IDLESESSION_IDLE_TIMEOUT": 60, "IDLESESSION_LIFETIME": 60}).policy
    assert policy.idle_timeout == policy.lifetime == 60


def test_a_short_lifetime_shortens_the_default_idle_timeout() -> None:
    assert read_settings({"IDLESESSION_LIFETIME": 60}).policy.idle_timeout == 60


@pytest.mark.parametrize("key", ["IDLESESSION_LIFETIME", "IDLESESSION_REMEMBER_LIFETIME"])
def test_a_lifetime_that_no_browser_keeps_is_refused(key: str) -> None:
    limit = timedelta(days=400)
    read_settings({key: limit})
    too_long = limit + timedelta(seconds=1)
    message = complaint({key: too_long})
    assert message.startswith(f"{key} is {too_long!r}, but browsers keep no cookie for longer than 400 days")
    assert message.endswith("it must be 34560000 seconds at most. [ISE021]")


def test_a_cleanup_interval_above_a_second_is_refused() -> None:
    assert read_settings({"IDLESESSION_CLEANUP_INTERVAL": 0.05}).cleanup_interval == 0.05
    message = complaint({"IDLESESSION_CLEANUP_INTERVAL": 1.5})
    assert message == "IDLESESSION_CLEANUP_INTERVAL is 1.5; it must be 1 second at most. [ISE021]"


@pytest.mark.parametrize("key", BOUNDS)
def test_a_bound_is_a_whole_number_above_0_or_none(key: str) -> None:
    name = key.removeprefix("IDLESESSION_").lower()
    for value in (1, 10**12, None):
        settings = read_settings({key: value})
        assert getattr(settings if hasattr(settings, name) else settings.policy, name) == value
    for value in (0, -1, 1.0, math.inf, "100", True, [1]):
        message = f"{key} is {value!r}; it must be a whole number above 0, or None for no bound. [ISE018]"
        assert complaint({key: value}) == message


def test_activity_is_one_of_two_words_or_a_callable() -> None:
    def rule(request: Any) -> bool:
        return True

    for value in ("all", "navigation", rule):
        assert read_settings({"IDLESESSION_ACTIVITY": value}).activity is value
    for wrong in ("All", "none", None, True, 5):
        message = complaint({"IDLESESSION_ACTIVITY": wrong})
        assert message.startswith(f"IDLESESSION_ACTIVITY is {wrong!r}; it must be ")
        assert '"all", "navigation" or a callable' in message


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("IDLESESSION_IDLE_TIMOUT", "IDLESESSION_IDLE_TIMEOUT"),
        ("IDLESESSION_TIMEOUT", "IDLESESSION_IDLE_TIMEOUT"),
        ("IDLESESSION_LIFE_TIME", "IDLESESSION_LIFETIME"),
        ("IDLESESSION_CLEANUP_INTERVALL", "IDLESESSION_CLEANUP_INTERVAL"),
        ("IDLESESSION_MAX_SESSION", "IDLESESSION_MAX_SESSIONS"),
        ("IDLESESSION_activity", "IDLESESSION_ACTIVITY"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_known_one(wrong: str, right: str) -> None:
    message = complaint({wrong: "its value may be a password"})
    assert message == f"There is no setting {wrong}; did you mean {right}? [ISE017]"


def test_any_unknown_key_has_a_nearest_known_one() -> None:
    for key in ("IDLESESSION_", "IDLESESSION_\u540d", "IDLESESSION_" + "X" * 500):
        assert "did you mean IDLESESSION_" in complaint({key: None})


def test_keys_of_others_are_nobodys_business() -> None:
    assert read_settings({"SESSION_TYPE": "redis", "IDLE": 1, "MY_IDLESESSION_X": 2}) == read_settings({})


# Cookies.


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"SESSION_COOKIE_NAME": "__Host-s"}, "SESSION_COOKIE_SECURE"),
        ({"SESSION_COOKIE_NAME": "__Secure-s"}, "SESSION_COOKIE_SECURE"),
        ({"SESSION_COOKIE_NAME": "__host-s", "SESSION_COOKIE_SECURE": False}, "SESSION_COOKIE_SECURE"),
        (
            {"SESSION_COOKIE_NAME": "__Host-s", "SESSION_COOKIE_SECURE": True, "SESSION_COOKIE_PATH": "/app"},
            "SESSION_COOKIE_PATH",
        ),
        (
            {"SESSION_COOKIE_NAME": "__Host-s", "SESSION_COOKIE_SECURE": True, "APPLICATION_ROOT": "/app"},
            "SESSION_COOKIE_PATH",
        ),
        (
            {"SESSION_COOKIE_NAME": "__Host-s", "SESSION_COOKIE_SECURE": True, "SESSION_COOKIE_DOMAIN": "example.org"},
            "SESSION_COOKIE_DOMAIN",
        ),
        (
            {"SESSION_COOKIE_NAME": "__Http-s", "SESSION_COOKIE_SECURE": True, "SESSION_COOKIE_HTTPONLY": False},
            "SESSION_COOKIE_HTTPONLY",
        ),
    ],
)
def test_a_prefixed_cookie_that_browsers_would_refuse_is_refused(config: dict[str, Any], key: str) -> None:
    message = complaint(config)
    name = config["SESSION_COOKIE_NAME"]
    assert message.startswith(
        f"{key} is {config.get(key)!r}, but browsers accept a cookie named {name!r} only with {key} = "
    )
    assert "SESSION_COOKIE_NAME without the prefix" in message


@pytest.mark.parametrize(
    "config",
    [
        {"SESSION_COOKIE_NAME": "__Host-s", "SESSION_COOKIE_SECURE": True},
        {"SESSION_COOKIE_NAME": "__Host-s", "SESSION_COOKIE_SECURE": True, "SESSION_COOKIE_PATH": "/"},
        {
            "SESSION_COOKIE_NAME": "__Secure-s",
            "SESSION_COOKIE_SECURE": True,
            "SESSION_COOKIE_PATH": "/app",
            "SESSION_COOKIE_DOMAIN": "example.org",
        },
        {"SESSION_COOKIE_NAME": "host-s"},
    ],
)
def test_a_cookie_that_browsers_accept_is_taken(config: dict[str, Any]) -> None:
    read_settings(config)


def test_a_cookie_for_all_sites_must_be_secure() -> None:
    assert complaint({"SESSION_COOKIE_SAMESITE": "None"}).startswith("SESSION_COOKIE_SECURE is None, but browsers")
    read_settings({"SESSION_COOKIE_SAMESITE": "None", "SESSION_COOKIE_SECURE": True})


def test_the_prefixed_settings_of_a_whole_app_are_judged_together() -> None:
    app = Flask("app")
    app.config.update(SESSION_COOKIE_NAME="__Host-s", SESSION_COOKIE_SECURE=True)
    read_settings(app.config)
    app.config["APPLICATION_ROOT"] = "/below"
    assert complaint(dict(app.config)).startswith("SESSION_COOKIE_PATH is None, but browsers accept ")


# When they are read.


def test_config_that_is_set_after_the_extension_counts() -> None:
    app = Flask("app")
    IdleSession(app)
    app.config.update(IDLESESSION_IDLE_TIMEOUT=7, SECRET_KEY="k" * 32, TESTING=True)
    with app.test_client() as client, client.session_transaction() as session:
        assert session.idle_timeout == 7


def test_config_that_is_changed_after_the_first_use_does_not_count() -> None:
    app = Flask("app")
    IdleSession(app)
    app.config.update(SECRET_KEY="k" * 32, TESTING=True)
    settings = app.extensions["idlesession"].settings
    app.config["IDLESESSION_IDLE_TIMEOUT"] = -1
    assert app.extensions["idlesession"].settings is settings


def test_config_is_read_at_the_first_use_whatever_it_was_when_the_extension_was_set_up() -> None:
    app = Flask("app")
    app.config["IDLESESSION_IDLE_TIMEOUT"] = 7
    IdleSession(app)
    app.config["IDLESESSION_IDLE_TIMEOUT"] = 5
    assert app.extensions["idlesession"].settings.policy.idle_timeout == 5


def test_a_wrong_setting_fails_each_use_with_the_same_words() -> None:
    app = Flask("app")
    IdleSession(app)
    app.config["IDLESESSION_LIFETIME"] = "a day"
    for _ in range(2):
        with pytest.raises(ConfigError, match="^IDLESESSION_LIFETIME is 'a day'; it must be seconds above 0"):
            _ = app.extensions["idlesession"].settings


@pytest.mark.parametrize(
    ("config", "is_right"),
    [
        ({"IDLESESSION_WARN_BEFORE": 20}, True),
        ({"IDLESESSION_WARN_BEFORE": 19}, False),
        ({"IDLESESSION_WARN_BEFORE": timedelta(minutes=5)}, True),
        ({"IDLESESSION_WARN_BEFORE": 10_000}, True),  # Half of the idle timeout is what counts then.
        ({"IDLESESSION_WARN_BEFORE": 0}, False),
        ({"IDLESESSION_WARN_BEFORE": "120"}, False),
        ({"IDLESESSION_WARN_BEFORE": 19, "IDLESESSION_IDLE_TIMEOUT": 40}, False),
        ({"IDLESESSION_WARN_BEFORE": 19, "IDLESESSION_IDLE_TIMEOUT": 39}, True),
    ],
)
def test_a_warning_that_is_too_short_is_an_error(config: dict[str, Any], is_right: bool) -> None:
    if is_right:
        assert read_settings(config).warn_before > 0
    else:
        with pytest.raises(ConfigError, match="IDLESESSION_WARN_BEFORE is .*; it must be"):
            read_settings(config)
