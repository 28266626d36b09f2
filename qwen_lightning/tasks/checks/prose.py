"""Prose: running text where it is asked for, and no text for machines."""

from __future__ import annotations

import json
import re

from qwen_lightning.records import GeneralRecord
from qwen_lightning.tasks.checks.base import Check, CheckResult, passed


class Prose(Check):
    """Running text: no JSON, SQL, Cypher or tool call."""

    type = "prose"

    def measure(self, answer: str, record: GeneralRecord) -> CheckResult:
        found = [name for name, is_there in _MACHINE_TEXT.items() if is_there(answer)]
        return passed(not found, f"has {', '.join(found)}")


# Keywords in capitals are enough; in lower case the statement needs a mark that English has not.
_SQL = re.compile(
    r"""\bSELECT\b(?:[^.?!]|[.!](?=\S)){1,2000}?\bFROM\s+[\w"(`]
    |\A\s*SELECT\s+['"(\d]
    |\bINSERT\s+INTO\s+\S+
    |\bUPDATE\s+\S+\s+SET\s+\S+\s*=
    |\bDELETE\s+FROM\s+\S+
    |\b(?:CREATE|ALTER|DROP)\s+(?:TABLE|VIEW|INDEX)\s+\S+""",
    re.VERBOSE,
)
_SQL_LOWER = re.compile(
    r"""\bselect\s+(?:distinct\s+)?(?:\*|[\w."]+\s*\(|[\w."]+\s*,|\w+\.\w)[^?!;]{0,2000}?\bfrom\s+[\w"(]
    |\bselect\s[^.?!;]{1,2000}?\bfrom\s+[\w"]+(?:\.[\w"]+)?(?:\s+(?:as\s+)?\w+)?\s*
        (?:;|\bwhere\s+(?:not\s+)?(?:exists\s*\(|[\w."(]+\s*(?:[=<>]|(?:not\s+)?in\s*\(|(?:not\s+)?i?like\s*'|is\s+(?:not\s+)?null|between\s+\S+\s+and\b))
        |\bjoin\s+\w+(?:\s+as)?(?:\s+\w+)?\s+on\s+\w|\b(?:union|except|intersect)\s+(?:all\s+)?select\b
        |\b(?:group|order)\s+by\s+[\w.]+\s*(?:;|\Z|\border\s+by|\bhaving|\blimit|\basc\b|\bdesc\b|\bnulls\b)|\blimit\s+\d)
    |\A\s*select\s[\w\s,."]{1,2000}?\sfrom\s+\w+\s*;?\s*\Z
    |\binsert\s+into\s+\w+\s*(?:\([\w,\s]+\)\s*)?values\s*\(
    |\bupdate\s+\w+\s+set\s+\w+\s*=
    |\bdelete\s+from\s+\w+\s*(?:;|where\s+\w+\s*[=<>])
    |\bcreate\s+table\s+(?:if\s+not\s+exists\s+)?\w+\s*\(""",
    re.IGNORECASE | re.VERBOSE,
)
_CYPHER = re.compile(
    r"""\b(?:MATCH|MERGE|CREATE)\s*(?:\w+\s*=\s*)?\(\s*\w*\s*(?::\s*[\w`|&:]+\s*)?(?:\{[^{}]*\}\s*)?\)
    |\)\s*<?-\[[^\]\n]{0,200}\]->?\s*\(""",
    re.IGNORECASE | re.VERBOSE,
)
_JSON_START = re.compile(r"\{\s*(?:\"[^\"\n]{1,200}\"\s*:|\})|\[\s*(?:\{|\"[^\"\n]{0,200}\"\s*[,\]]|\])")
_TOOL_CALL = re.compile(r"</?tool_call>|</?function_call>|\"arguments\"\s*:\s*[{\"]", re.IGNORECASE)


def _has_sql(text: str) -> bool:
    # Where the whole answer is in capitals, they mark no keyword.
    return bool(_SQL_LOWER.search(text)) or (not text.isupper() and bool(_SQL.search(text)))


def _has_json(text: str) -> bool:
    decoder = json.JSONDecoder()
    for start in _JSON_START.finditer(text):
        try:
            value, _ = decoder.raw_decode(text, start.start())
        except (ValueError, RecursionError):
            # Broken JSON is no prose either, if it has a key.
            if start.group().startswith("{") and ":" in start.group():
                return True
            continue
        if isinstance(value, dict) or (value and isinstance(value[0], dict)) or text.strip().startswith("["):
            return True
    return False


_MACHINE_TEXT = {
    "a tool call": lambda text: bool(_TOOL_CALL.search(text)),
    "JSON": _has_json,
    "SQL": _has_sql,
    "Cypher": lambda text: bool(_CYPHER.search(text)),
}
