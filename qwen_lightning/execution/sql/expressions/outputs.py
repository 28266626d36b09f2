"""Names of output columns, equality and constancy of expressions."""

from __future__ import annotations

from typing import Any

from sqlglot import exp

from qwen_lightning.execution.sql.catalog import (
    type_name,
)
from qwen_lightning.execution.sql.ddl import fold
from qwen_lightning.execution.sql.expressions.base import (
    ExpressionBase,
)
from qwen_lightning.execution.sql.parsing import call_name

_COLLECTING = frozenset(
    {"array_agg", "string_agg", "json_agg", "jsonb_agg", "json_object_agg", "jsonb_object_agg", "xmlagg"}
)
_COUNTING = _COLLECTING | {"count", "sum"}

_OUTPUT_NAMES: dict[type[exp.Expr], str] = {
    exp.Extract: "extract", exp.Trim: "btrim", exp.Substring: "substring", exp.StrPosition: "position",
    exp.Exists: "exists", exp.Array: "array", exp.CurrentDate: "current_date", exp.Interval: "interval",
    exp.CurrentTimestamp: "current_timestamp", exp.Boolean: "bool", exp.Overlay: "overlay", exp.AtTimeZone: "timezone",
    exp.Grouping: "grouping",
}  # fmt: skip


class Outputs(ExpressionBase):
    """Names of output columns, equality and constancy of expressions."""

    def output_name(self, node: exp.Expr) -> str:
        """The name that Postgres gives an unnamed output column."""
        if isinstance(node, exp.Column):
            return fold(node.this)
        if isinstance(node, exp.Dot):
            return fold(node.expression)
        if isinstance(node, (exp.Paren, exp.Window, exp.Filter, exp.WithinGroup, exp.Bracket, exp.Collate)):
            return self.output_name(node.this)
        if isinstance(node, exp.Anonymous):
            return call_name(node)
        if isinstance(node, exp.Cast):
            inner = self.output_name(node.this)
            return inner if inner != "?column?" else type_name(node.args["to"])
        if isinstance(node, exp.Case):
            inner = self.output_name(node.args["default"]) if node.args.get("default") is not None else "?column?"
            return (
                inner
                if inner not in ("?column?", "bool") and isinstance(node.args.get("default"), exp.Column)
                else "case"
            )
        if isinstance(node, exp.Subquery) and isinstance(node.this, exp.Select) and len(node.this.expressions) == 1:
            item = node.this.expressions[0]
            return fold(item.args["alias"]) if isinstance(item, exp.Alias) else self.output_name(item)
        return _OUTPUT_NAMES.get(type(node), "?column?")

    def canonical(self, node: Any) -> str:
        """A text that equal expressions share, columns told apart by where they lead."""
        if isinstance(node, exp.Paren):
            return self.canonical(node.this)
        if isinstance(node, exp.Column):
            resolved = self.findings.resolved.get(id(node))
            return f"<{id(resolved.relation)}.{resolved.output.name}>" if resolved else f"<{node.sql().lower()}>"
        if isinstance(node, exp.Anonymous):
            return f"{call_name(node)}({','.join(self.canonical(argument) for argument in node.expressions)})"
        if isinstance(node, exp.Expr):
            parts = ",".join(
                f"{name}={self.canonical(value)}"
                for name, value in sorted(node.args.items())
                if value not in (None, False, [])
            )
            return f"{type(node).__name__}({parts})"
        if isinstance(node, list):
            return "[" + ",".join(self.canonical(item) for item in node) + "]"
        return str(node)

    def is_constant(self, node: exp.Expr) -> bool:
        """Whether an expression's value hangs on no row of any table."""
        for part in node.walk():
            if isinstance(part, exp.Column):
                resolved = self.findings.resolved.get(id(part))
                if resolved is None or not resolved.output.constant:
                    return False
            elif isinstance(part, (exp.Star, exp.Window, exp.Exists)) or (
                isinstance(part, exp.Anonymous) and call_name(part) in _COUNTING
            ):
                return False
        return True
