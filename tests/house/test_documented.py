"""What is public is documented: names, settings, signals, commands, endpoints, error codes and the words themselves."""

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from blinker import NamedSignal

import flask_idlesession
from flask_idlesession.model import signals
from flask_idlesession.settings.keys import KEYS

CHECKOUT = Path(__file__).parents[2]
DOCS = CHECKOUT / "docs"
PACKAGE = CHECKOUT / "flask_idlesession"


def text_of(page: str) -> str:
    path = DOCS / page
    return path.read_text(encoding="utf-8") if path.exists() else ""


def documented_by(pages: Iterator[Path] | list[Path]) -> set[str]:
    """Return the names that autodoc's directives document on these pages."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    return set(
        re.findall(r"^ *\.\. (?:auto)?(?:class|function|data|exception|decorator)::\s+([\w.]+)", text, re.MULTILINE)
    )


def public_names() -> set[str]:
    """Return the names of the face, as type checkers are told them."""
    tree = ast.parse((PACKAGE / "__init__.pyi").read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return {alias.asname or alias.name for node in imports for alias in node.names}


def test_each_public_name_is_documented() -> None:
    names = documented_by(DOCS.glob("*.rst"))
    missing = {name for name in public_names() if name not in names}
    assert not missing, "Give each of these a directive (autofunction, autoclass …) in docs/api.rst."


def test_each_public_class_and_function_has_a_docstring() -> None:
    bare = {name for name in public_names() if not inspect.getdoc(getattr(flask_idlesession, name))}
    assert not bare, "Say what each of these promises."


def test_each_documented_name_is_there() -> None:
    face = public_names()
    for name in documented_by(DOCS.glob("*.rst")):
        module, _, attribute = name.rpartition(".")
        if name not in face:
            assert hasattr(importlib.import_module(module or "flask_idlesession"), attribute), name


def test_each_signal_is_on_the_page_of_the_signals() -> None:
    sent = {name for name, value in vars(signals).items() if isinstance(value, NamedSignal)}
    assert sent
    missing = sent - documented_by([DOCS / "api.rst"])
    assert not missing, "Give each of these '.. autodata::' under Signals in docs/api.rst."


def test_each_setting_that_a_page_names_is_one() -> None:
    """The page of the settings is made from KEYS; here are the others."""
    for page in [*DOCS.glob("*.rst"), CHECKOUT / "README.rst", CHECKOUT / "CHANGES.rst"]:
        named = set(re.findall(r"\bIDLESESSION_[A-Z_]*[A-Z]\b", page.read_text(encoding="utf-8")))
        assert named <= {*KEYS, *NAMED_AS_WRONG}, page.name


#: Settings that a page names because they are wrong.
NAMED_AS_WRONG: set[str] = set()


# What comes with other rooms.


def commands_of(group: Any, name: str = "flask idlesession") -> Iterator[tuple[str, Any]]:
    for word, command in group.commands.items():
        yield f"{name} {word}", command
        if hasattr(command, "commands"):
            yield from commands_of(command, f"{name} {word}")


def undocumented_commands(group: Any, page: str) -> set[str]:
    """Return what a page does not name in a literal: commands, and their options."""
    missing = set()
    for name, command in commands_of(group):
        if f"``{name}" not in page and f"$ {name}" not in page:
            missing.add(name)
        for option in command.params:
            spelled = [each for each in option.opts if each.startswith("--")]
            missing |= {f"{name} {each}" for each in spelled if not re.search(rf"{re.escape(each)}\b", page)}
    return missing


def test_each_command_is_documented() -> None:
    cli = pytest.importorskip("flask_idlesession.cli", reason="There are no commands yet.")
    assert not undocumented_commands(cli.cli, text_of("commands.rst")), "Name each of these in docs/commands.rst."


def undocumented_endpoints(app: Any, page: str) -> set[str]:
    rules = [rule for rule in app.url_map.iter_rules() if rule.endpoint.startswith("idlesession.")]
    assert rules
    return {rule.endpoint for rule in rules if f"``{rule.endpoint}``" not in page}


def test_each_endpoint_is_documented() -> None:
    pytest.importorskip("flask_idlesession.pages", reason="There are no pages yet.")
    if "IDLESESSION_PAGES" not in KEYS:
        pytest.skip("There are no pages yet.")
    from flask import Flask

    from flask_idlesession import IdleSession

    app = Flask(__name__)
    app.config.update(SECRET_KEY="k" * 32, TESTING=True, IDLESESSION_PAGES="/session")
    if find_spec("prometheus_client") is not None:
        app.config.update(IDLESESSION_METRICS="/metrics", IDLESESSION_METRICS_TOKEN="a-token")
    IdleSession(app, dashboard=lambda: True)
    assert not undocumented_endpoints(app, text_of("endpoints.rst")), "Name each of these in docs/endpoints.rst."


def codes_in(source: str) -> set[str]:
    return set(re.findall(r"\bIS[EWH]\d{3}\b", source))


def test_each_code_of_a_message_is_documented_and_no_other_is() -> None:
    used = {code for path in PACKAGE.rglob("*.py") for code in codes_in(path.read_text(encoding="utf-8"))}
    if not used:
        pytest.skip("Messages have no codes yet.")
    assert used == codes_in(text_of("errors.rst"))


# The comparisons can fail.


def test_a_missing_command_or_option_is_seen() -> None:
    import click

    group = click.Group("idlesession")
    group.add_command(click.Command("list", params=[click.Option(["--user"]), click.Option(["-n", "--limit"])]))
    page = "``flask idlesession list --user ada``"
    assert undocumented_commands(group, page) == {"flask idlesession list --limit"}
    assert undocumented_commands(group, f"{page} ``--limit``") == set()
    assert undocumented_commands(group, "--user --limit") == {"flask idlesession list"}


def test_a_missing_endpoint_is_seen() -> None:
    from flask import Blueprint
    from flask import Flask

    app, blueprint = Flask(__name__), Blueprint("idlesession", __name__)
    blueprint.add_url_rule("/status", "status", lambda: "")
    blueprint.add_url_rule("/touch", "touch", lambda: "")
    app.register_blueprint(blueprint)
    assert undocumented_endpoints(app, "``idlesession.status``") == {"idlesession.touch"}


def test_a_code_is_seen() -> None:
    assert codes_in('raise E("ISE001", "ISW020x", "ISW021: …")') == {"ISE001", "ISW021"}


# The words.


def glossary() -> dict[str, str]:
    """Return what each word means."""
    entries = re.findall(r"^   (\S.*)\n((?:      .*\n|\n)+)", text_of("glossary.rst"), re.MULTILINE)
    return {word: " ".join(meaning.split()) for word, meaning in entries}


def test_a_word_has_one_meaning_in_whole_sentences() -> None:
    words = re.findall(r"^   (\S.*)\n", text_of("glossary.rst"), re.MULTILINE)
    assert len(words) == len(set(words)) == len(glossary()) > 50
    for word, meaning in glossary().items():
        assert meaning.endswith("."), word
        assert meaning[0].isupper() or meaning[0].isdigit(), word


def test_a_word_that_the_glossary_refuses_is_no_word_of_its_own() -> None:
    refused = {
        word.strip().lower()
        for meaning in glossary().values()
        for words in re.findall(r"Not: ([^.]*?)(?:, which [^.]*)?\.", meaning)
        for word in words.split(",")
    }
    assert {"ttl", "backend", "kill", "claim"} <= refused
    assert not refused & {word.lower() for word in glossary()}
