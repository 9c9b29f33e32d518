"""Runs these benchmarks with the package of another checkout: whichever it is, it is asked the same."""

import sys
from importlib import import_module
from pathlib import Path

from ..programs import ROOT

_CODE = """
import sys
sys.path.insert(0, sys.argv[1])
import benchmarks
sys.path.insert(0, sys.argv[2])
from benchmarks.tools.trees import serve
serve(*sys.argv[2:])
"""


def command(tree: Path, module: str, *arguments: str) -> list[str]:
    """Return the command that calls the module's ``serve`` with these arguments, and that tree's package."""
    return [sys.executable, "-c", _CODE, str(ROOT), str(tree), module, *arguments]


def serve(tree: str, module: str, *arguments: str) -> None:
    """Do what :func:`command` said, in the process that it started."""
    import flask_idlesession

    if Path(flask_idlesession.__file__).parent.parent != Path(tree):
        raise RuntimeError(f"The package is from {flask_idlesession.__file__}, not from {tree}.")
    import_module(f"benchmarks.{module}").serve(*arguments)
