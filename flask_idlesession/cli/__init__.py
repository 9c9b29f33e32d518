"""The commands ``flask idlesession …``: what an operator sees and does without writing Python."""

from .checking import check
from .ending import prune
from .ending import revoke
from .group import Commands
from .keys import gen_key
from .looking import list_sessions
from .looking import show
from .looking import stats
from .migrating import migrate
from .moving import export_sessions
from .moving import import_sessions
from .moving import move

#: The entry point of Flask's group ``flask.commands``. Flask imports it for each of its commands, so what a command
#: needs is imported when that command runs.
cli = Commands(
    "idlesession",
    help="Look at this application's sessions, end them, and check the deployment.",
    epilog="Exit codes: 0 done, 1 nothing was found or a check failed, 2 wrong use, 3 the sessions cannot be reached.",
    commands=[
        check,
        export_sessions,
        gen_key,
        import_sessions,
        list_sessions,
        migrate,
        move,
        prune,
        revoke,
        show,
        stats,
    ],
)
