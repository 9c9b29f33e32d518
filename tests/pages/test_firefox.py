"""The idle warning in Firefox, by WebDriver BiDi: what is right in one engine only is not right."""

import time
from collections.abc import Iterator

import pytest
from support.browsers import firefox
from support.browsers import served
from support.browsers import Socket
from support.browsers import wait_for
from support.pages_site import IDLE
from support.pages_site import make_site
from support.pages_site import Site
from support.raw_tabs import FoxTab

from flask_idlesession.model.clock import system_clock

ESCAPE, ENTER, TAB, SHIFT = "\ue00c", "\ue007", "\ue004", "\ue008"

#: Seconds of a session on real clocks; the warning comes after half of them.
SHORT = 6.0


@pytest.fixture(scope="module")
def browser() -> Iterator[Socket]:
    with firefox() as browser:
        yield browser


@pytest.fixture
def short_site() -> Iterator[Site]:
    """A site on the real clock."""
    app = make_site(IDLESESSION_IDLE_TIMEOUT=SHORT, IDLESESSION_WARN_BEFORE=3)
    with served(app) as url:
        yield Site(app, url, system_clock)


@pytest.fixture
def tab(browser: Socket, site: Site) -> Iterator[FoxTab]:
    """A tab in which ada is signed in; its site's clock stands still."""
    tab = FoxTab(browser)
    tab.sign_in(site)
    yield tab
    tab.close()


OPEN = "document.querySelector('dialog').open"
FOCUS = "document.activeElement.name || document.activeElement.textContent.trim()"
FOCUS_TITLE = "document.querySelector('[name=title]').focus()"


def test_the_warning_comes_at_its_time_and_not_before(browser: Socket, short_site: Site) -> None:
    tab = FoxTab(browser)
    tab.sign_in(short_site)
    began_at = time.monotonic()
    tab.open(short_site.url)
    time.sleep(SHORT / 2 - 1)
    assert not tab.ask(OPEN)
    tab.until(OPEN)
    assert time.monotonic() - began_at < SHORT / 2 + 2
    tab.until("document.title === 'You were signed out'")
    assert time.monotonic() - began_at < SHORT + 3
    tab.close()


def test_the_warning_is_an_alertdialog_with_a_name_a_description_and_the_focus_on_staying(
    tab: FoxTab, site: Site
) -> None:
    tab.warned(site)
    assert tab.ask("document.querySelector('dialog').getAttribute('role')") == "alertdialog"
    assert tab.ask("document.querySelector('dialog').matches(':modal')")
    assert tab.ask("document.getElementById('idlesession-title').innerText") == "Are you still there?"
    assert tab.ask("document.getElementById('idlesession-text').innerText") == "You will be signed out in 2 minutes."
    assert tab.ask(FOCUS) == "Stay signed in"


def test_the_focus_stays_in_the_warning(tab: FoxTab, site: Site) -> None:
    tab.warned(site)
    for key in [TAB] * 5 + [SHIFT + TAB] * 5:
        tab.press(key)
        # The body stands for the browser's own bar, where keys go on to work.
        assert tab.ask("!!document.activeElement.closest('dialog') || document.activeElement === document.body")


@pytest.mark.parametrize("key", [ESCAPE, ENTER, " "], ids=["Escape", "Enter", "Space"])
def test_one_key_extends_the_session_once_and_leaves_the_page_as_it_was(tab: FoxTab, site: Site, key: str) -> None:
    tab.run(FOCUS_TITLE)
    tab.press("a", "b")
    wait_for(lambda: site.touches == 1)
    tab.warned(site)
    tab.press(key)
    tab.until(f"!{OPEN}")
    assert site.touches == 2
    assert site.left == IDLE
    assert tab.ask(FOCUS) == "title"
    tab.press("c")
    assert tab.ask("document.querySelector('[name=title]').value") == "abc"


def test_the_session_can_be_extended_eleven_times_by_keyboard_alone(tab: FoxTab, site: Site) -> None:
    for extended in range(11):
        tab.warned(site)
        tab.press(ENTER)
        tab.until(f"!{OPEN}")
        assert site.touches == extended + 1


def test_what_a_script_or_a_moved_mouse_does_is_no_activity(tab: FoxTab, site: Site) -> None:
    moves = [{"type": "pointerMove", "x": place, "y": place} for place in (50, 90)]
    tab.act({"type": "pointer", "id": "mouse", "actions": moves})
    tab.run("document.body.dispatchEvent(new KeyboardEvent('keydown', { key: 'a', bubbles: true }))", FOCUS_TITLE)
    time.sleep(0.5)
    assert site.touches == 0


def test_a_burst_of_keys_is_one_touch(tab: FoxTab, site: Site) -> None:
    tab.run(FOCUS_TITLE)
    tab.press(*"abc")
    wait_for(lambda: site.touches == 1)
    time.sleep(0.5)
    assert site.touches == 1


def test_an_idle_tab_touches_nothing_though_its_page_polls(tab: FoxTab, site: Site) -> None:
    tab.run("setInterval(() => fetch('/unread'), 100)")
    for _ in range(5):
        site.clock.advance(60)
        time.sleep(0.3)
    assert site.seen("GET /unread") > 5
    assert site.touches == 0
    assert site.left == IDLE - 300


def test_a_hidden_tab_touches_nothing_though_its_page_polls(browser: Socket, tab: FoxTab, site: Site) -> None:
    tab.run("setInterval(() => fetch('/unread'), 100)")
    other = FoxTab(browser)
    browser.send("browsingContext.activate", {"context": other.context})
    tab.until("document.hidden")
    asked = site.seen("GET /unread")
    site.clock.advance(300)
    wait_for(lambda: site.seen("GET /unread") > asked + 1)
    assert site.touches == 0
    assert site.left == IDLE - 300
    other.close()


def test_without_scripts_the_page_says_in_words_how_long_a_session_lasts(site: Site) -> None:
    with firefox(**{"javascript.enabled": False}) as browser:
        tab = FoxTab(browser)
        tab.open(f"{site.url}/short?lifetime=3600")
        words = "You are signed out when you are not active for 10 minutes, and 1 hour after you signed in."
        assert tab.locate({"type": "xpath", "value": f"//noscript/p[normalize-space() = '{words}']"})
        assert tab.locate({"type": "css", "value": "meta[http-equiv=refresh]"}) == []
