"""The store of the workers of one host, in one SQLite file."""

from .store import SQLiteStore as SQLiteStore
