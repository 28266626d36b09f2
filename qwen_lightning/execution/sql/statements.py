"""Split SQL text into statements without parsing them."""

from __future__ import annotations

import re

# Comments, quoted text and dollar-quoted text are passed over whole, so that a semicolon in them splits nothing.
_PIECE = re.compile(
    r"""--[^\n]*                         # line comment
      | /\*                              # block comment, may nest
      | [eE]'(?:[^'\\]|\\.|'')*'         # escape string
      | '(?:[^']|'')*'                   # string
      | "(?:[^"]|"")*"                   # quoted name
      | \$(?P<tag>[A-Za-z_]\w*|)\$       # opening dollar quote
      | ;
    """,
    re.VERBOSE | re.DOTALL,
)


def split_statements(text: str) -> list[str]:
    """The statements of `text`, each without its semicolon and outer white space; comments stay where they are."""
    statements, start, position = [], 0, 0
    while match := _PIECE.search(text, position):
        position = match.end()
        if match.group() == ";":
            statements.append(text[start : match.start()].strip())
            start = position
        elif match.group() == "/*":
            position = _comment_end(text, position)
        elif match.group("tag") is not None:
            end = text.find(match.group(), position)
            position = len(text) if end < 0 else end + len(match.group())
    statements.append(text[start:].strip())
    return [statement for statement in statements if strip_comments(statement)]


def strip_comments(text: str) -> str:
    """`text` without its comments and outer white space."""
    kept, start, position = [], 0, 0
    while match := _PIECE.search(text, position):
        position = match.end()
        if match.group().startswith("--") or match.group() == "/*":
            kept.append(text[start : match.start()])
            start = position = position if match.group() != "/*" else _comment_end(text, position)
        elif match.group("tag") is not None:
            end = text.find(match.group(), position)
            position = len(text) if end < 0 else end + len(match.group())
    kept.append(text[start:])
    return " ".join(kept).strip()


def _comment_end(text: str, position: int) -> int:
    depth = 1
    while depth:
        mark = re.compile(r"/\*|\*/").search(text, position)
        if mark is None:
            return len(text)
        depth += 1 if mark.group() == "/*" else -1
        position = mark.end()
    return position
