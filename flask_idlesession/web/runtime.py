"""Holds the parts that an application's sessions run on, once its config was read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from typing import Protocol
from typing import TYPE_CHECKING

from flask import Flask
from flask import Request
from flask import Response

from ..model.ids import Credential
from ..model.messages import Notices
from ..sessions.facts import Older
from ..sessions.manager import SessionManager
from ..sessions.requests import Requests
from ..sessions.session import Session
from .activity import ActivityRule

if TYPE_CHECKING:
    from ..operations.other_processes import OtherProcesses
    from ..operations.tallies import Tallies
    from ..settings.keys import Settings
    from .jwt_cookie import ClaimsCookie
    from .token_header import TokenHeader


class Logins(Protocol):
    """Another package's log-ins and log-outs, which are those of the session too."""

    def forget(self) -> None:
        """Take from the browser what would log its user in again."""

    def settle(self, app: Flask, session: Session) -> None:
        """Log in or out the user whom somebody put into the session by hand, or took out."""


class Adoption(Protocol):
    """The sessions from before that are taken over: Flask's own, or another package's."""

    def shown(self, request: Request, credential: Credential | None) -> Older | None:
        """Return what the request shows of such a session, without a look into it; None for nothing."""

    def may_be_older(self, value: str) -> bool:
        """Return whether a cookie's value is spelled as one of theirs."""

    def left(self) -> list[bytes]:
        """Return what names the sessions that can be listed where they are."""

    def carry(self, proof: bytes) -> bool:
        """Make a session of ours of one that nobody has shown yet; return whether this call did."""

    def tell(self, session: Session, response: Response, attributes: Mapping[str, Any]) -> None:
        """Take the older cookie from the browser, where it is another than ours and of no use any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """The parts of one application's sessions. They are made together, and none is exchanged."""

    settings: "Settings"
    manager: SessionManager
    requests: Requests
    activity: ActivityRule
    #: Says a line of the log once for the application.
    notices: Notices
    #: The other processes with the same application. A test's application has none.
    others: "OtherProcesses | None" = None
    #: The request header that may carry the token, if there is one.
    header: "TokenHeader | None" = None
    #: Flask-Login, if the application uses it.
    logins: Logins | None = None
    #: The cookie that tells other services of the session, if there is one.
    claims: "ClaimsCookie | None" = None
    #: The sessions from before, if they are taken over.
    adoption: Adoption | None = None
    #: The counts of all processes together, if they are kept.
    tallies: "Tallies | None" = None
