"""Logs users in and out, and tells who a session's user is and how sure that is."""

from collections.abc import Mapping
from datetime import timedelta
from typing import cast
from uuid import UUID

from flask import has_request_context
from flask import request

from ..model.labels import AUTHENTICATED_AT
from ..model.labels import check_labels
from ..model.labels import DEVICE
from ..model.labels import LEVEL
from ..model.labels import SUSPECT
from ..model.policy import seconds
from ..model.record import Ending
from ..model.record import NO_LABELS
from ..model.record import SessionInfo
from ..sessions.session import Session
from ..web.current import current_manager
from ..web.current import current_runtime
from ..web.current import current_session
from ..web.current import current_settings
from .client import hinted_device
from .saved_forms import forget_remembered_form
from .saved_forms import settle_kept_form

#: The types of a user id.
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
    """Log the user in: the session gets a new token with this response, and both its clocks start again.

    ``keep``: what the session held before is kept; with False it is dropped. Nothing is kept of another user's session.
    ``remember``: the browser keeps the cookie when it is closed, and the session lives as long as
    ``IDLESESSION_REMEMBER_LIFETIME`` says. ``idle_timeout`` and ``lifetime`` (seconds or timedeltas) are for this
    session alone, as for an administrator's. ``level`` says how the user proved who they are ("password",
    "passkey"), for :func:`fresh_login_required`; ``labels`` are shown with the session, and
    :func:`revoke_where` finds it by them. A label that has a name of the package's own, such as "level", is a
    ValueError.

    The id is kept as a string: after ``log_in(7)``, :func:`current_user_id` returns ``"7"``. Anything but a str, an int
    or a UUID, such as the None of a user that was not found, is a TypeError.
    Raise :exc:`~flask_idlesession.TooManySessions` where the user may have no more sessions.
    """
    check_labels(labels)
    chosen_idle, chosen_life = _duration(idle_timeout, "idle_timeout"), _duration(lifetime, "lifetime")
    if remember:
        remembered = current_settings().remember_lifetime
        chosen_idle, chosen_life = chosen_idle or remembered, chosen_life or remembered
    _bind(
        user_id, {**labels, LEVEL: level}, keep=keep, permanent=remember, idle_timeout=chosen_idle, lifetime=chosen_life
    )


def reauthenticate(*, level: str | None = None) -> None:
    """Note that the user has just proved again who they are.

    The session gets a new token, both its clocks start again (NIST SP 800-63B-4, 5.2), and it counts as fresh.
    ``level`` says how they proved it this time; without one, no level is proven any more. Nothing else changes.

    Raise PermissionError where nobody is logged in.
    """
    user_id = current_user_id()
    if user_id is None:
        raise PermissionError("reauthenticate() needs a user who is logged in; call log_in(). [ISE051]")
    info, lifetime = session_info(), None
    if info is not None and info.authenticated_at is not None:
        lifetime = info.lifetime_ends_at - info.authenticated_at
    _bind(user_id, {LEVEL: level}, lifetime=lifetime)


def resume(user_id: UserId) -> None:
    """Bind a user whom something that the browser keeps has named, and who proved nothing.

    It does what :func:`log_in` does, but the session does not count as fresh.
    """
    _bind(user_id, {AUTHENTICATED_AT: None})


def log_out() -> None:
    """End the session of this request. Nothing brings it back: no other request, no copied cookie, and no remember
    cookie of Flask-Login.
    """
    runtime = current_runtime()
    current_session().clear()
    if runtime.logins is not None:
        runtime.logins.forget()


def current_user_id() -> str | None:
    """Return the id of the user that is logged in, or None. It is a text, also if :func:`log_in` was given a number."""
    return _looked_at()._user_id


def is_authenticated() -> bool:
    """Return whether a user is logged in; without one the session is a guest's."""
    return current_user_id() is not None


def session_info() -> SessionInfo | None:
    """Return what may be shown of this request's session, the request included; None while nothing is stored of it."""
    return _looked_at()._info


def session_ending() -> Ending | None:
    """Return how the session ended whose token this request shows: for the log-in page, to say why.

    None where it did not end, or where that is no longer known (after an hour).
    """
    return _looked_at()._ending


def authentication_age() -> float | None:
    """Return how many seconds ago the user last proved who they are.

    None if nobody is logged in, or only by what the browser remembers. None too if the session has since been seen from
    somewhere else: its user must prove it again.
    """
    ours = _looked_at()
    if ours._intended_user_id is not None:
        return None if AUTHENTICATED_AT in (ours._intents.labels or {}) else 0.0
    info = ours._info
    if ours._user_id is None or info is None or info.authenticated_at is None or SUSPECT in info.labels:
        return None
    return max(current_manager().now() - info.authenticated_at, 0.0)


def authentication_level() -> str | None:
    """Return how the user proved who they are, as :func:`log_in` or :func:`reauthenticate` was told."""
    ours = _looked_at()
    intended, info = ours._intents.labels, ours._info
    labels = intended if intended is not None else NO_LABELS if info is None else info.labels
    return cast(str | None, labels.get(LEVEL))


def id_of(user_id: UserId, *, for_what: str = "log_in()") -> str:
    """Return the text by which a user is kept. Raise TypeError for what names no user; ``for_what`` needs it."""
    if not isinstance(user_id, str | int | UUID) or isinstance(user_id, bool):
        kind = "None" if user_id is None else f"a {type(user_id).__name__}"
        raise TypeError(f"{for_what} needs the user's id as a str, an int or a UUID, not {kind}. [ISE050]")
    return str(user_id)


def is_trusted() -> bool:
    """Return whether a user is logged in, and the session was seen from nowhere else since they proved who they are."""
    ours = _looked_at()
    return ours._user_id is not None and not _is_suspect(ours)


def is_suspect() -> bool:
    """Return whether the session was seen from somewhere else since its user last proved who they are."""
    ours = _looked_at()
    return not ours._is_new and _is_suspect(ours)


def _is_suspect(ours: Session) -> bool:
    record = ours._record
    return record is not None and ours._intended_user_id is None and SUSPECT in record.info.labels


def _bind(
    user_id: UserId,
    labels: Mapping[str, str | float | None],
    *,
    keep: bool = True,
    permanent: bool = False,
    idle_timeout: float | None = None,
    lifetime: float | None = None,
) -> None:
    named = id_of(user_id)
    if current_settings().keep_forms:
        settle_kept_form(named)
    if not keep:
        forget_remembered_form()
    current_session()._log_in(
        named,
        keep=keep,
        permanent=permanent,
        idle_timeout=idle_timeout,
        lifetime=lifetime,
        labels={**_device(), **labels, SUSPECT: None},
    )


def _looked_at() -> Session:
    """Return the present session, after the look that reads it and makes the response depend on the cookie."""
    ours = current_session()
    ours._look()
    return ours


def _device() -> Mapping[str, str | None]:
    """Return the label of what the browser says of itself, where that is to be kept."""
    if not has_request_context() or current_settings().client_info is None:
        return {}
    return {DEVICE: hinted_device(request)}


def _duration(value: float | timedelta | None, name: str) -> float | None:
    return None if value is None else seconds(value, name=name)
