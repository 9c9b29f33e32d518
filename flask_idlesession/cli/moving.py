"""The commands that carry sessions: ``move`` between two stores, ``export`` to a file and ``import`` from one."""

import hashlib
import sys
from collections import Counter
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import closing
from contextlib import contextmanager
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click
from flask.cli import with_appcontext

from .group import open_manager
from .group import open_view

if TYPE_CHECKING:
    from ..operations.moving import Fate
    from ..stores.contract import Store

_FAILED = 1
_JOURNAL, _SQLITE = "journal:", "sqlite:"

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command(
    epilog="\b\nExamples:\n  flask idlesession move sqlite:///sessions.db redis://127.0.0.1:6379/0\n"
    "  flask idlesession move journal:///sessions.journal postgresql+psycopg://me@127.0.0.1/shop",
)
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@with_appcontext
def move(source: str, target: str) -> None:
    """Carry all live sessions from one store to another, both given as IDLESESSION_STORE is.

    A journal is given as journal:///sessions.journal. Nobody is logged out, and the source stays as it is.
    Call it once while the application runs on the source, and again when that has stopped:
    the second pass carries what changed meanwhile, ends included. A pass that broke off is called again.
    Both stores have the names that IDLESESSION_NAMESPACE says.
    """
    from flask import current_app

    folder = Path(current_app.instance_path)
    names = [_named(url, folder) for url in (source, target)]
    if names[0] == names[1]:
        raise click.UsageError("FROM and TO are the same store. [ISE110]")
    with ExitStack() as stack:
        first = stack.enter_context(closing(_open_source(source, folder)))
        second = stack.enter_context(closing(_open_target(target, folder)))
        _carry(first, second, names)


@click.command("export", epilog="\b\nExample:\n  flask idlesession export backup/sessions.journal")
@click.argument("file", type=_FILE)
@with_appcontext
def export_sessions(file: Path) -> None:
    """Write all live sessions to a file, for ``import``.

    The file is a journal, for its owner alone (0600): it has the values as they are stored, and digests of secrets.
    Called again it carries what changed, ends included.
    """
    from flask import current_app

    from ..operations.probes import innermost

    view = open_view()
    with closing(_open_journal(file)) as target:
        _carry(innermost(view.store), target, [f"the sessions of {current_app.root_path}", str(file.absolute())])


@click.command("import", epilog="\b\nExample:\n  flask idlesession import backup/sessions.journal")
@click.argument("file", type=_FILE)
@with_appcontext
def import_sessions(file: Path) -> None:
    """Take the live sessions from a file that ``export`` wrote.

    Where the application saw a session later, its state stays. An import that broke off is called again.
    """
    from flask import current_app

    from ..operations.probes import innermost

    source = _open_copy(file)
    target = innermost(open_manager(reads=False).store)
    _carry(source, target, [str(file.absolute()), f"the sessions of {current_app.root_path}"])


def _named(url: str, folder: Path) -> str:
    """Return what tells a store from others: of a file the path, however it was written."""
    if url.startswith((_JOURNAL, _SQLITE)):
        return str(_path_in(url, folder).resolve())
    return url


def _path_in(url: str, folder: Path) -> Path:
    from ..stores import path_of

    return folder / path_of(url)


def _open_source(url: str, folder: Path) -> "Store":
    if url.startswith(_JOURNAL):
        return _open_copy(_path_in(url, folder))
    if url.startswith(_SQLITE) and not (path := _path_in(url, folder)).exists():
        raise click.UsageError(f"There is no file {path} to move sessions from. [ISE110]")
    return _shared(url, folder)


def _open_target(url: str, folder: Path) -> "Store":
    return _open_journal(_path_in(url, folder)) if url.startswith(_JOURNAL) else _shared(url, folder)


def _shared(url: str, folder: Path) -> "Store":
    from flask import current_app

    from ..settings.keys import read_settings
    from ..stores import open_store

    store = open_store(url, folder=folder, namespace=read_settings(current_app.config).namespace)
    if store.traits.in_process:
        store.close()
        raise click.UsageError(
            "Sessions in memory are out of reach of a command. Name a store that is shared, or a journal, such as "
            "journal:///sessions.journal."
            " [ISE110]"
        )
    return store


def _open_copy(path: Path) -> "Store":
    from ..model.clock import system_clock
    from ..stores.journal.reading import JournalCopy

    return JournalCopy(path, now=system_clock())


def _open_journal(path: Path) -> "Store":
    from ..model.clock import system_clock
    from ..stores.journal import JournalStore

    return JournalStore(path, now=system_clock(), max_sessions=None, max_bytes=None)


def _carry(source: "Store", target: "Store", names: list[str]) -> None:
    """Carry the sessions, and say what became of them."""
    from flask import current_app

    from ..model.clock import system_clock
    from ..operations.moving import Fate
    from ..operations.moving import move
    from ..operations.moving import sids_in
    from ..operations.moving_notes import Notes

    name = hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]
    now, fates = system_clock(), Counter[Fate]()
    with closing(Notes(Path(current_app.instance_path) / f"idlesession-carried-{name}")) as notes:
        sids = sids_in(source, now=now)
        with _progress(len(sids)) as advance:
            for fate in move(source, target, sids, now=now, notes=notes):
                fates[fate] += 1
                advance(fate)
    click.echo(f"Sessions carried: {fates[Fate.CARRIED]}. ", nl=False)
    click.echo(f"Left as they were: {fates[Fate.LEFT]}. Ended meanwhile: {fates[Fate.ENDED]}.")
    if fates[Fate.FAILED]:
        click.echo(f"Not carried: {fates[Fate.FAILED]}; the lines above say why.", err=True)
        raise SystemExit(_FAILED)


@contextmanager
def _progress(length: int) -> "Iterator[Callable[[Fate], None]]":
    """Show a bar on a terminal, and nothing where the output goes to a file or a pipe."""
    from ..operations.moving import Fate

    if not sys.stderr.isatty():
        yield lambda fate: None
        return
    with click.progressbar(length=length, label="Sessions", file=sys.stderr, update_min_steps=100) as bar:
        yield lambda fate: None if fate is Fate.ENDED else bar.update(1)
