"""Lists a user's sessions and ends them: by id, by user, by criteria, or all."""

from typing import Any

from flask import has_request_context

from ..model.ids import check_session_id
from ..model.ids import SessionId
from ..model.record import SessionInfo
from ..web.current import current_manager
from ..web.current import current_session
from .log_in import current_user_id
from .log_in import id_of
from .log_in import UserId


def sessions_of(user_id: UserId) -> list[SessionInfo]:
    """Return the user's live sessions on all workers, the one last seen first."""
    return current_manager().sessions_of(id_of(user_id, for_what="sessions_of()"))


def revoke(sid: SessionId, *, by: str | None = None) -> bool:
    """End a session by its id; return whether this call did.

    ``by`` is told with it; by default it is the user of this request. It checks nothing: for what users may do see
    :func:`revoke_own`.
    """
    return current_manager().revoke(sid, by=by or _actor())


def revoke_own(sid: SessionId) -> bool:
    """End a session of the present user by its id; return whether there was such a session of theirs.

    That of another user is left alone, and nothing is told of it (OWASP ASVS 5.0, 7.5.2; CVE-2026-23646).
    """
    check_session_id(sid)
    user_id = current_user_id()
    if user_id is None or sid not in {info.sid for info in sessions_of(user_id)}:
        return False
    return revoke(sid)


def revoke_user(user_id: UserId, *, keep: SessionId | None = None, by: str | None = None) -> int:
    """End all sessions of a user but ``keep``, on all workers, and log-ins that are under way; return how many."""
    named = id_of(user_id, for_what="revoke_user()")
    count = current_manager().revoke_user(named, keep=keep, by=by or _actor())
    _outlive_revocation()
    return count


def revoke_others() -> int:
    """End all sessions of the present user but this one, which gets a new token: after a password was changed
    (OWASP ASVS 5.0, 7.4.3). Return how many ended.
    """
    ours, user_id = current_session(), current_user_id()
    if user_id is None:
        return 0
    ours.rotate(grace=False)
    return revoke_user(user_id, keep=ours._sid)


def revoke_all(*, keep: SessionId | None = None, by: str | None = None) -> int:
    """End every session there is but ``keep``; return how many ended."""
    count = current_manager().revoke_all(keep=keep, by=by or _actor())
    _outlive_revocation()
    return count


def revoke_where(**criteria: Any) -> int:
    """End the sessions that meet all criteria; return how many. ::

        revoke_where(idp_sid=token["sid"])       # an identity provider's back-channel log-out
        revoke_where(address="192.0.2.0/24", idle_for=3600)

    ``user_id``: of this user; without it every session is looked at. ``idle_for``: without activity for this number of
    seconds or longer. ``address``: last seen from this address or network; a truncated address counts if the network
    has it. ``keep``: the id of a session that stays. ``by``: who ends them; by default the present user. Every other
    name is a label, as it was given to ``log_in(labels=…)``. Raise :exc:`TypeError` without a criterion.
    """
    if criteria.get("user_id") is not None:
        criteria["user_id"] = id_of(criteria["user_id"], for_what="revoke_where()")
    return current_manager().revoke_where(**{"by": _actor(), **criteria})


def _outlive_revocation() -> None:
    """Let the request that revoked a user's sessions log that user in: it knows of the revocation."""
    if has_request_context():
        current_session()._facts.came_at = current_manager().revocation.arrival()


def _actor() -> str | None:
    return current_user_id() if has_request_context() else None
