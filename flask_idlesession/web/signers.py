"""Keeps the signer of an application's tokens in step with its secret keys, and says which of them are weak."""

from collections.abc import Callable
from collections.abc import Sequence
from typing import cast

from flask import Flask
from flask.sessions import SecureCookieSessionInterface

from ..model.errors import ConfigError
from ..model.messages import Notices
from ..settings.secret_keys import ADVICE
from ..settings.secret_keys import fault_in
from ..settings.secret_keys import weaknesses_of
from .tokens import Tokens


class Signers:
    """The signer for the present keys of one application, which may be set after the extension, or changed.

    ``notices`` returns where it is said that a key is weak. ``namespace`` keeps its tokens apart from those of other
    applications with the same keys.
    """

    def __init__(self, notices: Callable[[], Notices], *, namespace: Callable[[], str]) -> None:
        self._notices = notices
        self._namespace = namespace
        #: The signer for the keys that were last seen.
        self.tokens = Tokens([])

    def tokens_of(self, app: Flask) -> Tokens:
        """Return the signer for the application's present keys."""
        keys = (app.secret_key,)
        fallbacks = app.config.get("SECRET_KEY_FALLBACKS")
        if fallbacks:
            keys = (*fallbacks, *keys)
        if keys != self.tokens.keys:
            fault = fault_in(app.secret_key, fallbacks)
            if fault is not None:
                raise ConfigError(fault)
            self.tokens = Tokens(cast(tuple[str | bytes, ...], keys), namespace=self._namespace())
            if not (app.debug or app.testing):
                self._warn(app, weaknesses_of(self.tokens.keys))
        return self.tokens

    def has_signed(self, app: Flask, value: str) -> bool:
        """Return whether a cookie's value is a token of this application, or was set by it when its sessions were
        Flask's own.
        """
        if self.tokens.read(value) is not None:
            return True
        try:
            signer = SecureCookieSessionInterface().get_signing_serializer(app)
            return signer is not None and any(each.validate(value) for each in signer.iter_unsigners())
        except ValueError:  # There is no SHA-1 on this machine (FIPS), and so there was no such cookie.
            return False

    def _warn(self, app: Flask, weaknesses: Sequence[str | None]) -> None:
        """Say which keys others can guess. Sessions are safe from them: each token has a secret of its own."""
        for place, weakness in enumerate(reversed(weaknesses)):
            if weakness is not None:
                self._notices().warn(
                    ("weak key", place, weakness),
                    "%s of the application %r %s, so others can guess it. No session is open to them, but everything "
                    "else that is signed with the key is, such as a link that resets a password. %s [ISW001]",
                    "A key in SECRET_KEY_FALLBACKS" if place else "SECRET_KEY",
                    app.name,
                    weakness,
                    ADVICE,
                )
