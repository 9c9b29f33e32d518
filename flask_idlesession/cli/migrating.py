"""The command ``migrate``: from Flask's own sessions, or from Flask-Session."""

from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

import click
from flask.cli import with_appcontext

from .tables import plain
from .tables import print_table

#: The settings of Flask itself that go on saying what they say.
_STAY = {
    "SECRET_KEY": "signs tokens, and verifies old cookies",
    "SECRET_KEY_FALLBACKS": "go on being accepted",
    "SESSION_COOKIE_NAME": "names the cookie",
    "SESSION_COOKIE_DOMAIN": "stays",
    "SESSION_COOKIE_PATH": "stays",
    "SESSION_COOKIE_SECURE": "stays",
    "SESSION_COOKIE_HTTPONLY": "stays",
    "SESSION_COOKIE_SAMESITE": "stays",
    "SESSION_REFRESH_EACH_REQUEST": "stays",
}

_ANY_WAY = (
    "Sessions end when their user is idle: set IDLESESSION_IDLE_TIMEOUT and IDLESESSION_LIFETIME.",
    "Two requests that write different keys both win. A log-out is final, also for a slower request.",
    "A value that was changed in place is saved without session.modified.",
)
_FROM_COOKIES = (
    "The data is on the server, so a session may be larger than a cookie, and users cannot read it.",
    "A copied cookie opens nothing after its user has logged out.",
    "Users are logged in after the switch, and are not fresh: Flask-Login's fresh_login_required asks them once.",
)
_FROM_FLASK_SESSION = (
    "session.sid is a UUID as a text. It names the session and opens nothing; the cookie holds a token.",
    "regenerate() gives a new token, and the id stays.",
    "A session that is empty is not stored, and a request that does not look at its session asks no store.",
)

_COOKIE_LINES = (
    "+ from flask_idlesession import IdleSession",
    '+ app.config["IDLESESSION_STORE"] = "sqlite:///sessions.db"',
    '+ app.config["IDLESESSION_ADOPT"] = ["flask"]',
    "+ IdleSession(app)",
)
_FLASK_SESSION_LINES = (
    "- from flask_session import Session",
    "+ from flask_idlesession.integrations.flask_session import Session",
)

_KEY_LINE = (
    '+ app.config["SECRET_KEY"] = os.environ["SECRET_KEY"]  # one for all workers, made by: flask idlesession gen-key'
)

_NONE = (
    "Sessions carried over: 0. Either none is left, or they cannot be listed, as in cookies, files and caches. "
    "Those are taken over when their user comes next."
)
_CARRYING = (
    "Sessions carried over: {carried}. Left as they were: {left}. Those had been taken over already, have ended, or "
    "cannot be read."
)


@click.command(
    epilog="\b\nExamples:\n  flask idlesession migrate --from flask-cookie --dry-run\n"
    "  flask idlesession migrate --from flask-session --dry-run\n  flask idlesession migrate --from flask-session"
)
@click.option(
    "--from", "source", type=click.Choice(["flask-session", "flask-cookie"]), required=True, help="Where sessions are."
)
@click.option("--dry-run", is_flag=True, help="Print what changes, and change nothing.")
@with_appcontext
def migrate(source: str, dry_run: bool) -> None:
    """Print what a switch to this package changes, and carry the old sessions over.

    With --dry-run it works before the switch. Without it, the application is to have the new lines already. Then the
    old sessions of Redis and SQLAlchemy become sessions of this package at once. All others do when their user comes
    next, and so do the cookies of Flask itself.
    """
    from flask import current_app

    if dry_run:
        _explain(source, current_app.config, secret_key=current_app.secret_key)
    else:
        _carry(source)


def _explain(source: str, config: Mapping[str, Any], *, secret_key: Any) -> None:
    print_table(("SETTING", "HERE"), list(_mapped(source, config)))
    click.echo("\nDifferent afterwards:")
    for sentence in (*_ANY_WAY, *(_FROM_COOKIES if source == "flask-cookie" else _FROM_FLASK_SESSION)):
        click.echo(f"  * {sentence}")
    click.echo("\nLines to change (- is the old line, + is the new one):")
    for line in _lines(source, config, secret_key=secret_key):
        click.echo(f"  {line}")
    for warning in _warnings(source, config, secret_key=secret_key):
        click.echo(f"\nAttention: {warning}")


def _mapped(source: str, config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each setting that matters here, and what becomes of it. No value is shown: it may be a password."""
    from ..settings.foreign import THEIRS

    for key in sorted(config):
        if key in _STAY and config[key] is not None:
            yield key, _STAY[key]
        elif key == "PERMANENT_SESSION_LIFETIME":
            yield (
                key,
                "bounds permanent sessions" if source == "flask-cookie" else "is the idle timeout until one is set",
            )
        elif source == "flask-session" and key in THEIRS:
            yield key, f"is understood; later {THEIRS[key]}"


def _lines(source: str, config: Mapping[str, Any], *, secret_key: Any) -> Iterator[str]:
    if not secret_key:  # Flask-Session can do without one.
        yield _KEY_LINE
    if source == "flask-cookie":
        yield from _COOKIE_LINES
        return
    yield from _FLASK_SESSION_LINES
    if _may_be_pickled(config):
        from datetime import datetime
        from datetime import timedelta
        from datetime import UTC

        from ..model.clock import system_clock

        until = datetime.fromtimestamp(system_clock(), tz=UTC).date() + timedelta(days=31)
        yield f'+ app.config["IDLESESSION_ADOPT_PICKLE_UNTIL"] = "{until.isoformat()}"  # before Session(app)'


def _may_be_pickled(config: Mapping[str, Any]) -> bool:
    """Return whether sessions are in files or in a cache, which keep pickles."""
    return str(config.get("SESSION_TYPE", "")).lower() in ("filesystem", "cachelib")


def _warnings(source: str, config: Mapping[str, Any], *, secret_key: Any) -> Iterator[str]:
    from ..settings.secret_keys import ADVICE
    from ..settings.secret_keys import weaknesses_of

    if not secret_key:
        yield "there is no SECRET_KEY, and without one there are no sessions: it signs each token. " + ADVICE
    elif source == "flask-cookie" and any(weaknesses_of([secret_key])):
        yield "the SECRET_KEY can be guessed, so old cookies can be forged, and none is taken over. " + ADVICE
    kind = str(config.get("SESSION_TYPE", "")).lower()
    if source == "flask-session" and kind in ("mongodb", "dynamodb"):
        yield f"there is no store for {kind}; set IDLESESSION_STORE, and remove SESSION_TYPE. Users log in again."
    if source == "flask-session" and kind in ("redis", "memcached", "sqlalchemy"):
        yield (
            "Flask-Session before 0.7 stored pickles. If yours was one, set IDLESESSION_ADOPT_PICKLE_UNTIL to the date "
            "on which the switch is over."
        )


def _carry(source: str) -> None:
    from ..web.current import current_runtime

    runtime = current_runtime()
    wanted = {"flask-session": "flask-session", "flask-cookie": "flask"}[source]
    if runtime.adoption is None or wanted not in runtime.settings.adopt:
        raise click.UsageError(
            f"The application does not take these sessions over yet. Call migrate --from {source} --dry-run, change "
            "the lines that it prints, and call this again. [ISE110]"
        )
    proofs = runtime.adoption.left()
    if not proofs:
        click.echo(_NONE)
        return
    carried = 0
    with click.progressbar(proofs, label=plain("Sessions")) as bar:
        for proof in bar:
            carried += runtime.adoption.carry(proof)
    click.echo(_CARRYING.format(carried=carried, left=len(proofs) - carried))
