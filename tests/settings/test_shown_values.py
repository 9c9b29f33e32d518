"""No message shows a value that may be a secret: neither at the start, nor in the log, nor in an answer."""

import logging
import traceback
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask
from flask import session

from flask_idlesession import IdleSession

KEY = "9f3c2a7be10d44f8a6c5d2e1b7a890ff"

SECRETS: dict[str, list[Any]] = {
    "SECRET_KEY": [["hunter2"], {"key": "hunter2"}, ("hunter2",)],
    "SECRET_KEY_FALLBACKS": ["hunter2", {"hunter2"}, {"a": "hunter2"}, [["hunter2"]], [b"x", {"k": "hunter2"}]],
    "IDLESESSION_STORE": [
        "redis://:hunter2@h:x/0",
        "redis://:hunter2",
        "redis:/:hunter2@h",
        "postgres://u:hunter2@h/db",
        "postgresql://u:hunter2@h:port/db",
        "postgresql+nodriver://u:hunter2@h/db",
        "mysql+nodriver://h/db?password=hunter2",
        "redis://h/0?password=hunter2&bogus=1",
        "nosuch://u:hunter2@h/db",
        "u:hunter2@h",
        b"redis://:hunter2@h",
        ["redis://:hunter2@h"],
        {"host": "h", "password": "hunter2"},
        ("h", "hunter2"),
        urlsplit("redis://:hunter2@h"),
    ],
    "IDLESESSION_ENCRYPTION_KEYS": [
        "hunter2",
        ["hunter2"],
        {"hunter2"},
        {"k": "hunter2"},
        [["hunter2"]],
        (b"hunter2",),
    ],
    "IDLESESSION_CLAIMS_KEY": ["hunter2", b"hunter2", {"k": "hunter2"}, ["hunter2"], "-----BEGIN x-----hunter2"],
    "IDLESESSION_METRICS_TOKEN": [
        "hunter2 hunter2",
        "hünter2",
        ["hunter2"],
        {"k": "hunter2"},
        b"hunter2 ",
        ("hunter2",),
    ],
    "IDLESESSION_CLAIM_KEY": ["hunter2", {"k": "hunter2"}],
    "IDLESESSION_STORE_URL": ["redis://:hunter2@h"],
    "IDLE_SESSION_STORE": ["redis://:hunter2@h"],
    "SESSION_REDIS": ["redis://:hunter2@h"],
    "SESSION_SQLALCHEMY": ["postgresql://u:hunter2@h/db"],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in SECRETS.items() for value in values])
@pytest.mark.parametrize("when", ["before", "after"])
def test_no_message_shows_it(key: str, value: Any, when: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    app = Flask("shop")
    app.config.update(SECRET_KEY=KEY, PROPAGATE_EXCEPTIONS=True)
    settings = {key: value, **({"IDLESESSION_CLAIMS": "c"} if key == "IDLESESSION_CLAIMS_KEY" else {})}
    said = ""
    try:
        if when == "before":
            app.config.update(settings)
        IdleSession(app)
        app.config.update(settings)
        app.add_url_rule("/", "root", lambda: str(session.get("a")))
        said = app.test_client().get("/").text
    except Exception as error:
        said = "".join(traceback.format_exception_only(error))
    assert "hunter2" not in said + caplog.text
