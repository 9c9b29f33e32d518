"""Leads references to their pages: ours to the face, others to their makers, without asking a network."""

import builtins
import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import flask
from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.pycode import ModuleAnalyzer

import flask_idlesession

_PYTHON = "https://docs.python.org/3/library"
_FLASK = "https://flask.palletsprojects.com/en/stable/api"


def address_of(name: str) -> str | None:
    """Return the page of a name of Python's library or of Flask; None for any other."""
    module, _, last = name.rpartition(".")
    if not module and hasattr(builtins, last):
        value = getattr(builtins, last)
        is_error = isinstance(value, type) and issubclass(value, BaseException)
        return f"{_PYTHON}/{'exceptions' if is_error else 'functions'}.html#{last}"
    if module.partition(".")[0] == "flask" and hasattr(flask, last):
        return f"{_FLASK}/#flask.{last}"
    if module.partition(".")[0] == "flask" and hasattr(import_module(module), last):
        return f"{_FLASK}/#{name}"
    if module.partition(".")[0] in sys.stdlib_module_names:
        return f"{_PYTHON}/{module}.html#{name}"
    return None


#: Packages whose classes are shown without a link.
_OTHERS = ("blinker.", "redis.", "sqlalchemy.", "werkzeug.")


def is_plain(name: str, content: nodes.Node) -> bool:
    """Return whether a name is shown without a link: another package's, or a signature's short name for a type."""
    is_in_signature = not isinstance(content, nodes.literal)
    last = name.rpartition(".")[2]
    return name.startswith(_OTHERS) or is_in_signature and (last.startswith("_") or "." not in name)


def resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement) -> nodes.Node | None:
    """Answer Sphinx's question for a Python name that no page defines under this name."""
    if node.get("refdomain") != "py":
        return None
    name: str = node["reftarget"]
    ours = _ours(env, name)
    if ours is not None:
        return env.domains["py"].resolve_xref(env, node["refdoc"], app.builder, "obj", ours, node, content)
    address = address_of(name)
    if address is not None:
        return nodes.reference("", "", content, internal=False, refuri=address)
    return content if is_plain(name, content) else None


def _ours(env: BuildEnvironment, name: str) -> str | None:
    """Return the one documented object with this last name: the modules that define it are the package's own affair."""
    if "." in name and not name.startswith("flask_idlesession."):
        return None
    documented: dict[str, Any] = env.domains["py"].objects  # type: ignore[attr-defined]
    last = name.rpartition(".")[2]
    found = [full for full, entry in documented.items() if full.rpartition(".")[2] == last and not entry.aliased]
    return found[0] if len(found) == 1 and found[0] != name else None


def take_comment(app: Sphinx, what: str, name: str, value: object, options: object, lines: list[str]) -> None:
    """Document a value of the face by the comment (``#:``) above it in the module that defines it."""
    public = name.removeprefix("flask_idlesession.")
    if what == "data" and public in flask_idlesession.__all__:
        lines[:] = ModuleAnalyzer.for_module(home_of(public)).find_attr_docs().get(("", public), [])


def home_of(public: str) -> str:
    """Return the module that defines a public name, as the face tells type checkers."""
    face = Path(flask_idlesession.__file__).with_suffix(".pyi").read_text(encoding="utf-8")
    (home,) = re.findall(rf"^from (\S+) import {public}\b", face, re.MULTILINE)
    return f"flask_idlesession{home}"


def setup(app: Sphinx) -> dict[str, Any]:
    """Tell Sphinx of the above."""
    app.connect("missing-reference", resolve)
    app.connect("autodoc-process-docstring", take_comment)
    return {"parallel_read_safe": True}
