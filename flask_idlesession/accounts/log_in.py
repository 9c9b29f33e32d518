"""Binds users to sessions: log in, log out, who it is and how sure that is, and whose sessions are to end."""

from collections.abc import Callable
from collections.abc import Mapping
from datetime import timedelta
from functools import wraps
from typing import Any
from typing import cast
from typing import ParamSpec
from typing import TypeVar
from uuid import UUID

from flask import abort
from flask import current_app
from flask import has_request_context
from flask import redirect
from flask import request
from flask import session
from flask import url_for

from ..model.ids import SessionId
from ..model.labels import AUTHENTICATED_AT
from ..model.labels import DEVICE
from ..model.labels import LEVEL
from ..model.labels import SUSPECT
from ..model.policy import MINUTE
from ..model.policy import seconds
from ..model.record import NO_LABELS
from ..model.record import SessionInfo
from ..sessions.manager import SessionManager
from ..sessions.session import Session
from ..settings.keys import Settings
from .client import hinted_device
from .saved_forms import forget_sent_form
from .saved_forms import keep_form
from .saved_forms import settle_kept_form

_P = ParamSpec("_P")
_T = TypeVar("_T")

#: What may name a user.
UserId = str | int | UUID


def log_in(
    user_id: UserId,
    *,
    keep: bool = True,
    remember: bool = False,
    idle_timeout: float | timedelta | None = None,
    lifetime: float | timedelta | None = None,
    level: str | None = None,
    labels: Mapping[str, str | float] = NO_LABELS,
) -> None:
    """Log the user in: the session gets a new token with this response, and both its clocks start anew.

    ``keep``: what the session held before is kept; with False it is dropped. Of another user's session nothing
    is kept. ``remember``: the browser keeps the cookie when it is closed, and the session lives as long as
    ``IDLESESSION_REMEMBER_LIFETIME`` says. ``idle_timeout`` and ``lifetime`` (seconds or timedeltas) are for this
    session alone, as for an administrator's. ``level`` says how the user proved who they are ("password",
    "passkey"), for :func:`fresh_login_required`; ``labels`` are shown with the session, and
    :func:`revoke_where` finds it by them.

    The id is kept as a string. Anything else, such as the None of a user that was not found, is a TypeError.
    Raise :exc:`~flask_idlesession.TooManySessions` where the user may have no more sessions.
    """
    chosen_idle, chosen_life = _duration(idle_timeout, "idle_timeout"), _duration(lifetime, "lifetime")
    if remember:
        remembered = _settings().remember_lifetime
        chosen_idle, chosen_life = chosen_idle or remembered, chosen_life or remembered
    _bind(
        user_id, {**labels, LEVEL: level}, keep=keep, permanent=remember, idle_timeout=chosen_idle, lifetime=chosen_life
    )


def reauthenticate(*, level: str | None = None) -> None:
    """Note that the user has just proved anew who they are: the session gets a new token, both its clocks start
    anew (NIST SP 800-63B-4, 5.2), and it counts as fresh. Nothing else changes.

    Raise PermissionError where nobody is logged in.
    """
    user_id = current_user_id()
    if user_id is None:
        raise PermissionError("reauthenticate() needs a user who is logged in; call log_in().")
    info, lifetime = _session().info, None
    if info is not None:
        level = level or cast(str | None, info.labels.get(LEVEL))
        if info.authenticated_at is not None:
            lifetime = info.lifetime_ends_at - info.authenticated_at
    _bind(user_id, {LEVEL: level}, lifetime=lifetime)


def resume(user_id: UserId) -> None:
    """Bind a user whom something that the browser keeps has named, and who proved nothing: as :func:`log_in` does,
    but they do not count as fresh.
    """
    _bind(user_id, {AUTHENTICATED_AT: None})


def log_out() -> None:
    """End the session of this request. Nothing brings it back: no other request, no copied cookie."""
    session.clear()


def current_user_id() -> str | None:
    """Return the id of the user that is logged in, or None."""
    return _session().user_id


def is_authenticated() -> bool:
    """Return whether a user is logged in; without one the session is a guest's."""
    return current_user_id() is not None


def authentication_age() -> float | None:
    """Return how many seconds ago the user last proved who they are; None where nobody is logged in, or did so by
    what the browser remembers, or where the session has come from somewhere else since and its user is to prove it
    anew.
    """
    ours = _session()
    if ours.intents.user_id is not None:
        return None if AUTHENTICATED_AT in (ours.intents.labels or {}) else 0.0
    info = ours.info
    if ours.user_id is None or info is None or info.authenticated_at is None or SUSPECT in info.labels:
        return None
    return max(_manager().now() - info.authenticated_at, 0.0)


def login_required(view: Callable[_P, _T]) -> Callable[_P, _T]:
    """Let only users who are logged in to a view. ::

        @app.get("/account")
        @login_required
        def account(): ...

    Others are led to ``IDLESESSION_LOGIN_VIEW``, with ``next`` to come back, or get 401 where there is none.
    """

    @wraps(view)
    def guarded(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        if current_user_id() is None or _is_suspect():
            _ask_to_log_in()
        return _answer(view, *args, **kwargs)

    return guarded


def fresh_login_required(
    *, max_age: float | timedelta = 5 * MINUTE, level: str | None = None
) -> Callable[[Callable[_P, _T]], Callable[_P, _T]]:
    """Let only users to a view who proved who they are within ``max_age`` (seconds or a timedelta), and, with
    ``level``, did it in that way (OWASP ASVS 5.0, 7.5.1 and 7.5.3). Others are asked to, as by
    :func:`login_required`; being active does not count. ::

        @app.post("/password")
        @fresh_login_required(max_age=300)
        def change_password(): ...
    """
    allowed = seconds(max_age, name="max_age")

    def guard(view: Callable[_P, _T]) -> Callable[_P, _T]:
        @wraps(view)
        def guarded(*args: _P.args, **kwargs: _P.kwargs) -> _T:
            age = authentication_age()
            if age is None or age > allowed or (level is not None and authentication_level() != level):
                _ask_to_log_in()
            return _answer(view, *args, **kwargs)

        return guarded

    return guard


def authentication_level() -> str | None:
    """Return how the user proved who they are, as :func:`log_in` or :func:`reauthenticate` was told."""
    ours = _session()
    intended = ours.intents.labels
    labels = intended if intended is not None else NO_LABELS if ours.info is None else ours.info.labels
    return cast(str | None, labels.get(LEVEL))


def sessions_of(user_id: UserId) -> list[SessionInfo]:
    """Return the user's live sessions on all workers, the one last seen first."""
    return _manager().sessions_of(str(user_id))


def revoke(sid: SessionId, *, by: str | None = None) -> bool:
    """End a session by its id; return whether this call did. ``by`` is told with it; by default it is the user
    of this request. It checks nothing: for what users may do see :func:`revoke_own`.
    """
    return _manager().revoke(sid, by=by or _actor())


def revoke_own(sid: SessionId) -> bool:
    """End a session of the present user by its id; return whether there was such a session of theirs.

    That of another user is left alone, and nothing is told of it (OWASP ASVS 5.0, 7.5.2; CVE-2026-23646).
    """
    user_id = current_user_id()
    if user_id is None or sid not in {info.sid for info in sessions_of(user_id)}:
        return False
    return revoke(sid)


def revoke_user(user_id: UserId, *, keep: SessionId | None = None, by: str | None = None) -> int:
    """End all sessions of a user but ``keep``, on all workers, and log-ins that are under way; return how many."""
    count = _manager().revoke_user(str(user_id), keep=keep, by=by or _actor())
    _outlive_revocation()
    return count


def revoke_others() -> int:
    """End all sessions of the present user but this one, which gets a new token: after a password was changed
    (OWASP ASVS 5.0, 7.4.3). Return how many ended.
    """
    ours = _session()
    if ours.user_id is None:
        return 0
    ours.rotate()
    return revoke_user(ours.user_id, keep=ours.sid)


def revoke_all(*, keep: SessionId | None = None, by: str | None = None) -> int:
    """End every session there is but ``keep``; return how many ended."""
    count = _manager().revoke_all(keep=keep, by=by or _actor())
    _outlive_revocation()
    return count


def revoke_where(**criteria: Any) -> int:
    """End the sessions that meet all criteria; return how many. ::

        revoke_where(idp_sid=token["sid"])       # an identity provider's back-channel log-out
        revoke_where(address="192.0.2.0/24", idle_for=3600)

    See :meth:`.Revocation.revoke_where`.
    """
    return _manager().revoke_where(**{"by": _actor(), **criteria})


def _bind(
    user_id: UserId,
    labels: Mapping[str, str | float | None],
    *,
    keep: bool = True,
    permanent: bool = False,
    idle_timeout: float | None = None,
    lifetime: float | None = None,
) -> None:
    if not isinstance(user_id, str | int | UUID) or isinstance(user_id, bool):
        raise TypeError(f"log_in() needs the user's id as a str, an int or a UUID, not {user_id!r}.")
    if _settings().keep_forms:
        settle_kept_form(str(user_id))
    _session().log_in(
        str(user_id),
        keep=keep,
        permanent=permanent,
        idle_timeout=idle_timeout,
        lifetime=lifetime,
        labels={**_device(), **labels, SUSPECT: None},
    )


def _device() -> Mapping[str, str | None]:
    """Return the label of what the browser says of itself, where that is to be kept."""
    if not has_request_context() or _settings().client_info is None:
        return {}
    return {DEVICE: hinted_device(request)}


def _is_suspect() -> bool:
    """Whether the session has come from somewhere else since its user last proved who they are."""
    ours = _session()
    return ours.intents.user_id is None and ours.info is not None and SUSPECT in ours.info.labels


def _duration(value: float | timedelta | None, name: str) -> float | None:
    return None if value is None else seconds(value, name=name)


def _ask_to_log_in() -> None:
    """Lead to the log-in page, or answer 401."""
    keep_form()
    view = _settings().login_view
    if view is None:
        abort(401)
    target = view if "/" in view else url_for(view)
    if request.method in ("GET", "HEAD"):
        wanted = "/" + request.full_path.rstrip("?").lstrip("/")
        target = target if "/" in view else url_for(view, next=wanted)
    abort(redirect(target, 303))


def _answer(view: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Return what the view answers; it has taken the form then, if it was one that had been kept."""
    answer = current_app.ensure_sync(view)(*args, **kwargs)
    if _settings().keep_forms:
        forget_sent_form()
    return answer  # type: ignore[no-any-return]


def _outlive_revocation() -> None:
    """Let the request that revoked a user's sessions log that user in: it knows of it."""
    if has_request_context():
        _session().came_at = _manager().arrival()


def _actor() -> str | None:
    return current_user_id() if has_request_context() else None


def _session() -> Session:
    return cast(Session, session)


def _manager() -> SessionManager:
    return cast(SessionManager, current_app.extensions["idlesession"].manager)


def _settings() -> Settings:
    return cast(Settings, current_app.extensions["idlesession"].settings)
