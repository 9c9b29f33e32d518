"""The group of the commands: how they fail, and which sessions a command can see."""

from typing import Any
from typing import NamedTuple
from typing import TYPE_CHECKING

import click
from flask.cli import AppGroup

from ..model.errors import ConfigError
from ..model.errors import StoreError

if TYPE_CHECKING:
    from ..model.clock import Clock
    from ..model.codec import Codec
    from ..sessions.manager import SessionManager
    from ..stores.contract import Store

#: Exit codes besides 0 (done) and click's 2 (wrong use).
NOTHING_FOUND, OUT_OF_REACH = 1, 3

#: Advice for sessions that live in the memory of the processes that serve the application.
ELSEWHERE = (
    "The sessions are in the memory of each process that serves the application, and this command is another process. "
    'Share them: app.config["IDLESESSION_STORE"] = "sqlite:///sessions.db". Until then a view of the '
    "application can list and end them, with sessions_of() and revoke_user(); a restart ends all of them. "
    "[ISW101]"
)
_LOCKED = (
    "With a journal the sessions are in the memory of the process that serves the application. Stop that process "
    'first, or share them: app.config["IDLESESSION_STORE"] = "sqlite:///sessions.db". [ISE026]'
)


class OutOfReach(click.ClickException):
    """The sessions cannot be seen from here."""

    exit_code = OUT_OF_REACH


class Commands(AppGroup):
    """A group of commands whose errors are sentences, and no tracebacks."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error of the configuration or the store ends it with one line."""
        try:
            return super().invoke(ctx)
        except (ConfigError, StoreError) as error:
            raise OutOfReach(str(error)) from error


class View(NamedTuple):
    """Sessions that are looked at. They are those of a session manager, or a copy of what its journal holds."""

    store: "Store"
    codec: "Codec"
    now: "Clock"


def open_manager(*, reads: bool = True) -> "SessionManager":
    """Return the session manager of the application.

    Raise :exc:`OutOfReach` where its sessions are in the memory of other processes. A command that brings sessions,
    and does not read any (``reads=False``), has no sessions to miss.
    """
    from flask import current_app

    from ..web.current import current_manager

    try:
        manager = current_manager()
        traits = manager.store.traits
        is_empty = traits.in_process and not any(manager.find())
    except (ConfigError, StoreError) as error:
        if current_app.config.get("IDLESESSION_JOURNAL") is None:
            raise
        raise OutOfReach(f"{error} {_LOCKED}") from error
    if traits.in_process and traits.forgetful and (is_empty or not reads) and not current_app.testing:
        raise OutOfReach(ELSEWHERE)
    return manager


def open_view() -> View:
    """Return the sessions of the application, to look at. Those in the memory of another process are read from its
    journal, without its lock. Raise :exc:`OutOfReach` where it has none.
    """
    from flask import current_app

    from ..web.current import NAME

    state = current_app.extensions.get(NAME)
    copy = None if state is None else state.copy_of_journal()
    if copy is None:
        manager = open_manager()
        return View(manager.store, manager.codec, manager.now)
    click.echo(
        "These sessions were read from the journal. The last instants of the process that writes it may be missing.",
        err=True,
    )
    return View(*copy)
