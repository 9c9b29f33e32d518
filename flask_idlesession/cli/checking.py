"""The command ``check``: whether this deployment is sound."""

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
from flask import current_app
from flask import Flask
from flask.cli import ScriptInfo

from ..model.errors import ConfigError
from .looking import as_json
from .tables import plain

if TYPE_CHECKING:
    from ..operations.checks import Deployment
    from ..operations.checks import Finding
    from ..operations.other_processes import Peer
    from ..settings.keys import Settings
    from ..stores.contract import Store

_FAULTS = 1


@click.command(
    epilog="\b\nExamples:\n  flask idlesession check\n  flask idlesession check --deploy\n"
    "  flask idlesession check --deploy --json"
)
@click.option("--deploy", is_flag=True, help="Take warnings that matter in production for errors.")
@as_json
@click.pass_context
def check(context: click.Context, deploy: bool, as_json: bool) -> None:
    """Look for faults in the settings, the keys, the cookie and the store.

    The first line names the store. It is another one than that of the workers if the environment is another.
    The exit code is 1 if there is an error. IDLESESSION_SILENCED_CHECKS is a list of codes that are left out.
    """
    try:
        app = _load(context)
        with app.app_context():
            if not as_json and (place := _place()) is not None:
                click.echo(f"Store: {plain(place)}")
            findings, unseen = _look(deploy=deploy)
    except ConfigError as error:
        findings, unseen = [_wrong_setting(error, deploy=deploy)], []
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings]))
    else:
        _print(findings, unseen)
    if any(finding.level == "error" for finding in findings):
        raise SystemExit(_FAULTS)


def _load(context: click.Context) -> Flask:
    """Return the application. A wrong setting may be raised while it is made: that is a finding, too."""
    app: Flask = current_app._get_current_object() if current_app else context.ensure_object(ScriptInfo).load_app()  # type: ignore[attr-defined]
    return app


def _place() -> str | None:
    """Return where this process looks for sessions, without a password; None if the application has none."""
    from ..settings.keys import read_settings
    from ..web.current import NAME

    state = current_app.extensions.get(NAME)
    if state is None:
        return None
    place: str = state.place(read_settings(current_app.config))
    is_relative = re.search(r"^sqlite:///(?!/)|with the journal '(?!/)", place) is not None
    return f"{place} (below {current_app.instance_path})" if is_relative else place


def _wrong_setting(error: ConfigError, *, deploy: bool) -> "Finding":
    from ..operations.checks import found

    return found("ISE101", str(error), deploy=deploy)


def _look(*, deploy: bool) -> "tuple[list[Finding], list[str]]":
    """Return what was found, and what could not be seen."""
    from ..operations.checks import at_stake
    from ..operations.checks import check
    from ..operations.other_processes import OtherProcesses
    from ..operations.store_checks import in_files
    from ..settings.keys import read_settings

    settings, folder = read_settings(current_app.config), Path(current_app.instance_path)
    processes = OtherProcesses(f"{current_app.root_path} {current_app.import_name}").living()
    unseen = list(_unseen(settings, processes))
    error, store, now = None, None, 0.0
    try:
        store, now = _open_store(settings)
    except ConfigError as wrong:
        error = wrong
        is_found = any(at_stake(settings, current_app.config, current_app.secret_key))
        if not is_found and not any(in_files(settings, current_app.config, folder=folder)):
            raise
    findings = check(_deployment(settings, store, processes, now=now, folder=folder), deploy=deploy)
    if error is not None:
        unseen.append(f"The store was not tried: {error}")
    elif store is not None:
        unseen += _untold(store)
    return findings, unseen


def _deployment(
    settings: "Settings", store: "Store | None", processes: "dict[int, Peer]", *, now: float, folder: Path
) -> "Deployment":
    from ..operations.checks import Deployment
    from ..web.activity import active_places

    return Deployment(
        config=current_app.config,
        secret_key=current_app.secret_key,
        settings=settings,
        store=store,
        now=now,
        processes=processes,
        folder=folder,
        has_flask_login=hasattr(current_app, "login_manager"),
        places=active_places(current_app),
    )


def _open_store(settings: "Settings") -> "tuple[Store | None, float]":
    """Return the store and its clock's time; no store where a journal is the only way to it."""
    from ..web.current import current_manager

    if settings.journal is not None:
        return None, 0.0
    manager = current_manager()
    return manager.store, manager.now()


def _unseen(settings: "Settings", processes: "dict[int, Peer]") -> "list[str]":
    unseen = []
    if settings.journal is not None:
        unseen.append("The journal was not opened, since the process that serves the application has it.")
    if not processes:
        unseen.append(
            "No process that serves the application was found: none runs on this host as this user, or none has had "
            "a request yet. So their number, their keys, their threads and proxies before them are not known."
        )
    return unseen


def _untold(store: "Store") -> "list[str]":
    from ..operations.probes import innermost
    from ..operations.store_checks import facts_of
    from ..stores.contract import has_facts

    inner = innermost(store)
    if has_facts(inner) is not None and not facts_of(inner):
        return ["The server does not tell how it is set up: whether it evicts, and whether it writes to disk."]
    return []


def _print(findings: "list[Finding]", unseen: list[str]) -> None:
    for finding in findings:
        click.echo(f"{finding.level} {finding.code}: {plain(finding.what)}")
        click.echo(f"    {finding.why}\n    {finding.mend}\n    See {finding.docs}.")
    for sentence in unseen:
        click.echo(f"not seen: {plain(sentence)}")
    errors = sum(finding.level == "error" for finding in findings)
    click.echo(f"Errors: {errors}. Warnings: {len(findings) - errors}.")
