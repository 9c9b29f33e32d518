"""Writes the audit log: one line of JSON for each event of a session's life, and never what opens a session."""

import json
import logging
from collections.abc import Mapping
from datetime import datetime
from datetime import UTC
from typing import Any

from ..model.clock import Clock
from ..model.labels import ADDRESS
from ..model.labels import AGAIN
from ..model.labels import AGENT
from ..model.labels import ENDED_BY
from ..model.record import EndReason
from ..model.record import SessionInfo
from ..model.signals import bad_tokens_seen
from ..model.signals import log_in_refused
from ..model.signals import session_created
from ..model.signals import session_ended
from ..model.signals import session_logged_in
from ..model.signals import session_mismatched
from ..model.signals import session_rotated
from ..model.signals import token_reused

_logger = logging.getLogger("flask_idlesession.audit")

#: The log's word for an end, by its reason.
_ENDS = {
    EndReason.IDLE: "expired",
    EndReason.LIFETIME: "expired",
    EndReason.LOGGED_OUT: "logged out",
    EndReason.REVOKED: "revoked",
    EndReason.EVICTED: "evicted",
}


class AuditLog:
    """Listens to the signals of one application, which it does not keep alive, as long as somebody keeps it.

    Each event is one record of the logger "flask_idlesession.audit" at INFO: its message is a JSON object in one line,
    and ``record.audit`` the same as a dict. Texts of clients are escaped in it as JSON's strings are, so none begins a
    line of its own (OWASP ASVS 5.0, 16.4.1). Where the logger is off nothing is computed.
    """

    def __init__(self, app: object, *, clock: Clock) -> None:
        self._clock = clock
        for signal, receiver in (
            (session_created, self._note_created),
            (session_logged_in, self._note_log_in),
            (session_rotated, self._note_rotated),
            (session_ended, self._note_end),
            (session_mismatched, self._note_mismatch),
            (log_in_refused, self._note_refusal),
            (bad_tokens_seen, self._note_bad_tokens),
            (token_reused, self._note_reuse),
        ):
            signal.connect(receiver, app)

    def _note_created(self, sender: object, info: SessionInfo) -> None:
        self._write("created", info)

    def _note_log_in(self, sender: object, info: SessionInfo) -> None:
        self._write("re-authenticated" if AGAIN in info.labels else "logged in", info, level=info.labels.get("level"))

    def _note_rotated(self, sender: object, info: SessionInfo) -> None:
        self._write("rotated", info)

    def _note_end(self, sender: object, info: SessionInfo, reason: EndReason) -> None:
        if _logger.isEnabledFor(logging.INFO):
            ended_at = _utc(min(info.expires_at, self._clock()))
            self._write(_ENDS[reason], info, reason=reason.value, by=info.labels.get(ENDED_BY), ended_at=ended_at)

    def _note_mismatch(self, sender: object, info: SessionInfo, what: str, seen: str, reaction: str) -> None:
        self._write("mismatch", info, what=what, seen=seen, reaction=reaction)

    def _note_refusal(self, sender: object, user_id: str) -> None:
        self._write("log-in refused", user=user_id, reason="too many sessions")

    def _note_bad_tokens(self, sender: object, count: int) -> None:
        self._write("bad tokens", count=count)

    def _note_reuse(self, sender: object, info: SessionInfo) -> None:
        self._write("replaced token shown", info)

    def _write(self, event: str, info: SessionInfo | None = None, **more: Any) -> None:
        if not _logger.isEnabledFor(logging.INFO):
            return
        entry = {"at": _utc(self._clock()), "event": event, **_who(info), **more}
        entry = {name: value for name, value in entry.items() if value is not None}
        fields = {"session_id": entry.get("session"), "user_id": entry.get("user"), "reason": entry.get("reason")}
        _logger.info("%s", json.dumps(entry), extra={"audit": entry, **fields})


def _who(info: SessionInfo | None) -> Mapping[str, Any]:
    if info is None:
        return {}
    labels = info.labels
    return {"session": str(info.sid), "user": info.user_id, "address": labels.get(ADDRESS), "agent": labels.get(AGENT)}


def _utc(instant: float) -> str:
    """Return an instant as ISO 8601 has it, in UTC and with microseconds always."""
    return datetime.fromtimestamp(instant, UTC).isoformat(timespec="microseconds")
