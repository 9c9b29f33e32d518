"""Makes session ids and secrets: the one module that asks the operating system for randomness."""

import hashlib
import secrets
from uuid import UUID
from uuid import uuid4

#: Names a session from creation to end. It may be logged, listed and revoked by; it opens nothing.
SessionId = UUID

SECRET_BYTES = 32


def new_session_id() -> SessionId:
    """Return a fresh random (version 4) UUID."""
    return uuid4()


def check_session_id(sid: object) -> None:
    """Raise TypeError for what is no session id. It is not shown, for it may be a token."""
    if not isinstance(sid, SessionId):
        kind = type(sid).__name__
        raise TypeError(f"A session id is a uuid.UUID, not a {kind}; make one of a text with uuid.UUID(text). [ISE054]")


def is_of_many(sid: SessionId) -> bool:
    """Return whether the id was made from a name (a UUID of version 5, RFC 9562), and names no session."""
    return sid.int >> 76 & 0xF == 5


def new_secret() -> bytes:
    """Return 256 bits from the operating system (OWASP ASVS 5.0, 7.2.3 asks for 128)."""
    return secrets.token_bytes(SECRET_BYTES)


def digest(secret: bytes) -> bytes:
    """Return the SHA-256 of a secret: all of it that a store may keep (ASVS 5.0, 11.4.1).

    A fast hash is enough because the secret is not a password: nobody guesses 256 random bits.
    """
    return hashlib.sha256(secret).digest()


class Credential:
    """The right to one session that a request shows: the session's id, and the secret.

    ``holder`` is the digest of the secret, which a store compares with the one it keeps. The secret
    itself is shown by nothing here but :attr:`secret`: a log or a traceback that prints a credential prints
    the session id alone.
    """

    __slots__ = ("sid", "secret", "holder")

    def __init__(self, sid: SessionId, secret: bytes) -> None:
        self.sid = sid
        self.secret = secret
        self.holder = digest(secret)

    @classmethod
    def new(cls) -> "Credential":
        """Return a credential to a session that does not exist yet."""
        return cls(new_session_id(), new_secret())

    def rotated(self) -> "Credential":
        """Return a credential to the same session with a new secret."""
        return Credential(self.sid, new_secret())

    def __repr__(self) -> str:
        return f"<Credential to {self.sid}>"
