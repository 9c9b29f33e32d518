"""Reads the session of the present request for a page or an answer about it."""

from dataclasses import dataclass

from ..accounts.log_in import current_user_id
from ..accounts.log_in import session_ending
from ..accounts.log_in import session_info
from ..model.errors import StoreError
from ..model.ids import SessionId
from ..model.record import Ending
from ..model.record import SessionInfo
from ..settings.keys import LEAST_WARNING
from ..settings.keys import Settings
from ..web.current import current_runtime
from ..web.current import current_session
from .status import ended
from .status import NO_SESSION
from .status import Status
from .status import status_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """The facts of the present session, for a page."""

    settings: Settings
    now: float
    info: SessionInfo | None
    ending: Ending | None
    user_id: str | None
    #: Whether the request showed the token of a session that is over.
    was_over: bool
    #: Whether its end would be a loss: somebody is logged in, or there is something in it.
    is_worth_a_warning: bool
    #: Whether the store could be asked.
    is_known: bool = True

    @property
    def sid(self) -> SessionId | None:
        """The id of the session, or None if there is none."""
        return None if self.info is None else self.info.sid

    @property
    def idle_timeout(self) -> float:
        """Seconds without activity after which the session ends, or would end if it began now."""
        return self.settings.policy.idle_timeout_for(self.user_id) if self.info is None else self.info.idle_timeout

    @property
    def lifetime(self) -> float:
        """Seconds from the log-in, or from the beginning, to the end that no activity moves."""
        if self.info is None:
            return self.settings.policy.lifetime
        began_at = self.info.created_at if self.info.authenticated_at is None else self.info.authenticated_at
        return self.info.lifetime_ends_at - began_at

    @property
    def warn_before(self) -> float:
        """Seconds before its end at which its user is warned: half of the idle timeout at most, and the 20 that users
        need unless that is less (WCAG 2.2, 2.2.1).
        """
        most = self.idle_timeout / 2
        return min(max(self.settings.warn_before, LEAST_WARNING if most >= LEAST_WARNING else 0), most)

    def status(self) -> Status:
        """Return the facts of the session that a script is told."""
        if self.info is not None:
            return status_of(self.info, now=self.now)
        if self.is_worth_a_warning:  # It begins with this response.
            return status_of(self.settings.policy.begin(now=self.now, user_id=self.user_id), now=self.now)
        if self.ending is not None:
            return ended(self.ending.reason)
        return ended(None) if self.was_over else NO_SESSION


def present() -> Present:
    """Return what is to be said of the session of this request. To look is no activity."""
    ours, runtime = current_session(), current_runtime()
    info, user_id = session_info(), current_user_id()
    if info is not None and ours._record is not None and ours._facts.seen_at is None:
        info = ours._record.info  # With activity that is written at intervals it ends later than it promises to.
    return Present(
        settings=runtime.settings,
        now=runtime.manager.now(),
        info=info,
        ending=session_ending() if user_id is None else None,
        user_id=user_id,
        was_over=info is None and ours._facts.shown is not None and not ours._intents.end,
        is_worth_a_warning=user_id is not None or bool(ours),
    )


def present_if_known() -> Present:
    """Return the same, and what a visitor without a session is told where the store is down: the page after the end and
    a public page are of use then, too.
    """
    try:
        return present()
    except StoreError:
        runtime = current_runtime()
        return Present(
            settings=runtime.settings,
            now=runtime.manager.now(),
            info=None,
            ending=None,
            user_id=None,
            was_over=False,
            is_worth_a_warning=False,
            is_known=False,
        )
