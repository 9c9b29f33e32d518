"""Lists the codes of all messages, and says once what is not to be said with each request."""

import logging
import re
from collections.abc import Hashable
from collections.abc import Mapping

_logger = logging.getLogger("flask_idlesession")

#: The subject of each code: ISE is an error, ISW a warning, ISH a hint in debug mode. A message ends with its code in
#: brackets, and ``docs/errors.rst`` explains each. A released code is never given to another subject.
CODES: Mapping[str, str] = {
    "ISE001": "A weak secret key protects more than tokens",
    "ISE002": "A secret key is no text and no bytes",
    "ISE003": "A late change in place cannot be encoded",
    "ISE004": "The store failed at a late change in place",
    "ISE005": "A log-in or a rotation comes after the response has begun",
    "ISE006": "The user loader raised",
    "ISE010": "SESSION_COOKIE_NAME is no name",
    "ISE011": "A flag of the cookie is a text",
    "ISE012": "SESSION_COOKIE_SAMESITE is none of its words",
    "ISE013": "A cookie for all sites is not Secure",
    "ISE014": "SESSION_COOKIE_PATH is no path",
    "ISE015": "SESSION_COOKIE_DOMAIN is no domain",
    "ISE016": "A cookie's prefix promises something that its settings do not keep",
    "ISE017": "There is no such setting",
    "ISE018": "A setting has a value that it cannot have",
    "ISE019": "A setting has another name now",
    "ISE020": "A duration is no number of seconds",
    "ISE021": "A duration does not go together with another one",
    "ISE022": "Two settings do not go together",
    "ISE023": "A package is missing",
    "ISE024": "IDLESESSION_STORE names no store",
    "ISE025": "A file or a folder cannot be used",
    "ISE026": "The journal is in use",
    "ISE027": "The pages were mounted under another prefix",
    "ISE028": "The key of the JWT cannot be used",
    "ISE029": "A client or an engine cannot be a store",
    "ISE030": "An encryption key cannot be used",
    "ISE031": "The metrics were mounted at another path",
    "ISE032": "Nothing guards the metrics",
    "ISE033": "The dashboard has no place",
    "ISE040": "The application has no idle sessions",
    "ISE041": "The session is another extension's",
    "ISE042": "The extension is set up twice",
    "ISE043": "The extension was given something other than an application",
    "ISE044": "The extension has no such argument",
    "ISE045": "There is no request, and so no session",
    "ISE050": "This is no user's id",
    "ISE051": "Nobody is logged in",
    "ISE052": "set_timeouts() has nothing to set",
    "ISE053": "revoke_where() has no criterion",
    "ISE054": "This is no session id",
    "ISE055": "A key of the session cannot be kept",
    "ISE056": "A label cannot be kept",
    "ISE057": "on_session_end() has no function to call",
    "ISE058": "The function of modify() returns nothing",
    "ISE059": "A guard has no view to guard",
    "ISE060": "A value cannot be kept in a session",
    "ISE061": "A value is nested too deeply",
    "ISE062": "register() lacks something",
    "ISE063": "The name of a type is taken",
    "ISE064": "A stored value cannot be decoded",
    "ISE070": "There is no such session",
    "ISE071": "There is a session of this id already",
    "ISE072": "Other requests were faster",
    "ISE073": "Another request is alone with the session",
    "ISE074": "The user has too many sessions",
    "ISE075": "A request may come from another site",
    "ISE080": "The store failed",
    "ISE081": "The store cannot be reached",
    "ISE082": "A session is too large for its store",
    "ISE083": "A stored session cannot be read",
    "ISE084": "The session store is down",
    "ISE085": "The store does not write",
    "ISE086": "The journal cannot be written",
    "ISE087": "The journal is damaged",
    "ISE088": "The session database was replaced",
    "ISE090": "A function of the application raised",
    "ISE091": "The cleaner failed",
    "ISE100": "An error that has no code of its own",
    "ISE101": "A setting is wrong",
    "ISE102": "Several processes keep sessions in memory",
    "ISE103": "Processes have different secret keys",
    "ISE104": "There is no secret key",
    "ISE105": "The store fails",
    "ISE106": "The server evicts sessions",
    "ISE107": "Others may read the session database",
    "ISE108": "The store's user lacks a permission",
    "ISE109": "SQLite is on a network file system",
    "ISE110": "A command cannot do what it was told",
    "ISW001": "The secret key can be guessed",
    "ISW002": "Cookies come that are no tokens",
    "ISW003": "Another application's cookie has the same name",
    "ISW004": "A browser has cookies of several live sessions",
    "ISW005": "An assignment came too late to be kept",
    "ISW006": "A user who was put into the session by hand has too many sessions",
    "ISW007": "A setting says nothing to this package",
    "ISW008": "A permanent session is to last longer than browsers keep a cookie",
    "ISW009": "Another application uses the same names of the store",
    "ISW010": "A guard stands above its route",
    "ISW011": "The writes of a request were dropped",
    "ISW012": "Sessions were lost with a process",
    "ISW013": "A session came from somewhere else",
    "ISW014": "A replaced token was shown",
    "ISW015": "The store is back",
    "ISW016": "A remark on the journal",
    "ISW017": "A folder belongs to another user",
    "ISW018": "A cache is a store of the last resort",
    "ISW020": "The store may forget which users have logged out since the switch",
    "ISW021": "Old sessions are pickled",
    "ISW022": "Requests failed for their store",
    "ISW023": "A permanent session has a shorter idle timeout",
    "ISW024": "A session from before was not taken over",
    "ISW025": "A server does not tell how it evicts",
    "ISW026": "A session was not carried",
    "ISW027": "A thread could not be started",
    "ISW028": "The wall clock of the host was set",
    "ISW029": "There are too many sessions without a user",
    "ISW030": "The tallies cannot be kept",
    "ISW101": "Sessions are in the memory of one process",
    "ISW102": "Former secret keys are still accepted",
    "ISW103": "The cookie goes over plain HTTP",
    "ISW104": "The cookie has no SameSite attribute",
    "ISW105": "Scripts can read the cookie",
    "ISW106": "The cookie's name has no prefix",
    "ISW107": "The cookie is sent to a whole domain",
    "ISW108": "The lifetime is short beside the idle timeout",
    "ISW109": "The server does not persist sessions",
    "ISW110": "SQLite has a known fault",
    "ISW111": "Clocks differ",
    "ISW112": "The store is slow",
    "ISW113": "The warning before the end is short",
    "ISW114": "The server lets everybody in",
    "ISW115": "A pooler is between, and no statement has a limit",
    "ISW116": "The cleaner cannot run",
    "ISW117": "A proxy is in front, and its header is not read",
    "ISW118": "A remember cookie outlives the lifetime",
    "ISW119": "Settings contradict each other",
    "ISW120": "The server is too old",
    "ISW121": "Each activity waits for the disk or for other processes",
    "ISW122": "A page asks again and again, so that its user never goes idle",
    "ISH001": "A cookie does not come back",
    "ISH002": "A form from another site comes without the cookie",
    "ISH003": "A session grows large",
    "ISH004": "A value comes back as another type",
    "ISH005": "A key has a name that every session has",
    "ISH006": "The reloader ends sessions in memory",
}

#: The number of notices that are remembered. Later ones are logged each time.
_MOST = 1000


#: The part of a URL before the login: the scheme, and its slashes, of which a mistyped one has fewer.
_SCHEME = re.compile(r"[A-Za-z0-9+.-]*:/*")

#: A text in the place of a port: it is a password, where the host was forgotten.
_AT_A_PORT = re.compile(r"^([A-Za-z0-9+.-]*:/+[^/?#\[\]]*?:)(?!\d+(?:[,/?#]|$))[^/?#,]+")

#: A parameter of a URL whose name speaks of a secret.
_SECRET = re.compile(r"([?&;][^=&;]*(?:pass|pwd|secret|token|key|credential|auth)[^=&;]*=)[^&;]*", re.IGNORECASE)


def without_secrets(url: str) -> str:
    """Return the URL fit for a message: no password, whether before the ``@`` or in a parameter."""
    before, at, after = _SECRET.sub(r"\1***", url).rpartition("@")
    found = _SCHEME.match(before)
    scheme = "" if found is None else found[0]
    user, colon, _ = before.removeprefix(scheme).partition(":")
    if not at:
        return _AT_A_PORT.sub(r"\1***", after)
    return f"{scheme}{user}:***@{after}" if colon else f"{scheme}***@{after}"  # It may be a password alone.


class Notices:
    """Says each thing once for one application: as lines of the logger, never by the ``warnings`` module, since test
    suites turn those into errors.
    """

    def __init__(self) -> None:
        self._said: set[Hashable] = set()

    def warn(self, about: Hashable, message: str, *args: object) -> None:
        """Log a warning, unless one about the same was logged before."""
        self._say(logging.WARNING, about, message, args)

    def inform(self, about: Hashable, message: str, *args: object) -> None:
        """Log a line at the level INFO, unless one about the same was logged before."""
        self._say(logging.INFO, about, message, args)

    def _say(self, level: int, about: Hashable, message: str, args: tuple[object, ...]) -> None:
        if about in self._said:
            return
        if len(self._said) < _MOST:
            self._said.add(about)
        _logger.log(level, message, *args)
