"""Postgres's types, casts, operators and functions, and its rules for choosing among them.

The rules are those of the Postgres manual, chapter 10 (Type Conversion). A type is Postgres's own name (`int4`, `_text`
for an array of text), `unknown` for a bare string literal or NULL, and `?` where it could not be inferred: `?` fits
everything, so that what is not known is never called a fault.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources

from sqlglot import exp

ANY_TYPE = "?"
UNKNOWN = "unknown"

_SQLGLOT_TYPES = {
    "SMALLINT": "int2", "INT": "int4", "BIGINT": "int8", "SMALLSERIAL": "int2", "SERIAL": "int4", "BIGSERIAL": "int8",
    "DECIMAL": "numeric", "FLOAT": "float4", "DOUBLE": "float8", "MONEY": "money", "TEXT": "text",
    "VARCHAR": "varchar", "CHAR": "bpchar", "BPCHAR": "bpchar", "NAME": "name", "BOOLEAN": "bool", "DATE": "date",
    "TIME": "time", "TIMETZ": "timetz", "TIMESTAMP": "timestamp", "TIMESTAMPNTZ": "timestamp",
    "TIMESTAMPTZ": "timestamptz", "INTERVAL": "interval", "JSON": "json", "JSONB": "jsonb", "UUID": "uuid",
    "VARBINARY": "bytea", "INET": "inet", "XML": "xml", "BIT": "bit",
}  # fmt: skip
# Types that the grammar takes but Postgres does not have.
FOREIGN_TYPES = frozenset(
    """
    TINYINT UTINYINT USMALLINT UINT UBIGINT MEDIUMINT MEDIUMTEXT LONGTEXT TINYTEXT NVARCHAR NCHAR DATETIME DATETIME2
    SMALLDATETIME DATETIME64 DATE32 INT128 INT256 UINT128 UINT256 HUGEINT BLOB TINYBLOB MEDIUMBLOB LONGBLOB IMAGE
    STRUCT MAP OBJECT VARIANT SUPER ROWVERSION UNIQUEIDENTIFIER SMALLMONEY HLLSKETCH BIGDECIMAL DECIMAL32 DECIMAL64
    DECIMAL128 YEAR BINARY LOWCARDINALITY NESTED FIXEDSTRING TIMESTAMP_S TIMESTAMP_MS TIMESTAMP_NS LIST
    """.split()  # noqa: SIM905
)


@dataclass(frozen=True, slots=True)
class Signature:
    """One row of pg_proc or pg_operator. `kind`: f function, a aggregate, w window function."""

    kind: str
    result: str
    arguments: tuple[str, ...]
    defaults: int = 0
    variadic: str = "-"
    returns_set: bool = False
    ordered_set: str = ""
    direct: int = 0


@dataclass(slots=True)
class Catalog:
    """The contents of postgres_catalog.txt."""

    categories: dict[str, str] = field(default_factory=dict)
    preferred: set[str] = field(default_factory=set)
    casts: dict[tuple[str, str], str] = field(default_factory=dict)
    operators: dict[str, list[Signature]] = field(default_factory=lambda: defaultdict(list))
    functions: dict[str, list[Signature]] = field(default_factory=lambda: defaultdict(list))


@functools.cache
def catalog() -> Catalog:
    """Read the catalog, once a process."""
    found, section = Catalog(), ""
    text = resources.files("qwen_lightning.execution.sql").joinpath("postgres_catalog.txt").read_text(encoding="utf-8")
    for line in text.splitlines():
        if line.startswith("#") and not line.startswith(("# -", "#>", "#-", "# int", "# bit")):
            continue
        parts = line.split()
        if len(parts) == 1 and line.startswith("["):
            section = line.strip("[]")
        elif section == "types":
            found.categories[parts[0]] = parts[1]
            if len(parts) > 2:
                found.preferred.add(parts[0])
        elif section == "casts":
            found.casts[parts[0], parts[1]] = parts[2]
        elif section == "operators":
            name, left, right, result = parts
            sides = (right,) if left == "-" else (left, right)
            found.operators[name].append(Signature("f", result, sides))
        elif section == "functions":
            name, flags, result, defaults, variadic, *arguments = parts
            ordered = next((mark for mark in "wh" if mark in flags[1:]), "") if flags[0] == "a" else ""
            direct = int(flags[flags.index(ordered, 1) + 1 :]) if ordered else 0
            types = tuple(arguments[0].split(",")) if arguments else ()
            found.functions[name].append(
                Signature(flags[0], result, types, int(defaults), variadic, "s" in flags[1:], ordered, direct)
            )
    return found


def type_name(kind: exp.DataType) -> str:
    """The Postgres name of a sqlglot type, `?` for those that the catalog does not hold."""
    dtype = getattr(kind.this, "name", str(kind.this))
    if dtype == "ARRAY":
        inner = (
            type_name(kind.expressions[0])
            if kind.expressions and isinstance(kind.expressions[0], exp.DataType)
            else ANY_TYPE
        )
        if inner.startswith("_"):
            return inner
        return ANY_TYPE if inner == ANY_TYPE else "_" + inner
    return _SQLGLOT_TYPES.get(dtype, ANY_TYPE)


def category(name: str) -> str:
    """Type category as pg_type has it: N numeric, S string, D date/time, T timespan, B boolean, A array, X unknown."""
    if name.startswith("_"):
        return "A"
    return "X" if name == UNKNOWN else catalog().categories.get(name, "U")


def implicit(source: str, target: str) -> bool:
    """Whether Postgres casts `source` to `target` without being asked."""
    if source in (target, UNKNOWN) or ANY_TYPE in (source, target) or target == "any":
        return True
    if target.startswith("any"):
        return _polymorphic_fits(source, target)
    if source.startswith("_") and target.startswith("_"):
        return implicit(source[1:], target[1:])
    if target == "record":
        return source == "record"
    return catalog().casts.get((source, target)) == "i"


def explicit(source: str, target: str) -> bool:
    """Whether `CAST(source AS target)` exists (I/O conversion from and to strings included)."""
    if implicit(source, target) or "S" in (category(source), category(target)):
        return True
    if source.startswith("_") and target.startswith("_"):
        return explicit(source[1:], target[1:])
    return (source, target) in catalog().casts


def _polymorphic_fits(source: str, target: str) -> bool:
    array, ranged = source.startswith("_"), source.endswith("range")
    if target in ("anyarray", "anycompatiblearray"):
        return array
    if target in ("anynonarray", "anycompatiblenonarray"):
        return not array
    if "multirange" in target:
        return source.endswith("multirange")
    if target.endswith("range"):
        return ranged
    if target == "anyenum":
        return source not in catalog().categories and not array
    return True


def common_type(types: Sequence[str]) -> str | None:
    """The type that UNION, CASE, ARRAY, VALUES and the like resolve to; None where Postgres refuses (manual 10.5)."""
    if ANY_TYPE in types:
        return ANY_TYPE
    known = [name for name in types if name != UNKNOWN]
    if not known:
        return "text"
    if len(set(known)) == 1:
        return known[0]
    candidate = known[0]
    for name in known[1:]:
        if category(name) != category(candidate):
            return None
        if candidate not in catalog().preferred and implicit(candidate, name) and not implicit(name, candidate):
            candidate = name
    return candidate if all(implicit(name, candidate) for name in known) else None


def resolve(signatures: Sequence[Signature], types: Sequence[str]) -> Signature | None:
    """The signature that Postgres picks for arguments of `types`, None where none fits (manual 10.2 and 10.3)."""
    fitting = []
    for signature in signatures:
        arguments = expand(signature, len(types))
        if arguments is not None and all(map(implicit, types, arguments)) and _consistent(types, arguments):
            fitting.append((signature, arguments))
    if not fitting:
        return None

    def exact(pair: tuple[Signature, tuple[str, ...]]) -> int:
        return sum(given == wanted for given, wanted in zip(types, pair[1], strict=True))

    best = max(map(exact, fitting))
    fitting = [pair for pair in fitting if exact(pair) == best]

    def liked(pair: tuple[Signature, tuple[str, ...]]) -> int:
        return sum(
            given == wanted or wanted in catalog().preferred for given, wanted in zip(types, pair[1], strict=True)
        )

    best = max(map(liked, fitting))
    fitting = [pair for pair in fitting if liked(pair) == best]
    if len(fitting) > 1 and UNKNOWN in types:
        known = {name for name in types if name != UNKNOWN}
        if len(known) == 1:  # manual 10.2 step 3a: assume that the unknown is of the other's type
            same = [pair for pair in fitting if set(pair[1]) == known]
            fitting = same or fitting
        strings = [
            pair
            for pair in fitting
            if any(g == UNKNOWN and category(w) == "S" for g, w in zip(types, pair[1], strict=True))
        ]
        fitting = strings if len(fitting) > 1 and strings else fitting
    results = {pair[0].result for pair in fitting}
    chosen, arguments = fitting[0]
    result = chosen.result if len(results) == 1 else ANY_TYPE
    return Signature(
        chosen.kind, _result(result, types, arguments), chosen.arguments, chosen.defaults, chosen.variadic,
        chosen.returns_set, chosen.ordered_set, chosen.direct,
    )  # fmt: skip


def expand(signature: Signature, count: int) -> tuple[str, ...] | None:
    """The argument types for a call with `count` arguments, None where the number does not fit."""
    arguments = signature.arguments
    if signature.variadic != "-" and count >= len(arguments):
        return arguments[:-1] + (signature.variadic,) * (count - len(arguments) + 1)
    if len(arguments) - signature.defaults <= count <= len(arguments):
        return arguments[:count]
    return None


def _consistent(types: Sequence[str], arguments: Sequence[str]) -> bool:
    """All `anyelement` family arguments agree on one element type."""
    elements = {
        _element(given, wanted)
        for given, wanted in zip(types, arguments, strict=True)
        if wanted in ("anyelement", "anyarray", "anynonarray")
    }
    elements -= {ANY_TYPE, UNKNOWN}
    compatible = [
        _element(given, wanted)
        for given, wanted in zip(types, arguments, strict=True)
        if wanted.startswith("anycompatible") and "range" not in wanted
    ]
    return len(elements) <= 1 and (not compatible or common_type(compatible) is not None)


def _element(given: str, wanted: str) -> str:
    return given[1:] if wanted.endswith("array") and given.startswith("_") else given


def _result(result: str, types: Sequence[str], arguments: Sequence[str]) -> str:
    if result in ("record", "any") or not result.startswith("any"):
        return ANY_TYPE if result == "record" else result
    prefix = "anycompatible" if result.startswith("anycompatible") else "any"
    given = [
        _element(name, wanted)
        for name, wanted in zip(types, arguments, strict=True)
        if wanted.startswith(prefix) and wanted != "any" and not wanted.endswith("range")
    ]
    element = common_type(given) if given else None
    if element is None or element == ANY_TYPE:
        return ANY_TYPE
    if result.endswith("array"):
        return element if element.startswith("_") else "_" + element
    return element if not result.endswith("range") else ANY_TYPE
