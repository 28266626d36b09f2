"""Expressions with variables or queries of their own: comprehensions, quantifiers, reduce, patterns, subqueries."""

from __future__ import annotations

from typing import Protocol

from qwen_lightning.execution.cypher.calls import Calls
from qwen_lightning.execution.cypher.kinds import ANY, PATH, Scope, Value, list_of, varying
from qwen_lightning.execution.cypher.names import Names
from qwen_lightning.execution.cypher.operations import NO_LIST, Operations
from qwen_lightning.execution.cypher.parsing import Node
from qwen_lightning.execution.cypher.patterns import Patterns
from qwen_lightning.execution.cypher.trees import aggregates, child, children, function_name, name_of, tokens


class Subqueries(Protocol):
    """What binds a query inside a query."""

    def query(self, tree: Node, scope: Scope, fixed: Scope, *, inner: str) -> Scope:
        """Bind a query whose `fixed` variables stay visible; its columns."""


class Expressions(Operations, Calls):
    """All expressions; those that bind variables of their own are here.

    Args:
        names: The schema's checks.
        subqueries: Binds the queries of EXISTS, COUNT and COLLECT.
    """

    def __init__(self, names: Names, subqueries: Subqueries) -> None:
        super().__init__(names)
        self.subqueries = subqueries

    def _pattern_expression(self, tree: Node, scope: Scope) -> Value:
        self.findings.refuse("a pattern can only be tested for existence here; COUNT {} and [… | …] take patterns")
        return self._pattern(tree, scope)

    def _each(self, tree: Node, scope: Scope) -> Value:
        variable, source, *rest = children(tree)
        self._no_aggregate(tree)
        listed = self.value(source, scope)
        if listed.kind in NO_LIST:
            self.findings.refuse(f"a comprehension goes through a list, not a {listed.kind}")
        inner = {**scope, name_of(variable): self.element_of(listed)}
        for where in children(tree, "where"):
            inner = self.where(where, inner)
        mapped = [part for part in rest if part.data != "where"]
        return list_of(self.value(mapped[0], inner)) if mapped else listed

    def _no_aggregate(self, tree: Node) -> None:
        for part in children(tree)[2:]:
            self._refuse_aggregates(part)

    def _refuse_aggregates(self, part: Node) -> None:
        for call in aggregates(part):
            self.findings.refuse(f"{function_name(call)}() aggregates and cannot stand in an expression over a list")

    def _quantified(self, tree: Node, scope: Scope) -> Value:
        variable, source = children(tree)[:2]
        self._no_aggregate(tree)
        listed = self.value(source, scope)
        if listed.kind in NO_LIST:
            self.findings.refuse(f"{tokens(tree)[0]}() goes through a list, not a {listed.kind}")
        inner = {**scope, name_of(variable): self.element_of(listed)}
        if child(tree, "where") is None:
            self.findings.refuse(f"{tokens(tree)[0]}() needs a WHERE")
        for where in children(tree, "where"):
            self.where(where, inner)
        return Value("boolean", constant=listed.constant)

    def _reduce(self, tree: Node, scope: Scope) -> Value:
        total, start, variable, source, step = children(tree)
        self._refuse_aggregates(step)
        begun, listed = self.value(start, scope), self.value(source, scope)
        accumulated = Value(begun.kind, constant=begun.constant and listed.constant)
        inner = {**scope, name_of(total): accumulated, name_of(variable): self.element_of(listed)}
        self.value(step, inner)
        return Value(constant=accumulated.constant)

    def _pattern_comprehension(self, tree: Node, scope: Scope) -> Value:
        patterns = Patterns(self.names, scope)
        patterns.add(tree)
        inner = self.settle(patterns)
        for where in children(tree, "where"):
            inner = self.where(where, inner)
        return list_of(varying(self.value(children(tree)[-1], inner)))

    def _shortest(self, tree: Node, scope: Scope) -> Value:
        patterns = Patterns(self.names, scope, introduces=False)
        patterns.add_shortest(tree)
        self.settle(patterns)
        return PATH if str(tokens(tree)[0]).lower() == "shortestpath" else list_of(PATH)

    def _subquery(self, tree: Node, scope: Scope) -> Value:
        kind = str(tokens(tree)[0]).upper()
        query = child(tree, "query")
        element = ANY
        if query is not None:
            columns = self.subqueries.query(query, scope, scope, inner=kind)
            element = next(iter(columns.values()), ANY)
        else:
            if kind == "COLLECT":
                self.findings.refuse("COLLECT {} needs a query that ends with RETURN")
            patterns = Patterns(self.names, scope)
            for pattern in children(tree, "pattern"):
                patterns.add(pattern)
            inside = self.settle(patterns)
            for where in children(tree, "where"):
                self.where(where, inside)
        return {"EXISTS": Value("boolean"), "COUNT": Value("number")}.get(kind) or list_of(varying(element))
