"""The signals (blinker) that tell of a session's life, and how they are sent.

Each receiver gets the sender and ``info``, the session's :class:`~flask_idlesession.SessionInfo`. The
sender is the Flask app, or the :class:`~flask_idlesession.SessionManager` where there is no app.
"""

import logging
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any

from blinker import NamedSignal
from blinker import Namespace

_signals = Namespace()
_logger = logging.getLogger("flask_idlesession")

#: A session was stored for the first time.
session_created = _signals.signal("session-created")

#: A request showed the token of a live session, and it was read from the store.
session_loaded = _signals.signal("session-loaded")

#: A session got a new secret; the token that it had before is dead.
session_rotated = _signals.signal("session-rotated")

#: A user was bound to a session, or proved again who they are; then ``info.labels["again"]`` is there.
session_logged_in = _signals.signal("session-logged-in")

#: A session is over; ``reason`` is an :class:`~flask_idlesession.EndReason`. Sent once for each session. Where somebody
#: else ended it, ``info.labels["ended_by"]`` says who.
session_ended = _signals.signal("session-ended")

#: A request showed the token of a user's session from elsewhere than before, and ``IDLESESSION_BIND_ADDRESS`` or
#: ``IDLESESSION_BIND_AGENT`` is on: ``what`` is "address" or "agent", ``seen`` is what it was this time (as far as it
#: is kept), ``reaction`` what is done about it.
session_mismatched = _signals.signal("session-mismatched")

#: A log-in was refused, because the user ``user_id`` has as many sessions as they may have. There is no ``info``.
log_in_refused = _signals.signal("log-in-refused")

#: Cookies came that are no tokens of this application, ``count`` of them since this was last told; once a minute at
#: most. There is no ``info``.
bad_tokens_seen = _signals.signal("bad-tokens-seen")


#: A request showed a token that another one has replaced a while ago: a copy of it is in somebody's hands (RFC 9700,
#: 4.14.2). Sent at most once a minute for each session.
token_reused = _signals.signal("token-reused")


def tell(signal: NamedSignal, sender: object, **what: Any) -> None:
    """Call every receiver, also when one of them raises.

    An exception of a receiver is logged and goes no further. An application's mistake in a log-out hook must not keep
    the session alive (CVE-2021-34428 did), nor stop the cleaner.
    """
    if signal.receivers:
        tell_all(signal, sender, [what])


def tell_all(signal: NamedSignal, sender: object, told: Iterable[Mapping[str, Any]]) -> None:
    """Call every receiver once for each of ``told``, as :func:`tell` does."""
    receivers = list(signal.receivers_for(sender)) if signal.receivers else ()
    if not receivers:
        return
    for what in told:
        for receiver in receivers:
            try:
                receiver(sender, **what)
            except Exception:
                _logger.exception(
                    "A receiver of the signal %r raised; the session goes its way all the same. [ISE090]", signal.name
                )
