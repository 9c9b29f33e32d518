"""The command ``move``: from one store to another."""

from collections import Counter
from pathlib import Path

import click
from flask.cli import with_appcontext


@click.command(
    epilog="\b\nExample:\n  flask idlesession move sqlite:///instance/sessions.db redis://127.0.0.1:6379/0",
)
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@with_appcontext
def move(source: str, target: str) -> None:
    """Carry all live sessions from one store to another, both given as IDLESESSION_STORE is.

    Nobody is logged out. The source stays as it is. Call it once while the application runs on the source, and again
    when that has stopped: the second pass carries what changed meanwhile. A pass that broke off is called again.
    """
    from flask import current_app

    from ..model.clock import system_clock
    from ..operations.moving import Fate
    from ..operations.moving import move
    from ..stores import open_store

    if source == target:
        raise click.UsageError("FROM and TO are the same store.")
    folder = Path(current_app.instance_path).parent
    stores = [open_store(url, folder=folder) for url in (source, target)]
    try:
        if any(store.traits.in_process for store in stores):
            raise click.UsageError("Sessions in memory are out of reach of a command; name stores that are shared.")
        fates = Counter(move(*stores, now=system_clock()))
    finally:
        for store in stores:
            store.close()
    click.echo(f"Sessions carried: {fates[Fate.CARRIED]}. ", nl=False)
    click.echo(f"Left as they were: {fates[Fate.LEFT]}. Ended meanwhile: {fates[Fate.ENDED]}.")
