"""Tells of cookies that are no tokens, and of more cookies than one, so seldom that a flood does not fill the log."""

import logging

from flask import Flask

from ..model.messages import Notices
from ..model.signals import bad_tokens_seen
from ..model.signals import tell

_logger = logging.getLogger("flask_idlesession")

#: Seconds between two log lines.
_QUIET = 60.0


class BadCookies:
    """Counts for one application the requests whose cookie, or token header, was no token of it."""

    def __init__(self) -> None:
        self._count = 0
        self._quiet_until = 0.0

    def note(self, app: Flask, name: str, *, now: float) -> None:
        """Count a request without a token of this application, and tell of it once a minute at most."""
        self._count += 1
        if now < self._quiet_until:
            return
        self._quiet_until = now + _QUIET
        count, self._count = self._count, 0
        _logger.warning(
            "Requests came with a cookie %r or a token header that is no token of this application (%d since the "
            "last such line): garbage, or signed with another key. They were served without a session. If another "
            "application shares this host, give each its own SESSION_COOKIE_NAME. If the cookies are from before this "
            "application was switched to flask_idlesession, IDLESESSION_ADOPT takes their sessions over. [ISW002]",
            name,
            count,
        )
        tell(bad_tokens_seen, app, count=count)


def note_foreign(notices: Notices, name: str) -> None:
    """Say that a browser has a cookie of this name from somewhere else beside the application's own."""
    notices.warn(
        "foreign cookie",
        "A browser has two cookies %r, and one was not set by this application: another one on this host or its parent "
        "domain uses the same name. Sessions work, and the other cookie is left alone. Give each application its own "
        "SESSION_COOKIE_NAME. [ISW003]",
        name,
    )


def note_several(notices: Notices, name: str) -> None:
    """Say that a browser showed tokens of several sessions that are all live."""
    notices.warn(
        "several sessions",
        "A browser has cookies %r of several live sessions of this application, and none of them counts: nobody can "
        "tell which one was planted. The next log-in takes the others away. Were SESSION_COOKIE_DOMAIN or "
        "SESSION_COOKIE_PATH changed? [ISW004]",
        name,
    )
