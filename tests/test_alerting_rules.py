"""The alerting rules ask for metrics and labels that there are, and a document names each rule."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
import yaml

from infra.runtime.metrics import Metrics
from infra.runtime.process import Runtime
from infra.runtime.settings import RuntimeSettings
from processors.meters import Meters
from producers.metrics import ProducerMetrics
from sinks.metrics import SinkMetrics
from sinks.notify.metrics import NotifyMetrics

CHECKOUT = Path(__file__).parents[1]
GROUPS = yaml.safe_load((CHECKOUT / "infra/prometheus/rules.yaml").read_text())["groups"]
RULES = {rule["alert"]: rule for group in GROUPS for rule in group["rules"]}
SCRAPED = {"job", "instance"}
"""Labels that Prometheus adds."""
ENDS = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}


@pytest.fixture(scope="module")
def known() -> dict[str, set[str]]:
    """Every sample that a process may show, with its labels."""
    found = {"up": SCRAPED, "md_check_state": {"page", "check"} | SCRAPED}
    for make in (ProducerMetrics, Meters, SinkMetrics, NotifyMetrics):
        metrics = Metrics("test")
        make(metrics)
        found |= dict(_samples(metrics))
    return found | dict(_samples(asyncio.run(_running())))


async def _running() -> Metrics:
    async with Runtime("test", RuntimeSettings(health_port=-1)) as runtime:
        await asyncio.sleep(0)
    return runtime.metrics


def _samples(metrics: Metrics) -> Iterator[tuple[str, set[str]]]:
    for collector in metrics.registry._collector_to_names:
        labels = {*getattr(collector, "_labelnames", ()), *SCRAPED}
        for family in collector.collect():
            for end in ENDS.get(family.type, [""]):
                yield family.name + end, labels | ({"le"} if end == "_bucket" else set())


@pytest.mark.parametrize("name", RULES)
def test_rule_asks_for_what_processes_show(name: str, known: dict[str, set[str]]) -> None:
    expression = promql.parse(RULES[name]["expr"])

    found = _selectors(expression)
    assert found
    for selector in found:
        assert selector.name in known
        assert {each.name for each in selector.matchers.matchers} <= known[selector.name]
    for kept, aggregate in _aggregates(expression):
        assert all(kept <= known[str(each.name)] for each in _selectors(aggregate))


@pytest.mark.parametrize("name", RULES)
def test_text_of_a_rule_names_labels_that_its_result_has(
    name: str, known: dict[str, set[str]]
) -> None:
    rule = RULES[name]
    expression = promql.parse(rule["expr"])
    labels = set.intersection(*(known[str(each.name)] for each in _selectors(expression)))
    for kept, _ in _aggregates(expression):
        labels &= kept

    text = " ".join(rule["annotations"].values())
    assert set(re.findall(r"\$labels\.(\w+)", text)) <= labels
    assert set(rule["annotations"]) == {"summary", "description"}
    assert rule["labels"] in ({"severity": "critical"}, {"severity": "warning"})


def test_document_says_of_every_rule_what_to_do() -> None:
    text = (CHECKOUT / "docs" / "deployment.md").read_text()

    assert re.findall(r"^\| `(Streamgauge\w+)` \| .+ \| .+ \|$", text, re.M) == list(RULES)


def _selectors(expression: promql.Expr) -> list[promql.VectorSelector]:
    return [node for node in _nodes(expression) if isinstance(node, promql.VectorSelector)]


def _aggregates(expression: promql.Expr) -> Iterator[tuple[set[str], promql.Expr]]:
    """Yield aggregations with the labels that they keep."""
    for node in _nodes(expression):
        if isinstance(node, promql.AggregateExpr):
            assert node.modifier is not None
            yield set(node.modifier.labels), node


def _nodes(node: Any) -> Iterator[Any]:
    """Yield an expression and all in it."""
    yield node
    for name in ("lhs", "rhs", "expr", "vector_selector", "args"):
        value = getattr(node, name, None)
        for child in value if isinstance(value, list) else [value]:
            if child is not None:
                yield from _nodes(child)
