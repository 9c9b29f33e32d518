"""Says on a page why a session is over, what became of what was typed, and leads back."""

from dataclasses import dataclass

from ..model.record import Ending
from ..model.record import EndReason
from .durations import in_words
from .status import spelled
from .texts import Texts

#: The reasons as they stand in an address.
REASONS = {spelled(reason): reason for reason in EndReason}

#: Ends that the user meant, or somebody for them: nothing that was typed is to be found afterwards.
_MEANT = (EndReason.LOGGED_OUT, EndReason.REVOKED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The sentences of the page about an end."""

    title: str
    text: str
    #: Whether it came to its user unasked, so that the page says what became of what they were typing.
    is_unmeant: bool


def explain(
    reason: EndReason | None, ending: Ending | None, texts: Texts, *, idle_timeout: float, lifetime: float
) -> Explanation:
    """Return what to say of an end. ``ending`` is what the server remembers of it, if it does."""
    is_log_out = reason is EndReason.LOGGED_OUT
    title = texts.say("You are signed out") if is_log_out else texts.say("You were signed out")
    text = _text(reason, ending, texts, idle=in_words(idle_timeout, texts), lifetime=in_words(lifetime, texts))
    return Explanation(title=title, text=text, is_unmeant=reason not in _MEANT)


def _text(reason: EndReason | None, ending: Ending | None, texts: Texts, *, idle: str, lifetime: str) -> str:
    match reason:
        case EndReason.IDLE:
            return texts.say("For your security you are signed out when you are not active for {idle}.", idle=idle)
        case EndReason.LIFETIME:
            return texts.say(
                "For your security you are signed out {lifetime} after you signed in, even when you are active.",
                lifetime=lifetime,
            )
        case EndReason.LOGGED_OUT:
            return texts.say("You have signed out.")
        case EndReason.EVICTED:
            return texts.say("Your session was ended to make room for another.")
        case EndReason.REVOKED if ending is not None and ending.by is not None and ending.by == ending.user_id:
            return texts.say("You signed this device out from another one.")
        case EndReason.REVOKED:
            return texts.say("Your session was ended by an administrator, or from another of your devices.")
        case _:
            return texts.say("Your session is over.")
