"""Keeps what a user had typed when their session ended, until the same user is back: nobody loses a long form to a
timeout (WCAG 2.2, success criterion 2.2.5), and nobody else sees it.
"""

import re
from collections.abc import Callable
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from typing import cast
from typing import TypeVar

from flask import current_app
from flask import request
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import RequestEntityTooLarge

from ..model.encryption import Cipher
from ..model.errors import DecodeError
from ..model.ids import SessionId
from ..model.policy import HOUR
from ..sessions.csrf_tokens import is_right
from ..sessions.locking import RESERVED
from ..sessions.session import AFTER
from ..sessions.session import Session
from ..web.csrf import is_same_origin
from ..web.csrf import shown_csrf_token
from ..web.current import current_manager
from ..web.current import current_session
from ..web.current import current_settings
from ..web.paths import local_path

_KEPT = RESERVED + "kept_form"
_REMEMBERED = RESERVED + "remembered_form"

#: How long a form is kept.
_MEMORY = HOUR

#: Bytes of a form that an application remembers on purpose, where it did not say how many are kept.
_ROOM = 1 << 16

_FORMS = frozenset({"application/x-www-form-urlencoded", "multipart/form-data"})

#: The field in which a page names, one a line, those of its fields that only it knows to be secret: by their type.
_TOLD = "idlesession:secret"

#: Names of fields that are never kept: parts of names, and words that are too short to be looked for in others. The
#: script of the pages has the same pattern, so it must mean the same to JavaScript.
NEVER_KEPT = (
    r"pass(?!eng)|pwd|secret|token|csrf|credential|card|cvv|cvc|captcha|iban|api_?key|private_?key|mfa|"
    r"security_?(?:answer|code)|one_?time|verification|account_?n(?:umber|o)|sort_?code|"
    r"(?:^|[^a-z])(?:otp|totp|pin|pan|tan|ssn|pw|bic|cv2|csc|2fa|tfa)(?![a-z])"
)
_HUMP = r"(?<=[a-z0-9])(?=[A-Z])"

_MARK = "_idlesession_never_kept"

_View = TypeVar("_View", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptForm:
    """A form that was sent, and could not be taken."""

    #: Where it was sent to: a path of this application, with its query.
    path: str
    #: Its fields, without passwords and files.
    fields: MultiDict[str, str]
    kept_at: float


def never_kept(*names: str) -> Callable[[_View], _View]:
    """Mark a view whose form is never kept when its session has ended, or with ``names`` only these fields not."""

    def mark(view: _View) -> _View:
        setattr(view, _MARK, names)
        return view

    return mark


def kept_form() -> KeptForm | None:
    """Return the form that the present user sent when their session had ended, if they are logged in again.

    It is there for an hour at most. It goes earlier with :func:`forget_form`, when it is sent again to a view that
    :func:`login_required` guards, and when somebody else logs in.
    """
    ours = current_session()
    data = ours._get_own(_KEPT)
    if data is None or ours._user_id is None:
        return None
    form = _open(data, ours._user_id, ours._next_credential().sid)
    if form is None:
        ours._put_own(_KEPT, None)
    return form


def is_form_kept() -> bool:
    """Return whether a form waits for its user: for the log-in page, to say so. It tells nothing of the form."""
    return current_session()._get_own(_KEPT) is not None


def remember_form(*, exclude: Collection[str] = ()) -> bool:
    """Remember the fields of the form that this request sent, for the page to which it is redirected; return whether
    that was done: it is not if they are too many. Passwords, files and the fields in ``exclude`` are not
    remembered.
    """
    ours = current_session()
    fields = _fields(exclude, room=current_settings().keep_forms or _ROOM)
    if not fields:
        return False
    ours._put_own(_REMEMBERED, _pack(fields))
    return True


def remembered_form() -> KeptForm | None:
    """Return the form that :func:`remember_form` remembered in this session, for an hour, or until
    :func:`forget_form`.
    """
    data = current_session()._get_own(_REMEMBERED)
    return None if data is None else _unpack(data)


def forget_form() -> None:
    """Forget the forms of this session, the one that was kept and the one that was remembered."""
    ours = current_session()
    ours._put_own(_KEPT, None)
    ours._put_own(_REMEMBERED, None)


# For the guards of views.


def forget_remembered_form() -> None:
    """Forget the form that was remembered in this session, any user's."""
    current_session()._put_own(_REMEMBERED, None)


def keep_form() -> None:
    """Keep the form of this request, if that is set up and its user is known. That is the user who must log in again,
    or the one whose session ended.
    """
    room = current_settings().keep_forms
    if not room or request.method != "POST":
        return
    ours = current_session()
    if not is_same_origin() and not _has_shown_csrf_token(ours):
        return
    ending = ours._ending
    user_id = ours._user_id or (None if ending is None else ending.user_id)
    names = getattr(current_app.view_functions.get(request.endpoint or ""), _MARK, None)
    if user_id is None or names == ():
        return
    fields = _fields(names or (), room=room)
    if fields:
        sid = ours._next_credential().sid
        ours._put_own(_KEPT, _keyring(user_id).seal(_pack(fields), sid.bytes))
        if ending is not None:
            ours._put_own(AFTER, ending.sid.bytes)


def forget_sent_form() -> None:
    """Forget the kept form if this request has sent it again."""
    if request.method != "POST" or not is_form_kept():
        return
    form = kept_form()
    if form is not None and form.path == _path():
        current_session()._put_own(_KEPT, None)


def settle_kept_form(user_id: str) -> None:
    """Drop the form that waits for another user than the one who logs in."""
    ours = current_session()
    ours._put_own(AFTER, None)
    data = ours._get_own(_KEPT)
    if data is not None and _open(data, user_id, ours._next_credential().sid) is None:
        ours._put_own(_KEPT, None)


def _fields(exclude: Collection[str], *, room: int) -> list[tuple[str, str]]:
    """Return the fields of the request's form that may be kept; none if they are too many."""
    if request.mimetype not in _FORMS or request.content_length is None or request.content_length > room:
        return []
    with suppress(RequestEntityTooLarge):
        secret = {*exclude, _TOLD, *request.form.get(_TOLD, "").splitlines()}
        pairs = request.form.items(multi=True)
        return [(name, value) for name, value in pairs if not (name in secret or _is_secret(name) or _is_card(value))]
    return []


def _is_secret(name: str) -> bool:
    return re.search(NEVER_KEPT, re.sub(_HUMP, "_", name).lower()) is not None


def _is_card(value: str) -> bool:
    """Whether it may be the number of a payment card: by its length, first digit and check digit (ISO/IEC 7812-1)."""
    digits = re.sub(r"[ -]", "", value)
    if not re.fullmatch(r"[2-6][0-9]{12,18}", digits):
        return False
    summands = (int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits)))
    return sum(summand - 9 if summand > 9 else summand for summand in summands) % 10 == 0


def _path() -> str:
    return local_path() or "/"


def _has_shown_csrf_token(ours: Session) -> bool:
    """Whether the form has the CSRF token of the session that has ended, whose token the request still shows."""
    shown = ours._facts.shown
    token = shown_csrf_token()
    return shown is not None and bool(token) and is_right(token or "", shown.secret, None, ours._codec)


def _pack(fields: list[tuple[str, str]]) -> bytes:
    manager = current_manager()
    return manager.codec.encode((_path(), fields, manager.now()))


def _unpack(data: bytes) -> KeptForm | None:
    manager = current_manager()
    path, fields, kept_at = manager.codec.decode(data)
    if manager.now() >= kept_at + _MEMORY:
        return None
    return KeptForm(path=path, fields=MultiDict(fields), kept_at=kept_at)


def _open(data: bytes, user_id: str, sid: SessionId) -> KeptForm | None:
    """Return the form, if it is this user's."""
    with suppress(DecodeError):
        return _unpack(_keyring(user_id).open(data, sid.bytes))
    return None


def _keyring(user_id: str) -> Cipher:
    """Return keys of this user's own, made of the application's."""
    secrets = (current_app.secret_key, *(current_app.config.get("SECRET_KEY_FALLBACKS") or ()))
    keys = [secret.encode() if isinstance(secret, str) else cast(bytes, secret) for secret in secrets]
    return Cipher(keys, purpose=f"form of {user_id}")
