"""Gives tests of the sessions alone what a web application has beside its manager: what opens and saves."""

from weakref import WeakKeyDictionary

from flask_idlesession import SessionManager
from flask_idlesession.sessions.requests import Requests

_made: "WeakKeyDictionary[SessionManager, Requests]" = WeakKeyDictionary()


def requests_of(manager: SessionManager) -> Requests:
    """Return what opens and saves sessions on a manager, the same each time."""
    if manager not in _made:
        _made[manager] = Requests(manager.lifecycle, manager.revocation)
    return _made[manager]
