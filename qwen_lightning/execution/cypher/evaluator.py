"""The evaluation of expressions: dispatch, conditions, and the patterns in them."""

from __future__ import annotations

from dataclasses import replace

from qwen_lightning.execution.cypher.kinds import Scope, Value
from qwen_lightning.execution.cypher.names import Names
from qwen_lightning.execution.cypher.parsing import Node, unquoted
from qwen_lightning.execution.cypher.patterns import Patterns
from qwen_lightning.execution.cypher.trees import (
    aggregates,
    bare,
    children,
    function_name,
    label_predicates,
    literal_of,
    tokens,
)

_NO_BOOLEAN = ("node", "relationship", "number", "string", "temporal", "point", "list", "map")


class Evaluator:
    """What all expressions share: dispatch by the tree's kind, conditions, and patterns.

    Args:
        names: The schema's checks.
    """

    def __init__(self, names: Names) -> None:
        self.names, self.findings = names, names.findings

    def value(self, tree: Node, scope: Scope) -> Value:
        """What is known of an expression."""
        handler = getattr(self, f"_{tree.data}", None)
        return handler(tree, scope) if handler is not None else self._generic(tree, scope)

    def where(self, tree: Node, scope: Scope) -> Scope:
        """Check a `where`; the scope as its label predicates narrow it."""
        expression = children(tree)[0]
        for call in aggregates(expression):
            self.findings.refuse(f"{function_name(call)}() aggregates and cannot stand in WHERE")
        narrowed = self.narrowed(expression, scope)
        self.condition(expression, narrowed)
        return narrowed

    def narrowed(self, tree: Node, scope: Scope) -> Scope:
        """The scope where a condition holds: `n:Label`, alone or joined by AND."""
        for name, stated in label_predicates(tree):
            known = scope.get(name)
            if known is not None and known.kind == "node":
                scope = {**scope, name: replace(known, labels=self.names.narrowed_labels(stated, known.labels))}
            elif known is not None and known.kind == "relationship":
                scope = {**scope, name: replace(known, types=self.names.narrowed_types(stated, known.types))}
        return scope

    def condition(self, tree: Node, scope: Scope) -> Value:
        """Check an expression that must be true or false; there a pattern may stand."""
        inner = bare(tree)
        if inner.data in ("or_expression", "xor_expression", "and_expression", "not_expression"):
            values = [self.condition(part, scope) for part in children(inner)]
            return Value("boolean", constant=all(value.constant for value in values))
        if inner.data == "pattern_expression":
            return self._pattern(inner, scope)
        value = self.value(inner, scope)
        if value.kind in _NO_BOOLEAN:
            self.findings.refuse(f"a {value.kind} stands where true or false must")
        return value

    _or_expression = _xor_expression = _and_expression = _not_expression = condition

    def _generic(self, tree: Node, scope: Scope) -> Value:
        # Every part is looked at, also after one that is not constant.
        values = [self.value(part, scope) for part in children(tree)]
        return Value(constant=all(value.constant for value in values))

    def _pattern(self, tree: Node, scope: Scope) -> Value:
        patterns = Patterns(self.names, scope, introduces=False)
        patterns.add(tree)
        self.settle(patterns)
        return Value("boolean")

    def settle(self, patterns: Patterns) -> Scope:
        """Resolve patterns and check the maps and WHEREs in them; the scope that these see."""
        patterns.resolve()
        inside = patterns.inside()
        for owner, tree in patterns.filters():
            for entry in children(tree, "entry"):
                name = unquoted(tokens(entry)[0])
                self.names.property(owner, name)
                self.names.literal(owner, name, literal_of(children(entry)[0]))
                self.value(children(entry)[0], inside)
        for where in patterns.wheres:
            inside = self.where(where, inside)
        return inside

    def element_of(self, listed: Value) -> Value:
        """An element of what is unwound or gone through."""
        if listed.kind == "list":
            return listed.element or Value(constant=listed.constant)
        return listed if listed.kind != "any" else Value(constant=listed.constant)
