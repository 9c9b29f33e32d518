"""The commands that look at sessions and change nothing: ``list``, ``show`` and ``stats``."""

import json
from bisect import bisect_left
from dataclasses import asdict
from typing import Any
from typing import TYPE_CHECKING
from uuid import UUID

import click
from flask.cli import with_appcontext

from .choosing import Criteria
from .choosing import label
from .choosing import Network
from .choosing import network
from .choosing import session_id
from .group import NOTHING_FOUND
from .group import open_view
from .tables import duration
from .tables import plain
from .tables import print_table

if TYPE_CHECKING:
    from ..model.record import Ending
    from ..model.record import SessionInfo
    from .group import View

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")

#: Upper bounds of the buckets of idle ages, in seconds.
_BUCKETS = (60, 300, 900, 1800, 3600, 4 * 3600, 12 * 3600, 86400, 7 * 86400)


@click.command(epilog="\b\nExamples:\n  flask idlesession stats\n  flask idlesession stats --json")
@as_json
@with_appcontext
def stats(as_json: bool) -> None:
    """Count the live sessions, and say how long they have been idle."""
    view = open_view()
    counted = _count(view)
    if as_json:
        click.echo(json.dumps(counted))
        return
    age = counted["idle_age"]
    click.echo(
        f"{counted['store']}: {counted['live']} live sessions, {counted['anonymous']} of them anonymous. ", nl=False
    )
    click.echo(f"Number of users: {counted['users']}.")
    if counted["live"]:
        click.echo(f"Half were active in the last {duration(age['p50'])}, 9 of 10 in the last {duration(age['p90'])}.")
        rows = [(f"up to {duration(bound)}" if bound else "longer", str(count)) for bound, count in age["buckets"]]
        print_table(("IDLE", "SESSIONS"), rows)


def _count(view: "View") -> dict[str, Any]:
    from ..operations.health import kind_of

    now, users, anonymous, ages = view.now(), set(), 0, []
    for info in Criteria().choose(view):
        ages.append(max(now - info.last_seen_at, 0.0))
        if info.user_id is None:
            anonymous += 1
        else:
            users.add(info.user_id)
    ages.sort()
    counts = [0] * (len(_BUCKETS) + 1)
    for age in ages:
        counts[bisect_left(_BUCKETS, age)] += 1
    buckets = [[bound, count] for bound, count in zip((*_BUCKETS, None), counts, strict=True)]
    return {
        "live": len(ages),
        "users": len(users),
        "anonymous": anonymous,
        "idle_age": {"p50": _quantile(ages, 0.5), "p90": _quantile(ages, 0.9), "buckets": buckets},
        "store": kind_of(view.store),
    }


def _quantile(ordered: list[float], part: float) -> float | None:
    """Return the value that this part of the values does not exceed (the nearest rank); None of no values."""
    return ordered[max(-int(-part * len(ordered) // 1), 1) - 1] if ordered else None


@click.command(
    "list",
    epilog="\b\nExamples:\n  flask idlesession list --user 42\n"
    "  flask idlesession list --idle-over 900 --address 192.0.2.0/24\n"
    "  flask idlesession list --label level=admin --json",
)
@click.option("--user", metavar="ID", help="Only this user's sessions.")
@click.option("--idle-over", type=float, metavar="SECONDS", help="Only sessions idle for longer.")
@click.option("--address", type=network, metavar="ADDRESS", help="Only those last seen from this address or network.")
@click.option(
    "--label",
    "labels",
    type=label,
    metavar="NAME=VALUE",
    multiple=True,
    help="Only sessions with this label. Repeatable.",
)
@click.option("--limit", type=click.IntRange(min=1), help="At most this number, the last seen first.")
@as_json
@with_appcontext
def list_sessions(
    user: str | None,
    idle_over: float | None,
    address: Network | None,
    labels: tuple[tuple[str, str], ...],
    limit: int | None,
    as_json: bool,
) -> None:
    """List live sessions, the last seen first."""
    view = open_view()
    criteria = Criteria(user_id=user, idle_over=idle_over, network=address, labels=labels)
    found = sorted(criteria.choose(view), key=lambda info: info.last_seen_at, reverse=True)
    chosen = found[:limit]
    if as_json:
        click.echo(json.dumps([described(info) for info in chosen]))
        return
    if not chosen:
        click.echo("Nothing matched: there is no such live session.")
        return
    print_infos(chosen, now=view.now())
    if len(chosen) < len(found):
        click.echo(f"{len(chosen)} of {len(found)} sessions are shown.")


def described(info: "SessionInfo") -> dict[str, Any]:
    """Return a session's info as JSON has it."""
    from ..accounts import client
    from ..model.labels import ADDRESS
    from ..model.labels import AGENT
    from ..model.labels import DEVICE

    shown = {ADDRESS, AGENT, DEVICE}
    labels = {name: value for name, value in info.labels.items() if name not in shown}
    return {**client.described(info), "labels": labels}


def print_infos(infos: "list[SessionInfo]", *, now: float) -> None:
    """Print a table of sessions."""
    rows = []
    for info in infos:
        told = described(info)
        times = (duration(now - info.last_seen_at), duration(info.expires_at - now))
        user = "-" if told["user"] is None else told["user"]
        rows.append((told["id"], user, *times, str(told["address"] or "-"), told["browser"] or "-"))
    print_table(("ID", "USER", "IDLE", "ENDS IN", "ADDRESS", "BROWSER"), rows)


@click.command(
    epilog="\b\nExamples:\n  flask idlesession show 0b0f5c0e-8a55-4f0c-9a0b-3a4d1c2b5e6f\n"
    "  flask idlesession show 0b0f5c0e-8a55-4f0c-9a0b-3a4d1c2b5e6f --json"
)
@click.argument("sid", metavar="ID", type=session_id)
@as_json
@with_appcontext
def show(sid: UUID, as_json: bool) -> None:
    """Show one session: its info, and its keys with their types and sizes, but never a value."""
    from ..operations.contents import contents_of

    view = open_view()
    record = view.store.load(sid, now=view.now())
    if record is None:
        _tell_end(view.store.ending(sid, now=view.now()), sid, as_json=as_json)
        raise SystemExit(NOTHING_FOUND)
    keys = [asdict(content) for content in contents_of(record, view.codec)]
    told = described(record.info)
    if as_json:
        click.echo(json.dumps({**told, "keys": keys}))
        return
    for name, value in told.items():
        if name != "labels":
            click.echo(f"{name + ':':14}{plain(_said(value))}")
    for name, value in told["labels"].items():
        click.echo(plain(f"label {name}: {value}"))
    print_table(("KEY", "TYPE", "BYTES"), [(each["name"], each["type"], str(each["bytes"])) for each in keys])


def _tell_end(ending: "Ending | None", sid: UUID, *, as_json: bool) -> None:
    """Print how a session ended, for as long as the store remembers it; it says what the page after the end says."""
    from ..accounts.client import described_ending

    if ending is None or ending.is_of_many:
        click.echo(f"Nothing matched: there is no live session {sid}, and no end of it is remembered.", err=True)
        return
    if as_json:
        click.echo(json.dumps(described_ending(ending)))
        return
    by = "" if ending.by is None else f", by {plain(ending.by)}"
    whose = "nobody" if ending.user_id is None else plain(ending.user_id)
    click.echo(
        f"Session {sid} ended at {_said(ending.ended_at)}: {ending.reason.value}{by}. Its user: {whose}.", err=True
    )


def _said(value: object) -> str:
    from datetime import datetime
    from datetime import UTC

    if isinstance(value, float):
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return "-" if value is None else str(value)
