"""Packs and unpacks msgpack: ormsgpack where it has a wheel, msgpack elsewhere (PyPy), byte for byte alike.

Both are set up strictly. They pack None, bool, int up to 64 bits, float, str, bytes, list, and dict with
str keys, of exactly these types; for anything else they ask ``convert``, or raise.
"""

from collections.abc import Callable
from functools import partial
from typing import Any
from typing import NoReturn

Restore = Callable[[int, bytes], Any]


def _refuse(code: int, payload: bytes) -> NoReturn:
    raise ValueError(f"extension type {code}")


try:
    import ormsgpack
    from ormsgpack import Ext as Ext
except ImportError:  # pragma: no cover
    import msgpack

    Ext = msgpack.ExtType  # type: ignore[misc]

    def pack(value: Any, convert: Callable[[Any], Any]) -> bytes:
        """Return the bytes of a value; ``convert`` is asked for what msgpack does not know."""
        return msgpack.packb(_strict(value), default=lambda item: _strict(convert(item)), strict_types=True)  # type: ignore[no-any-return]

    def unpack(data: bytes, restore: Restore = _refuse) -> Any:
        """Return the value of these bytes; ``restore`` is asked for extension types."""
        return msgpack.unpackb(data, ext_hook=restore, strict_map_key=False)

    pack_own, unpack_own = msgpack.packb, msgpack.unpackb

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

    #: Returns a value as msgpack. The second argument is a function that gets what msgpack does not have, and may
    #: return Ext.
    pack = partial(ormsgpack.packb, option=_OPTIONS)
    #: Packs what is known to be of msgpack's own types.
    pack_own = ormsgpack.packb

    def unpack(data: bytes, restore: Restore = _refuse) -> Any:
        """Return the value in ``data``; ``restore`` makes the value of each extension type, or it is a ValueError.

        ormsgpack does not look at what follows a value, so it is given the first of a pair: only where the
        value ends with ``data`` is the other one the nil that was added.
        """
        value, end = ormsgpack.unpackb(b"\x92" + data + b"\xc0", ext_hook=restore)
        if end is not None:
            raise ValueError("there are bytes after the value")
        return value

    #: Returns the value in bytes that never left this process: there nothing has to be checked.
    unpack_own = ormsgpack.unpackb
