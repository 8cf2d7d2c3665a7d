"""The alerts that fire on given samples: the part of PromQL that the rules are written in.

A sample of a counter is by how much it grew within the window.
"""

import operator
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import promql_parser
import yaml

Labels = frozenset[tuple[str, str]]
Vector = dict[Labels, float]
Samples = Mapping[str, Mapping[Labels, float]]

ROOT = Path(__file__).parents[2]
RULES = yaml.safe_load((ROOT / "deploy/prometheus/taskdb.rules.yml").read_text())
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    "<": operator.lt,
    "==": operator.eq,
    ">=": operator.ge,
}
_ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "/": lambda a, b: a / b if b else float("nan"),
}
_AGGREGATE: dict[str, Callable[[list[float]], float]] = {"sum": sum, "max": max, "min": min}


def firing(samples: Samples) -> dict[str, Vector]:
    """The alerts whose expression gives something, as if it had done so for long enough."""
    given = {
        rule["alert"]: value_of(promql_parser.parse(rule["expr"]), samples)
        for group in RULES["groups"]
        for rule in group["rules"]
    }
    return {name: value for name, value in given.items() if value}


def labeled(**labels: str) -> Labels:
    return frozenset(labels.items())


def value_of(node: Any, samples: Samples) -> Any:
    """The value of an expression: a number or a vector."""
    match type(node).__name__:
        case "NumberLiteral":
            return node.val
        case "ParenExpr":
            return value_of(node.expr, samples)
        case "VectorSelector":
            found = samples.get(node.name, {})
            return {labels: value for labels, value in found.items() if _fits(node, labels)}
        case "Call":
            return _call(node, samples)
        case "AggregateExpr":
            kept = set(node.modifier.labels) if node.modifier else set()
            groups: dict[Labels, list[float]] = {}
            for labels, value in value_of(node.expr, samples).items():
                key = frozenset(pair for pair in labels if pair[0] in kept)
                groups.setdefault(key, []).append(value)
            return {key: _AGGREGATE[str(node.op)](values) for key, values in groups.items()}
        case "BinaryExpr":
            left, right = value_of(node.lhs, samples), value_of(node.rhs, samples)
            return _binary(str(node.op), left, right)
    raise NotImplementedError(type(node).__name__)


def _call(node: Any, samples: Samples) -> Vector:
    (argument,) = node.args
    if node.func.name == "absent":
        return {} if value_of(argument, samples) else {frozenset(): 1.0}
    grown: Vector = value_of(argument.vector_selector, samples)
    seconds = argument.range.total_seconds()
    assert node.func.name in {"rate", "increase"}
    return {k: v / seconds for k, v in grown.items()} if node.func.name == "rate" else grown


def _binary(op: str, left: Vector, right: Any) -> Vector:
    def other(key: Labels) -> float | None:
        value: float | None = right.get(key) if isinstance(right, dict) else right
        return value

    if op == "and":
        return {key: value for key, value in left.items() if key in right}
    if op == "unless":
        return {key: value for key, value in left.items() if key not in right}
    if op == "or":
        return {**right, **left}
    pairs = {key: (value, b) for key, value in left.items() if (b := other(key)) is not None}
    if op in _COMPARE:
        return {key: a for key, (a, b) in pairs.items() if _COMPARE[op](a, b)}
    return {key: _ARITHMETIC[op](a, b) for key, (a, b) in pairs.items()}


def _fits(node: Any, labels: Labels) -> bool:
    given = dict(labels)
    for one in node.matchers.matchers:
        value, kind = given.get(one.name, ""), str(one.op).rsplit(".", 1)[-1]
        is_same = value == one.value if kind in {"Equal", "NotEqual"} else None
        if is_same is None:
            is_same = re.fullmatch(one.value, value) is not None
        if is_same == (kind in {"NotEqual", "NotRe"}):
            return False
    return True
