"""The group of the commands: how they fail, and which sessions a command can see."""

from typing import Any
from typing import TYPE_CHECKING

import click
from flask.cli import AppGroup

from ..model.errors import ConfigError
from ..model.errors import StoreError

if TYPE_CHECKING:
    from ..sessions.manager import SessionManager

#: Exit codes besides 0 (done) and click's 2 (wrong use).
NOTHING_FOUND, OUT_OF_REACH = 1, 3

#: Advice for sessions that live in the memory of the processes that serve the application.
ELSEWHERE = (
    "The sessions are in the memory of each process that serves the application, and this command is another process. "
    'Share them: app.config["IDLESESSION_STORE"] = "sqlite:///instance/sessions.db". Until then a view of the '
    "application can list and end them, with sessions_of() and revoke_user(); a restart ends all of them."
)
_LOCKED = (
    "With a journal the sessions are in the memory of the process that serves the application. Stop that process "
    'first, or share them: app.config["IDLESESSION_STORE"] = "sqlite:///instance/sessions.db".'
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


def open_manager() -> "SessionManager":
    """Return the session manager of the application.

    Raise :exc:`OutOfReach` where its sessions are in the memory of other processes.
    """
    from flask import current_app

    from ..web.current import current_manager

    try:
        manager = current_manager()
    except ConfigError as error:
        if current_app.config.get("IDLESESSION_JOURNAL") is None:
            raise
        raise OutOfReach(f"{error} {_LOCKED}") from error
    traits = manager.store.traits
    if traits.in_process and traits.forgetful and not current_app.testing and not any(manager.find()):
        raise OutOfReach(ELSEWHERE)
    return manager
