"""Checks what an application's config says about monitoring, and begins what it asks for."""

from typing import TYPE_CHECKING

from flask import Flask

from ..model.errors import ConfigError
from ..settings.keys import Settings

if TYPE_CHECKING:
    from ..operations.event_counter import EventCounter
    from ..stores.timed import Gauge
    from .opentelemetry import Instruments


def check_monitoring(settings: Settings, *, has_guard: bool) -> None:
    """Raise :exc:`~flask_idlesession.ConfigError` for a package that is missing, and for metrics that anybody could
    read. ``has_guard``: a function of the application decides about those who show no token.
    """
    if settings.opentelemetry:
        from .opentelemetry import require_opentelemetry

        require_opentelemetry()
    if settings.metrics is None:
        return
    from .prometheus import require_prometheus

    require_prometheus("IDLESESSION_METRICS")
    if settings.metrics_token is None and not has_guard:
        raise ConfigError(
            "IDLESESSION_METRICS is set, and nothing says who may read the metrics; set IDLESESSION_METRICS_TOKEN to a "
            "token that Prometheus shows, or write IdleSession(app, dashboard=guard) with a function that returns True "
            "for those who may. [ISE032]"
        )


def open_instruments(app: Flask, settings: Settings) -> "Instruments | None":
    """Return what tells OpenTelemetry of this process's sessions; None if it is not to be told."""
    if not settings.opentelemetry:
        return None
    from .opentelemetry import Instruments

    return Instruments(app)


def gauges_of(counter: "EventCounter | None", instruments: "Instruments | None") -> "list[Gauge]":
    """Return what is to be told of the calls of the store."""
    gauges: list[Gauge] = [] if instruments is None else [instruments]
    if counter is not None:
        from ..operations.store_gauge import StoreGauge

        gauges.append(StoreGauge(counter))
    return gauges
