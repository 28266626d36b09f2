"""Expressions: every name in them is looked up, every call checked, and what is known of the value handed up."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Protocol

from qwen_lightning.execution.cypher.functions import FUNCTIONS, Function
from qwen_lightning.execution.cypher.kinds import (
    ANY,
    NODE,
    PATH,
    RELATIONSHIP,
    Scope,
    Value,
    joined,
    list_of,
    varying,
)
from qwen_lightning.execution.cypher.label_expressions import is_dynamic, names_in
from qwen_lightning.execution.cypher.names import Names
from qwen_lightning.execution.cypher.parsing import Node, unquoted
from qwen_lightning.execution.cypher.patterns import Patterns
from qwen_lightning.execution.cypher.trees import (
    aggregates,
    bare,
    child,
    children,
    function_name,
    integer,
    is_aggregate,
    literal_of,
    name_of,
    tokens,
)

_ENTITIES = ("node", "relationship", "path")
_NO_BOOLEAN = ("node", "relationship", "number", "string", "temporal", "point")
_NO_PROPERTIES = ("path", "list", "string", "number", "boolean")
_NO_LIST = ("node", "relationship", "path", "number", "string", "boolean", "map")


class Subqueries(Protocol):
    """What binds a query inside a query."""

    def query(self, tree: Node, scope: Scope, fixed: Scope, *, inner: str) -> Scope:
        """Bind a query whose `fixed` variables stay visible; its columns."""


class Expressions:
    """Evaluates expressions to what is known of them.

    Args:
        names: The schema's checks.
        subqueries: Binds the queries of EXISTS, COUNT and COLLECT.
    """

    def __init__(self, names: Names, subqueries: Subqueries) -> None:
        self.names, self.findings, self.subqueries = names, names.findings, subqueries

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
            return Value("boolean", constant=all(self.condition(part, scope).constant for part in children(inner)))
        if inner.data == "pattern_expression":
            return self._pattern(inner, scope)
        value = self.value(inner, scope)
        if value.kind in _NO_BOOLEAN:
            self.findings.refuse(f"a {value.kind} stands where true or false must")
        return value

    _or_expression = _xor_expression = _and_expression = _not_expression = condition

    def _generic(self, tree: Node, scope: Scope) -> Value:
        return Value(constant=all(self.value(part, scope).constant for part in children(tree)))

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

    def _pattern_expression(self, tree: Node, scope: Scope) -> Value:
        self.findings.refuse("a pattern can only be tested for existence here; COUNT {} and [… | …] take patterns")
        return self._pattern(tree, scope)

    def _parentheses(self, tree: Node, scope: Scope) -> Value:
        return self.value(children(tree)[0], scope)

    def _literal(self, tree: Node, scope: Scope) -> Value:
        kind = {"STRING": "string", "NULL": "null", "TRUE": "boolean", "FALSE": "boolean"}
        if tokens(tree)[0].type == "INT" and integer(tokens(tree)[0]) >= 1 << 63:
            self.findings.refuse("an integer does not fit 64 bits")
        return Value(kind.get(tokens(tree)[0].type, "number"), constant=True)

    def _parameter(self, tree: Node, scope: Scope) -> Value:
        return Value(constant=True)

    def _variable(self, tree: Node, scope: Scope) -> Value:
        name = name_of(tree)
        if name not in scope:
            self.findings.refuse(f"variable {name} is not defined")
        return scope.get(name, ANY)

    def _postfix(self, tree: Node, scope: Scope) -> Value:
        first, *accesses = children(tree)
        value = self.value(first, scope)
        for access in accesses:
            value = self._access(access, value, scope)
        return value

    def _access(self, access: Node, value: Value, scope: Scope) -> Value:
        inner = [self.value(part, scope) for part in children(access) if access.data != "has_labels"]
        constant = value.constant and all(part.constant for part in inner)
        match access.data:
            case "property":
                name = name_of(access)
                if value.kind in _NO_PROPERTIES:
                    self.findings.refuse(f"a {value.kind} has no property {name}")
                self.names.property(value, name)
                if value.fields is not None:
                    return value.fields.get(name, Value(constant=constant))
            case "has_labels":
                self._label_test(children(access)[0], value)
                return Value("boolean", constant=value.constant)
            case "subscript":
                key = literal_of(children(access)[0])
                if isinstance(key, str):
                    self.names.property(value, key)
                if value.kind == "list" and value.element is not None:
                    return value.element
            case "slice":
                if value.kind == "list":
                    return value
        return Value(constant=constant, stored=value.kind in ("node", "relationship"))

    def _label_test(self, tree: Node, value: Value) -> None:
        if value.kind == "relationship":
            self.names.narrowed_types(tree, None)
        elif value.kind in ("any", "node", "null"):
            for name in names_in(tree):
                if value.kind == "node" or name not in self.names.schema.types:
                    self.names.label(name)
        elif not is_dynamic(tree):
            self.findings.refuse(f"a {value.kind} has no labels")

    def _comparison(self, tree: Node, scope: Scope) -> Value:
        parts = children(tree)
        values = [self.value(part, scope) for part in parts]
        for left, right in itertools.pairwise(parts):
            for one, other in ((left, right), (right, left)):
                self._compared(one, [other], scope)
        return Value("boolean", constant=all(value.constant for value in values))

    def _compared(self, tree: Node, others: Sequence[Node], scope: Scope) -> None:
        """Note literals that a property, a type or a label is compared with."""
        tree = bare(tree)
        literals = [literal for literal in map(literal_of, others) if literal is not None]
        if tree.data == "postfix":
            parts = children(tree)
            if len(parts) == 2 and parts[0].data == "variable" and parts[1].data == "property":
                for literal in literals:
                    self.names.literal(scope.get(name_of(parts[0]), ANY), name_of(parts[1]), literal)
        elif tree.data == "function" and function_name(tree) == "type":
            for literal in literals:
                if isinstance(literal, str):
                    self.names.type(literal)
        elif tree.data == "function" and function_name(tree) in ("tolower", "tostring", "toupper", "trim"):
            for argument in children(tree)[:1]:
                self._compared(argument, others if function_name(tree) == "tostring" else (), scope)

    def _tested(self, tree: Node, scope: Scope) -> Value:
        subject, test = children(tree)
        value = self.value(subject, scope)
        if test.data != "operation":
            return Value("boolean", constant=value.constant)
        operator, other = tokens(test)[0].upper(), children(test)[0]
        operand = self.value(other, scope)
        if operator == "IN":
            if operand.kind in _NO_LIST:
                self.findings.refuse(f"IN needs a list on its right, not a {operand.kind}")
            inner = bare(other)
            if inner.data == "list":
                self._compared(subject, children(inner), scope)
            elif inner.data == "function" and function_name(inner) == "labels" and isinstance(literal_of(subject), str):
                self.names.label(str(literal_of(subject)))
        else:
            for side in (value, operand):
                if side.kind in (*_ENTITIES, "list", "number", "boolean", "map"):
                    self.findings.refuse(f"{operator} compares strings, not a {side.kind}")
            self._compared(subject, [other], scope)
        return Value("boolean", constant=value.constant and operand.constant)

    def _arithmetic(self, tree: Node, scope: Scope) -> Value:
        values = [self.value(part, scope) for part in children(tree)]
        marks = {str(token) for token in tokens(tree)}
        constant = all(value.constant for value in values)
        kinds = {value.kind for value in values}
        if "list" in kinds and marks <= {"+", "||"}:
            elements = [value.element if value.kind == "list" else value for value in values]
            known = [item for item in elements if item is not None]
            return list_of(joined(known)) if len(known) == len(elements) else Value("list", constant=constant)
        for value in values:
            if value.kind in (*_ENTITIES, "map", "boolean") or (value.kind == "list" and not marks <= {"+", "||"}):
                self.findings.refuse(f"{'/'.join(sorted(marks))} cannot take a {value.kind}")
            elif value.kind == "string" and not marks <= {"+", "||"}:
                self.findings.refuse(f"{'/'.join(sorted(marks))} cannot take a string")
        if kinds == {"number"} or kinds == {"string"}:
            return Value(next(iter(kinds)), constant=constant)
        return Value(constant=constant)

    _sum = _product = _power = _signed = _arithmetic

    def _list(self, tree: Node, scope: Scope) -> Value:
        values = [self.value(part, scope) for part in children(tree)]
        return list_of(joined(values)) if values else Value("list", constant=True)

    def _map(self, tree: Node, scope: Scope) -> Value:
        fields = {}
        for entry in children(tree, "entry"):
            fields[unquoted(tokens(entry)[0])] = self.value(children(entry)[0], scope)
        return Value("map", fields=fields, constant=all(value.constant for value in fields.values()))

    def _map_projection(self, tree: Node, scope: Scope) -> Value:
        owner = self._variable(children(tree)[0], scope)
        if owner.kind not in ("any", "null", "node", "relationship", "map"):
            self.findings.refuse(f"a {owner.kind} cannot be projected to a map")
        for part in children(tree)[1:]:
            match part.data:
                case "own_property":
                    self.names.property(owner, name_of(part))
                case "entry":
                    self.value(children(part)[0], scope)
                case "own_variable":
                    self._variable(children(part)[0], scope)
        return Value("map")

    def _function(self, tree: Node, scope: Scope) -> Value:
        name, arguments = function_name(tree), children(tree)
        known = FUNCTIONS.get(name)
        if known is None:
            self.findings.refuse(f"there is no function {tokens(tree)[0]}()")
            return Value(constant=all(self.value(one, scope).constant for one in arguments))
        if known.aggregate:
            for argument in arguments:
                if any(True for _ in aggregates(argument)):
                    self.findings.refuse(f"{known.name}() cannot aggregate an aggregate")
        elif any(token.type == "DISTINCT" for token in tokens(tree)):
            self.findings.refuse(f"DISTINCT can only stand in an aggregate function, not in {known.name}()")
        if not known.least <= len(arguments) <= known.most:
            count = str(known.least) if known.least == known.most else f"{known.least} to {known.most}"
            self.findings.refuse(f"{known.name}() takes {count} arguments, not {len(arguments)}")
        self.findings.volatile |= known.volatile(len(arguments))
        return self._called(known, arguments, scope)

    def _called(self, known: Function, arguments: Sequence[Node], scope: Scope) -> Value:
        name = known.name.lower()
        if name == "exists":
            values = [self._existing(one, scope) for one in arguments]
        elif name == "normalize":
            values = [self.value(one, scope) for one in arguments[:1]]
        else:
            values = [self.value(one, scope) for one in arguments]
        first = values[0] if values else ANY
        if known.takes and first.kind not in ("any", "null", "point", *known.takes):
            self.findings.refuse(f"{known.name}() cannot take a {first.kind}")
        if first.stored and known.takes and known.takes <= {"node", "relationship", "path"}:
            self.findings.refuse(f"{known.name}() cannot take a property")
        constant = not known.aggregate and all(value.constant for value in values)
        match known.returns:
            case "same":
                value = joined(values) if name in ("coalesce", "nullif") else first
                return value if value.constant == constant else varying(value)
            case "element":
                return first.element or Value(constant=constant)
            case "list_of":
                self.findings.order_dependent = True
                return list_of(varying(first))
            case "nodes":
                return list_of(NODE)
            case "relationships":
                return list_of(RELATIONSHIP)
            case "node":
                return NODE
        return Value(known.returns, constant=constant)

    def _existing(self, tree: Node, scope: Scope) -> Value:
        inner = bare(tree)
        if inner.data != "pattern_expression" and not (
            inner.data == "postfix" and children(inner)[-1].data in ("property", "subscript")
        ):
            self.findings.refuse("exists() takes a pattern or a property")
        return self.condition(tree, scope) if inner.data == "pattern_expression" else self.value(tree, scope)

    def _count_star(self, tree: Node, scope: Scope) -> Value:
        return Value("number")

    def _trim(self, tree: Node, scope: Scope) -> Value:
        return Value("string", constant=self._generic(tree, scope).constant)

    def _case(self, tree: Node, scope: Scope) -> Value:
        parts = children(tree)
        results = []
        for at in range(0, len(parts) - 1, 2):
            self.condition(parts[at], scope)
            results.append(self.value(parts[at + 1], self.narrowed(parts[at], scope)))
        if len(parts) % 2:
            results.append(self.value(parts[-1], scope))
        return joined(results)

    def _simple_case(self, tree: Node, scope: Scope) -> Value:
        subject, *parts = children(tree)
        self.value(subject, scope)
        results = []
        for part in parts:
            if part.data != "operand":
                results.append(self.value(part, scope))
                continue
            for inner in children(part):
                # `WHEN IS NULL` holds no expression of its own.
                self._generic(inner, scope) if inner.data == "operation" else self.value(inner, scope)
        return joined(results)

    def _each(self, tree: Node, scope: Scope) -> Value:
        variable, source, *rest = children(tree)
        self._no_aggregate(tree)
        listed = self.value(source, scope)
        inner = {**scope, name_of(variable): self.element_of(listed)}
        for where in children(tree, "where"):
            inner = self.where(where, inner)
        mapped = [part for part in rest if part.data != "where"]
        return list_of(self.value(mapped[0], inner)) if mapped else listed

    def element_of(self, listed: Value) -> Value:
        """An element of what is unwound or gone through."""
        if listed.kind == "list":
            return listed.element or Value(constant=listed.constant)
        return listed if listed.kind != "any" else Value(constant=listed.constant)

    def _no_aggregate(self, tree: Node) -> None:
        for part in children(tree)[2:]:
            for call in aggregates(part):
                self.findings.refuse(
                    f"{function_name(call)}() aggregates and cannot stand in an expression over a list"
                )

    def _quantified(self, tree: Node, scope: Scope) -> Value:
        variable, source = children(tree)[:2]
        self._no_aggregate(tree)
        listed = self.value(source, scope)
        if listed.kind in _NO_LIST:
            self.findings.refuse(f"{tokens(tree)[0]}() goes through a list, not a {listed.kind}")
        inner = {**scope, name_of(variable): self.element_of(listed)}
        for where in children(tree, "where"):
            self.where(where, inner)
        return Value("boolean", constant=listed.constant)

    def _reduce(self, tree: Node, scope: Scope) -> Value:
        total, start, variable, source, step = children(tree)
        self._no_aggregate(tree)
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
        patterns = Patterns(self.names, scope)
        patterns.add(tree)
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


def label_predicates(tree: Node) -> Iterator[tuple[str, Node]]:
    """The variables and label expressions of `n:Label` predicates that a condition needs to hold."""
    tree = bare(children(tree)[0] if tree.data == "where" else tree)
    if tree.data == "and_expression":
        for part in children(tree):
            yield from label_predicates(part)
    elif tree.data == "postfix":
        parts = children(tree)
        if len(parts) == 2 and parts[0].data == "variable" and parts[1].data == "has_labels":
            yield name_of(parts[0]), children(parts[1])[0]


def calls_aggregate(tree: Node) -> bool:
    """Whether an expression folds rows."""
    return any(True for _ in aggregates(tree))


def is_call_of_aggregate(tree: Node) -> bool:
    """Whether the tree itself is an aggregate call."""
    return tree.data == "count_star" or (tree.data == "function" and is_aggregate(tree))


def named(tree: Node) -> str | None:
    """The variable's name where an expression is one, else None."""
    inner = bare(tree)
    return name_of(inner) if inner.data == "variable" else None
