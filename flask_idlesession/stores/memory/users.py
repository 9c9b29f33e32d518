"""Tells which sessions are whose, in a form that the garbage collector skips."""

from collections.abc import Callable
from collections.abc import Iterable

#: A dict that grows is copied in one go: many small ones never stop the world for long.
_PLACES = 192

#: So much of a hash fits into an int of 32 bytes.
_HASH = (1 << 60) - 1

#: How many sessions of one user are kept in a tuple.
_FEW = 16

#: One session's key, or several: the collector walks neither an int nor a tuple of them. A dict is for a user with too
#: many to go through each time.
_Keys = int | tuple[int, ...] | dict[int, None]


class Users:
    """The keys of each user's sessions, by the hash of the user's id, which has half of its size.

    Keys of another user with the same hash may be among them: the records tell. The store's lock guards this.
    """

    __slots__ = ("_places",)

    def __init__(self) -> None:
        self._places: tuple[dict[int, _Keys], ...] = tuple({} for _ in range(_PLACES))

    def __len__(self) -> int:
        """Return how many users have a session."""
        return sum(map(len, self._places))

    def enter(self, key: int, user: int) -> None:
        """Note a session of the user with this hash."""
        users = self._places[user % _PLACES]
        known = users.get(user)
        if isinstance(known, dict):
            known[key] = None
        elif known is None:
            users[user] = key
        else:
            keys = (*_keys_in(known), key)
            users[user] = keys if len(keys) <= _FEW else dict.fromkeys(keys)

    def enter_all(self, keys: Iterable[int], user_of: Callable[[int], str]) -> None:
        """Note restored sessions. Most users have one: a call for each would be half of the time that a start takes."""
        places = self._places
        for key in keys:
            user = hash(user_of(key)) & _HASH
            if places[user % _PLACES].setdefault(user, key) != key:
                self.enter(key, user)

    def leave(self, key: int, user: int) -> None:
        """Note that a session is no more, or another user's."""
        users = self._places[user % _PLACES]
        keys = users[user]
        if isinstance(keys, dict):
            del keys[key]
        else:
            keys = users[user] = tuple(other for other in _keys_in(keys) if other != key)
        if not keys:
            del users[user]

    def keys_of(self, user: int) -> tuple[int, ...]:
        """Return the keys of the sessions of the user with this hash."""
        return _keys_in(self._places[user % _PLACES].get(user, ()))

    def many_of(self, user: int) -> dict[int, None] | None:
        """Return the same, if they are many: as they are kept, for nobody to change."""
        keys = self._places[user % _PLACES].get(user)
        return keys if isinstance(keys, dict) else None


def hash_of(user_id: str) -> int:
    """Return the hash by which a user is known here."""
    return hash(user_id) & _HASH


def _keys_in(keys: _Keys) -> tuple[int, ...]:
    return (keys,) if isinstance(keys, int) else tuple(keys)
