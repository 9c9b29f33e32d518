"""What the tests of the pages share: a clock, a site, a browser, and windows whose console must stay silent."""

from collections.abc import Iterator
from typing import Any

import pytest
from support.browsers import chromium
from support.browsers import PATIENCE
from support.browsers import served
from support.pages_site import IDLE
from support.pages_site import LIFETIME
from support.pages_site import make_site
from support.pages_site import Site
from support.pages_site import Tab

from flask_idlesession.testing import FakeClock


@pytest.fixture
def config() -> dict[str, Any]:
    """Settings of the site; tests override it."""
    return {}


@pytest.fixture
def site(clock: FakeClock, config: dict[str, Any]) -> Iterator[Site]:
    app = make_site(clock=clock, **{"IDLESESSION_IDLE_TIMEOUT": IDLE, "IDLESESSION_LIFETIME": LIFETIME, **config})
    with served(app) as url:
        yield Site(app, url, clock)


@pytest.fixture(scope="module")  # Its event loop would keep later tests of this process from running async views.
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def window(browser: Any) -> Iterator[Any]:
    """A window of its own cookies. No script of it may raise, and no content policy may be violated."""
    window = browser.new_context(viewport={"width": 1280, "height": 800}, locale="en")
    problems: list[str] = []
    yield watched(window, problems)
    window.close()
    assert problems == []


def watched(window: Any, problems: list[str]) -> Any:
    window.set_default_timeout(PATIENCE * 1000)
    window.add_init_script(
        "addEventListener('securitypolicyviolation', event => console.error('violation of ' + event.violatedDirective))"
    )
    window.on("weberror", lambda error: problems.append(str(error.error)))
    window.on("console", lambda message: problems.append(message.text) if "violation" in message.text else None)
    return window


@pytest.fixture
def tab(window: Any, site: Site) -> Tab:
    """A tab in which ada is signed in."""
    tab = Tab(window, site)
    tab.sign_in()
    return tab
