"""What an expression asks for, read from its tree: the metrics, and the labels that its result can have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import promql_parser as promql

Labels = frozenset[str]
_NO_LABELS: Final = {"absent", "scalar", "vector", "time"}
_KEEPS: Final = {"topk", "bottomk"}
_SETS: Final = {"and", "or", "unless"}
_GRAFANA: Final = {"$__rate_interval": "5m", "$__interval": "1m", "$__range": "1h", "$window": "hour"}
"""Grafana's variables and those of the dashboard, as they may be filled in."""


class Unknown(AssertionError):
    """A metric or a label that nobody exports."""


def parsed(text: str) -> promql.Expr:
    """Parse an expression, with Grafana's variables filled in. Raises ValueError where it is none."""
    for name, value in _GRAFANA.items():
        text = text.replace(name, value)
    assert "$" not in text, f"a variable that is not known: {text}"
    return promql.parse(text)


def labels_of(node: Any, known: Mapping[str, Labels]) -> Labels:
    """Give the labels that a result may have. Raises Unknown where a name is not in `known` or a label not there."""
    match node:
        case promql.VectorSelector():
            return _of_selector(node, known)
        case promql.MatrixSelector():
            return _of_selector(node.vector_selector, known)
        case promql.NumberLiteral() | promql.StringLiteral():
            return frozenset()
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            return labels_of(node.expr, known)
        case promql.AggregateExpr():
            return _of_aggregate(node, known)
        case promql.BinaryExpr():
            return _of_binary(node, known)
        case promql.Call():
            inner = [labels_of(argument, known) for argument in node.args]
            together = frozenset().union(*inner)
            if node.func.name == "histogram_quantile":
                if "le" not in together:
                    raise Unknown(f"no buckets: {node.prettify()}")
                return together - {"le"}
            return frozenset() if node.func.name in _NO_LABELS else together
    raise Unknown(f"{type(node).__name__} is not understood: {node.prettify()}")


def _of_selector(node: promql.VectorSelector, known: Mapping[str, Labels]) -> Labels:
    if node.name not in known:
        raise Unknown(f"nobody exports {node.name}")
    labels = known[node.name]
    _demand({matcher.name for matcher in node.matchers.matchers}, labels, node)
    return labels


def _of_aggregate(node: promql.AggregateExpr, known: Mapping[str, Labels]) -> Labels:
    inner = labels_of(node.expr, known)
    modifier = node.modifier
    if modifier is None:
        return inner if str(node.op) in _KEEPS else frozenset()
    named = set(modifier.labels)
    _demand(named, inner, node)
    return frozenset(named) if modifier.type == promql.AggModifierType.By else inner - named


def _of_binary(node: promql.BinaryExpr, known: Mapping[str, Labels]) -> Labels:
    left, right = labels_of(node.lhs, known), labels_of(node.rhs, known)
    modifier = node.modifier
    if modifier is not None and modifier.matching is not None:
        _demand(set(modifier.matching.labels), left & right, node)
    elif _vectors(node) and str(node.op) not in {"or"} and left != right:
        # Matched by all labels: with others on one side nothing ever matches.
        raise Unknown(f"the sides have other labels ({sorted(left)}, {sorted(right)}): {node.prettify()}")
    return left | right if str(node.op) in _SETS else (left or right)


def _vectors(node: promql.BinaryExpr) -> bool:
    return not any(_is_number(side) for side in (node.lhs, node.rhs))


def _is_number(node: Any) -> bool:
    while isinstance(node, promql.ParenExpr | promql.UnaryExpr):
        node = node.expr
    return isinstance(node, promql.NumberLiteral)


def _demand(named: set[str], there: Labels, node: Any) -> None:
    if missing := named - there:
        raise Unknown(f"no label {sorted(missing)}, only {sorted(there)}: {node.prettify()}")


def metrics_of(node: Any) -> set[str]:
    """Give the names of all metrics in an expression."""
    found: set[str] = set()

    def visit(inner: Any) -> None:
        selector = inner.vector_selector if isinstance(inner, promql.MatrixSelector) else inner
        if isinstance(selector, promql.VectorSelector):
            found.add(selector.name)

    promql.walk(node, visit)
    return found
