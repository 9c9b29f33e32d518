"""Puts the idle warning on a page of the application: a dialog, one script, one style sheet."""

import json
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any
from typing import cast

from flask import after_this_request
from flask import current_app
from flask import g
from flask import has_request_context
from flask import request
from flask import Response
from flask import url_for
from markupsafe import Markup

from ..accounts.saved_forms import kept_form
from ..accounts.saved_forms import NEVER_KEPT
from ..model.policy import MINUTE
from ..web.csrf import csrf_token
from .durations import in_words
from .present import Present
from .present import present_if_known
from .status import mark_of
from .texts import Texts
from .texts import texts

_STATIC = Path(__file__).parent / "static"

#: Flask-Talisman's name for the nonce of a page's policy.
_CSP_NONCE = "csp_nonce"

#: Seconds within which activity is told to the server once: a twentieth of the idle timeout, within these bounds.
_TOLD_AT_LEAST, _TOLD_AT_MOST = 5.0, MINUTE


def idlesession_widget(*, nonce: str | None = None) -> Markup:
    """Return what warns the user of this page before their session ends, for the end of its ``<body>``. ::

        {{ idlesession_widget() }}

    ``nonce`` is that of the page's content security policy. Without it ``csp_nonce`` counts: an attribute of ``g``, or
    a global of templates, as Flask-Talisman has it. Where the view says nothing of caching, the browser does not store
    the page: nobody is to find it there after the end.
    """
    return idlesession_assets(nonce=nonce) + element() if has_request_context() else Markup("")


def element() -> Markup:
    """Return the widget itself: what the script is to know, and the dialog."""
    shown, said = present_if_known(), texts()
    if not shown.is_known:
        return Markup("")
    after_this_request(_keep_out_of_caches)
    facts = {
        **{name: url_for(f"idlesession.{name.replace('-', '_')}") for name in ("status", "touch", "log-out", "ended")},
        "answer": json.dumps(shown.status().as_json()),
        "user": mark_of(shown.user_id),
        "session": "" if shown.sid is None else str(shown.sid),
        "never": NEVER_KEPT,
    }
    if not shown.is_worth_a_warning:
        return _element(facts, "", said)
    kept = _kept(shown)
    if kept is not None:
        facts["kept"] = json.dumps(kept)
    return _element(facts | _durations(shown), _dialog(shown, said), said)


def idlesession_notice() -> Markup:
    """Return a sentence that says how long a session lasts: for the log-in page (WCAG 2.2, 2.2.6)."""
    return Markup(_render("notice", **_limits(present_if_known(), texts())))


def idlesession_assets(*, nonce: str | None = None) -> Markup:
    """Return the links to the script and the style sheet, for the head of a page."""
    nonce = nonce or page_nonce()
    said = Markup(' nonce="{}"').format(nonce) if nonce else ""
    return Markup('<link rel="stylesheet" href="{}"{}><script type="module" src="{}"{}></script>').format(
        _static_url("idlesession.css"), said, _static_url("idlesession.js"), said
    )


def page_nonce() -> str | None:
    """Return the nonce that the application has for the script of this page, where it says so."""
    found: Any = g.get(_CSP_NONCE) or current_app.jinja_env.globals.get(_CSP_NONCE)
    return cast(str | None, found() if callable(found) else found)


def _element(facts: dict[str, str], inside: str, said: Texts) -> Markup:
    attributes = Markup("").join(Markup(' data-{}="{}"').format(name, value) for name, value in facts.items())
    return Markup('<idlesession-widget lang="{}" dir="{}"{}>{}</idlesession-widget>').format(
        said.language, said.direction, attributes, Markup(inside)
    )


def _dialog(shown: Present, said: Texts) -> str:
    time = "{time}"  # The script puts it in.
    if shown.user_id is None:
        announcement = said.say("Your session ends in {time}.", time=time)
    else:
        announcement = said.say("You will be signed out in {time}.", time=time)
    before, _, after = announcement.partition(time)
    return _render(
        "dialog",
        announcement=announcement,
        before=before,
        after=after,
        is_guest=shown.user_id is None,
        log_out_url=url_for("idlesession.log_out"),
        token=csrf_token(),
        **_limits(shown, said),
    )


def _durations(shown: Present) -> dict[str, str]:
    idle, warn = shown.idle_timeout, shown.warn_before
    told = min(_TOLD_AT_MOST, max(_TOLD_AT_LEAST, idle / 20), (idle - warn) / 2)
    return {"warn-ms": str(round(warn * 1000)), "touch-ms": str(round(told * 1000))}


def _limits(shown: Present, said: Texts) -> dict[str, str]:
    return {"idle": in_words(shown.idle_timeout, said), "lifetime": in_words(shown.lifetime, said)}


def _kept(shown: Present) -> dict[str, Any] | None:
    """Return the form that came after the end, for the script to fill in."""
    form = kept_form() if shown.user_id is not None else None
    if form is None:
        return None
    return {
        "user": mark_of(shown.user_id),
        "path": (request.script_root or "") + form.path,
        "at": form.kept_at,
        "fields": [list(pair) for pair in form.fields.items(multi=True)],
    }


def _render(name: str, **values: Any) -> str:
    """Render a template for a part of a page, without what the application gives to each page."""
    template = current_app.jinja_env.get_template(f"idlesession/{name}.html")
    return template.render(**texts().for_templates(), **values)


def _keep_out_of_caches(response: Response) -> Response:
    if "Cache-Control" not in response.headers:
        response.headers["Cache-Control"] = "no-store"
    elif "babel" not in current_app.extensions:
        response.vary.add("Accept-Language")
    return response


def _static_url(filename: str) -> str:
    return url_for("idlesession.static", filename=filename, v=version_of(_STATIC / filename))


@cache
def version_of(file: Path) -> str:
    """Return a mark of a file's content, so that browsers fetch a new one at once."""
    return sha256(file.read_bytes()).hexdigest()[:8]
