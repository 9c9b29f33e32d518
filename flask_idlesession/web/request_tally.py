"""Counts an application's requests by endpoint, and notes those of sessions for the finder of polls."""

from typing import TYPE_CHECKING

from flask import Flask
from flask import has_request_context
from flask import Request
from flask import request
from flask import request_finished

from ..model.messages import Notices
from ..sessions.session import Session
from ..stores.contract import Store
from .activity import ActivityRule

if TYPE_CHECKING:
    from ..operations.event_counter import EventCounter
    from ..operations.tallies import Tallies

#: How many endpoints are counted by their names.
_MOST = 200

#: The endpoints that show the tallies begin with these. They are not counted, for a look must not have the store write.
_SHOWS = ("idlesession.metrics", "idlesession.dashboard")

_NONE, _OTHERS = "requests.(none)", "requests.(others)"


def open_tallies(
    app: Flask, store: Store, counter: "EventCounter | None", activity: ActivityRule, *, notices: Notices
) -> "Tallies | None":
    """Return the tallies of an application, which hear of its requests; None if nothing is counted."""
    if counter is None:
        return None
    from ..operations.tallies import Tallies  # Most applications need none.

    tallies = Tallies(app, store, counter, notices=notices)
    tallies.kept.append(RequestTally(app, tallies, activity))
    return tallies


class RequestTally:
    """Hears of each request that the application has answered, as long as somebody keeps it."""

    def __init__(self, app: Flask, tallies: "Tallies", activity: ActivityRule) -> None:
        self._counter = tallies.counter
        self._beats = tallies.beats
        self._tallies = tallies
        self._activity = activity
        self._names: dict[str, str] = {}
        request_finished.connect(self._note, app)

    def _note(self, sender: object, **_: object) -> None:
        if not has_request_context():
            return
        # The request itself: each look at it by way of Flask's name for it takes half a microsecond.
        present: Request = request._get_current_object()  # type: ignore[attr-defined]
        rule = present.url_rule
        if rule is not None and rule.endpoint.startswith(_SHOWS):
            return
        if rule is None:
            self._counter.count(_NONE)
        else:
            self._counter.count(self._names.get(rule.endpoint) or self._name(rule.endpoint))
            session = getattr(present, "_idlesession", None)
            if session is not None:
                self._note_beat(rule.endpoint, session, present)
        self._tallies.flush_without_cleaner()

    def _note_beat(self, endpoint: str, session: Session, present: Request) -> None:
        """Note a request that is activity of a session: only that can keep one from going idle."""
        facts = session._facts
        credential = facts.credential
        if credential is None or session._is_loaded and session._record is None:
            return
        is_active = facts.is_active
        if is_active is None:
            is_active = self._activity.counts(present)
        if is_active is not False:
            is_opened = present.environ.get("HTTP_SEC_FETCH_USER") == "?1"
            self._beats.note(endpoint, credential.sid, at=facts.came_at, is_opened=is_opened)

    def _name(self, endpoint: str) -> str:
        """Return the name by which requests of the endpoint are counted."""
        if len(self._names) >= _MOST:
            return _OTHERS
        name = self._names[endpoint] = f"requests.{endpoint}"
        return name
