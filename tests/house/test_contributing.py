"""The files for those who join say what is there: commands, paths, Pythons, and nobody's address."""

import configparser
import os
import re
import runpy
import tomllib
from pathlib import Path
from typing import Any

import pytest

yaml = __import__("yaml") if os.environ.get("CI") == "true" else pytest.importorskip("yaml")

CHECKOUT = Path(__file__).parents[2]
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]

CONTRIBUTING = (CHECKOUT / "CONTRIBUTING.rst").read_text(encoding="utf-8")
SECURITY = (CHECKOUT / "SECURITY.md").read_text(encoding="utf-8")

WORKFLOWS = {path.stem: yaml.safe_load(path.read_text()) for path in (CHECKOUT / ".github/workflows").glob("*.yml")}
FORMS = sorted((CHECKOUT / ".github/ISSUE_TEMPLATE").glob("*.yml"))


def jobs() -> list[tuple[str, dict[str, Any]]]:
    return [(f"{name}: {job}", what) for name, workflow in WORKFLOWS.items() for job, what in workflow["jobs"].items()]


def steps() -> list[dict[str, Any]]:
    return [step for _, job in jobs() for step in job["steps"]]


def commands() -> str:
    """Return everything that a reader of CONTRIBUTING.rst types, and everything that the workflows run."""
    typed = re.findall(r"^    \$ (.*)$", CONTRIBUTING, re.MULTILINE)
    return "\n".join([*typed, *(step["run"] for step in steps() if "run" in step)])


def test_there_are_commands_to_look_at() -> None:
    assert len(commands().splitlines()) > 20


def test_a_command_names_extras_that_there_are() -> None:
    named = {name for extras in re.findall(r"\.\[([\w,]+)\]", commands()) for name in extras.split(",")}
    assert {"test", "lint", "docs", "bench"} <= named <= set(EXTRAS)


def test_a_command_names_files_that_there_are() -> None:
    named = set(re.findall(r"(?<![\w./])((?:tests|docs|\.ci|\.github)(?:/[\w.-]+)*)", commands()))
    assert {"tests/sessions", ".ci/run", "docs"} <= named
    assert not {path for path in named if not (CHECKOUT / path).exists()} - {"docs/_build"}


@pytest.mark.parametrize("text", [CONTRIBUTING, SECURITY], ids=["CONTRIBUTING.rst", "SECURITY.md"])
def test_a_page_names_files_that_there_are(text: str) -> None:
    named = set(re.findall(r"`((?:tests|docs|flask_idlesession|\.ci)/[\w./-]+|[A-Z]+\.\w+)`", text))
    assert named
    assert not {path for path in named if not (CHECKOUT / path).exists()}


def test_what_documents_and_tests_need_is_in_the_extra_of_the_tests() -> None:
    assert set(EXTRAS["docs"]) <= set(EXTRAS["test"])


def test_the_workflow_tries_each_python_that_the_package_says_it_runs_on() -> None:
    prefix = "Programming Language :: Python :: "
    versions = [word.removeprefix(prefix) for word in PROJECT["classifiers"] if word.startswith(f"{prefix}3.")]
    assert WORKFLOWS["tests"]["jobs"]["python"]["strategy"]["matrix"]["python"] == versions
    assert PROJECT["requires-python"] == f">={versions[0]}"


def test_each_job_runs_something_and_ends_in_time() -> None:
    for name, job in jobs():
        assert job["timeout-minutes"] <= 90, name
        assert any("run" in step or "publish" in step.get("uses", "") for step in job["steps"]), name


def test_no_workflow_may_write_and_only_the_release_has_an_identity() -> None:
    assert WORKFLOWS["tests"]["permissions"] == {"contents": "read"}
    assert WORKFLOWS["release"]["permissions"] == {}
    granted = {name: job["permissions"] for name, job in jobs() if "permissions" in job}
    assert granted == {"release: build": {"contents": "read"}, "release: publish": {"id-token": "write"}}
    for path in (CHECKOUT / ".github/workflows").glob("*.yml"):
        assert "secrets." not in path.read_text(), "A trusted publisher needs no password."


def test_an_action_is_fixed_to_a_commit() -> None:
    used = {step["uses"] for step in steps() if "uses" in step}
    loose = {name for name in used if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", name)}
    assert loose == {"pypa/gh-action-pypi-publish@release/v1"}, "Its makers say that this branch is the release."


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_a_form_asks_for_what_an_answer_needs(path: Path) -> None:
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    if path.name == "config.yml":
        assert form == {"blank_issues_enabled": True}
        return
    assert {"name", "description", "labels", "body"} == form.keys()
    asked = [field for field in form["body"] if field["type"] != "markdown"]
    assert len({field["id"] for field in asked}) == len(asked)
    assert any(field["validations"]["required"] for field in asked)


def test_the_hooks_use_the_tools_that_the_extra_installs() -> None:
    (repository,) = yaml.safe_load((CHECKOUT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    tools = {hook["entry"].split()[0] for hook in repository["hooks"]}
    assert tools == {re.split(r"[^\w-]", line)[0] for line in EXTRAS["lint"]}


@pytest.mark.parametrize("name", ["SECURITY.md", "CONTRIBUTING.rst", ".github"])
def test_no_address_is_made_up(name: str) -> None:
    path = CHECKOUT / name
    for file in [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]:
        assert not re.findall(r"https?://|\w@\w+\.\w", file.read_text(encoding="utf-8")), file


def test_the_type_checker_reads_the_package_the_example_and_what_users_are_told_strictly() -> None:
    setup = configparser.ConfigParser()
    setup.read(CHECKOUT / "setup.cfg")
    assert setup["mypy"]["files"].split(", ") == ["flask_idlesession", "example_app", "tests/typing"]
    assert setup.getboolean("mypy", "strict")
    assert list((CHECKOUT / "tests/typing").glob("*.py"))


# The lowest versions.


def lowest(**extras: list[str]) -> dict[str, str]:
    project = {"dependencies": ["Flask>=3.0"], "optional-dependencies": extras}
    found: dict[str, str] = runpy.run_path(str(CHECKOUT / ".github/lowest.py"))["lowest"](project)
    return found


def test_the_lowest_version_of_each_dependency_is_told() -> None:
    told = lowest(redis=["redis>=5.0.1"], jwt=["PyJWT[crypto]>=2.8; python_version > '3'"], test=["pytest>=8"])
    assert {"Flask": "3.0", "redis": "5.0.1", "PyJWT": "2.8"}.items() <= told.items()
    assert "pytest" not in told


def test_a_dependency_without_a_lower_bound_is_an_error() -> None:
    with pytest.raises(SystemExit, match="pyproject.toml has 'redis'"):
        lowest(redis=["redis"])


def test_no_dependency_has_an_upper_bound() -> None:
    lines = [*PROJECT["dependencies"], *(line for name in EXTRAS if name != "bench" for line in EXTRAS[name])]
    assert not [line for line in lines if re.search(r"<|~=|==\d", line.partition(";")[0])]
