"""Pages that come from a cache are as old as they may be: the server is asked before anything of them is seen."""

from collections.abc import Iterator
from typing import Any

import pytest
from flask import make_response
from flask import render_template_string
from flask.typing import ResponseReturnValue
from support.browsers import firefox
from support.browsers import raw_chromium
from support.browsers import Socket
from support.pages_site import IDLE
from support.pages_site import NONCE
from support.pages_site import Site
from support.pages_site import Tab
from support.raw_tabs import FoxTab
from support.raw_tabs import RawTab

from flask_idlesession import login_required

_CACHED = (
    '<!doctype html><html lang="en"><title>Cached</title><body><h1>Private</h1>{{ idlesession_widget(nonce=nonce) }}'
    # It tells what could be seen of the page when it was shown again.
    '<script nonce="{{ nonce }}">addEventListener("pageshow", () => window.shown ='
    " getComputedStyle(document.body).opacity)</script></body></html>"
)


@pytest.fixture
def site(site: Site) -> Site:
    """A site with a page that the browser may keep, which its view decided."""

    @site.app.get("/cached")
    @login_required
    def cached() -> ResponseReturnValue:
        response = make_response(render_template_string(_CACHED, nonce=NONCE))
        response.headers["Cache-Control"] = "private, max-age=600"
        return response

    return site


@pytest.fixture
def caching(window: Any, site: Site) -> Tab:
    """A tab on its own clock, which has been on the page that its browser keeps. (A clock of Playwright's hides where a
    page came from.)
    """
    tab = Tab(window, site, stands_still=False)
    tab.sign_in()
    tab.open("/cached")
    assert site.seen("GET /session/status") == 0  # It came from the server, so it is right.
    tab.open("/other")
    return tab


def test_a_page_from_the_browser_s_cache_is_hidden_until_the_server_has_answered(caching: Tab, site: Site) -> None:
    gate = site.stall("/session/status")
    caching.page.evaluate("location.href = '/cached'")
    caching.page.wait_for_url("**/cached")
    caching.until("document.documentElement.hasAttribute('data-idlesession-hidden')")
    assert caching.is_blank()
    gate.set()
    caching.until("!document.documentElement.hasAttribute('data-idlesession-hidden')")
    assert site.seen("GET /cached") == 1


def test_a_page_from_the_browser_s_cache_is_over_when_its_session_is(caching: Tab, site: Site) -> None:
    site.app.extensions["idlesession"].manager.revoke_user("ada")
    caching.page.evaluate("location.href = '/cached'")
    caching.page.wait_for_url("**/session/ended?*reason=revoked*")
    assert site.seen("GET /cached") == 1


def test_a_copy_of_the_widget_asks_the_server_before_it_believes_its_page(tab: Tab, site: Site) -> None:
    tab.page.evaluate("window.copy = document.querySelector('idlesession-widget').cloneNode(true)")
    site.clock.advance(IDLE)
    tab.page.evaluate("document.querySelector('idlesession-widget').remove(), document.body.append(copy)")
    tab.page.wait_for_url("**/session/ended?*reason=idle*")
    assert site.touches == 0


def test_a_copy_of_an_open_warning_is_a_warning(tab: Tab, site: Site) -> None:
    tab.warned()
    tab.page.evaluate(
        """() => {
          const widget = document.querySelector("idlesession-widget");
          window.copy = widget.cloneNode(true);
          widget.remove();
        }"""
    )
    assert tab.page.title() == "Home"
    tab.page.evaluate("document.body.append(copy)")
    tab.dialog.wait_for()
    tab.until("document.querySelector('dialog').matches(':modal')")
    tab.page.keyboard.press("Enter")
    tab.dialog.wait_for(state="hidden")
    assert site.touches == 1


def test_a_widget_that_is_moved_goes_on(tab: Tab, site: Site) -> None:
    tab.page.evaluate("document.querySelector('main').append(document.querySelector('idlesession-widget'))")
    tab.warned()
    tab.page.keyboard.press("Enter")
    tab.dialog.wait_for(state="hidden")
    assert site.touches == 1


@pytest.fixture(params=["Chromium", "Firefox"])
def kept(request: pytest.FixtureRequest, site: Site) -> Iterator["RawTab | FoxTab"]:
    """A tab that was on the page, and left it for another; the browser keeps the page in its back-forward cache."""
    browser: Socket
    with raw_chromium() if request.param == "Chromium" else firefox() as browser:
        tab: RawTab | FoxTab = RawTab(browser, f"{site.url}/log-in") if request.param == "Chromium" else FoxTab(browser)
        tab.sign_in(site)
        tab.open(f"{site.url}/cached")
        tab.run("window.isTheSame = true")
        tab.open(f"{site.url}/site.css")
        yield tab


def test_back_to_a_page_that_the_browser_kept_after_the_end(kept: "RawTab | FoxTab", site: Site) -> None:
    site.clock.advance(IDLE)
    kept.back()
    kept.until("location.pathname === '/session/ended'")
    assert "Private" not in kept.ask("document.body.innerText")
    assert site.touches == 0


def test_back_to_a_page_that_the_browser_kept_while_the_session_lives(kept: "RawTab | FoxTab", site: Site) -> None:
    kept.back()
    kept.until("location.pathname === '/cached' && document.readyState === 'complete'")
    kept.until("!document.documentElement.hasAttribute('data-idlesession-hidden')")
    assert kept.ask("window.isTheSame") is True  # So it is the very page, from the back-forward cache.
    assert kept.ask("window.shown") == "0"
    assert site.seen("GET /session/status") >= 1
    assert kept.ask("document.body.innerText").startswith("Private")
