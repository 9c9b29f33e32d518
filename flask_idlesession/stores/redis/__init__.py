"""The store of many hosts, in Redis or Valkey."""

from .store import RedisStore as RedisStore
