"""Knows how to start processes in no time: they are forked off one that has imported what most of them need."""

import multiprocessing
from multiprocessing.context import ForkServerContext

#: What takes long to import, and starts no thread. What is not installed is left out.
_NEEDED = ["flask", "hypothesis", "pymysql", "psycopg", "pytest", "redis", "sqlalchemy", "valkey"]


def quick_context() -> ForkServerContext:
    """Return by what to start them; each is as fresh as one that is spawned, and shares no lock with this one."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_NEEDED)
    return context
