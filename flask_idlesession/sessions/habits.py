"""Remembers which kinds of requests write to their session: such a request notes its activity with its write."""

from collections.abc import Hashable


class Habits:
    """Kinds of requests, such as a route and a method, by what the last of each kind did.

    A wrong guess costs a statement of the store, and nothing else. No lock guards the set: its methods are atomic.
    """

    def __init__(self) -> None:
        self._writing: set[Hashable] = set()

    def writes(self, kind: Hashable) -> bool:
        """Return whether the last request of this kind wrote."""
        return kind in self._writing

    def note(self, kind: Hashable, *, wrote: bool) -> None:
        """Note what a request of this kind did."""
        if wrote:
            self._writing.add(kind)
        else:
            self._writing.discard(kind)
