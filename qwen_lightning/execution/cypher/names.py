"""Checks of labels, relationship types and properties against the graph schema, with a hint where a name is near."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from qwen_lightning.execution.cypher.findings import Findings
from qwen_lightning.execution.cypher.graph_schema import GraphSchema
from qwen_lightning.execution.cypher.kinds import Labels, Value
from qwen_lightning.execution.cypher.label_expressions import alternatives, holds, is_dynamic, names_in
from qwen_lightning.execution.cypher.parsing import Node


def _hint(name: str, known: Iterable[str]) -> str:
    folded = {item.lower(): item for item in known}
    near = get_close_matches(name.lower(), folded, 1)
    return f"; did you mean {folded[near[0]]}?" if near else ""


class Names:
    """The schema as the checks ask it.

    Args:
        schema: The record's graph schema.
        findings: Where faults go.
    """

    def __init__(self, schema: GraphSchema, findings: Findings) -> None:
        self.schema, self.findings = schema, findings
        self.knows_types = bool(schema.triples or schema.types)

    def label(self, name: str) -> bool:
        """Whether the label exists; else a fault."""
        if name in self.schema.labels:
            return True
        self.findings.miss(f"the schema has no label {name}{_hint(name, self.schema.labels)}")
        return False

    def type(self, name: str) -> bool:
        """Whether the relationship type exists; else a fault."""
        if name in self.schema.types or not self.knows_types:
            return True
        self.findings.miss(f"the schema has no relationship type {name}{_hint(name, self.schema.types)}")
        return False

    def narrowed_labels(self, tree: Node, labels: Labels | None) -> Labels | None:
        """What a node that had these labels can have where the label expression holds too."""
        known = [self.label(name) for name in names_in(tree)]
        if not all(known):
            return None
        stated = alternatives(tree, self.schema)
        if stated is None or labels is None:
            return stated
        kept = frozenset(one for one in labels if holds(tree, one))
        # A node may carry labels that were not asked for, so a second label adds to the first.
        return kept or frozenset(first | second for first in labels for second in stated) or None

    def narrowed_types(self, tree: Node, types: frozenset[str] | None) -> frozenset[str] | None:
        """The same for a relationship's type."""
        known = [self.type(name) for name in names_in(tree)]
        if not all(known) or is_dynamic(tree) or not self.knows_types:
            return None
        within = frozenset(self.schema.types) if types is None else types
        return frozenset(one for one in within if holds(tree, frozenset((one,)))) or None

    def property(self, value: Value, name: str) -> None:
        """Fault a property that the node or relationship cannot have."""
        if value.kind == "node" and self.schema.knows_properties:
            owners = sorted({label for one in value.labels or () for label in one})
            kept = self.schema.labels
        elif value.kind == "relationship" and self.schema.knows_type_properties:
            owners, kept = sorted(value.types or ()), self.schema.types
        else:
            return
        if not owners or any(name in kept.get(owner, {}) for owner in owners):
            return
        shown = ", ".join(owners[:3]) + (" …" if len(owners) > 3 else "")
        near = _hint(name, {item for owner in owners for item in kept.get(owner, {})})
        self.findings.miss(f"{shown} has no property {name}{near}")

    def literal(self, value: Value, name: str, literal: str | int | float | bool | None) -> None:
        """Note a comparison of a property with a literal."""
        if literal is None:
            return
        if value.kind == "node":
            owners = {label for one in value.labels or () for label in one if name in self.schema.labels.get(label, {})}
        else:
            owners = {one for one in value.types or () if name in self.schema.types.get(one, {})}
        self.findings.literals.update((owner, name, literal) for owner in owners)
