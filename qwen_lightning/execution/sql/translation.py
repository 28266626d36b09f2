"""Postgres to DuckDB: sqlglot's translation, with what it leaves silently different put right or refused."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from typing import Any

from sqlglot import exp
from sqlglot.errors import SqlglotError

from qwen_lightning.execution.sql.binding import Call
from qwen_lightning.execution.sql.datetime_formats import formatted
from qwen_lightning.execution.sql.ddl import fold
from qwen_lightning.execution.sql.engine import Runnable
from qwen_lightning.execution.sql.parsing import call_name

# Now is frozen for the life of a worker, so that gold and completion see the same clock.
_NOW = datetime.datetime.now(datetime.UTC).replace(tzinfo=None, microsecond=0)
#: What asks a clock, to the text and the type of what it says; `{0}` is the moment, in UTC.
_CLOCKS: dict[type[exp.Expr], tuple[str, str]] = {
    exp.CurrentTimestamp: ("{0:%F %T}+00", "TIMESTAMPTZ"), exp.Localtimestamp: ("{0:%F %T}", "TIMESTAMP"),
    exp.CurrentDate: ("{0:%F}", "DATE"), exp.CurrentTime: ("{0:%T}+00", "TIMETZ"), exp.Localtime: ("{0:%T}", "TIME"),
}  # fmt: skip
_CLOCK_CALLS = frozenset({"now", "transaction_timestamp", "statement_timestamp", "clock_timestamp"})
# Functions that DuckDB has under the same name with another result, or that have no counterpart.
_DIFFERENT = frozenset(
    """
    format regexp_match regexp_matches regexp_split_to_table to_number justify_days justify_hours justify_interval
    pg_typeof quote_literal quote_ident quote_nullable parse_ident normalize timeofday convert_to convert_from
    encode decode make_interval array_dims array_fill num_nulls num_nonnulls regexp_instr regexp_substr date_bin
    to_json row_to_json array_to_json jsonb_set jsonb_pretty version current_database current_schema mode unistr
    set_bit get_bit ts_rank to_tsvector to_tsquery xmlagg scale trim_scale min_scale
    """.split()  # noqa: SIM905
)
_RENAMED = {
    "every": "bool_and", "json_agg": "json_group_array", "jsonb_agg": "json_group_array",
    "json_build_object": "json_object", "jsonb_build_object": "json_object", "json_build_array": "json_array",
    "jsonb_build_array": "json_array", "json_object_agg": "json_group_object",
    "jsonb_object_agg": "json_group_object", "char_length": "length", "character_length": "length",
    "octet_length": "strlen", "jsonb_array_length": "json_array_length",
}  # fmt: skip


# Set-returning JSON functions: what DuckDB unnests instead.
_JSON_SETS = {
    **{f"{kind}_array_elements": ("json_extract", [exp.Literal.string("$[*]")]) for kind in ("json", "jsonb")},
    **{
        f"{kind}_array_elements_text": ("json_extract_string", [exp.Literal.string("$[*]")])
        for kind in ("json", "jsonb")
    },
    **{f"{kind}_object_keys": ("json_keys", []) for kind in ("json", "jsonb")},
}


class Untranslatable(Exception):
    """DuckDB lacks, or silently does differently, what the query uses; the message names it."""


def to_duckdb(query: Runnable, namespace: str) -> str:
    """DuckDB text of a query.

    Args:
        query: The Postgres query.
        namespace: The DuckDB schema that holds the tables.

    Raises:
        Untranslatable: The query needs what DuckDB has not.
    """
    parsed = query.parsed
    for call in parsed.tree.find_all(exp.Anonymous):
        if call_name(call) in _DIFFERENT:
            raise Untranslatable(f"DuckDB has no equal of {call_name(call)}()")
    now = query.now or _NOW
    tree = freeze_clock(parsed.native, now).copy()
    for table in list(tree.find_all(exp.Table)):
        if isinstance(table.this, exp.Identifier) and not is_cte_reference(table):
            table.set("db", exp.to_identifier(namespace, quoted=True))
            table.set("catalog", None)
    for column in list(tree.find_all(exp.Column)):
        column.set("db", None)
        column.set("catalog", None)
        if column.this.meta and column.this.meta.get("start") in query.dependent:
            _any_value(column)
    formats = {
        call.meta["start"]: call for call in parsed.tree.find_all(exp.Anonymous) if call.meta and "start" in call.meta
    }
    for node in reversed(list(tree.walk())):  # children first: what replaces a parent holds copies of them
        _put_right(node, query.calls, formats, now)
    try:
        return tree.sql("duckdb")
    except (SqlglotError, RecursionError, ValueError, TypeError, AttributeError) as error:
        raise Untranslatable(f"no translation: {str(error).splitlines()[0][:120]}") from None


def freeze_clock(native: exp.Expr, now: datetime.datetime | None = None) -> exp.Expr:
    """The tree with a moment in place of every clock, the fixed one unless given; itself where it asks none."""
    if not any(_clock(node) for node in native.walk()):
        return native
    tree = native.copy()
    for node in list(tree.walk()):
        if (clock := _clock(node)) is not None:
            node.replace(exp.cast(exp.Literal.string(clock[0].format(now or _NOW)), clock[1]))
    return tree


def _clock(node: exp.Expr) -> tuple[str, str] | None:
    if isinstance(node, exp.Anonymous) and str(node.this).lower() in _CLOCK_CALLS:
        return _CLOCKS[exp.CurrentTimestamp]
    return _CLOCKS.get(type(node))


def _put_right(
    node: exp.Expr, calls: Mapping[int, Call], formats: Mapping[Any, exp.Anonymous], now: datetime.datetime
) -> None:
    start = node.meta.get("start") if isinstance(node, exp.Func) and node.meta else None
    call = calls.get(start) if start is not None else None
    if isinstance(node, exp.Anonymous):
        name = str(node.this).lower()
        if name == "age":
            moments = [part.copy() for part in node.expressions]
            if len(moments) == 1:
                moments.insert(0, exp.cast(exp.Literal.string(str(now.date())), "TIMESTAMP"))
            node.set("expressions", [exp.cast(moment, "TIMESTAMP") for moment in moments])
        elif name in _RENAMED:
            node.set("this", _RENAMED[name])
        elif name in _JSON_SETS and len(node.expressions) == 1:
            node.set("this", "unnest")
            node.set(
                "expressions",
                [
                    exp.Anonymous(
                        this=_JSON_SETS[name][0], expressions=[node.expressions[0].copy(), *_JSON_SETS[name][1]]
                    )
                ],
            )
    elif isinstance(node, exp.JSONBContainsTopKey):
        node.replace(
            exp.Anonymous(
                this="list_contains",
                expressions=[exp.Anonymous(this="json_keys", expressions=[node.this.copy()]), node.expression.copy()],
            )
        )
    elif isinstance(node, (exp.JSONBExtract, exp.JSONBExtractScalar)):
        node.replace(_json_path(node))
    elif isinstance(node, exp.JSONArrayAgg):
        node.replace(exp.Anonymous(this="json_group_array", expressions=[node.this]))
    elif isinstance(node, exp.Sum) and call is not None and call.arguments == ("int8",):
        # sum(bigint) is numeric: what it is divided by leaves a fraction.
        _wrap(node, "DECIMAL(38, 0)")
    elif (
        call is not None
        and call.result == "timestamptz"
        and isinstance(node.parent, exp.Cast)
        and node.parent.is_type("time")
    ):
        node.replace(exp.cast(node.copy(), "TIMESTAMP"))
    elif isinstance(node, exp.Round) and call is not None and call.arguments in (("float8",), ("float4",)):
        # A double rounds half to even, a numeric half away from zero.
        node.replace(exp.Anonymous(this="round_even", expressions=[node.this.copy(), exp.Literal.number(0)]))
    elif isinstance(node, exp.Extract) and _is_divided(node):
        _wrap(node, "DOUBLE")
    elif isinstance(node, exp.TimestampTrunc) and call is not None and call.arguments[-1:] == ("date",):
        node.set("this", exp.cast(node.this, "TIMESTAMP"))
    elif isinstance(node, exp.SimilarTo):
        node.replace(_similar(node))
    elif (
        start in formats
        and call_name(formats[start]) in ("to_char", "to_date", "to_timestamp")
        and len(formats[start].expressions) == 2
    ):
        kind = call.arguments[0] if call is not None and call.arguments else "?"
        translated = formatted(call_name(formats[start]), node.this, formats[start].expressions[1], kind)
        if translated is None:
            raise Untranslatable(f"no translation of {call_name(formats[start])}() with this format")
        node.replace(translated)


def _json_path(node: exp.Expr) -> exp.Expr:
    path = node.expression
    if not (isinstance(path, exp.Literal) and path.is_string and path.this.startswith("{")):
        raise Untranslatable("DuckDB takes JSON paths as literals alone")
    steps = [step.strip().strip('"') for step in path.this[1:-1].split(",") if step.strip()]
    text = "$" + "".join(f"[{step}]" if step.isdigit() else f'."{step}"' for step in steps)
    name = "json_extract_string" if isinstance(node, exp.JSONBExtractScalar) else "json_extract"
    return exp.Anonymous(this=name, expressions=[node.this.copy(), exp.Literal.string(text)])


def _any_value(column: exp.Column) -> None:
    """DuckDB knows no column that a grouped key determines; any value of the group is that column's value."""
    inner = exp.Anonymous(this="any_value", expressions=[column.copy()])
    column.replace(
        exp.alias_(inner, column.this.copy())
        if isinstance(column.parent, exp.Select) and column.arg_key == "expressions"
        else inner
    )


def _wrap(node: exp.Expr, kind: str) -> None:
    while isinstance(node.parent, (exp.Window, exp.Filter)) and node.parent.this is node:
        node = node.parent
    holder = exp.Paren(this=exp.Null())
    node.replace(holder)
    holder.replace(exp.Cast(this=node, to=exp.DataType.build(kind)))


def _is_divided(node: exp.Expr) -> bool:
    parent = node.parent
    while isinstance(parent, (exp.Paren, exp.Binary)) and not isinstance(parent, (exp.Predicate, exp.Connector)):
        if isinstance(parent, exp.Div):
            return True
        parent = parent.parent
    return False


def _similar(node: exp.SimilarTo) -> exp.Expr:
    pattern = node.expression
    if not (isinstance(pattern, exp.Literal) and pattern.is_string) or isinstance(node.parent, exp.Escape):
        raise Untranslatable("DuckDB's SIMILAR TO takes another language of patterns")
    text = re.sub(r"[.^$]", lambda found: "\\" + found.group(), pattern.this).replace("%", ".*").replace("_", ".")
    return exp.Anonymous(this="regexp_full_match", expressions=[node.this.copy(), exp.Literal.string(text)])


def is_cte_reference(table: exp.Table) -> bool:
    """Whether a table name means a CTE that is in sight where it stands."""
    if table.args.get("db") is not None:
        return False
    name = fold(table.this)
    child: exp.Expr = table
    node = table.parent
    while node is not None:
        clause = node if isinstance(node, exp.With) else node.args.get("with_")
        if isinstance(node, exp.With):
            for cte in node.expressions:
                if cte is child:
                    if node.args.get("recursive") and fold(cte.args["alias"].this) == name:
                        return True
                    break
                if fold(cte.args["alias"].this) == name:
                    return True
            if node.args.get("recursive") and any(fold(cte.args["alias"].this) == name for cte in node.expressions):
                return True
        elif (
            clause is not None
            and child is not clause
            and any(fold(cte.args["alias"].this) == name for cte in clause.expressions)
        ):
            return True
        child, node = node, node.parent
    return False
