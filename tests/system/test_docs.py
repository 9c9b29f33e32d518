"""The documentation as it is built: without a network, without a warning, without a dead link, on any screen."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from urllib.parse import urldefrag
from urllib.parse import urlsplit

import pytest
from support.documents import CHECKOUT
from support.programs import find_program
from support.programs import need_packages

#: Sites that pages may lead to. An address on another one needs a line here, and somebody who looked at it.
SITES = {
    "docs.python.org",
    "flask.palletsprojects.com",
    "flask-login.readthedocs.io",
    "www.sphinx-doc.org",
    "127.0.0.1:5000",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need_packages("sphinx", "pallets_sphinx_themes")
    site = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-n", "-q", "-E", "-d", f"{site}-doctrees"]
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    done = subprocess.run(
        [*command, "docs", str(site)], cwd=CHECKOUT, env={**os.environ, **nowhere}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return site


class Page(HTMLParser):
    """A built page: what it leads to, and where it can be led to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value is not None:
                self.links.append(value)
            elif name == "id" and value is not None:
                self.anchors.add(value)


def dead_links(site: Path) -> Iterator[str]:
    pages = {path: Page(path) for path in site.rglob("*.html")}
    for path, page in pages.items():
        for link in page.links:
            if urlsplit(link).scheme or link.startswith("//") or path.name == "404.html":
                continue
            address, anchor = urldefrag(link)
            target = path.parent / unquote(urlsplit(address).path) if address else path
            if not target.is_file():
                yield f"{path.name}: {link} is no file"
            elif anchor and target in pages and unquote(anchor) not in pages[target].anchors:
                yield f"{path.name}: {link} has no such anchor"


def test_the_documentation_is_built_without_a_warning_and_without_a_network(site: Path) -> None:
    assert (site / "index.html").is_file()
    assert len(list(site.glob("*.html"))) > 20


def test_every_page_can_be_reached(site: Path) -> None:
    written = {path.stem for path in (CHECKOUT / "docs").glob("*.rst")}
    assert written <= {path.stem for path in site.glob("*.html")}


def test_every_link_of_ours_leads_somewhere(site: Path) -> None:
    assert not list(dead_links(site))


def test_no_page_leads_to_a_site_that_nobody_looked_at(site: Path) -> None:
    led = {urlsplit(link).netloc for path in site.glob("*.html") for link in Page(path).links if urlsplit(link).netloc}
    assert not led - SITES


def test_no_page_asks_another_site_for_anything(site: Path) -> None:
    for path in site.glob("*.html"):
        assert not re.search(r'<(?:script|img|link|iframe)[^>]+(?:src|href)="(?:https?:)?//', path.read_text())


def test_a_dead_link_is_seen(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text('<a href="b.html#here">b</a> <a href="b.html#gone">b</a> <a href="c.html">c</a>')
    (tmp_path / "b.html").write_text('<p id="here">')
    assert len(list(dead_links(tmp_path))) == 2


# In a browser.


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    need_packages("playwright")
    from playwright.sync_api import sync_playwright

    options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_program("chromium"), args=options)
        yield browser
        browser.close()


#: Yields each element that has a text of its own whose contrast is below WCAG 2.2's 4.5 (3 for large text).
CONTRAST = """() => {
  const parse = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ground = element => {
    for (; element; element = element.parentElement) {
      const color = parse(getComputedStyle(element).backgroundColor);
      if (color.length && color[3] !== 0) return color;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const style = getComputedStyle(element);
    const words = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
    if (!words || !element.checkVisibility({visibilityProperty: true, opacityProperty: true})) continue;
    if (element.closest("script, style, svg, .headerlink")) continue;
    const [a, b] = [light(parse(style.color)), light(ground(element))].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize);
    if ((a + 0.05) / (b + 0.05) < (size >= 24 ? 3 : 4.5))
      found.push(`${element.className || element.tagName}: ${element.textContent.trim().slice(0, 40)}`
        + ` (${((a + 0.05) / (b + 0.05)).toFixed(2)})`);
  }
  return [...new Set(found)];
}"""

WIDE = """() => [...document.querySelectorAll("body *")]
  .filter(element => element.getBoundingClientRect().right > innerWidth + 1)
  .filter(element => {
    for (let outer = element.parentElement; outer; outer = outer.parentElement)
      if (["auto", "scroll", "hidden"].includes(getComputedStyle(outer).overflowX)) return false;
    return true;
  })
  .map(element => `${element.tagName}.${element.className}: ${element.textContent.trim().slice(0, 40)}`)"""


def test_no_page_is_wider_than_a_phone(site: Path, browser: Any) -> None:
    page = browser.new_page(viewport={"width": 320, "height": 640})
    wide = {}
    for path in sorted(site.glob("*.html")):
        page.goto(path.as_uri())
        if page.evaluate("document.documentElement.scrollWidth") > 320:
            wide[path.name] = page.evaluate(WIDE)[:5]
    page.close()
    assert not wide


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(site: Path, browser: Any, scheme: Any) -> None:
    page = browser.new_page(color_scheme=scheme)
    faint = {}
    for path in sorted(site.glob("*.html")):
        page.goto(path.as_uri())
        if found := page.evaluate(CONTRAST):
            faint[path.name] = found[:8]
    page.close()
    assert not faint


#: Yields the words of a picture that lie over others, or outside of it.
CROSSED = """() => [...document.querySelectorAll("svg.timeline")].flatMap(svg => {
  const frame = svg.getBoundingClientRect();
  const words = [...svg.querySelectorAll("text")].map(text => [text.textContent, text.getBoundingClientRect()]);
  return words.filter(([, box], index) => box.left < frame.left - 1 || box.right > frame.right + 1
    || words.slice(0, index).some(([, other]) => box.left < other.right && other.left < box.right
      && box.top < other.bottom && other.top < box.bottom)).map(([word]) => word);
})"""


def test_the_words_of_a_picture_can_be_read(site: Path, browser: Any) -> None:
    page = browser.new_page()
    for name in ("concurrency.html", "ends.html"):
        page.goto((site / name).as_uri())
        assert page.locator("svg.timeline").count()
        assert not page.evaluate(CROSSED), name
    page.close()


def test_a_picture_is_told_in_words_too(site: Path) -> None:
    page = (site / "concurrency.html").read_text(encoding="utf-8")
    assert "<desc>A: read, then session[&quot;a&quot;] = 1, then save {a}; B: read" in page


@pytest.mark.parametrize("line", ["A  read", "A  11 late", "A  0"])
def test_a_line_of_a_picture_that_is_no_event_is_refused(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    need_packages("sphinx")
    monkeypatch.syspath_prepend(CHECKOUT / "docs/extensions")
    import timeline

    assert timeline.read(["A  0 read  9.5 save"])["A"][1].label == "save"
    with pytest.raises(ValueError, match="write an instant"):
        timeline.read([line])


def test_dark_is_dark(site: Path, browser: Any) -> None:
    page = browser.new_page(color_scheme="dark")
    page.goto((site / "index.html").as_uri())
    red, green, blue = re.findall(r"\d+", page.evaluate("getComputedStyle(document.body).backgroundColor"))[:3]
    page.close()
    assert max(int(red), int(green), int(blue)) < 60
