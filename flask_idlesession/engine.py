"""Packs and unpacks msgpack: ormsgpack where it has a wheel, msgpack elsewhere (PyPy), byte for byte alike.

Both are set up strictly. They pack None, bool, int up to 64 bits, float, str, bytes, list, and dict with
str keys, of exactly these types; for anything else they ask ``convert``, or raise.
"""

from collections.abc import Callable
from typing import Any

try:
    import ormsgpack
    from ormsgpack import Ext as Ext
except ImportError:  # pragma: no cover
    import msgpack  # type: ignore[import-untyped]

    Ext = msgpack.ExtType  # type: ignore[misc]

    def pack(value: Any, convert: Callable[[Any], Any]) -> bytes:
        return msgpack.packb(_strict(value), default=lambda item: _strict(convert(item)), strict_types=True)  # type: ignore[no-any-return]

    def unpack(data: bytes, restore: Callable[[int, bytes], Any]) -> Any:
        return msgpack.unpackb(data, ext_hook=restore, strict_map_key=False)

    def unpack_own(data: bytes) -> Any:
        return msgpack.unpackb(data)

    def _strict(value: Any) -> Any:
        """Return the value; raise where msgpack alone would take a dict's keys as they come."""
        if type(value) is dict:
            for key, item in value.items():
                if type(key) is not str:
                    raise TypeError("Dict key must be str")
                _strict(item)
        elif type(value) is list:
            for item in value:
                _strict(item)
        return value

else:
    _OPTIONS = (
        ormsgpack.OPT_PASSTHROUGH_TUPLE
        | ormsgpack.OPT_PASSTHROUGH_UUID
        | ormsgpack.OPT_PASSTHROUGH_DATETIME
        | ormsgpack.OPT_PASSTHROUGH_SUBCLASS
        | ormsgpack.OPT_PASSTHROUGH_DATACLASS
        | ormsgpack.OPT_PASSTHROUGH_BIG_INT
        | ormsgpack.OPT_PASSTHROUGH_ENUM
    )

    def pack(value: Any, convert: Callable[[Any], Any]) -> bytes:
        """Return ``value`` as msgpack; ``convert`` gets what msgpack does not have, and may return Ext."""
        return ormsgpack.packb(value, convert, _OPTIONS)

    def unpack(data: bytes, restore: Callable[[int, bytes], Any]) -> Any:
        """Return the value in ``data``; ``restore`` makes the value of each extension type.

        ormsgpack does not look at what follows a value, so it is given the first of a pair: only where the
        value ends with ``data`` is the other one the nil that was added.
        """
        value, end = ormsgpack.unpackb(b"\x92" + data + b"\xc0", ext_hook=restore)
        if end is not None:
            raise ValueError("there are bytes after the value")
        return value

    def unpack_own(data: bytes) -> Any:
        """Return the value in bytes that never left this process: there nothing has to be checked."""
        return ormsgpack.unpackb(data)
