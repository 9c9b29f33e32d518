"""Derives a CSRF token from a session's secret, and remembers those that were right before the secret changed."""

import hashlib
import hmac
from base64 import urlsafe_b64encode

from ..model.codec import Codec
from ..model.errors import DecodeError
from .locking import RESERVED

#: Where a session that gave out a token keeps the digests of the former ones.
FORMER = RESERVED + "csrf"

#: The number of former tokens that are still accepted: a form may stay open over as many rotations.
_KEPT = 5


def token_of(secret: bytes) -> str:
    """Return the token that belongs to a secret, of which it tells nothing."""
    return urlsafe_b64encode(hmac.digest(secret, b"csrf", "sha256")).rstrip(b"=").decode()


def is_right(token: str, secret: bytes, former: bytes | None, codec: Codec) -> bool:
    """Return, in constant time, whether the token belongs to the secret, or to a former one."""
    given = _digest(token)
    known = [_digest(token_of(secret)), *_digests(former, codec)]
    return True in [hmac.compare_digest(given, digest) for digest in known]  # All are compared, whichever is right.


def no_former(codec: Codec) -> bytes:
    """Return what is kept while there is no former token."""
    return codec.encode(())


def with_former(former: bytes | None, secret: bytes, codec: Codec) -> bytes:
    """Return what is to be kept once the secret has been replaced: its token is right still."""
    return codec.encode((*_digests(former, codec), _digest(token_of(secret)))[-_KEPT:])


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="replace")).digest()


def _digests(former: bytes | None, codec: Codec) -> tuple[bytes, ...]:
    try:
        return () if former is None else tuple(codec.decode(former))
    except DecodeError:
        return ()
