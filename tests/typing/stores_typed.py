"""Checked by mypy, and never run: each store keeps the contract of Store, and each trait's store that of its Protocol.

Stores do not inherit the Protocol, so nothing else would tell of a method with another argument.
"""

from flask_idlesession import MemoryStore
from flask_idlesession import Store
from flask_idlesession.stores.cachelib import CachelibStore
from flask_idlesession.stores.circuit_breaker import CircuitBreaker
from flask_idlesession.stores.contract import Advising
from flask_idlesession.stores.contract import Chunked
from flask_idlesession.stores.contract import Evicting
from flask_idlesession.stores.contract import HasClock
from flask_idlesession.stores.contract import HasFacts
from flask_idlesession.stores.contract import InProcess
from flask_idlesession.stores.contract import Recalling
from flask_idlesession.stores.encrypted import EncryptedStore
from flask_idlesession.stores.journal import JournalStore
from flask_idlesession.stores.redis import RedisStore
from flask_idlesession.stores.sqlalchemy import SQLAlchemyStore
from flask_idlesession.stores.sqlite import SQLiteStore

STORES: list[type[Store]] = [
    MemoryStore,
    JournalStore,
    SQLiteStore,
    SQLAlchemyStore,
    RedisStore,
    CachelibStore,
    EncryptedStore,
    CircuitBreaker,
]

IN_PROCESS: list[type[InProcess]] = [MemoryStore, JournalStore, EncryptedStore, CircuitBreaker]
CHUNKED: list[type[Chunked]] = [
    MemoryStore,
    JournalStore,
    SQLiteStore,
    SQLAlchemyStore,
    RedisStore,
    EncryptedStore,
    CircuitBreaker,
]
RECALLING: list[type[Recalling]] = [RedisStore, EncryptedStore, CircuitBreaker]
EVICTING: list[type[Evicting]] = [RedisStore, EncryptedStore, CircuitBreaker]
ADVISING: list[type[Advising]] = [RedisStore, EncryptedStore, CircuitBreaker]
HAVING_A_CLOCK: list[type[HasClock]] = [RedisStore, EncryptedStore, CircuitBreaker]
HAVING_FACTS: list[type[HasFacts]] = [SQLiteStore, RedisStore, EncryptedStore, CircuitBreaker]
