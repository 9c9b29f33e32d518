"""Puts around a store what the store of every application has around it: encryption, measuring, a circuit breaker."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..settings.keys import Settings
from ..stores.contract import Store

if TYPE_CHECKING:
    from ..stores.timed import Gauge


def wrapped(store: Store, settings: Settings, *, gauges: "Sequence[Gauge]" = ()) -> Store:
    """Return the store as the manager uses it: encrypted, if that is asked for, and not asked during an outage. The
    gauges are told of its calls.
    """
    around = store
    if settings.encryption_keys:
        from ..stores.encrypted import EncryptedStore

        around = EncryptedStore(store, settings.encryption_keys)
    for gauge in gauges:
        from ..stores.timed import TimedStore

        around = TimedStore(around, gauge)
    if store.traits.in_process:
        return around
    from ..stores.circuit_breaker import CircuitBreaker

    return CircuitBreaker(around)  # Outside: an outage is answered before anything is encrypted for it.
