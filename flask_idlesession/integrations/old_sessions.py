"""Reads the live sessions of Flask-Session: whose cookie is genuine, and what was in the record that it names."""

import re
from collections.abc import Callable
from collections.abc import Iterator

from flask import Flask
from itsdangerous import BadSignature
from itsdangerous import Signer

from ..model.messages import Notices
from ..settings.keys import Settings
from .adoption import OldSession
from .old_stores import now_in_utc
from .old_stores import OldStore
from .old_stores import open_old_store
from .old_values import Pickled
from .old_values import Unreadable

#: The prefix of its keys where no setting names one.
PREFIX = "session:"

#: An id: base64url of random bytes, or the text of a UUID; and the signature behind it.
_PLAIN = re.compile(r"[A-Za-z0-9_-]{8,255}", re.ASCII)
_SIGNED = re.compile(r"[A-Za-z0-9_-]{8,255}\.[A-Za-z0-9_-]{20,128}", re.ASCII)


class FlaskSessions:
    """The sessions that Flask-Session kept for one application, as its settings say.

    ``app`` returns the application.
    """

    def __init__(self, app: Callable[[], Flask], settings: Settings, *, notices: Notices) -> None:
        config = app().config
        self._app = app
        self._notices = notices
        self._pickle_until = settings.adopt_pickle_until
        self._is_signed = bool(config.get("SESSION_USE_SIGNER"))
        self._prefix = str(config.get("SESSION_KEY_PREFIX", PREFIX))
        self.store: OldStore = open_old_store(app(), config)

    def is_spelled(self, value: str) -> bool:
        """Return whether a cookie's value may be an id of Flask-Session's, as far as its spelling tells."""
        return (_SIGNED if self._is_signed else _PLAIN).fullmatch(value) is not None

    def proof(self, value: str) -> bytes | None:
        """Return the id in a cookie; None if it is to be signed, and no key of the application has signed it."""
        if not self._is_signed:
            return value.encode()
        app = self._app()
        keys = [*(app.config.get("SECRET_KEY_FALLBACKS") or ()), app.secret_key]
        try:
            return bytes(Signer(keys, salt="flask-session", key_derivation="hmac").unsign(value))
        except (BadSignature, ValueError):  # A ValueError: there is no SHA-1 on this machine (FIPS).
            return None

    def read(self, value: str, *, now: float) -> OldSession | None:
        """Return the session that a genuine cookie names, if its record is live."""
        proof = self.proof(value)
        return None if proof is None else self.find(proof, now=now)

    def find(self, proof: bytes, *, now: float) -> OldSession | None:
        """Return the session of this id, if its record is live."""
        is_allowed = self._pickle_until is not None and now_in_utc(now).date() <= self._pickle_until
        try:
            record = self.store.load(self._prefix + proof.decode(), now=now)
            if record is None:
                return None
            data = record.read(is_allowed)
        except Pickled:
            self._notices.warn(
                "pickled",
                "Sessions of Flask-Session are pickled, and are not taken over. Set IDLESESSION_ADOPT_PICKLE_UNTIL to "
                'a date, such as "2027-01-31", to have plain values read from pickles until then. [ISW021]',
            )
            return None
        except Unreadable as error:
            self._notices.warn(
                ("unreadable", str(error)), "A session of Flask-Session was not taken over: %s. [ISW024]", error
            )
            return None
        lives_until = now if record.expires_at is None else record.expires_at
        return OldSession(proof=proof, data=data, state=record.state, issued_at=None, lives_until=lives_until)

    def proofs(self) -> Iterator[bytes]:
        """Yield the ids of the records, where the place can list them."""
        for key in self.store.keys(self._prefix):
            yield key.removeprefix(self._prefix).encode()

    def discard(self, proof: bytes) -> None:
        """Delete the record of this id."""
        self.store.delete(self._prefix + proof.decode())
