"""The idle warning, as its users meet it in Chromium."""

import re
from typing import Any

import pytest
from support.browsers import wait_for
from support.pages_site import IDLE
from support.pages_site import Site
from support.pages_site import Tab
from support.pages_site import WARN

# When it comes.


def test_the_warning_comes_at_its_time_and_not_before(tab: Tab) -> None:
    tab.wait(IDLE - WARN - 2)
    tab.live(1)
    assert not tab.dialog.is_visible()
    tab.live(1)
    tab.dialog.wait_for()


def test_the_warning_is_an_alertdialog_with_a_name_a_description_and_the_focus_on_staying(tab: Tab) -> None:
    tab.warned()
    assert tab.dialog.get_attribute("role") == "alertdialog"
    assert tab.page.get_by_role("alertdialog", name="Are you still there?").is_visible()
    described = tab.page.evaluate("id => document.getElementById(id).innerText", "idlesession-text")
    assert described == "You will be signed out in 2 minutes."
    assert tab.focus == "Stay signed in"
    assert tab.button("Sign out now").is_visible()


def test_the_focus_stays_in_the_warning(tab: Tab) -> None:
    tab.page.get_by_label("Title").focus()
    tab.warned()
    for key in [*["Tab"] * 5, *["Shift+Tab"] * 5]:
        tab.page.keyboard.press(key)
        # The body stands for the browser's own bar, where keys go on to work.
        assert tab.page.evaluate(
            "!!document.activeElement.closest('dialog') || document.activeElement.tagName === 'BODY'"
        )


@pytest.mark.parametrize("key", ["Escape", "Enter", "Space"])
def test_one_key_extends_the_session_once_and_leaves_the_page_as_it_was(tab: Tab, key: str) -> None:
    tab.page.get_by_label("Title").fill("half a sent")
    tab.live(1)
    touches = tab.site.touches
    tab.warned()
    tab.page.keyboard.press(key)
    tab.dialog.wait_for(state="hidden")
    assert tab.site.touches == touches + 1
    assert tab.site.left == IDLE
    assert tab.focus == "title"
    assert tab.page.get_by_label("Title").input_value() == "half a sent"
    assert tab.page.title() == "Home"


def test_the_session_can_be_extended_eleven_times_by_keyboard_alone(tab: Tab) -> None:
    for extended in range(11):
        tab.warned()
        tab.page.keyboard.press("Enter")
        tab.dialog.wait_for(state="hidden")
        assert tab.site.touches == extended + 1


def test_the_title_of_the_page_warns_as_well(tab: Tab) -> None:
    tab.warned()
    assert tab.page.title() == "Are you still there?"
    tab.page.keyboard.press("Escape")
    tab.dialog.wait_for(state="hidden")
    assert tab.page.title() == "Home"


# What is activity.


def test_what_a_script_or_a_moved_mouse_does_is_no_activity(tab: Tab) -> None:
    tab.wait(60)
    tab.page.mouse.move(200, 200)
    tab.page.mouse.move(300, 300)
    tab.page.evaluate(
        """() => {
          const types = ["keydown", "pointerdown", "wheel", "touchstart", "scroll"];
          for (const type of types) dispatchEvent(new Event(type));
          document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "a", bubbles: true }));
          document.querySelector("button").focus();
          document.body.style.minHeight = "5000px";
        }"""
    )
    tab.live(3)
    tab.page.evaluate("scrollTo(0, 1000)")
    tab.live(3)
    assert tab.site.touches == 0


@pytest.mark.parametrize("act", ["key", "click", "wheel", "tap"])
def test_what_a_user_does_is_activity(browser: Any, site: Site, act: str) -> None:
    window = browser.new_context(has_touch=True)
    tab = Tab(window, site)
    tab.sign_in()
    tab.wait(60)
    match act:
        case "key":
            tab.page.keyboard.press("a")
        case "click":
            tab.page.mouse.click(5, 5)
        case "wheel":
            tab.page.mouse.wheel(0, 100)
        case "tap":
            tab.page.touchscreen.tap(5, 5)
    tab.expect_touches(1)
    wait_for(lambda: site.left == IDLE)
    window.close()


def test_a_burst_of_keys_is_one_touch(tab: Tab) -> None:
    tab.wait(60)
    tab.page.get_by_label("Title").press_sequentially("a long sentence typed at once", delay=5)
    tab.expect_touches(1)
    tab.live(3)
    assert tab.site.touches == 1


def test_keys_after_the_touch_count_from_when_they_were_pressed(tab: Tab) -> None:
    tab.wait(60)
    with tab.page.expect_response("**/session/touch"):
        tab.page.keyboard.press("a")
    tab.expect_touches(1)
    tab.wait(20)
    tab.page.keyboard.press("b")
    tab.wait(IDLE - WARN - 20)
    tab.expect_touches(2)
    assert not tab.dialog.is_visible()
    assert tab.site.left == pytest.approx(IDLE - (IDLE - WARN - 20), abs=0.1)
    tab.wait(20)
    tab.dialog.wait_for()


def test_an_idle_tab_touches_nothing_though_its_page_polls(tab: Tab) -> None:
    tab.page.evaluate("setInterval(() => fetch('/unread').catch(() => null), 1000)")
    tab.live(30)
    tab.page.wait_for_timeout(200)
    assert tab.site.seen("GET /unread") > 5
    assert tab.site.touches == 0
    assert tab.site.left == IDLE - 30


def test_keys_within_the_warning_extend_nothing_but_by_its_buttons(tab: Tab) -> None:
    tab.warned()
    for key in ["a", "Tab", "ArrowDown", "PageDown"]:
        tab.page.keyboard.press(key)
    tab.page.mouse.click(5, 5)
    tab.live(3)
    assert tab.dialog.is_visible()
    assert tab.site.touches == 0


# Two tabs.


def test_what_extends_the_session_in_one_tab_closes_the_warning_in_the_other(window: Any, tab: Tab, site: Site) -> None:
    other = Tab(window, site)
    other.open("/other")
    site.clock.advance(IDLE - WARN)
    for each in (tab, other):
        each.page.clock.fast_forward(round((IDLE - WARN) * 1000))
        each.dialog.wait_for()
    other.page.keyboard.press("Enter")
    other.dialog.wait_for(state="hidden")
    tab.dialog.wait_for(state="hidden", timeout=2000)
    assert site.touches == 1


def test_a_page_that_is_opened_in_one_tab_closes_the_warning_in_the_other(window: Any, tab: Tab, site: Site) -> None:
    tab.warned()
    other = Tab(window, site)
    other.open("/other")
    tab.dialog.wait_for(state="hidden", timeout=2000)


@pytest.mark.parametrize("how", ["in the warning", "by the application's own button"])
def test_who_signs_out_in_one_tab_sees_nothing_in_the_other(window: Any, tab: Tab, site: Site, how: str) -> None:
    other = Tab(window, site)
    other.open("/")
    if how == "in the warning":
        other.warned()
        other.button("Sign out now").click()
        other.page.wait_for_url("**/session/ended?*")
    else:
        other.page.get_by_role("button", name="Log out").click()
        other.page.wait_for_url("**/log-in")
    tab.page.wait_for_url("**/session/ended?*reason=logged-out*", timeout=2000)
    assert tab.page.get_by_role("heading", name="You are signed out").is_visible()
    assert site.sessions == []


def test_a_page_of_one_user_is_over_when_another_signs_in(window: Any, tab: Tab, site: Site) -> None:
    other = Tab(window, site)
    other.sign_in("grace")
    tab.page.wait_for_url("**/session/ended?*", timeout=2000)
    assert "ada" not in tab.page.content()


def test_a_session_that_is_revoked_ends_its_page_when_the_page_is_looked_at(tab: Tab, site: Site) -> None:
    site.app.extensions["idlesession"].manager.revoke_user("ada")
    tab.look()
    tab.page.wait_for_url("**/session/ended?*reason=revoked*")
    assert tab.page.get_by_text("ended by an administrator").is_visible()


# The end.


def test_without_an_answer_the_page_gives_way_to_one_that_says_why_and_leads_back(tab: Tab, site: Site) -> None:
    tab.open("/other?a=b%26c#there")
    tab.warned()
    tab.wait(WARN)
    tab.page.wait_for_url("**/session/ended?*")
    heading = tab.page.get_by_role("heading", level=1, name="You were signed out")
    assert heading.evaluate("it => it === document.activeElement")
    assert tab.page.title() == "You were signed out"
    assert tab.page.get_by_text("not active for 10 minutes").is_visible()
    tab.page.get_by_role("link", name="Sign in again").click()
    tab.enter()
    assert tab.page.url == f"{site.url}/other?a=b%26c#there"
    assert site.touches == 0


def test_a_jump_to_just_before_the_end_opens_the_warning(tab: Tab) -> None:
    tab.wait(IDLE - 3)
    tab.dialog.wait_for()
    assert re.fullmatch("0:0[123]", tab.page.locator("[data-part=clock]").inner_text())


def test_a_machine_that_slept_past_the_end_shows_nothing_when_it_wakes(tab: Tab, site: Site) -> None:
    answer: list[Any] = []
    tab.page.route("**/session/status*", lambda route: answer.append(route))
    site.clock.advance(3600)
    tab.page.evaluate("const then = Date.now; Date.now = () => then() + 3600000")  # The other clock stood still.
    tab.look()
    tab.until("document.documentElement.hasAttribute('data-idlesession-hidden')")
    assert tab.is_blank()
    tab.held_up(answer).continue_()
    tab.page.wait_for_url("**/session/ended?*reason=idle*")
    assert site.touches == 0


def test_a_machine_that_wakes_is_noticed_without_a_visible_change(tab: Tab, site: Site) -> None:
    site.clock.advance(3600)
    tab.page.evaluate("const then = Date.now; Date.now = () => then() + 3600000")
    tab.page.clock.run_for(1500)
    tab.page.wait_for_url("**/session/ended?*reason=idle*")


@pytest.mark.parametrize("days", [-1, 1])
def test_a_clock_of_the_browser_that_is_a_day_off_changes_nothing(window: Any, site: Site, days: int) -> None:
    tab = Tab(window, site)
    tab.page.clock.pause_at(1_800_000_001 + 2 * 86400 + days * 86400)
    tab.sign_in()
    tab.wait(IDLE - WARN - 2)
    tab.live(1)
    assert not tab.dialog.is_visible()
    tab.live(1)
    tab.dialog.wait_for()


@pytest.mark.parametrize("days", [-1, 1])
def test_a_clock_that_is_set_while_the_page_is_open_ends_nothing(tab: Tab, days: int) -> None:
    tab.wait(60)
    tab.page.evaluate(f"const then = Date.now; Date.now = () => then() + {days} * 86400000")
    tab.live(3)
    tab.until("!document.documentElement.hasAttribute('data-idlesession-hidden')")
    assert tab.page.get_by_text("Private of ada").is_visible()
    tab.wait(IDLE - WARN - 63)
    tab.dialog.wait_for()


def test_back_after_the_end_shows_nothing_private(tab: Tab, site: Site) -> None:
    tab.open("/other")
    tab.wait(IDLE + 1)
    tab.page.wait_for_url("**/session/ended?*")
    asked = site.seen("GET /")
    tab.page.go_back()
    tab.page.wait_for_load_state()
    assert site.seen("GET /") == asked + 1
    assert "Private" not in tab.page.content()


def test_a_page_that_comes_back_from_the_cache_is_hidden_until_the_server_has_answered(tab: Tab) -> None:
    answer: list[Any] = []
    tab.page.route("**/session/status*", lambda route: answer.append(route))
    tab.page.evaluate("dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true }))")
    assert tab.is_blank()
    tab.page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    assert tab.is_blank()
    tab.held_up(answer).continue_()
    tab.until("!document.documentElement.hasAttribute('data-idlesession-hidden')")
    assert tab.page.get_by_text("Private of ada").is_visible()


def test_what_an_application_shows_by_force_is_hidden_too(tab: Tab) -> None:
    tab.page.evaluate(
        """() => {
          const shouting = document.createElement("p");
          shouting.textContent = "a secret";
          shouting.style.setProperty("visibility", "visible", "important");
          shouting.style.setProperty("opacity", "1", "important");
          document.body.append(shouting);
        }"""
    )
    before = tab.page.screenshot()
    tab.page.evaluate("dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true }))")
    assert len(tab.page.screenshot()) < len(before) / 2  # One colour all over.


# A network that fails.


def test_a_touch_that_does_not_arrive_is_said_and_tried_again_until_it_does(tab: Tab, site: Site) -> None:
    tab.warned()
    tab.page.route("**/session/touch", lambda route: route.abort())
    tab.page.keyboard.press("Enter")
    alert = tab.page.get_by_role("alert")
    alert.get_by_text("The server cannot be reached. Trying again").wait_for()
    tab.live(5)
    assert tab.dialog.is_visible()
    assert "cannot be reached" in alert.inner_text()
    assert tab.site.touches == 0
    tab.page.unroute("**/session/touch")
    tab.live_until(lambda: not tab.dialog.is_visible())
    assert site.touches == 1
    assert site.left >= IDLE - 30


def test_a_server_that_refuses_the_touch_is_said_too(tab: Tab) -> None:
    tab.warned()
    tab.page.route("**/session/touch", lambda route: route.fulfill(status=503, body="{}"))
    tab.page.keyboard.press("Escape")
    tab.page.get_by_role("alert").get_by_text("The server cannot be reached").wait_for()
    assert tab.dialog.is_visible()


def test_a_slow_touch_is_sent_once_however_often_it_is_asked_for(tab: Tab, site: Site) -> None:
    tab.warned()
    waiting: list[Any] = []
    tab.page.route("**/session/touch", lambda route: waiting.append(route))
    for _ in range(3):
        tab.page.keyboard.press("Escape")
    tab.held_up(waiting)
    tab.page.wait_for_timeout(100)
    assert tab.dialog.is_visible()
    assert len(waiting) == 1
    waiting[0].continue_()
    tab.dialog.wait_for(state="hidden")
    assert site.touches == 1
    assert tab.page.evaluate("document.activeElement.closest('dialog')") is None


def test_without_a_network_the_warning_comes_all_the_same(tab: Tab) -> None:
    tab.page.route("**/session/status*", lambda route: route.abort())
    tab.wait(IDLE - WARN)
    tab.dialog.wait_for()
    assert tab.dialog.get_by_text("Are you still there?").is_visible()


def test_without_a_network_at_the_end_the_page_is_hidden_and_says_so(tab: Tab) -> None:
    tab.warned()
    tab.page.route("**/session/status*", lambda route: route.abort())
    tab.wait(WARN)
    tab.dialog.get_by_text("No connection").wait_for()
    assert tab.is_blank()
    assert "cannot be reached" in tab.page.get_by_role("alert").inner_text()
    tab.page.unroute("**/session/status*")
    tab.live_until(lambda: "/session/ended" in tab.page.url)
    assert "reason=idle" in tab.page.url


def test_a_page_that_was_hidden_for_want_of_an_answer_is_back_when_the_session_lives(tab: Tab, site: Site) -> None:
    tab.page.get_by_label("Title").fill("half a sent")
    tab.page.route("**/session/status*", lambda route: route.abort())
    tab.page.clock.fast_forward(round(IDLE * 1000))
    tab.dialog.get_by_text("No connection").wait_for()
    assert tab.is_blank()
    tab.page.unroute("**/session/status*")
    tab.page.evaluate("dispatchEvent(new Event('online'))")
    tab.page.clock.run_for(12_000)
    tab.dialog.wait_for(state="hidden")
    assert not tab.is_blank()
    assert tab.page.get_by_label("Title").input_value() == "half a sent"


def test_a_sign_out_that_does_not_arrive_is_not_pretended(tab: Tab, site: Site) -> None:
    tab.warned()
    tab.page.route("**/session/log-out", lambda route: route.abort())
    tab.button("Sign out now").click()
    tab.page.get_by_role("alert").get_by_text("The server cannot be reached").wait_for()
    assert len(site.sessions) == 1
    assert tab.dialog.is_visible()


# The end that cannot be put off.


@pytest.fixture
def near_lifetime(window: Any, site: Site) -> Tab:
    """A tab whose session's lifetime ends in 200 seconds."""
    site.app.extensions["idlesession"].runtime()
    tab = Tab(window, site)
    tab.open("/short?lifetime=800")
    for _ in range(2):
        tab.wait(300)
        tab.open("/")
    return tab


def test_the_end_of_the_lifetime_is_announced_and_cannot_be_extended(near_lifetime: Tab, site: Site) -> None:
    tab = near_lifetime
    tab.wait(200 - WARN)
    tab.dialog.wait_for()
    assert tab.page.get_by_role("alertdialog", name="Your session is about to end").is_visible()
    assert tab.dialog.get_by_text("cannot be extended").is_visible()
    assert "13 minutes 20 seconds at most" in tab.dialog.inner_text()
    assert not tab.button("Stay signed in").is_visible()
    assert tab.focus == "Continue for now"
    tab.page.keyboard.press("Enter")
    tab.dialog.wait_for(state="hidden")
    tab.page.get_by_label("Title").press_sequentially("more")
    tab.live(20)
    assert not tab.dialog.is_visible()
    assert site.touches == 0
    tab.wait(WARN - 20)
    tab.page.wait_for_url("**/session/ended?*reason=lifetime*")
    assert tab.page.get_by_text("even when you are active").is_visible()


def test_escape_puts_the_announcement_of_the_last_end_away_and_extends_nothing(near_lifetime: Tab, site: Site) -> None:
    tab = near_lifetime
    tab.wait(200 - WARN)
    tab.dialog.wait_for()
    tab.page.keyboard.press("Escape")
    tab.dialog.wait_for(state="hidden")
    tab.live(20)
    assert not tab.dialog.is_visible()
    assert site.touches == 0


def test_an_announcement_that_was_put_away_does_not_come_again_on_the_next_page(near_lifetime: Tab, site: Site) -> None:
    tab = near_lifetime
    tab.wait(200 - WARN)
    tab.dialog.wait_for()
    tab.page.keyboard.press("Enter")
    tab.dialog.wait_for(state="hidden")
    tab.open("/other")
    tab.live(20)
    assert not tab.dialog.is_visible()
    tab.wait(WARN - 20)
    tab.page.wait_for_url("**/session/ended?*reason=lifetime*")
    tab.open("/short?lifetime=150")  # Another session has an announcement of its own.
    tab.wait(150 - WARN)
    tab.dialog.wait_for()


def test_an_extension_that_reaches_the_last_end_turns_the_warning_into_its_announcement(
    window: Any, site: Site
) -> None:
    tab = Tab(window, site)
    tab.open("/short?lifetime=650")
    tab.wait(IDLE - WARN / 2)
    tab.dialog.wait_for()
    tab.page.keyboard.press("Enter")
    tab.page.get_by_role("alertdialog", name="Your session is about to end").wait_for()
    assert tab.focus == "Continue for now"
    assert site.touches == 1


# What screen readers hear.


def test_the_time_is_told_once_a_minute_and_then_each_twenty_seconds(tab: Tab) -> None:
    tab.warned()
    tab.page.evaluate(
        """() => {
          window.told = [];
          const status = document.querySelector("[data-part=status]");
          new MutationObserver(() => told.push(status.textContent)).observe(status, { childList: true });
        }"""
    )
    tab.live(int(WARN) - 2)
    assert tab.page.evaluate("told") == [
        "You will be signed out in 1 minute.",
        "You will be signed out in 40 seconds.",
        "You will be signed out in 20 seconds.",
    ]
    assert tab.page.locator("[data-part=clock]").inner_text() in ("0:01", "0:02")
    assert tab.page.locator("[aria-hidden=true] [data-part=clock]").count() == 1


# How it looks.


def test_at_320_by_256_pixels_nothing_scrolls_sideways_and_every_target_is_large(tab: Tab) -> None:
    tab.page.set_viewport_size({"width": 320, "height": 256})
    tab.warned()
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 320
    assert tab.page.evaluate(
        "document.querySelector('dialog').scrollWidth <= document.querySelector('dialog').clientWidth"
    )
    for button in tab.dialog.get_by_role("button").all():
        button.scroll_into_view_if_needed()
        box = button.bounding_box()
        assert box["height"] >= 44
        assert box["width"] >= 44
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 320


@pytest.mark.parametrize("media", [{"forced_colors": "active"}, {"color_scheme": "dark"}, {"reduced_motion": "reduce"}])
def test_the_dialog_has_a_border_and_moves_only_where_that_is_welcome(tab: Tab, media: dict[str, Any]) -> None:
    tab.page.emulate_media(**media)
    tab.warned()
    style = "name => getComputedStyle(document.querySelector('dialog'))[name]"
    assert float(tab.page.evaluate(style, "borderTopWidth").removesuffix("px")) >= 1
    assert tab.page.evaluate(style, "borderTopStyle") == "solid"
    assert (tab.page.evaluate(style, "animationName") == "none") == ("reduced_motion" in media)
    if "color_scheme" in media:
        assert tab.page.evaluate(style, "backgroundColor") == "rgb(30, 35, 41)"


def test_a_page_from_right_to_left_has_its_warning_so_too(tab: Tab) -> None:
    tab.page.evaluate("document.querySelector('idlesession-widget').dir = 'rtl'")
    tab.warned()
    clock, words = (tab.page.locator(name).bounding_box() for name in (".idlesession-clock", ".idlesession-said"))
    assert clock["x"] > words["x"]
    stay, leave = (tab.button(name).bounding_box() for name in ("Stay signed in", "Sign out now"))
    assert stay["x"] > leave["x"]


# Without scripts.


def test_without_scripts_the_page_says_in_words_how_long_a_session_lasts(browser: Any, site: Site) -> None:
    window = browser.new_context(java_script_enabled=False)
    page = window.new_page()
    page.goto(site.url + "/log-in")
    page.get_by_label("Name").fill("ada")
    page.get_by_role("button", name="Log in").click()
    words = page.locator("noscript p").inner_text()
    assert words == "You are signed out when you are not active for 10 minutes, and 1 day after you signed in."
    assert page.locator("noscript p").bounding_box()["height"] > 0
    assert not page.get_by_role("alertdialog").is_visible()
    response = page.reload()
    assert page.locator("meta[http-equiv=refresh i]").count() == 0
    assert "refresh" not in response.headers
    window.close()


# Applications with a dialog of their own.


def test_an_application_can_warn_in_its_own_way(tab: Tab, site: Site) -> None:
    tab.page.evaluate(
        """() => {
          window.heard = [];
          for (const name of ["warn", "extended", "ended"]) {
            document.addEventListener("idlesession:" + name, (event) => {
              heard.push([name, event.detail]);
              event.preventDefault();
            });
          }
          document.querySelector("main").insertAdjacentHTML(
            "beforeend", "<button type=button data-idlesession-extend>Here I am</button>");
        }"""
    )
    tab.wait(IDLE - WARN)
    tab.until("heard.length === 1")
    assert not tab.dialog.is_visible()
    tab.page.keyboard.press("a")
    tab.live(2)
    assert site.touches == 0  # As with our own dialog: its button alone extends.
    tab.page.get_by_role("button", name="Here I am").click()
    tab.until("heard.length === 2")
    assert site.touches == 1
    tab.wait(IDLE)
    tab.until("heard.length > 2 && heard.at(-1)[0] === 'ended'")
    names = [name for name, _ in tab.page.evaluate("heard")]
    assert names == ["warn", "extended", "ended"]
    details = [detail for _, detail in tab.page.evaluate("heard")]
    assert details[0]["remaining_ms"] == WARN * 1000
    assert details[0]["can_extend"] is True
    assert details[1]["remaining_ms"] == IDLE * 1000
    assert details[2] == {"reason": "idle"}
    assert tab.page.url == site.url + "/"
    assert not tab.is_blank()


def test_an_application_that_met_an_answer_401_has_the_widget_look(tab: Tab, site: Site) -> None:
    site.app.extensions["idlesession"].manager.revoke_user("ada")
    tab.page.evaluate("document.dispatchEvent(new Event('idlesession:check'))")
    tab.page.wait_for_url("**/session/ended?*reason=revoked*")


def test_a_framework_that_swaps_the_page_starts_and_stops_the_warning(tab: Tab, site: Site) -> None:
    tab.page.evaluate(
        """() => {
          const widget = document.querySelector("idlesession-widget");
          const copy = widget.cloneNode(true);
          widget.remove();
          document.body.append(copy);
        }"""
    )
    tab.warned()
    tab.page.keyboard.press("Enter")
    tab.dialog.wait_for(state="hidden")
    assert site.touches == 1
    tab.page.evaluate("document.querySelector('idlesession-widget').remove()")
    tab.wait(IDLE + 10)
    tab.live(2)
    assert tab.page.url == site.url + "/"


def test_fields_with_names_of_properties_do_not_break_the_widget(tab: Tab) -> None:
    tab.page.evaluate(
        """() => document.querySelector("main").insertAdjacentHTML(
          "beforeend",
          `<form name=idlesession data-idlesession-keep>
             <input name=id><input name=action><input name=elements></form>`)"""
    )
    tab.warned()
    tab.page.keyboard.press("Enter")
    tab.dialog.wait_for(state="hidden")


def test_keys_go_on_where_they_were_after_the_warning(tab: Tab) -> None:
    title = tab.page.get_by_label("Title")
    title.fill("half sentence")
    tab.page.evaluate("document.querySelector('[name=title]').setSelectionRange(5, 5)")
    for word in ("a ", "long "):
        tab.warned()
        tab.page.keyboard.press("Escape")
        tab.dialog.wait_for(state="hidden")
        tab.page.keyboard.type(word)
    assert title.input_value() == "half a long sentence"
