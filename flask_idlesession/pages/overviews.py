"""Knows what an application's dashboard reads from, and keeps it with the application."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from flask import current_app
from flask import Flask

from ..operations.checks import check
from ..operations.checks import Deployment
from ..operations.checks import Finding
from ..operations.other_processes import OtherProcesses
from ..operations.overview import OverviewReader
from ..web.current import current_runtime
from ..web.current import NAME

#: The blueprint's attribute that holds the reader, once there is one.
_READER = "_idlesession_reader"


def keep_reader(app: Flask) -> None:
    """Have room for the reader of this application. It is made when it is first needed, for settings may change until
    the first request.
    """
    setattr(app.blueprints[NAME], _READER, None)


def reader() -> OverviewReader:
    """Return what the dashboard of the present application reads from. Two first requests may make two: no matter."""
    blueprint = current_app.blueprints[NAME]
    known = cast("OverviewReader | None", getattr(blueprint, _READER))
    if known is not None:
        return known
    runtime = current_runtime()
    assert runtime.tallies is not None  # The dashboard turns them on.
    made = OverviewReader(
        runtime.manager.store,
        runtime.tallies,
        clock=runtime.manager.now,
        policy=runtime.settings.policy,
        look=_look,
        count_workers=lambda: len(_processes().living()),
    )
    setattr(blueprint, _READER, made)
    return made


def _look() -> Sequence[Finding]:
    """Return what ``flask idlesession check`` would find here, as this process sees it."""
    runtime = current_runtime()
    deployment = Deployment(
        config=current_app.config,
        secret_key=current_app.secret_key,
        settings=runtime.settings,
        store=runtime.manager.store,
        now=runtime.manager.now(),
        processes={} if current_app.testing else _processes().living(),
        folder=Path(current_app.instance_path),
        has_flask_login=hasattr(current_app, "login_manager"),
    )
    return check(deployment, deploy=not (current_app.debug or current_app.testing))


def _processes() -> OtherProcesses:
    return OtherProcesses(f"{current_app.root_path} {current_app.import_name}")
