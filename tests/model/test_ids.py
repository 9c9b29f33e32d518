"""Session ids, secrets, and claims that keep their secret to themselves."""

import hashlib
import logging
import pickle
import traceback
from uuid import UUID

import pytest

from flask_idlesession.model import ids
from flask_idlesession.model.ids import Credential
from flask_idlesession.model.ids import digest
from flask_idlesession.model.ids import new_secret
from flask_idlesession.model.ids import new_session_id


def test_session_ids_are_random_uuids_of_version_4() -> None:
    made = {new_session_id() for _ in range(1000)}
    assert len(made) == 1000
    assert all(type(sid) is UUID and sid.version == 4 for sid in made)


def test_secrets_are_32_bytes_and_never_the_same() -> None:
    made = {new_secret() for _ in range(1000)}
    assert len(made) == 1000 and {len(secret) for secret in made} == {32}


def test_secrets_come_from_the_operating_system(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def token_bytes(length: int) -> bytes:
        asked.append(length)
        return b"x" * length

    monkeypatch.setattr(ids.secrets, "token_bytes", token_bytes)
    assert Credential.new().secret == b"x" * 32 == new_secret()
    assert asked == [32, 32]


def test_a_digest_is_the_sha_256_of_the_secret() -> None:
    secret = new_secret()
    assert digest(secret) == hashlib.sha256(secret).digest()


def test_a_new_claim_is_to_a_new_session() -> None:
    one, other = Credential.new(), Credential.new()
    assert one.sid != other.sid and one.secret != other.secret
    assert one.holder == digest(one.secret)


def test_a_rotated_claim_has_another_secret_and_the_same_id() -> None:
    credential = Credential.new()
    rotated = credential.rotated()
    assert rotated.sid == credential.sid
    assert rotated.secret != credential.secret and rotated.holder == digest(rotated.secret) != credential.holder


def test_no_text_of_a_claim_shows_its_secret(caplog: pytest.LogCaptureFixture) -> None:
    credential = Credential(UUID(int=1), b"open sesame" + b"!" * 21)
    logging.getLogger("test").warning("%s %r %s", credential, credential, [credential])
    try:
        raise ValueError(credential)
    except ValueError:
        shown = traceback.format_exc()
    for text in (repr(credential), str(credential), f"{credential}", caplog.text, shown):
        assert str(credential.sid) in text
        assert "sesame" not in text and credential.secret.hex() not in text and credential.holder.hex() not in text


def test_a_claim_has_no_other_attributes() -> None:
    credential = Credential.new()
    with pytest.raises(AttributeError):
        credential.token = "abc"  # type: ignore[attr-defined]
    assert not hasattr(credential, "__dict__")
    assert pickle.loads(pickle.dumps(credential.sid)) == credential.sid
