"""Takes sessions from before over, each once over all workers, and none whose user has logged out since."""

import hashlib
import hmac
import logging
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from dataclasses import field
from functools import partial
from typing import Any
from typing import Protocol

from flask import Flask
from flask import has_request_context
from flask import Request
from flask import request
from flask import Response

from ..model.errors import DecodeError
from ..model.errors import EncodeError
from ..model.errors import RecordRejected
from ..model.errors import SessionExists
from ..model.errors import TooManySessions
from ..model.ids import Credential
from ..model.ids import new_secret
from ..model.ids import SessionId
from ..model.record import Change
from ..model.record import EndReason
from ..model.record import Outcome
from ..model.record import Record
from ..sessions.locking import RESERVED
from ..sessions.manager import SessionManager
from ..sessions.session import check_user_id
from ..sessions.session import Session
from ..sessions.size import check_size
from ..sessions.values import check_key
from .adoption_marks import Mark
from .adoption_marks import Marks

_logger = logging.getLogger("flask_idlesession")

#: An adopted session keeps here what is known of the one from before.
ADOPTED = RESERVED + "adopted"

#: Seconds for which the old cookie goes on opening the session that was made of it: for requests that were on their
#: way together, and for an answer that did not arrive.
_GRACE = 60.0

#: How many cookies of the old name are looked at in one request.
_MOST_SHOWN = 4

#: The key that says whether the user has just logged in: a user who is taken over has not.
_FRESH = "_fresh"

_USER = "_user_id"


@dataclass(frozen=True, slots=True, kw_only=True)
class OldSession:
    """A session from before, as it was found."""

    #: A secret that only the holder of its cookie knows: the cookie's text, or the id in it.
    proof: bytes = field(repr=False)
    data: Mapping[str, Any] = field(repr=False)
    #: Tells one state of its content from another.
    state: bytes = field(repr=False)
    #: When its cookie was made, if that is known.
    issued_at: float | None
    #: The instant from which on it could not be used any more.
    lives_until: float


class Source(Protocol):
    """One kind of session from before."""

    def is_spelled(self, value: str) -> bool:
        """Return whether a cookie's value may be one of this kind, as far as its spelling tells."""

    def proof(self, value: str) -> bytes | None:
        """Return what names the session of a genuine cookie; None for any other."""

    def read(self, value: str, *, now: float) -> OldSession | None:
        """Return the session of a genuine cookie, if it is live."""

    def find(self, proof: bytes, *, now: float) -> OldSession | None:
        """Return the session that a proof names, if it is live and kept outside of the cookie."""

    def proofs(self) -> Iterator[bytes]:
        """Yield what names the sessions, where they can be listed."""

    def discard(self, proof: bytes) -> None:
        """Forget the session, where something outside of the cookie is kept of it."""


def user_in(data: Mapping[str, Any]) -> object:
    """Return the user whom Flask-Login has noted in a session; None for nobody."""
    return data.get(_USER)


class Adoption:
    """Takes over the sessions of some sources, for one application.

    ``cookie`` returns the name of their cookie. ``replaces``: that is our own cookie's name, too. Otherwise the old
    cookie and the old session stay as long as ours. ``key`` returns the application's secret key.
    ``user_of`` returns the user in the data of an old session.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        manager: SessionManager,
        marks: Marks,
        *,
        cookie: Callable[[], str],
        replaces: bool,
        key: Callable[[], str | bytes],
        user_of: Callable[[Mapping[str, Any]], object] = user_in,
    ) -> None:
        self._sources = sources
        self._manager = manager
        self._marks = marks
        self._cookie = cookie
        self._key = key
        self._user_of = user_of
        self.replaces = replaces

    # A request comes.

    def shown(self, request: Request, credential: Credential | None) -> "Shown | None":
        """Return what the request shows of a session from before, without a look into it; None for nothing."""
        if credential is not None and self.replaces:
            return None
        if credential is None and self._cookie() not in request.environ.get("HTTP_COOKIE", ""):
            return None
        return Shown(self, request)

    def may_be_older(self, value: str) -> bool:
        """Return whether a cookie's value is spelled as one of theirs."""
        return any(source.is_spelled(value) for source in self._sources)

    def values(self, request: Request) -> list[str]:
        """Return the values of the old cookies that the request shows."""
        found = dict.fromkeys(request.cookies.getlist(self._cookie()))
        return [value for value in found if self.may_be_older(value)][:_MOST_SHOWN]

    def tell(self, session: Session, response: Response, attributes: Mapping[str, Any]) -> None:
        """Take the older cookie from the browser, where it is another than ours and of no use any more."""
        if self.replaces or not has_request_context() or not self.values(request):
            return
        record = session._record
        if record is None or ADOPTED not in record.values:
            response.delete_cookie(self._cookie(), **attributes)

    # A session is taken over.

    def take_over(self, values: Sequence[str]) -> Credential | None:
        """Return the right to the session that was made, by this call or a moment ago, of what a cookie opens."""
        self._manager.lifecycle.pruner.settle()  # A log-out that could not be noted counts from now on.
        return self._take_over(values)

    def owe_log_out(self, values: Sequence[str]) -> None:
        """End what these cookies open as soon as the store can. Until then this process takes nothing over."""
        for _, value, proof in self._proven(values):
            self._manager.lifecycle.pruner.owe(sid_of(proof), partial(self._end, value))

    def _end(self, value: str) -> None:
        """Note that the user of a cookie has logged out."""
        credential, lifecycle = self._take_over([value]), self._manager.lifecycle
        record = None if credential is None else lifecycle.look_up(credential.sid, now=lifecycle.now())
        if record is not None:
            lifecycle.end(record.info, EndReason.LOGGED_OUT)

    def _take_over(self, values: Sequence[str]) -> Credential | None:
        now = self._manager.now()
        for source, value, proof in self._proven(values):
            sid = sid_of(proof)
            mark = self._marks.find(sid, now=now)
            if mark is None:
                old = source.read(value, now=now)
                mark = None if old is None else self._begin(source, old, sid, now=now)
            elif mark.waits:
                mark = self._begin_with_carried(source, source.read(value, now=now), sid, proof, mark, now=now)
            elif now - mark.adopted_at >= _GRACE:
                continue
            if mark is not None:
                return Credential(sid, self._secret(proof, mark.nonce))
        return None

    def _proven(self, values: Sequence[str]) -> Iterator[tuple[Source, str, bytes]]:
        for value in values:
            for source in self._sources:
                proof = source.proof(value) if source.is_spelled(value) else None
                if proof is not None:
                    yield source, value, proof

    def _secret(self, proof: bytes, nonce: bytes) -> bytes:
        """Return the secret of a session that was made of an old one: all requests that show its cookie come to the
        same, and nobody else does. The nonce tells two attempts apart, of which one came too late.
        """
        key = self._key()
        key = key.encode() if isinstance(key, str) else key
        return hmac.digest(key, b"flask_idlesession adopts " + nonce + hashlib.sha256(proof).digest(), "sha256")

    def _begin(
        self, source: Source, old: OldSession, sid: SessionId, *, now: float, waits: bool = False
    ) -> Mark | None:
        """Make a session of an old one; return the mark of that. None if it may not be, or ended at once.

        The session comes first and its mark second. A request that finds a session without a mark sets the mark
        itself, so none waits for another. Of two attempts the one counts that the mark names: a request that was held
        up until the session had ended again makes one that nobody can open, and takes it back.
        """
        try:
            user_id = self._user_id(old.data)
        except Exception:  # It is the application's own code, or an id that no session can be bound to.
            _logger.exception("The user of a session from before cannot be told, so it was not taken over. [ISE090]")
            return None
        if self._marks.refuses(user_id, issued_at=old.issued_at, now=now):
            _logger.info("A cookie from before was refused: its user has logged out, or was revoked, since.")
            return None
        nonce = new_secret()
        record = self._record(old, sid, user_id, nonce, now=now)
        if record is None:
            return None
        try:
            with self._manager.revocation.admission(user_id, sid) if user_id is not None else nullcontext():
                self._manager.store.create(record)
        except SessionExists:
            there = self._manager.lifecycle.look_up(sid, now=now)
            known = None if there is None else self.known(there)
            return None if known is None else self._marks.put(sid, known["nonce"], old, now=now)
        except TooManySessions as error:
            _logger.warning("A session from before was not taken over: %s [ISW024]", error)
            return None
        mark = self._marks.put(sid, nonce, old, now=now, waits=waits)
        if mark.nonce != nonce:
            self._manager.store.delete(sid)
            return None
        self._manager.lifecycle.note_begin(record.info)
        if self._marks.refuses(user_id, issued_at=old.issued_at, now=now):  # It was revoked meanwhile.
            self._manager.lifecycle.end(record.info, EndReason.REVOKED)
            return None
        if self.replaces and not waits:
            source.discard(old.proof)
        return mark

    # A command carries sessions over before their cookies are seen.

    def left(self) -> list[bytes]:
        """Return what names the old sessions that can be listed where they are."""
        return [proof for source in self._sources for proof in source.proofs()]

    def carry(self, proof: bytes) -> bool:
        """Make a session of an old one that nobody has shown yet; return whether this call did."""
        now, sid = self._manager.now(), sid_of(proof)
        for source in self._sources:
            old = None if self._marks.find(sid, now=now) is not None else source.find(proof, now=now)
            if old is not None:
                return self._begin(source, old, sid, now=now, waits=True) is not None
        return False

    def _begin_with_carried(
        self, source: Source, old: OldSession | None, sid: SessionId, proof: bytes, mark: Mark, *, now: float
    ) -> Mark | None:
        """Return the mark of a session that was carried over, at the first sight of its cookie.

        None if that has ended, or if the old one is gone before its time: its user has logged out there.
        """
        record = self._manager.lifecycle.look_up(sid, now=now)
        known = None if record is None else self.known(record)
        if record is None or known is None:
            return None
        if old is None and now < known["until"]:
            self._manager.lifecycle.end(record.info, EndReason.LOGGED_OUT)
            return None
        if old is not None and old.state != known["state"]:
            self._merge(record, Credential(sid, self._secret(proof, mark.nonce)), old, known, now=now)
        self._marks.note_first_sight(sid, now=now)
        if self.replaces:
            source.discard(proof)
        return mark

    def _record(
        self, old: OldSession, sid: SessionId, user_id: str | None, nonce: bytes, *, now: float
    ) -> Record | None:
        """Return the session that is made of an old one; None if there is nothing in it, or too much."""
        values = self._encoded(old.data)
        if not values.keys() - {"_permanent"}:
            return None
        known = {"nonce": nonce, **self._to_follow(old, user_id, values)}
        if user_id is not None and _FRESH in values:
            values[_FRESH] = self._manager.codec.encode(False)
        values[ADOPTED] = self._manager.codec.encode(known)
        try:
            check_size(None, values, limit=self._manager.policy.max_session_bytes)
        except RecordRejected as error:
            _logger.warning("A session from before was not taken over: %s [ISW024]", error)
            return None
        credential = Credential(sid, self._secret(old.proof, nonce))
        permanent = bool(old.data.get("_permanent"))
        info = self._manager.policy.begin(sid=sid, now=now, user_id=user_id, permanent=permanent)
        return Record(info=info, secret_digest=credential.holder, values=values)

    def _encoded(self, data: Mapping[str, Any]) -> dict[str, bytes]:
        values = {}
        for key, value in data.items():
            try:
                check_key(key)
                values[key] = self._manager.codec.encode(value, path=f"session[{key!r}]")
            except (TypeError, ValueError, EncodeError) as error:
                _logger.warning("A key of a session from before was left out: %s [ISW024]", error)
        return values

    def _user_id(self, data: Mapping[str, Any]) -> str | None:
        user = self._user_of(data)
        if user is None or isinstance(user, bool):
            return None
        check_user_id(str(user))
        return str(user)

    # While the old session stays beside ours.

    def known(self, record: Record) -> dict[str, Any] | None:
        """Return what is known of the session that this one was made of; None if it was made of none."""
        data = record.values.get(ADOPTED)
        if data is None:
            return None
        try:
            known = self._manager.codec.decode(data)
        except DecodeError:
            return None
        return known if isinstance(known, dict) and "nonce" in known else None

    def follow(self, record: Record, credential: Credential, values: Sequence[str]) -> Record | None:
        """Return the session with what an older version of the application has changed in the old one since.

        None if it ended there: its user has logged out, or another one has logged in.
        """
        known, now = self.known(record), self._manager.now()
        if known is None or "state" not in known:
            return record
        old = self._newest(values, now=now)
        if old is None and now >= known["until"] or old is not None and old.state == known["state"]:
            return record
        if old is None or self._user_id(old.data) != known["user"]:
            self._manager.lifecycle.end(record.info, EndReason.LOGGED_OUT)
            return None
        if (old.issued_at or now) < known["at"]:
            return record
        return self._merge(record, credential, old, known, now=now)

    def _newest(self, values: Sequence[str], *, now: float) -> OldSession | None:
        found = [source.read(value, now=now) for source, value, _ in self._proven(values)]
        return max((old for old in found if old is not None), key=lambda old: old.issued_at or now, default=None)

    def _to_follow(self, old: OldSession, user_id: str | None, values: Mapping[str, bytes]) -> dict[str, Any]:
        keys = {key: hashlib.sha256(data).digest()[:8] for key, data in values.items()}
        at = self._manager.now() if old.issued_at is None else old.issued_at
        return {"state": old.state, "user": user_id, "at": at, "until": old.lives_until, "keys": keys}

    def _merge(
        self, record: Record, credential: Credential, old: OldSession, known: dict[str, Any], *, now: float
    ) -> Record | None:
        """Write what changed in the old session into ours, key by key."""
        values, encode = self._encoded(old.data), self._manager.codec.encode
        after = self._to_follow(old, known["user"], values)
        if old.issued_at is None:
            after["at"] = known["at"]
        before = known["keys"]
        changed = {key: data for key, data in values.items() if after["keys"][key] != before.get(key) and key != _FRESH}
        removed = {key: None for key in before if key not in values and key in record.values}
        note = encode({"nonce": known["nonce"], **after})
        change = Change(
            holder=credential.holder,
            delta={**changed, **removed, ADOPTED: note},
            expect={ADOPTED: record.values[ADOPTED]},
        )
        outcome = self._manager.store.commit(record.info.sid, change, now=now)
        if outcome is Outcome.DONE:
            return record.apply(change, now=now)
        return self._manager.lifecycle.look_up(record.info.sid, now=now) if outcome is Outcome.CONFLICT else None


class Shown:
    """A session from before, as one request shows it."""

    def __init__(self, adoption: Adoption, request: Request) -> None:
        self._adoption = adoption
        self._request = request

    def take_over(self) -> Credential | None:
        """Make it a session of ours; return the right to that. None if there is nothing, or it may not be taken."""
        return self._adoption.take_over(self._adoption.values(self._request))

    def owe_log_out(self) -> None:
        """End what it opens as soon as the store can."""
        self._adoption.owe_log_out(self._adoption.values(self._request))

    def follow(self, record: Record, credential: Credential) -> Record | None:
        """Return the session that was made of it, with what has changed there since; None if it ended there."""
        return self._adoption.follow(record, credential, self._adoption.values(self._request))


def sid_of(proof: bytes) -> SessionId:
    """Return the id of the session that is made of an old one, the same on each worker: a UUID of version 4."""
    return SessionId(bytes=hashlib.sha256(b"flask_idlesession adopts " + proof).digest()[:16], version=4)


def name_of(app: Flask, chosen: str | None) -> str:
    """Return the name of the old cookie."""
    return str(app.config["SESSION_COOKIE_NAME"] if chosen is None else chosen)
