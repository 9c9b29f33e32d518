"""Writes each line of the log as one JSON object, with the fields of flask_idlesession."""

import json
import logging
from datetime import datetime
from datetime import UTC

FIELDS = ("session_id", "user_id", "reason", "endpoint")


class JSONLines(logging.Formatter):
    """Makes one line of JSON of a record."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line. A traceback is text in it, so that it begins no line of its own.

        The text of an event of the audit log is its fields once more, so it is left out.
        """
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds")
        entry = {"at": at, "level": record.levelname, "logger": record.name}
        entry |= {name: getattr(record, name, None) for name in FIELDS}
        entry |= getattr(record, "audit", None) or {"text": record.getMessage()}
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps({name: value for name, value in entry.items() if value is not None})


handler = logging.StreamHandler()
handler.setFormatter(JSONLines())
logging.basicConfig(level=logging.INFO, handlers=[handler])
