"""The memory store with a journal on disk."""

from .store import JournalStore as JournalStore
