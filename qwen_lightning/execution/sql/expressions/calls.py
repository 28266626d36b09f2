"""Function, aggregate and window calls."""

from __future__ import annotations

from typing import Any

from sqlglot import exp

from qwen_lightning.execution.sql.binding import Call, Scope
from qwen_lightning.execution.sql.catalog import (
    ANY_TYPE,
    UNKNOWN,
    catalog,
    resolve,
)
from qwen_lightning.execution.sql.ddl import fold
from qwen_lightning.execution.sql.expressions.base import (
    CLAUSES_WITHOUT_AGGREGATES,
    CLAUSES_WITHOUT_WINDOWS,
    ExpressionBase,
)
from qwen_lightning.execution.sql.parsing import call_name

_SPECIAL = frozenset({"coalesce", "greatest", "least", "nullif", "row", "grouping"})
_VOLATILE = frozenset({"random", "clock_timestamp", "timeofday", "gen_random_uuid"})
_ORDERED = frozenset({"row_number", "first_value", "last_value", "nth_value", "lag", "lead", "ntile"})
_COLLECTING = frozenset(
    {"array_agg", "string_agg", "json_agg", "jsonb_agg", "json_object_agg", "jsonb_object_agg", "xmlagg"}
)


class Calls(ExpressionBase):
    """Function, aggregate and window calls."""

    def _keyword_call(self, node: exp.Expr, scope: Scope, clause: str) -> str:
        calls: dict[type[exp.Expr], tuple[str, list[Any]]] = {
            exp.Extract: ("extract", [None, node.args.get("expression")]),
            exp.Trim: ("btrim", [node.this, node.args.get("expression")]),
            exp.Substring: ("substring", [node.this, node.args.get("start"), node.args.get("length")]),
            exp.StrPosition: ("position", [node.this, node.args.get("substr")]),
            exp.Overlay: (
                "overlay",
                [node.this, node.args.get("expression"), node.args.get("from_"), node.args.get("for_")],
            ),
        }
        name, parts = calls[type(node)]
        kinds = [
            UNKNOWN if part is None else self.type_of(part, scope, clause)
            for i, part in enumerate(parts)
            if part is not None or (name == "extract" and i == 0)
        ]
        return self._resolve_call(name, kinds, node)

    def _call(self, node: exp.Anonymous, scope: Scope, clause: str) -> str:
        name = call_name(node)
        arguments = list(node.expressions)
        distinct = ordered = False
        if len(arguments) == 1 and isinstance(arguments[0], exp.Distinct):
            distinct, arguments = True, list(arguments[0].expressions)
        if arguments and isinstance(arguments[-1], exp.Order):
            order = arguments[-1]
            ordered, arguments = True, [*arguments[:-1], *([order.this] if order.this is not None else [])]
            for key in order.expressions:
                self.type_of(key.this if isinstance(key, exp.Ordered) else key, scope, clause)
            if arguments and isinstance(arguments[0], exp.Distinct):
                distinct, arguments = True, [*arguments[0].expressions, *arguments[1:]]
        if any(
            isinstance(argument, (exp.Limit, exp.IgnoreNulls, exp.RespectNulls, exp.HavingMax))
            for argument in arguments
        ):
            self.findings.alien(f"{name}: LIMIT and NULLS clauses in a call are not Postgres's")
        signatures = catalog().functions.get(name, [])
        window = self._window_of(node)
        within = node.parent if isinstance(node.parent, exp.WithinGroup) else None
        aggregate = window is None and any(signature.kind == "a" for signature in signatures)
        if aggregate:
            self._enter_aggregate(name, node, clause)
        if arguments and any(isinstance(argument, exp.Variadic) for argument in arguments):
            for argument in arguments:
                self.type_of(argument, scope, clause)
            kinds = None
        else:
            kinds = [] if name == "count" and len(arguments) == 1 and isinstance(arguments[0], exp.Star) else [
                self.type_of(argument, scope, clause) for argument in arguments if not isinstance(argument, exp.Star)
            ]  # fmt: skip
        if any(isinstance(argument, exp.Star) for argument in arguments) and name != "count":
            self.findings.fault(f"{name}(*) is no call")
        if aggregate:
            self.inside_aggregate -= 1
        if within is not None:
            order = within.expression
            extra = [
                self.type_of(key.this if isinstance(key, exp.Ordered) else key, scope, clause)
                for key in order.expressions
            ]
            kinds = (kinds or []) + extra
        self._note(name, ordered, window, distinct)
        if signatures and all(signature.ordered_set == "w" for signature in signatures) and within is None:
            self.findings.fault(f"WITHIN GROUP is required for ordered-set aggregate {name}")
        if window is None and signatures and all(signature.kind == "w" for signature in signatures):
            self.findings.fault(f"window function {name} requires an OVER clause")
        if window is not None and signatures and not any(signature.kind in "aw" for signature in signatures):
            self.findings.fault(f"OVER specified, but {name} is not a window function nor an aggregate function")
        if distinct and signatures and not any(signature.kind == "a" for signature in signatures):
            self.findings.fault(f"DISTINCT specified, but {name} is not an aggregate function")
        if (
            clause in ("WHERE", "GROUP BY", "HAVING", "JOIN")
            and clause != "GROUP BY"
            and any(s.returns_set for s in signatures)
        ):
            self.findings.fault(f"set-returning functions are not allowed in {clause}")
        if name in _SPECIAL:
            return self._special(name, kinds or [], arguments)
        if kinds is None or any(isinstance(argument, (exp.Kwarg, exp.PropertyEQ)) for argument in arguments):
            if not signatures:
                self.findings.alien(f"function {name} does not exist")
            results = {signature.result for signature in signatures}
            return results.pop() if len(results) == 1 else ANY_TYPE
        if name == "count" and not kinds and not arguments:
            self.findings.fault("count(*) must be used to call a parameterless aggregate function")
        return self._resolve_call(name, kinds, node)

    def _enter_aggregate(self, name: str, node: exp.Anonymous, clause: str) -> None:
        if self.inside_aggregate:
            self.findings.fault("aggregate function calls cannot be nested")
        if clause in CLAUSES_WITHOUT_AGGREGATES:
            self.findings.fault(f"aggregate functions are not allowed in {clause}")
        self.inside_aggregate += 1

    def _note(self, name: str, ordered: bool, window: exp.Window | None, distinct: bool) -> None:
        self.findings.volatile = self.findings.volatile or name in _VOLATILE
        if (name in _ORDERED and window is not None) or (name in _COLLECTING and not ordered):
            self.findings.order_dependent = True

    def _window_of(self, node: exp.Expr) -> exp.Window | None:
        parent: Any = node.parent
        while isinstance(parent, (exp.Filter, exp.WithinGroup, exp.IgnoreNulls, exp.RespectNulls)):
            parent = parent.parent
        inner = parent.this if isinstance(parent, exp.Window) else None
        return parent if inner is not None and inner.find(exp.Anonymous) is node else None

    def _resolve_call(self, name: str, kinds: list[str], node: exp.Expr) -> str:
        signatures = catalog().functions.get(name, [])
        if not signatures:
            self.findings.alien(f"function {name} does not exist")
            return ANY_TYPE
        arguments = ["any"] if name == "count" and not kinds else kinds
        signature = resolve(signatures, [ANY_TYPE if kind == "any" else kind for kind in arguments])
        if signature is None:
            self.findings.fault(f"function {name}({', '.join(kinds)}) does not exist")
            return ANY_TYPE
        parts = node.args.get("expressions") or []
        for part, kind, wanted in zip(parts, kinds, signature.arguments, strict=False):
            if kind == UNKNOWN and isinstance(part, exp.Literal):
                self._fits(part, wanted)
        start = node.meta.get("start") if node.meta else None
        if start is not None:
            self.findings.calls[start] = Call(name, tuple(kinds), signature.result)
        return signature.result

    def _special(self, name: str, kinds: list[str], arguments: list[exp.Expr]) -> str:
        if name == "row":
            return "record"
        if name == "grouping":
            return "int4"
        if name == "nullif":
            if len(kinds) != 2:
                self.findings.fault("NULLIF takes two arguments")
                return ANY_TYPE
            self._apply("=", kinds[0], kinds[1], arguments[0], arguments[1])
            return kinds[0] if kinds[0] != UNKNOWN else "text"
        if not kinds:
            self.findings.fault(f"{name.upper()} takes at least one argument")
        kind = self._common(name.upper(), kinds)
        for argument, given in zip(arguments, kinds, strict=False):
            if given == UNKNOWN and isinstance(argument, exp.Literal):
                self._fits(argument, kind)
        return kind

    def _window(self, node: exp.Window, scope: Scope, clause: str) -> str:
        if clause in CLAUSES_WITHOUT_WINDOWS:
            self.findings.fault(f"window functions are not allowed in {clause}")
        kind = self.type_of(node.this, scope, "WINDOW" if clause in CLAUSES_WITHOUT_WINDOWS else clause)
        name = node.args.get("alias")
        if name is not None and fold(name) not in self.windows:
            self.findings.fault(f'window "{fold(name)}" does not exist')
        self.window_parts(node, scope)
        return kind

    def _unnest(self, node: exp.Explode, scope: Scope, clause: str) -> str:
        kind = self.type_of(node.this, scope, clause)
        if clause in ("WHERE", "HAVING", "JOIN"):
            self.findings.fault(f"set-returning functions are not allowed in {clause}")
        if kind.startswith("_"):
            return kind[1:]
        if kind in catalog().categories:
            self.findings.fault(f"function unnest({kind}) does not exist")
        return ANY_TYPE

    def window_parts(self, node: exp.Window, scope: Scope) -> None:
        """Bind PARTITION BY and ORDER BY of a window."""
        for part in node.args.get("partition_by") or ():
            self.type_of(part, scope, "PARTITION BY")
        order = node.args.get("order")
        for key in order.expressions if order is not None else ():
            self.type_of(key.this if isinstance(key, exp.Ordered) else key, scope, "WINDOW ORDER BY")

    def _filter(self, node: exp.Filter, scope: Scope, clause: str) -> str:
        kind = self.type_of(node.this, scope, clause)
        condition = node.expression.this if isinstance(node.expression, exp.Where) else node.expression
        self.boolean(condition, scope, "FILTER" if clause not in CLAUSES_WITHOUT_WINDOWS else clause)
        return kind
