"""What a token is, that nobody else can make one, and that none of it is shown."""

import hashlib
import re
from base64 import urlsafe_b64decode
from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from itsdangerous import Signer
from itsdangerous import TimestampSigner

from flask_idlesession.model.ids import Credential
from flask_idlesession.model.ids import digest
from flask_idlesession.web.tokens import Tokens

KEYS = ["the key of these tests"]
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@pytest.fixture
def credential() -> Credential:
    return Credential.new()


@pytest.fixture
def token(credential: Credential) -> str:
    return Tokens(KEYS).issue(credential)


def test_a_token_claims_what_was_put_in(credential: Credential, token: str) -> None:
    read = Tokens(KEYS).read(token)
    assert read is not None
    assert (read.sid, read.secret, read.holder) == (credential.sid, credential.secret, digest(credential.secret))


def test_a_token_is_the_id_and_the_secret_and_a_signature_and_nothing_more(credential: Credential, token: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]{64}\.[A-Za-z0-9_-]{43}", token)
    assert urlsafe_b64decode(token[:64]) == credential.sid.bytes + credential.secret
    assert credential.sid.version == 4 and len(credential.secret) == 32


def test_a_token_holds_no_time(credential: Credential) -> None:
    assert Tokens(KEYS).issue(credential) == Tokens(KEYS).issue(credential)


def test_every_flip_of_a_bit_is_refused(token: str) -> None:
    tokens = Tokens(KEYS)
    for place in range(len(token)):
        for bit in range(8):
            bent = token[:place] + chr(ord(token[place]) ^ 1 << bit) + token[place + 1 :]
            assert tokens.read(bent) is None


def test_every_other_character_in_any_place_is_refused(token: str) -> None:
    tokens = Tokens(KEYS)
    for place in range(len(token)):
        for character in ALPHABET + "./+=\n\x00é":
            if character != token[place]:
                assert tokens.read(token[:place] + character + token[place + 1 :]) is None


@pytest.mark.parametrize("length", [0, 1, 63, 64, 65, 107])
def test_a_truncated_token_is_refused(token: str, length: int) -> None:
    assert Tokens(KEYS).read(token[:length]) is None


@pytest.mark.parametrize("around", ["{}\n", "\n{}", " {}", "{} ", "{}=", '"{}"', "{}{}", "{}.", ".{}", "{}\x00"])
def test_anything_around_a_token_is_refused(token: str, around: str) -> None:
    assert Tokens(KEYS).read(around.format(token, token)) is None


def test_only_the_same_key_salt_digest_and_derivation_sign_a_token(credential: Credential) -> None:
    payload = urlsafe_b64encode(credential.sid.bytes + credential.secret)
    ours = {"salt": "idlesession", "key_derivation": "hmac", "digest_method": hashlib.sha256}
    assert Tokens(KEYS).read(Signer(KEYS[0], **ours).sign(payload).decode()) is not None  # type: ignore[arg-type]
    others = [
        Signer("another key", **ours),  # type: ignore[arg-type]
        Signer(KEYS[0], **{**ours, "salt": "cookie-session"}),  # type: ignore[arg-type]
        Signer(KEYS[0], **{**ours, "key_derivation": "django-concat"}),  # type: ignore[arg-type]
        Signer(KEYS[0], **{**ours, "digest_method": hashlib.sha1}),  # type: ignore[arg-type]
        Signer(KEYS[0], **{**ours, "digest_method": hashlib.sha512}),  # type: ignore[arg-type]
        TimestampSigner(KEYS[0], **ours),  # type: ignore[arg-type]
    ]
    for signer in others:
        assert Tokens(KEYS).read(signer.sign(payload).decode()) is None


def test_two_halves_of_two_tokens_are_no_token(credential: Credential) -> None:
    tokens = Tokens(KEYS)
    one, other = tokens.issue(credential), tokens.issue(credential.rotated())
    assert tokens.read(one.partition(".")[0] + "." + other.partition(".")[2]) is None


def test_every_key_is_accepted_and_only_the_last_is_current(credential: Credential) -> None:
    tokens = Tokens(["oldest", b"older", "current"])
    for key, current in (("oldest", False), ("older", False), ("current", True)):
        token = Tokens([key]).issue(credential)
        assert tokens.read(token) is not None
        assert tokens.is_current(token) is current
    assert tokens.issue(credential) == Tokens(["current"]).issue(credential)
    assert tokens.read(Tokens(["removed"]).issue(credential)) is None


def test_without_keys_nothing_is_read(token: str) -> None:
    assert Tokens([]).read(token) is None


@given(st.text() | st.text(ALPHABET + ".", min_size=100, max_size=110) | st.from_regex(r"[\w-]{64}\.[\w-]{43}"))
def test_no_text_that_was_not_signed_is_a_token(text: str) -> None:
    assert Tokens(KEYS).read(text) is None


@given(st.binary(max_size=80))
def test_nothing_of_another_length_is_a_token_even_when_it_is_signed(payload: bytes) -> None:
    signer = Signer(KEYS[0], salt="idlesession", key_derivation="hmac", digest_method=hashlib.sha256)
    credential = Tokens(KEYS).read(signer.sign(urlsafe_b64encode(payload)).decode())
    assert (credential is not None) is (len(payload) == 48)


@given(st.uuids(version=4), st.binary(min_size=32, max_size=32))
def test_every_claim_survives_its_token(sid: object, secret: bytes) -> None:
    credential = Credential(sid, secret)  # type: ignore[arg-type]
    tokens = Tokens(KEYS)
    read = tokens.read(tokens.issue(credential))
    assert read is not None and (read.sid, read.secret) == (sid, secret)


def test_the_tokens_kept_ready_are_bounded_and_only_genuine_ones_are_kept() -> None:
    tokens = Tokens(KEYS)
    for _ in range(5000):
        assert tokens.read(tokens.issue(Credential.new())) is not None
        assert len(tokens._ready) <= 4096
    before = dict(tokens._ready)
    for _ in range(100):
        tokens.read(Tokens(["another"]).issue(Credential.new()))
    assert tokens._ready == before


def test_a_token_that_is_kept_ready_does_not_outlive_its_key(credential: Credential, token: str) -> None:
    tokens = Tokens(KEYS)
    assert tokens.read(token) is tokens.read(token)
    assert Tokens(["a new key"]).read(token) is None


def test_no_representation_shows_a_secret(credential: Credential, token: str) -> None:
    tokens = Tokens(KEYS)
    tokens.read(token)
    for shown in (repr(credential), str(credential), f"{credential}", repr([credential]), repr(tokens), str(tokens)):
        assert credential.secret.hex() not in shown
        assert repr(credential.secret)[2:-1] not in shown
        assert token[22:64] not in shown
        assert KEYS[0] not in shown
    assert str(credential.sid) in repr(credential)


def test_a_claim_gives_no_secret_away_by_its_attributes(credential: Credential) -> None:
    assert not hasattr(credential, "__dict__")
    with pytest.raises(TypeError):
        vars(credential)
