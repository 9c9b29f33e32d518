"""The command ``check``: whether this deployment is sound."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click
from flask.cli import with_appcontext

from .looking import as_json
from .tables import plain

if TYPE_CHECKING:
    from ..operations.checks import Finding

_FAULTS = 1


@click.command(
    epilog="\b\nExamples:\n  flask idlesession check\n  flask idlesession check --deploy\n"
    "  flask idlesession check --deploy --json"
)
@click.option("--deploy", is_flag=True, help="Take warnings that matter in production for errors.")
@as_json
@with_appcontext
def check(deploy: bool, as_json: bool) -> None:
    """Look for faults in the settings, the keys, the cookie and the store.

    The exit code is 1 if there is an error. IDLESESSION_SILENCED_CHECKS is a list of codes that are left out.
    """
    findings, unseen = _look(deploy=deploy)
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings]))
    else:
        _print(findings, unseen)
    if any(finding.level == "error" for finding in findings):
        raise SystemExit(_FAULTS)


def _look(*, deploy: bool) -> "tuple[list[Finding], list[str]]":
    """Return what was found, and what could not be seen."""
    from flask import current_app

    from ..model.clock import system_clock
    from ..model.errors import ConfigError
    from ..operations.checks import check
    from ..operations.checks import Deployment
    from ..operations.checks import found
    from ..operations.other_processes import OtherProcesses
    from ..settings.keys import read_settings
    from ..web.current import current_manager

    store, now, unseen = None, system_clock(), []
    try:
        settings = read_settings(current_app.config)
        if settings.journal is not None:
            unseen.append("The journal was not opened, since the process that serves the application has it.")
        else:
            manager = current_manager()
            store, now = manager.store, manager.now()
    except ConfigError as error:
        return [found("ISE101", str(error), deploy=deploy)], unseen
    processes = OtherProcesses(f"{current_app.root_path} {current_app.import_name}").living()
    deployment = Deployment(
        config=current_app.config,
        secret_key=current_app.secret_key,
        settings=settings,
        store=store,
        now=now,
        processes=processes,
    )
    return check(deployment, deploy=deploy), unseen


def _print(findings: "list[Finding]", unseen: list[str]) -> None:
    for finding in findings:
        click.echo(f"{finding.level} {finding.code}: {plain(finding.what)}")
        click.echo(f"    {finding.why}\n    {finding.mend}\n    See {finding.docs}.")
    for sentence in unseen:
        click.echo(f"not seen: {sentence}")
    errors = sum(finding.level == "error" for finding in findings)
    click.echo(f"Errors: {errors}. Warnings: {len(findings) - errors}.")
