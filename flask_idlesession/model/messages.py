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
    "ISE101": "A setting is wrong",
    "ISE102": "Several processes keep sessions in memory",
    "ISE103": "Processes have different secret keys",
    "ISE104": "There is no secret key",
    "ISE105": "The store fails",
    "ISE106": "The server evicts sessions",
    "ISE107": "Others may read the session database",
    "ISW001": "The secret key can be guessed",
    "ISW002": "Cookies come that are no tokens",
    "ISW003": "Another application's cookie has the same name",
    "ISW004": "A browser has cookies of several live sessions",
    "ISW005": "An assignment came too late to be kept",
    "ISW007": "A setting says nothing to this package",
    "ISW008": "A permanent session is to last longer than browsers keep a cookie",
    "ISW006": "A user who was put into the session by hand has too many sessions",
    "ISW009": "Another application uses the same names of the store",
    "ISW021": "Old sessions are pickled",
    "ISW020": "The store may forget which users have logged out since the switch",
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
}

#: The number of notices that are remembered. Later ones are logged each time.
_MOST = 1000


#: The part of a URL before the login: the scheme, and its slashes, of which a mistyped one has fewer.
_SCHEME = re.compile(r"[A-Za-z0-9+.-]*:/*")

#: A parameter of a URL whose name speaks of a secret.
_SECRET = re.compile(r"([?&;][^=&;]*(?:pass|pwd|secret|token|key|credential|auth)[^=&;]*=)[^&;]*", re.IGNORECASE)


def without_secrets(url: str) -> str:
    """Return the URL fit for a message: no password, whether before the ``@`` or in a parameter."""
    before, at, after = _SECRET.sub(r"\1***", url).rpartition("@")
    found = _SCHEME.match(before)
    scheme = "" if found is None else found[0]
    user, colon, _ = before.removeprefix(scheme).partition(":")
    if not at:
        return after
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
