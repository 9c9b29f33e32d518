"""Seals bytes so that nobody reads or changes them without a key: the one module that knows ``cryptography``."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from .errors import ConfigError
from .errors import DecodeError

#: The bytes with which every encrypted value begins. The first byte begins nothing that the codec writes, for msgpack
#: never uses it, so neither kind is taken for the other; the second is the version of what follows.
_MARK = b"\xc1\x01"

#: Bytes that tell which key sealed a value, and tell nothing of the key.
_NAME_SIZE = 4

#: Two keys of AES-256: one for the tag, one for the text.
_CIPHER_KEY_SIZE = 64

#: Stands after every text: ``cryptography`` before 45 refuses to encrypt an empty one.
_PERIOD = b"."


class Cipher:
    """Keys for one purpose: the first seals, all open.

    The cipher is AES-SIV (RFC 5297): bytes that were changed, or that come with another context, do not open. The same
    text in the same context is the same bytes each time, so that a store can compare what it cannot read. From each key
    another one is derived for each purpose (HKDF-SHA256, RFC 5869).
    """

    def __init__(self, keys: Sequence[bytes], *, purpose: str) -> None:
        self._ciphers: dict[bytes, Any] = {}
        for key in keys:
            name = _derive(key, "name", _NAME_SIZE)
            cipher = _cipher(_derive(key, purpose, _CIPHER_KEY_SIZE))
            self._ciphers.setdefault(name, cipher)
        self._first = next(iter(self._ciphers))
        self._invalid_tag: type[Exception] = _import("cryptography.exceptions").InvalidTag

    def __len__(self) -> int:
        return len(self._ciphers)

    def seal(self, data: bytes, *context: bytes) -> bytes:
        """Return the data sealed with the first key; it opens in the same context alone."""
        sealed: bytes = self._ciphers[self._first].encrypt(data + _PERIOD, [_MARK, *context])
        return _MARK + self._first + sealed

    def open(self, sealed: bytes, *context: bytes) -> bytes:
        """Return what was sealed. Raise :exc:`~flask_idlesession.DecodeError` that tells why it does not open."""
        if not sealed.startswith(_MARK):
            raise DecodeError(_why_not_ours(sealed))
        at = len(_MARK) + _NAME_SIZE
        cipher = self._ciphers.get(sealed[len(_MARK) : at])
        if cipher is None:
            raise DecodeError("it was encrypted with a key that is not there any more, or not yet")
        try:
            data: bytes = cipher.decrypt(sealed[at:], [_MARK, *context])
        except (self._invalid_tag, ValueError):  # ValueError: it is too short for a tag.
            raise DecodeError("it was changed, or moved here from another place") from None
        return data[: -len(_PERIOD)]


def require_cryptography() -> None:
    """Raise :exc:`~flask_idlesession.ConfigError` if the package is missing that encryption needs."""
    _import("cryptography.hazmat.primitives.ciphers.aead")


def _why_not_ours(data: bytes) -> str:
    if len(data) < len(_MARK) or data[0] != _MARK[0]:
        return "it is not encrypted, though there are encryption keys"
    return (
        f"it was encrypted by a newer flask_idlesession (in its version {data[1]}, this one knows {_MARK[1]}); "
        "install that one"
    )


def _derive(key: bytes, purpose: str, size: int) -> bytes:
    hashes = _import("cryptography.hazmat.primitives.hashes")
    hkdf = _import("cryptography.hazmat.primitives.kdf.hkdf").HKDF(
        algorithm=hashes.SHA256(), length=size, salt=None, info=f"flask_idlesession {purpose}".encode()
    )
    return hkdf.derive(key)  # type: ignore[no-any-return]


def _cipher(key: bytes) -> Any:
    return _import("cryptography.hazmat.primitives.ciphers.aead").AESSIV(key)


def _import(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"Encryption needs the package {error.name!r}; install it with: "
            "python -m pip install 'flask_idlesession[encryption]'"
            " [ISE023]"
        ) from error
