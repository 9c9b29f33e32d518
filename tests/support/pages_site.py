"""A small application with every part of the pages, under a strict content policy, for the tests."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask import flash
from flask import Flask
from flask import g
from flask import redirect
from flask import render_template_string
from flask import request
from flask import session
from flask.typing import ResponseReturnValue

from flask_idlesession import current_user_id
from flask_idlesession import IdleSession
from flask_idlesession import kept_form
from flask_idlesession import log_in
from flask_idlesession import log_out
from flask_idlesession import login_required
from flask_idlesession import passive
from flask_idlesession import SessionInfo
from flask_idlesession.model.clock import Clock
from flask_idlesession.testing import FakeClock

IDLE, WARN, LIFETIME = 600.0, 120.0, 86400.0

NONCE = "c2l0ZQ"
POLICY = (
    f"default-src 'none'; script-src 'nonce-{NONCE}'; style-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)

_LAYOUT = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><link rel="stylesheet" href="/site.css">
<title>{{ title }}</title></head><body>
<main><h1>{{ title }}</h1>
{% block content %}{% endblock %}
</main>
{{ idlesession_widget(nonce=nonce) }}
</body></html>"""

_HOME = """{% extends layout %}{% block content %}
<p id="private">Private of {{ user }}</p>
<form id="note" method="post" action="/save" enctype="multipart/form-data" data-idlesession-keep>
  <label>Title <input name="title"></label>
  <label>Text <textarea name="text"></textarea></label>
  <label>Colour <select name="colour"><option>red</option><option>green</option><option>blue</option></select></label>
  <label>Urgent <input type="checkbox" name="urgent"></label>
  <label>Phrase <input type="password" name="phrase" autocomplete="current-password"></label>
  <label>Code <input name="figures" autocomplete="one-time-code"></label>
  <label>Card <input name="number" autocomplete="cc-number"></label>
  <label>Other card <input name="reference"></label>
  <label>Pass word <input name="mailPassword"></label>
  <label>File <input type="file" name="picture"></label>
  <input type="hidden" name="wizard" value="3">
  <button>Save</button>
</form>
<form id="search"><label>Search <input name="query"></label></form>
<p><a href="/other">Other</a></p>
<form method="post" action="/log-out"><button>Log out</button></form>
{% endblock %}"""

_LOGIN = """{% extends layout %}{% block content %}
{{ idlesession_notice() }}
{% for message in get_flashed_messages() %}<p>{{ message }}</p>{% endfor %}
<form method="post"><label>Name <input name="name"></label><button>Log in</button></form>
{% endblock %}"""


def make_site(
    *,
    clock: Clock | None = None,
    before_ending: Any = None,
    template_folder: str = "templates",
    store: Any = None,
    **config: Any,
) -> Flask:
    """Return the application; ``app.seen`` counts what was asked of it."""
    app = Flask("site", template_folder=template_folder)
    app.testing = True
    app.secret_key = "a key for the site of the tests"
    app.config.update(
        IDLESESSION_PAGES="/session", IDLESESSION_LOGIN_VIEW="log_in_page", IDLESESSION_KEEP_FORMS=10_000, **config
    )
    IdleSession(app, before_ending=before_ending, store=store, **({} if clock is None else {"clock": clock}))
    app.seen, app.gates = Counter(), {}  # type: ignore[attr-defined]
    layout = app.jinja_env.from_string(_LAYOUT)

    def page(source: str, title: str, **values: Any) -> str:
        return render_template_string(source, layout=layout, title=title, nonce=NONCE, **values)

    @app.before_request
    def count() -> None:
        app.seen[f"{request.method} {request.path}"] += 1  # type: ignore[attr-defined]
        g.csp_nonce = NONCE
        if request.path in app.gates:  # type: ignore[attr-defined]
            app.gates[request.path].wait(30)  # type: ignore[attr-defined]

    @app.after_request
    def protect(response: Any) -> Any:
        response.headers["Content-Security-Policy"] = POLICY
        return response

    @app.get("/")
    @login_required
    def home() -> ResponseReturnValue:
        return page(_HOME, "Home", user=current_user_id())

    @app.get("/site.css")
    def style() -> ResponseReturnValue:
        return "body { background: Canvas; color: CanvasText; }", {"Content-Type": "text/css"}

    @app.get("/other")
    @login_required
    def other() -> ResponseReturnValue:
        return page("{% extends layout %}", "Other")

    @app.get("/unread")
    @passive
    @login_required
    def unread() -> ResponseReturnValue:
        return {"unread": 0}

    @app.post("/save")
    @login_required
    def save() -> ResponseReturnValue:
        session["saved"] = request.form.to_dict(flat=False)
        return redirect("/other", 303)

    @app.get("/kept")
    @login_required
    def kept() -> ResponseReturnValue:
        form = kept_form()
        return {"fields": None if form is None else form.fields.to_dict(flat=False)}

    @app.get("/log-in")
    def log_in_page() -> ResponseReturnValue:
        return page(_LOGIN, "Log in")

    @app.post("/log-in")
    def check() -> ResponseReturnValue:
        if request.form["name"] == "nobody":
            flash("There is no such user.")
            return redirect(request.full_path, 303)
        if current_user_id() not in (None, request.form["name"]):
            log_out()
        log_in(request.form["name"])
        return redirect(request.args.get("next", "/"), 303)

    @app.get("/short")
    def begin_a_short_session() -> ResponseReturnValue:
        log_in("ada", lifetime=float(request.args["lifetime"]))
        return redirect("/", 303)

    @app.post("/log-out")
    def end() -> ResponseReturnValue:
        log_out()
        return redirect("/log-in", 303)

    return app


@dataclass
class Site:
    app: Flask
    url: str
    clock: FakeClock

    def seen(self, request: str) -> int:
        """Return how often this was asked for, as "POST /session/touch"."""
        return int(self.app.seen[request])  # type: ignore[attr-defined]

    def stall(self, path: str) -> threading.Event:
        """Let requests of this path wait until the event is set."""
        gate = self.app.gates[path] = threading.Event()  # type: ignore[attr-defined]
        return gate

    @property
    def touches(self) -> int:
        return self.seen("POST /session/touch")

    @property
    def sessions(self) -> list[SessionInfo]:
        return list(self.app.extensions["idlesession"].manager.find())

    @property
    def left(self) -> float:
        """Seconds that the user's session has left."""
        (info,) = (info for info in self.sessions if info.user_id is not None)
        return info.expires_at - self.clock()


class Tab:
    """A page, as its user handles it; its clock stands still until it is moved, together with the server's."""

    def __init__(self, window: Any, site: Site, *, stands_still: bool = True) -> None:
        self.site = site
        self.page = window.new_page()
        if stands_still:
            self.page.clock.install(time=1_800_000_000)
            self.page.clock.pause_at(1_800_000_001)

    def open(self, path: str = "/") -> None:
        self.page.goto(self.site.url + path)

    def sign_in(self, name: str = "ada") -> None:
        self.open("/log-in")
        self.enter(name)

    def enter(self, name: str = "ada") -> None:
        self.page.get_by_label("Name").fill(name)
        self.page.get_by_role("button", name="Log in").click()
        self.page.wait_for_load_state()

    def wait(self, seconds: float) -> None:
        """Let time pass, for the server and the page."""
        self.site.clock.advance(seconds)
        self.page.clock.fast_forward(round(seconds * 1000))

    def hurry(self, seconds: float) -> None:
        """Let time pass for the server alone, and have the page ask it."""
        self.site.clock.advance(seconds)
        self.page.evaluate("document.dispatchEvent(new Event('idlesession:check'))")

    def live(self, seconds: int) -> None:
        """Let time pass second by second, and with it every timer of the page."""
        for _ in range(seconds):
            self.site.clock.advance(1)
            self.page.clock.run_for(1000)

    def live_until(self, is_so: Callable[[], bool]) -> None:
        """Let time pass until it is so, half a minute at most."""
        for _ in range(30):
            if is_so():
                return
            self.live(1)
            self.page.wait_for_timeout(50)
        assert is_so()

    @property
    def dialog(self) -> Any:
        return self.page.get_by_role("alertdialog")

    def warned(self) -> Any:
        """Wait until the warning has opened."""
        self.wait(IDLE - WARN)
        self.dialog.wait_for()
        return self.dialog

    def until(self, expression: str) -> None:
        """Wait until the expression is true. (Playwright's own way needs a policy that allows eval.)"""
        give_up_at = time.monotonic() + 10
        while not self.page.evaluate(expression):
            assert time.monotonic() < give_up_at, expression
            self.page.wait_for_timeout(20)

    def held_up(self, requests: list[Any]) -> Any:
        """Wait until a request is held up in the list that a route puts it into, and return it."""
        give_up_at = time.monotonic() + 10
        while not requests:
            assert time.monotonic() < give_up_at, "The page does not ask."
            self.page.wait_for_timeout(20)
        return requests[0]

    def look(self) -> None:
        """Come back to the tab."""
        self.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")

    def expect_touches(self, count: int) -> None:
        """Wait until the server was touched so often."""
        give_up_at = time.monotonic() + 10
        while self.site.touches < count and time.monotonic() < give_up_at:
            self.page.wait_for_timeout(20)
        assert self.site.touches == count

    def button(self, name: str) -> Any:
        return self.dialog.get_by_role("button", name=name)

    @property
    def focus(self) -> str:
        return str(self.page.evaluate("document.activeElement.name || document.activeElement.textContent.trim()"))

    def is_blank(self) -> bool:
        """Whether nothing of the page can be seen but the dialog."""
        return bool(
            self.page.evaluate(
                "getComputedStyle(document.body).opacity === '0'"
                " && getComputedStyle(document.querySelector('h1')).visibility === 'hidden'"
            )
        )
