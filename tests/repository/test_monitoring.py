"""Dashboards and alert rules ask for figures that exist, with labels they have."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from taskdb_beat.command import loops_of, schedule_loop
from taskdb_beat.observation.catalog import METRICS, Metric

ROOT = Path(__file__).parents[2]
BOARDS = sorted((ROOT / "deploy" / "grafana").glob("*.json"))
RULES = sorted((ROOT / "deploy" / "prometheus").glob("*.rules.yml"))
UPKEEP = {"prune", "prune_alarms", "sweep", "upkeep"}
TARGET_LABELS = {"instance", "job"}
"""What Prometheus itself adds to every series."""


def series() -> dict[str, Metric]:
    """Every name that can be asked for."""
    found: dict[str, Metric] = {}
    for metric in METRICS:
        parts = ("_bucket", "_count", "_sum") if metric.kind == "histogram" else ("",)
        found |= {f"{metric.shown}{part}": metric for part in parts}
    return found


SERIES = series()


def labels_of(name: str) -> set[str]:
    le = {"le"} if name.endswith("_bucket") else set()
    return set(SERIES[name].labels) | le | TARGET_LABELS


def rules() -> list[dict[str, Any]]:
    found = [yaml.safe_load(path.read_text()) for path in RULES]
    return [rule for file in found for group in file["groups"] for rule in group["rules"]]


def panels() -> list[tuple[str, dict[str, Any]]]:
    found = [(path.stem, json.loads(path.read_text())) for path in BOARDS]
    return [(name, panel) for name, board in found for panel in board["panels"]]


def expressions() -> list[str]:
    shown = [target["expr"] for _, panel in panels() for target in panel.get("targets", [])]
    return [*shown, *(rule["expr"] for rule in rules())]


def parsed(expression: str) -> Any:
    """Its tree; raises ValueError for what is no PromQL."""
    filled = (
        expression.replace("$__rate_interval", "5m").replace("$queue", "q").replace("$type", "t")
    )
    assert "$" not in filled, expression
    return promql_parser.parse(filled)


def walk(tree: Any) -> Iterator[Any]:
    """A node and all below it."""
    yield tree
    for name in ("expr", "lhs", "rhs", "param", "vector_selector"):
        below = getattr(tree, name, None)
        if below is not None:
            yield from walk(below)
    for argument in getattr(tree, "args", None) or ():
        yield from walk(argument)


def selectors(tree: Any) -> list[Any]:
    return [node for node in walk(tree) if isinstance(node, promql_parser.VectorSelector)]


def faults_of(expression: str) -> list[str]:
    """What an expression asks for that is not there."""
    tree = parsed(expression)
    found = selectors(tree)
    faults = [f"no figure {one.name}" for one in found if one.name not in SERIES]
    for one in (one for one in found if one.name in SERIES):
        asked = {matcher.name for matcher in one.matchers.matchers}
        faults += [f"{one.name} has no {label}" for label in asked - labels_of(one.name)]
    for node in walk(tree):
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            names = {one.name for one in selectors(node.expr) if one.name in SERIES}
            for name in names:
                unknown = set(node.modifier.labels) - labels_of(name)
                faults += [f"{name} has no {label} to group by" for label in unknown]
    return [*faults, *([] if found else ["it asks for nothing"])]


@pytest.mark.parametrize("expression", expressions())
def test_an_expression_asks_for_what_is_there(expression: str) -> None:
    assert faults_of(expression) == []


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("taskdb_nothing", "no figure taskdb_nothing"),
        ("taskdb_retries", "no figure taskdb_retries"),
        ('taskdb_queue_workers{tenant="a"}', "taskdb_queue_workers has no tenant"),
        ("sum by (le) (taskdb_workers)", "taskdb_workers has no le to group by"),
        ("1 + 1", "it asks for nothing"),
    ],
)
def test_what_is_not_there_is_found(expression: str, fault: str) -> None:
    assert faults_of(expression) == [fault]


def test_what_is_no_expression_is_found() -> None:
    with pytest.raises(ValueError, match="unclosed"):
        parsed("sum by (taskdb_workers")


def test_every_figure_is_shown_somewhere() -> None:
    asked = {one.name for text in expressions() for one in selectors(parsed(text))}
    shown = {SERIES[name].name for name in asked}
    assert {metric.name for metric in METRICS} == shown


def test_a_legend_names_labels_that_its_expression_keeps() -> None:
    for _, panel in panels():
        for target in panel.get("targets", []):
            kept = set(re.findall(r"by \(([^)]*)\)", target["expr"]))
            grouped = {label.strip() for labels in kept for label in labels.split(",")}
            assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= grouped, target


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.name)
def test_a_dashboard_can_be_imported(path: Path) -> None:
    board = json.loads(path.read_text())
    assert board["uid"] == path.stem
    assert board["templating"]["list"][0]["type"] == "datasource"
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    places = [panel["gridPos"] for panel in board["panels"]]
    cells = [
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells), "panels lie over each other"
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for panel in board["panels"]:
        assert panel["title"]
        sources = [panel.get("datasource"), *(t["datasource"] for t in panel.get("targets", []))]
        assert all(one is None or one["uid"] == "${datasource}" for one in sources)


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_what_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning"}
    said = rule["annotations"]
    assert said["summary"].endswith(".") and len(said["summary"]) < 120
    for label in re.findall(r"\$labels\.(\w+)", said["summary"]):
        assert re.search(rf"by \([^)]*\b{label}\b", rule["expr"]), label
    page, _, anchor = said["runbook_url"].partition("#")
    headings = re.findall(r"^## (.+)$", (ROOT / page).read_text(), re.MULTILINE)
    assert anchor == rule["alert"].lower()
    assert rule["alert"] in headings
    assert re.fullmatch(r"\d+m", rule.get("for", "1m"))


def test_every_page_of_the_runbook_belongs_to_an_alert() -> None:
    headings = re.findall(
        r"^## (.+)$", (ROOT / "docs" / "runbook" / "alerts.md").read_text(), re.MULTILINE
    )
    assert headings == [rule["alert"] for rule in rules()]


def test_rules_that_name_loops_name_those_that_are_there(tmp_path: Path) -> None:
    from taskdb import Settings, TaskDB  # noqa: PLC0415 - for this one look

    with TaskDB(Settings(data_dir=tmp_path)) as taskdb:
        known = {loop.name for loop in [*loops_of(taskdb), schedule_loop(taskdb)]}
    named = {
        word
        for rule in rules()
        for words in re.findall(r'loop!?=~"([^"]*)"', rule["expr"])
        for word in words.split("|")
    }
    assert named and named <= known
    page = (ROOT / "docs" / "runbook" / "alerts.md").read_text()
    assert all(re.search(rf"\b{name}\b", page) for name in known - UPKEEP)
