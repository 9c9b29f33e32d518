"""Reads where a request came from, keeps of it what is to be kept, and says it as people do."""

import re
from functools import lru_cache
from ipaddress import ip_address
from ipaddress import ip_network
from ipaddress import IPv4Address
from ipaddress import IPv4Network
from ipaddress import IPv6Address
from ipaddress import IPv6Network
from typing import Any
from typing import NamedTuple

from flask import has_request_context
from flask import Request
from flask import request

from ..model.labels import ADDRESS
from ..model.labels import AGENT
from ..model.labels import DEVICE
from ..model.record import Ending
from ..model.record import Labels
from ..model.record import NO_LABELS
from ..model.record import SessionInfo

#: Characters that are kept of a user agent, and read of a client hint.
_LONGEST = 512

#: Bits of an address that are kept of it when it is truncated. A provider gives an IPv4 customer one address and an
#: IPv6 customer a /56 (RIPE-690): some 256 of them share a /24, and as many a /48. A /64 would be one household.
_KEPT_BITS = {4: 24, 6: 48}

#: Bits that requests of one network have in common: in a /64 the privacy addresses (RFC 8981) of one link change.
_NETWORK_BITS = {4: 24, 6: 64}

#: How many different addresses and user agents are kept ready, each read once.
_READY = 2048

# Patterns are compiled when they are first needed: that takes longer than the import of all the rest.
_CONTROL = r"[\x00-\x1f\x7f-\x9f]"

#: A browser whose user agent names others comes before them: nearly all name Safari, and many Chrome.
_BROWSERS = (
    ("Edge", r"\bEdg(?:e|A|iOS)?/(\d+)"),
    ("Opera", r"\b(?:OPR|OPT|OPX|OPiOS)/(\d+)"),
    ("Samsung Internet", r"\bSamsungBrowser/(\d+)"),
    ("Vivaldi", r"\bVivaldi/(\d+)"),
    ("Yandex Browser", r"\bYaBrowser/(\d+)"),
    ("DuckDuckGo", r"\b(?:Ddg|DuckDuckGo)/(\d+)"),
    ("Firefox", r"\b(?:Firefox|FxiOS|Focus|Klar)/(\d+)"),
    ("Chrome", r"\b(?:HeadlessChrome|Chromium|Chrome|CriOS)/(\d+)"),
    ("Safari", r"\bVersion/(\d+).*\bSafari/"),
)
_PLATFORMS = (
    ("iPhone", r"\biP(?:hone|od)\b"),
    ("iPad", r"\biPad\b"),
    ("Android", r"\bAndroid\b"),
    ("ChromeOS", r"\bCrOS\b"),
    ("Windows", r"\bWindows\b"),
    ("macOS", r"\bMac(?:intosh|OS| OS X)\b"),
    ("Linux", r"\b(?:Linux|X11)\b"),
)
_PROGRAM = r"([A-Za-z][A-Za-z0-9_.+-]{0,39})(?:/v?(\d+))?"

_BRAND = r'"([^"\\]{1,40})"\s*;\s*v="(\d{1,9})"'
_NAME = r"[A-Za-z0-9][A-Za-z0-9 .+-]{0,39}"

#: Names that programs use, and the words that people know.
_SPOKEN = {
    "Google Chrome": "Chrome",
    "Microsoft Edge": "Edge",
    "Chrome OS": "ChromeOS",
    "Chromium OS": "ChromeOS",
    "Mac OS X": "macOS",
    "Mobile Safari": "Safari",
}

#: The name of a browser of which no more is known.
_UNKNOWN = "A browser"

_Address = IPv4Address | IPv6Address


class Browser(NamedTuple):
    """A browser, as far as its user agent tells; a field is empty where nothing is known."""

    family: str
    version: str
    platform: str

    def __str__(self) -> str:
        name = f"{self.family} {self.version}".strip() or _UNKNOWN
        return f"{name} on {self.platform}" if self.platform else name


class ClientInfo:
    """Tells where the present request came from, "full" or "truncated"; with None it tells nothing.

    The address is ``request.remote_addr`` and no header's: behind a proxy the application wraps itself in werkzeug's
    ``ProxyFix``, which knows how many proxies there are to believe.
    """

    def __init__(self, kept: str | None) -> None:
        self.kept = kept
        self._keep_address = _whole_address if kept == "full" else _truncated_address
        self._keep_agent = _whole_agent if kept == "full" else _truncated_agent

    def __call__(self) -> Labels:
        """Return the labels of the present request; none where there is no request."""
        if self.kept is None or not has_request_context():
            return NO_LABELS
        present: Request = request._get_current_object()  # type: ignore[attr-defined]
        address = self._keep_address(present.remote_addr)
        agent = self._keep_agent(present.environ.get("HTTP_USER_AGENT", "")[:_LONGEST])
        labels = {}
        if address:
            labels[ADDRESS] = address
        if agent:
            labels[AGENT] = agent
        return labels


def device_of(info: SessionInfo) -> str:
    """Return what a session's user would call the thing that they logged in from: "Chrome on macOS", "Safari on
    iPhone".

    The browser's own client hints count most. Next comes ua-parser's reading of the user agent, if it is installed
    (``pip install flask-idlesession[devices]``) and the user agent was kept whole. Last comes the package's own
    reading. Text from the client has been cut to a short, plain name; show it as any other text, escaped.
    """
    said = info.labels.get(DEVICE)
    if said:
        return str(said)
    agent = str(info.labels.get(AGENT, ""))
    return _parsed_device(agent) or _plain_device(agent)


def described(info: SessionInfo) -> dict[str, Any]:
    """Return what operators are told of a session, as JSON has it: the address as it was kept, the browser as
    :func:`device_of` names it, and None where nothing was kept.
    """
    has_browser = DEVICE in info.labels or AGENT in info.labels
    return {
        "id": str(info.sid),
        "user": info.user_id,
        "created_at": info.created_at,
        "last_seen_at": info.last_seen_at,
        "ends_at": info.expires_at,
        "address": info.labels.get(ADDRESS),
        "browser": device_of(info) if has_browser else None,
    }


def described_ending(ending: Ending) -> dict[str, Any]:
    """Return what operators are told of how a session ended, as JSON has it."""
    return {
        "id": str(ending.sid),
        "user": ending.user_id,
        "ended_at": ending.ended_at,
        "reason": ending.reason.value,
        "by": ending.by,
    }


def shown_address(info: SessionInfo, *, kept: str | None) -> str | None:
    """Return the address that a session was last seen from, as it would be kept now: one from before
    ``IDLESESSION_CLIENT_INFO`` was set to "truncated" is truncated here. None if there is none to be shown.
    """
    said = str(info.labels.get(ADDRESS, ""))
    if kept is None:
        return None
    return (said if kept == "full" or "/" in said else _truncated_address(said)) or None


def hinted_device(request: Request) -> str | None:
    """Return "Chrome on macOS" by the client hints, which Chromium's kin send over HTTPS; None where there are none.

    (W3C, "User-Agent Client Hints": Sec-CH-UA and Sec-CH-UA-Platform are sent unasked.)
    """
    family = None
    for brand, _ in re.findall(_BRAND, request.environ.get("HTTP_SEC_CH_UA", "")[:_LONGEST]):
        if _is_grease(brand) or not re.fullmatch(_NAME, brand):
            continue
        if family is None or family == "Chromium":  # Each names the engine, and then itself.
            family = brand
    if family is None:
        return None
    platform = request.environ.get("HTTP_SEC_CH_UA_PLATFORM", "")[:_LONGEST].strip().strip('"')
    known = platform if re.fullmatch(_NAME, platform) and platform != "Unknown" else ""
    return str(Browser(_SPOKEN.get(family, family), "", _SPOKEN.get(known, known)))


def in_same_network(kept: str, remote_addr: str | None) -> bool:
    """Return whether an address is in the network of one that was kept, whole or truncated: its /24, or its /64
    (of a truncated one the /48, more is not known).
    """
    network, address = _network_of(kept), address_in(remote_addr)
    return network is not None and address is not None and address in network


def is_same_browser(kept: str, agent: str | None) -> bool:
    """Return whether a user agent is of the same family and platform as one that was kept, whole or truncated. The
    version does not count: browsers are updated while they run.
    """
    present = browser_in((agent or "")[:_LONGEST])._replace(version="")
    return present in (_truncated_browser(kept)._replace(version=""), browser_in(kept)._replace(version=""))


@lru_cache(_READY)
def address_in(text: str | None) -> _Address | None:
    """Return an IP address; an IPv4 one that is written as IPv6 (``::ffff:192.0.2.1``) as IPv4. None for anything
    else, such as the empty name of a Unix socket's client.
    """
    try:
        address = ip_address((text or "").partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


@lru_cache(_READY)
def browser_in(agent: str) -> Browser:
    """Return what a user agent says, as it came or was kept whole."""
    platform = next((name for name, pattern in _PLATFORMS if re.search(pattern, agent)), "")
    for family, pattern in _BROWSERS:
        found = re.search(pattern, agent)
        if found:
            return Browser(family, found[1][:9], platform)
    program = re.match(_PROGRAM, agent)
    if program is None or program[1] == "Mozilla":
        return Browser("", "", platform)
    return Browser(program[1], (program[2] or "")[:9], platform)


@lru_cache(_READY)
def _truncated_browser(kept: str) -> Browser:
    """Return what a user agent said that was kept truncated: the reverse of ``str``."""
    name, _, platform = kept.partition(" on ")
    family, _, version = name.rpartition(" ")
    if not family or not version.isdecimal():
        family, version = "" if name == _UNKNOWN else name, ""
    return Browser(family, version, platform)


@lru_cache(_READY)
def _whole_address(text: str | None) -> str:
    address = address_in(text)
    return "" if address is None else str(address)


@lru_cache(_READY)
def _truncated_address(text: str | None) -> str:
    address = address_in(text)
    return "" if address is None else str(ip_network((address, _KEPT_BITS[address.version]), strict=False))


@lru_cache(_READY)
def _whole_agent(agent: str) -> str:
    return re.sub(_CONTROL, "\ufffd", agent)


@lru_cache(_READY)
def _truncated_agent(agent: str) -> str:
    return str(browser_in(agent)) if agent else ""


@lru_cache(_READY)
def _network_of(kept: str) -> IPv4Network | IPv6Network | None:
    try:
        if "/" in kept:
            return ip_network(kept, strict=False)
        address = ip_address(kept)
        return ip_network((address, _NETWORK_BITS[address.version]), strict=False)
    except ValueError:
        return None


def _is_grease(brand: str) -> bool:
    """Whether it is the brand that is none, and there to keep readers from relying on the others."""
    return re.sub(r"[^a-z]", "", brand.lower()) == "notabrand"


def _plain_device(agent: str) -> str:
    browser = browser_in(agent) if "/" in agent else _truncated_browser(agent)
    return str(browser._replace(version=""))


def _parsed_device(agent: str) -> str | None:
    """Return what ua-parser makes of a whole user agent; None if it is not installed, or knows no more than we."""
    if "/" not in agent:
        return None
    try:
        import ua_parser
    except ImportError:
        return None
    parsed: Any = ua_parser.parse(agent)
    if parsed.user_agent is None or parsed.os is None or "/" in parsed.user_agent.family:
        return None  # It is the view of an app that has no name of its own.
    family = re.sub(
        r" Mobile( WebView| iOS)?$| iOS$", "", _SPOKEN.get(parsed.user_agent.family) or parsed.user_agent.family
    )
    system = parsed.os.family
    if system == "iOS" and parsed.device is not None:
        system = parsed.device.family
    return str(Browser(_SPOKEN.get(family, family), "", _SPOKEN.get(system, system)))
