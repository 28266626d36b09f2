"""One pass over a query's characters: limits, balanced brackets, and the marks that make the grammar LALR(1)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from qwen_lightning.execution.cypher.grammar import BAR, EACH, MARKS, MATCHES, NODE

_MAX_LENGTH = 50_000
_MAX_DEPTH = 60
_CLOSING = {"(": ")", "[": "]", "{": "}"}

_BLANK = r"(?:\s|//[^\n]*|/\*(?:[^*]|\*(?!/))*\*/)*"
_NAME = r"(?:[^\W\d]\w*|`(?:[^`]|``)+`)"
_TOKEN = re.compile(
    r"""(?P<blank>(?:\s|//[^\n]*|/\*(?:[^*]|\*(?!/))*\*/)+)
    |(?P<string>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
    |(?P<name>[^\W\d]\w*|`(?:[^`]|``)+`)
    |(?P<other>\d\w*|.)""",
    re.VERBOSE | re.DOTALL,
)
# What follows the closing parenthesis of a node: an arrow to a bracket, or to the next node.
_ARROW = re.compile(
    rf"{_BLANK}(?:<{_BLANK})?-{_BLANK}(?:\[|-{_BLANK}>?{_BLANK}(?:[({{+*]))",
)
# What a node's parentheses hold, as far as an expression's cannot.
_NODE_INSIDE = re.compile(rf"\({_BLANK}(?:{_NAME}{_BLANK})?(?:[:{{$)]|(?:WHERE|IS)\b)", re.IGNORECASE)
_EACH_INSIDE = re.compile(rf"\[{_BLANK}{_NAME}{_BLANK}\bIN\b", re.IGNORECASE)
_PATH_INSIDE = re.compile(rf"\[{_BLANK}(?:{_NAME}{_BLANK}={_BLANK})?{NODE}")
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
        if kind == "blank":
            continue
        if kind == "other":
            if value in "'\"`" or (value == "/" and text.startswith("/*", at)):
                what = "comment" if value == "/" else "quote"
                raise NotParsed(f"{place(text, at)}: the {what} never ends")
            if value in MARKS:
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
