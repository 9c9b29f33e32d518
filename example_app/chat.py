"""A chat over a WebSocket, which ends with its user's session. It is there with EXAMPLE_CHAT=1."""

import os
from typing import Any

from flask import Blueprint
from flask import Flask
from flask import render_template
from flask import session
from flask.typing import ResponseReturnValue
from flask_socketio import emit

from flask_idlesession import active
from flask_idlesession import current_user_id
from flask_idlesession import login_required
from flask_idlesession.integrations.socketio import SocketIO

pages = Blueprint("chat", __name__, url_prefix="/chat")

LONGEST = 500


@pages.get("/")
@login_required
def show() -> ResponseReturnValue:
    """Show the page of the chat, whose script opens the socket."""
    return render_template("chat.html", longest=LONGEST)


def add_chat(app: Flask) -> SocketIO:
    """Give the application the chat. EXAMPLE_REDIS carries what is said between its processes."""
    app.register_blueprint(pages)
    socketio = SocketIO(app, message_queue=os.environ.get("EXAMPLE_REDIS"))
    socketio.on("connect")(admit)
    socketio.on("say")(say)
    socketio.on("said so far")(count)
    return socketio


def admit(auth: Any = None) -> bool:
    """Let in only who is logged in."""
    return current_user_id() is not None


@active
def say(text: str) -> None:
    """Tell everybody what the user says. The user has typed it, so it counts as activity."""
    session.modify("said", lambda said: said + 1, default=0)  # type: ignore[attr-defined]
    emit("said", {"by": current_user_id(), "text": str(text)[:LONGEST]}, broadcast=True)


def count() -> int:
    """Return how much this session has said. The page asks by itself, so it does not count."""
    said: int = session.get("said", 0)
    return said
