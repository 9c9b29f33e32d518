"""Makes the pictures of docs/gallery.rst: ``python docs/pictures/make.py [FOLDER]``.

It needs the extra "test", and Chromium. The example application runs on a clock that stands still, so the same pictures
come out each time.
"""

import logging
import shutil
import sys
import threading
from collections.abc import Iterable
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright
from werkzeug.serving import make_server

CHECKOUT = Path(__file__).parents[2]
sys.path[:0] = [str(CHECKOUT), str(Path(__file__).parent)]

from crowd import shop  # noqa: E402

from example_app import create_app  # noqa: E402
from flask_idlesession.testing import FakeClock  # noqa: E402

FOLDER = Path(__file__).parent
OPTIONS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
SIZES = {"wide": (1280, 720), "narrow": (320, 640)}

#: A search that finds the visitors, and not the window of the pictures.
FOUND = "/sessions?q=198.51.0.0/16"

#: The pages of the dashboard, and their paths.
FOR_OPERATORS = {"dashboard": "?hours=24", "dashboard-found": FOUND, "dashboard-session": FOUND}

#: A picture: the page or the state, the size, the colours, the language.
Picture = tuple[str, str, str, str]


def every_picture() -> Iterator[Picture]:
    """Yield each page in both sizes and colours, and in German where the package has words of its own on it."""
    for what in ("warning", "final", "offline", "ended", "mine", "restored", "log-in"):
        for size in SIZES:
            for colours in ("light", "dark"):
                yield what, size, colours, "en"
    for what in ("warning", "final", "ended", "mine"):
        for size in SIZES:
            yield what, size, "light", "de"
    for what in FOR_OPERATORS:
        for size in SIZES:
            for colours in ("light", "dark"):
                yield what, size, colours, "en"
    yield "dashboard", "wide", "light", "de"


#: The pictures that stand in the documentation.
SHOWN = list(every_picture())

PASSWORD = "analytical engine"
PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Mobile/15E148 Safari/604.1"
LAPTOP = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 Chrome/142.0.0.0 Safari/537.36"
DESK = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


class Studio:
    """One browser window with one user, in one size, colour and language."""

    def __init__(self, browser: Any, url: str, clock: FakeClock, app: Any, **settings: Any) -> None:
        self.window = browser.new_context(user_agent=LAPTOP, reduced_motion="reduce", **settings)
        self.page = self.window.new_page()
        self.url, self.clock, self.app = url, clock, app

    def sign_in(self) -> None:
        """Log in on three browsers, so that there is a list to show."""
        for agent, ago, address in ((PHONE, 240, "198.51.100.23"), (DESK, 1140, "203.0.113.9")):
            client = self.app.test_client()
            client.environ_base["REMOTE_ADDR"] = address
            client.post("/login", data={"user": "ada", "password": PASSWORD}, headers={"User-Agent": agent})
            self.clock.advance(ago)
        self.page.goto(f"{self.url}/login")
        self.page.get_by_label("Name").fill("ada")
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("button", name="Log in").click()
        self.page.wait_for_url("**/notes/")

    def hurry(self, seconds: float) -> None:
        """Let seconds pass, and have the page notice."""
        self.clock.advance(seconds)
        self.page.evaluate("document.dispatchEvent(new Event('idlesession:check'))")

    def show(self, what: str) -> None:
        """Bring about what is to be seen."""
        if what == "warning":
            self.page.get_by_label("New note").fill("Weave algebraical patterns, just as the loom weaves flowers")
            self.hurry(1800 - 96)
            self.page.locator("dialog[open]").wait_for()
        elif what == "final":
            self.page.evaluate("document.querySelector('idlesession-widget').answer.can_extend = false")
            self.page.evaluate("document.querySelector('idlesession-widget').answer.remaining_ms = 96000")
            self.page.evaluate("document.querySelector('idlesession-widget').warn()")
        elif what == "offline":
            self.page.route("**/session/status*", lambda route: route.abort())
            self.page.evaluate("document.querySelector('idlesession-widget').answer.remaining_ms = 0")
            self.page.locator("h2 [data-views=offline]").wait_for()
        elif what == "mine":
            self.page.goto(f"{self.url}/session/mine?done=1")
        elif what == "log-in":
            self.clock.advance(1800)
            self.page.goto(f"{self.url}/notes/")
        else:
            self.page.get_by_label("New note").fill("Weave algebraical patterns, just as the loom weaves flowers")
            self.hurry(1800)
            self.page.wait_for_url("**/session/ended?*")
            if what == "restored":
                self.page.locator(".idlesession-button").click()
                self.page.get_by_label("Name").fill("ada")
                self.page.get_by_label("Password").fill(PASSWORD)
                self.page.get_by_role("button", name="Log in").click()
                self.page.locator(".idlesession-restored").wait_for()


@contextmanager
def example() -> Iterator[tuple[str, FakeClock, Any]]:
    """Yield the address of the example application, its clock, and the application."""
    clock = FakeClock()
    app = create_app({"SECRET_KEY": "a key for pictures only", "TESTING": True}, clock=clock)
    with served(app) as url:
        yield url, clock, app


@contextmanager
def served(app: Any) -> Iterator[str]:
    """Serve an application in a thread; yield its address."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def make(pictures: Iterable[Picture], folder: Path) -> None:
    """Make these pictures in the folder."""
    pages = list(pictures)
    make_pages([each for each in pages if each[0] not in FOR_OPERATORS], folder)
    make_dashboards([each for each in pages if each[0] in FOR_OPERATORS], folder)


def make_dashboards(pictures: Iterable[Picture], folder: Path) -> None:
    """Make the pictures of the dashboard, all of one busy shop."""
    chosen = list(pictures)
    if not chosen:
        return
    app, _ = shop()
    with sync_playwright() as playwright, served(app) as url:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=OPTIONS)
        for what, size, colours, language in chosen:
            width, height = SIZES[size]
            viewport = {"width": width, "height": height}
            window = browser.new_context(viewport=viewport, color_scheme=colours, locale=language)
            page = window.new_page()
            page.goto(f"{url}/session/dashboard{FOR_OPERATORS[what]}")
            if what == "dashboard":
                page.locator("[data-plot=store] canvas").wait_for()
            if what == "dashboard-session":
                page.locator(".idlesession-row a").first.click()
                page.wait_for_url("**/sessions/*")
            name = f"{what}-{size}-{colours}-{language}.png"
            page.screenshot(path=folder / name, full_page=what != "dashboard-found")
            window.close()
        browser.close()


def make_pages(pictures: Iterable[Picture], folder: Path) -> None:
    """Make the pictures of the pages for users, each of an application of its own."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=OPTIONS)
        for what, size, colours, language in pictures:
            with example() as (url, clock, app):
                width, height = SIZES[size]
                viewport = {"width": width, "height": height}
                studio = Studio(browser, url, clock, app, viewport=viewport, color_scheme=colours, locale=language)
                studio.sign_in()
                studio.show(what)
                path = folder / f"{what}-{size}-{colours}-{language}.png"
                studio.page.screenshot(path=path, full_page=what == "mine")
                studio.window.close()
        browser.close()


if __name__ == "__main__":
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    make(SHOWN, Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
