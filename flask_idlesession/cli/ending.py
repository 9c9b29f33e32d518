"""The commands that end and forget sessions: ``revoke`` and ``prune``."""

from typing import TYPE_CHECKING
from uuid import UUID

import click
from flask.cli import with_appcontext

from .choosing import Criteria
from .choosing import label
from .choosing import session_id
from .group import NOTHING_FOUND
from .group import open_manager

if TYPE_CHECKING:
    from ..model.record import SessionInfo
    from ..sessions.manager import SessionManager

#: The actor that audit events and signals name.
_ACTOR = "flask idlesession"


@click.command(
    epilog="\b\nExamples:\n  flask idlesession revoke 0b0f5c0e-8a55-4f0c-9a0b-3a4d1c2b5e6f\n"
    "  flask idlesession revoke --user 42\n  flask idlesession revoke --label level=admin --idle-over 600 --yes\n"
    "  flask idlesession revoke --all"
)
@click.argument("sids", metavar="[ID]...", nargs=-1, type=session_id)
@click.option("--user", metavar="ID", help="All sessions of this user, and log-ins that are under way.")
@click.option("--idle-over", type=float, metavar="SECONDS", help="Sessions idle for longer.")
@click.option(
    "--label", "labels", type=label, metavar="NAME=VALUE", multiple=True, help="Sessions with this label. Repeatable."
)
@click.option("--all", "everything", is_flag=True, help="Every session, and log-ins that are under way.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_appcontext
def revoke(
    sids: tuple[UUID, ...],
    user: str | None,
    idle_over: float | None,
    labels: tuple[tuple[str, str], ...],
    everything: bool,
    yes: bool,
) -> None:
    """End sessions: by their IDs, by criteria that all have to hold, or all of them.

    Their users are logged out at their next request, on every worker.
    """
    by_criteria = user is not None or idle_over is not None or bool(labels)
    if (bool(sids), by_criteria, everything).count(True) != 1:
        raise click.UsageError(
            "Say which sessions: by IDs, or by --user, --idle-over and --label, or by --all. [ISE110]"
        )
    manager = open_manager()
    criteria = Criteria(user_id=user, idle_over=idle_over, labels=labels)
    count = len(_chosen(manager, sids, criteria))
    is_wide = everything or user is not None and idle_over is None and not labels
    if count and not yes:
        click.confirm(f"End {_sessions(count)}?", abort=True)
    if is_wide:  # Also where none is there yet: a log-in that is under way counts.
        ended = manager.revoke_all(by=_ACTOR) if user is None else manager.revoke_user(user, by=_ACTOR)
    else:
        ended = _end(manager, _chosen(manager, sids, criteria))
    if not ended:
        click.echo("Nothing matched: no session was ended.", err=True)
        raise SystemExit(NOTHING_FOUND)
    click.echo(f"{_sessions(ended)} ended.")


def _chosen(manager: "SessionManager", sids: tuple[UUID, ...], criteria: Criteria) -> "list[SessionInfo]":
    if not sids:
        return list(criteria.choose(manager))
    found = (manager.lifecycle.look_up_info(sid, now=manager.now()) for sid in dict.fromkeys(sids))
    return [info for info in found if info is not None]


def _end(manager: "SessionManager", infos: "list[SessionInfo]") -> int:
    from ..model.record import EndReason

    return manager.lifecycle.end_all(infos, EndReason.REVOKED, by=_ACTOR)


@click.command(epilog="\b\nExample:\n  flask idlesession prune")
@with_appcontext
def prune() -> None:
    """Forget the sessions that have expired.

    The application does this by itself. The command is for a store that no process uses at present.
    """
    count = open_manager().prune()
    click.echo(
        f"{_sessions(count)} had expired and are forgotten now." if count else "Nothing matched: none had expired."
    )


def _sessions(count: int) -> str:
    return f"{count} session{'' if count == 1 else 's'}"
