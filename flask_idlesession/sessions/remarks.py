"""Says what an operator or a developer should know of requests, as far as nothing else tells it."""

import time
from collections.abc import Callable

from ..model.errors import RecordRejected
from ..model.ids import Credential
from ..model.ids import SessionId
from ..model.policy import Policy
from ..stores.failures import Failures
from .hints import Hints
from .lifecycle import Lifecycle
from .session import Session
from .token_reuse import TokenReuse


def _ignore_durations(idle_timeout: float, permanent_lifetime: float) -> None:
    return None


class Remarks:
    """Hears of what requests meet.

    ``note_lost`` hears of the ids of sessions that an active request showed and that are not there.
    ``note_permanent`` hears of the idle timeout and the permanent lifetime where a session becomes permanent that has
    no idle timeout of its own. ``hints`` are given to developers.
    ``ends_reused``: a session ends when a token of it is shown that was replaced a while ago.
    """

    def __init__(
        self,
        lifecycle: Lifecycle,
        *,
        note_lost: Callable[[SessionId, float], None] | None = None,
        note_permanent: Callable[[float, float], None] = _ignore_durations,
        hints: Hints | None = None,
        ends_reused: bool = False,
    ) -> None:
        self.hints = hints
        self._lifecycle = lifecycle
        self._note_lost = note_lost
        self._note_permanent = note_permanent
        self._rejections = Failures("A session was not saved", clock=time.monotonic)
        self._reuse = TokenReuse(lifecycle, ends=ends_reused)

    def note_nothing(self, credential: Credential, *, now: float) -> None:
        """Note that an active request showed a token that opens nothing."""
        if self._note_lost is not None:
            self._note_lost(credential.sid, now)
        if self.hints is not None and self._lifecycle.ending(credential.sid) is None:
            self.hints.note_nothing(credential.sid)
        self._reuse.note(credential, now=now)

    def note_permanence(self, session: Session, *, policy: Policy) -> None:
        """Note that a session becomes permanent."""
        if session._idle_timeout == policy.idle_timeout_for(session._user_id):
            self._note_permanent(session._idle_timeout, policy.permanent_lifetime)

    def note_rejection(self, error: RecordRejected) -> None:
        """Note that a session was not saved, because of what is in it."""
        self._rejections.note(error)
