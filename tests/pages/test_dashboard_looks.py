"""The dashboard in a browser: with and without its script, to the eye, to the keyboard, and to screen readers."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask import g
from support.browsers import served
from support.programs import need_packages
from test_dashboard import make_shop
from test_dashboard import visit

from flask_idlesession.testing import FakeClock

FILES = Path(__file__).parents[2] / "flask_idlesession" / "pages" / "dashboard_static"
NONCE = "c2hvcA"
POLICY = (
    f"default-src 'none'; script-src 'nonce-{NONCE}'; style-src 'nonce-{NONCE}'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
STATES = ["hour", "day", "tables", "sessions", "user", "nothing", "session", "refused"]


@pytest.fixture
def guarded() -> dict[str, bool]:
    """Whether the guard lets in; tests change it."""
    return {"lets in": True}


@pytest.fixture
def shop(clock: FakeClock, guarded: dict[str, bool]) -> Flask:
    app = make_shop(lambda: guarded["lets in"], clock=clock)

    @app.before_request
    def choose_nonce() -> None:
        g.csp_nonce = NONCE

    @app.after_request
    def protect(response: Any) -> Any:
        response.headers["Content-Security-Policy"] = POLICY
        return response

    for number in range(30):
        visit(app, f"/in/user-with-a-long-name-{number % 12}@shop.example" if number % 3 else "/")
        clock.advance(47)
        if number % 4 == 0:
            app.extensions["idlesession"].manager.revoke_where(idle_for=600)
    return app


@pytest.fixture
def url(shop: Flask) -> Iterator[str]:
    with served(shop) as url:
        yield url


def bring_about(state: str, page: Any, url: str, guarded: dict[str, bool]) -> None:
    page.goto(f"{url}/session/dashboard" + ("?hours=24" if state == "day" else ""))
    page.locator("[data-plot=live] canvas").wait_for()
    match state:
        case "tables":
            for summary in page.locator("summary").all():
                summary.click()
        case "refused":
            guarded["lets in"] = False
            page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
            page.get_by_text("You may not see this any more.").wait_for()
        case "sessions" | "user" | "nothing" | "session":
            wanted = {"user": "user-with-a-long-name-1@shop.example", "nothing": "nobody"}.get(state, "")
            page.get_by_role("searchbox").fill(wanted)
            page.keyboard.press("Enter")
            page.wait_for_url("**/sessions?q=*")
            if state == "session":
                page.locator(".idlesession-row a").first.click()
                page.wait_for_url("**/sessions/*")


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("state", STATES)
def test_axe_finds_nothing(window: Any, url: str, guarded: dict[str, bool], state: str, colours: Any) -> None:
    need_packages("axe_playwright_python")
    from axe_playwright_python.sync_playwright import Axe

    page = window.new_page()
    # Axe is a script without a nonce. The policy itself is tried by the other tests.
    page.route("**/dashboard*", without_policy)
    page.route("**/sessions*", without_policy)
    page.emulate_media(color_scheme=colours, reduced_motion="reduce")
    bring_about(state, page, url, guarded)
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def without_policy(route: Any) -> None:
    answer = route.fetch(max_redirects=0)
    headers = {name: value for name, value in answer.headers.items() if name != "content-security-policy"}
    route.fulfill(response=answer, headers=headers)


@pytest.mark.parametrize("state", STATES)
def test_nothing_violates_the_strictest_policy(window: Any, url: str, guarded: dict[str, bool], state: str) -> None:
    page = window.new_page()
    bring_about(state, page, url, guarded)
    cursor = "getComputedStyle(document.querySelector('.idlesession-button')).cursor"
    assert page.evaluate(cursor) == "pointer"  # So the style sheets were loaded. The window watches for violations.


@pytest.mark.parametrize(
    ("state", "language"),
    [(state, "en") for state in STATES] + [("hour", language) for language in ("de", "fr", "es")],
)
def test_at_320_pixels_nothing_is_cut_and_only_tables_scroll(
    browser: Any, url: str, guarded: dict[str, bool], state: str, language: str
) -> None:
    window = browser.new_context(viewport={"width": 320, "height": 640}, locale=language)
    window.set_default_timeout(20_000)
    page = window.new_page()
    bring_about(state, page, url, guarded)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    assert page.evaluate(_CUT) == []
    window.close()


_CUT = """[...document.querySelectorAll(".idlesession-page *")]
  .filter((it) => it.checkVisibility())
  .filter((it) => !it.closest(".idlesession-unseen, input, svg, .idlesession-scroll, .idlesession-canvas"))
  .filter((it) => it.scrollWidth > it.clientWidth + 1 && getComputedStyle(it).display !== "inline")
  .map((it) => it.outerHTML.slice(0, 300))"""


def test_the_figures_are_kept_fresh_while_somebody_looks(window: Any, shop: Flask, url: str) -> None:
    page = window.new_page()
    page.clock.install()
    page.goto(f"{url}/session/dashboard")
    live = page.locator("[data-tile=live]")
    before = int(live.text_content())
    page.locator("[data-plot=live] canvas").wait_for()
    visit(shop, "/in/new")
    shop.extensions["idlesession"].manager.revoke_all()
    visit(shop, "/in/newer")
    visit(shop, "/in/newest")
    assert before > 2
    page.wait_for_timeout(1100)  # The server's own count is shared for a second.
    page.clock.fast_forward(6000)
    page.wait_for_function("() => document.querySelector('[data-tile=live]').textContent === '2'")
    row = page.locator("[data-part=rows] tr").first
    assert row.locator("td").first.text_content() == "2"


def test_a_tab_that_nobody_sees_asks_nothing_and_one_that_comes_back_asks_at_once(window: Any, url: str) -> None:
    page, asked = window.new_page(), []
    page.on("request", lambda request: asked.append(request) if request.resource_type == "fetch" else None)
    page.clock.install()
    page.goto(f"{url}/session/dashboard")
    page.locator("[data-plot=live] canvas").wait_for()
    page.evaluate("Object.defineProperty(document, 'hidden', { value: true, configurable: true })")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    number = len(asked)
    page.clock.run_for(120_000)
    assert len(asked) == number
    page.evaluate("Object.defineProperty(document, 'hidden', { value: false, configurable: true })")
    with page.expect_response("**/session/dashboard"):
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def test_while_the_server_does_not_answer_it_asks_more_seldom_and_says_so(window: Any, url: str) -> None:
    page, asked = window.new_page(), []
    page.clock.install()
    page.goto(f"{url}/session/dashboard")
    page.locator("[data-plot=live] canvas").wait_for()
    page.route("**/session/dashboard", lambda route: (asked.append(route), route.abort()))
    page.clock.run_for(10_000)
    page.get_by_text("The server does not answer.").wait_for()
    for _ in range(30):
        page.clock.run_for(10_000)
    assert 4 <= len(asked) <= 12  # At a fixed beat it would be sixty.
    page.unroute("**/session/dashboard")
    page.clock.run_for(70_000)
    page.get_by_text("The server does not answer.").wait_for(state="hidden")


def test_who_may_not_see_it_any_more_is_told_and_asks_no_more(window: Any, url: str, guarded: dict[str, bool]) -> None:
    page, asked = window.new_page(), []
    page.clock.install()
    page.goto(f"{url}/session/dashboard")
    page.locator("[data-plot=live] canvas").wait_for()
    guarded["lets in"] = False
    page.on("request", lambda request: asked.append(request))
    page.clock.run_for(10_000)
    page.get_by_text("You may not see this any more.").wait_for()
    number = len(asked)
    page.clock.run_for(300_000)
    assert len(asked) == number == 1


def test_without_a_script_the_figures_the_tables_the_search_and_the_buttons_work(
    browser: Any, shop: Flask, url: str
) -> None:
    window = browser.new_context(java_script_enabled=False, locale="en")
    window.set_default_timeout(20_000)
    page = window.new_page()
    page.goto(f"{url}/session/dashboard")
    assert int(page.locator("[data-tile=live]").text_content()) > 5
    assert page.get_by_text("The plots need a script.").first.is_visible()
    page.get_by_text("The plots as a table").click()
    assert page.locator("[data-part=rows] tr").count() == 60
    page.get_by_role("link", name="24 hours").click()
    assert page.locator("[data-part=rows] tr").count() == 96
    page.get_by_label("User, address or id of a session").fill("user-with-a-long-name-2@shop.example")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("button", name="End all sessions of user-with-a-long-name-2@shop.example").click()
    assert re.search(r"\d sessions? (was|were) ended", page.get_by_role("status").text_content())
    page.get_by_role("link", name="Back to the figures").click()
    page.get_by_label("To end every session, type:").fill("127.0.0.1")
    page.get_by_role("button", name="End every session").click()
    assert page.get_by_role("status").is_visible()
    assert [info.user_id for info in shop.extensions["idlesession"].manager.find()] == [None]  # The operator's own.
    window.close()


def test_the_keyboard_reaches_everything(window: Any, url: str) -> None:
    page = window.new_page()
    page.goto(f"{url}/session/dashboard")
    page.locator("[data-plot=live] canvas").wait_for()
    reached = set()
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.textContent.trim() || document.activeElement.id"))
    wanted = {"idlesession-q", "Search", "60 minutes", "24 hours", "As a table", "The plots as a table"}
    wanted |= {"idlesession-minutes", "End these sessions", "idlesession-phrase", "End every session"}
    assert wanted <= reached


def test_in_forced_colours_the_lines_and_the_borders_are_seen(window: Any, url: str) -> None:
    page = window.new_page()
    page.emulate_media(forced_colors="active")
    page.goto(f"{url}/session/dashboard")
    page.locator("[data-plot=live] canvas").wait_for()
    assert page.evaluate("getComputedStyle(document.querySelector('.idlesession-tile')).borderTopWidth") == "2px"
    painted = """(() => { const it = document.querySelector("[data-plot=live] canvas");
      return it.getContext("2d").getImageData(0, 0, it.width, it.height).data.some((each) => each > 0); })()"""
    assert page.evaluate(painted)


def test_the_plots_follow_the_colours_of_the_page(window: Any, url: str) -> None:
    page = window.new_page()
    page.goto(f"{url}/session/dashboard")
    page.locator("[data-plot=live] canvas").wait_for()
    picture = "document.querySelector('[data-plot=live] canvas').toDataURL()"
    light = page.evaluate(picture)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(f"(light) => {picture} !== light", arg=light)


def test_every_distance_is_on_the_scale_of_the_pages() -> None:
    sheet = (FILES / "dashboard.css").read_text()
    unit = r"var\(--idlesession-space\)"
    step = rf"{unit}|calc\({unit} (?:/ 2|/ 4|\* 1\.5|\* 2)\)|0|auto"
    distances = re.findall(r"^ +(?:padding|margin|gap|row-gap|column-gap)(?:-[a-z]+)*: (.+?);", sheet, re.MULTILINE)
    assert len(distances) > 20
    off = [each for each in distances if not re.fullmatch(rf"(?:{step})(?: (?:{step}))*|5%", each)]
    assert off == []  # 5 %: the last of the bars stands beyond the scale.


def test_each_colour_of_a_line_has_its_dark_value_in_both_places() -> None:
    sheet = (FILES / "dashboard.css").read_text()
    blocks = re.findall(r"\{\n((?:\s+--idlesession-line-\d: #[^\n]+\n)+)", sheet)
    assert len(blocks) == 3
    assert re.sub(r" +", " ", blocks[1]) == re.sub(r" +", " ", blocks[2])


def test_the_library_of_the_plots_is_whole_with_its_licence_and_nothing_comes_from_elsewhere() -> None:
    names = {path.relative_to(FILES).as_posix() for path in FILES.rglob("*") if path.is_file()}
    library = {f"uplot/{name}" for name in ("uPlot.iife.min.js", "uPlot.min.css", "LICENSE.txt")}
    assert names == {"dashboard.css", "dashboard.js"} | library
    assert "MIT License" in (FILES / "uplot" / "LICENSE.txt").read_text()
    for name in ("dashboard.css", "dashboard.js", "uplot/uPlot.iife.min.js", "uplot/uPlot.min.css"):
        text = (FILES / name).read_text(encoding="utf-8")
        assert not re.search(r"url\(|@import|\beval\(|innerHTML|insertAdjacentHTML|document\.write", text)
