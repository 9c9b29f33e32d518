"""Tells OpenTelemetry's meter provider what this process does with its sessions, and how its store answers."""

import time
import weakref
from collections.abc import Callable
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from ..model.clock import Clock
from ..model.errors import ConfigError
from ..model.errors import StoreError
from ..model.record import EndReason
from ..model.signals import bad_tokens_seen
from ..model.signals import log_in_refused
from ..model.signals import session_created
from ..model.signals import session_ended
from ..model.signals import session_logged_in
from ..operations.figures import Figures
from ..operations.figures import FiguresReader
from ..operations.latency import BOUNDS
from ..operations.store_gauge import kind_of
from ..stores.contract import Store

#: Seconds for which the figures of one look at the store stand: a reader asks for all of them at once.
_STANDS = 1.0

#: The gauges: their names, units and descriptions, and what each takes of the figures.
_GAUGES: tuple[tuple[str, str, str, Callable[[Figures], float | None]], ...] = (
    (
        "idlesession.live",
        "{session}",
        "Sessions that are live. Every process that shares the store tells the same number.",
        lambda figures: figures.live,
    ),
    (
        "idlesession.bytes",
        "By",
        "Bytes that the sessions take, or the file or server that holds them. Every process tells the same number.",
        lambda figures: figures.stored_bytes,
    ),
    (
        "idlesession.circuit_open",
        "1",
        "1 while this process refuses calls of the store, which is down or cannot be written; else 0.",
        lambda figures: int(figures.is_circuit_open),
    ),
    (
        "idlesession.cleaner.last_pass",
        "s",
        "Seconds since the cleaner of this process finished a pass.",
        lambda figures: figures.cleaned_ago,
    ),
)


class Instruments:
    """The instruments of one application in this process, of the meter provider that is set, or will be.

    They count what this process does, so the numbers of all processes are to be added. It is a gauge of the store's
    calls, too. Its signals are ``app``'s.
    """

    def __init__(self, app: object) -> None:
        meter = _meter()
        self._created = meter.create_counter(
            "idlesession.created", unit="{session}", description="Sessions that were stored for the first time."
        )
        self._ended = meter.create_counter(
            "idlesession.ended", unit="{session}", description="Sessions that ended, by the reason."
        )
        self._log_ins = meter.create_counter("idlesession.log_ins", unit="{log_in}", description="Log-ins.")
        self._refused = meter.create_counter(
            "idlesession.log_ins_refused",
            unit="{log_in}",
            description="Log-ins that were refused because the user had as many sessions as they may have.",
        )
        self._bad_tokens = meter.create_counter(
            "idlesession.bad_tokens",
            unit="{request}",
            description="Requests with a cookie or a token header that is no token of the application. They are told "
            "once a minute at most.",
        )
        self._seconds = meter.create_histogram(
            "idlesession.store.duration",
            unit="s",
            description="Seconds that the calls of the store took, by its verb.",
            explicit_bucket_boundaries_advisory=BOUNDS,  # The usual buckets begin at 5 s.
        )
        self._errors = meter.create_counter(
            "idlesession.store.errors", unit="{call}", description="Calls of the store that failed, by the kind."
        )
        self._meter = meter
        for signal, receiver in (
            (session_created, self._note_created),
            (session_ended, self._note_end),
            (session_logged_in, self._note_log_in),
            (log_in_refused, self._note_refusal),
            (bad_tokens_seen, self._note_bad_tokens),
        ):
            signal.connect(receiver, app)

    def watch(self, store: Store, *, clock: Clock) -> None:
        """Tell how many sessions the store has, and how it is, each time that the numbers are collected."""
        self._look = _Look(store, clock=clock)
        looking = weakref.ref(self._look)  # The provider keeps its callbacks for ever.
        for name, unit, description, take in _GAUGES:
            callback = _callback(looking, take)
            self._meter.create_observable_gauge(name, callbacks=[callback], unit=unit, description=description)

    def note_call(self, verb: str, seconds: float) -> None:
        """Note a call of the store that was answered."""
        self._seconds.record(seconds, {"verb": verb})

    def note_failure(self, error: StoreError) -> None:
        """Note a call of the store that failed."""
        self._errors.add(1, {"kind": kind_of(error)})

    def _note_created(self, sender: object, **_: object) -> None:
        self._created.add(1)

    def _note_end(self, sender: object, reason: EndReason, **_: object) -> None:
        self._ended.add(1, {"reason": reason.value.replace(" ", "-")})

    def _note_log_in(self, sender: object, **_: object) -> None:
        self._log_ins.add(1)

    def _note_refusal(self, sender: object, **_: object) -> None:
        self._refused.add(1)

    def _note_bad_tokens(self, sender: object, count: int) -> None:
        self._bad_tokens.add(count)


class _Look:
    """Looks at the store once for all gauges that are collected together."""

    def __init__(self, store: Store, *, clock: Clock) -> None:
        self._reader = FiguresReader(store, tallies=None, clock=clock)
        self._figures: Figures | None = None
        self._until = 0.0

    def figures(self) -> Figures:
        """Return the figures of now, or of a moment ago."""
        now = time.monotonic()
        if self._figures is None or now >= self._until:
            self._figures, self._until = self._reader.read(), now + _STANDS
        return self._figures


def require_opentelemetry() -> None:
    """Raise :exc:`~flask_idlesession.ConfigError` if OpenTelemetry's API is missing."""
    _api()


def _api() -> Any:
    try:
        return import_module("opentelemetry.metrics")
    except ModuleNotFoundError as error:
        raise ConfigError(
            "IDLESESSION_OPENTELEMETRY needs the package 'opentelemetry-api'; install it with: "
            "python -m pip install 'flask_idlesession[opentelemetry]'"
            " [ISE023]"
        ) from error


def _meter() -> Any:
    return _api().get_meter("flask_idlesession")


def _callback(
    looking: "weakref.ref[_Look]", take: Callable[[Figures], float | None]
) -> Callable[[object], Iterator[Any]]:
    """Return what observes one of the figures. An application that is gone has none, and neither has an outage."""
    observation = _api().Observation

    def observe(options: object) -> Iterator[Any]:
        look = looking()
        value = None if look is None else take(look.figures())
        if value is not None:
            yield observation(value)

    return observe
