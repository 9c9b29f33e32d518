"""Counts the calls of the store by how long they took, and those that failed by why."""

from ..model.errors import RecordRejected
from ..model.errors import StoreError
from ..model.errors import StoreUnavailable
from ..stores.contract import UnreadableRecord
from .event_counter import EventCounter
from .latency import bucket_of
from .latency import names_of

#: The kinds of failures, by their errors. Any other is "other".
_KINDS = ((StoreUnavailable, "unavailable"), (RecordRejected, "rejected"), (UnreadableRecord, "unreadable"))

#: The names of all kinds.
KINDS = (*(name for _, name in _KINDS), "other")


class StoreGauge:
    """Counts what a :class:`~.timed.TimedStore` measures."""

    def __init__(self, counter: EventCounter) -> None:
        self._counter = counter
        self._names: dict[str, tuple[tuple[str, ...], str]] = {}

    def note_call(self, verb: str, seconds: float) -> None:
        """Count a call by its bucket, and its duration."""
        names = self._names.get(verb)
        if names is None:
            names = self._names[verb] = names_of(verb)
        buckets, total = names
        self._counter.count_all({buckets[bucket_of(seconds)]: 1, total: round(seconds * 1e6)})

    def note_failure(self, error: StoreError) -> None:
        """Count a failure by its kind."""
        self._counter.count(f"store_errors.{kind_of(error)}")


def kind_of(error: StoreError) -> str:
    """Return the name for the kind of a failure."""
    return next((name for kind, name in _KINDS if isinstance(error, kind)), "other")
