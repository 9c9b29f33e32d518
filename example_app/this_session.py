"""Shows what the session knows of itself, and answers the script that counts down its last seconds."""

from datetime import datetime
from datetime import UTC
from typing import Any

from flask import Blueprint
from flask import render_template
from flask import session
from flask.typing import ResponseReturnValue

from flask_idlesession import current_user_id
from flask_idlesession import passive
from flask_idlesession import session_info

from .accounts import login_required

pages = Blueprint("this_session", __name__, url_prefix="/session")

# The longest notice that is given before the end, in seconds.
NOTICE = 120


@pages.get("/")
@login_required
def show() -> ResponseReturnValue:
    """Show the session's id, its user, and its two clocks."""
    return render_template("this_session.html", info=session_info())


@pages.get("/status")
@passive
def status() -> dict[str, Any]:
    """Tell how long the session lasts. Passive: that a page asks does not mean that its user is there."""
    return time_left()


@pages.post("/stay")
def stay() -> dict[str, Any]:
    """Tell the same to a user who pressed "Stay logged in", which is activity as any request is."""
    return time_left()


@pages.app_context_processor
def count_down() -> dict[str, Any]:
    """Let every template start the countdown."""
    return {"time_left": time_left, "notice": min(NOTICE, session.idle_timeout / 2)}


@pages.app_template_filter()
def as_time(instant: float) -> datetime:
    """Return an instant of the session's info, in POSIX seconds, as a date and time."""
    return datetime.fromtimestamp(instant, UTC)


def time_left() -> dict[str, Any]:
    """Return the seconds that are left, and which of the two clocks will have ended the session.

    Seconds, not an instant: the browser's clock may be wrong.
    """
    info = session_info()
    if current_user_id() is None or info is None:
        return {"live": False, "seconds_left": 0, "ends_by": None}
    return {"live": True, "seconds_left": session.seconds_left, "ends_by": info.expiry_reason.value}
