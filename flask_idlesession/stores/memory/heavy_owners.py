"""Knows who takes more than a fair share of a bounded store, so that one user pushes out only their own sessions."""

from collections.abc import Callable
from collections.abc import Iterable
from math import inf

#: An owner of more than this part of the bound loses first.
_SHARE = 64

#: An owner of more than a share has a session of at least this part of it, or more sessions than this.
_FEW = 16

#: So much of the store must be taken before an owner of many sessions is looked at with each write.
_NEARLY = 7 / 8


class HeavyOwners:
    """The owners that may have more than a share of ``max_bytes``: a user, or an anonymous session by itself.

    Few sessions are large and few users have many, so nearly all writes pass by with one comparison. The store's lock
    guards this.
    """

    def __init__(self, max_bytes: int | None, *, size_of: Callable[[int], int]) -> None:
        self._share = inf if max_bytes is None else max_bytes / _SHARE
        self._nearly_full = inf if max_bytes is None else max_bytes * _NEARLY
        self._size_of = size_of
        #: A session of this number of bytes, or more, is to be noted.
        self.large_from = self._share / _FEW
        self._large: dict[int, int | None] = {}
        self._many: set[int] = set()
        self._may_have_one = False

    def note_large(self, key: int, user: int | None) -> None:
        """Note a session of :attr:`large_from` bytes or more, and its user."""
        self._large[key] = user
        self._may_have_one = True

    def note_many(self, user: int, keys: dict[int, None], *, stored: int) -> None:
        """Note a user of many sessions who has written one, while ``stored`` bytes are in the store."""
        if len(keys) % _FEW and stored < self._nearly_full:
            return
        if 2 * sum(map(self._size_of, keys)) > self._share:
            self._many.add(user)
            self._may_have_one = True

    def forget(self, key: int) -> None:
        """Note that the session is gone."""
        self._large.pop(key, None)

    def largest_session(self, keys_of: Callable[[int], Iterable[int]]) -> int | None:
        """Return the largest session of the owner of most bytes, if that is more than a share.

        ``keys_of`` returns a user's sessions.
        """
        if not self._may_have_one:
            return None
        users = self._many.union(user for user in self._large.values() if user is not None)
        owners = [[key] for key, user in self._large.items() if user is None]
        owners += [list(keys_of(user)) for user in users]
        heaviest = max(owners, key=self._total, default=[])
        if self._total(heaviest) > self._share:
            return max(heaviest, key=self._size_of)
        self._many.clear()  # They are noted again when they write.
        self._may_have_one = False
        return None

    def _total(self, keys: Iterable[int]) -> int:
        return sum(map(self._size_of, keys))
