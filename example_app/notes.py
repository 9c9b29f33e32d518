"""Keeps a user's notes in their session, one key for each note."""

from datetime import datetime
from datetime import UTC
from typing import Any
from uuid import UUID
from uuid import uuid4

from flask import Blueprint
from flask import flash
from flask import redirect
from flask import render_template
from flask import request
from flask import session
from flask import url_for
from flask.typing import ResponseReturnValue

from flask_idlesession import kept_form
from flask_idlesession import login_required

pages = Blueprint("notes", __name__, url_prefix="/notes")

PREFIX = "note:"
MOST_NOTES = 50
LONGEST_NOTE = 500


@pages.get("/")
@login_required
def show() -> ResponseReturnValue:
    """List the notes, the newest first, below the form for another. A note that was sent too late is in the form."""
    return render_template("notes.html", notes=read_notes(), longest=LONGEST_NOTE, text=_read_late_note())


@pages.post("/")
@login_required
def add() -> ResponseReturnValue:
    """Keep another note."""
    text = request.form.get("text", "").replace("\r\n", "\n").strip()
    if problem := _find_problem(text):
        flash(problem, "error")
        return render_template("notes.html", notes=read_notes(), longest=LONGEST_NOTE, text=text), 422
    # A key of its own: what two windows write at once is two keys, and both are kept.
    session[f"{PREFIX}{uuid4()}"] = {"text": text, "written_at": datetime.now(UTC)}
    flash("The note is kept.")
    return redirect(url_for("notes.show"))


@pages.post("/<uuid:note>/delete")
@login_required
def delete(note: UUID) -> ResponseReturnValue:
    """Forget a note; that another window did so before is no error."""
    session.pop(f"{PREFIX}{note}", None)
    flash("The note is gone.")
    return redirect(url_for("notes.show"))


def read_notes() -> list[dict[str, Any]]:
    """Return the session's notes, each with its id."""
    notes = [{"id": key.removeprefix(PREFIX), **session[key]} for key in session if key.startswith(PREFIX)]
    return sorted(notes, key=lambda note: note["written_at"], reverse=True)


def _read_late_note() -> str:
    """Return the note that the user sent when their session had ended, if there is one."""
    form = kept_form()
    return form.fields.get("text", "") if form is not None and form.path == url_for("notes.add") else ""


def _find_problem(text: str) -> str | None:
    if not text:
        return "A note needs a word or two."
    if len(text) > LONGEST_NOTE:
        return f"A note has {LONGEST_NOTE} characters at most; this one has {len(text)}."
    if sum(key.startswith(PREFIX) for key in session) >= MOST_NOTES:
        return f"There is room for {MOST_NOTES} notes; delete one first."
    return None
