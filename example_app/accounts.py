"""Knows who may log in: the users, the log-in form, and the log-out."""

from typing import Any

from flask import Blueprint
from flask import flash
from flask import redirect
from flask import render_template
from flask import request
from flask import url_for
from flask.typing import ResponseReturnValue
from werkzeug.security import check_password_hash

from flask_idlesession import current_user_id
from flask_idlesession import log_in
from flask_idlesession import log_out
from flask_idlesession import session_ending

pages = Blueprint("accounts", __name__)

# The passwords are on the log-in page, which a real application would not do. These hashes are what
# werkzeug.security.generate_password_hash() made of them.
USERS = {
    "ada": "scrypt:32768:8:1$e33AIt7li0paIbU3$6a34ef4cdc16ca620d7776139b13264daf941bd030d3243d9399ac1335b0af5a"
    "54c504c43b519ae173e57be54ced95735904ecd9793d577f6372ab93a51ded1c",
    "grace": "scrypt:32768:8:1$Ti5UfEHc7odiEMZg$bf0d2a41e3078c5ac9128818aeb5ce2ede764619f2e52cc3bdf40420ff4fbeaf"
    "57e2f655fb45cb8c917a005108351961b89254a388beb42ccedb5a95c3fea918",
}

# Why a session ended, for the page on which its user logs in again.
ENDINGS = {
    "idle": "You were logged out because you were not active.",
    "lifetime": "You were logged out because you were logged in for the longest time that is allowed.",
    "revoked": "You were logged out from another device.",
}


@pages.app_context_processor
def name_user() -> dict[str, Any]:
    """Let every template know who is logged in."""
    return {"user": current_user_id()}


@pages.get("/login")
def show_form() -> ResponseReturnValue:
    """Show the log-in form, and to a user who was logged out, why. Somebody who must prove again who they are is still
    logged in.
    """
    ending = session_ending()
    return render_template("login.html", ending=None if ending is None else ENDINGS.get(ending.reason.value))


@pages.post("/login")
def submit_form() -> ResponseReturnValue:
    """Log the user in, if the password is theirs."""
    user = request.form.get("user", "").strip().lower()
    if not _is_password(user, request.form.get("password", "")):
        flash("The name or the password is wrong.", "error")
        return render_template("login.html", name=user), 403
    if current_user_id() not in (None, user):
        log_out()  # Otherwise ada's notes would be grace's.
    log_in(user)
    flash(f"Welcome, {user.title()}.")
    return redirect(_onward())


@pages.post("/logout")
def end() -> ResponseReturnValue:
    """End the session. A POST, because a link to it on any other site would log the user out, too."""
    log_out()
    flash("You are logged out, and your notes are gone.")
    return redirect(url_for("accounts.show_form"))


def _is_password(user: str, password: str) -> bool:
    """Check the password; for an unknown name, too, take as long as that does."""
    known = check_password_hash(USERS.get(user, USERS["ada"]), password)
    return known and user in USERS


def _onward() -> str:
    """Return the page that the user was on the way to, if it is one of ours."""
    wanted = request.args.get("next", "")
    is_ours = wanted.startswith("/") and not wanted.startswith("//") and "\\" not in wanted and wanted.isprintable()
    return wanted if is_ours else url_for("notes.show")
