"""Literals, casts, CASE, arrays and subqueries as values."""

from __future__ import annotations

import re

from sqlglot import exp

from qwen_lightning.execution.sql.binding import Scope
from qwen_lightning.execution.sql.catalog import (
    ANY_TYPE,
    FOREIGN_TYPES,
    UNKNOWN,
    catalog,
    common_type,
    explicit,
    resolve,
    type_name,
)
from qwen_lightning.execution.sql.ddl import fold
from qwen_lightning.execution.sql.expressions.base import (
    CLAUSES_WITHOUT_WINDOWS,
    ExpressionBase,
)

_INTERVAL_WORDS = frozenset(
    """
    microsecond microseconds us usec usecs millisecond milliseconds ms msec msecs second seconds sec secs s minute
    minutes min mins m hour hours hr hrs h day days d week weeks w month months mon mons year years yr yrs y decade
    decades century centuries c millennium millennia to ago
    """.split()  # noqa: SIM905
)


class Values(ExpressionBase):
    """Literals, casts, CASE, arrays and subqueries as values."""

    def _exists(self, node: exp.Exists, scope: Scope, clause: str) -> str:
        if isinstance(node.this, exp.Query):
            self.binder.query(node.this, self.ctes, scope)
        return "bool"

    def _scalar(self, node: exp.Expr, scope: Scope) -> str:
        outputs = self.binder.query(node, self.ctes, scope)
        if len(outputs) > 1:
            self.findings.fault("subquery must return only one column")
        if not outputs or outputs[0].name == "*":
            return ANY_TYPE
        return "text" if outputs[0].type == UNKNOWN else outputs[0].type

    def _literal(self, node: exp.Literal, scope: Scope, clause: str) -> str:
        if node.is_string:
            return UNKNOWN
        if node.is_int:
            size = abs(int(node.this))
            return "int4" if size < 1 << 31 else "int8" if size < 1 << 63 else "numeric"
        return "numeric"

    def _wrapped(self, node: exp.Expr, scope: Scope, clause: str) -> str:
        return self.type_of(node.this, scope, clause)

    def _alias(self, node: exp.Alias, scope: Scope, clause: str) -> str:
        self.findings.fault("AS inside an expression")
        return self.type_of(node.this, scope, clause)

    def _interval(self, node: exp.Interval, scope: Scope, clause: str) -> str:
        text = f"{node.this.name if isinstance(node.this, exp.Literal) else ''} {node.args.get('unit') or ''}"
        for word in re.findall(r"[A-Za-z]+", text):
            if word.lower() not in _INTERVAL_WORDS and not re.fullmatch(r"\s*P[\dYMWDTHS.]+\s*", text):
                self.findings.fault(f'invalid input syntax for type interval: "{text.strip()}"')
                break
        return "interval"

    def _negative(self, node: exp.Neg, scope: Scope, clause: str) -> str:
        kind = self.type_of(node.this, scope, clause)
        if kind in (ANY_TYPE, UNKNOWN):
            return ANY_TYPE
        signature = resolve([s for s in catalog().operators["-"] if len(s.arguments) == 1], [kind])
        if signature is None:
            self.findings.fault(f"operator does not exist: - {kind}")
            return ANY_TYPE
        return signature.result

    def _cast(self, node: exp.Cast, scope: Scope, clause: str) -> str:
        target = node.args["to"]
        dtype = getattr(target.this, "name", str(target.this))
        if dtype in FOREIGN_TYPES or (
            dtype.startswith(("U", "LIST")) and dtype not in ("UUID", "USERDEFINED", "UNKNOWN")
        ):
            self.findings.alien(f'type "{dtype.lower()}" does not exist')
            self.type_of(node.this, scope, clause)
            return ANY_TYPE
        if dtype == "USERDEFINED" and not self._known_type(target):
            self.findings.alien(f'type "{target.sql("postgres").lower()}" does not exist')
        kind, source = type_name(target), self.type_of(node.this, scope, clause)
        if source == UNKNOWN and isinstance(node.this, exp.Literal):
            self._fits(node.this, kind)
        elif source != UNKNOWN and ANY_TYPE not in (source, kind) and not explicit(source, kind):
            self.findings.fault(f"cannot cast type {source} to {kind}")
        return kind

    def _known_type(self, target: exp.DataType) -> bool:
        kind = target.args.get("kind")
        name = (fold(kind) if isinstance(kind, exp.Identifier) else str(kind or "")).split(".")[-1].strip('"').lower()
        return name in catalog().categories or name in self.binder.schema.enums or name in self.binder.schema.tables

    def _case(self, node: exp.Case, scope: Scope, clause: str) -> str:
        subject = self.type_of(node.this, scope, clause) if node.this is not None else None
        kinds = []
        for branch in node.args["ifs"]:
            if subject is None:
                self.boolean(branch.this, scope, "CASE/WHEN" if clause not in CLAUSES_WITHOUT_WINDOWS else clause)
            else:
                self._apply("=", subject, self.type_of(branch.this, scope, clause), node.this, branch.this)
            kinds.append(self.type_of(branch.args["true"], scope, clause))
        if node.args.get("default") is not None:
            kinds.append(self.type_of(node.args["default"], scope, clause))
        return self._common("CASE", kinds)

    def _common(self, word: str, kinds: list[str]) -> str:
        kind = common_type(kinds) if kinds else ANY_TYPE
        if kind is None:
            names = list(dict.fromkeys(name for name in kinds if name not in (UNKNOWN, ANY_TYPE)))
            self.findings.fault(f"{word} types {' and '.join(names[:2])} cannot be matched")
        return kind or ANY_TYPE

    def _array(self, node: exp.Array, scope: Scope, clause: str) -> str:
        if len(node.expressions) == 1 and isinstance(node.expressions[0], exp.Query):
            kind = self._scalar(node.expressions[0], scope)
        elif not node.expressions:
            return ANY_TYPE
        else:
            kind = self._common("ARRAY", [self.type_of(item, scope, clause) for item in node.expressions])
        return kind if kind == ANY_TYPE or kind.startswith("_") else "_" + kind

    def _bracket(self, node: exp.Bracket, scope: Scope, clause: str) -> str:
        kind = self.type_of(node.this, scope, clause)
        for item in node.expressions:
            self.type_of(item, scope, clause)
        if kind.startswith("_"):
            return kind if any(isinstance(item, exp.Slice) for item in node.expressions) else kind[1:]
        if kind in ("text", "varchar", "int4", "int8", "numeric", "date", "float8", "bool"):
            self.findings.fault(f"cannot subscript type {kind} because it does not support subscripting")
        return "jsonb" if kind == "jsonb" else ANY_TYPE

    def _zone(self, node: exp.AtTimeZone, scope: Scope, clause: str) -> str:
        kind = self.type_of(node.this, scope, clause)
        self.type_of(node.args["zone"], scope, clause)
        swapped = {
            "timestamp": "timestamptz",
            "timestamptz": "timestamp",
            "date": "timestamp",
            "time": "timetz",
            "timetz": "timetz",
            UNKNOWN: "timestamp",
        }
        if kind not in swapped and kind != ANY_TYPE:
            self.findings.fault(f"function timezone(unknown, {kind}) does not exist")
        return swapped.get(kind, ANY_TYPE)

    def _tuple(self, node: exp.Tuple, scope: Scope, clause: str) -> str:
        for item in node.expressions:
            self.type_of(item, scope, clause)
        return "record"

    def _alien(self, node: exp.Expr, scope: Scope, clause: str) -> str:
        self.findings.alien(f"{type(node).__name__} is not Postgres's")
        return ANY_TYPE
