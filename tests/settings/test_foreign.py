"""Settings of other packages, and names that are nearly ours, are told with the right name and without their value."""

from typing import Any

import pytest
from flask import Flask

from flask_idlesession import IdleSession
from flask_idlesession.settings.foreign import foreign_settings
from flask_idlesession.settings.foreign import THEIRS
from flask_idlesession.settings.keys import KEYS


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("IDLE_SESSION_STORE", "IDLESESSION_STORE"),
        ("IDLESESION_STORE", "IDLESESSION_STORE"),
        ("IDLESESSIONS_STORE", "IDLESESSION_STORE"),
        ("IDELSESSION_LIFETIME", "IDLESESSION_LIFETIME"),
        ("IDLESSESSION_IDLE_TIMEOUT", "IDLESESSION_IDLE_TIMEOUT"),
        ("IDLSESSION_IDLE_TIMEOUT", "IDLESESSION_IDLE_TIMEOUT"),
        ("idlesession_idle_timeout", "IDLESESSION_IDLE_TIMEOUT"),
        ("IdleSession_Lifetime", "IDLESESSION_LIFETIME"),
        ("IDLESESSION-STORE", "IDLESESSION_STORE"),
        ("IDLESESSION.STORE", "IDLESESSION_STORE"),
        ("FLASK_IDLESESSION_STORE", "IDLESESSION_STORE"),
        ("IDLE_SESSION_TIMEOUT", "IDLESESSION_IDLE_TIMEOUT"),
        ("IDLE_SESSIONS_ENCRYPTION_KEY", "IDLESESSION_ENCRYPTION_KEYS"),
        ("SESSION_IDLE_TIMEOUT", "IDLESESSION_IDLE_TIMEOUT"),
        ("SESSION_TIMEOUT", "IDLESESSION_IDLE_TIMEOUT"),
        ("SESSION_TYPE", "IDLESESSION_STORE"),
        ("SESSION_REDIS", "IDLESESSION_STORE"),
    ],
)
def test_a_name_that_says_nothing_is_told_with_the_one_that_does(written: str, meant: str) -> None:
    ((key, what),) = foreign_settings([written], known=KEYS)
    assert key == written and meant in what


@pytest.mark.parametrize(
    "name",
    ["SESSION_COOKIE_NAME", "SESSION_REFRESH_EACH_REQUEST", "SESSION_PROTECTION", "PERMANENT_SESSION_LIFETIME"]
    + ["IDLE_TIMEOUT", "MY_IDLESESSION_X", "SESSION", "IDLE", "DATABASE_SESSION_STORE", "IDENTITY_SESSION_STORE"]
    + ["SQLALCHEMY_SESSION_OPTIONS", "SECRET_KEY", "idle", "LIFESESSION", "IDLESESSION", "", "_", *KEYS],
)
def test_a_name_of_somebody_else_is_not_told(name: str) -> None:
    assert list(foreign_settings([name], known=KEYS)) == []


def test_what_is_recommended_is_there() -> None:
    for what in THEIRS.values():
        words = [word.strip(".,;()\"'") for word in what.split()]
        assert all(word in KEYS for word in words if word.startswith("IDLESESSION_")), what


@pytest.mark.parametrize(
    "config",
    [
        {"SESSION_TYPE": "redis", "SESSION_REDIS": "redis://:hunter2@localhost"},
        {"SESSION_KEY_PREFIX": "hunter2"},
        {"IDLE_SESSION_ENCRYPTION_KEYS": "hunter2"},
        {"IDLESESION_CLAIMS_KEY": "hunter2"},
        {"idlesession_store": "redis://:hunter2@localhost"},
    ],
)
def test_it_is_told_once_by_its_name_and_never_by_its_value(
    config: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    app = Flask(__name__)
    app.config.update(SECRET_KEY="9f3c2a7be10d44f8a6c5d2e1b7a890ff", **config)
    IdleSession(app)
    for _ in range(2):
        app.test_client().get("/")
    told = [line for line in caplog.messages if "says nothing to flask_idlesession" in line]
    assert len(told) == len(config)
    assert all(any(key in line for line in told) for key in config)
    assert "hunter2" not in caplog.text
