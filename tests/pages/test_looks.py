"""What every page must be to the eye and to programs that read it aloud: checked by axe, in each colour and width."""

import gzip
import re
from pathlib import Path
from typing import Any

import pytest
from support.pages_site import IDLE
from support.pages_site import make_site
from support.pages_site import NONCE
from support.pages_site import POLICY
from support.pages_site import Site
from support.pages_site import Tab
from support.pages_site import WARN
from support.programs import need_packages

STATIC = Path(__file__).parents[2] / "flask_idlesession" / "pages" / "static"
STATES = ["warn", "final", "offline", "over", "restored", "ended", "signed in", "mine", "mine, warned", "log-in"]


def bring_about(state: str, tab: Tab, site: Site) -> None:
    match state:
        case "warn":
            tab.hurry(IDLE - WARN)
            tab.dialog.wait_for()
        case "final":
            tab.open("/short?lifetime=150")
            tab.hurry(50)
            tab.dialog.wait_for()
        case "offline":
            tab.page.route("**/session/status*", lambda route: route.abort())
            tab.page.evaluate("document.querySelector('idlesession-widget').answer.remaining_ms = 0")
            tab.dialog.locator("h2 [data-views=offline]").wait_for()
        case "over":
            tab.page.evaluate("document.querySelector('idlesession-widget').open('over')")
        case "restored":
            tab.page.get_by_label("Title").fill("half a sentence")
            tab.hurry(2 * IDLE)
            tab.page.wait_for_url("**/session/ended?*")
            tab.sign_in()
            tab.page.locator(".idlesession-restored").wait_for()
        case "ended":
            tab.open("/session/ended?reason=lifetime")
        case "signed in":
            tab.open("/session/ended")
        case "mine, warned":
            tab.open("/session/mine")
            tab.hurry(IDLE - WARN)
            tab.dialog.wait_for()
        case "mine":
            for _ in range(2):
                site.app.test_client().post("/log-in", data={"name": "ada"})
            tab.open("/session/mine?done=1")
        case "log-in":
            tab.page.get_by_role("button", name="Log out").click()
            tab.page.wait_for_url("**/log-in")


@pytest.fixture
def tab(window: Any, site: Site) -> Tab:
    """A tab in which ada is signed in, on its own clock: axe waits by it."""
    tab = Tab(window, site, stands_still=False)
    tab.sign_in()
    return tab


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("state", STATES)
def test_axe_finds_nothing(tab: Tab, site: Site, state: str, colours: Any) -> None:
    need_packages("axe_playwright_python")
    from axe_playwright_python.sync_playwright import Axe

    tab.page.emulate_media(color_scheme=colours, reduced_motion="reduce")
    bring_about(state, tab, site)
    # A page that is hidden on purpose has neither its heading nor its main part.
    hidden = dict.fromkeys(["landmark-one-main", "page-has-heading-one"], {"enabled": state != "offline"})
    found = Axe().run(tab.page, options={"rules": hidden})
    assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize(
    ("state", "language"),
    [(state, "en") for state in STATES if state != "mine, warned"]  # There the warning lies over the page.
    + [(state, language) for state in ("warn", "final", "ended", "mine") for language in ("de", "fr", "es")],
)
def test_at_320_pixels_no_text_is_cut_and_nothing_overlaps(browser: Any, site: Site, state: str, language: str) -> None:
    window = browser.new_context(viewport={"width": 320, "height": 480}, locale=language)
    window.set_default_timeout(20_000)
    tab = Tab(window, site, stands_still=False)
    tab.sign_in()
    bring_about(state, tab, site)
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 320
    assert tab.page.evaluate(_CUT) == []
    assert tab.page.evaluate(_OVERLAPS) == []
    window.close()


#: Elements of ours whose text is wider than they are.
_CUT = """[...document.querySelectorAll(".idlesession *, .idlesession-page *, .idlesession-restored *")]
  .filter((it) => it.checkVisibility() && !it.closest(".idlesession-unseen, svg"))
  .filter((it) => it.scrollWidth > it.clientWidth + 1 && getComputedStyle(it).display !== "inline")
  .map((it) => it.outerHTML)"""

#: Pairs of our texts and buttons that lie one on the other.
_OVERLAPS = """(() => {
  const parts = [...document.querySelectorAll(
    ".idlesession :is(h2, p, button, svg), .idlesession-page :is(h1, h2, p, dt, dd, button, a, svg)")]
    .filter((it) => it.checkVisibility() && it.textContent.trim() && !it.closest(".idlesession-unseen"));
  const boxes = parts.map((it) => [it, it.getBoundingClientRect()]);
  const lies = (a, b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1;
  return boxes.flatMap(([a, one], place) => boxes.slice(place + 1)
    .filter(([b, other]) => !a.contains(b) && !b.contains(a) && lies(one, other))
    .map(([b]) => a.outerHTML + " | " + b.outerHTML));
})()"""


def test_the_script_is_small_as_it_is_sent() -> None:
    assert len(gzip.compress((STATIC / "idlesession.js").read_bytes(), 6)) <= 6000
    assert {path.name for path in STATIC.iterdir()} == {"idlesession.css", "idlesession.js"}


def test_a_dozen_properties_style_everything_and_each_has_its_dark_value_in_both_places() -> None:
    sheet = (STATIC / "idlesession.css").read_text()
    names = set(re.findall(r"(--idlesession-[a-z-]+):", sheet))
    assert 10 <= len(names) <= 14
    assert set(re.findall(r"var\((--[a-z-]+)", sheet)) == names
    blocks = re.findall(r"\{\n((?:\s+--idlesession-[^\n]+\n)+)", sheet)
    assert len(blocks) == 3
    assert re.sub(r" +", " ", blocks[1]) == re.sub(r" +", " ", blocks[2])
    docs = (Path(__file__).parents[2] / "docs" / "pages.rst").read_text()
    assert {name for name in names if f"``{name}``" not in docs} == set()


def test_every_distance_is_on_one_scale() -> None:
    sheet = (STATIC / "idlesession.css").read_text()
    unit = r"var\(--idlesession-space\)"
    step = rf"{unit}|calc\({unit} (?:/ 2|/ 4|\* 1\.5|\* 2)\)|0|auto"
    distances = re.findall(r"^ +(?:padding|margin|gap|row-gap|column-gap)(?:-[a-z]+)*: (.+?);", sheet, re.MULTILINE)
    assert len(distances) > 30
    # A negative margin sets an icon level with its text, and a clamp() puts a page where the eye begins.
    off = [each for each in distances if not re.fullmatch(rf"(?:{step})(?: (?:{step}))*|-0\.125rem|clamp\(.+\)", each)]
    assert off == []


def test_an_application_s_own_colours_win_wherever_its_style_sheet_stands(tab: Tab) -> None:
    tab.page.route(
        "**/site.css",
        lambda route: route.fulfill(
            content_type="text/css", body=":root { --idlesession-accent: rgb(1, 2, 3); } body { background: Canvas; }"
        ),
    )
    tab.page.reload()
    for colours in ("light", "dark"):
        tab.page.emulate_media(color_scheme=colours)
        colour = "getComputedStyle(document.querySelector('.idlesession-primary')).backgroundColor"
        assert tab.page.evaluate(colour) == "rgb(1, 2, 3)"


def test_the_page_needs_nothing_inline_and_nothing_from_elsewhere(app_pages: list[str]) -> None:
    for page in app_pages:
        ours = page.split("<idlesession-widget")[-1] if "idlesession-page" not in page else page
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)|javascript:|https?://", ours)
    for path in STATIC.iterdir():
        assert not re.search(r"url\(|@import|\beval\(|innerHTML|insertAdjacentHTML|document\.write", path.read_text())


#: Nothing but what is named: scripts and styles with the nonce of the page, and no text that becomes markup.
_STRICTEST = (
    f"default-src 'none'; script-src 'nonce-{NONCE}'; style-src 'nonce-{NONCE}'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)


@pytest.mark.parametrize("state", ["warn", "final", "restored", "ended", "mine, warned"])
def test_no_page_violates_the_strictest_policy(window: Any, site: Site, state: str) -> None:
    policies: list[str] = []

    def tighten(route: Any) -> None:
        answer = route.fetch(max_redirects=0)
        policies.append(answer.headers.get("content-security-policy", ""))
        headers = {**answer.headers, "content-security-policy": _STRICTEST}
        body = answer.body().replace(b'<link rel="stylesheet" href="/site.css">', b"")  # The site's own has no nonce.
        route.fulfill(response=answer, headers=headers, body=body)

    window.route(lambda url: "/static/" not in url, tighten)
    tab = Tab(window, site, stands_still=False)
    tab.sign_in()
    bring_about(state, tab, site)
    assert POLICY in policies
    colour = "getComputedStyle(document.querySelector('.idlesession-button')).cursor"
    assert tab.page.evaluate(colour) == "pointer"  # So the style sheet was loaded.


@pytest.fixture
def app_pages(site: Site) -> list[str]:
    client = site.app.test_client()
    client.post("/log-in", data={"name": "ada"})
    return [client.get(path).text for path in ("/", "/session/mine", "/session/ended")]


def test_an_application_changes_a_page_block_by_block(tmp_path: Path) -> None:
    (tmp_path / "idlesession").mkdir()
    (tmp_path / "layout.html").write_text(
        "<title>{% block title %}{% endblock %}</title>{% block body %}{% endblock %}"
    )
    (tmp_path / "idlesession" / "layout.html").write_text(
        '{% extends "layout.html" %}'
        "{% block title %}{% block idlesession_title %}{% endblock %} - Shop{% endblock %}"
        "{% block body %}<nav>Shop</nav>{% block idlesession_content %}{% endblock %}{% endblock %}"
    )
    (tmp_path / "idlesession" / "ended.html").write_text(
        '{% extends "idlesession/default/ended.html" %}'
        "{% block idlesession_actions %}{{ super() }}<a href='/help'>Help</a>{% endblock %}"
    )
    (tmp_path / "idlesession" / "dialog.html").write_text(
        '{% extends "idlesession/default/dialog.html" %}{% block idlesession_clock %}{% endblock %}'
    )
    app = make_site(template_folder=str(tmp_path))
    page = app.test_client().get("/session/ended").text
    assert page.startswith("<title>You were signed out - Shop</title><nav>Shop</nav>")
    assert "<a href='/help'>Help</a>" in page
    assert "Sign in again" in page
    client = app.test_client()
    client.post("/log-in", data={"name": "ada"})
    assert "<dialog" in client.get("/").text
    assert "idlesession-clock" not in client.get("/").text
