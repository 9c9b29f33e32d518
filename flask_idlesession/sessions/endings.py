"""Tells each session's end: to whoever listens, and to the next request that shows its token."""

import logging
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from itertools import islice

from ..model.errors import StoreError
from ..model.labels import ENDED_BY
from ..model.labels import TURN
from ..model.record import Ending
from ..model.record import EndReason
from ..model.record import SessionInfo
from ..model.record import with_labels
from ..model.signals import session_ended
from ..model.signals import tell_all
from ..stores.contract import chunked
from ..stores.contract import Store

_logger = logging.getLogger("flask_idlesession")

#: Seconds for which it is remembered how a session ended.
REMEMBERED = 3600.0

#: How many sessions end in one step: few enough that no request waits long for it.
_CHUNK = 256


class Endings:
    """Ends sessions, and tells it once. ``sender`` returns what signals name as their sender."""

    def __init__(self, store: Store, *, sender: Callable[[], object]) -> None:
        self._store = store
        self._sender = sender

    def end(self, info: SessionInfo, reason: EndReason, *, now: float, by: str | None = None) -> bool:
        """Forget the session; return whether it was this call that ended it, which then is told."""
        ended = self._store.delete(info.sid)
        if ended:
            self.tell([(info, reason)], now=now, by=by)
        return ended

    def end_all(
        self, infos: Iterable[SessionInfo], reason: EndReason, *, clock: Callable[[], float], by: str | None = None
    ) -> int:
        """Forget these sessions, many in one step; return how many this call ended, each of which is told.

        A step that fails leaves the sessions before it ended and told, and those after it as they were.
        """
        ended, left = 0, iter(infos)
        while chunk := list(islice(left, _CHUNK)):
            gone = self._delete(chunk)
            self.tell([(info, reason) for info in gone], now=clock(), by=by)
            ended += len(gone)
        return ended

    def _delete(self, infos: Sequence[SessionInfo]) -> Sequence[SessionInfo]:
        """Forget these sessions; return those that were there."""
        store = chunked(self._store)
        if store is None:
            return [info for info in infos if self._store.delete(info.sid)]
        return store.delete_many([info.sid for info in infos])

    def tell(self, ended: Sequence[tuple[SessionInfo, EndReason]], *, now: float, by: str | None = None) -> None:
        """Tell that these sessions are over: they are in the store no more."""
        ended = [pair for pair in ended if TURN not in pair[0].labels]
        buried = [Ending(info.sid, reason, min(now, info.expires_at), info.user_id, by) for info, reason in ended]
        self._bury(buried, until=now + REMEMBERED)
        told = (
            {"info": info if by is None else with_labels(info, {ENDED_BY: by}), "reason": reason}
            for info, reason in ended
        )
        tell_all(session_ended, self._sender(), told)

    def _bury(self, buried: Sequence[Ending], *, until: float) -> None:
        try:
            if buried:
                self._store.bury(buried, until=until)
        except StoreError as error:  # They are over all the same; only the reason is lost.
            _logger.debug("How %d sessions ended was not noted: %s", len(buried), error)
