"""Formats: JSON, tables, lists and code fences."""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic import Field, field_validator

from qwen_lightning.errors import DataError
from qwen_lightning.records import GeneralRecord
from qwen_lightning.tasks import strict_json
from qwen_lightning.tasks.checks.base import Check, CheckResult, Relation, counted, passed
from qwen_lightning.tasks.json_schema import read_schema, validator

_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[ \t]*([\w+#.-]*)[^\n]*\n(.*?)^[ \t]*\1[ \t]*$", re.MULTILINE | re.DOTALL)
_WHOLE_FENCE = re.compile(r"\A```[ \t]*(?:json)?[ \t]*\n(.*)\n[ \t]*```\Z", re.DOTALL | re.IGNORECASE)
_ROW = re.compile(r"(?<!\\)\|")
_DELIMITER = re.compile(r"^:?-+:?$")
_ITEM = re.compile(r"^(?P<indent>[ \t]*)(?:(?P<bullet>[-*+•])|(?P<number>\d{1,9})(?:[.)]|(?=、)))(?:[ \t]+|、[ \t]*)\S")


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
    """The whole answer is one JSON value that satisfies the JSON Schema; `fence` allows a Markdown fence around it."""

    type = "json"
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    fence: bool = False

    @field_validator("schema_")
    @classmethod
    def _is_schema(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        try:
            read_schema(value or {})
        except DataError as error:
            raise ValueError(f"is no JSON Schema: {error.message}") from None
        return value

    def measure(self, answer: str, record: GeneralRecord) -> CheckResult:
        text = answer.strip()
        if self.fence and (fenced := _WHOLE_FENCE.match(text)):
            text = fenced[1]
        try:
            value = strict_json.parse(text)
        except strict_json.NotJSON as error:
            return CheckResult(0.0, f"not JSON: {error}")
        fault = next(iter(validator(self.schema_ or {}).errors(value, limit=1)), None)
        return CheckResult(1.0) if fault is None else CheckResult(0.0, f"against the schema at {fault}")


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
        lines = _outside_fences(answer).splitlines()
        found = [match for line in lines if (match := _ITEM.match(line))]
        outer = min((len(match["indent"].expandtabs(4)) for match in found), default=0)
        top = [match for match in found if len(match["indent"].expandtabs(4)) < outer + 2]
        numbered = [match["number"] for match in top if match["number"]]
        if not top:
            return CheckResult(0.0, "no list")
        if (self.ordered is not None and bool(numbered) != self.ordered) or 0 < len(numbered) < len(top):
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


def _outside_fences(text: str) -> str:
    return _FENCE.sub("", text)


def _tables(text: str) -> list[tuple[int, int]]:
    """`(columns, rows)` of every table."""
    lines = [_cells(line) for line in _outside_fences(text).splitlines()]
    found = []
    position = 1
    while position < len(lines):
        header, dashes = lines[position - 1], lines[position]
        position += 1
        if header and len(header) == len(dashes) and all(map(_DELIMITER.match, dashes)):
            first = position
            while position < len(lines) and len(lines[position]) == len(header):
                position += 1
            found.append((len(header), position - first))
    return found


def _cells(line: str) -> list[str]:
    if not _ROW.search(line):
        return []
    return [cell.strip() for cell in _ROW.split(line.strip().removeprefix("|").removesuffix("|"))]
