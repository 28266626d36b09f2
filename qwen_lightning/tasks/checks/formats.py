"""Formats: JSON, tables, lists and code fences where they are asked for, and none of them where prose is."""

from __future__ import annotations

import json
import re
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from pydantic import Field, field_validator

from qwen_lightning.records import GeneralRecord
from qwen_lightning.tasks.checks.base import Check, CheckResult, Relation, counted, passed

_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[ \t]*([\w+#.-]*)[^\n]*\n(.*?)^[ \t]*\1[ \t]*$", re.MULTILINE | re.DOTALL)
_WHOLE_FENCE = re.compile(r"\A```[ \t]*(?:json)?[ \t]*\n(.*)\n[ \t]*```\Z", re.DOTALL | re.IGNORECASE)
_ROW = re.compile(r"(?<!\\)\|")
_DELIMITER = re.compile(r"^:?-+:?$")
_ITEM = re.compile(r"^(?P<indent>[ \t]*)(?:(?P<bullet>[-*+•])|(?P<number>\d{1,9})[.)、])[ \t]+\S")


class JSONFormat(Check):
    """The whole answer is JSON, a Markdown fence around it allowed."""

    type = "json_format"

    def measure(self, answer: str, record: GeneralRecord) -> CheckResult:
        text = answer.strip()
        for prefix in ("```json", "```Json", "```JSON", "```"):
            text = text.removeprefix(prefix)
        try:
            json.loads(text.removesuffix("```").strip())
        except (ValueError, RecursionError) as error:
            return CheckResult(0.0, f"not JSON: {error}")
        return CheckResult(1.0)


class JSON(Check):
    """The whole answer is one JSON value (`NaN` is none) that satisfies the JSON Schema; `fence` allows a fence around it."""

    type = "json"
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    fence: bool = False

    @field_validator("schema_")
    @classmethod
    def _is_schema(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        try:
            Draft202012Validator.check_schema(value or {})
        except SchemaError as error:
            raise ValueError(f"is no JSON Schema: {error.message}") from None
        return value

    def measure(self, answer: str, record: GeneralRecord) -> CheckResult:
        text = answer.strip()
        if self.fence and (fenced := _WHOLE_FENCE.match(text)):
            text = fenced[1]
        try:
            value = json.loads(text, parse_constant=_no_constant)
            Draft202012Validator(self.schema_ or {}).validate(value)
        except (ValueError, RecursionError) as error:
            return CheckResult(0.0, f"not JSON: {error}")
        except ValidationError as error:
            return CheckResult(0.0, f"against the schema at {error.json_path}: {error.message}")
        return CheckResult(1.0)


class MarkdownTable(Check):
    """A Markdown table: a header, a line of dashes, and at least so many rows of as many cells."""

    type = "markdown_table"
    columns: int | None = Field(default=None, ge=1)
    min_rows: int = Field(default=1, ge=0)

    def measure(self, answer: str, record: GeneralRecord) -> CheckResult:
        tables = list(_tables(answer))
        fitting = [rows for width, rows in tables if self.columns in (None, width)]
        if not fitting:
            return CheckResult(0.0, f"no Markdown table of {self.columns} columns" if tables else "no Markdown table")
        return counted(max(fitting), "at least", self.min_rows, "rows in the table")


class ListItems(Check):
    """A Markdown list of so many items, counted on its outer level, numbered from 1 where `ordered`."""

    type = "list"
    items: int | None = Field(default=None, ge=1)
    relation: Relation = "exactly"
    ordered: bool | None = None

    def measure(self, answer: str, record: GeneralRecord) -> CheckResult:
        found = [match for line in _outside_fences(answer).splitlines() if (match := _ITEM.match(line))]
        outer = min((len(match["indent"].expandtabs(4)) for match in found), default=0)
        top = [match for match in found if len(match["indent"].expandtabs(4)) < outer + 2]
        numbered = [match["number"] for match in top if match["number"]]
        if not top:
            return CheckResult(0.0, "no list")
        if self.ordered is not None and bool(numbered) != self.ordered or 0 < len(numbered) < len(top):
            return CheckResult(0.0, "the list is not numbered" if self.ordered else "the list is numbered or mixed")
        if self.ordered and [int(number) for number in numbered] != list(range(1, len(top) + 1)):
            return CheckResult(0.0, f"the items are numbered {', '.join(numbered)}")
        return counted(len(top), self.relation if self.items else "at least", self.items or 1, "items")


class CodeFence(Check):
    """A closed Markdown code fence that is not empty, of the language, and alone where `only`."""

    type = "code_fence"
    language: str | None = Field(default=None, min_length=1)
    only: bool = False

    def measure(self, answer: str, record: GeneralRecord) -> CheckResult:
        fences = [fence for fence in _FENCE.finditer(answer) if fence[3].strip()]
        if not fences:
            return CheckResult(0.0, "no closed code fence")
        if self.language and all(fence[2].lower() != self.language.lower() for fence in fences):
            return CheckResult(0.0, f"no fence marked {self.language}, but {sorted({fence[2] for fence in fences})}")
        return passed(not self.only or not _outside_fences(answer).strip(), "text outside the code fence")


class Prose(Check):
    """Running text: no JSON, SQL, Cypher or tool call."""

    type = "prose"

    def measure(self, answer: str, record: GeneralRecord) -> CheckResult:
        found = [name for name, is_there in _MACHINE_TEXT.items() if is_there(answer)]
        return passed(not found, f"has {', '.join(found)}")


# Keywords in capitals are enough; in lower case the statement needs a mark that English has not.
_SQL = re.compile(
    r"\bSELECT\b[^.?!]{1,2000}?\bFROM\s+[\w\"(`]|\bINSERT\s+INTO\s+\S+|\bUPDATE\s+\S+\s+SET\s+\S+\s*=|\bDELETE\s+FROM\s+\S+"
    r"|\b(?:CREATE|ALTER|DROP)\s+(?:TABLE|VIEW|INDEX)\s+\S+"
)
_SQL_LOWER = re.compile(
    r"\bselect\s+(?:distinct\s+)?(?:\*|[\w.\"]+\s*\(|[\w.\"]+\s*,)[^?!;]{0,2000}?\bfrom\s+[\w\"(]"
    r"|\bselect\s[^.?!;]{1,2000}?\bfrom\s+[\w\".]+(?:\s+(?:as\s+)?\w+)?\s*(?:;|\bwhere\s+[\w.\"(]+\s*(?:[=<>]|in\s*\(|like\s*'|is\s+(?:not\s+)?null)"
    r"|\bgroup\s+by\s+[\w.]+\s*(?:;|$|\border\s+by|\bhaving)|\blimit\s+\d)"
    r"|\binsert\s+into\s+\w+\s*(?:\([\w,\s]+\)\s*)?values\s*\(|\bupdate\s+\w+\s+set\s+\w+\s*=|\bdelete\s+from\s+\w+\s*(?:;|where\s+\w+\s*[=<>])"
    r"|\bcreate\s+table\s+(?:if\s+not\s+exists\s+)?\w+\s*\(",
    re.IGNORECASE,
)
_CYPHER = re.compile(
    r"\b(?:MATCH|MERGE|CREATE)\s*(?:\w+\s*=\s*)?\(\s*\w*\s*(?::\s*[\w`|&:]+\s*)?(?:\{[^{}]*\}\s*)?\)|\)\s*<?-\[[^\]\n]{0,200}\]->?\s*\(", re.IGNORECASE
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
        if isinstance(value, dict) or value and isinstance(value[0], dict) or text.strip().startswith("["):
            return True
    return False


_MACHINE_TEXT = {
    "a tool call": lambda text: bool(_TOOL_CALL.search(text)),
    "JSON": _has_json,
    "SQL": _has_sql,
    "Cypher": lambda text: bool(_CYPHER.search(text)),
}


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _outside_fences(text: str) -> str:
    return _FENCE.sub("", text)


def _tables(text: str) -> list[tuple[int, int]]:
    """`(columns, rows)` of every table."""
    lines = [_cells(line) for line in _outside_fences(text).splitlines()]
    found = []
    for position in range(1, len(lines)):
        header, dashes = lines[position - 1], lines[position]
        if header and dashes and len(header) == len(dashes) and all(map(_DELIMITER.match, dashes)):
            rows = 0
            while position + rows + 1 < len(lines) and len(lines[position + rows + 1]) == len(header):
                rows += 1
            found.append((len(header), rows))
    return found


def _cells(line: str) -> list[str]:
    if not _ROW.search(line):
        return []
    return [cell.strip() for cell in _ROW.split(line.strip().removeprefix("|").removesuffix("|"))]
