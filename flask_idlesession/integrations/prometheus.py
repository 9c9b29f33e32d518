"""Serves the figures of an application's sessions to Prometheus, in its text form and in that of OpenMetrics."""

import hmac
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from importlib import import_module
from typing import Any
from typing import TYPE_CHECKING

from flask import Flask
from flask import request
from flask import Response
from flask.typing import ResponseReturnValue

from ..model.errors import ConfigError
from ..operations.latency import BOUNDS
from ..operations.latency import histograms
from ..operations.store_gauge import KINDS
from ..operations.tallies import ENDED
from ..web.activity import passive
from ..web.current import current_runtime
from ..web.current import NAME
from ..web.operators import Guard
from ..web.operators import refusal_by

if TYPE_CHECKING:
    from ..operations.figures import Figures


#: The counters without a label, by their names among the tallies.
_COUNTED = {
    "created": "Sessions that were stored for the first time.",
    "log_ins": "Log-ins.",
    "log_ins_refused": "Log-ins that were refused because the user had as many sessions as they may have.",
    "bad_tokens": "Requests with a cookie or a token header that is no token of the application.",
}


class SessionCollector:
    """A collector for a registry of ``prometheus_client``: the figures of one application's sessions.

    ``IDLESESSION_METRICS`` needs none. It is for an application that has metrics of its own, and a page for them::

        from flask_idlesession.integrations.prometheus import SessionCollector
        from prometheus_client import REGISTRY

        REGISTRY.register(SessionCollector(app))

    With ``IDLESESSION_TALLIES = True`` it has what all processes count together, too.
    """

    def __init__(self, app: Flask) -> None:
        require_prometheus("SessionCollector")
        if NAME not in app.extensions:
            raise ConfigError(
                f"The application {app.name!r} has no idle sessions; call IdleSession(app) before "
                "SessionCollector(app). [ISE040]"
            )
        self._read = app.extensions[NAME].figures

    def describe(self) -> Iterable[Any]:
        """Return nothing: a registry that asks for names must not ask the store."""
        return ()

    def collect(self) -> Iterator[Any]:
        """Yield the metrics. A figure that is not known now is left out."""
        figures: Figures = self._read()
        families = _Families()
        yield from families.of_this_moment(figures)
        if figures.totals is not None:
            yield from families.of_totals(figures.totals)


class _Families:
    """Makes metrics of figures."""

    def __init__(self) -> None:
        core: Any = import_module("prometheus_client.core")
        self._gauge, self._counter = core.GaugeMetricFamily, core.CounterMetricFamily
        self._histogram = core.HistogramMetricFamily

    def of_this_moment(self, figures: "Figures") -> Iterator[Any]:
        """Yield what rises and falls."""
        for name, help, value in (
            (
                "idlesession_live",
                "Sessions that are live. A store may estimate more than some tens of thousands, and a count that takes "
                "a tenth of a second or more stands for fifty times as long.",
                figures.live,
            ),
            (
                "idlesession_bytes",
                "Bytes that the sessions take in memory, in their file or in their tables; of Redis, all that the "
                "server uses.",
                figures.stored_bytes,
            ),
            (
                "idlesession_circuit_open",
                "1 while the process that answers refuses calls of the store, which is down or cannot be written; "
                "else 0.",
                int(figures.is_circuit_open),
            ),
            (
                "idlesession_cleaner_last_pass_seconds",
                "Seconds since the cleaner of the process that answers finished a pass. It comes once a minute at "
                "least.",
                figures.cleaned_ago,
            ),
        ):
            if value is not None:
                yield self._gauge(name, help, value=value, unit=_unit_of(name))

    def of_totals(self, totals: Mapping[str, int]) -> Iterator[Any]:
        """Yield what only rises."""
        for name, help in _COUNTED.items():
            yield self._counter(f"idlesession_{name}", help, value=totals.get(name, 0))
        ended = {name.partition(".")[2]: totals.get(name, 0) for name in ENDED.values()}
        yield self._by_label("idlesession_ended", "Sessions that ended, by the reason.", "reason", ended)
        errors = {kind: totals.get(f"store_errors.{kind}", 0) for kind in KINDS}
        yield self._by_label("idlesession_store_errors", "Calls of the store that failed, by the kind.", "kind", errors)
        name, help = "idlesession_store_seconds", "Seconds that the calls of the store took, by its verb."
        seconds = self._histogram(name, help, labels=["verb"], unit=_unit_of(name))
        for verb, told in histograms(totals).items():
            edges = [*(f"{bound:g}" for bound in BOUNDS), "+Inf"]
            seconds.add_metric([verb], list(zip(edges, told.counts, strict=True)), told.total)
        yield seconds

    def _by_label(self, name: str, help: str, label: str, values: Mapping[str, int]) -> Any:
        family = self._counter(name, help, labels=[label])
        for value, number in sorted(values.items()):
            family.add_metric([value], number)
        return family


def _unit_of(name: str) -> str:
    """Return the unit that a name ends with, for OpenMetrics; "" for a number of something."""
    last = name.rpartition("_")[2]
    return last if last in ("seconds", "bytes") else ""


def require_prometheus(what: str) -> None:
    """Raise :exc:`~flask_idlesession.ConfigError` if the package is missing that writes the figures down."""
    try:
        import_module("prometheus_client")
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{what} needs the package 'prometheus-client'; install it with: "
            "python -m pip install 'flask_idlesession[prometheus]'"
            " [ISE023]"
        ) from error


def mount(app: Flask, path: str, *, guard: Guard | None) -> str:
    """Serve the figures at ``path`` to a request that shows the token or that the guard lets in; return the path."""
    registry: Any = import_module("prometheus_client").CollectorRegistry(auto_describe=False)
    registry.register(SessionCollector(app))

    @passive
    def metrics() -> ResponseReturnValue:
        return _answer(registry, guard)

    app.add_url_rule(path, "idlesession.metrics", metrics, methods=["GET"])
    return path


def _answer(registry: Any, guard: Guard | None) -> ResponseReturnValue:
    """Answer with the figures. The request begins no session, and changes none."""
    session = getattr(request, "_idlesession", None)
    if session is not None:
        current_runtime().requests.only_look(session)
    refusal = None if _shows_token() else _refuse(guard)
    if refusal is not None:
        return refusal
    choose: Any = import_module("prometheus_client.exposition").choose_encoder
    encode, content_type = choose(request.headers.get("Accept", ""))
    response = Response(encode(registry), content_type=content_type)
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.vary.add("Accept")
    return response


def _shows_token() -> bool:
    """Return whether the request shows the token of the setting (RFC 6750, 2.1)."""
    token = current_runtime().settings.metrics_token
    scheme, _, shown = request.headers.get("Authorization", "").strip().partition(" ")
    return token is not None and scheme.lower() == "bearer" and hmac.compare_digest(shown.strip().encode(), token)


def _refuse(guard: Guard | None) -> ResponseReturnValue | None:
    """Return what is answered to a request without the token; None if the guard lets it in all the same."""
    if guard is not None:
        return refusal_by(guard)
    return Response(
        "This needs the token of IDLESESSION_METRICS_TOKEN, as in: Authorization: Bearer …\n",
        401,
        {"WWW-Authenticate": 'Bearer realm="metrics"', "Cache-Control": "no-store"},
        mimetype="text/plain",
    )
