"""Reads the board of Grafana that the docs have, as tests ask its queries."""

import json
from typing import Any

from support.documents import CHECKOUT

#: The files beside the page of the metrics.
FOLDER = CHECKOUT / "docs" / "operate"


def board() -> dict[str, Any]:
    told: dict[str, Any] = json.loads((FOLDER / "grafana.json").read_text())
    return told


def queries() -> list[str]:
    """Return each query of the board, as Grafana sends it: for all applications, and over a short while."""
    found = [target["expr"] for panel in board()["panels"] for target in panel["targets"]]
    return [each.replace("$job", ".*").replace("$__rate_interval", "15s") for each in found]
