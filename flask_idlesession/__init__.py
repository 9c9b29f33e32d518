"""Flask sessions that live on the server and end when their user goes idle."""

from importlib import import_module
from typing import Any
from typing import TYPE_CHECKING

from .exclusive import exclusive as exclusive  # Now: its module, once imported, would stand in its place.

if TYPE_CHECKING:
    from .accounts import authentication_age as authentication_age
    from .accounts import authentication_level as authentication_level
    from .accounts import current_user_id as current_user_id
    from .accounts import fresh_login_required as fresh_login_required
    from .accounts import is_authenticated as is_authenticated
    from .accounts import log_in as log_in
    from .accounts import log_out as log_out
    from .accounts import login_required as login_required
    from .accounts import reauthenticate as reauthenticate
    from .accounts import revoke as revoke
    from .accounts import revoke_all as revoke_all
    from .accounts import revoke_others as revoke_others
    from .accounts import revoke_own as revoke_own
    from .accounts import revoke_user as revoke_user
    from .accounts import revoke_where as revoke_where
    from .accounts import sessions_of as sessions_of
    from .activity import passive as passive
    from .codec import Codec as Codec
    from .csrf import check_csrf as check_csrf
    from .csrf import csrf_protect as csrf_protect
    from .csrf import csrf_token as csrf_token
    from .errors import ConfigError as ConfigError
    from .errors import ConflictError as ConflictError
    from .errors import CsrfError as CsrfError
    from .errors import DecodeError as DecodeError
    from .errors import EncodeError as EncodeError
    from .errors import IdleSessionError as IdleSessionError
    from .errors import LeaseTimeout as LeaseTimeout
    from .errors import SessionExists as SessionExists
    from .errors import SessionNotFound as SessionNotFound
    from .errors import StoreError as StoreError
    from .errors import TooManySessions as TooManySessions
    from .extension import IdleSession as IdleSession
    from .form_keeper import forget_form as forget_form
    from .form_keeper import is_form_kept as is_form_kept
    from .form_keeper import kept_form as kept_form
    from .form_keeper import KeptForm as KeptForm
    from .form_keeper import never_kept as never_kept
    from .form_keeper import remember_form as remember_form
    from .form_keeper import remembered_form as remembered_form
    from .ids import SessionId as SessionId
    from .manager import SessionManager as SessionManager
    from .origin import device_of as device_of
    from .policy import Policy as Policy
    from .record import Change as Change
    from .record import Ending as Ending
    from .record import EndReason as EndReason
    from .record import Outcome as Outcome
    from .record import Record as Record
    from .record import Rotation as Rotation
    from .record import SessionInfo as SessionInfo
    from .session import Session as Session
    from .signals import bad_tokens_seen as bad_tokens_seen
    from .signals import log_in_refused as log_in_refused
    from .signals import session_created as session_created
    from .signals import session_ended as session_ended
    from .signals import session_loaded as session_loaded
    from .signals import session_logged_in as session_logged_in
    from .signals import session_mismatched as session_mismatched
    from .signals import session_rotated as session_rotated
    from .store import Store as Store
    from .stores.memory import MemoryStore as MemoryStore

#: Where each name comes from. A module is imported when one of its names is asked for: all of them take twice as long
#: as what one application uses.
_HOMES = {
    "accounts": (
        "authentication_age",
        "authentication_level",
        "current_user_id",
        "fresh_login_required",
        "is_authenticated",
        "log_in",
        "log_out",
        "login_required",
        "reauthenticate",
        "revoke",
        "revoke_all",
        "revoke_others",
        "revoke_own",
        "revoke_user",
        "revoke_where",
        "sessions_of",
    ),
    "activity": ("passive",),
    "codec": ("Codec",),
    "csrf": ("check_csrf", "csrf_protect", "csrf_token"),
    "errors": (
        "ConfigError",
        "ConflictError",
        "CsrfError",
        "DecodeError",
        "EncodeError",
        "IdleSessionError",
        "LeaseTimeout",
        "SessionExists",
        "SessionNotFound",
        "StoreError",
        "TooManySessions",
    ),
    "extension": ("IdleSession",),
    "form_keeper": (
        "forget_form",
        "is_form_kept",
        "kept_form",
        "KeptForm",
        "never_kept",
        "remember_form",
        "remembered_form",
    ),
    "ids": ("SessionId",),
    "manager": ("SessionManager",),
    "origin": ("device_of",),
    "policy": ("Policy",),
    "record": ("Change", "Ending", "EndReason", "Outcome", "Record", "Rotation", "SessionInfo"),
    "session": ("Session",),
    "signals": (
        "bad_tokens_seen",
        "log_in_refused",
        "session_created",
        "session_ended",
        "session_loaded",
        "session_logged_in",
        "session_mismatched",
        "session_rotated",
    ),
    "store": ("Store",),
    "stores.memory": ("MemoryStore",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = ["exclusive", *_HOME_OF]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{home}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
