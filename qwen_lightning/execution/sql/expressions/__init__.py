"""Types of expressions as Postgres infers them, and the names, operators and functions in them that it would refuse."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sqlglot import exp

from qwen_lightning.execution.sql.binding import Output, Scope
from qwen_lightning.execution.sql.catalog import ANY_TYPE, UNKNOWN
from qwen_lightning.execution.sql.expressions.calls import Calls
from qwen_lightning.execution.sql.expressions.names import Names
from qwen_lightning.execution.sql.expressions.operators import OPERATORS, Operators
from qwen_lightning.execution.sql.expressions.outputs import Outputs
from qwen_lightning.execution.sql.expressions.values import Values

_FIXED: dict[type[exp.Expr], str] = {
    exp.Boolean: "bool", exp.Null: UNKNOWN, exp.CurrentDate: "date", exp.CurrentTimestamp: "timestamptz",
    exp.CurrentTime: "timetz", exp.Localtime: "time", exp.Localtimestamp: "timestamp",
    exp.CurrentUser: "name", exp.SessionUser: "name", exp.CurrentRole: "name", exp.CurrentCatalog: "name",
    exp.CurrentSchema: "name", exp.BitString: "bit", exp.HexString: "bit", exp.RawString: UNKNOWN,
    exp.UnicodeString: UNKNOWN, exp.ByteString: UNKNOWN, exp.National: "bpchar", exp.Star: ANY_TYPE,
}  # fmt: skip


class Expressions(Names, Operators, Values, Calls, Outputs):
    """Infers types and records faults; one for a query."""

    @contextlib.contextmanager
    def using(self, ctes: Mapping[str, tuple[list[Output], frozenset[str]]]) -> Iterator[None]:
        """Make CTEs known to subqueries in expressions."""
        before, self.ctes = self.ctes, ctes
        try:
            yield
        finally:
            self.ctes = before

    def type_of(self, node: Any, scope: Scope, clause: str) -> str:
        """The type of an expression; what Postgres would refuse in it goes to the findings."""
        if not isinstance(node, exp.Expr):
            return ANY_TYPE
        fixed = _FIXED.get(type(node))
        if fixed is not None:
            return fixed
        if type(node) in OPERATORS:
            return self._operator(node, scope, clause)
        method = _METHODS.get(type(node))
        if method is not None:
            return method(self, node, scope, clause)
        if isinstance(node, exp.Query):
            return self._scalar(node, scope)
        for child in node.iter_expressions():
            self.type_of(child, scope, clause)
        return ANY_TYPE

    def boolean(self, node: exp.Expr, scope: Scope, clause: str) -> None:
        """Bind a condition."""
        kind = self.type_of(node, scope, clause)
        if kind not in ("bool", ANY_TYPE, UNKNOWN):
            self.findings.fault(f"argument of {clause} must be type boolean, not type {kind}")
        elif kind == UNKNOWN and isinstance(node, exp.Literal):
            self._fits(node, "bool")


_Method = Callable[[Expressions, Any, Scope, str], str]
_METHODS: dict[type[exp.Expr], _Method] = {
    exp.Explode: Expressions._unnest,
    exp.Interval: Expressions._interval,
    exp.Column: Expressions._column, exp.Literal: Expressions._literal, exp.Paren: Expressions._wrapped,
    exp.Alias: Expressions._alias, exp.And: Expressions._logical, exp.Or: Expressions._logical,
    exp.Not: Expressions._logical, exp.Is: Expressions._is, exp.Between: Expressions._between,
    exp.In: Expressions._in, exp.Exists: Expressions._exists, exp.Neg: Expressions._negative,
    exp.Cast: Expressions._cast, exp.TryCast: Expressions._alien, exp.Case: Expressions._case,
    exp.If: Expressions._alien, exp.Array: Expressions._array, exp.Bracket: Expressions._bracket,
    exp.AtTimeZone: Expressions._zone, exp.Tuple: Expressions._tuple, exp.Extract: Expressions._keyword_call,
    exp.Trim: Expressions._keyword_call, exp.Substring: Expressions._keyword_call,
    exp.StrPosition: Expressions._keyword_call, exp.Overlay: Expressions._keyword_call,
    exp.Anonymous: Expressions._call, exp.Window: Expressions._window, exp.Filter: Expressions._filter,
    exp.WithinGroup: Expressions._wrapped, exp.Escape: Expressions._wrapped, exp.Variadic: Expressions._wrapped,
    exp.Collate: Expressions._wrapped, exp.Lambda: Expressions._alien, exp.IntDiv: Expressions._alien,
    exp.Glob: Expressions._alien, exp.XOR if hasattr(exp, "XOR") else exp.Xor: Expressions._alien,
}  # fmt: skip
