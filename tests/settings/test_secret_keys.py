"""Which secret keys are weak: those that others know, those made of words, those that are short; and no random one."""

import base64
import random
import uuid
from typing import Any

import pytest
from flask import Flask

from flask_idlesession import ConfigError
from flask_idlesession import IdleSession
from flask_idlesession.settings.secret_keys import require_strong_keys
from flask_idlesession.settings.secret_keys import weaknesses_of

KNOWN = [
    "dev",
    "secret",
    "1234567890123456",
    "you-will-never-guess",
    "hard to guess string",
    "CHANGE_ME_TO_A_COMPLEX_RANDOM_SECRET",
    "change_me_please_now",
    "ChangeMeInProduction",
    "thisISaSECRET_1234",
    "YOUR_OWN_RANDOM_GENERATED_SECRET_KEY",
    "\2\1thisismyscretkey\1\2\\e\\y\\y\\h",
    "this-really-needs-to-be-changed",
    "s3cr3t-k3y-s3cr3t",
    "SuperSecretKey123",
    "super_secret_development_key!!",
    "192b9bdd22ab9ed4d12e236c78afcb9a393ec15f71bbf5dc987d54727823bcbf",
    b'_5#y2L"F4Q8z\n\xec]/',
    b"my precious secret key",
    "abcdefghijklmnopqrstuvwxyz",
    "0123456789abcdef",
    "secretsecretsecret",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "",
]


@pytest.mark.parametrize("key", KNOWN, ids=repr)
def test_a_known_key_is_weak(key: str | bytes) -> None:
    (weakness,) = weaknesses_of([key])
    assert weakness is not None


def test_random_keys_are_strong() -> None:
    chance = random.Random(7)
    for _ in range(2000):
        data = chance.randbytes(24)
        keys = [data, data.hex(), base64.b64encode(data), base64.urlsafe_b64encode(data).decode()]
        keys += [str(uuid.UUID(bytes=data[:16])), data[:16], data[:12].hex()]
        assert weaknesses_of(keys) == [None] * len(keys), keys


@pytest.mark.parametrize("key", ["correct horse battery staple", "my-app-83hd72jdw9s0", "trustno1-but-Zebra-7Q!x"])
def test_a_key_with_something_unknown_in_it_is_strong(key: str) -> None:
    assert weaknesses_of([key]) == [None]


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"SECRET_KEY": 12345678}, "SECRET_KEY is of the type int; it must be a text or bytes."),
        ({"SECRET_KEY": ["9f3c2a7be10d44f8"]}, "SECRET_KEY is of the type list; it must be a text or bytes."),
        ({"SECRET_KEY_FALLBACKS": "9f3c2a7be10d44f8"}, "SECRET_KEY_FALLBACKS is of the type str; it must be a list"),
        ({"SECRET_KEY_FALLBACKS": [None]}, "SECRET_KEY_FALLBACKS has something of the type NoneType in it"),
    ],
)
@pytest.mark.parametrize("when", ["before the first request", "after it"])
def test_keys_of_a_wrong_kind_are_refused_and_not_shown(config: dict[str, Any], says: str, when: str) -> None:
    app = Flask("app")
    app.config.update(SECRET_KEY="of the tests of keys", TESTING=True)
    IdleSession(app)
    if when == "after it":
        app.test_client().get("/")
    app.config.update(config)
    with pytest.raises(ConfigError) as raised:
        app.test_client().get("/")
    assert str(raised.value).startswith(says) and "9f3c2a" not in str(raised.value)


def test_where_a_key_alone_protects_something_a_weak_one_is_refused_and_not_shown() -> None:
    require_strong_keys(weaknesses_of(["9f3c2a7be10d44f8a6c5d2e1b7a890ff"]), for_what="IDLESESSION_X")
    with pytest.raises(ConfigError, match="^IDLESESSION_X needs a secret key that nobody can guess") as raised:
        require_strong_keys(weaknesses_of(["9f3c2a7be10d44f8a6c5d2e1b7a890ff", "hunter22"]), for_what="IDLESESSION_X")
    assert "hunter22" not in str(raised.value)
