"""Reads the sessions that Flask itself keeps in its cookie: what has signed them, when, and what is in them."""

import hashlib
import re
from collections.abc import Callable
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from flask import Flask
from flask.sessions import SecureCookieSessionInterface
from itsdangerous import BadData
from itsdangerous import URLSafeTimedSerializer

from ..model.messages import Notices
from ..settings.secret_keys import ADVICE
from ..settings.secret_keys import weaknesses_of
from .adoption import OldSession

#: Text, an instant and a signature, each base64url; the text begins with a dot where it is compressed.
_SPELLING = re.compile(r"\.?[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{4,12}\.[A-Za-z0-9_-]{20,128}", re.ASCII)

#: Browsers keep 4096 characters of a cookie, and some servers take two or three times as many.
_LONGEST = 16_384

#: Seconds that the clocks of hosts may differ by.
_SKEW = 5.0


class FlaskCookies:
    """Flask's cookie sessions of one application.

    ``former`` is the interface that made them, if the application had one of its own. A cookie is accepted for
    ``lives_for`` seconds after it was made, and never for longer than Flask itself accepts it.
    ``app`` returns the application.
    """

    def __init__(
        self,
        app: Callable[[], Flask],
        *,
        former: SecureCookieSessionInterface,
        lives_for: float,
        notices: Notices,
    ) -> None:
        self._app = app
        self._former = former
        self._lives_for = lives_for
        self._notices = notices

    def is_spelled(self, value: str) -> bool:
        """Return whether a cookie's value may be one of Flask's, as far as its spelling tells."""
        return len(value) <= _LONGEST and _SPELLING.fullmatch(value) is not None

    def proof(self, value: str) -> bytes | None:
        """Return the text of a cookie that one of the application's keys has signed; None for any other."""
        return None if self._load(value) is None else value.encode()

    def read(self, value: str, *, now: float) -> OldSession | None:
        """Return the session of a genuine cookie, if it is neither too old nor from the future."""
        loaded = self._load(value)
        if loaded is None:
            return None
        data, issued_at = loaded
        lives_until = issued_at + min(self._lives_for, self._app().permanent_session_lifetime.total_seconds())
        if not (issued_at - _SKEW <= now < lives_until) or not isinstance(data, dict):
            return None
        state = hashlib.sha256(value.encode()).digest()
        return OldSession(proof=value.encode(), data=data, state=state, issued_at=issued_at, lives_until=lives_until)

    def find(self, proof: bytes, *, now: float) -> OldSession | None:
        """Return None: all of it is in the cookie."""
        return None

    def proofs(self) -> Iterator[bytes]:
        """Yield nothing: only browsers have the cookies."""
        return iter(())

    def discard(self, proof: bytes) -> None:
        """Do nothing: all of it is in the cookie."""

    def _load(self, value: str) -> tuple[Any, float] | None:
        """Return what is in a genuine cookie, and when it was made."""
        serializer = self._serializer()
        if serializer is None:
            return None
        try:
            data, made_at = serializer.loads(value, return_timestamp=True)
        except BadData:
            return None
        except Exception:  # It is an own tag of the application that raised, for a value of an older version.
            return None
        return data, made_at.timestamp() if isinstance(made_at, datetime) else float(made_at)

    def _serializer(self) -> URLSafeTimedSerializer | None:
        """Return the serializer with the keys that nobody can guess: with any other, cookies can be forged."""
        try:
            serializer = self._former.get_signing_serializer(self._app())
        except ValueError:  # There is no SHA-1 on this machine (FIPS), and so there was no such cookie.
            return None
        if serializer is None:
            return None
        keys = serializer.secret_keys
        strong = [key for key, weakness in zip(keys, weaknesses_of(keys), strict=True) if weakness is None]
        if len(strong) < len(keys):
            self._notices.warn(
                "weak key of old cookies",
                "Cookies of Flask's own sessions that a weak secret key has signed are refused, since others can forge "
                f"them. {ADVICE} [ISE001]",
            )
        serializer.secret_keys = strong
        return serializer if strong else None
