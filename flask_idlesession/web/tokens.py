"""Turns a credential into a token and back: the one module that signs, and that keeps verified tokens ready."""

import hashlib
import re
from base64 import urlsafe_b64decode
from base64 import urlsafe_b64encode
from collections.abc import Sequence

from itsdangerous import Signer

from ..model.ids import Credential
from ..model.ids import SessionId

#: The pattern of a token: 48 bytes (the id's 16, the secret's 32), a dot, and a SHA-256 signature, each base64url.
#: Anything else is turned away before a hash is computed. The last character holds four bits: with others beside them
#: it would be another spelling of the same.
_GRAMMAR = re.compile(r"[A-Za-z0-9_-]{64}\.[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]", re.ASCII)

#: Verified tokens kept ready. Those who come often are verified once.
_READY = 4096

#: How long a Cookie header may be that is kept ready, too.
_LONGEST_HEADER = 512


class Tokens:
    """Signs and verifies tokens with an application's keys, the current one last. A token of another ``namespace`` is
    none here, though the keys be the same.

    The signature keeps garbage away from the store; what proves the holder is the secret inside. There
    is no time in it: no step of a clock can log anybody out.
    """

    def __init__(self, keys: Sequence[str | bytes], *, namespace: str = "") -> None:
        self.keys = tuple(keys)
        self._signers = [_signer(key, namespace) for key in reversed(self.keys)]
        self._ready: dict[str, Credential] = {}
        #: The credentials in whole Cookie headers: one look-up in place of parsing saves a request 4 to 8 µs.
        self.by_header: dict[str, Credential] = {}

    def issue(self, credential: Credential) -> str:
        """Return a token for the credential, signed with the current key."""
        payload = urlsafe_b64encode(credential.sid.bytes + credential.secret)
        return self._signers[0].sign(payload).decode()

    def read(self, token: str) -> Credential | None:
        """Return what a token claims; None unless it is well-formed and signed with one of the keys."""
        credential = self._ready.get(token)
        if credential is not None:
            return credential
        if not _GRAMMAR.fullmatch(token):
            return None
        payload, _, signature = token.encode().partition(b".")
        if not any(signer.verify_signature(payload, signature) for signer in self._signers):
            return None
        raw = urlsafe_b64decode(payload)
        credential = Credential(SessionId(bytes=raw[:16]), raw[16:])
        if len(self._ready) >= _READY:
            self._ready.clear()
        self._ready[token] = credential
        return credential

    def remember_header(self, header: str, credential: Credential) -> None:
        """Keep ready what a Cookie header says. Only headers that browsers send again and again are short."""
        if len(header) <= _LONGEST_HEADER:
            if len(self.by_header) >= _READY:
                self.by_header.clear()
            self.by_header[header] = credential

    def is_well_formed(self, token: str) -> bool:
        """Return whether it is spelled as a token; no other text is one."""
        return token in self._ready or _GRAMMAR.fullmatch(token) is not None

    def is_current(self, token: str) -> bool:
        """Return whether a verified token is signed with the current key, not with a fallback."""
        if len(self._signers) == 1:
            return True
        payload, _, signature = token.encode().partition(b".")
        return self._signers[0].verify_signature(payload, signature)


def _signer(key: str | bytes, namespace: str) -> Signer:
    salt = f"idlesession.{namespace}" if namespace else "idlesession"
    return Signer(key, salt=salt, key_derivation="hmac", digest_method=hashlib.sha256)
