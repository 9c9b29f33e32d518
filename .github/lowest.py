"""Prints the lowest version that pyproject.toml allows of each dependency of the package, as pip's constraints."""

import re
import tomllib
from pathlib import Path

#: The extras of those who work on the package: what a user never installs may be as new as it likes.
FOR_DEVELOPERS = {"test", "bench", "docs", "lint"}

#: Packages that this one imports by way of Flask, at the lowest versions that Flask 3.0 takes.
OF_FLASK = {"Werkzeug": "3.0.0", "blinker": "1.6.2", "click": "8.1.3"}


def lowest(project: dict) -> dict[str, str]:
    """Return the lowest version of each requirement, by the name of its distribution."""
    extras = project["optional-dependencies"]
    wanted = list(project["dependencies"])
    for name in extras.keys() - FOR_DEVELOPERS:
        wanted += extras[name]
    found = dict(OF_FLASK)
    for line in wanted:
        match = re.match(r"([\w.-]+)(?:\[[\w,-]+\])?>=([\w.]+)", line)
        if match is None:
            raise SystemExit(f"pyproject.toml has {line!r}; write its lower bound first, as in 'name>=1.2'.")
        found[match[1]] = match[2]
    return dict(sorted(found.items()))


if __name__ == "__main__":
    with (Path(__file__).parents[1] / "pyproject.toml").open("rb") as file:
        for name, version in lowest(tomllib.load(file)["project"]).items():
            print(f"{name}=={version}")
