"""Types of expressions as Postgres infers them, and the names, operators and functions in them that it would refuse."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from qwen_lightning.execution.binding import Call, Findings, Output, Relation, Resolved, Scope
from qwen_lightning.execution.catalog import (
    ANY_TYPE,
    FOREIGN_TYPES,
    UNKNOWN,
    catalog,
    category,
    common_type,
    explicit,
    implicit,
    resolve,
    type_name,
)
from qwen_lightning.execution.ddl import fold
from qwen_lightning.execution.parsing import call_name
from qwen_lightning.execution.wanted import note_wanted

if TYPE_CHECKING:
    from qwen_lightning.execution.binder import Binder

_OPERATORS: dict[type[exp.Expr], str] = {
    exp.Add: "+", exp.Sub: "-", exp.Mul: "*", exp.Div: "/", exp.Mod: "%", exp.Pow: "^", exp.DPipe: "||",
    exp.EQ: "=", exp.NEQ: "<>", exp.GT: ">", exp.GTE: ">=", exp.LT: "<", exp.LTE: "<=", exp.NullSafeEQ: "=", exp.NullSafeNEQ: "=",
    exp.Like: "~~", exp.ILike: "~~*", exp.RegexpLike: "~", exp.RegexpILike: "~*", exp.SimilarTo: "~",
    exp.BitwiseAnd: "&", exp.BitwiseOr: "|", exp.BitwiseXor: "#", exp.BitwiseLeftShift: "<<", exp.BitwiseRightShift: ">>",
    exp.ArrayContainsAll: "@>", exp.ArrayContainedBy: "<@", exp.ArrayOverlaps: "&&", exp.JSONExtract: "->", exp.JSONExtractScalar: "->>",
    exp.JSONBExtract: "#>", exp.JSONBExtractScalar: "#>>", exp.JSONBContains: "?", exp.JSONBContainsTopKey: "?",
}  # fmt: skip
_COMPARISONS = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.NullSafeEQ, exp.NullSafeNEQ)
_FIXED: dict[type[exp.Expr], str] = {
    exp.Boolean: "bool", exp.Null: UNKNOWN, exp.CurrentDate: "date", exp.CurrentTimestamp: "timestamptz", exp.CurrentTime: "timetz",
    exp.Localtime: "time", exp.Localtimestamp: "timestamp", exp.Interval: "interval", exp.CurrentUser: "name", exp.SessionUser: "name",
    exp.CurrentRole: "name", exp.CurrentCatalog: "name", exp.CurrentSchema: "name", exp.BitString: "bit", exp.HexString: "bit",
    exp.RawString: UNKNOWN, exp.UnicodeString: UNKNOWN, exp.ByteString: UNKNOWN, exp.National: "bpchar", exp.Star: ANY_TYPE,
}  # fmt: skip
# Calls with a syntax or typing of their own.
_SPECIAL = frozenset({"coalesce", "greatest", "least", "nullif", "row", "grouping"})
_CLOCKS = (exp.CurrentTimestamp, exp.CurrentTime, exp.Localtime, exp.Localtimestamp, exp.CurrentDate)
_CLOCK_CALLS = frozenset({"now", "transaction_timestamp", "statement_timestamp", "age"})
_VOLATILE = frozenset({"random", "clock_timestamp", "timeofday", "gen_random_uuid"})
_ORDERED = frozenset({"row_number", "first_value", "last_value", "nth_value", "lag", "lead", "ntile"})
_COLLECTING = frozenset(
    {"array_agg", "string_agg", "json_agg", "jsonb_agg", "json_object_agg", "jsonb_object_agg", "xmlagg"}
)
# Aggregates whose value hangs on how many rows there are, even over a constant.
_COUNTING = _COLLECTING | {"count", "sum"}
_NO_AGGREGATE = frozenset({"WHERE", "JOIN", "GROUP BY", "FROM", "VALUES"})
_NO_WINDOW = frozenset({"WHERE", "JOIN", "GROUP BY", "HAVING", "FROM", "VALUES"})
# Functions of other databases that a Postgres catalog holds under other rules, or syntax that only looks like a call.
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*|\s*[+-]?(nan|inf|infinity)\s*", re.IGNORECASE)
_INTEGER = re.compile(r"\s*[+-]?\d+\s*")
_BOOLEANS = frozenset(["t", "tr", "tru", "true", "y", "ye", "yes", "on", "1", "f", "fa", "fal", "fals", "false", "n", "no", "of", "off", "0"])
_DATE_WORDS = frozenset({"now", "today", "tomorrow", "yesterday", "epoch", "infinity", "-infinity", "allballs"})


class Expressions:
    """Infers types and records faults; one for a query."""

    def __init__(self, binder: Binder, findings: Findings) -> None:
        self.binder, self.findings = binder, findings
        self.ctes: Mapping[str, tuple[list[Output], frozenset[str]]] = {}
        self.windows: set[str] = set()
        self.inside_aggregate = 0

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
            self.findings.clock = self.findings.clock or type(node) in _CLOCKS
            return fixed
        if type(node) in _OPERATORS:
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

    # Names

    def relation(self, column: exp.Column, scope: Scope) -> Relation | None:
        """The relation that a column's qualifier means."""
        name, around, hidden = fold(column.args.get("table")), scope, False
        current: Scope | None = around
        while current is not None:
            for relation in current.seen():
                if relation.name == name:
                    return relation
            hidden = hidden or any(relation.name == name for relation in current.relations)
            current = current.outer
        if hidden or name in self.binder.query_aliases or name in self.binder.schema.tables:
            self.findings.fault(
                f'invalid reference to FROM-clause entry for table "{name}"'
                if hidden
                else f'missing FROM-clause entry for table "{name}"'
            )
        else:
            self.findings.miss(f'missing FROM-clause entry for table "{name}"')
        return None

    def finds(self, column: exp.Column, scope: Scope) -> bool:
        """Whether a bare name is an input column of this scope."""
        name = fold(column.this)
        return name in scope.merged or any(relation.open or relation.find(name) for relation in scope.relations)

    def _column(self, node: exp.Column, scope: Scope, clause: str) -> str:
        if isinstance(node.this, exp.Star):
            self.relation(node, scope)
            return ANY_TYPE
        if node.args.get("table") is not None:
            return self._qualified(node, scope)
        name = fold(node.this)
        current: Scope | None = scope
        while current is not None:
            if name in current.merged:
                holder = next(r for r in current.relations if r.find(name))
                self.findings.resolved[id(node)] = Resolved(current, holder, holder.find(name) or current.merged[name])
                return current.merged[name].type
            found = [(relation, output) for relation in current.seen() if (output := relation.find(name)) is not None]
            if len(found) > 1:
                self.findings.fault(f'column reference "{name}" is ambiguous')
            if found:
                relation, output = found[0]
                self.findings.resolved[id(node)] = Resolved(current, relation, output)
                return output.type
            if any(relation.open for relation in current.seen()) or any(
                relation.name == name for relation in current.seen()
            ):
                return ANY_TYPE
            current = current.outer
        self.unknown_column(node, scope)
        return ANY_TYPE

    def _qualified(self, node: exp.Column, scope: Scope) -> str:
        relation = self.relation(node, scope)
        if relation is None:
            return ANY_TYPE
        name = fold(node.this)
        output = relation.find(name)
        if output is None:
            if not relation.open:
                self.findings.miss(f"column {relation.name}.{name} does not exist")
            return ANY_TYPE
        current: Scope | None = scope
        while current is not None and relation not in current.relations:
            current = current.outer
        self.findings.resolved[id(node)] = Resolved(current or scope, relation, output)
        return output.type

    def unknown_column(self, node: exp.Column, scope: Scope | None) -> None:
        """A bare name that leads nowhere: an output alias or a name out of sight is a fault, any other is missing."""
        name = fold(node.this)
        current = scope
        while current is not None:
            if name in current.aliases:
                self.findings.fault(f'column "{name}" does not exist here: it is an output name')
                return
            if any(relation.find(name) for relation in current.relations):
                self.findings.fault(f'column "{name}" cannot be referenced from this part of the query')
                return
            current = current.outer
        self.findings.miss(f'column "{name}" does not exist')

    # Operators and predicates

    def _operator(self, node: exp.Expr, scope: Scope, clause: str) -> str:
        left_node, right_node = node.this, node.args.get("expression")
        symbol = _OPERATORS[type(node)]
        if isinstance(right_node, (exp.Any, exp.All)):
            return self._quantified(node, symbol, scope, clause)
        left = self.type_of(left_node, scope, clause)
        json = isinstance(node, (exp.JSONExtract, exp.JSONExtractScalar)) and isinstance(right_node, exp.JSONPath)
        right = UNKNOWN if json else self.type_of(right_node, scope, clause)
        if isinstance(node, _COMPARISONS):
            if isinstance(left_node, exp.Tuple) or isinstance(right_node, exp.Tuple):
                return "bool"
            self._want(node, left_node, right_node)
        elif isinstance(node, (exp.Like, exp.ILike, exp.SimilarTo)):
            self._want(node, left_node, right_node)
        return self._apply(symbol, left, right, left_node, right_node)

    def _apply(self, symbol: str, left: str, right: str, left_node: Any, right_node: Any) -> str:
        if ANY_TYPE in (left, right):
            return "bool" if symbol in ("=", "<>", "<", "<=", ">", ">=", "~~", "~~*", "~", "~*") else ANY_TYPE
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
                self.boolean(part, scope, clause if word is None else f"{word}" if clause not in _NO_WINDOW else clause)
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
        known = common_type([kind, *others]) if width == 1 else ANY_TYPE
        for item, other in zip(node.expressions, others, strict=True):
            self._want(node, node.this, item)
            if width == 1:
                self._apply("=", kind, other if known is None or other == UNKNOWN else other, node.this, item)
        return "bool"

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

    # Values

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
        if (
            dtype in FOREIGN_TYPES
            or (dtype.startswith(("U", "LIST"))
            and dtype not in ("UUID", "USERDEFINED", "UNKNOWN"))
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
                self.boolean(branch.this, scope, "CASE/WHEN" if clause not in _NO_WINDOW else clause)
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

    # Calls

    def _keyword_call(self, node: exp.Expr, scope: Scope, clause: str) -> str:
        name, parts = {
            exp.Extract: ("extract", [None, node.args.get("expression")]),
            exp.Trim: ("btrim", [node.this, node.args.get("expression")]),
            exp.Substring: ("substring", [node.this, node.args.get("start"), node.args.get("length")]),
            exp.StrPosition: ("position", [node.this, node.args.get("substr")]),
            exp.Overlay: (
                "overlay",
                [node.this, node.args.get("expression"), node.args.get("from_"), node.args.get("for_")],
            ),
        }[type(node)]
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
        if clause in _NO_AGGREGATE:
            self.findings.fault(f"aggregate functions are not allowed in {clause}")
        self.inside_aggregate += 1

    def _note(self, name: str, ordered: bool, window: exp.Window | None, distinct: bool) -> None:
        self.findings.volatile = self.findings.volatile or name in _VOLATILE
        self.findings.clock = self.findings.clock or name in _CLOCK_CALLS
        if (name in _ORDERED and window is not None) or (name in _COLLECTING and not ordered):
            self.findings.order_dependent = True

    def _window_of(self, node: exp.Expr) -> exp.Window | None:
        parent = node.parent
        while isinstance(parent, (exp.Filter, exp.WithinGroup, exp.IgnoreNulls, exp.RespectNulls)):
            parent = parent.parent
        inner = parent.this if isinstance(parent, exp.Window) else None
        return parent if inner is not None and inner.find(exp.Anonymous) is node else None

    def _resolve_call(self, name: str, kinds: list[str], node: exp.Expr) -> str:
        signatures = catalog().functions.get(name, [])
        if not signatures:
            if self._schema_function(node):
                return ANY_TYPE
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

    def _schema_function(self, node: exp.Expr) -> bool:
        return False

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
        if clause in _NO_WINDOW:
            self.findings.fault(f"window functions are not allowed in {clause}")
        kind = self.type_of(node.this, scope, "WINDOW" if clause in _NO_WINDOW else clause)
        self.window_parts(node, scope)
        return kind

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
        self.boolean(condition, scope, "FILTER" if clause not in _NO_WINDOW else clause)
        return kind

    def _alien(self, node: exp.Expr, scope: Scope, clause: str) -> str:
        self.findings.alien(f"{type(node).__name__} is not Postgres's")
        return ANY_TYPE

    # Names and equality of outputs

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
        names = {exp.Extract: "extract", exp.Trim: "btrim", exp.Substring: "substring", exp.StrPosition: "position", exp.Exists: "exists",
                 exp.Array: "array", exp.CurrentDate: "current_date", exp.CurrentTimestamp: "current_timestamp", exp.Interval: "interval",
                 exp.Boolean: "bool", exp.Overlay: "overlay", exp.AtTimeZone: "timezone", exp.Grouping: "grouping"}  # fmt: skip
        return names.get(type(node), "?column?")

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


_Method = Callable[[Expressions, Any, Scope, str], str]
_METHODS: dict[type[exp.Expr], _Method] = {
    exp.Column: Expressions._column, exp.Literal: Expressions._literal, exp.Paren: Expressions._wrapped, exp.Alias: Expressions._alias,
    exp.And: Expressions._logical, exp.Or: Expressions._logical, exp.Not: Expressions._logical, exp.Is: Expressions._is,
    exp.Between: Expressions._between, exp.In: Expressions._in, exp.Exists: Expressions._exists, exp.Neg: Expressions._negative,
    exp.Cast: Expressions._cast, exp.TryCast: Expressions._alien, exp.Case: Expressions._case, exp.If: Expressions._alien,
    exp.Array: Expressions._array, exp.Bracket: Expressions._bracket, exp.AtTimeZone: Expressions._zone, exp.Tuple: Expressions._tuple,
    exp.Extract: Expressions._keyword_call, exp.Trim: Expressions._keyword_call, exp.Substring: Expressions._keyword_call,
    exp.StrPosition: Expressions._keyword_call, exp.Overlay: Expressions._keyword_call, exp.Anonymous: Expressions._call,
    exp.Window: Expressions._window, exp.Filter: Expressions._filter, exp.WithinGroup: Expressions._wrapped, exp.Escape: Expressions._wrapped,
    exp.Variadic: Expressions._wrapped, exp.Collate: Expressions._wrapped, exp.Lambda: Expressions._alien, exp.IntDiv: Expressions._alien,
    exp.Glob: Expressions._alien, exp.XOR if hasattr(exp, "XOR") else exp.Xor: Expressions._alien,
}  # fmt: skip

__all__ = ["Expressions", "category", "implicit"]
