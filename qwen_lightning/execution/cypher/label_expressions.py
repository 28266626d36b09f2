"""Label expressions (`A|B&!C`, `%`, `:A:B`): which labels a node, or which type a relationship, can then have."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from lark import Token, Tree

from qwen_lightning.execution.cypher.graph_schema import GraphSchema
from qwen_lightning.execution.cypher.kinds import Labels
from qwen_lightning.execution.cypher.parsing import Node, unquoted
from qwen_lightning.execution.cypher.trees import children

# A product of alternatives longer than this says nothing.
_MOST_ALTERNATIVES = 256


def names_in(tree: Node) -> Iterator[str]:
    """The labels that an expression names."""
    for token in tree.scan_values(lambda value: isinstance(value, Token) and value.type == "LABEL"):
        yield unquoted(token)


def is_dynamic(tree: Node) -> bool:
    """Whether it computes labels, so that nothing is known."""
    return any(True for _ in tree.find_data("dynamic_label"))


def holds(tree: Node, labels: frozenset[str]) -> bool:
    """Whether the expression holds for exactly these labels."""
    if tree.data == "label_or":
        return any(holds(part, labels) for part in children(tree))
    if tree.data == "label_and":
        return all(holds(part, labels) for part in children(tree))
    negated, inner = _negation(tree)
    result = holds(inner, labels) if isinstance(inner, Tree) else inner.type == "ANY_LABEL" or unquoted(inner) in labels
    return result != negated


def alternatives(tree: Node, schema: GraphSchema) -> Labels | None:
    """The sets of labels that a node may carry; None where the expression says nothing."""
    if is_dynamic(tree):
        return None
    if tree.data == "label_or":
        parts = [alternatives(part, schema) for part in children(tree)]
        known = [part for part in parts if part is not None]
        return frozenset().union(*known) if len(known) == len(parts) else None
    if tree.data == "label_not":
        negated, inner = _negation(tree)
        singles = frozenset(frozenset((label,)) for label in schema.labels)
        if negated:
            return frozenset(one for one in singles if holds(tree, one))
        if isinstance(inner, Tree):
            return alternatives(inner, schema)
        return singles if inner.type == "ANY_LABEL" else frozenset((frozenset((unquoted(inner),)),))
    positive = [part for part in children(tree) if not _negation(part)[0]]
    options = [alternatives(part, schema) for part in positive or children(tree)]
    known = [option for option in options if option is not None]
    size = 1
    for option in known:
        size *= len(option)
    if len(known) < len(options) or size > _MOST_ALTERNATIVES:
        return None
    joined = {frozenset[str]().union(*chosen) for chosen in product(*known)}
    return frozenset(one for one in joined if holds(tree, one))


def _negation(tree: Node) -> tuple[bool, Node | Token]:
    bangs = [item for item in tree.children if isinstance(item, Token) and item.type == "BANG"]
    inner = next(item for item in tree.children if not (isinstance(item, Token) and item.type == "BANG"))
    return len(bangs) % 2 == 1, inner
