"""The store of one process, in its memory."""

from .store import MemoryStore as MemoryStore
