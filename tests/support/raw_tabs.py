"""Tabs by the browsers' own protocols: Playwright hides no page, freezes none, and lets none be kept for "back"."""

import json
import time
from abc import ABC
from abc import abstractmethod
from contextlib import suppress
from typing import Any

from support.browsers import PATIENCE
from support.browsers import Socket
from support.pages_site import IDLE
from support.pages_site import Site
from support.pages_site import WARN

_OPEN = "document.querySelector('dialog').open"


class _Tab(ABC):
    """A tab of either browser."""

    @abstractmethod
    def open(self, url: str) -> None:
        """Go to the address."""

    @abstractmethod
    def ask(self, expression: str) -> Any:
        """Return what the expression is, as JSON has it."""

    @abstractmethod
    def back(self) -> None:
        """Go back in the history."""

    def run(self, *statements: str) -> None:
        self.ask(f"(() => {{ {'; '.join(statements)} }})()")

    def until(self, expression: str, *, patience: float = PATIENCE) -> None:
        give_up_at = time.monotonic() + patience
        while not self._is(expression):
            assert time.monotonic() < give_up_at, expression
            time.sleep(0.03)

    def sign_in(self, site: Site) -> None:
        self.open(f"{site.url}/log-in")
        self.run("document.querySelector('[name=name]').value = 'ada'", "document.querySelector('main form').submit()")
        self.until("document.title === 'Home' && document.readyState === 'complete'")

    def warned(self, site: Site) -> None:
        """Let time pass for the server, and have the page ask it."""
        site.clock.advance(IDLE - WARN)
        give_up_at = time.monotonic() + PATIENCE
        while not self._is(_OPEN):  # A page that waits for an answer to its last question asks nothing.
            assert time.monotonic() < give_up_at, "the page does not warn"
            self.run("document.dispatchEvent(new Event('idlesession:check'))")
            with suppress(AssertionError):
                self.until(_OPEN, patience=1.0)

    def _is(self, expression: str) -> bool:
        try:
            return bool(self.ask(expression))
        except RuntimeError:
            return False  # The page is being left.


class FoxTab(_Tab):
    """A tab of Firefox, in a container of its own, so that its cookies are its own."""

    def __init__(self, browser: Socket) -> None:
        self._browser = browser
        self._user = browser.send("browser.createUserContext")["userContext"]
        self.context = browser.send("browsingContext.create", {"type": "tab", "userContext": self._user})["context"]

    def close(self) -> None:
        self._browser.send("browsingContext.close", {"context": self.context})
        self._browser.send("browser.removeUserContext", {"userContext": self._user})

    def open(self, url: str) -> None:
        self._browser.send("browsingContext.navigate", {"context": self.context, "url": url, "wait": "complete"})

    def back(self) -> None:
        self._browser.send("browsingContext.traverseHistory", {"context": self.context, "delta": -1})

    def ask(self, expression: str) -> Any:
        answer = self._browser.send(
            "script.evaluate",
            {
                "expression": f"JSON.stringify(({expression}) ?? null)",
                "target": {"context": self.context},
                "awaitPromise": False,
            },
        )
        if answer["type"] != "success":
            raise RuntimeError(answer)
        return json.loads(answer["result"]["value"])

    def locate(self, locator: dict[str, Any]) -> list[Any]:
        found = self._browser.send("browsingContext.locateNodes", {"context": self.context, "locator": locator})
        return list(found["nodes"])

    def press(self, *keys: str) -> None:
        """Press these keys one after another; a pair is pressed together."""
        actions = []
        for key in keys:
            actions += [{"type": "keyDown", "value": each} for each in key]
            actions += [{"type": "keyUp", "value": each} for each in reversed(key)]
        self.act({"type": "key", "id": "keyboard", "actions": actions})

    def act(self, source: dict[str, Any]) -> None:
        self._browser.send("input.performActions", {"context": self.context, "actions": [source]})


class RawTab(_Tab):
    """A tab of Chromium by the DevTools Protocol alone."""

    def __init__(self, browser: Socket, url: str) -> None:
        self._browser = browser
        self.target = browser.send("Target.createTarget", {"url": url})["targetId"]
        attached = browser.send("Target.attachToTarget", {"targetId": self.target, "flatten": True})
        self._session = attached["sessionId"]
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def send(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        return self._browser.send(method, params or {}, sessionId=self._session)

    def open(self, url: str) -> None:
        self.send("Page.navigate", {"url": url})
        self.until(f"document.readyState === 'complete' && location.href === {json.dumps(url)}")

    def back(self) -> None:
        history = self.send("Page.getNavigationHistory")
        before = history["entries"][history["currentIndex"] - 1]
        self.send("Page.navigateToHistoryEntry", {"entryId": before["id"]})

    def ask(self, expression: str) -> Any:
        return self.send("Runtime.evaluate", {"expression": expression, "returnByValue": True})["result"].get("value")
