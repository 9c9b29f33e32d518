"""Turns one value into bytes and back: the one module that knows msgpack.

The wire format is msgpack with the extension types below, the same from both engines (ormsgpack, and
msgpack where ormsgpack has no wheel). Nothing in it can name code: no pickle, no import by name.
"""

import dataclasses
from collections.abc import Callable
from collections.abc import Iterable
from contextlib import suppress
from datetime import date
from datetime import datetime
from datetime import time
from datetime import timedelta
from decimal import Decimal
from typing import Any
from typing import NoReturn
from typing import Protocol
from uuid import UUID

from markupsafe import Markup

from . import msgpack as engine
from .errors import DecodeError
from .errors import EncodeError
from .recipes import named
from .recipes import recipe_for

# The numbers are the wire format: one that was ever released is never given to another type.
_TUPLE, _SET, _FROZENSET, _UUID, _DECIMAL = 1, 2, 3, 4, 5
_DATETIME, _DATE, _TIME, _TIMEDELTA = 6, 7, 8, 9
_MARKUP, _BIG_INT, _PAIRS, _TEXT, _CUSTOM = 10, 11, 12, 13, 14

#: How deep extension types may lie in one another: an engine takes up to 40 kB of a thread's stack for each.
_DEEPEST = 32

#: Types whose values cannot change in place: what was read of them needs no second look at save.
ATOMS = frozenset({str, int, float, bool, type(None), bytes, UUID, Decimal, datetime, date, time, timedelta, Markup})

#: The errors of the engines, and of the types' own constructors, at bytes that are no value.
_FAULTS = (ValueError, TypeError, KeyError, IndexError, ArithmeticError, OSError)


class Tag(Protocol):
    """The part of a :class:`flask.json.tag.JSONTag` that the codec uses."""

    key: str

    def check(self, value: Any) -> bool:
        """Return whether the tag is for this value."""

    def to_json(self, value: Any) -> Any:
        """Return what is stored in place of the value."""

    def to_python(self, value: Any) -> Any:
        """Return the value from what was stored."""


class NameTaken(KeyError, ValueError):
    """A type was to be registered under a name that another one has. Flask's serializer raises KeyError."""

    __str__ = Exception.__str__


class _Untagged:
    """Stands in for the serializer that a JSONTag expects: nested values are the codec's own business."""

    @staticmethod
    def tag(value: Any) -> Any:
        return value


class Codec:
    """Encodes a session's values. Each comes back equal and of the same type: JSON's types, tuple, set, frozenset,
    bytes, UUID, Decimal, datetime (with microseconds, zone and fold), date, time, timedelta, Markup and big ints. A
    dict's keys may be any of those that hash.

    As with Flask's own session, a subclass of one of these comes back as its base. A dataclass comes back as a dict,
    and an object with ``__html__`` as Markup; :meth:`register` changes that for a type.
    """

    def __init__(self) -> None:
        self._kinds: dict[type, tuple[str, Callable[[Any], Any]]] = {}
        self._tags: list[Tag] = []
        # Those of the tags that are asked for plain values, too, such as a dict or a text.
        self._early: list[Tag] = []
        self._loaders: dict[str, Callable[[Any], Any]] = {}
        # The names of what was taken over. Flask's serializer is one for all applications, so they may be another's.
        self._inherited: set[str] = set()
        #: Asked for a plainer value where no type above fits. It raises TypeError for what it refuses, too.
        self.make_plainer: Callable[[Any], Any] | None = None

    def register(
        self,
        kind: type,
        force: bool = False,
        index: int | None = None,
        *,
        name: str | None = None,
        dump: Callable[[Any], Any] | None = None,
        load: Callable[[Any], Any] | None = None,
    ) -> None:
        """Teach the codec a type: ``dump`` turns a value into something it knows, ``load`` back again.

        ``name`` goes into the stored bytes, so it must stay the same for as long as sessions live. A
        :class:`flask.json.tag.JSONTag` class, as registered on Flask's own session serializer, needs
        nothing else.

        ``force`` and ``index`` are as there: a name that is taken is taken over, and the tag is asked before those from
        ``index`` on. Then it is asked for plain values, too, such as dicts. Without ``force`` a name that is taken
        is a KeyError.
        """
        if hasattr(kind, "to_json") and hasattr(kind, "to_python"):
            self._register_tag(kind, force=force, index=index)
            return
        if name is None or dump is None or load is None:
            raise TypeError(f"register({kind.__name__}) needs name=, dump= and load=, or a JSONTag class. [ISE062]")
        self._claim_name(name, load, force=force)
        self._kinds[kind] = (name, dump)

    def take_over(self, tags: Iterable[tuple[type, bool]]) -> None:
        """Register the JSONTag classes that another serializer has, in their order; what this codec has already stays.

        With each comes whether it is asked for plain values, too. A later :meth:`register` may take its name.
        """
        for kind, is_early in tags:
            tag = kind(_Untagged)
            if tag.key not in self._loaders and not any(type(known) is kind for known in self._tags):
                self._register_tag(kind, force=False, index=len(self._tags) if is_early else None)
                self._inherited.add(tag.key)

    def _register_tag(self, kind: type, *, force: bool, index: int | None) -> None:
        tag: Tag = kind(_Untagged)
        if tag.key:  # Without a key it turns a value into a plainer one, and nothing turns that back.
            self._claim_name(tag.key, tag.to_python, force=force)
        self._tags = [known for known in self._tags if not tag.key or known.key != tag.key]
        self._tags.insert(len(self._tags) if index is None else index, tag)
        is_early = index is not None
        self._early = [known for known in self._tags if known in self._early or known is tag and is_early]

    def _claim_name(self, name: str, load: Callable[[Any], Any], *, force: bool) -> None:
        if name in self._loaders and name not in self._inherited and not force:
            raise NameTaken(
                f"A type is already registered under the name {name!r}; choose another, or write force=True. [ISE063]"
            )
        self._loaders[name] = load
        self._inherited.discard(name)

    def encode(self, value: Any, *, path: str = "value") -> bytes:
        """Return the value as bytes, the same for equal values built in the same order.

        Raise :exc:`~flask_idlesession.EncodeError` with the path to what cannot be encoded.
        """
        try:
            if not self._early:
                return engine.pack(value, self._convert)
        except (TypeError, ValueError, RecursionError, OverflowError):
            pass  # Walk it: that finds the path, and copes with keys and strings that the engine refuses.
        try:
            return _pack_plain(self._walk(value, path))
        except RecursionError:
            raise EncodeError(
                f"{path} is nested too deeply, or contains itself; a session cannot keep it. Store it flat. [ISE061]"
            ) from None

    def decode(self, data: bytes) -> Any:
        """Return the value that :meth:`encode` was given. Raise :exc:`~flask_idlesession.DecodeError`."""
        try:
            return engine.unpack(data)
        except _FAULTS:  # There is an extension type in it, as in few values, or something is wrong.
            return self._decode(data, 0)

    def _decode(self, data: bytes, depth: int) -> Any:
        causes: list[Exception] = []  # One engine chains what the other hides.

        def restore(code: int, payload: bytes) -> Any:
            try:
                return self._restore(code, payload, depth + 1)
            except Exception as error:
                causes.append(error)
                raise

        try:
            return engine.unpack(data, restore)
        except _FAULTS as error:
            cause = causes[0] if causes else error
            if isinstance(cause, DecodeError | RecursionError | MemoryError):
                raise cause from None
            raise DecodeError(f"These bytes are no value of this codec ({type(cause).__name__}).") from error

    def _convert(self, value: Any, depth: int = 0) -> Any:
        """Turn what the engine does not know into what it does; nested values are packed in turn."""
        code, payload = self._explain(value)
        if code is None:
            return payload
        return _extend(code, payload, depth, lambda item: engine.pack(item, lambda it: self._convert(it, depth + 1)))

    def _walk(self, value: Any, path: str, depth: int = 0) -> Any:
        """Do in Python what :meth:`_convert` does for the engine, keeping the path to where it is."""
        for tag in self._early:
            if tag.check(value):
                return self._walk_tagged(tag, value, path, depth)
        return self._walk_known(value, path, depth)

    def _walk_known(self, value: Any, path: str, depth: int) -> Any:
        """Do so with a value that no tag is asked for first."""
        kind = type(value)
        if kind is str:
            return value if _is_clean(value) else engine.Ext(_TEXT, value.encode("utf-8", "surrogatepass"))
        if kind in (bool, float, bytes, type(None)) or kind is int and -(2**63) <= value < 2**64:
            return value
        if kind is list:
            return [self._walk(item, f"{path}[{index}]", depth) for index, item in enumerate(value)]
        if kind is dict:
            if all(type(key) is str and _is_clean(key) for key in value):
                return {key: self._walk(item, f"{path}[{key!r}]", depth) for key, item in value.items()}
            pairs = [
                self._walk(part, f"{path}[{key!r}]", depth + 1) for key, item in value.items() for part in (key, item)
            ]
            return _extend(_PAIRS, pairs, depth, _pack_plain)
        try:
            code, payload = self._explain(value)
        except EncodeError:
            raise EncodeError(
                f"{path} is a {named(kind)}, which a session cannot keep; {recipe_for(value)}, or teach the codec the "
                "type with register(). [ISE060]"
            ) from None
        if code is None:
            return self._walk_known(payload, path, depth)
        if code == _CUSTOM:
            name, plainer = payload
            return self._walk_named(name, plainer, path, depth)
        walk = self._walk if code in (_SET, _FROZENSET) else self._walk_known
        return _extend(code, payload, depth, lambda item: _pack_plain(walk(item, path, depth + 1)))

    def _walk_tagged(self, tag: Tag, value: Any, path: str, depth: int) -> Any:
        """Do so with what a tag makes of a value, which no tag is asked for once more."""
        plainer = tag.to_json(value)
        return self._walk_named(tag.key, plainer, path, depth) if tag.key else self._walk_known(plainer, path, depth)

    def _walk_named(self, name: str, plainer: Any, path: str, depth: int) -> Any:
        if depth == _DEEPEST:
            raise RecursionError
        return engine.Ext(_CUSTOM, _pack_plain([name, self._walk_known(plainer, path, depth + 1)]))

    def _explain(self, value: Any) -> tuple[int | None, Any]:
        """Return an extension code and its payload, or None and the plainer value to encode instead. A payload of bytes
        is written as it is; any other must still be packed.
        """
        kind = type(value)
        if kind in self._kinds:
            name, dump = self._kinds[kind]
            return _CUSTOM, [name, dump(value)]
        for tag in self._tags:
            if tag.check(value):
                plainer = tag.to_json(value)
                return (_CUSTOM, [tag.key, plainer]) if tag.key else (None, plainer)
        if kind is int:
            return _BIG_INT, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)
        known = _BUILT_IN.get(kind)
        if known is None:
            known = next((entry for base, entry in _BUILT_IN.items() if isinstance(value, base)), None)
        if known is not None:
            code, dump = known
            return code, dump(value)
        for base, plain in _BASES.items():
            if isinstance(value, base):
                return None, plain(value)
        if self.make_plainer is not None:
            with suppress(TypeError):
                return None, self.make_plainer(value)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return None, {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        if callable(getattr(value, "__html__", None)):
            return _MARKUP, str(value.__html__()).encode("utf-8", "surrogatepass")
        raise EncodeError(f"a {kind.__name__}")

    def _restore(self, code: int, data: bytes, depth: int) -> Any:
        """Make an extension's value again: the inverse of :meth:`_explain`."""
        if depth > _DEEPEST:
            raise DecodeError("These bytes are nested too deeply to be a value of this codec.")
        if code == _CUSTOM:
            name, payload = self._decode(data, depth)
            return self._load_custom(name, payload)
        if code in _FROM_BYTES:
            return _FROM_BYTES[code](data)
        if code in _FROM_VALUE:
            return _FROM_VALUE[code](self._decode(data, depth))
        raise DecodeError(f"Extension type {code} is not known to this version.")

    def _load_custom(self, name: str, payload: Any) -> Any:
        if name not in self._loaders:
            raise DecodeError(f"A value of the type {name!r} is stored, which is not registered (any more).")
        try:
            return self._loaders[name](payload)
        except Exception as error:
            raise DecodeError(f"The application's load function for {name!r} raised {type(error).__name__}.") from error


def _extend(code: int, payload: Any, depth: int, pack: Callable[[Any], bytes]) -> Any:
    """Return an extension value at this depth of them, with a payload that ``pack`` packs if it is no bytes."""
    if depth == _DEEPEST:
        raise RecursionError
    if code in (_SET, _FROZENSET):
        members = sorted(map(pack, payload))  # One order for equal sets.
        return engine.Ext(code, _array_head(len(members)) + b"".join(members))
    return engine.Ext(code, payload if type(payload) is bytes else pack(payload))


def _array_head(length: int) -> bytes:
    """The bytes with which msgpack begins an array."""
    if length < 16:
        return bytes([0x90 | length])
    return b"\xdc" + length.to_bytes(2) if length < 1 << 16 else b"\xdd" + length.to_bytes(4)


def _pack_plain(value: Any) -> bytes:
    """Pack what has no other types left in it: all that the engine can refuse then is the depth."""
    try:
        return engine.pack(value, _refuse)
    except (TypeError, ValueError):
        raise RecursionError from None


def _refuse(value: Any) -> NoReturn:
    raise TypeError(f"A {type(value).__name__} was left over.")


def _is_clean(text: str) -> bool:
    """Return whether UTF-8 can hold the text: a lone surrogate (from a broken client) it cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


def _zoned(value: datetime | time) -> list[Any]:
    """The ISO form has the offset; the zone's name goes beside it, for arithmetic across its changes."""
    from zoneinfo import ZoneInfo  # Here: it takes four milliseconds to import, and few sessions hold times.

    iso = datetime.isoformat(value) if isinstance(value, datetime) else time.isoformat(value)
    zone = value.tzinfo.key if isinstance(value.tzinfo, ZoneInfo) else None
    return [iso, value.fold, zone] if zone or value.fold else [iso]


def _to_zoned(value: Any, fold: int = 0, zone: str | None = None) -> Any:
    if zone is not None:
        from zoneinfo import ZoneInfo
        from zoneinfo import ZoneInfoNotFoundError

        with suppress(ZoneInfoNotFoundError):  # Without time-zone data the offset still names the instant.
            value = value.replace(tzinfo=ZoneInfo(zone))
    return value.replace(fold=fold)


def _same(value: Any) -> Any:
    return value


# The built-in types: how each becomes a payload. datetime stands before date, which it is a kind of.
_BUILT_IN: dict[type, tuple[int, Callable[[Any], Any]]] = {
    tuple: (_TUPLE, list),
    Markup: (_MARKUP, lambda value: str.encode(value, "utf-8", "surrogatepass")),
    datetime: (_DATETIME, _zoned),
    set: (_SET, _same),
    frozenset: (_FROZENSET, _same),
    UUID: (_UUID, lambda value: value.bytes),
    Decimal: (_DECIMAL, lambda value: str(value).encode()),
    date: (_DATE, lambda value: date.isoformat(value).encode()),
    time: (_TIME, _zoned),
    timedelta: (_TIMEDELTA, lambda value: [value.days, value.seconds, value.microseconds]),
}

# The functions that turn a value of a subclass into one of its plain type.
_BASES: dict[type, Callable[[Any], Any]] = {
    str: str.__str__,
    int: int.__int__,
    float: float.__float__,
    list: list,
    dict: dict,
    bytes: bytes,
}

# And back: from the payload's bytes, or from the value packed in them.
_FROM_BYTES: dict[int, Callable[[bytes], Any]] = {
    _UUID: lambda data: UUID(bytes=bytes(data)),
    _DECIMAL: lambda data: Decimal(_text(data)),
    _DATE: lambda data: date.fromisoformat(_text(data)),
    _MARKUP: lambda data: Markup(_text(data)),
    _BIG_INT: lambda data: int.from_bytes(data, "big", signed=True),
    _TEXT: _text,
}
_FROM_VALUE: dict[int, Callable[[Any], Any]] = {
    _TUPLE: tuple,
    _SET: set,
    _FROZENSET: frozenset,
    _DATETIME: lambda parts: _to_zoned(datetime.fromisoformat(parts[0]), *parts[1:]),
    _TIME: lambda parts: _to_zoned(time.fromisoformat(parts[0]), *parts[1:]),
    _TIMEDELTA: lambda parts: timedelta(*parts),
    _PAIRS: lambda parts: dict(zip(parts[::2], parts[1::2], strict=True)),
}
