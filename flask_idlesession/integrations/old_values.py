"""Reads the bytes that Flask-Session stored: msgpack, JSON, and pickle within bounds."""

import io
import json
import pickle
from datetime import datetime
from datetime import timedelta
from datetime import UTC
from struct import unpack
from typing import Any
from typing import IO

from ..model import msgpack as engine

#: Bytes of one session that are looked at.
_MOST_BYTES = 16 << 20

#: msgpack's own extension type: an instant (the specification, "Timestamp extension type").
_TIMESTAMP = -1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: All that a pickle may name: the classes of plain values. None of them does anything when it is made.
_PLAIN = frozenset(
    {
        ("builtins", "set"),
        ("builtins", "frozenset"),
        ("builtins", "bytearray"),
        ("builtins", "complex"),
        ("collections", "OrderedDict"),
        ("datetime", "date"),
        ("datetime", "datetime"),
        ("datetime", "time"),
        ("datetime", "timedelta"),
        ("datetime", "timezone"),
        ("decimal", "Decimal"),
        ("fractions", "Fraction"),
        ("markupsafe", "Markup"),
        ("uuid", "UUID"),
        ("uuid", "SafeUUID"),
        ("zoneinfo", "ZoneInfo._unpickle"),
        # How protocols 0 and 1 name the same, and how they make what is neither a text nor a number.
        ("copy_reg", "_reconstructor"),
        ("__builtin__", "object"),
        ("__builtin__", "set"),
        ("__builtin__", "frozenset"),
        ("_codecs", "encode"),
    }
)


class Unreadable(ValueError):
    """The bytes are none that Flask-Session stored, or name something that is not loaded."""


class Pickled(Unreadable):
    """The bytes are a pickle, and none is to be read."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _PLAIN:
            raise Unreadable(f"it names {module}.{name}, which is no plain value")
        return super().find_class(module, name)


def read_values(data: bytes, *, pickled: bool) -> dict[str, Any]:
    """Return what a session held. Its kind is told by its first bytes, as Flask-Session tells it.

    Raise :exc:`Unreadable` for anything else, and :exc:`Pickled` for a pickle unless ``pickled``.
    """
    if len(data) > _MOST_BYTES:
        raise Unreadable(f"it has {len(data)} bytes")
    for read in (_read_json, _read_msgpack):
        try:
            return _as_dict(read(data))
        except Exception:  # Bytes that somebody else wrote: each engine raises its own.
            continue
    if not pickled:
        raise Pickled("it is pickled")
    return read_pickle(io.BytesIO(data))


def read_pickle(file: IO[bytes]) -> dict[str, Any]:
    """Return the session in a pickle that names plain values alone."""
    try:
        return _as_dict(_Unpickler(file).load())
    except Unreadable:
        raise
    except Exception as error:  # Bytes that somebody else wrote: an unpickler raises nearly anything.
        raise Unreadable(f"{type(error).__name__}") from error


def _read_json(data: bytes) -> Any:
    if data[:1] != b"{":
        raise ValueError("no object")
    return json.loads(data)


def _read_msgpack(data: bytes) -> Any:
    return engine.unpack(data, _restore)


def _restore(code: int, payload: bytes) -> datetime:
    """Return an instant in any of the three forms that msgpack has for it."""
    if code != _TIMESTAMP:
        raise ValueError(f"extension type {code}")
    if len(payload) == 4:
        nanoseconds, seconds = 0, unpack(">I", payload)[0]
    elif len(payload) == 8:
        both = unpack(">Q", payload)[0]
        nanoseconds, seconds = both >> 34, both & (1 << 34) - 1
    else:
        nanoseconds, seconds = unpack(">Iq", payload)
    return _EPOCH + timedelta(seconds=seconds, microseconds=nanoseconds // 1000)


def _as_dict(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Unreadable(f"it is a {type(value).__name__}, and no dict")
    return value
