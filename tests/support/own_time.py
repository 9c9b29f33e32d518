"""Gives one module a time of its own."""

import time
from collections.abc import Callable
from types import ModuleType
from types import SimpleNamespace

import pytest


def give_own_time(patch: pytest.MonkeyPatch, module: ModuleType, **functions: Callable[..., object]) -> None:
    """Replace functions of ``time`` for one module alone: other threads go on waiting and measuring in real time."""
    patch.setattr(module, "time", SimpleNamespace(**{**vars(time), **functions}))
