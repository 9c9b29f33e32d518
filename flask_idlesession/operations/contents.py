"""Tells what is in a session: its keys, and the type and the size of each value, but never a value."""

from dataclasses import dataclass

from ..model.codec import Codec
from ..model.errors import DecodeError
from ..model.record import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """One key of a session."""

    name: str
    #: The name of the value's type; "unreadable" if it cannot be decoded.
    type: str
    #: The bytes of the encoded value.
    bytes: int


def contents_of(record: Record, codec: Codec) -> list[Content]:
    """Return what is in a session, by name."""
    return [
        Content(name=name, type=_type_of(encoded, codec), bytes=len(encoded))
        for name, encoded in sorted(record.values.items())
    ]


def _type_of(encoded: bytes, codec: Codec) -> str:
    try:
        return type(codec.decode(encoded)).__name__
    except DecodeError:
        return "unreadable"
