"""Says what the dashboard shows as JSON, for its own script and for programs."""

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from flask import request

from ..accounts.client import described
from ..accounts.client import described_ending
from ..accounts.client import shown_address
from ..model.record import Ending
from ..model.record import SessionInfo
from ..operations.contents import Content
from ..operations.minutes import Minute
from ..operations.minutes import REASONS
from ..operations.minutes import Series
from ..operations.overview import Overview
from ..operations.search import Found
from ..operations.tallies import FLUSHED_EACH


def wants_json() -> bool:
    """Return whether the request asks for JSON: its header Accept says so, and does not like HTML as much."""
    accepted = request.accept_mimetypes
    return accepted["application/json"] > accepted["text/html"]


def overview_as_json(overview: Overview, texts: Mapping[str, Any]) -> dict[str, Any]:
    """Return an overview, with the texts in which the page says it."""
    census = overview.census
    return {
        "at": overview.at,
        "store": {
            "kind": overview.kind,
            "answers": census is not None,
            "bytes": None if census is None else census.stored_bytes,
            **_calls(overview.recent),
        },
        "live": None if census is None else census.live,
        "live_is_exact": census is not None and census.is_live_exact,
        "users": None if census is None else census.users,
        "with_a_user": None if census is None else census.signed_in,
        "sample": None if census is None else {"seen": census.seen, "is_all": not census.is_sample},
        "last_hour": _ends(overview.hour),
        "counted_by_all_workers": overview.is_shared,
        "seconds_that_a_kill_loses": FLUSHED_EACH,
        "series": None if overview.series is None else _series(overview.series),
        "idle_age": {
            "timeout": overview.idle_timeout,
            "bars": [asdict(bar) for bar in overview.bars],
            "shorter_timeouts": [{"timeout": each, "ended_part": part} for each, part in overview.asked_more],
        },
        "cleaner": {"last_pass_seconds_ago": overview.cleaned_ago},
        "workers": overview.workers,
        "findings": [asdict(finding) for finding in overview.found.findings],
        "pollers": [asdict(poller) for poller in overview.found.pollers],
        "texts": texts,
    }


def found_as_json(found: Found, *, kept: str | None) -> dict[str, Any]:
    """Return what a search found."""
    return {
        "sessions": [info_as_json(info, kept=kept) for info in found.infos],
        "met": found.met,
        "looked_at": found.seen,
        "is_complete": found.is_complete,
    }


def info_as_json(info: SessionInfo, *, kept: str | None) -> dict[str, Any]:
    """Return what may be told of a session. ``kept`` is ``IDLESESSION_CLIENT_INFO``: an address from before it was set
    so is told as it would be kept now.
    """
    told = described(info)
    return {**told, "address": shown_address(info, kept=kept), "browser": None if kept is None else told["browser"]}


def ending_as_json(ending: Ending | None) -> dict[str, Any] | None:
    """Return how a session ended; None if nothing is remembered of it."""
    return None if ending is None else described_ending(ending)


def contents_as_json(contents: Sequence[Content]) -> list[dict[str, Any]]:
    """Return the keys of a session, each with the type and the size of its value."""
    return [asdict(content) for content in contents]


def _calls(recent: Minute | None) -> dict[str, Any]:
    if recent is None:
        return {"p50": None, "p99": None, "errors": None}
    return {"p50": recent.calls.quantile(0.5), "p99": recent.calls.quantile(0.99), "errors": recent.errors}


def _ends(minute: Minute | None) -> dict[str, Any] | None:
    if minute is None:
        return None
    return {"created": minute.created, "ended": dict(zip(REASONS, minute.ended, strict=True))}


def _series(series: Series) -> dict[str, Any]:
    steps = series.steps
    return {
        "begins_at": series.begins_at,
        "step": series.step,
        "live": series.live,
        "created": [step.created for step in steps],
        "ended": {reason: [step.ended[place] for step in steps] for place, reason in enumerate(REASONS)},
        "p50": [step.calls.quantile(0.5) for step in steps],
        "p99": [step.calls.quantile(0.99) for step in steps],
        "errors": [step.errors for step in steps],
    }
