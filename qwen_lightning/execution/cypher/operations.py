"""Operators and what they work on: names are looked up, kinds of operands checked, literals noted."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from qwen_lightning.execution.cypher.evaluator import Evaluator
from qwen_lightning.execution.cypher.kinds import ANY, Scope, Value, joined, list_of
from qwen_lightning.execution.cypher.label_expressions import is_dynamic, names_in
from qwen_lightning.execution.cypher.parsing import Node, unquoted
from qwen_lightning.execution.cypher.trees import bare, children, function_name, integer, literal_of, name_of, tokens

_ENTITIES = ("node", "relationship", "path")
_NO_PROPERTIES = ("path", "list", "string", "number", "boolean")


NO_LIST = ("node", "relationship", "path", "number", "string", "boolean", "map")


class Operations(Evaluator):
    """Literals, variables, properties, comparisons, arithmetic, lists and maps."""

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
                if value.kind in ("string", "number", "boolean", "path"):
                    self.findings.refuse(f"a {value.kind} has no elements")
                if isinstance(key, str):
                    self.names.property(value, key)
                if value.kind == "list" and value.element is not None:
                    return value.element
            case "slice":
                if not children(access):
                    self.findings.refuse("a slice needs a start or an end")
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
            if operand.kind in NO_LIST:
                self.findings.refuse(f"IN needs a list on its right, not a {operand.kind}")
            inner = bare(other)
            if inner.data == "list":
                self._compared(subject, children(inner), scope)
            elif inner.data == "function" and function_name(inner) == "labels" and isinstance(literal_of(subject), str):
                self.names.label(str(literal_of(subject)))
        else:
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
