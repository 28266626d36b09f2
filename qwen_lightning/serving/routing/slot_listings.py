"""Slots that are given as a class, an interface, a table of fields, or by worked examples."""

from __future__ import annotations

import re
from typing import Any

from qwen_lightning.serving.routing.found import Found
from qwen_lightning.serving.routing.slot_schemas import TYPES, json_objects
from qwen_lightning.serving.routing.sql_schemas import unwrap

_TYPE = r"[A-Za-z_][\w.]*(?:\[[^\n=;]{0,80}\])?(?:\s*\|\s*[A-Za-z_]\w*(?:\[[^\n=;|]{0,80}\])?)*"
#: `name: str = Field(...)`, `date?: string;`, `  rent: int`, `age: number // in years`.
_LINE = re.compile(
    rf"[ \t]*(?:[-*•][ \t]+)?[`\"']?(?P<name>[^\W\d]\w{{0,60}})[`\"']?\??[ \t]*:[ \t]*(?P<type>{_TYPE})[ \t]*"
    r"(?P<rest>(?:[=;,#]|//|[(（]|--)[^\n]*)?"
)
_HEADER = re.compile(
    r"[ \t]*(?:class\s+\w+\s*(?:\([^()\n]*\))?\s*:|(?:export\s+)?(?:interface|type)\s+\w+[^{}\n]{0,60}\{"
    r"|(?:\w+\s*:\s*)?\{"
    r"|struct\s+\w+\s*\{)\s*"
)
#: What may stand above a header, or below the last line, and belongs to the code.
_BESIDE = re.compile(r"[ \t]*(?:@\w+[^\n]*|(?:from|import)\s+[\w.]+[^\n]*|[\])}]+[;,]?|\"\"\"[^\n]*\"\"\")[ \t]*")
_COMMENT = re.compile(r"(?://|#)\s*(?P<comment>[^\n]+)|description\s*=\s*(?P<quote>[\"'])(?P<said>[^\n]*?)(?P=quote)")
_FIELD_HEADS = re.compile(
    r"(?:fields?|keys?|slots?|attributes?|name|column|property|字段名?|字段名称|槽位|名称|键|属性)", re.I
)
_TYPE_HEADS = re.compile(r"(?:data )?types?|类型|数据类型", re.I)
_SAID_HEADS = re.compile(
    r"desc(?:ription)?|meaning|explanation|required|notes?|examples?|说明|描述|含义|备注|示例|解释|必填", re.I
)
_RULE = re.compile(r"[ \t]*\|?[ \t:|-]*-[ \t:|-]*")
#: `{"origin": string, "passengers": number}`: JSON but for its values.
_PSEUDO_PAIR = r"[\"']?\w[\w ]{0,60}[\"']?\s*:\s*<?[A-Za-z]+(?:\[\])?>?\s*"
_PSEUDO = re.compile(rf"\{{\s*{_PSEUDO_PAIR}(?:,\s*{_PSEUDO_PAIR}){{1,60}}\}}")
_PAIR = re.compile(r"[\"']?(?P<name>\w[\w ]{0,60}?)[\"']?\s*:\s*<?(?P<type>[A-Za-z]+(?:\[\])?)>?")
_OUTPUT = re.compile(
    r"(?:output|json|result|response|answer|输出|结果|答案|回答)\s*[*_]*[:：=][*_]*\s*(?:```\w*\s*)?\Z", re.I
)


def find_slot_listings(text: str) -> list[Found]:
    """The slots of a text in one of these shapes, each as a JSON Schema that has no type where the text gives none."""
    return _pseudo(text) or _blocks(text) or _tables(text) or _examples(text)


def _pseudo(text: str) -> list[Found]:
    found = []
    for match in _PSEUDO.finditer(text):
        pairs = {pair["name"]: _typed(pair["type"]) for pair in _PAIR.finditer(match.group())}
        if all(field is not None for field in pairs.values()):
            found.append(unwrap(text, *match.span(), {"type": "object", "properties": pairs}))
    return found


def _blocks(text: str) -> list[Found]:
    """Runs of typed lines, with the header and the imports that belong to them."""
    found: list[Found] = []
    fields: dict[str, Any] = {}
    start = end = at = 0
    headed = False

    def close() -> None:
        nonlocal fields, headed
        if len(fields) > 1 or (fields and headed):
            found.append(unwrap(text, start, end, {"type": "object", "properties": fields}))
        fields, headed = {}, False

    for line in text.split("\n"):
        begin, at = at, at + len(line) + 1
        bare = line.rstrip()
        typed = _LINE.fullmatch(bare)
        field = _typed(typed["type"], headed) if typed is not None else None
        if typed is not None and field is not None:
            if not fields and not headed:
                start = begin
            if said := _COMMENT.search(typed["rest"] or ""):
                field["description"] = (said["comment"] or said["said"] or "").strip()
            fields[typed["name"]] = field
        elif bare and _HEADER.fullmatch(bare):
            if fields:
                close()
            start, headed = (start if headed else begin), True
        elif bare and _BESIDE.fullmatch(bare):
            if not fields and not headed:
                start, headed = begin, True
        elif not bare.strip() and not fields:
            continue
        else:
            close()
            continue
        end = begin + len(bare)
    close()
    return found


def _typed(said: str, headed: bool = False) -> dict[str, Any] | None:
    """The JSON Schema of a type in Python's or TypeScript's words; None where it is no type."""
    bare = re.sub(r"\s*\|\s*(?:None|null|undefined)\b", "", said).strip()
    if inner := re.fullmatch(r"(?:typing\.)?Optional\[(.*)\]", bare):
        bare = inner[1]
    if bare.endswith("[]") or re.match(r"(?:list|array|set|sequence|tuple)\b", bare, re.I):
        return {"type": "array"}
    if bare.startswith("Literal[") and (choices := re.findall(r"[\"']([^\"'\n]*)[\"']", bare)):
        return {"type": "string", "enum": choices}
    word = bare.lower()
    if word in TYPES:
        return {"type": TYPES[word]}
    if word in ("date", "time", "datetime", "datetime.date", "datetime.datetime", "literal", "enum", "any"):
        return {} if word in ("any", "enum") else {"type": "string"}
    return {} if headed and re.fullmatch(r"[A-Z]\w*(?:\[.*\])?|dict\[.*\]", bare) else None


def _tables(text: str) -> list[Found]:
    """Markdown tables whose first column names fields."""
    found, at = [], 0
    lines = text.split("\n")
    starts = []
    for line in lines:
        starts.append(at)
        at += len(line) + 1
    for index in range(len(lines) - 2):
        head = _cells(lines[index])
        if len(head) < 2 or not _FIELD_HEADS.fullmatch(head[0]) or not _RULE.fullmatch(lines[index + 1]):
            continue
        if not any(_TYPE_HEADS.fullmatch(name) or _SAID_HEADS.fullmatch(name) for name in head[1:]):
            continue
        kinds = next((at for at, name in enumerate(head) if at and _TYPE_HEADS.fullmatch(name)), None)
        properties: dict[str, Any] = {}
        last = index + 1
        for row in lines[index + 2 :]:
            cells = _cells(row)
            if "|" not in row or not cells or not cells[0]:
                break
            last += 1
            field = (_typed(cells[kinds]) or {}) if kinds is not None and kinds < len(cells) else {}
            if said := "; ".join(cell for at, cell in enumerate(cells) if at not in (0, kinds) and cell):
                field["description"] = said
            properties[cells[0].strip("`*")] = field
        if properties:
            end = starts[last] + len(lines[last])
            found.append(Found(starts[index], end, {"type": "object", "properties": properties}))
    return found


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")] if "|" in line else []


def _examples(text: str) -> list[Found]:
    """Objects behind `Output:` whose values were taken from the text: their keys are the slots."""
    properties: dict[str, Any] = {}
    place = None
    for start, end, value in json_objects(text):
        if not value or not _OUTPUT.search(text[max(0, start - 40) : start]):
            continue
        rest = text[:start] + text[end:]
        if all(isinstance(part, str | int | float | None) for part in value.values()) and any(
            isinstance(part, str) and part and part in rest for part in value.values()
        ):
            place = end
            properties |= {name: properties.get(name, {}) for name in value}
    # The examples stay in the text: they show more than the names.
    return [Found(place, place, {"type": "object", "properties": properties}, inline=True)] if place is not None else []
