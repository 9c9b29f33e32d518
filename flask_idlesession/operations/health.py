"""Tells monitoring whether a store answers."""

import time
from dataclasses import dataclass

from ..model.errors import StoreError
from ..model.ids import new_session_id
from ..stores.circuit_breaker import CircuitBreaker
from ..stores.contract import Store
from .probes import innermost


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Whether an application's sessions can be had at this moment."""

    #: The kind of store: the name of its class.
    kind: str
    #: Whether the store answers.
    is_up: bool
    #: Seconds since the failure that began an outage; 0 while there is none.
    down_for: float
    #: Seconds that the answer took; None if there was none.
    latency: float | None
    #: Whether the store can be read and not written, because it is full or a replica, for example.
    refuses_writes: bool = False
    #: How many of this process's calls failed in the last minute. Some of its requests were answered 503.
    failures: int = 0


def examine(store: Store, *, now: float) -> Health:
    """Ask the store for a session that does not exist, as a request would, and tell how that went.

    It takes no longer than a request does: while an outage lasts the answer comes at once.
    """
    asked_at = time.perf_counter()
    try:
        store.load(new_session_id(), now=now)
    except StoreError:
        latency = None
    else:
        latency = time.perf_counter() - asked_at
    breaker = store if isinstance(store, CircuitBreaker) else None
    is_up = latency is not None
    refuses_writes = breaker is not None and is_up and breaker.refuses_writes
    return Health(
        kind=kind_of(store),
        is_up=is_up,
        down_for=0.0 if breaker is None or is_up and not refuses_writes else breaker.down_for,
        latency=latency,
        refuses_writes=refuses_writes,
        failures=0 if breaker is None else breaker.failures,
    )


def kind_of(store: Store) -> str:
    """Return the name of the class of the store inside what guards and encrypts it."""
    return type(innermost(store)).__name__
