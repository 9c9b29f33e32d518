"""Waits for what another thread or process does."""

import time
from collections.abc import Callable


def wait_until(is_so: Callable[[], object], what: str = "it is so", *, seconds: float = 30.0) -> None:
    give_up_at = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < give_up_at, f"Not so within {seconds:g} s: {what}"
        time.sleep(0.005)
