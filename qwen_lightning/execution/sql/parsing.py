"""Parse Postgres so that nothing of what was written is lost.

sqlglot turns known functions into nodes of its own that no longer say what they were called (`IFNULL` becomes
COALESCE). To judge a query as Postgres would, the tokens of function names are marked before parsing; every call then
stays a plain call with its name and its arguments in order.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sqlglot import exp
from sqlglot.dialects.postgres import Postgres
from sqlglot.errors import SqlglotError
from sqlglot.tokens import Token, TokenType

from qwen_lightning.execution.sql.alien_syntax import alien_syntax, in_cast

MARK = "fn$"
MAX_CHARACTERS = 20_000
MAX_TOKENS = 4_000
MAX_DEPTH = 60
# sqlglot's time is exponential in the nesting of brackets and type names.
MAX_BRACKETS = 8
MAX_PREFIXES = 60

_DIALECT = Postgres()
# Words before "(" that are syntax, or have a syntax of their own which the parser must see.
_SYNTAX = frozenset(
    """
    all and any array as between by case cast cube except exists extract filter from group grouping having if in
    intersect is join lateral like ilike limit materialized not offset on or order over overlay partition position
    recursive rollup row rows select set sets similar some substring then to trim union using values when where
    window with within else end distinct overlaps escape fetch only tablesample unnest interval current_timestamp
    current_time localtime localtimestamp ordinality xmltable json_table returning isnull notnull variadic precision
    zone varying collate
    """.split()  # noqa: SIM905
)
_FIRST_TOKENS = frozenset({TokenType.SELECT, TokenType.WITH, TokenType.VALUES, TokenType.TABLE, TokenType.L_PAREN})
_QUERIES = (exp.Select, exp.SetOperation, exp.Subquery, exp.Values)


class NotParsed(Exception):
    """The text is not one Postgres read query; the message says why."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """`tree` keeps every call under its own name; `native` is sqlglot's usual tree, for translation.

    `alien` names syntax that the parser takes and Postgres does not. A rewritten query is `native`, no longer `text`.
    """

    text: str
    tree: exp.Expr
    native: exp.Expr
    alien: tuple[str, ...] = ()
    rewritten: bool = False


#: Half of a UTF-16 pair: JSON can spell one, UTF-8 cannot.
_SURROGATE = re.compile("[\ud800-\udfff]")


def parse_query(text: str) -> Parsed:
    """Parse exactly one read query.

    Raises:
        NotParsed: No statement, several, another kind of statement, or not the grammar.
    """
    if len(text) > MAX_CHARACTERS:
        raise NotParsed(f"longer than {MAX_CHARACTERS} characters")
    if "\x00" in text:
        raise NotParsed("holds a NUL character")
    if _SURROGATE.search(text):
        raise NotParsed("holds half a character, which no server takes")
    try:
        tokens = _DIALECT.tokenize(text)
    except (SqlglotError, RecursionError, ValueError) as error:
        raise NotParsed(f"no SQL: {str(error).splitlines()[0][:100]}") from None
    if not tokens:
        raise NotParsed("no statement")
    if tokens[0].token_type not in _FIRST_TOKENS:
        raise NotParsed(f"starts with {tokens[0].text[:30]!r}; only SELECT, WITH ... SELECT and VALUES are taken")
    _guard(tokens)
    try:
        native = _DIALECT.parser().parse(_without_lambdas(tokens), text)
        marked = _DIALECT.parser().parse(_marked(_without_lambdas(_DIALECT.tokenize(text))), text)
    except (SqlglotError, RecursionError, ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
        raise NotParsed(f"syntax error: {str(error).splitlines()[0][:120]}") from None
    statements = [statement for statement in marked if statement is not None]
    if len(statements) != 1:
        raise NotParsed("no statement" if not statements else f"{len(statements)} statements; give one")
    tree = statements[0]
    native_tree = next(statement for statement in native if statement is not None)
    if not isinstance(tree, _QUERIES) or not isinstance(native_tree, _QUERIES):
        raise NotParsed("no query: only SELECT, WITH ... SELECT and VALUES are taken")
    for node in tree.walk():
        if isinstance(
            node,
            (exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.Create, exp.Drop, exp.Alter, exp.Command, exp.Copy),
        ):
            raise NotParsed(f"{node.key} inside a query; only reading is taken")
        if isinstance(node, exp.Into) or (
            isinstance(node, exp.Select) and (node.args.get("into") or node.args.get("locks"))
        ):
            raise NotParsed("SELECT INTO and row locks are no reading")
        if isinstance(node, (exp.Parameter, exp.Placeholder, exp.SessionParameter)):
            raise NotParsed("a parameter is no value")
    _check_shape(tree, tokens)
    _unmark(tree)
    return Parsed(text, tree, native_tree, tuple(alien_syntax(_DIALECT.tokenize(text), text)))


def _check_shape(tree: exp.Expr, tokens: list[Token]) -> None:
    """Faults of grammar that sqlglot lets pass."""
    joined = sum(
        bool(
            join.args.get("on")
            or join.args.get("using")
            or join.args.get("kind") == "CROSS"
            or join.args.get("method") == "NATURAL"
        )
        for join in tree.find_all(exp.Join)
    )
    if joined < sum(token.token_type == TokenType.JOIN for token in tokens):
        raise NotParsed("a JOIN has neither ON nor USING")
    for group in tree.find_all(exp.Group):
        if not any(group.args.values()):
            raise NotParsed("GROUP BY names nothing")
    for select in tree.find_all(exp.Select):
        if not select.expressions and select.args.get("distinct"):
            raise NotParsed("SELECT DISTINCT names nothing")


_PREFIXES = frozenset({TokenType.NOT, TokenType.DASH, TokenType.PLUS, TokenType.TILDE, TokenType.DCOLON})


def _guard(tokens: list[Token]) -> None:
    if len(tokens) > MAX_TOKENS:
        raise NotParsed(f"more than {MAX_TOKENS} tokens")
    depth = heavy = prefixes = 0
    opened: list[bool] = []
    for previous, token in zip([None, *tokens], tokens, strict=False):
        kind = token.token_type
        if kind in (TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE):
            costly = kind != TokenType.L_PAREN or (previous is not None and previous.token_type in _TYPE_TOKENS)
            opened.append(costly)
            depth, heavy = depth + 1, heavy + costly
        elif kind in (TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE) and opened:
            depth, heavy = depth - 1, heavy - opened.pop()
        elif kind == TokenType.CASE:
            depth += 1
        elif kind == TokenType.END:
            depth -= 1
        if kind in _PREFIXES:
            prefixes += 1
        elif kind not in _TYPE_TOKENS:
            prefixes = 0
        if depth > MAX_DEPTH or heavy > MAX_BRACKETS or prefixes > MAX_PREFIXES:
            raise NotParsed("nested too deeply")


_TYPE_TOKENS = frozenset(_DIALECT.parser().TYPE_TOKENS)


def _marked(tokens: list[Token]) -> list[Token]:
    for index in range(len(tokens) - 1):
        token, following = tokens[index], tokens[index + 1]
        if following.token_type != TokenType.L_PAREN or token.text.lower() in _SYNTAX:
            continue
        before = tokens[index - 1] if index else None
        word = token.text.replace("_", "a").isalnum() and not token.text[:1].isdigit()
        if token.token_type == TokenType.STRING or not word or token.token_type == TokenType.IDENTIFIER:
            continue
        if (
            token.token_type in _TYPE_TOKENS
            and before is not None
            and (before.token_type == TokenType.DCOLON or in_cast(tokens, index))
        ):
            continue
        if before is not None and before.text.lower() in ("tablesample", "within"):
            continue
        token.text = MARK + token.text
        token.token_type = TokenType.VAR
    return tokens


def _without_lambdas(tokens: list[Token]) -> list[Token]:
    """`f(a -> 'b')` is JSON in Postgres, a lambda to the parser unless the name stands in two pairs of parentheses."""
    kept: list[Token] = []
    for index, token in enumerate(tokens):
        arrow = index + 1 < len(tokens) and tokens[index + 1].token_type == TokenType.ARROW
        first = kept and kept[-1].token_type in (TokenType.L_PAREN, TokenType.COMMA)
        if arrow and first and token.token_type in (TokenType.VAR, TokenType.IDENTIFIER):
            opening, closing = (Token(kind, sign, token.line, token.col, token.start, token.end) for kind, sign in
                                ((TokenType.L_PAREN, "("), (TokenType.R_PAREN, ")")))  # fmt: skip
            kept += [opening, opening, token, closing, closing]
        else:
            kept.append(token)
    return kept


def _unmark(tree: exp.Expr) -> None:
    """Names that were no calls after all (CTEs and aliases with column lists) lose their mark."""
    for node in tree.find_all(exp.Identifier):
        if node.this.startswith(MARK):
            node.set("this", node.this[len(MARK) :])
    for call in tree.find_all(exp.Anonymous):
        if isinstance(call.this, str) and call.this.startswith(MARK):
            call.set("this", call.this[len(MARK) :])


def call_name(call: exp.Anonymous) -> str:
    """The function's name as Postgres folds it."""
    if isinstance(call.this, exp.Identifier):
        return str(call.this.this)
    return str(call.this).lower()
