"""Where DDL stands in a text, and whether a text lists tables in another way."""

from __future__ import annotations

import re

from qwen_lightning.serving.routing.found import Found

_TABLE = re.compile(
    r"\bCREATE\s+(?:OR\s+REPLACE\s+)?(?:(?:GLOBAL|LOCAL|TEMP|TEMPORARY|UNLOGGED|EXTERNAL|FOREIGN)\s+)*TABLE\s+"
    r"(?:IF\s+NOT\s+EXISTS\s+)?(?P<name>(?:[\w$]+|\"[^\"\n]+\"|`[^`\n]+`|\[[^\]\n]+\])"
    r"(?:\s*\.\s*(?:[\w$]+|\"[^\"\n]+\"|`[^`\n]+`|\[[^\]\n]+\]))*)\s*\(",
    re.IGNORECASE,
)
#: What may follow a table's columns before its semicolon.
_OPTIONS = re.compile(
    r"\s*(?:\b(?:ENGINE|DEFAULT|CHARSET|COLLATE|COMMENT|AUTO_INCREMENT|INHERITS|PARTITION\s+BY"
    r"|WITH|WITHOUT|TABLESPACE|"
    r"STRICT|ON\s+COMMIT)\b[^;\n]*)?\s*;",
    re.IGNORECASE,
)
#: The same where no semicolon follows, as `SHOW CREATE TABLE` prints it.
_ENGINE = re.compile(r"[ \t]*ENGINE[ \t]*=[^;\n]*", re.IGNORECASE)
#: Statements that belong to a schema beside its tables; each ends with a semicolon.
_BESIDE = re.compile(
    r"(?:CREATE\s+(?:OR\s+REPLACE\s+)?(?:MATERIALIZED\s+|TEMP(?:ORARY)?\s+)?VIEW\s+[^\s;]+\s+(?:\([^)]*\)\s*)?AS\b"
    r"|CREATE\s+(?:TYPE|DOMAIN|SCHEMA|SEQUENCE|EXTENSION)\s+\S|CREATE\s+(?:UNIQUE\s+)?INDEX\s+\S|"
    r"CREATE\s+TABLE\s+\S+\s+AS\s+SELECT\b|ALTER\s+TABLE\s+\S+[\s\S]{1,40}?\bADD\b"
    r"|COMMENT\s+ON\s+(?:TABLE|COLUMN)\s+\S|"
    r"INSERT\s+INTO\s+[^\s;]+\s*(?:\([^;()]*\)\s*)?VALUES\b|SET\s+search_path\b)",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"'(?:[^']|'')*'|\"[^\"\n]*\"|`[^`\n]*`|--[^\n]*|/\*[\s\S]*?\*/")
_PARENTHESES = re.compile(rf"{_QUOTED.pattern}|[()]")
_SEMICOLON = re.compile(rf"{_QUOTED.pattern}|;")
#: So many unclosed statements are enough: a text that has more is none that a schema could be found in.
_MOST_UNCLOSED = 20
_COMMENT = re.compile(r"\s*(?:--[^\n]*(?:\n|$)|/\*[\s\S]*?\*/)")
#: A line comment on the last statement's line, and block comments, such as rows that show what a table holds.
_TRAILING = re.compile(r"[ \t]*--[^\n]*|\s*/\*[\s\S]*?\*/")
_COLUMN = re.compile(r"(?:[\w$]+|\"[^\"]+\"|`[^`]+`|\[[^\]]+\])\s+[A-Za-z]\w*")
_LEADING = re.compile(r"(?:^[ \t]*--[^\n]*\n\s*|^[ \t]*/\*(?:(?!\*/)[\s\S])*\*/\s*)+\Z", re.MULTILINE)
_NAME = r"[^\W\d]\w{0,62}"
#: Where a name begins; without it, a pattern would be tried at every letter of a long word.
_WORD_START = r"(?<!\w)"
_SQL_TYPE = (
    r"(?:(?:big|small|tiny|medium)?int(?:eger|\d+)?|(?:big|small)?serial|(?:var|n|nvar"
    r"|b)?char(?:acter)?(?:\s+varying)?|text|string"
    r"|numeric|decimal|number|money|real|float\d*|double(?:\s+precision)?|date|time|datetime\d*|timestamp(?:tz)?"
    r"|bool(?:ean)?"
    r"|uuid|jsonb?|bytea|blob|enum|varchar2?)\b"
)
_ITEM = rf"`?{_NAME}`?(?:\s+{_SQL_TYPE}(?:\(\d+(?:,\s*\d+)?\))?)?(?:\s+(?:PK|FK|primary key|not null))?"
#: `singer(id, name)` anywhere; two of them, or one behind the word table, list a schema.
_CALL = rf"{_WORD_START}{_NAME}(?:\.{_NAME})?\s*[(（]\s*{_ITEM}(?:\s*[,，、]\s*{_ITEM})+\s*[)）]"
_CALLS = re.compile(_CALL, re.I)
_TYPED_ITEM = rf"`?{_NAME}`?\s{{1,8}}{_SQL_TYPE}(?:\(\d+(?:,\s*\d+)?\))?"
#: `singer(id, name)`, `# singer ( id, name )`, `Table singer, columns = [*, id, name]`, `Table singer: id, name`, and
#: columns a line: two names with their types, as psql, MySQL, Markdown, Prisma and DBML have them.
_LISTINGS = (
    re.compile(
        rf"^\s*(?:[-*#•]\s*"
        rf"|\d+[.)]\s*)?(?:tables?\s*:?\s+)?{_NAME}(?:\.{_NAME})?\s*\(\s*{_NAME}[^()\n]*(?:\([^()\n]*\)[^()\n]*)*\)\s*[;.]?\s*$",
        re.I | re.M,
    ),
    re.compile(rf"^\s*(?:[-*#•]\s*)?(?:table\s+)?{_NAME}\s*[,:|]\s*(?:columns?|fields?)\s*[=:]\s*\[?", re.I | re.M),
    re.compile(rf"^\s*(?:[-*#•]\s*)?(?:table|表)\s*[:：]?\s*[`*\"]*{_NAME}[`*\"]*\s*[:：(（]", re.I | re.M),
    re.compile(r"^\s*\|?\s*(?:column|column_name|字段|列名)\s*\|\s*(?:type|data[_ ]?type|类型)", re.I | re.M),
    re.compile(rf"(?:\btables?\b|表)[^\n.。(（]{{0,40}}?\s*[`'\"]?{_CALL}", re.I),
    re.compile(rf"{_WORD_START}{_NAME}\s?[(（]\s{{0,8}}{_TYPED_ITEM}\s*[,，、]\s*{_TYPED_ITEM}", re.I),
    re.compile(
        r"\btables?\b(?:[^\n.]|\.(?=\w)){1,60}?\b(?:has|have|having|with|contain(?:s|ing)?)\s+(?:the\s+)?(?:columns?|fields?)\b",
        re.I,
    ),
    re.compile(
        rf"(?:^[ \t]*[-*|]?[ \t]*[`\"\[]?{_NAME}[`\"\]]?[ \t]*[:|]?[ \t]*\[?{_SQL_TYPE}[^\n]*\n?){{2}}", re.I | re.M
    ),
    # Three or more names behind each of two lines' colons: `singer: id, name, age`.
    re.compile(
        rf"(?:(?:^|[|;])[ \t]*[-*•\d.]*[ \t]*`?[^\s:：|]{{1,40}}(?:[ \t]\w+)?`?[ \t]*[:：][ \t]*"
        rf"(?:`?{_NAME}`?[ \t]*[,，][ \t]*){{1,40}}`?{_NAME}`?[ \t]*\n?){{2}}",
        re.I | re.M,
    ),
    # `employees: id (int), name (text)`
    re.compile(rf"{_WORD_START}{_NAME}\s?\({_SQL_TYPE}\)\s?,\s?{_NAME}\s?\({_SQL_TYPE}\)", re.I),
    # Models of an ORM.
    re.compile(r"^\s*(?:__tablename__\s*=|class \w+\((?:\w+\.)?(?:Base|Model|SQLModel|DeclarativeBase)\)\s*:)", re.M),
    re.compile(r"^\s*model\s+\w+\s*\{[^{}]*@(?:id|unique|relation)\b", re.M),
    re.compile(r"\"tables\"\s*:\s*[\[{]|\"columns\"\s*:\s*\["),
)
#: What a database prints of a table, which nobody types: psql's `\d`, MySQL's `DESC`, the information schema.
_OUTPUT = (
    re.compile(r"^[ \t]*Column[ \t]*\|[ \t]*Type\b[^\n]*\n[ \t]*-+\+-", re.M),
    re.compile(r"^\s*\|\s*Field\s*\|\s*Type\s*\|\s*Null\s*\|", re.M | re.I),
    re.compile(r"^\s*\|?\s*table_name\s*\|\s*column_name\s*\|\s*data_type\b", re.M | re.I),
)


def find_ddl(text: str) -> list[Found]:
    """The DDL of a text: runs of statements with nothing but comments between them, each with at least one table."""
    pieces: list[tuple[int, int, bool]] = []
    at = unclosed = 0
    while unclosed < _MOST_UNCLOSED and (table := _TABLE.search(text, at)):
        end = _closing(text, table.end())
        unclosed += end is None
        if end is None or not _COLUMN.search(text[table.end() : end]):
            at = table.end()
            continue
        options = _OPTIONS.match(text, end) or _ENGINE.match(text, end)
        pieces.append((table.start(), options.end() if options else end, True))
        at = pieces[-1][1]
    if not pieces:
        return []
    for beside in _BESIDE.finditer(text):
        if any(start <= beside.start() < end for start, end, _ in pieces):
            continue
        if not _starts_statement(text, beside.start()):
            continue
        end = _semicolon(text, beside.end())
        if end is None:  # nor has any statement after it
            break
        pieces.append((beside.start(), end, False))
    return [_with_comments(text, start, end) for start, end in _runs(text, sorted(pieces))]


def lists_tables(text: str) -> bool:
    """Whether a text names tables with their columns in another way than DDL."""
    if any(listing.search(text) for listing in _LISTINGS):
        return True
    return len({call.group() for call in _CALLS.finditer(text)}) > 1


def prints_table(text: str) -> bool:
    """Whether a text holds what a database prints of a table's columns."""
    return any(output.search(text) for output in _OUTPUT)


def _starts_statement(text: str, start: int) -> bool:
    at = start - 1
    while at >= 0 and text[at] in " \t":
        at -= 1
    return at < 0 or text[at] in "\n;/"


def _closing(text: str, start: int) -> int | None:
    """Where the parenthesis opened before `start` has been closed."""
    depth = 1
    for mark in _PARENTHESES.finditer(text, start):
        depth += {"(": 1, ")": -1}.get(mark.group(), 0)
        if not depth:
            return mark.end()
    return None


def _semicolon(text: str, start: int) -> int | None:
    """Where the statement that goes on at `start` ends, its semicolon included."""
    return next((mark.end() for mark in _SEMICOLON.finditer(text, start) if mark.group() == ";"), None)


def _runs(text: str, pieces: list[tuple[int, int, bool]]) -> list[tuple[int, int]]:
    runs: list[list[tuple[int, int, bool]]] = []
    for piece in pieces:
        joined = runs and not re.sub(_COMMENT, "", text[runs[-1][-1][1] : piece[0]]).strip()
        if joined:
            runs[-1].append(piece)
        else:
            runs.append([piece])
    return [(run[0][0], run[-1][1]) for run in runs if any(piece[2] for piece in run)]


def _with_comments(text: str, start: int, end: int) -> Found:
    """The run with the comments directly before and after it, out of the fence or tags that wrap it."""
    while comment := _TRAILING.match(text, end):
        end = comment.end()
    end = start + len(text[start:end].rstrip())
    if leading := _LEADING.search(text[:start]):
        start = leading.start() + len(leading.group()) - len(leading.group().lstrip())
    return unwrap(text, start, end, text[start:end])


_OPENING = re.compile(r"(?:```[\w+-]*[ \t]*\n?|<(?P<tag>\w+)>)\s*\Z")
_LONGEST_OPENING = 80


def unwrap(text: str, start: int, end: int, value: object) -> Found:
    """A piece together with the code fence or tags directly around it."""
    while True:
        before = start
        while before and text[before - 1].isspace():
            before -= 1
        before = max(0, before - _LONGEST_OPENING)  # the whole text before each piece would take quadratic time
        opening = _OPENING.search(text[before:start])
        if opening is None:
            break
        closes = rf"\s*</{opening['tag']}>" if opening["tag"] else r"\s*```"
        closing = re.compile(closes).match(text, end)
        if not closing:
            break
        start, end = before + opening.start(), closing.end()
    return Found(start, end, value)
