"""From a query's text to its syntax tree, by the grammar of Cypher 5's read language."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from qwen_lightning.execution.cypher.grammar import GRAMMAR
from qwen_lightning.execution.cypher.scanning import NotParsed, marked, place

Node = Tree[Token]

_WRITES = frozenset(
    [
        "create",
        "merge",
        "set",
        "delete",
        "detach",
        "remove",
        "foreach",
        "load",
        "drop",
        "alter",
        "grant",
        "revoke",
        "deny",
        "insert",
    ]
)
_ADMIN = frozenset(["show", "terminate", "start", "stop", "use", "explain", "profile", "cypher", "enable"])
_SQL = frozenset(["select", "from", "join", "having", "group", "inner", "left", "right", "outer", "between", "like"])
_WORD = re.compile(r"\w+|.", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Parsed:
    """A query that the grammar takes.

    Args:
        text: The text as given.
        tree: Its `query` tree; offsets are those of the text.
    """

    text: str
    tree: Node

    def source(self, tree: Node) -> str:
        """The text that a tree was read from."""
        return self.text[tree.meta.start_pos : tree.meta.end_pos]


@lru_cache(maxsize=1)
def _parser() -> Lark:
    return Lark(GRAMMAR, parser="lalr", lexer="contextual", propagate_positions=True, maybe_placeholders=False)


#: Half of a UTF-16 pair: JSON can spell one, UTF-8 cannot.
_SURROGATE = re.compile("[\ud800-\udfff]")


def parse_query(text: str) -> Parsed:
    """Parse one read statement.

    Raises:
        NotParsed: It is none.
    """
    if not text.strip():
        raise NotParsed("it is empty")
    if _SURROGATE.search(text):
        raise NotParsed("holds half a character, which no server takes")
    try:
        tree = _parser().parse(marked(text))
    except UnexpectedInput as error:
        raise NotParsed(_reason(text, error)) from None
    query = tree.children[0]
    assert isinstance(query, Tree)
    return Parsed(text, query)


def _reason(text: str, error: UnexpectedInput) -> str:
    if isinstance(error, UnexpectedToken) and error.token.type == "$END":
        return "it ends too early"
    at = error.pos_in_stream or 0
    if isinstance(error, UnexpectedToken) and error.token.start_pos is not None:
        at = error.token.start_pos
    assert isinstance(error, UnexpectedToken | UnexpectedCharacters)
    found = _WORD.match(text, at)
    word = found.group() if found else ""
    lower = word.lower()
    if lower in _WRITES:
        return f"{place(text, at)}: {word.upper()} writes, and only a read is allowed"
    if lower in _ADMIN:
        return f"{place(text, at)}: {word.upper()} is no read query"
    if lower in _SQL:
        return f"{place(text, at)}: {word.upper()} is SQL's and not Cypher's"
    return f"{place(text, at)}: unexpected {word!r}"


def unquoted(token: Token) -> str:
    """A name without its backticks."""
    value = str(token)
    return value[1:-1].replace("``", "`") if value.startswith("`") else value
