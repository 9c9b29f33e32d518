"""Shows what the session knows of itself."""

from datetime import datetime
from datetime import UTC

from flask import Blueprint
from flask import render_template
from flask import session
from flask.typing import ResponseReturnValue

from flask_idlesession import login_required
from flask_idlesession import session_info

pages = Blueprint("this_session", __name__, url_prefix="/this-session")


@pages.get("/")
@login_required
def show() -> ResponseReturnValue:
    """Show the session's id, its user, and its two clocks."""
    return render_template("this_session.html", info=session_info(), session=session)


@pages.app_template_filter()
def as_time(instant: float) -> datetime:
    """Return an instant of the session's info, in POSIX seconds, as a date and time."""
    return datetime.fromtimestamp(instant, UTC)
