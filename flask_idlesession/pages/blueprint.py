"""Mounts the pages, and the answers for their script, on an application under one prefix."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from flask import abort
from flask import Blueprint
from flask import current_app
from flask import Flask
from flask import g
from flask import redirect
from flask import render_template
from flask import request
from flask import Response
from flask import url_for
from flask.typing import ResponseReturnValue

from ..accounts.guards import login_required
from ..accounts.log_in import log_out as end_session
from ..accounts.revoking import revoke_others
from ..accounts.revoking import revoke_own
from ..accounts.revoking import sessions_of
from ..accounts.saved_forms import is_form_kept
from ..accounts.saved_forms import never_kept
from ..model.record import EndReason
from ..web.activity import passive
from ..web.csrf import csrf_protect
from ..web.csrf import csrf_token
from ..web.current import current_runtime
from ..web.current import current_session
from ..web.current import NAME
from .ended import explain
from .ended import REASONS
from .my_sessions import MOST_ROWS
from .my_sessions import rows_of
from .next_page import first_page
from .next_page import log_in_page
from .next_page import next_page
from .present import present
from .present import present_if_known
from .same_origin import same_origin_only
from .status import ended as ended_status
from .status import is_marked
from .status import Status
from .texts import texts
from .widget import element
from .widget import idlesession_assets
from .widget import idlesession_notice
from .widget import idlesession_widget

#: An application's own check, before a user ends other sessions of theirs.
BeforeEnding = Callable[[], ResponseReturnValue | None]

#: The blueprint's attribute that holds the check.
_BEFORE_ENDING = "_idlesession_before_ending"

#: The endpoints of files, which browsers may keep.
_FILES = ("idlesession.static", "idlesession.dashboard_static")

#: Digits that a number of milliseconds may have: some 30 years.
_MOST_DIGITS = 12


def mount(app: Flask, prefix: str, *, before_ending: BeforeEnding | None) -> str:
    """Serve the pages below ``prefix``, and give templates what puts the warning on a page; return the prefix."""
    blueprint = Blueprint(
        NAME,
        __name__,
        url_prefix=prefix,
        static_folder="static",
        static_url_path="/static",
        template_folder="templates",
    )
    for rule, method, view in (
        ("/status", "GET", status),
        ("/touch", "POST", touch),
        ("/log-out", "POST", log_out),
        ("/ended", "GET", show_ended),
        ("/mine", "GET", mine),
        ("/mine/end", "POST", end),
        ("/mine/end-others", "POST", end_others),
    ):
        name = view.__name__.removeprefix("show_")
        blueprint.add_url_rule(rule, name, view, methods=[method])
    blueprint.url_value_preprocessor(_guard_alone)
    blueprint.after_request(_add_headers)
    setattr(blueprint, _BEFORE_ENDING, before_ending)
    app.register_blueprint(blueprint)
    app.context_processor(_offer_functions)
    return prefix


@passive
def status() -> ResponseReturnValue:
    """Say how long the session lasts. To ask is no activity, and changes nothing."""
    current_runtime().requests.only_look(current_session())
    return _status_for_page(request.args.get("user")).as_json()


@passive
@same_origin_only
def touch() -> ResponseReturnValue:
    """Extend the session for a page of this application, and say how long it lasts now."""
    mark = request.form.get("user")
    if _status_for_page(mark).state == "live":
        current_runtime().requests.touch(current_session(), ago=_seconds_ago(request.form.get("ago_ms")))
    return _status_for_page(mark).as_json()


@passive
@same_origin_only
def log_out() -> ResponseReturnValue:
    """End the session; lead a form to the page that says so, and tell a script."""
    end_session()
    if "text/html" in request.headers.get("Accept", ""):
        return redirect(_signed_out_url(), 303)
    return ended_status(EndReason.LOGGED_OUT).as_json()


@passive
def show_ended() -> ResponseReturnValue:
    """Say why the session is over, what became of what was typed, and lead back."""
    shown, said = present_if_known(), texts()
    wanted = next_page(request.args.get("next"))
    if shown.user_id is not None:
        return _page(
            "ended",
            title=said.say("You are signed in"),
            explanation=said.say("Your session goes on."),
            is_form_kept=False,
            is_unmeant=False,
            onward=said.say("Continue"),
            onward_url=wanted or first_page(),
        )
    reason = REASONS.get(request.args.get("reason", "")) if shown.ending is None else shown.ending.reason
    policy = shown.settings.policy
    told = explain(reason, shown.ending, said, idle_timeout=policy.idle_timeout, lifetime=policy.lifetime)
    log_in_url = log_in_page(shown.settings.login_view, wanted)
    return _page(
        "ended",
        title=told.title,
        explanation=told.text,
        is_form_kept=shown.is_known and is_form_kept(),
        is_unmeant=told.is_unmeant,
        onward=said.say("Sign in again")
        if log_in_url
        else said.say("Go back")
        if wanted
        else said.say("Go to the start page"),
        onward_url=log_in_url or wanted or first_page(),
    )


@login_required
def mine() -> ResponseReturnValue:
    """Show users where they are signed in."""
    shown, said = present(), texts()
    infos = sessions_of(str(shown.user_id))
    done = request.args.get("done", type=int)
    rows = rows_of(infos, said, this=shown.sid, now=shown.now)
    return _page(
        "mine",
        rows=rows,
        hidden_count=max(0, len(infos) - MOST_ROWS),
        other_count=sum(info.sid != shown.sid for info in infos),
        done=said.count("{n} session was signed out.", "{n} sessions were signed out.", done) if done else None,
        end_url=url_for("idlesession.end"),
        end_others_url=url_for("idlesession.end_others"),
        start_url=first_page(),
        token=csrf_token(),
    )


@never_kept()
@login_required
@csrf_protect
def end() -> ResponseReturnValue:
    """End one of the user's sessions. One that is not theirs is not found."""
    sid = _session_id(request.form.get("id"))
    if sid is not None and sid == present().sid:
        end_session()
        return redirect(_signed_out_url(), 303)
    refusal = _ask_guard()
    if refusal is not None:
        return refusal
    if sid is None or not revoke_own(sid):
        abort(404)
    return redirect(url_for("idlesession.mine", done=1), 303)


@never_kept()
@login_required
@csrf_protect
def end_others() -> ResponseReturnValue:
    """End all sessions of the user but this one."""
    refusal = _ask_guard()
    if refusal is not None:
        return refusal
    return redirect(url_for("idlesession.mine", done=revoke_others() or None), 303)


def _status_for_page(mark: str | None) -> Status:
    """Return the status of the session as a page sees it that was made for a user: once another user is there, or none,
    that page is over.
    """
    shown = present()
    found = shown.status()
    if found.state == "live" and mark and not is_marked(shown.user_id, mark):
        return ended_status(EndReason.LOGGED_OUT)
    return found


def _seconds_ago(text: str | None) -> float:
    """Return how long ago the user was active, as their page tells; 0 where it tells nothing that makes sense."""
    return int(text) / 1000 if text and text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS else 0.0


def _ask_guard() -> ResponseReturnValue | None:
    """Return what the application answers in place of ending a session; None if it lets that be done."""
    guard = getattr(current_app.blueprints[NAME], _BEFORE_ENDING)
    return None if guard is None else current_app.ensure_sync(guard)()


def _page(name: str, **values: Any) -> ResponseReturnValue:
    return render_template(f"idlesession/{name}.html", **texts().for_templates(), element=element, **values)


def _signed_out_url() -> str:
    return url_for("idlesession.ended", reason="logged-out")


def _session_id(text: str | None) -> UUID | None:
    try:
        return UUID(text or "")
    except ValueError:
        return None


def _guard_alone(endpoint: str | None, values: dict[str, Any] | None) -> None:
    """Tell Flask-WTF, where the application has it guard every view, that these views guard themselves."""
    protection: Any = current_app.extensions.get("csrf")
    if hasattr(protection, "exempt"):
        protection.exempt(current_app.blueprints[NAME])


def _add_headers(response: Response) -> Response:
    if g.get("_idlesession_stranger"):  # The guard's answer: it looks as if there were no dashboard.
        return response
    if request.endpoint not in _FILES:
        response.headers["Cache-Control"] = "no-store"
        response.headers.setdefault("Referrer-Policy", "same-origin")
        response.headers.setdefault("X-Frame-Options", "SAMEORIGIN")
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    return response


def _offer_functions() -> dict[str, Any]:
    """Give templates the functions, macros too, which see no context: a context processor that needs none."""
    for function in (idlesession_widget, idlesession_notice, idlesession_assets):
        current_app.jinja_env.globals.setdefault(function.__name__, function)
    return {}
