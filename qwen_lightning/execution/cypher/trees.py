"""Finding one's way in syntax trees."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lark import Token, Tree

from qwen_lightning.execution.cypher.functions import FUNCTIONS
from qwen_lightning.execution.cypher.parsing import Node, unquoted

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)


def children(tree: Node, *kinds: str) -> list[Node]:
    """The child trees, of these kinds where kinds are given."""
    return [child for child in tree.children if isinstance(child, Tree) and (not kinds or child.data in kinds)]


def child(tree: Node, *kinds: str) -> Node | None:
    """The first child tree of these kinds."""
    return next(iter(children(tree, *kinds)), None)


def tokens(tree: Node, *types: str) -> list[Token]:
    """The child tokens, of these types where types are given."""
    return [item for item in tree.children if isinstance(item, Token) and (not types or item.type in types)]


def name_of(tree: Node) -> str:
    """The name that a `variable`, `property` or the like holds."""
    return unquoted(tokens(tree)[0])


def variable_of(tree: Node) -> str | None:
    """The name of the variable that stands first in a pattern's part."""
    found = child(tree, "variable")
    return None if found is None else name_of(found)


def bare(tree: Node) -> Node:
    """The expression without the parentheses around it."""
    while tree.data == "parentheses":
        tree = children(tree)[0]
    return tree


def function_name(tree: Node) -> str:
    """A call's name in lower case, without spaces or backticks."""
    return re.sub(r"[\s`]", "", str(tokens(tree)[0])).lower()


def aggregates(tree: Node) -> Iterator[Node]:
    """The outermost aggregate calls in an expression; those of subqueries are their own."""
    stack = [tree]
    while stack:
        here = stack.pop()
        if here.data == "subquery":
            continue
        if here.data == "count_star" or (here.data == "function" and is_aggregate(here)):
            yield here
            continue
        stack.extend(children(here))


def is_aggregate(tree: Node) -> bool:
    """Whether a call folds rows."""
    found = FUNCTIONS.get(function_name(tree))
    return found is not None and found.aggregate


def literal_of(tree: Node) -> str | int | float | bool | None:
    """The value of a literal, signed numbers included; None for null and for anything else."""
    tree = bare(tree)
    if tree.data == "signed":
        value = literal_of(children(tree)[0])
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return -value if tokens(tree)[0] == "-" else value
    if tree.data != "literal":
        return None
    token = tokens(tree)[0]
    text = str(token).replace("_", "").lower()
    match token.type:
        case "STRING":
            return _ESCAPE.sub(lambda found: _unescaped(found.group(1)), str(token)[1:-1])
        case "INT":
            return integer(text)
        case "FLOAT":
            return float(text)
        case "TRUE" | "FALSE":
            return token.type == "TRUE"
    return None


def integer(text: str) -> int:
    """An integer as written; one beyond 64 bits, which no engine takes, is read as 2^63."""
    digits = text.replace("_", "").lower()
    if len(digits) > 25:
        return 1 << 63
    return min(int(digits, 0) if digits[:2] in ("0x", "0o") else int(digits), 1 << 63)


def _unescaped(code: str) -> str:
    if code[0] in "uU" and len(code) > 1:
        return chr(min(int(code[1:], 16), 0x10FFFF))
    return _ESCAPES.get(code, code)


def label_predicates(tree: Node) -> Iterator[tuple[str, Node]]:
    """The variables and label expressions of `n:Label` predicates that a condition needs to hold."""
    tree = bare(children(tree)[0] if tree.data == "where" else tree)
    if tree.data == "and_expression":
        for part in children(tree):
            yield from label_predicates(part)
    elif tree.data == "postfix":
        parts = children(tree)
        if len(parts) == 2 and parts[0].data == "variable" and parts[1].data == "has_labels":
            yield name_of(parts[0]), children(parts[1])[0]


def calls_aggregate(tree: Node) -> bool:
    """Whether an expression folds rows."""
    return any(True for _ in aggregates(tree))


def is_call_of_aggregate(tree: Node) -> bool:
    """Whether the tree itself is an aggregate call."""
    return tree.data == "count_star" or (tree.data == "function" and is_aggregate(tree))


def named(tree: Node) -> str | None:
    """The variable's name where an expression is one, else None."""
    inner = bare(tree)
    return name_of(inner) if inner.data == "variable" else None
