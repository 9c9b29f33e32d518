"""Values of the package's own that a rotation reads and writes beside the view's."""

from math import inf

from ..model.codec import Codec
from ..model.errors import DecodeError
from ..model.ids import Credential
from ..model.policy import Policy
from ..model.record import Delta
from ..model.record import Record
from . import csrf_tokens
from .changes import ROTATED_AT
from .session import Intents


def rotated_at(record: Record, codec: Codec) -> float:
    """Return when the session last got a new secret; ``-inf`` if that cannot be read."""
    data = record.values.get(ROTATED_AT)
    if data is None:
        return record.info.created_at
    try:
        return float(codec.decode(data))
    except DecodeError:  # It was encrypted, and the keys were taken away.
        return -inf


def with_rotation(
    delta: Delta, record: Record, credential: Credential, intents: Intents, *, policy: Policy, codec: Codec, now: float
) -> Delta:
    """Return the delta with what the package itself keeps of a rotation: when it was, and the CSRF tokens of before.

    Tokens of open forms stay right if nobody asked for the rotation. None does after a log-in, for an attacker may
    have planted the session.
    """
    after = dict(delta)
    if policy.rotation_interval is not None:
        after[ROTATED_AT] = codec.encode(now)
    former = record.values.get(csrf_tokens.FORMER)
    if former is not None and (intents.user_id is not None or intents.rotate):
        after[csrf_tokens.FORMER] = csrf_tokens.no_former(codec)
    elif former is not None:
        after[csrf_tokens.FORMER] = csrf_tokens.with_former(former, credential.secret, codec)
    return after
