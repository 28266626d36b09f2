"""One pass over a query's characters: limits, balanced brackets, and the marks that make the grammar LALR(1)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from qwen_lightning.execution.cypher.grammar import BAR, BLANK, EACH, MARKS, MATCHES, NAME, NODE, WORDS

_MAX_LENGTH = 50_000
_MAX_DEPTH = 60
_CLOSING = {"(": ")", "[": "]", "{": "}"}

_BLANK = f"{BLANK}*"
_TOKEN = re.compile(
    rf"""(?P<blank>{BLANK}+)
    |(?P<string>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
    |(?P<name>{NAME})
    |(?P<other>\d\w*|.)""",
    re.VERBOSE | re.DOTALL,
)
# Neo4j reads \uXXXX as its character before it looks for quotes and comments; ArcadeDB, in strings alone.
_ESCAPED = re.compile(r"\\u+([0-9a-fA-F]{4})")
_ENDS_STRINGS = frozenset("'\"\\")
# Letters that Python takes for ASCII's where case does not matter; Neo4j does not.
_LIKE_ASCII = str.maketrans("\u0130\u0131\u017f\u212a", "iisk")
# What follows the closing parenthesis of a node: an arrow to a bracket, or to the next node.
_ARROW = re.compile(
    rf"{_BLANK}(?:<{_BLANK})?-{_BLANK}(?:\[|-{_BLANK}>?{_BLANK}(?:[({{+*]))",
)
# What a node's parentheses hold, as far as an expression's cannot.
_NODE_INSIDE = re.compile(rf"\({_BLANK}(?:{NAME}{_BLANK})?(?:[:{{$)]|(?:WHERE|IS)\b)", re.IGNORECASE)
_EACH_INSIDE = re.compile(rf"\[{_BLANK}{NAME}{_BLANK}\bIN\b", re.IGNORECASE)
_PATH_INSIDE = re.compile(rf"\[{_BLANK}(?:{NAME}{_BLANK}={_BLANK})?{NODE}")
# Words after which a parenthesis opens an expression or a pattern and no call's arguments.
_BEFORE_EXPRESSION = frozenset(
    [
        "where",
        "and",
        "or",
        "xor",
        "not",
        "return",
        "with",
        "when",
        "then",
        "else",
        "in",
        "case",
        "by",
        "match",
        "distinct",
        "as",
        "unwind",
        "limit",
        "skip",
        "contains",
        "exists",
        "call",
        "yield",
        "is",
        "starts",
        "ends",
        "merge",
        "create",
    ]
)


class NotParsed(ValueError):
    """The text is no Cypher 5 read statement; the message says where and why."""


@dataclass(slots=True)
class _Open:
    char: str
    at: int
    before: str
    bars: list[int] = field(default_factory=list)


def place(text: str, at: int) -> str:
    """The offset as line and column, both from 1."""
    return f"line {text.count(chr(10), 0, at) + 1}, column {at - text.rfind(chr(10), 0, at)}"


def marked(text: str) -> str:
    """The text with the grammar's marks, character for character.

    Raises:
        NotParsed: It is too long, nests too deeply, or its brackets, quotes or comments do not close.
    """
    if len(text) > _MAX_LENGTH:
        raise NotParsed(f"longer than {_MAX_LENGTH:,} characters")
    out = list(text)
    stack: list[_Open] = []
    before = ""
    for token in _TOKEN.finditer(text):
        kind, value, at = token.lastgroup, token.group(), token.start()
        _check_reading(text, kind, value, at)
        if kind == "blank":
            continue
        if kind == "other":
            if value in "'\"`" or (value == "/" and text.startswith("/*", at)):
                what = "comment" if value == "/" else "quote"
                raise NotParsed(f"{place(text, at)}: the {what} never ends")
            if value in MARKS or value == "\x85":
                raise NotParsed(f"{place(text, at)}: unexpected character {value!r}")
            if value in _CLOSING:
                if len(stack) >= _MAX_DEPTH:
                    raise NotParsed(f"nested more than {_MAX_DEPTH} brackets deep")
                stack.append(_Open(value, at, before))
            elif value in ")]}":
                if not stack or _CLOSING[stack[-1].char] != value:
                    raise NotParsed(f"{place(text, at)}: {value!r} closes nothing")
                _close(text, out, stack.pop(), at)
            elif value == "|" and stack and not (text.startswith("||", at) or text.startswith("||", at - 1)):
                stack[-1].bars.append(at)
        before = value.lower() if kind == "name" else value
    if stack:
        raise NotParsed(f"{place(text, stack[-1].at)}: {stack[-1].char!r} is never closed")
    return "".join(out)


def _check_reading(text: str, kind: str | None, value: str, at: int) -> None:
    """Refuse a token that a server may end elsewhere, or take for another one: all that is checked is then void.

    Raises:
        NotParsed: It is one.
    """
    if kind == "string":
        if any(chr(int(code, 16)) in _ENDS_STRINGS for code in _ESCAPED.findall(value)):
            raise NotParsed(
                f"{place(text, at)}: a quote or a backslash is written as \\u and its code; write \\' or \\\\"
            )
    elif "\\u" in value:
        raise NotParsed(f"{place(text, at)}: \\u outside a string")
    elif kind == "name" and value.translate(_LIKE_ASCII).lower() in WORDS and not value.isascii():
        raise NotParsed(f"{place(text, at)}: {value!r} looks like a word of Cypher's and is none")


def _close(text: str, out: list[str], opened: _Open, at: int) -> None:
    comprehension = False
    if opened.char == "(":
        called = opened.before[:1].isalpha() and opened.before not in _BEFORE_EXPRESSION
        if not called and _NODE_INSIDE.match(text, opened.at) and _ARROW.match(text, at + 1):
            out[opened.at] = NODE
        comprehension = opened.before == "reduce"
    elif opened.char == "[":
        # Inside a relationship's brackets stands no IN right after its variable, and no node.
        if _EACH_INSIDE.match(text, opened.at):
            out[opened.at], comprehension = EACH, True
        elif opened.bars and _PATH_INSIDE.match("".join(out[opened.at : opened.at + 200])):
            out[opened.at], comprehension = MATCHES, True
    if comprehension and opened.bars:
        out[opened.bars[-1]] = BAR
