"""The page of the settings: each key once, with an example that works as it stands."""

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_idlesession.settings.keys import KEYS
from flask_idlesession.settings.keys import read_settings

sys.path.insert(0, str(Path(__file__).parents[2] / "docs/extensions"))
import setting_examples as page

EXAMPLES = {key: value for group in page.GROUPS for key, value in group["examples"].items()}


def test_each_setting_has_an_example() -> None:
    assert set(EXAMPLES) == set(KEYS), "Add the key and an example to a group of docs/settings.toml."


def test_no_setting_is_on_the_page_twice() -> None:
    assert sum(len(group["examples"]) for group in page.GROUPS) == len(EXAMPLES)


@pytest.mark.parametrize(("key", "value"), EXAMPLES.items())
def test_an_example_is_accepted_and_is_not_the_default(key: str, value: Any) -> None:
    read_settings({"SECRET_KEY": "k" * 32, **{other: EXAMPLES[other] for other in NEEDS.get(key, ())}, key: value})
    assert value != KEYS[key][0], "The example of docs/settings.toml must differ from the default."


#: Settings that another one needs beside it.
NEEDS = {"IDLESESSION_CLAIMS": ["IDLESESSION_CLAIMS_KEY"], "IDLESESSION_CLAIMS_KEY": ["IDLESESSION_CLAIMS"]}


@pytest.mark.parametrize(("key", "value"), EXAMPLES.items())
def test_an_example_means_the_same_in_python_and_in_the_environment(
    key: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [line.strip() for line in page.lines_of({"examples": {key: value}})]
    (in_python,) = (line for line in lines if line.startswith("app.config"))
    (exported,) = (line for line in lines if line.startswith("FLASK_"))
    assert ast.literal_eval(in_python.partition(" = ")[2]) == value
    script = f"export {exported}; printenv FLASK_{key}"
    monkeypatch.setenv(f"FLASK_{key}", subprocess.check_output(["sh", "-c", script], text=True).removesuffix("\n"))
    app = Flask(__name__)
    app.config.from_prefixed_env()
    assert app.config[key] == value
