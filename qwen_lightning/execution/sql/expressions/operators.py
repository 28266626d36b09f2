"""Operators and predicates, resolved as Postgres resolves them."""

from __future__ import annotations

import re
from typing import Any

from sqlglot import exp

from qwen_lightning.execution.sql.binding import Scope
from qwen_lightning.execution.sql.catalog import (
    ANY_TYPE,
    UNKNOWN,
    catalog,
    resolve,
)
from qwen_lightning.execution.sql.expressions.base import (
    CLAUSES_WITHOUT_WINDOWS,
    ExpressionBase,
)
from qwen_lightning.execution.sql.wanted import note_wanted

OPERATORS: dict[type[exp.Expr], str] = {
    exp.Add: "+", exp.Sub: "-", exp.Mul: "*", exp.Div: "/", exp.Mod: "%", exp.Pow: "^", exp.DPipe: "||", exp.EQ: "=",
    exp.NEQ: "<>", exp.GT: ">", exp.GTE: ">=", exp.LT: "<", exp.LTE: "<=", exp.NullSafeEQ: "=", exp.NullSafeNEQ: "=",
    exp.Like: "~~", exp.ILike: "~~*", exp.RegexpLike: "~", exp.RegexpILike: "~*", exp.SimilarTo: "~",
    exp.BitwiseAnd: "&", exp.BitwiseOr: "|", exp.BitwiseXor: "#", exp.BitwiseLeftShift: "<<",
    exp.BitwiseRightShift: ">>", exp.ArrayContainsAll: "@>", exp.ArrayContainedBy: "<@", exp.ArrayOverlaps: "&&",
    exp.JSONExtract: "->", exp.JSONExtractScalar: "->>", exp.JSONBExtract: "#>", exp.JSONBExtractScalar: "#>>",
    exp.JSONBContains: "?", exp.JSONBContainsTopKey: "?",
}  # fmt: skip
_COMPARISONS = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.NullSafeEQ, exp.NullSafeNEQ)
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*|\s*[+-]?(nan|inf|infinity)\s*", re.IGNORECASE)
_INTEGER = re.compile(r"\s*[+-]?\d+\s*")
_BOOLEANS = frozenset(
    """
    t tr tru true y ye yes on 1 f fa fal fals false n no of off 0
    """.split()  # noqa: SIM905
)
_DATE_WORDS = frozenset({"now", "today", "tomorrow", "yesterday", "epoch", "infinity", "-infinity", "allballs"})


class Operators(ExpressionBase):
    """Operators and predicates, resolved as Postgres resolves them."""

    def _operator(self, node: exp.Expr, scope: Scope, clause: str) -> str:
        left_node, right_node = node.this, node.args.get("expression")
        symbol = OPERATORS[type(node)]
        if isinstance(right_node, (exp.Any, exp.All)):
            return self._quantified(node, symbol, scope, clause)
        left = self.type_of(left_node, scope, clause)
        json = isinstance(node, (exp.JSONExtract, exp.JSONExtractScalar)) and isinstance(right_node, exp.JSONPath)
        right = UNKNOWN if json else self.type_of(right_node, scope, clause)
        if isinstance(node, _COMPARISONS):
            if isinstance(left_node, exp.Tuple) or isinstance(right_node, exp.Tuple):
                sides = [side for side in (left_node, right_node) if isinstance(side, exp.Tuple)]
                if len(sides) == 2 and len(sides[0].expressions) != len(sides[1].expressions):
                    self.findings.fault("unequal number of entries in row expressions")
                return "bool"
            self._want(node, left_node, right_node)
        elif isinstance(node, (exp.Like, exp.ILike, exp.SimilarTo)):
            self._want(node, left_node, right_node)
        return self._apply(symbol, left, right, left_node, right_node)

    def _apply(self, symbol: str, left: str, right: str, left_node: Any, right_node: Any) -> str:
        if ANY_TYPE in (left, right):
            return "bool" if symbol in ("=", "<>", "<", "<=", ">", ">=", "~~", "~~*", "~", "~*") else ANY_TYPE
        if symbol == "+" and {left, right} == {"date", UNKNOWN}:
            self.findings.fault("operator is not unique: date + unknown")
            return ANY_TYPE
        if left == right == UNKNOWN:
            left = right = "text" if symbol not in ("->", "->>") else "jsonb"
        signature = resolve(catalog().operators[symbol], [left, right])
        if signature is None:
            if symbol in ("=", "<>", "<", "<=", ">", ">=") and (left == right or "record" in (left, right)):
                return "bool"
            self.findings.fault(f"operator does not exist: {left} {symbol} {right}")
            return ANY_TYPE
        for node, given, wanted in (
            (left_node, left, signature.arguments[0]),
            (right_node, right, signature.arguments[-1]),
        ):
            if given == UNKNOWN and isinstance(node, exp.Literal):
                self._fits(node, right if given == left and wanted.startswith("any") else wanted)
        return signature.result

    def _fits(self, literal: exp.Literal, kind: str) -> None:
        """Whether a string literal can be read as a type: Postgres tries while it plans."""
        if not literal.is_string:
            return
        text = literal.this
        good = True
        if kind in ("int2", "int4", "int8"):
            good = _INTEGER.fullmatch(text) is not None
        elif kind in ("numeric", "float4", "float8"):
            good = _NUMBER.fullmatch(text) is not None
        elif kind == "bool":
            good = text.strip().lower() in _BOOLEANS
        elif kind in ("date", "timestamp", "timestamptz", "time"):
            good = any(c.isdigit() for c in text) or text.strip().lower() in _DATE_WORDS
        elif kind.startswith("_"):
            good = text.strip().startswith("{")
        if not good:
            self.findings.fault(f"invalid input syntax for type {kind}: {text!r}")

    def _want(self, node: exp.Expr, left: Any, right: Any) -> None:
        note_wanted(self.findings.wanted, node, left, right, self._source)

    def _source(self, node: exp.Expr) -> tuple[tuple[str, str], str] | None:
        found = self.findings.resolved.get(id(node))
        return None if found is None or found.output.source is None else (found.output.source, found.output.type)

    def _quantified(self, node: exp.Expr, symbol: str, scope: Scope, clause: str) -> str:
        left = self.type_of(node.this, scope, clause)
        inner = (
            node.args["expression"].this.unnest()
            if isinstance(node.args["expression"].this, exp.Paren)
            else node.args["expression"].this
        )
        if isinstance(inner, exp.Query):
            outputs = self.binder.query(inner, self.ctes, scope)
            right = outputs[0].type if outputs else ANY_TYPE
            if len(outputs) > 1 and not isinstance(node.this, exp.Tuple):
                self.findings.fault("subquery has too many columns")
        else:
            right = self.type_of(inner, scope, clause)
            if right not in (ANY_TYPE, UNKNOWN) and not right.startswith("_"):
                self.findings.fault("op ANY/ALL (array) requires array on right side")
                return "bool"
            right = right[1:] if right.startswith("_") else right
        self._apply(symbol, left, right, node.this, None)
        return "bool"

    def _logical(self, node: exp.Expr, scope: Scope, clause: str) -> str:
        # A chain of ANDs is walked flat: it can be thousands long.
        pending, word = [node], "NOT" if isinstance(node, exp.Not) else "AND/OR"
        while pending:
            part = pending.pop()
            if isinstance(part, (exp.And, exp.Or)):
                pending += [part.args["expression"], part.this]
            elif isinstance(part, exp.Not):
                pending.append(part.this)
            else:
                self.boolean(
                    part,
                    scope,
                    clause if word is None else f"{word}" if clause not in CLAUSES_WITHOUT_WINDOWS else clause,
                )
        return "bool"

    def _is(self, node: exp.Is, scope: Scope, clause: str) -> str:
        kind = self.type_of(node.this, scope, clause)
        if isinstance(node.expression, exp.Boolean) and kind not in ("bool", ANY_TYPE, UNKNOWN):
            self.findings.fault(f"argument of IS TRUE must be type boolean, not type {kind}")
        elif not isinstance(node.expression, (exp.Null, exp.Boolean, exp.Expr)):
            self.findings.fault("IS takes NULL or a truth value")
        elif isinstance(node.expression, (exp.Literal, exp.Column)):
            self.findings.alien("IS with a value is not Postgres's")
        return "bool"

    def _between(self, node: exp.Between, scope: Scope, clause: str) -> str:
        kind = self.type_of(node.this, scope, clause)
        for name, symbol in (("low", ">="), ("high", "<=")):
            bound = node.args[name]
            other = self.type_of(bound, scope, clause)
            self._want(node, node.this, bound)
            self._apply(symbol, kind, other, node.this, bound)
        return "bool"

    def _in(self, node: exp.In, scope: Scope, clause: str) -> str:
        kind = self.type_of(node.this, scope, clause)
        query = node.args.get("query")
        width = len(node.this.expressions) if isinstance(node.this, exp.Tuple) else 1
        if query is not None:
            outputs = self.binder.query(query, self.ctes, scope)
            if outputs and len(outputs) != width and not any(output.name == "*" for output in outputs):
                self.findings.fault(
                    "subquery has too many columns" if len(outputs) > width else "subquery has too few columns"
                )
            elif outputs and width == 1:
                self._apply("=", kind, outputs[0].type, node.this, None)
            return "bool"
        if node.args.get("field") is not None or node.args.get("unnest") is not None:
            self.findings.alien("IN takes a list or a query in parentheses")
            return "bool"
        others = [self.type_of(item, scope, clause) for item in node.expressions]
        if not others:
            self.findings.fault("IN () is empty")
        for item, other in zip(node.expressions, others, strict=True):
            self._want(node, node.this, item)
            if width == 1:
                self._apply("=", kind, other, node.this, item)
        return "bool"
