"""Names settings of other packages, and names that are nearly ours, which would be ignored without a word."""

import difflib
import re
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping

#: The settings of Flask-Session and Flask-KVSession, and what says the same here.
THEIRS: Mapping[str, str] = {
    "SESSION_TYPE": "set IDLESESSION_STORE to a URL, such as redis://localhost or sqlite:///sessions.db.",
    "SESSION_REDIS": "give the client, or its URL, to IDLESESSION_STORE.",
    "SESSION_MEMCACHED": "give a cachelib.MemcachedCache to IDLESESSION_STORE.",
    "SESSION_CACHELIB": "give the cache to IDLESESSION_STORE.",
    "SESSION_FILE_DIR": 'set IDLESESSION_STORE = "sqlite:///sessions.db".',
    "SESSION_FILE_THRESHOLD": "remove it; an SQLite file has no such bound.",
    "SESSION_FILE_MODE": "remove it; an SQLite file and a journal are for their owner alone.",
    "SESSION_SQLALCHEMY": "give the engine (db.engine), or its URL, to IDLESESSION_STORE.",
    "SESSION_SQLALCHEMY_TABLE": "remove it; the tables have names of their own.",
    "SESSION_SQLALCHEMY_SEQUENCE": "remove it; the tables need none.",
    "SESSION_SQLALCHEMY_SCHEMA": "remove it; the tables are in the connection's schema.",
    "SESSION_SQLALCHEMY_BIND_KEY": "give that engine (db.engines[…]) to IDLESESSION_STORE.",
    "SESSION_MONGODB": "choose another store: there is none for MongoDB.",
    "SESSION_MONGODB_DB": "choose another store: there is none for MongoDB.",
    "SESSION_MONGODB_COLLECT": "choose another store: there is none for MongoDB.",
    "SESSION_DYNAMODB": "choose another store: there is none for DynamoDB.",
    "SESSION_DYNAMODB_TABLE": "choose another store: there is none for DynamoDB.",
    "SESSION_KEY_PREFIX": "set IDLESESSION_NAMESPACE, for applications that share a server.",
    "SESSION_PERMANENT": "set session.permanent = True in the view, or call log_in(…, remember=True).",
    "SESSION_USE_SIGNER": "remove it; each token is signed.",
    "SESSION_ID_LENGTH": "remove it; a token has 256 random bits.",
    "SESSION_SERIALIZATION_FORMAT": "remove it; docs/values.rst says which values a session keeps.",
    "SESSION_SERIALIZER": "remove it; docs/values.rst says which values a session keeps.",
    "SESSION_CLEANUP_N_REQUESTS": "remove it; expired sessions are forgotten within IDLESESSION_CLEANUP_INTERVAL.",
    "SESSION_KEY_BITS": "remove it; a token has 256 random bits.",
    "SESSION_RANDOM_SOURCE": "remove it; the operating system's is used.",
    "SESSION_SET_TTL": "remove it; stores forget what has expired.",
    "SESSION_TIMEOUT": "set IDLESESSION_IDLE_TIMEOUT.",
    "SESSION_IDLE_TIMEOUT": "set IDLESESSION_IDLE_TIMEOUT.",
    "SESSION_LIFETIME": "set IDLESESSION_LIFETIME.",
    "SESSION_MAX_AGE": "set IDLESESSION_LIFETIME.",
    "SESSION_EXPIRE_AFTER": "set IDLESESSION_IDLE_TIMEOUT.",
}

#: How alike the begin of a name must be to ours: one or two letters too few, too many or in another place.
_ALIKE = 0.85

_OURS = "IDLESESSION"


def foreign_settings(keys: Iterable[str], *, known: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield each of ``keys`` that says something to another package, or that is nearly one of ``known``, with what to
    do. Values are not looked at: they may be passwords.
    """
    for key in keys:
        if key in THEIRS:
            yield key, THEIRS[key]
        elif not key.startswith(f"{_OURS}_"):
            meant = _meant_by(key, known)
            if meant is not None:
                yield key, f"did you mean {meant}?"


def _meant_by(key: str, known: Iterable[str]) -> str | None:
    """Return the setting that a name is nearly, such as IDLESESION_STORE, IDLE_SESSION_STORE or idlesession_store."""
    words = re.split(r"[_\W]+", key.upper().removeprefix("FLASK_"))
    for count in range(1, min(len(words), 3)):
        begin, rest = "".join(words[:count]), "_".join(words[count:])
        if begin.startswith("I") and difflib.SequenceMatcher(None, begin, _OURS).ratio() >= _ALIKE:
            near = difflib.get_close_matches(f"{_OURS}_{rest}", list(known), n=1, cutoff=0.0)
            return near[0] if near else None
    return None
