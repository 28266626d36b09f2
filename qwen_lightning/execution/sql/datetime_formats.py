"""Postgres's formats of dates and times, in DuckDB's terms."""

from __future__ import annotations

import re

from sqlglot import exp

# Patterns of the Postgres manual, table 9.26, and the strftime codes that mean the same; longest first.
_CODES = {
    "YYYY": "%Y", "FMMM": "%-m", "FMDD": "%-d", "FMHH24": "%-H", "FMHH12": "%-I", "FMMI": "%-M", "FMMonth": "%B",
    "FMDay": "%A", "HH24": "%H", "HH12": "%I", "DDD": "%j", "YY": "%y", "MM": "%m", "DD": "%d", "HH": "%I",
    "MI": "%M", "SS": "%S", "MS": "%g", "US": "%f", "AM": "%p", "PM": "%p", "Mon": "%b", "Dy": "%a", "IW": "%V",
    "IYYY": "%G",
}  # fmt: skip
# Patterns that print a name in a fixed case, and padded to nine characters where they are not abbreviations.
_NAMES = {
    "Month": ("%B", "", 9), "MONTH": ("%B", "upper", 9), "month": ("%B", "lower", 9), "Day": ("%A", "", 9),
    "DAY": ("%A", "upper", 9), "day": ("%A", "lower", 9), "MON": ("%b", "upper", 0), "mon": ("%b", "lower", 0),
    "DY": ("%a", "upper", 0), "dy": ("%a", "lower", 0), "FMMONTH": ("%B", "upper", 0), "FMmonth": ("%B", "lower", 0),
    "FMDAY": ("%A", "upper", 0), "FMday": ("%A", "lower", 0),
}  # fmt: skip
_LOWER = {"yyyy": "%Y", "mm": "%m", "dd": "%d", "hh24": "%H", "mi": "%M", "ss": "%S", "yy": "%y"}
_PATTERNS = sorted((re.escape(name) for name in (*_CODES, *_NAMES, *_LOWER, "Q")), key=len, reverse=True)
_PIECE = re.compile("|".join([*_PATTERNS, r'"[^"]*"', r"[^A-Za-z\"]"]))
_MOMENTS = ("date", "timestamp", "timestamptz", "time")


def formatted(name: str, value: exp.Expr, pattern: exp.Expr, kind: str) -> exp.Expr | None:
    """`to_char(value, pattern)`, `to_date` or `to_timestamp` for DuckDB; None where there is no equal.

    Args:
        name: The Postgres function.
        value: Its first argument.
        pattern: Its second argument.
        kind: The Postgres type of the first argument.
    """
    if not (isinstance(pattern, exp.Literal) and pattern.is_string):
        return None
    pieces = _split(pattern.this)
    if pieces is None:
        return None
    if name != "to_char":
        codes = [_NAMES[piece][0] if piece in _NAMES else _code(piece) for piece in pieces]
        if None in codes:
            return None
        parsed = exp.Anonymous(
            this="strptime", expressions=[value.copy(), exp.Literal.string("".join(str(code) for code in codes))]
        )
        return exp.cast(parsed, "DATE" if name == "to_date" else "TIMESTAMPTZ")
    if kind not in _MOMENTS:
        return None
    moment = (
        exp.Add(this=exp.cast(exp.Literal.string("2000-01-01"), "DATE"), expression=value.copy())
        if kind == "time"
        else value.copy()
    )
    parts: list[exp.Expr] = []
    plain = ""
    for piece in pieces:
        if (code := _code(piece)) is not None:
            plain += code
            continue
        if plain:
            parts.append(_print(moment, plain))
            plain = ""
        parts.append(_name(moment, piece))
    if plain or not parts:
        parts.append(_print(moment, plain))
    return parts[0] if len(parts) == 1 else exp.Anonymous(this="concat", expressions=parts)


def _split(text: str) -> list[str] | None:
    pieces, position = [], 0
    while position < len(text):
        match = _PIECE.match(text, position)
        if match is None:
            return None
        pieces.append(match.group())
        position = match.end()
    return pieces


def _code(piece: str) -> str | None:
    if piece in _CODES or piece in _LOWER:
        return _CODES.get(piece) or _LOWER[piece]
    if piece.startswith('"'):
        return piece[1:-1].replace("%", "%%")
    return piece.replace("%", "%%") if len(piece) == 1 and not piece.isalpha() else None


def _print(moment: exp.Expr, code: str) -> exp.Expr:
    return exp.Anonymous(this="strftime", expressions=[moment.copy(), exp.Literal.string(code)])


def _name(moment: exp.Expr, piece: str) -> exp.Expr:
    if piece == "Q":
        return exp.cast(exp.Anonymous(this="quarter", expressions=[moment.copy()]), "TEXT")
    code, case, width = _NAMES[piece]
    text = _print(moment, code)
    if case:
        text = exp.Anonymous(this=case, expressions=[text])
    if width:
        text = exp.Anonymous(this="rpad", expressions=[text, exp.Literal.number(width), exp.Literal.string(" ")])
    return text
