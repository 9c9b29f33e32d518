"""The files beside the page of the metrics: rules for Prometheus and a board for Grafana, as their users take them."""

import re
import subprocess

import pytest
from flask import Flask
from support.documents import CHECKOUT
from support.grafana_board import board
from support.grafana_board import FOLDER
from support.grafana_board import queries
from support.programs import find_program
from support.programs import need_packages

from flask_idlesession import IdleSession
from flask_idlesession import log_in

TOKEN = "rlQYB5dMHQ1p0yM2uKc6b3Gm8eTFkX0y"


@pytest.mark.parametrize("command", [["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]])
def test_promtool_finds_nothing_wrong_with_the_rules(command: list[str]) -> None:
    done = subprocess.run([find_program("promtool"), *command], cwd=FOLDER, capture_output=True, text=True)
    assert done.returncode == 0 and "SUCCESS" in done.stdout + done.stderr, done.stdout + done.stderr


def test_each_alert_is_tried_by_the_tests_of_the_rules() -> None:
    yaml = pytest.importorskip("yaml")
    rules = [rule for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"] for rule in group["rules"]]
    tried = yaml.safe_load((FOLDER / "alerts_test.yml").read_text())["tests"]
    fired = {each["alertname"] for test in tried for each in test["alert_rule_test"] if each.get("exp_alerts")}
    assert fired == {rule["alert"] for rule in rules}
    for rule in rules:
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert rule["annotations"]["summary"] and rule["annotations"]["description"]


def test_promtool_finds_nothing_wrong_with_the_figures() -> None:
    need_packages("prometheus_client")
    app = Flask("tried")
    app.config.update(SECRET_KEY="c2b1a0f0ff35dd8a1b0a6fd8f5a3a3f1", TESTING=True)
    app.config.update(IDLESESSION_METRICS="/metrics", IDLESESSION_METRICS_TOKEN=TOKEN)
    IdleSession(app)
    app.add_url_rule("/in", view_func=lambda: log_in("ada") or "")
    app.test_client().get("/in")
    text = app.test_client().get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).text
    assert 'idlesession_store_seconds_bucket{le="+Inf",verb="create"} 1.0' in text
    done = subprocess.run([find_program("promtool"), "check", "metrics"], input=text, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# The board.


def test_the_board_and_the_rules_ask_only_for_figures_that_there_are() -> None:
    named = set(re.findall(r"\bidlesession_\w+", (FOLDER / "alerts.yml").read_text() + " ".join(queries())))
    page = (CHECKOUT / "docs" / "metrics.rst").read_text()
    listed = set(re.findall(r"^   \* - ``(idlesession_\w+)", page, re.MULTILINE))
    families = {re.sub(r"_(bucket|count|sum)$", "", name) for name in named}
    assert families == listed, "Each figure of the page is on the board or in a rule, and no other is."


def test_the_panels_of_the_board_do_not_overlap_and_each_says_what_it_shows() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in board()["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken and place["x"] + place["w"] <= 24
        taken |= cells
        assert panel["title"] and panel["description"] and panel["datasource"]["uid"] == "${datasource}"
        assert panel["fieldConfig"]["defaults"]["unit"]
    assert len({panel["id"] for panel in board()["panels"]}) == len(board()["panels"])
