"""Looks for faults of a deployment: in its processes, keys, cookie and settings, and with others in its store."""

from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import field
from datetime import timedelta
from pathlib import Path
from typing import Any

from ..model.errors import StoreError
from ..model.policy import seconds
from ..settings.contradictions import contradictions_in
from ..settings.keys import LEAST_WARNING
from ..settings.keys import Settings
from ..settings.secret_keys import weaknesses_of
from ..stores.contract import keeps_tallies
from ..stores.contract import Store
from .other_processes import fingerprint
from .other_processes import NO_THREADS
from .other_processes import Peer
from .other_processes import UNREAD_PROXY
from .polling import pollers_in
from .rules import RULES
from .store_checks import in_files
from .store_checks import in_store

#: How many idle timeouts a lifetime has at least, so that users can extend a session ten times (WCAG 2.2, 2.2.1).
_LEAST_TURNS = 11

#: How long Flask-Login's remember cookie lasts where nothing else is set.
_REMEMBERED = timedelta(days=365)


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
    #: The application's live processes on this host, by process id.
    processes: Mapping[int, Peer]
    #: The instance folder, where relative paths start.
    folder: Path
    #: Whether the application uses Flask-Login.
    has_flask_login: bool = False
    #: The paths of the endpoints that are looked at for polls: all that are not passive.
    places: Mapping[str, str] = field(default_factory=dict)


def found(code: str, what: str, *, deploy: bool) -> Finding:
    """Return a finding. A warning that matters in production is an error with ``deploy``."""
    rule = RULES[code]
    level = "error" if code.startswith("ISE") or deploy and rule.matters else "warning"
    return Finding(code=code, level=level, what=what, why=rule.why, mend=rule.mend, docs=f"errors.html#{code.lower()}")


def check(deployment: Deployment, *, deploy: bool) -> list[Finding]:
    """Return what is wrong, errors first, without the codes that ``IDLESESSION_SILENCED_CHECKS`` names."""
    pairs = [*_processes(deployment), *_keys(deployment), *_cookie(deployment.config), *_settings(deployment)]
    pairs += in_files(deployment.settings, deployment.config, folder=deployment.folder)
    if deployment.store is not None:
        writers = len(deployment.processes) if deployment.settings.policy.touch_interval == 0 else None
        pairs += in_store(deployment.store, now=deployment.now, touched_by=writers)
        pairs += _polls(deployment.store, deployment.places, now=deployment.now)
    silenced = deployment.settings.silenced_checks
    known = dict.fromkeys(pair for pair in pairs if pair[0] not in silenced)
    findings = [found(code, what, deploy=deploy) for code, what in known]
    return sorted(findings, key=lambda finding: (finding.level, finding.code))


_Pairs = Iterator[tuple[str, str]]


def _processes(deployment: Deployment) -> _Pairs:
    processes, store = deployment.processes, deployment.store
    pids = ", ".join(map(str, sorted(processes)))
    if deployment.settings.journal is not None or store is not None and store.traits.in_process:
        if len(processes) > 1:
            yield "ISE102", f"The sessions are in memory, and {len(processes)} processes serve the application: {pids}."
        elif store is not None and store.traits.forgetful:
            yield "ISW101", "The sessions are in the memory of one process."
    marks = {peer.mark for peer in processes.values() if peer.mark}
    if len(marks) > 1:
        yield "ISE103", f"The processes {pids} have different secret keys."
    elif marks and deployment.secret_key and fingerprint(deployment.secret_key) not in marks:
        yield "ISE103", f"This command has another secret key than the processes {pids}."
    for note, code, what in _NOTES:
        noted = [str(pid) for pid, peer in sorted(processes.items()) if note in peer.notes]
        if noted:
            yield code, f"{what} (in the processes {', '.join(noted)})."


#: The notes of processes about themselves, each with the code and the words that it means.
_NOTES = (
    (NO_THREADS, "ISW116", "uWSGI runs no threads, and so no cleaner"),
    (UNREAD_PROXY, "ISW117", "Requests come by a proxy, and nothing reads X-Forwarded-For"),
)


def _polls(store: Store, places: Mapping[str, str], *, now: float) -> _Pairs:
    """Yield what pages ask for by themselves, as far as the application's processes tallied it in the last hour."""
    kept = keeps_tallies(store)
    if kept is None or not places:
        return
    with suppress(StoreError):  # The trial session tells of that.
        for poller in pollers_in(kept.tallies(since=int(now // 60) - 60)):
            if poller.endpoint in places:
                yield "ISW122", poller.told(places[poller.endpoint])


def _keys(deployment: Deployment) -> _Pairs:
    if not deployment.secret_key:
        yield "ISE104", "SECRET_KEY is not set."
        return
    fallbacks = list(deployment.config.get("SECRET_KEY_FALLBACKS") or ())
    for number, weakness in enumerate(weaknesses_of([deployment.secret_key, *fallbacks])):
        if weakness is not None:
            yield "ISW001", f"{f'Key {number} of SECRET_KEY_FALLBACKS' if number else 'SECRET_KEY'} {weakness}."
    yield from (("ISE001", what) for what in at_stake(deployment.settings, deployment.config, deployment.secret_key))
    if fallbacks:
        yield "ISW102", f"SECRET_KEY_FALLBACKS has {len(fallbacks)} former keys."


def at_stake(settings: Settings, config: Mapping[str, Any], secret_key: str | bytes | None) -> Iterator[str]:
    """Yield of each setting that a weak key makes dangerous why it is."""
    keys = [key for key in (secret_key, *(config.get("SECRET_KEY_FALLBACKS") or ())) if key]
    if any(weaknesses_of(keys)):
        for name in settings.by_key_alone:
            yield f"{name} is set, and a secret key is weak: {_AT_STAKE[name]}."


_AT_STAKE = {
    "IDLESESSION_ADOPT": "others can forge an old cookie of any user with it",
    "IDLESESSION_KEEP_FORMS": "others who read the store can read kept forms with it",
}


def _cookie(config: Mapping[str, Any]) -> _Pairs:
    is_secure, domain = bool(config.get("SESSION_COOKIE_SECURE")), config.get("SESSION_COOKIE_DOMAIN")
    name, path = config.get("SESSION_COOKIE_NAME", "session"), config.get("SESSION_COOKIE_PATH")
    if not is_secure:
        yield "ISW103", "SESSION_COOKIE_SECURE is off."
    if str(config.get("SESSION_COOKIE_SAMESITE")).lower() not in ("lax", "strict"):
        yield "ISW104", f"SESSION_COOKIE_SAMESITE is {config.get('SESSION_COOKIE_SAMESITE')!r}."
    if not config.get("SESSION_COOKIE_HTTPONLY", True):
        yield "ISW105", "SESSION_COOKIE_HTTPONLY is off."
    root = path or config.get("APPLICATION_ROOT") or "/"
    if is_secure and not domain and root == "/" and not str(name).lower().startswith("__host-"):
        yield "ISW106", f"SESSION_COOKIE_NAME is {name!r}, without the prefix __Host-."
    if domain:
        yield "ISW107", f"SESSION_COOKIE_DOMAIN is {domain!r}."


def _settings(deployment: Deployment) -> _Pairs:
    policy, config = deployment.settings.policy, deployment.config
    idle, lifetime = policy.idle_timeout, policy.lifetime
    if lifetime < _LEAST_TURNS * idle:
        yield "ISW108", f"The lifetime ({lifetime:g} s) is under {_LEAST_TURNS} idle timeouts of {idle:g} s."
    shortest = min(idle, deployment.settings.policy.anonymous_idle_timeout or idle)
    if deployment.settings.pages is not None and shortest < 2 * LEAST_WARNING:
        warned = min(deployment.settings.warn_before, shortest / 2)
        yield "ISW113", f"With an idle timeout of {shortest:g} s users are warned {warned:g} s before the end."
    if deployment.has_flask_login:
        remembered = seconds(config.get("REMEMBER_COOKIE_DURATION", _REMEMBERED), name="REMEMBER_COOKIE_DURATION")
        if remembered > lifetime:
            yield "ISW118", f"Flask-Login's remember cookie lasts {remembered:g} s, and the lifetime is {lifetime:g} s."
    for what in contradictions_in(config, deployment.settings):
        yield "ISW119", what
