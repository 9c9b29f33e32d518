"""Gives chosen facts of a session to proxies and other services, in a cookie of its own: the one module that knows JWT.

A JWT stays valid until it expires; unlike a session it cannot be revoked (RFC 7519).
"""

import hashlib
import hmac
import json
import logging
import re
from base64 import urlsafe_b64decode
from base64 import urlsafe_b64encode
from collections.abc import Callable
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from typing import Any

from flask import has_request_context
from flask import request
from flask import Response

from ..model.errors import ConfigError
from ..model.errors import StoreError
from ..model.labels import SUSPECT
from ..model.record import SessionInfo
from ..sessions.facts import Saved
from ..sessions.manager import SessionManager
from ..sessions.session import Session
from ..settings.checks import hidden
from ..settings.checks import Unshown
from ..settings.cookie import check_cookie
from ..settings.keys import Settings

_logger = logging.getLogger("flask_idlesession")

#: Returns what a JWT is to say besides, of a session of a user: roles, an issuer, an audience.
MoreClaims = Callable[[SessionInfo], Mapping[str, Any]]

#: Bytes that a key for HS256 must have (RFC 7518, 3.2), and bits one for RS256 (3.3).
_LEAST_BYTES, _LEAST_BITS = 32, 2048

_NAME = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"

_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}


class ClaimsCookie:
    """The cookie ``name`` with a JWT of the session, signed with ``key``, valid for ``lifetime`` seconds at most.

    ``key`` is 32 bytes or more (HS256) or a private key in PEM (RS256, ES256, EdDSA). ``more`` returns further
    claims, and is asked each time that a JWT is made.
    """

    def __init__(
        self, name: str, key: Any, *, lifetime: float, manager: SessionManager, more: MoreClaims | None = None
    ) -> None:
        self._name = name
        self._key, self._algorithm, kid = _read_key(key)
        self._headers = {"kid": kid}
        self._lifetime = lifetime
        self._manager = manager
        self._more = more
        self._jwt: Any = _import("jwt", extra="jwt")
        self._head = self._encode({}).partition(".")[0]

    def tell(
        self, session: Session, response: Response, saved: Saved, *, active: bool, attributes: Mapping[str, Any]
    ) -> None:
        """Give the browser a JWT if it needs one, and take it away when its user logged out."""
        info = session._info if session._is_loaded else None
        is_nobodys = info is None or info.user_id is None or SUSPECT in info.labels
        if saved is Saved.ENDED or (saved is Saved.ISSUED or info is not None) and is_nobodys:
            if saved is Saved.ENDED or self._shown() is not None:
                response.delete_cookie(self._name, **{**attributes, "httponly": True})
            return
        # An answer that a cache may give to others tells nothing of one user.
        if not active or saved is Saved.GONE or info is None or response.cache_control.public:
            return
        now = self._manager.now()
        if info.user_id is None or self._is_good(info, now=now) or not self._is_live(session):
            return
        self._set(info, response, now=now, attributes=attributes)

    def _is_live(self, session: Session) -> bool:
        """Whether the session lives at this moment, and has not been revoked while the view ran."""
        credential = session._facts.credential
        with suppress(StoreError):
            return credential is not None and session._persistence.reload(credential) is not None
        return False

    def _set(self, info: SessionInfo, response: Response, *, now: float, attributes: Mapping[str, Any]) -> None:
        claims = self._claims(info, now=now)
        if claims is None or claims["exp"] <= now:
            return
        response.set_cookie(
            self._name,
            self._encode(claims),
            max_age=int(claims["exp"] - now),
            expires=claims["exp"],
            **{**attributes, "httponly": True},
        )
        response.vary.add("Cookie")

    def _claims(self, info: SessionInfo, *, now: float) -> dict[str, Any] | None:
        """Return what the JWT says; None if the application could not tell its part."""
        try:
            more = {} if self._more is None else dict(self._more(info))
        except Exception:
            _logger.exception(
                "The function of further claims raised; session %s gets no JWT for now. [ISE090]", info.sid
            )
            return None
        ours = {
            "sub": info.user_id,
            "sid": str(info.sid),
            "iat": int(now),
            "exp": int(min(int(now) + self._lifetime, info.expires_at)),
        }
        if info.authenticated_at is not None:
            ours["auth_time"] = int(info.authenticated_at)
        return {**more, **ours}

    def _is_good(self, info: SessionInfo, *, now: float) -> bool:
        """Whether the browser has a JWT of this session, with more than half of its life before it.

        Its signature is not verified: a client that makes one up gets no other, and nothing else.
        """
        shown = self._shown()
        if shown is None or not shown.startswith(f"{self._head}."):
            return False
        with suppress(ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError):
            payload = shown.split(".")[1]
            claims = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
            iat, exp = claims["iat"], claims["exp"]
            is_ours: bool = claims["sid"] == str(info.sid) and claims["sub"] == info.user_id
            is_timely: bool = iat <= now < (iat + exp) / 2 and exp <= min(iat + self._lifetime, info.expires_at)
            return is_ours and is_timely and bool(claims.get("auth_time") == _whole(info.authenticated_at))
        return False

    def _shown(self) -> str | None:
        return request.cookies.get(self._name) if has_request_context() else None

    def _encode(self, claims: dict[str, Any]) -> str:
        encoded: str = self._jwt.encode(claims, self._key, algorithm=self._algorithm, headers=self._headers)
        return encoded


def open_claims(
    settings: Settings, config: Mapping[str, Any], *, manager: SessionManager, more: MoreClaims | None
) -> ClaimsCookie | None:
    """Return the cookie that the settings ask for, if they do."""
    config = Unshown(config)
    name, key = settings.claims, settings.claims_key
    if name is None:
        return None
    if name == config.get("SESSION_COOKIE_NAME", "session") or not re.fullmatch(_NAME, name):
        raise ConfigError(
            f'IDLESESSION_CLAIMS is {name!r}; it must be the name of a cookie of its own, such as "claims".'
        )
    check_cookie(Unshown({**config, "SESSION_COOKIE_NAME": name}))
    if key is not None and key == hidden(config.get("SECRET_KEY")):
        raise ConfigError(
            "IDLESESSION_CLAIMS_KEY is the SECRET_KEY, which other services must not have; it must be a key of its own."
            " [ISE028]"
        )
    return ClaimsCookie(name, key, lifetime=settings.claims_lifetime, manager=manager, more=more)


def _whole(instant: float | None) -> int | None:
    return None if instant is None else int(instant)


def _read_key(key: Any) -> tuple[Any, str, str]:
    """Return the key, the algorithm that goes with it, and a name for it that tells nothing of it."""
    data = key.encode() if isinstance(key, str) else key
    if not isinstance(data, bytes):
        raise ConfigError(
            f"IDLESESSION_CLAIMS_KEY is of type {type(key).__name__}; it must be {_LEAST_BYTES} random bytes or more, "
            "or a private key in PEM."
            " [ISE028]"
        )
    if data.lstrip().startswith(b"-----BEGIN"):
        return _read_pem(data)
    if len(data) < _LEAST_BYTES:
        raise ConfigError(
            f"IDLESESSION_CLAIMS_KEY has {len(data)} bytes; it must have {_LEAST_BYTES} or more, or be a private key "
            "in PEM. Make one with: python -c 'import secrets; print(secrets.token_urlsafe(32))'"
            " [ISE028]"
        )
    return data, "HS256", _short(hmac.digest(data, b"flask_idlesession claims", "sha256"))


def _read_pem(data: bytes) -> tuple[Any, str, str]:
    serialization = _import("cryptography.hazmat.primitives.serialization", extra="jwt")
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError) as error:  # TypeError: it needs a password.
        raise ConfigError(
            "IDLESESSION_CLAIMS_KEY is a PEM that holds no private key, or one with a password; it must be a private "
            "key without one."
            " [ISE028]"
        ) from error
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return key, _algorithm_of(key), _short(hashlib.sha256(public).digest())


def _algorithm_of(key: Any) -> str:
    kinds = {kind: _import(f"cryptography.hazmat.primitives.asymmetric.{kind}", extra="jwt") for kind in ("rsa", "ec")}
    if isinstance(key, kinds["rsa"].RSAPrivateKey) and key.key_size >= _LEAST_BITS:
        return "RS256"
    if isinstance(key, kinds["ec"].EllipticCurvePrivateKey) and key.curve.name in _CURVES:
        return _CURVES[key.curve.name]
    if type(key).__name__.startswith("Ed"):
        return "EdDSA"
    raise ConfigError(
        f"IDLESESSION_CLAIMS_KEY is a private key that no JWT should be signed with ({type(key).__name__}); it must be "
        f"RSA of {_LEAST_BITS} bits or more, a NIST curve (P-256, P-384, P-521) or Ed25519."
        " [ISE028]"
    )


def _short(digest: bytes) -> str:
    return urlsafe_b64encode(digest[:9]).decode()


def _import(name: str, *, extra: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"IDLESESSION_CLAIMS needs the package {error.name!r}; install it with: "
            f"python -m pip install 'flask_idlesession[{extra}]'"
            " [ISE023]"
        ) from error
