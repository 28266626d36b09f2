"""Clauses in their order: which variables each one sees, binds and passes on."""

from __future__ import annotations

from qwen_lightning.execution.cypher.expressions import Expressions
from qwen_lightning.execution.cypher.findings import Findings
from qwen_lightning.execution.cypher.functions import PROCEDURES
from qwen_lightning.execution.cypher.graph_schema import GraphSchema
from qwen_lightning.execution.cypher.kinds import ANY, NODE, RELATIONSHIP, Scope, Value, list_of, varying
from qwen_lightning.execution.cypher.names import Names
from qwen_lightning.execution.cypher.parsing import Node, Parsed, unquoted
from qwen_lightning.execution.cypher.patterns import Patterns
from qwen_lightning.execution.cypher.projections import Projections, is_star
from qwen_lightning.execution.cypher.trees import (
    aggregates,
    child,
    children,
    function_name,
    label_predicates,
    name_of,
    tokens,
)

_YIELDED = {"node": NODE, "relationship": RELATIONSHIP, "score": Value("number"), "label": Value("string"),
            "nodes": list_of(NODE), "relationships": list_of(RELATIONSHIP)}  # fmt: skip


class Binder:
    """Binds one query; what it finds is in `findings`.

    Args:
        parsed: The query.
        schema: The record's graph schema.
    """

    def __init__(self, parsed: Parsed, schema: GraphSchema) -> None:
        self.findings = Findings()
        self.names = Names(schema, self.findings)
        self.expressions = Expressions(self.names, self)
        self.projections = Projections(parsed, self.expressions)

    def query(self, tree: Node, scope: Scope, fixed: Scope, *, inner: str = "") -> Scope:
        """Bind a query.

        Args:
            tree: A `query` tree.
            scope: Variables at its start.
            fixed: Those of them that stay visible past a WITH.
            inner: For a subquery, what holds it: CALL, EXISTS, COUNT or COLLECT.

        Returns:
            Its columns.
        """
        singles = children(tree, "single")
        kinds = {"ALL" in {token.upper() for token in tokens(union)} for union in children(tree, "union")}
        if len(kinds) > 1:
            self.findings.refuse("UNION and UNION ALL cannot be mixed")
        branches = [self._single(single, scope, fixed, inner) for single in singles]
        if any(set(branch) != set(branches[0]) for branch in branches):
            self.findings.refuse("the parts of a UNION return different columns")
        if inner == "COLLECT" and len(branches[0]) != 1:
            self.findings.refuse("COLLECT {} returns one column")
        if len(branches) == 1:
            return branches[0]
        constant = {name: all(branch[name].constant for branch in branches if name in branch) for name in branches[0]}
        return {name: Value(value.kind, constant=constant[name]) for name, value in branches[0].items()}

    def _single(self, tree: Node, scope: Scope, fixed: Scope, inner: str) -> Scope:
        clauses = children(tree)
        columns: Scope = {}
        visible = dict(scope)
        for at, clause in enumerate(clauses):
            last = at == len(clauses) - 1
            if clause.data in ("return_clause", "finish") and not last:
                self.findings.refuse("RETURN can only stand at the end")
            match clause.data:
                case "match":
                    visible = self._match(clause, visible)
                case "unwind":
                    visible = self._unwind(clause, visible)
                case "with_clause":
                    visible = {**fixed, **self._with(clause, visible, importing=inner == "CALL" and at == 0)}
                case "ordered_clause":
                    self.projections.ordered(clause, visible)
                case "return_clause":
                    kind = "CALL" if inner == "CALL" else "RETURN"
                    columns, _ = self.projections.bind(children(clause, "projection")[0], visible, clause=kind)
                case "call_procedure":
                    visible, yielded = self._procedure(clause, visible, alone=len(clauses) == 1 and not inner)
                    columns = yielded if last else columns
                case "call_subquery":
                    visible = self._call(clause, visible)
        ends = clauses[-1].data in ("return_clause", "finish") or (
            clauses[-1].data == "call_procedure" and (len(clauses) == 1 or child(clauses[-1], "yields") is None)
        )
        if not ends and inner not in ("EXISTS", "COUNT"):
            word = str(clauses[-1].data).split("_")[0].upper()
            self.findings.refuse(f"a query cannot end with {word}; it needs a RETURN")
        return columns

    def _match(self, tree: Node, scope: Scope) -> Scope:
        patterns = Patterns(self.names, scope)
        for pattern in children(tree, "pattern"):
            patterns.add(pattern)
        where = child(tree, "where")
        for name, stated in label_predicates(where) if where is not None else ():
            patterns.state(name, stated)
        optional = any(token.type == "OPTIONAL" for token in tokens(tree))
        self.expressions.settle(patterns)
        found = patterns.scope()
        if where is not None:
            found = self.expressions.where(where, found)
        if optional:
            # Rows without a match keep what was bound before.
            found = {**found, **scope}
        for hint in children(tree, "hint"):
            for variable in children(hint, "variable"):
                if name_of(variable) not in found:
                    self.findings.refuse(f"variable {name_of(variable)} is not defined")
        return found

    def _unwind(self, tree: Node, scope: Scope) -> Scope:
        expression, variable = children(tree)
        for call in aggregates(expression):
            self.findings.refuse(f"{function_name(call)}() aggregates and cannot stand in UNWIND")
        listed = self.expressions.value(expression, scope)
        return self._bound(scope, name_of(variable), self.expressions.element_of(listed))

    def _bound(self, scope: Scope, name: str, value: Value) -> Scope:
        if name in scope:
            self.findings.refuse(f"variable {name} is already declared")
        return {**scope, name: value}

    def _with(self, tree: Node, scope: Scope, importing: bool) -> Scope:
        projection = children(tree, "projection")[0]
        columns, after = self.projections.bind(projection, scope, clause="WITH")
        where = child(tree, "where")
        if where is None:
            return columns
        self.projections.where(projection, where, scope, columns)
        narrowed = self.expressions.where(where, after)
        return {name: narrowed.get(name, value) for name, value in columns.items()}

    def _procedure(self, tree: Node, scope: Scope, alone: bool) -> tuple[Scope, Scope]:
        written = str(tokens(tree, "PROCEDURE")[0])
        name = "".join(written.split()).replace("`", "").lower()
        known = PROCEDURES.get(name)
        if known is None:
            self.findings.refuse(f"{written} is none of the read procedures {', '.join(sorted(PROCEDURES))}")
        for arguments in children(tree, "arguments"):
            for argument in children(arguments):
                self.expressions.value(argument, scope)
        self.findings.reads.update(self.names.schema.labels)
        yields = child(tree, "yields")
        if yields is None:
            if not alone and known:
                self.findings.refuse(f"CALL {written} inside a query needs YIELD")
            return scope, {one: _YIELDED.get(one, ANY) for one in known or ()}
        found: Scope = {}
        if any(token.type == "STAR" for token in tokens(yields)):
            if not alone:
                self.findings.refuse("YIELD * can only stand in a CALL of its own")
            found = {one: _YIELDED.get(one, ANY) for one in known or ()}
        for item in children(yields, "yielded"):
            column = unquoted(tokens(item)[0])
            if known is not None and column not in known:
                self.findings.refuse(f"{written} yields no {column}; it yields {', '.join(known)}")
            renamed = child(item, "variable")
            found[column if renamed is None else name_of(renamed)] = varying(_YIELDED.get(column, ANY))
        visible = scope
        for column, value in found.items():
            visible = self._bound(visible, column, value)
        for where in children(yields, "where"):
            visible = self.expressions.where(where, visible)
        return visible, found

    def _call(self, tree: Node, scope: Scope) -> Scope:
        query, imports = children(tree, "query")[0], child(tree, "imports")
        if imports is None:
            begun = self._imported(query, scope)
            columns = self.query(query, begun, {}, inner="CALL")
        else:
            taken = scope if any(token.type == "STAR" for token in tokens(imports)) else {}
            for variable in children(imports, "variable"):
                self.expressions.value(variable, scope)
                taken = {**taken, name_of(variable): scope.get(name_of(variable), ANY)}
            columns = self.query(query, taken, taken, inner="CALL")
        found = scope
        for name, value in columns.items():
            found = self._bound(found, name, varying(value) if not value.constant else value)
        return found

    def _imported(self, query: Node, scope: Scope) -> Scope:
        """What a CALL {} sees at its start: the outer variables, if every part begins with an importing WITH."""
        for single in children(query, "single"):
            first = children(single)[0]
            if first.data != "with_clause":
                return {}
            projection = children(first, "projection")[0]
            items = [item for part in children(projection, "items") for item in children(part, "item")]
            plain = all(len(children(item)) == 1 and children(item)[0].data == "variable" for item in items)
            if (
                not plain or child(first, "where", "order", "skip", "limit") is not None or tokens(projection)
                or child(projection, "order", "skip", "limit") is not None or (is_star(projection) and items)
            ):  # fmt: skip
                self.findings.refuse("the WITH that starts a CALL {} imports plain variables")
        return scope
