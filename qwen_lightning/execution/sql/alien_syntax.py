"""Syntax that sqlglot takes over from other dialects, and clauses out of order: faults to Postgres."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from sqlglot.dialects.postgres import Postgres
from sqlglot.tokens import Token, TokenType

_TYPE_TOKENS = frozenset(Postgres().parser().TYPE_TOKENS)
# Type names that sqlglot maps to Postgres's without a trace.
_ALIEN_TYPES = frozenset(
    """
    string datetime tinyint mediumint unsigned nvarchar nchar long double clob blob number int64 float64 signed
    byteint
    """.split()  # noqa: SIM905
)
# Words that the tokenizer takes for operators.
_ALIEN_OPERATORS = frozenset({"regexp", "rlike", "glob", "xor", "==", "<=>"})
_AFTER_A_COMMA = (TokenType.FROM, TokenType.R_PAREN, TokenType.WHERE, TokenType.GROUP_BY, TokenType.ORDER_BY)
# The order of clauses in a SELECT (Postgres manual, SELECT); LIMIT, OFFSET and FETCH may change places.
_CLAUSES = {
    TokenType.WHERE: 1, TokenType.GROUP_BY: 2, TokenType.HAVING: 3, TokenType.WINDOW: 4, TokenType.ORDER_BY: 5,
    TokenType.LIMIT: 6, TokenType.FETCH: 6,
}  # fmt: skip
_NEW_QUERY = (TokenType.SELECT, TokenType.UNION, TokenType.INTERSECT, TokenType.EXCEPT)
_BEFORE_A_SUBSCRIPT = (
    TokenType.VAR, TokenType.IDENTIFIER, TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.ARRAY, TokenType.L_BRACKET,
    TokenType.STRING, TokenType.COMMA,
)  # fmt: skip


def alien_syntax(tokens: list[Token], text: str) -> Iterator[str]:
    """What Postgres's grammar would refuse in a query that sqlglot parses."""
    yield from _words(tokens, text)
    yield from _clause_order(tokens)
    if tokens and tokens[-1].token_type == TokenType.COMMA:
        yield "a comma with nothing after it"


def _words(tokens: list[Token], text: str) -> Iterator[str]:
    brackets = 0
    for index, (before, token) in enumerate(pairwise(tokens)):
        kind = token.token_type
        if kind not in (TokenType.STRING, TokenType.IDENTIFIER, TokenType.VAR):
            word = text[token.start : token.end + 1].lower()
            if word in _ALIEN_OPERATORS:
                yield f"{word} is no operator of Postgres"
        if before.token_type == TokenType.LIMIT and kind == TokenType.PERCENT:
            yield "LIMIT PERCENT is not Postgres's"
        if before.token_type == TokenType.ALIAS and kind == TokenType.STRING:
            yield "a name stands in double quotes, not in single ones"
        alien = kind in _TYPE_TOKENS and token.text.lower() in _ALIEN_TYPES
        cast = before.token_type == TokenType.DCOLON
        if alien and (cast or (before.token_type == TokenType.ALIAS and in_cast(tokens, index + 1))):
            yield f'type "{token.text.lower()}" does not exist'
        if before.token_type == TokenType.INTERVAL and kind == TokenType.NUMBER:
            yield "INTERVAL takes a quoted string"
        if before.token_type == TokenType.COMMA and kind in _AFTER_A_COMMA:
            yield "a comma with nothing after it"
        if kind == TokenType.L_BRACKET:
            known = before.token_type in _BEFORE_A_SUBSCRIPT or before.token_type in _TYPE_TOKENS
            if not known or (before.token_type == TokenType.COMMA and not brackets):
                yield "brackets hold an array's index, or its elements after ARRAY"
            brackets += 1
        elif kind == TokenType.R_BRACKET:
            brackets -= 1
        if token.text.lower() == "substring" and index + 2 < len(tokens) and _arguments(tokens, index + 2) > 3:
            yield "substring takes a text, a start and a length"
        extract = token.text.lower() == "extract" and index + 4 < len(tokens)
        if (
            extract
            and tokens[index + 2].token_type == TokenType.L_PAREN
            and tokens[index + 4].token_type == TokenType.COMMA
        ):
            yield "EXTRACT takes a field FROM a value"


def _arguments(tokens: list[Token], opening: int) -> int:
    """How many arguments stand between a call's parentheses; 0 where none opens there."""
    if tokens[opening].token_type != TokenType.L_PAREN:
        return 0
    depth, count = 0, 1
    for token in tokens[opening:]:
        depth += (token.token_type == TokenType.L_PAREN) - (token.token_type == TokenType.R_PAREN)
        count += token.token_type == TokenType.COMMA and depth == 1
        if depth == 0:
            break
    return count


def _clause_order(tokens: list[Token]) -> Iterator[str]:
    reached = [0]
    limited = [False]
    for before, token in pairwise([tokens[0], *tokens]):
        kind = token.token_type
        if kind in (TokenType.L_PAREN, TokenType.L_BRACKET):
            reached.append(0)
            limited.append(False)
        elif kind in (TokenType.R_PAREN, TokenType.R_BRACKET) and len(reached) > 1:
            reached.pop()
            limited.pop()
        elif kind in _NEW_QUERY:
            reached[-1], limited[-1] = 0, False
        elif kind in _CLAUSES and before.token_type != TokenType.DOT:
            if _CLAUSES[kind] < reached[-1]:
                yield f"{token.text.upper()} stands after a clause that it must come before"
            reached[-1] = max(reached[-1], _CLAUSES[kind])
            limited[-1] = kind == TokenType.LIMIT
        elif kind == TokenType.OFFSET:
            limited[-1] = False
        elif kind == TokenType.COMMA and limited[-1]:
            yield "LIMIT a, b is not Postgres's; use LIMIT and OFFSET"


def in_cast(tokens: list[Token], index: int) -> bool:
    """Whether the AS before a type name belongs to a CAST."""
    if tokens[index - 1].token_type != TokenType.ALIAS:
        return False
    depth = 0
    for position in range(index - 1, -1, -1):
        kind = tokens[position].token_type
        depth += (kind == TokenType.R_PAREN) - (kind == TokenType.L_PAREN)
        if depth < 0:
            return position > 0 and tokens[position - 1].text.lower() == "cast"
    return False
