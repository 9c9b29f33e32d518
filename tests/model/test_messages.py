"""Messages: a notice is given once, and no URL in one has a password in it."""

import pytest

from flask_idlesession.model.messages import Notices
from flask_idlesession.model.messages import without_secrets


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("memory://", "memory://"),
        ("sqlite:///sessions.db", "sqlite:///sessions.db"),
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://ada@localhost", "redis://***@localhost"),
        ("redis://ada:hunter2@localhost/0", "redis://ada:***@localhost/0"),
        ("redis://:hunter2@localhost", "redis://:***@localhost"),
        ("redis://ada:hun:ter2@localhost", "redis://ada:***@localhost"),
        ("redis://ada:hun@ter2@localhost", "redis://ada:***@localhost"),
        ("redis://ada:hun/ter2@localhost", "redis://ada:***@localhost"),
        ("redis:/:hunter2@localhost", "redis:/:***@localhost"),
        ("redis:hunter2@localhost", "redis:***@localhost"),
        ("ada:hunter2@localhost", "ada:***@localhost"),
        ("unix://:hunter2@/run/redis.sock?db=1", "unix://:***@/run/redis.sock?db=1"),
        ("postgresql+psycopg://h/db?password=hunter2", "postgresql+psycopg://h/db?password=***"),
        ("postgresql://h/db?user=ada&PASSWORD=hunter2&x=1", "postgresql://h/db?user=ada&PASSWORD=***&x=1"),
        ("redis+sentinel://h/x?sentinel_password=hunter2", "redis+sentinel://h/x?sentinel_password=***"),
        ("mysql://h/db?ssl_key=hunter2&auth_token=hunter2", "mysql://h/db?ssl_key=***&auth_token=***"),
        ("redis://:hunter2", "redis://:***"),
        ("redis://:hunter2/0", "redis://:***/0"),
        ("redis:/ada:hunter2", "redis:/ada:***"),
        ("postgresql://ada:hunter2/db?x=1", "postgresql://ada:***/db?x=1"),
        ("redis://[::1]:6379/0", "redis://[::1]:6379/0"),
        ("redis+sentinel://h:26379,i:26380/x", "redis+sentinel://h:26379,i:26380/x"),
        ("sqlite:////tmp/a:b/sessions.db", "sqlite:////tmp/a:b/sessions.db"),
        ("", ""),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert without_secrets(url) == shown
    assert "hunter2" not in without_secrets(url)


def test_a_notice_about_the_same_is_given_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    notices = Notices()
    for _ in range(3):
        notices.warn("a", "%s is wrong", "a")
        notices.warn("b", "b is wrong")
        notices.inform("c", "c is so")
    Notices().warn("a", "a is wrong in another application")
    assert caplog.messages == ["a is wrong", "b is wrong", "c is so", "a is wrong in another application"]


def test_what_is_remembered_as_given_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    notices = Notices()
    for number in range(1001):
        notices.warn(number, "%d", number)
    notices.warn(0, "the first")
    notices.warn(1000, "the last")
    assert caplog.messages[-1] == "the last" and "the first" not in caplog.messages
