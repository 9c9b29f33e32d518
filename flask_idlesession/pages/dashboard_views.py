"""Answers operators: with the figures, with sessions that they search, and by ending those that they choose."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from flask import abort
from flask import jsonify
from flask import redirect
from flask import render_template
from flask import request
from flask import Response
from flask import url_for
from flask.typing import ResponseReturnValue

from ..accounts.log_in import current_user_id
from ..accounts.revoking import revoke
from ..accounts.revoking import revoke_all
from ..accounts.revoking import revoke_user
from ..accounts.revoking import revoke_where
from ..model.errors import StoreError
from ..model.networks import network_in
from ..model.record import Ending
from ..operations import search
from ..operations.contents import contents_of
from ..operations.minutes import DAY
from ..operations.minutes import HOUR
from ..stores.contract import UnreadableRecord
from ..web.csrf import csrf_protect
from ..web.csrf import csrf_token
from ..web.current import current_manager
from ..web.current import current_session
from ..web.current import current_settings
from .dashboard_files import dashboard_assets
from .dashboard_json import contents_as_json
from .dashboard_json import ending_as_json
from .dashboard_json import found_as_json
from .dashboard_json import info_as_json
from .dashboard_json import overview_as_json
from .dashboard_json import wants_json
from .dashboard_words import clock
from .dashboard_words import ending_facts
from .dashboard_words import rows_of
from .dashboard_words import shorter_timeouts
from .dashboard_words import tiles_of
from .durations import ago
from .durations import ahead
from .durations import in_words
from .overviews import reader
from .texts import Texts
from .texts import texts
from .widget import element

#: The actor that signals and the audit log name where no user is signed in: the guard knows somebody by another way.
_ACTOR = "dashboard"

#: The longest text that is searched for.
_LONGEST = 1024


def start_page() -> ResponseReturnValue:
    """Show the figures of now, and of the last hour or day."""
    said = texts()
    is_day = request.args.get("hours") == "24"
    overview = reader().read(span=DAY if is_day else HOUR)
    tiles = tiles_of(overview, said)
    if wants_json():
        shown = {name: [figure, hint] for name, _, figure, hint in tiles}
        shorter = shorter_timeouts(overview, said)
        return _json(overview_as_json(overview, {"at": clock(overview.at), "tiles": shown, "shorter": shorter}))
    return _page(
        "dashboard",
        overview=overview,
        tiles=tiles,
        at=clock(overview.at),
        rows=rows_of(overview),
        shorter=shorter_timeouts(overview, said),
        most=max((bar.number for bar in overview.bars), default=0),
        is_day=is_day,
        timeout=in_words(overview.idle_timeout, said),
        half=in_words(overview.idle_timeout / 2, said),
        bars=[(in_words(bar.since, said) if bar.since else "0", bar.number) for bar in overview.bars],
        token=None if overview.census is None else csrf_token(),
        done=_done(said),
        phrase=_phrase(),
    )


def sessions_page() -> ResponseReturnValue:
    """Show the sessions of a user, of an address or network, the one with an id, or those that were last seen."""
    wanted, said = request.args.get("q", "").strip()[:_LONGEST], texts()
    found, user_id = _search(wanted)
    ending = None if found.infos else _ending_of(search.named_by(wanted))
    kept, now = current_settings().client_info, current_manager().now()
    if wants_json():
        return _json({"q": wanted, **found_as_json(found, kept=kept), "ending": ending_as_json(ending)})
    return _page(
        "dashboard_sessions",
        wanted=wanted,
        found=found,
        rows=[_row(info_as_json(info, kept=kept), said, now=now) for info in found.infos],
        ended=None if ending is None else ending_facts(ending, said, now=now),
        own_id=str(current_session()._sid),
        user_id=user_id,
        token=csrf_token(),
        done=_done(said),
    )


def session_page(sid: UUID) -> ResponseReturnValue:
    """Show one session: what may be told of it, and its keys with their types and sizes.

    Of one that has ended the search page says how it ended, for as long as that is remembered.
    """
    manager, said, kept = current_manager(), texts(), current_settings().client_info
    try:
        record = manager.store.load(sid, now=manager.now())
    except UnreadableRecord as error:
        info, contents = error.info, []
    else:
        if record is None:
            return _ended_page(sid)
        info, contents = record.info, contents_of(record, manager.codec)
    told = info_as_json(info, kept=kept)
    if wants_json():
        return _json({**told, "keys": contents_as_json(contents)})
    return _page(
        "dashboard_session",
        row=_row(told, said, now=manager.now()),
        contents=contents,
        token=csrf_token(),
    )


def _ended_page(sid: UUID) -> ResponseReturnValue:
    ending = _ending_of(sid)
    if ending is None:
        abort(404)
    if wants_json():
        return _json({"ending": ending_as_json(ending)}), 404
    return redirect(url_for("idlesession.dashboard_sessions", q=sid), 303)


def _ending_of(sid: UUID | None) -> Ending | None:
    """Return how the session of this id ended, while that is remembered."""
    ending = None if sid is None else current_manager().lifecycle.ending(sid)
    return None if ending is None or ending.is_of_many else ending


@csrf_protect
def end_sessions() -> ResponseReturnValue:
    """End the sessions that the form names, and lead back."""
    count = _end(request.form)
    reader().census_taker.forget()
    if wants_json():
        return _json({"ended": count})
    back = request.form.get("q")
    if back is not None and request.form.get("what") != "all":
        return redirect(url_for("idlesession.dashboard_sessions", q=back or None, done=count), 303)
    return redirect(url_for("idlesession.dashboard", done=count), 303)


def _end(form: Mapping[str, str]) -> int:
    """End what the form names; return how many sessions ended. An operator's own goes on where all are meant."""
    by = current_user_id() or _ACTOR
    ours = current_session()._sid
    match form.get("what"):
        case "session":
            sid = search.named_by(form.get("id", ""))
            return abort(404) if sid is None else int(revoke(sid, by=by))
        case "user" if form.get("user") is not None:
            return revoke_user(form["user"], by=by)
        case "idle":
            minutes = _minutes(form.get("minutes", ""))
            return revoke_where(idle_for=minutes * 60, keep=ours, by=by)
        case "all" if form.get("phrase", "").strip() == _phrase():
            return revoke_all(keep=ours, by=by)
        case _:
            return abort(400)


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        abort(400)
    return minutes if 0 < minutes < 1e9 else abort(400)


def _search(wanted: str) -> tuple[search.Found, str | None]:
    """Return what a search finds, and the user whose sessions these are, if it is a user's."""
    manager = current_manager()
    store, now = manager.store, manager.now()
    if not wanted:
        return search.latest(store, now=now), None
    sid = search.named_by(wanted)
    if sid is not None:
        found = search.by_id(manager.lifecycle.look_up_info(sid, now=now), now=now)
        if found.infos:
            return found, None
    of_user = search.by_user(store, wanted, now=now)
    network = network_in(wanted)
    if of_user.infos or network is None or current_settings().client_info is None:
        return of_user, wanted if of_user.infos else None
    return search.by_address(store, network, now=now), None


def _row(told: Mapping[str, Any], said: Texts, *, now: float) -> dict[str, Any]:
    """Return a session as its row shows it."""
    return {
        "id": told["id"],
        "user": told["user"],
        "browser": told["browser"],
        "facts": [
            (said.say("Network"), told["address"] or "–"),
            (said.say("Begun"), ago(told["created_at"], said, now=now)),
            (said.say("Last active"), ago(told["last_seen_at"], said, now=now)),
            (said.say("Ends"), ahead(told["ends_at"], said, now=now)),
        ],
    }


def _done(said: Texts) -> str | None:
    """Return what the last form did."""
    done = request.args.get("done", type=int)
    return None if done is None else said.count("{n} session was ended.", "{n} sessions were ended.", max(done, 0))


def _phrase() -> str:
    """Return what an operator types to end every session: the name of the host, which tells one deployment from
    another.
    """
    return urlsplit(f"//{request.host}").hostname or request.host


def _json(told: Mapping[str, Any]) -> Response:
    response = jsonify(told)
    response.vary.add("Accept")
    return response


def _page(name: str, **values: Any) -> ResponseReturnValue:
    page = render_template(
        f"idlesession/{name}.html",
        **texts().for_templates(),
        element=_element,
        assets=dashboard_assets,
        host=_phrase(),
        dashboard_url=url_for("idlesession.dashboard"),
        sessions_url=url_for("idlesession.dashboard_sessions"),
        end_url=url_for("idlesession.dashboard_end"),
        **values,
    )
    return page, {"Vary": "Accept"}


def _element() -> Any:
    """Return the idle warning for an operator who is signed in; nothing while the store is down."""
    try:
        return element()
    except StoreError:
        return ""
