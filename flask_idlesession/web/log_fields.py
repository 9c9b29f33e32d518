"""Gives each line of the package's log the fields of the request that it belongs to, without asking the store."""

import logging
from typing import Any

from flask import has_request_context
from flask import request

#: The fields that each record has, None where nothing is known.
FIELDS = ("session_id", "user_id", "reason", "endpoint")

_LOGGERS = ("flask_idlesession", "flask_idlesession.audit")


class RequestFields(logging.Filter):
    """Adds the fields that a record does not have yet. It lets every record pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return True, after the fields were added."""
        known = _known() if has_request_context() else {}
        for name in FIELDS:
            if not hasattr(record, name):
                setattr(record, name, known.get(name))
        return True


def _known() -> dict[str, Any]:
    known: dict[str, Any] = {"endpoint": request.endpoint}
    session = getattr(request, "_idlesession", None)
    record = getattr(session, "_record", None)
    if record is not None:
        known |= {"session_id": str(record.info.sid), "user_id": record.info.user_id}
    elif session is not None and session._facts.credential is not None:
        known["session_id"] = str(session._facts.credential.sid)
    return known


_filter = RequestFields()


def add_fields() -> None:
    """Have the loggers of the package add the fields. Calling it again does nothing."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_filter)
