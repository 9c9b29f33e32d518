"""Tells whether a store answers, to whoever watches over an application."""

import time
from dataclasses import dataclass

from ..model.errors import StoreError
from ..model.ids import new_session_id
from ..stores.circuit_breaker import CircuitBreaker
from ..stores.contract import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Whether an application's sessions can be had at this moment."""

    #: The kind of store: the name of its class.
    kind: str
    #: Whether the store answers.
    is_up: bool
    #: Seconds since the first failure of those that it has had in a row; 0 while it is up.
    down_for: float
    #: Seconds that the answer took; None if there was none.
    latency: float | None


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
    inner, down_for = (store.store, store.down_for) if isinstance(store, CircuitBreaker) else (store, 0.0)
    inner = getattr(inner, "store", inner)  # Not what encrypts, but where it is kept.
    return Health(kind=type(inner).__name__, is_up=latency is not None, down_for=down_for, latency=latency)
