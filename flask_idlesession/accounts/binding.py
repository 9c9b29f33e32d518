"""Judges users' requests that come from somewhere else than their session did, as the application chose."""

import logging
from collections.abc import Collection

from flask import has_request_context
from flask import request

from ..model.ids import Credential
from ..model.labels import ADDRESS
from ..model.labels import AGENT
from ..model.labels import SUSPECT
from ..model.record import Change
from ..model.record import EndReason
from ..model.record import Outcome
from ..model.record import Record
from ..model.record import SessionInfo
from ..model.signals import session_mismatched
from ..model.signals import tell
from ..sessions.lifecycle import Lifecycle
from .client import ClientInfo
from .client import in_same_network
from .client import is_same_browser

_logger = logging.getLogger("flask_idlesession")

#: The ``by`` of an ending: the client of the session changed, and the session is bound to its network or its browser.
BINDING = "binding"

#: How many mismatches that change nothing are remembered, so that each is told once and not with every poll.
_REMEMBERED = 1024


class Binding:
    """Judges each request that shows the token of a user's session, before any view sees the session.

    ``address`` and ``agent`` are what happens to one from another network or browser: "off", "log",
    "reauthenticate" or "end". ``hidden`` are keys that another log-in package keeps its user under: no view sees them
    while the session waits for a new proof. A session is compared with where it was last seen: who moves is asked once.
    """

    def __init__(
        self, lifecycle: Lifecycle, client: ClientInfo, *, address: str, agent: str, hidden: Collection[str] = ()
    ) -> None:
        self._lifecycle = lifecycle
        self._client = client
        self._address, self._agent = address, agent
        self._hidden = hidden
        # A hint, so no lock guards it.
        self._told: dict[tuple[object, ...], None] = {}

    def __call__(self, credential: Credential, record: Record) -> Record | None:
        """Return the record as the view may see it; None if the session was ended."""
        if not has_request_context():
            return record
        judged = self._judge(credential, record)
        if judged is None or not self._hidden or SUSPECT not in judged.info.labels:
            return judged
        return judged.holding({key: data for key, data in judged.values.items() if key not in self._hidden})

    def _judge(self, credential: Credential, record: Record) -> Record | None:
        labels = record.info.labels
        address, agent = labels.get(ADDRESS), labels.get(AGENT)
        reactions = []
        if self._address != "off" and isinstance(address, str) and not in_same_network(address, request.remote_addr):
            reactions.append(self._note(record.info, ADDRESS, self._address))
        if self._agent != "off" and isinstance(agent, str):
            present = request.environ.get("HTTP_USER_AGENT")
            if not is_same_browser(agent, present):
                reactions.append(self._note(record.info, AGENT, self._agent))
        if "end" in reactions:
            self._lifecycle.end(record.info, EndReason.REVOKED, by=BINDING)
            return None
        if "reauthenticate" in reactions and SUSPECT not in labels:
            return self._suspect(credential, record)
        return record

    def _note(self, info: SessionInfo, what: str, reaction: str) -> str:
        """Tell the mismatch, unless it was told before; return the reaction."""
        seen = self._client().get(what, "")
        if reaction == "reauthenticate" and SUSPECT in info.labels:
            return reaction
        if reaction == "log":
            known = (info.sid, what, seen)
            if known in self._told:
                return reaction
            if len(self._told) >= _REMEMBERED:
                self._told.clear()
            self._told[known] = None
        _logger.warning("Session %s came from another %s than before; reaction: %s. [ISW013]", info.sid, what, reaction)
        tell(session_mismatched, self._lifecycle.sender, info=info, what=what, seen=seen, reaction=reaction)
        return reaction

    def _suspect(self, credential: Credential, record: Record) -> Record | None:
        """Note it in the store at once: what the view does, or that it fails, is not to undo it."""
        now = self._lifecycle.now()
        change = Change(holder=credential.holder, labels={SUSPECT: now})
        outcome = self._lifecycle.store.commit(credential.sid, change, now=now)
        return record.apply(change, now=now) if outcome is Outcome.DONE else None
