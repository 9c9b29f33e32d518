"""The idle warning on real clocks: in visible tabs, with a slow answer, and in a tab that the browser froze."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from support.browsers import raw_chromium
from support.browsers import served
from support.browsers import wait_for
from support.pages_site import make_site
from support.pages_site import Site
from support.pages_site import Tab
from support.raw_tabs import RawTab

from flask_idlesession.model.clock import system_clock

#: Seconds; the warning comes after half of them.
IDLE = 6.0


@pytest.fixture
def site() -> Iterator[Site]:
    app = make_site(IDLESESSION_IDLE_TIMEOUT=IDLE, IDLESESSION_WARN_BEFORE=3)
    with served(app) as url:
        yield Site(app, url, system_clock)


@pytest.fixture
def tab(window: Any, site: Site) -> Tab:
    tab = Tab(window, site, stands_still=False)
    tab.sign_in()
    return tab


def test_the_warning_comes_within_a_second_of_its_time(tab: Tab, site: Site) -> None:
    tab.page.reload()
    began_at = time.monotonic()
    tab.dialog.wait_for()
    assert IDLE / 2 - 0.5 < time.monotonic() - began_at < IDLE / 2 + 1
    assert site.touches == 0


def test_two_tabs_agree_within_two_seconds(window: Any, tab: Tab, site: Site) -> None:
    other = Tab(window, site, stands_still=False)
    other.open("/other")
    for each in (tab, other):
        each.dialog.wait_for()
    other.page.keyboard.press("Enter")
    other.dialog.wait_for(state="hidden")
    extended_at = time.monotonic()
    tab.dialog.wait_for(state="hidden")
    assert time.monotonic() - extended_at < 2
    assert site.touches == 1
    for each in (tab, other):
        each.page.wait_for_url("**/session/ended?*reason=idle*")
    assert time.monotonic() - extended_at < IDLE + 2


def test_the_countdown_is_never_negative_and_nothing_private_is_seen_while_the_redirect_is_slow(
    tab: Tab, site: Site
) -> None:
    told: list[str] = []
    tab.page.on("console", lambda message: told.append(message.text))
    tab.page.evaluate(
        """() => {
          const dialog = document.querySelector("dialog");
          const root = document.documentElement;
          const tell = () => console.log([
            root.hasAttribute("data-idlesession-hidden"), getComputedStyle(document.body).opacity, document.title,
            document.querySelector("[data-part=clock]").textContent,
          ].join("|"));
          new MutationObserver(tell).observe(dialog, { subtree: true, childList: true, attributes: true });
          setInterval(tell, 200);
        }"""
    )
    gate = site.stall("/session/ended")
    tab.page.wait_for_timeout((IDLE + 4) * 1000)
    gate.set()
    tab.page.wait_for_url("**/session/ended?*")
    states = [line.split("|") for line in told if line.count("|") == 3]
    assert {"0:03", "0:02", "0:01"} <= {clock for *_, clock in states}
    assert not any("-" in clock for *_, clock in states)
    late = states[-10:]  # Two seconds of the four in which nothing came.
    assert {tuple(state[:3]) for state in late} == {("true", "0", "You are signed out")}


def test_a_tab_that_was_frozen_past_the_end_shows_the_ended_page_and_touched_nothing(site: Site) -> None:
    with raw_chromium() as browser:
        tab = RawTab(browser, f"{site.url}/log-in")
        tab.sign_in(site)
        other = browser.send("Target.createTarget", {"url": "about:blank"})["targetId"]
        browser.send("Target.activateTarget", {"targetId": other})
        tab.until("document.hidden")
        tab.send("Page.setWebLifecycleState", {"state": "frozen"})
        time.sleep(IDLE + 14)
        assert site.seen("GET /session/ended") == 0
        tab.send("Page.setWebLifecycleState", {"state": "active"})
        browser.send("Target.activateTarget", {"targetId": tab.target})
        tab.until("document.title === 'You were signed out'")
        assert site.touches == 0


def test_a_hidden_tab_touches_nothing_though_its_page_polls(site: Site) -> None:
    with raw_chromium() as browser:
        tab = RawTab(browser, f"{site.url}/log-in")
        tab.sign_in(site)
        tab.run("setInterval(() => fetch('/unread'), 100)")
        other = browser.send("Target.createTarget", {"url": "about:blank"})["targetId"]
        browser.send("Target.activateTarget", {"targetId": other})
        tab.until("document.hidden")
        left = site.left
        polled = site.seen("GET /unread")
        wait_for(lambda: site.left < left - 1.9 and site.seen("GET /unread") > polled + 1)
        assert site.touches == 0


def test_a_network_that_is_cut_and_comes_back_extends_what_was_asked_for(window: Any, tab: Tab, site: Site) -> None:
    tab.page.reload()
    tab.dialog.wait_for()
    window.set_offline(True)
    tab.page.keyboard.press("Enter")
    tab.page.get_by_role("alert").get_by_text("The server cannot be reached").wait_for()
    assert tab.dialog.is_visible()
    window.set_offline(False)
    tab.dialog.wait_for(state="hidden")
    assert site.touches == 1
    assert tab.page.get_by_text("Private of ada").is_visible()


def test_a_network_that_is_cut_over_the_end_hides_the_page_until_it_is_back(window: Any, tab: Tab, site: Site) -> None:
    tab.page.reload()
    tab.dialog.wait_for()
    window.set_offline(True)
    tab.dialog.get_by_text("No connection").wait_for()
    assert tab.is_blank()
    tab.page.wait_for_timeout(2000)
    assert tab.is_blank()
    window.set_offline(False)
    tab.page.wait_for_url("**/session/ended?*reason=idle*")
    assert site.touches == 0
