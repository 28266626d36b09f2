"""Where a graph schema stands in a text."""

from __future__ import annotations

import re

from qwen_lightning.errors import DataError
from qwen_lightning.execution.cypher.graph_schema import read_schema
from qwen_lightning.serving.routing.found import Found
from qwen_lightning.serving.routing.sql_schemas import unwrap

_NAME = r"(?:`[^`]+`|[^\W\d]\w*)"
_NODE = rf"\(\s*(?:[^\W\d]\w*)?\s*:\s*{_NAME}(?:\s*[:&|]\s*{_NAME})*(?:\s*\{{[^{{}}\n]*\}})?\s*\)"
_EDGE = (
    rf"\s*<?\s*-+\s*\[\s*(?:[^\W\d]\w*)?\s*:\s*{_NAME}(?:\s*\|\s*:?{_NAME})*(?:\s*\{{[^{{}}\n]*\}})?\s*\]\s*-+\s*>?\s*"
)
_PATTERN = rf"{_NODE}(?:{_EDGE}{_NODE})*"
_BULLET = r"[ \t]*(?:[-*•][ \t]+|\d+[.)][ \t]+)?"
_PATTERNS = re.compile(rf"{_BULLET}{_PATTERN}(?:\s*[,;]?\s*{_PATTERN})*\s*[,;.]?\s*")
_INLINE = re.compile(rf"{_NODE}{_EDGE}{_NODE}|\(:{_NAME}\s*\{{[^{{}}\n]*\}}\)")
_HEADING = re.compile(
    r"[ \t]*(?:#+\s*|\*\*)?(?:the\s+)?(?:"
    r"(?:node|relationship|edge|relation)s?\s*(?:types?\s*"
    r"|labels?\s*)?(?:and their\s+)?(?:propert(?:y|ies)|labels?|types?)"
    r"|nodes?|labels|relationships?|relations|edges|patterns|节点(?:属性|标签|类型)?"
    r"|关系(?:属性|类型)?|边(?:属性|类型)?"
    r")(?:\s+(?:are|is)\s+the\s+following)?\s*(?:\*\*)?\s*[:：](?:\*\*)?\s*(?:\[\s*\])?",
    re.IGNORECASE,
)
#: Lines below a heading: `- **Person**`, `:Person`, `Person {name: STRING}`, and a property, "- `name`: STRING".
_OWNER = re.compile(
    rf"{_BULLET}(?:\*\*{_NAME}\*\*"
    rf"|:?{_NAME})\s*:?\s*(?:\{{[^{{}}\n]*\}}(?:\s*,\s*{_NAME}\s*\{{[^{{}}\n]*\}})*)?\s*,?\s*"
)
_PROPERTY = re.compile(r"[ \t]*[-*•]\s*`?[^`:{}*\n]+?`?\s*:\s*`?[A-Za-z]\w*.*")
_BARE = re.compile(rf"{_BULLET}\[\s*:\s*{_NAME}(?:\s*\{{[^{{}}\n]*\}})?\s*\]\s*,?\s*")
_LOOSE = re.compile(rf"{_BULLET}{_NAME}\s*\{{\s*{_NAME}\s*:[^{{}}\n]*\}}\s*,?\s*")
_OTHER_LABEL = re.compile(
    r"\s*[#*]*\s*(?:question|query|cypher|answer|task|request|input|output|examples?|notes?"
    r"|hints?|rules?)\s*[*]*\s*[:：]?\s*",
    re.IGNORECASE,
)
_LABEL_BEFORE = re.compile(r"[^\n:：]{0,80}[:：]\s*")


def find_graph_schemas(text: str) -> list[Found]:
    """The graph schemas of a text: blocks of lines of patterns, headings and what stands below these."""
    blocks: list[list[int]] = []
    at, open_heading, quoted, in_block = 0, False, False, False
    for line in text.split("\n"):
        start, end = at, at + len(line)
        at = end + 1
        if quoted:  # an example's text goes over several lines
            blocks[-1][1] = end
            quoted = line.count('"') % 2 == 0
            continue
        if not line.strip():
            continue
        kind = _kind(line, open_heading)
        if kind is None:
            label = _LABEL_BEFORE.match(line)
            kind = _kind(line[label.end() :], False) if label else None
            if label is None or kind not in ("pattern", "heading"):
                open_heading = in_block = False
                continue
            start, in_block = start + label.end(), False
        open_heading = kind == "heading" or (open_heading and kind != "pattern")
        if in_block:
            blocks[-1][1] = end
        else:
            blocks.append([start, end])
        in_block = True
        quoted = kind == "property" and line.count('"') % 2 == 1
    found = []
    for start, end in blocks:
        value = text[start:end].strip()
        start += len(text[start:end]) - len(text[start:end].lstrip())
        if _declares(value):
            found.append(unwrap(text, start, start + len(value), value))
    return found


def has_inline_pattern(text: str) -> bool:
    """Whether a text names a graph's pattern amid other words."""
    return bool(_INLINE.search(text))


def _kind(line: str, below_heading: bool) -> str | None:
    if _PATTERNS.fullmatch(line) or _BARE.fullmatch(line):
        return "pattern"
    if _HEADING.fullmatch(line.rstrip()):
        return "heading"
    if _LOOSE.fullmatch(line):
        return "owner"
    if below_heading and _PROPERTY.fullmatch(line):
        return "property"
    return "owner" if below_heading and _OWNER.fullmatch(line) and not _OTHER_LABEL.fullmatch(line) else None


def _declares(text: str) -> bool:
    """Whether it says more than a name: a relationship, or a label with its properties."""
    try:
        schema = read_schema(text)
    except DataError:
        return False
    return bool(schema.triples or any(schema.labels.values()))
