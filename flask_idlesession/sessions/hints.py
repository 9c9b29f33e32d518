"""Hints for developers on what they keep in sessions: in debug mode, each once, at the moment at which it matters."""

from collections.abc import Iterator
from typing import Any
from typing import Protocol

from ..model.codec import Codec
from ..model.errors import DecodeError
from ..model.ids import SessionId
from ..model.messages import Notices
from ..model.recipes import named
from ..model.record import Delta
from ..model.record import merged
from ..model.record import Record
from ..model.record import Values
from .session import Session
from .size import largest_keys
from .size import size_of

#: Bytes from which on a session is large: a request that looks at it gets all of them from its store.
LARGE = 32 << 10

#: The public names of a session: a template that says ``session.name`` asks for them before it asks for a key.
_PUBLIC = frozenset(name for name in dir(Session) if not name.startswith("_"))


class Hints:
    """Gives the hints of one application. ``reloads``: a reloader starts its process, and sessions end with that."""

    def __init__(self, notices: Notices, codec: Codec, *, reloads: bool) -> None:
        self._notices = notices
        self._codec = codec
        self._reloads = reloads

    def look_at_key(self, key: str) -> None:
        """Note that a view assigned a value to this key."""
        if key in _PUBLIC:
            self._notices.warn(
                ("ISH005", key),
                "session[%r] has the name of something that every session has, so in a template session.%s is not this "
                "key. Choose another key. [ISH005]",
                key,
                key,
            )

    def look_at_value(self, key: str, value: Any, data: bytes) -> None:
        """Note that a value is kept in these bytes."""
        try:
            decoded = self._codec.decode(data)
        except (DecodeError, RecursionError):
            return
        for path, before, after in changed_types(value, decoded, f"session[{key!r}]"):
            self._notices.warn(
                ("ISH004", before),
                "%s is a %s, and comes back as a %s: a session keeps plain values. Store a plain one, or register the "
                "type with app.session_interface.serializer.register(). [ISH004]",
                path,
                named(before),
                named(after),
            )

    def look_at_size(self, record: Record | None, delta: Delta) -> None:
        """Note what a request did to the values of its session."""
        stored: Values = {} if record is None else record.values
        after = merged(stored, delta)
        size = size_of(after)
        if size >= LARGE:
            self._notices.warn(
                "ISH003",
                "A session has %d bytes now; its largest keys are %s. Each request that looks at it gets all of them "
                "from the store. Keep large data elsewhere, and its id in the session. [ISH003]",
                size,
                largest_keys(after),
            )

    def note_nothing(self, sid: SessionId) -> None:
        """Note that a genuine token came whose session this process never had."""
        if self._reloads:
            self._notices.warn(
                "ISH006",
                "The reloader has restarted this process, and sessions in its memory ended with it, such as %s. To "
                'keep them, set app.config["IDLESESSION_JOURNAL"] = "sessions.journal". [ISH006]',
                sid,
            )


class Hinting(Protocol):
    """An object with the hints of its application."""

    hints: Hints


class HintedSession(Session):
    """A session that has its view's assignments looked at."""

    __slots__ = ()

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        hints = self._hints
        hints.look_at_key(key)
        hints.look_at_value(key, value, self._codec.encode(value))

    def _delta(self) -> dict[str, bytes | None]:
        delta = super()._delta()
        for key, data in delta.items():
            if data is not None and key not in self._encoded:  # It may have been changed in place.
                self._hints.look_at_value(key, self._unfold()[key], data)
        self._hints.look_at_size(self._record, delta)
        return delta

    @property
    def _hints(self) -> Hints:
        persistence: Any = self._persistence
        hinting: Hinting = persistence
        return hinting.hints


def hinted(kind: type[Session]) -> type[Session]:
    """Return a kind of session that has its view's assignments looked at, and is of the given kind besides."""
    if kind is Session:
        return HintedSession
    return type(f"Hinted{kind.__name__}", (HintedSession, kind), {"__slots__": ()})


def changed_types(before: Any, after: Any, path: str) -> Iterator[tuple[str, type, type]]:
    """Yield the path, the type before and the type after of each value that comes back as another type."""
    if type(before) is not type(after):
        yield path, type(before), type(after)
    elif type(before) is dict:
        for (key, item), (key_after, item_after) in zip(before.items(), after.items(), strict=False):
            if type(key) is not type(key_after):
                yield f"the key {str(key)!r} of {path}", type(key), type(key_after)
            yield from changed_types(item, item_after, f"{path}[{key!r}]")
    elif type(before) in (list, tuple):
        for index, (item, item_after) in enumerate(zip(before, after, strict=False)):
            yield from changed_types(item, item_after, f"{path}[{index}]")
    elif type(before) in (set, frozenset):
        kinds = {type(item) for item in after}
        for item in before:
            if type(item) not in kinds:
                yield f"{path} has {item!r}, which", type(item), next(iter(kinds))
