"""Orders keys by an instant, lazily: a key is filed once, and filed again when its turn comes.

A hashed timing wheel (Varghese and Lauck, 1987, with the slots in a dict): O(1) for each key filed, nothing when its
instant moves later, and nothing when it is forgotten elsewhere. Its order is therefore a hint, which a caller that
takes a key checks against the truth.
"""

from collections import deque
from collections.abc import Callable
from collections.abc import Sequence
from heapq import heappop
from heapq import heappush
from math import floor
from math import inf

#: Slots to a second. A power of two, so that the edges of a slot are exact.
_FINENESS = 16

#: How many keys of one slot are looked at to find its first: more than that in a sixteenth of a second
#: is a flood, in which any of them will do.
_LOOK = 64

#: How many keys are kept in one tuple, which is replaced for each that is put in. Python's collector goes through a
#: tuple once, and does so when there are 700 new ones: that must not take long.
_PIECE = 64

#: Returns the instant that truly belongs to a key, or None for a key that is forgotten.
Truth = Callable[[int], float | None]


class TimingWheel:
    """Keys in slots of a sixteenth of a second, first filed, first out. The store's lock guards it.

    A key must be filed no later than its true instant. One whose instant moves earlier is filed again;
    the two entries become one when they meet.
    """

    __slots__ = ("_slots", "_full", "_order", "_filed", "_round", "_left")

    def __init__(self) -> None:
        # The keys in tuples: a list's items the garbage collector would visit, one by one. They are those objects
        # that were filed, so that each costs a pointer where the store has it in a dict, too.
        self._slots: dict[int, tuple[int, ...]] = {}
        self._full: dict[int, deque[tuple[int, ...]]] = {}  # The earlier keys of a slot that has many.
        self._order: list[int] = []  # A heap of the slots.
        self._filed = 0
        self._round: list[int] = []  # The slots that settle() has yet to visit,
        self._left = 0  # and how many keys of the last of them.

    def __len__(self) -> int:
        """Return how many entries there are, those of forgotten keys too."""
        return self._filed

    def file(self, key: int, instant: float) -> None:
        """Remember that the turn of ``key`` comes at ``instant``; that of an infinite one never comes."""
        if instant < inf:
            self._append(floor(instant * _FINENESS), (key,))

    def file_all(self, keys: Sequence[int], instant: float) -> None:
        """Remember that the turn of none of the keys comes before ``instant``."""
        if instant < inf:
            for start in range(0, len(keys), _PIECE):
                self._append(floor(instant * _FINENESS), tuple(keys[start : start + _PIECE]))

    def due(self, now: float, *, truth: Truth, limit: int, budget: int) -> list[int]:
        """Take off and return up to ``limit`` keys whose true instant is not after ``now``, looking at about ``budget``
        entries. Those whose instant has moved are filed again.
        """
        due: dict[int, None] = {}
        waiting: list[tuple[int, float]] = []  # Filed afterwards, for the present slot is not to grow meanwhile.
        present = floor(now * _FINENESS)
        while budget > 0 and len(due) < limit and self._order and self._order[0] <= present:
            slot = self._order[0]
            taken = self._take(slot, min(budget, _LOOK))
            budget -= max(len(taken), 1)
            for index, key in enumerate(taken):
                if len(due) == limit:
                    self._put_back(slot, taken[index:])
                    break
                instant = truth(key)
                if instant is not None and instant <= now:
                    due[key] = None
                elif instant is not None:
                    waiting.append((key, instant))
        for key, instant in dict(waiting).items():
            self.file(key, instant)
        return list(due)

    def first(self, *, truth: Truth, budget: int) -> tuple[int, float | None] | None:
        """Return the key with the earliest true instant, and that instant; None for an empty wheel.

        Within one slot it is the earliest of up to 64 that were filed first. Where it is not found within
        about ``budget`` entries, it is the earliest of those, and without an instant.
        """
        seen: dict[int, float] = {}
        while self._order:
            if budget <= 0 and seen:
                return min(seen, key=seen.__getitem__), None
            slot = self._order[0]
            here: dict[int, float] = {}
            for key in self._take(slot, _LOOK):
                budget -= 1
                instant = truth(key)
                if instant is not None:
                    if instant * _FINENESS >= slot + 1:
                        self.file(key, instant)
                        seen[key] = instant
                    else:
                        here[key] = instant
            if here:
                self._put_back(slot, tuple(here))
                key = min(here, key=here.__getitem__)
                return key, here[key]
        return None

    def settle(self, *, truth: Truth, budget: int) -> None:
        """Look at the next ``budget`` entries, round and round, and drop those of forgotten keys."""
        while budget > 0:
            if not self._left:
                if not self._round:
                    self._round = list(self._slots)
                    if not self._round:
                        return
                self._left = self._size(self._round[-1])
            slot = self._round[-1]
            taken = self._take(slot, min(budget, self._left)) if self._left and slot in self._slots else ()
            budget -= max(len(taken), 1)
            self._left = max(self._left - len(taken), 0) if taken else 0
            for key in dict.fromkeys(taken):
                instant = truth(key)
                if instant is not None:
                    self.file(key, instant)
            if not self._left:
                self._round.pop()

    def _size(self, slot: int) -> int:
        return len(self._slots.get(slot, ())) + sum(map(len, self._full.get(slot, ())))

    def _append(self, slot: int, keys: tuple[int, ...]) -> None:
        self._filed += len(keys)
        last = self._slots.get(slot)
        if last is None:
            self._slots[slot] = keys
            heappush(self._order, slot)
        elif len(last) + len(keys) <= _PIECE:
            self._slots[slot] = last + keys
        else:
            self._full.setdefault(slot, deque()).append(last)
            self._slots[slot] = keys

    def _take(self, slot: int, limit: int) -> tuple[int, ...]:
        """Take up to ``limit`` keys off the front of a slot, in a time that the others do not lengthen."""
        full = self._full.get(slot)
        piece = self._slots[slot] if full is None else full.popleft()
        taken, rest = piece[:limit], piece[limit:]
        self._filed -= len(taken)
        if full is None:
            self._slots[slot] = rest
            if not rest and self._order[0] == slot:
                del self._slots[slot]
                heappop(self._order)
            # Another empty slot stays until its turn: a heap from whose middle one is taken is none any more.
        elif rest:
            full.appendleft(rest)
        elif not full:
            del self._full[slot]
        return taken

    def _put_back(self, slot: int, keys: tuple[int, ...]) -> None:
        """Put keys that were just taken back at the front of their slot."""
        if slot in self._slots:
            self._filed += len(keys)
            if slot not in self._full and len(keys) + len(self._slots[slot]) <= _PIECE:
                self._slots[slot] = keys + self._slots[slot]
            else:
                self._full.setdefault(slot, deque()).appendleft(keys)
        else:
            self._append(slot, keys)
