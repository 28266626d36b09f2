"""Function calls and CASE: known functions, their arguments, and what comes back."""

from __future__ import annotations

from collections.abc import Sequence

from qwen_lightning.execution.cypher.evaluator import Evaluator
from qwen_lightning.execution.cypher.functions import FUNCTIONS, Function
from qwen_lightning.execution.cypher.kinds import ANY, NODE, RELATIONSHIP, Scope, Value, joined, list_of, varying
from qwen_lightning.execution.cypher.parsing import Node
from qwen_lightning.execution.cypher.trees import aggregates, bare, children, function_name, tokens


class Calls(Evaluator):
    """Function calls and CASE."""

    def _function(self, tree: Node, scope: Scope) -> Value:
        name, arguments = function_name(tree), children(tree)
        known = FUNCTIONS.get(name)
        if known is None:
            self.findings.refuse(f"there is no function {tokens(tree)[0]}()")
            return self._generic(tree, scope)
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
        if inner.data == "pattern_expression":
            return self.condition(tree, scope)
        self.findings.refuse("exists() takes a pattern; a property is tested by IS NOT NULL")
        return self.value(tree, scope)

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
