"""Says of each code that ``flask idlesession check`` finds why it matters, and what to do."""

from collections.abc import Mapping
from typing import NamedTuple

from ..settings.keys import LEAST_WARNING

_MEMORY = 'Set IDLESESSION_STORE = "sqlite:///sessions.db" on one host, or a redis:// URL on several.'


class Rule(NamedTuple):
    """The facts that all findings of one code share."""

    why: str
    mend: str
    #: Whether it is an error for ``--deploy``.
    matters: bool = True


#: The rule of each code. :data:`~flask_idlesession.model.messages.CODES` has the titles.
RULES: Mapping[str, Rule] = {
    "ISE001": Rule(
        "The application does not start with it, except in debug mode and in tests.",
        "Make a key with: flask idlesession gen-key. Keep the weak one nowhere, not even in SECRET_KEY_FALLBACKS.",
    ),
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
        "Hosts whose clocks differ do not agree when a session ends.",
        "Set the clocks by NTP, then restart. If a test moved the time on a file, delete that file; give tests memory://.",
    ),
    "ISW112": Rule(
        "Each request with a session waits for the store.", "Bring the store nearer, or find out what it waits for."
    ),
    "ISW113": Rule(
        f"Users need {LEAST_WARNING:g} seconds to read the warning and answer it (WCAG 2.2, success criterion 2.2.1).",
        f"Raise IDLESESSION_IDLE_TIMEOUT, and IDLESESSION_ANONYMOUS_IDLE_TIMEOUT, to {2 * LEAST_WARNING:g} at least.",
        matters=False,
    ),
    "ISE108": Rule(
        "Requests that need their session are answered 503.",
        "Give the user the commands or the privileges that the documentation of the store lists.",
    ),
    "ISE109": Rule(
        "SQLite's locks do not hold there, so that sessions are lost, or come back after a log-out.",
        "Put the file on a local disk, or share sessions by Redis or an SQL server.",
    ),
    "ISW122": Rule(
        "A request of the page counts as activity of its user, who need not be there.",
        "Mark the view @passive, or have the page send the header X-IdleSession-Passive: 1.",
    ),
    "ISW120": Rule("The store is written for Redis 6.2 or later.", "Install a newer Redis, or Valkey."),
    "ISW114": Rule(
        "Each host that reaches the server can read, change and end sessions.",
        "Give the server a user with a password (ACL SETUSER, or requirepass), and put it into the URL.",
        matters=False,
    ),
    "ISW115": Rule(
        "A statement that hangs keeps its place on the server after the application gave it up.",
        "Set the limit for the user: ALTER ROLE ... SET statement_timeout = '2s'.",
        matters=False,
    ),
    "ISW116": Rule(
        "Ended sessions are forgotten only while requests come, and their ends are told late.",
        "Start uWSGI with --enable-threads.",
    ),
    "ISW117": Rule(
        "All users seem to come from the proxy, so that their addresses say nothing.",
        "Wrap the application: app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1), from werkzeug. Add x_host=1 "
        "if the proxy sets X-Forwarded-Host.",
    ),
    "ISW118": Rule(
        "After the lifetime the cookie logs its user in again, without a password.",
        "Set REMEMBER_COOKIE_DURATION to the lifetime, or raise IDLESESSION_LIFETIME.",
        matters=False,
    ),
    "ISW121": Rule(
        "The writes of activity, and not the processors, are then the bound of the requests that can be served.",
        "Set IDLESESSION_TOUCH_INTERVAL to a thirtieth of the idle timeout; a session then ends up to that much later.",
        matters=False,
    ),
    "ISW119": Rule("One of the two has no effect.", "Change or remove one of them.", matters=False),
}
