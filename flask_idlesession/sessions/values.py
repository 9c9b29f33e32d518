"""The mapping of a session: values are decoded when they are first read, and what changed is found by its bytes."""

import logging
import sys
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import MutableMapping
from copy import deepcopy
from typing import Any

from ..model.codec import ATOMS
from ..model.codec import Codec
from ..model.errors import DecodeError
from ..model.errors import EncodeError
from ..model.errors import StoreError
from ..model.record import Delta
from ..model.record import merged
from ..model.record import Record
from .locking import RESERVED
from .locking import visible

_logger = logging.getLogger("flask_idlesession")

#: Keys that Flask-Login assigns when it is asked for the current user.
_NOTED_WHILE_READING = frozenset({"_user_id", "_fresh", "_id", "_remember"})


class Refusing(dict[str, Any]):
    """The keys of a session that could not be read: there are none, and none can be assigned.

    Flask-Login notes keys of its own where it only looks who the user is, so it may; they are not stored.
    """

    def __init__(self, failure: StoreError) -> None:
        super().__init__()
        self._failure = failure

    def __setitem__(self, key: str, value: Any) -> None:
        if key not in _NOTED_WHILE_READING:
            raise self._failure
        super().__setitem__(key, value)


class _Unread:
    """Stands for a value that is stored and was not decoded yet."""


_UNREAD = _Unread()


class SessionValues(MutableMapping[str, Any]):
    """A mutable mapping of str to values, each stored under its own key.

    The store is not asked before the first look. A value is encoded when it is assigned, so that one which cannot be
    stored raises there. A value that was read and can change in place is
    compared once more by :meth:`_delta`.

    A value whose bytes cannot be decoded is as if it were absent, and stays in the store: a type may be registered
    again, a key may come back.
    """

    # By slots, for Python 3.11 is slow to find what an instance has in place of its class.
    __slots__ = (
        "_codec",
        "_is_loaded",
        "_modified",
        "_is_late",
        "_failure",
        "_kept",
        "_written",
        "_live",
        "_saved",
        "_stored",
        "_encoded",
        "_suspects",
        "accessed",
    )
    # All but the last three are set when a session is made: False or None, if nothing else is said.
    _codec: Codec
    #: Whether the store was asked.
    _is_loaded: bool
    #: Whether a view assigned or removed something, or said so.
    _modified: bool
    #: Whether the response has begun: from then on each assignment is written through at once.
    _is_late: bool
    #: The failure of the store that the view met, as long as no later look succeeded.
    _failure: StoreError | None
    #: Whether a view looked.
    accessed: bool
    # The record, and what was saved of its values since it was looked at.
    _kept: Record | None
    _written: Delta | None
    # The keys that the view sees, with their values or _UNREAD; None until it looks.
    _live: dict[str, Any] | None
    # The same where all of it was saved: a view that looks again gets the same objects.
    _saved: dict[str, Any] | None
    # These are set when the keys are laid out.
    _stored: Mapping[str, bytes]
    _encoded: dict[str, bytes]
    _suspects: dict[str, None]

    # The mapping.

    def __getitem__(self, key: str) -> Any:
        value = self._look()[key]
        return self._read(key) if value is _UNREAD else value

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of ``key``, or ``default``."""
        value = self._look().get(key, default)
        if value is not _UNREAD:
            return value
        try:
            return self._read(key)
        except KeyError:
            return default

    def __setitem__(self, key: str, value: Any) -> None:
        check_key(key)
        live = self._look()
        try:
            data = self._codec.encode(value)
        except EncodeError:  # It is to name the path; to make one for each value would take as long as to encode it.
            data = self._codec.encode(value, path=f"session[{key!r}]")
        if type(value) in ATOMS:
            self._encoded[key] = data
        else:
            self._encoded.pop(key, None)
        live[key] = value
        self._suspects[key] = None
        self._modified = True
        if self._is_late:
            self._write_through(key, data)

    def __delitem__(self, key: str) -> None:
        del self._look()[key]
        self._suspects[key] = None
        self._modified = True
        if self._is_late:
            self._write_through(key, None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._readable())

    def __reversed__(self) -> Iterator[str]:
        return reversed(self._readable())

    def __len__(self) -> int:
        return len(self._look())

    def __contains__(self, key: object) -> bool:
        return key in self._look()

    def __or__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return dict(self) | dict(other)

    def __ror__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return dict(other) | dict(self)

    def __ior__(self, other: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> "SessionValues":
        self.update(other)
        return self

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {dict(self) if self._is_loaded else '(not read yet)'}>"

    def copy(self) -> dict[str, Any]:
        """Return the keys and values as a plain dict."""
        return dict(self)

    __copy__ = copy

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[str, Any]:
        return deepcopy(dict(self), memo)

    def popitem(self) -> tuple[str, Any]:
        """Remove the key that came last, and return it with its value, as a dict does."""
        for key in reversed(self):
            return key, self.pop(key)
        raise KeyError("popitem(): the session is empty")

    # For the package.

    def _fetch(self) -> Record | None:
        """Return the record from the store."""
        raise NotImplementedError

    def _lay_out_nothing(self, error: StoreError, handled: BaseException | None) -> dict[str, Any]:
        """Return no keys, in a dict that refuses to be written, if a failure of the store is being answered already;
        else raise ``error``. ``handled`` is the exception that was being handled when the keys were looked at.
        """
        raise NotImplementedError

    def _write_through(self, key: str, data: bytes | None) -> None:
        """Store a value at once, or with None remove it: the response has begun."""
        raise NotImplementedError

    def _note_late_look(self) -> None:
        """Note that the keys are looked at after the response has begun: values may be changed in place."""
        raise NotImplementedError

    @property
    def _record(self) -> Record | None:
        """The session as it was loaded or last saved; None while nothing is stored."""
        if self._written is not None:  # Made when it is asked for: most requests end with what they wrote.
            assert self._kept is not None
            self._kept = self._kept.holding(merged(self._kept.values, self._written))
            self._written = None
        return self._kept

    @_record.setter
    def _record(self, record: Record | None) -> None:
        self._kept, self._written = record, None

    def _load(self) -> Record | None:
        """Ask the store, once; return the record."""
        if not self._is_loaded:
            self._adopt(self._fetch())
        return self._record

    def _peek(self, key: str) -> Any:
        """Return a value that the view assigned or read, without this being a look of the view's."""
        value = self._unfold().get(key)
        return self._read(key) if value is _UNREAD else value

    def _wrote(self, key: str) -> bool:
        """Return whether the view assigned or removed this key."""
        if self._live is None and self._saved is None:
            return False
        self._unfold()
        return key in self._suspects

    @property
    def _is_empty(self) -> bool:
        """Whether no key is left."""
        return not self._unfold()

    def _delta(self) -> dict[str, bytes | None]:
        """Return the new bytes of each key whose bytes changed, and None for each that is gone.

        Raise :exc:`~flask_idlesession.EncodeError` if a value was changed in place into something that cannot be
        stored.
        """
        delta: dict[str, bytes | None] = {}
        if self._live is None and self._saved is None:
            return delta
        live = self._unfold()
        for key in self._suspects:
            if key not in live:
                if key in self._stored:
                    delta[key] = None
                continue
            data = self._encoded.get(key)
            if data is None:
                data = self._codec.encode(live[key], path=f"session[{key!r}]")
            if data != self._stored.get(key):
                delta[key] = data
        return delta

    def _adopt(self, record: Record | None) -> None:
        """Show what ``record`` holds, in place of what there was."""
        self._is_loaded = True
        self._record = record
        self._live = self._saved = None

    def _forget_reading(self) -> None:
        """Forget what was read, so that the next look asks the store again."""
        self._is_loaded, self._record, self._failure = False, None, None
        self._live = self._saved = None

    def _settle(self, record: Record | None) -> None:
        """Note that all was saved: ``record`` is what the store holds now. The view's objects stay."""
        self._record = record
        if self._live is not None:
            self._saved, self._live = self._live, None

    def _settle_values(self, delta: Delta) -> None:
        """Note that this much was saved, and nothing else was to be. The view's objects stay."""
        if not delta:
            return
        self._written = delta
        self._saved, self._live = self._live, None

    def _rest(self) -> None:
        """Note that the response begins: all is saved, and later changes are late. The view's objects stay."""
        self._is_late = True
        if self._live is not None:
            self._saved, self._live = self._live, None

    def _look(self) -> dict[str, Any]:
        """Return the live keys for the view, which thereby has accessed the session."""
        self.accessed = True
        return self._unfold()

    def _unfold(self) -> dict[str, Any]:
        """Return the live keys, which are laid out when they are first asked for."""
        return self._lay_out() if self._live is None else self._live

    def _lay_out(self) -> dict[str, Any]:
        """Lay out the keys that there are, and return them; ask the store first if that was not done yet."""
        if self._is_late:
            self._note_late_look()
        if self._is_loaded:
            record = self._record
        else:
            handled = sys.exception()
            try:
                self._kept = record = self._fetch()
            except StoreError as error:
                return self._lay_out_nothing(error, handled)
            self._is_loaded, self._failure = True, None
        stored = {} if record is None else record.values
        if RESERVED in " ".join(stored):  # One look at all of them: most sessions have none such.
            stored = visible(stored)
        self._stored, self._encoded, self._suspects = stored, {}, {}
        if self._saved is None:
            self._live = live = dict.fromkeys(stored, _UNREAD)
        else:
            self._live = live = self._saved
            self._saved = None
            for key, value in live.items():
                if value is not _UNREAD and type(value) not in ATOMS:
                    self._suspects[key] = None
        return live

    def _readable(self) -> dict[str, Any]:
        """Return the live keys, all of them read: one that cannot be decoded is not among them."""
        live = self._look()
        for key in [key for key, value in live.items() if value is _UNREAD]:
            try:
                self._read(key)
            except KeyError:
                continue
        return live

    def _read(self, key: str) -> Any:
        live = self._unfold()
        try:
            value = self._codec.decode(self._stored[key])
        except DecodeError as error:
            del live[key]
            self._tell_undecodable(key, error)
            raise KeyError(key) from error
        live[key] = value
        if type(value) not in ATOMS:
            self._suspects[key] = None
        return value

    def _tell_undecodable(self, key: str, error: DecodeError) -> None:
        sid = None if self._kept is None else self._kept.info.sid
        _logger.error("session[%r] of session %s cannot be decoded, and is left out: %s [ISE064]", key, sid, error)


def check_key(key: object) -> None:
    """Raise TypeError or ValueError for what cannot be a key of a session."""
    if not isinstance(key, str):
        kind = type(key).__name__
        raise TypeError(
            f"A session's keys are strings; {key!r} is of the type {kind}. Write session[{str(key)!r}]. [ISE055]"
        )
    if key.startswith(RESERVED):
        raise ValueError(f"Keys that begin with {RESERVED!r} are reserved; {key!r} needs another name. [ISE055]")
    if not key.isascii() and any("\ud800" <= letter <= "\udfff" for letter in key):
        raise ValueError(f"A session's keys are text that UTF-8 can hold; {key!r} has half a character in it. [ISE055]")
