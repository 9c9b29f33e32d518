"""Looks for faults of a deployment: the one list of what ``flask idlesession check`` finds, and why it matters."""

from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from typing import Any
from typing import NamedTuple

from ..model.errors import StoreError
from ..settings.keys import LEAST_WARNING
from ..settings.keys import Settings
from ..settings.secret_keys import weaknesses_of
from ..stores.contract import has_clock
from ..stores.contract import has_facts
from ..stores.contract import Store
from .probes import innermost
from .probes import probe

#: How many idle timeouts a lifetime has at least, so that users can extend a session ten times (WCAG 2.2, 2.2.1).
_LEAST_TURNS = 11

#: Seconds that two clocks may differ by, and that a round trip may take, before something is said.
_SKEW, _SLOW = 1.0, 0.05

_MEMORY = 'Set IDLESESSION_STORE = "sqlite:///sessions.db" on one host, or a redis:// URL on several.'


class Rule(NamedTuple):
    """The facts that all findings of one code share."""

    why: str
    mend: str
    #: Whether it is an error for ``--deploy``.
    matters: bool = True


#: The rule of each code. :data:`~flask_idlesession.model.messages.CODES` has the titles.
RULES: Mapping[str, Rule] = {
    "ISE101": Rule(
        "An application with a wrong setting does not serve its first request.", "Correct the setting as it is said."
    ),
    "ISE102": Rule("Each process knows its own sessions only, so users are logged out at random.", _MEMORY),
    "ISE103": Rule(
        "Each process refuses the cookies of the others.",
        "Set one SECRET_KEY for all, from a file or the environment, and not a random one at each start.",
    ),
    "ISE104": Rule("Without a key no token can be signed.", "Make one with: flask idlesession gen-key"),
    "ISE105": Rule("Requests that need their session are answered 503.", "Start the store, and correct its access."),
    "ISE106": Rule(
        "A server that evicts logs users out at random, and may undo a log-out.",
        "Set maxmemory-policy noeviction, and give the server enough memory.",
    ),
    "ISE107": Rule(
        "Other users of this host can read or change the sessions.", "Say chmod 600 for the file, and restart."
    ),
    "ISW001": Rule(
        "Others can forge what the key alone protects, such as links that reset a password.",
        "Make one with: flask idlesession gen-key",
    ),
    "ISW101": Rule("A restart logs everybody out, and no second worker can be added.", _MEMORY),
    "ISW102": Rule(
        "A former key opens what it signed for as long as it stays.",
        "Remove it once the lifetime of sessions has passed since the change.",
        matters=False,
    ),
    "ISW103": Rule(
        "Browsers also send the cookie over plain HTTP, where others can read it.",
        "Set SESSION_COOKIE_SECURE = True, and serve HTTPS only.",
    ),
    "ISW104": Rule(
        "Other sites can send requests with the cookie, and browsers differ in their default.",
        'Set SESSION_COOKIE_SAMESITE = "Lax".',
    ),
    "ISW105": Rule("A script that was injected can read the token.", "Set SESSION_COOKIE_HTTPONLY = True."),
    "ISW106": Rule(
        "Without the prefix another sub-domain can plant a cookie of this name.",
        'Set SESSION_COOKIE_NAME = "__Host-session".',
        matters=False,
    ),
    "ISW107": Rule(
        "Each host of the domain gets the token, and each can plant one.", "Leave SESSION_COOKIE_DOMAIN unset."
    ),
    "ISW108": Rule(
        "Users must be able to extend a session at least ten times (WCAG 2.2, success criterion 2.2.1).",
        "Raise IDLESESSION_LIFETIME, or shorten IDLESESSION_IDLE_TIMEOUT.",
        matters=False,
    ),
    "ISW109": Rule(
        "A restart of the server logs everybody out.", 'Set appendonly yes, or a "save" rule.', matters=False
    ),
    "ISW110": Rule(
        "Under rare conditions these versions of SQLite damage a database in WAL mode.",
        "Install a newer SQLite: 3.51.3 or later.",
        matters=False,
    ),
    "ISW111": Rule(
        "Hosts whose clocks differ do not agree when a session ends.", "Set the clocks by NTP, then restart."
    ),
    "ISW112": Rule(
        "Each request with a session waits for the store.", "Bring the store nearer, or find out what it waits for."
    ),
    "ISW113": Rule(
        f"Users need {LEAST_WARNING:g} seconds to read the warning and answer it (WCAG 2.2, success criterion 2.2.1).",
        f"Raise IDLESESSION_IDLE_TIMEOUT, and IDLESESSION_ANONYMOUS_IDLE_TIMEOUT, to {2 * LEAST_WARNING:g} at least.",
        matters=False,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One fault that was found."""

    code: str
    #: "error" or "warning".
    level: str
    what: str
    why: str
    mend: str
    #: Where the documentation explains it.
    docs: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """The parts of a deployment that are looked at. Those that cannot be seen are None, or empty."""

    config: Mapping[str, Any] = field(repr=False)
    secret_key: str | bytes | None = field(repr=False)
    settings: Settings = field(repr=False)
    store: Store | None
    now: float
    #: Fingerprints of the secret keys of the application's live processes on this host, by process id.
    processes: Mapping[int, str]


def found(code: str, what: str, *, deploy: bool) -> Finding:
    """Return a finding. A warning that matters in production is an error with ``deploy``."""
    rule = RULES[code]
    level = "error" if code.startswith("ISE") or deploy and rule.matters else "warning"
    return Finding(code=code, level=level, what=what, why=rule.why, mend=rule.mend, docs=f"errors.html#{code.lower()}")


def check(deployment: Deployment, *, deploy: bool) -> list[Finding]:
    """Return what is wrong, errors first, without the codes that ``IDLESESSION_SILENCED_CHECKS`` names."""
    pairs = [*_processes(deployment), *_keys(deployment), *_cookie(deployment.config), *_timeouts(deployment.settings)]
    if deployment.store is not None:
        pairs += _store(deployment.store, now=deployment.now)
    silenced = deployment.settings.silenced_checks
    findings = [found(code, what, deploy=deploy) for code, what in pairs if code not in silenced]
    return sorted(findings, key=lambda finding: (finding.level, finding.code))


_Pairs = Iterator[tuple[str, str]]


def _processes(deployment: Deployment) -> _Pairs:
    count, store = len(deployment.processes), deployment.store
    pids = ", ".join(map(str, sorted(deployment.processes)))
    if store is not None and store.traits.in_process:
        if count > 1:
            yield "ISE102", f"The sessions are in memory, and {count} processes serve the application: {pids}."
        elif store.traits.forgetful:
            yield "ISW101", "The sessions are in the memory of one process."
    if len({mark for mark in deployment.processes.values() if mark}) > 1:
        yield "ISE103", f"The processes {pids} have different secret keys."


def _keys(deployment: Deployment) -> _Pairs:
    if not deployment.secret_key:
        yield "ISE104", "SECRET_KEY is not set."
        return
    fallbacks = list(deployment.config.get("SECRET_KEY_FALLBACKS") or ())
    for number, weakness in enumerate(weaknesses_of([deployment.secret_key, *fallbacks])):
        if weakness is not None:
            yield "ISW001", f"{f'Key {number} of SECRET_KEY_FALLBACKS' if number else 'SECRET_KEY'} {weakness}."
    if fallbacks:
        yield "ISW102", f"SECRET_KEY_FALLBACKS has {len(fallbacks)} former keys."


def _cookie(config: Mapping[str, Any]) -> _Pairs:
    is_secure, domain = bool(config.get("SESSION_COOKIE_SECURE")), config.get("SESSION_COOKIE_DOMAIN")
    name, path = config.get("SESSION_COOKIE_NAME", "session"), config.get("SESSION_COOKIE_PATH")
    if not is_secure:
        yield "ISW103", "SESSION_COOKIE_SECURE is off."
    if config.get("SESSION_COOKIE_SAMESITE") not in ("Lax", "Strict"):
        yield "ISW104", f"SESSION_COOKIE_SAMESITE is {config.get('SESSION_COOKIE_SAMESITE')!r}."
    if not config.get("SESSION_COOKIE_HTTPONLY", True):
        yield "ISW105", "SESSION_COOKIE_HTTPONLY is off."
    root = path or config.get("APPLICATION_ROOT") or "/"
    if is_secure and not domain and root == "/" and not str(name).lower().startswith("__host-"):
        yield "ISW106", f"SESSION_COOKIE_NAME is {name!r}, without the prefix __Host-."
    if domain:
        yield "ISW107", f"SESSION_COOKIE_DOMAIN is {domain!r}."


def _timeouts(settings: Settings) -> _Pairs:
    idle, lifetime = settings.policy.idle_timeout, settings.policy.lifetime
    if lifetime < _LEAST_TURNS * idle:
        yield "ISW108", f"The lifetime ({lifetime:g} s) is under {_LEAST_TURNS} idle timeouts of {idle:g} s."
    shortest = min(idle, settings.policy.anonymous_idle_timeout or idle)
    if settings.pages is not None and shortest < 2 * LEAST_WARNING:
        warned = min(settings.warn_before, shortest / 2)
        yield "ISW113", f"With an idle timeout of {shortest:g} s users are warned {warned:g} s before the end."


def _store(store: Store, *, now: float) -> _Pairs:
    try:
        result = probe(store, now=now)
    except StoreError as error:
        yield "ISE105", f"The store failed: {error}"
        return
    if result.fault is not None:
        yield "ISE105", f"The store answered a trial session wrongly: {result.fault}."
    if result.latency > _SLOW:
        yield "ISW112", f"A round trip to the store takes {1000 * result.latency:.0f} ms."
    inner = innermost(store)
    yield from _facts(inner)
    timed = has_clock(inner)
    if timed is not None:
        skew = timed.clock_skew(now + result.took)
        if abs(skew) > _SKEW + result.took:
            yield "ISW111", f"The clock of this host and that of the store's server differ by {abs(skew):.1f} s."


def _facts(store: Store) -> _Pairs:
    telling = has_facts(store)
    facts = {} if telling is None else telling.facts()
    policy, mode = facts.get("maxmemory_policy"), facts.get("mode")
    if policy is not None and policy != "noeviction":
        yield "ISE106", f"The server's maxmemory-policy is {policy}."
    if facts.get("is_persistent") is False:
        yield "ISW109", "The server writes nothing to disk."
    if isinstance(mode, int) and mode & 0o077:
        yield "ISE107", f"The file {facts['path']} has the mode {mode:o}."
    if facts.get("has_wal_fault"):
        yield "ISW110", f"SQLite is {facts['version']}."
