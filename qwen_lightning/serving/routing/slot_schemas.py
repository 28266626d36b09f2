"""What a text says of the slots to fill: a JSON Schema, a JSON object to fill in, or a list of fields."""

from __future__ import annotations

import json
import re
from typing import Any

from qwen_lightning.serving.routing.found import Found, is_text
from qwen_lightning.serving.routing.sql_schemas import unwrap

#: What users call a type, to JSON Schema's name of it.
TYPES = {
    **dict.fromkeys(("string", "str", "text", "字符串", "文本"), "string"),
    **dict.fromkeys(("integer", "int", "整数"), "integer"),
    **dict.fromkeys(("number", "float", "double", "数字", "数值"), "number"),
    **dict.fromkeys(("boolean", "bool", "布尔"), "boolean"),
    **dict.fromkeys(("array", "list", "列表", "数组"), "array"),
    **dict.fromkeys(("object", "dict", "对象"), "object"),
}
_OPEN_VALUE = re.compile(r"\s*(?:\.{3}|…|<[^>]*>|\[[^\]]*\]|\{[^}]*\}|\?+|_+|null|none|n/?a)?\s*", re.IGNORECASE)
#: Words that name the things listed as fields, and those that may name other things too.
_FIELDS = r"(?:fields?|slots?|keys?|attributes?|entities|entity types|columns|properties|parameters|values)"
_LOOSE = r"(?:information|info|details|data|items|facts)"
_ENGLISH = re.compile(
    rf"\b(?!key\s\w)(?:(?P<sure>{_FIELDS}|extract(?=\s?[:：]\s?\n))"
    rf"|{_LOOSE})\b(?P<between>[^\n:.?!]{{0,60}})[:：][ \t]*(?P<list>[^\n]*)",
    re.IGNORECASE,
)
_CHINESE = re.compile(
    r"(?:(?P<sure>字段|槽位|键|属性|实体|参数)|信息|内容|要素"
    r"|数据)(?P<between>[^\n:：。？！]{0,20})[:：][ \t]*(?P<list>[^\n]*)"
)
_WORD = r"[\w`\"'-]+"
_QUOTED = r"[`\"'“‘][^`\"'“”‘’\n]{1,60}[`\"'”’]"
_PLAIN = r"[\w ]{1,40}(?:\([\w ,]{1,40}\))?"
_HAN = r"[^\s、，,。：:；;！？!?“”\"'（）()\[\]{}和与及]{1,12}"
_HAN_LIST = rf"{_HAN}(?:(?:、|和|与|以及|及|，和){_HAN})+"
_TAKE = r"(?:提取|抽取|识别|找出|解析|获取|抽出|提炼|列出)(?:出|一下)?(?:以下|下列)?"
#: Lists without a colon before them: `extract name and city from`, `keys "name" and "city"`, `抽取姓名、电话等字段`.
_INLINE = (
    re.compile(
        rf"\bextract\s+(?:the\s+)?(?P<list>{_WORD}(?:\s*,\s*(?!and\b){_WORD})*,?(?:\s+and\s+"
        rf"|\s*,\s*){_WORD})(?=\s+(?:from|in|out of|as)\b)",
        re.IGNORECASE,
    ),
    re.compile(
        rf"\bextract\s+(?:the\s+)?(?:following\s+)?(?!key\b){_FIELDS}\s+(?P<list>{_WORD}(?:\s*,\s*(?:and\s+)?{_WORD})*(?:\s+and\s+{_WORD})?)"
        r"(?=\s+(?:from|in|out of|as)\b|[.:\n]|$)",
        re.IGNORECASE,
    ),
    re.compile(rf"\b{_FIELDS}\s+(?P<list>{_QUOTED}(?:\s*(?:,|and|,\s*and)\s*{_QUOTED})*)", re.IGNORECASE),
    re.compile(rf"\b{_FIELDS}\s+(?P<list>\w+(?:\s*,\s*(?:and\s+)?\w+)+)(?=\s*[:.\n])", re.IGNORECASE),
    re.compile(
        rf"\b{_FIELDS}\s*(?:>|[(\[{{])\s*(?P<list>[\w -]{{1,40}}(?:\s*,\s*[\w -]{{1,40}})*)\s*[)\]}}<]", re.IGNORECASE
    ),
    re.compile(rf"\{{\s*(?P<list>{_QUOTED}(?:\s*,\s*{_QUOTED})+)\s*\}}"),
    re.compile(rf"\bextract\s?[:：]\s?(?P<list>{_PLAIN}(?:\s?,\s?{_PLAIN})+)(?=\s*[.\n]|\s*\Z)", re.IGNORECASE),
    re.compile(
        r"(?:字段|槽位|键名?|属性|实体类型|(?a:\b(?:keys?|slots?)))(?:名称?)?(?:分别)?(?:为|是|有|包括"
        r"|包含)\s*[:：]?\s*"
        rf"(?P<list>{_HAN}(?:\s*[、，,和]\s*{_HAN})+)"
    ),
    re.compile(
        r"(?:提取|抽取"
        r"|识别)出?\s*(?P<list>[^\s、，,。：:]{1,20}(?:[、，,][^\s、，,。：:]{1,20}?)+?)\s*(?:这)?[一二两三四五六七八九十几\d]*[个项]?(?:字段"
        r"|槽位|信息|参数|属性)"
    ),
)
_ITEM_WORD = r"(?!(?:from|in|as|and|or|out|of|for|with|mentioned|to|into|is|are)\b)[\w'-]{1,40}"
_PHRASE = rf"{_ITEM_WORD}(?:[ \t]+{_ITEM_WORD}){{0,3}}"
#: Lists that name fields only where JSON is wanted: the same words ask for an essay's main ideas.
_FOR_JSON = (
    re.compile(
        rf"\bextra?c?t(?:ing)?\s+(?P<list>{_PHRASE}(?:\s*,\s*{_PHRASE}){{0,30}}(?:\s*,?\s+and\s+|\s*,\s*){_PHRASE})"
        r"(?=\s+(?:from|in|out of|as|of|mentioned|for|and)\b|\s*[.:?\n]|\s*\Z)",
        re.IGNORECASE,
    ),
    re.compile(
        rf"\bjson\s+(?:object\s+)?(?:with|containing|of|having)\s+(?P<list>{_PHRASE}(?:\s*,\s*{_PHRASE}){{0,30}}"
        rf"(?:\s*,?\s+and\s+|\s*,\s*){_PHRASE})(?=\s?[.:：]?[ \t]*\n)",
        re.IGNORECASE,
    ),
    re.compile(
        r"\b(?:pull(?: out)?|get|find|need|want|identify|parse(?: out)?|return|detect|recogni[sz]e|capture|read)"
        rf"\s+(?P<list>{_PHRASE}(?:\s*,\s*{_PHRASE}){{0,30}}(?:\s*,?\s+and\s+|\s*,\s*){_PHRASE})"
        r"(?=\s+(?:from|in|out of|mentioned)\b)",
        re.IGNORECASE,
    ),
    re.compile(
        rf"{_TAKE}(?:[“\"][^”\"\n]{{1,300}}[”\"]|[^，。：:、“”\n]{{0,30}}?)(?:中|里|内|里面"
        rf"|当中)(?:提到)?的?(?P<list>{_HAN_LIST})"
    ),
    re.compile(rf"{_TAKE}\s*(?P<list>{_HAN_LIST})"),
)
_DETERMINER = re.compile(r"(?:the|a|an|any|all|its|their|his|her|each)\s+", re.IGNORECASE)
_JSON = re.compile(r"(?a:\bjson\b)", re.IGNORECASE)
_HAN_END = re.compile(
    r"(?:等)?(?:这)?(?:[一二两三四五六七八九十几\d]+[个项])?(?:字段|信息|槽位|参数|属性|并)?$"
    r"|这[一二两三四五六七八九十几\d]+[个项].*$"
)
_BULLET = re.compile(r"[ \t]*(?:[-*•]|\d+[.)、])[ \t]*(?P<item>\S[^\n]*)(?:\n|$)")
_ITEM = re.compile(
    r"[`\"'*]*(?P<name>[^`\"'*:：()（）\n]+?)[`\"'*]*\s*(?:[(（](?P<kind>[^)）\n]*)[)）])?[`\"'*]*\s*(?:(?:[:：]"
    r"|\s[-–—])\s*(?P<text>.*?))?\s*[.;；。,，]?\s*"
)
_MOST_FIELDS = 100
_MOST_BROKEN = 500
#: "the fields from this sentence:" comes before the sentence, "the following fields from the text:" before the fields.
_TEXT_FOLLOWS = re.compile(
    r"\b(?:text|sentence|utterance|message|passage|paragraph|input|conversation|dialogue|email"
    r"|document|query|request)s?\b|句|文本|话",
    re.IGNORECASE,
)
_LIST_FOLLOWS = re.compile(r"\b(?:following|these|below)\b|以下|下列|如下|这些|下面", re.IGNORECASE)
_SPLIT = re.compile(r"\s*[,;，；、]\s*(?:and\s+|和)?|\s+and\s+|\s*(?:以及|[和与及])\s*")


def find_json_schemas(text: str) -> list[Found]:
    """The JSON Schemas of objects in a text; one that is wrapped as OpenAI's `json_schema` comes without its wrap."""
    found = []
    for start, end, value in json_objects(text):
        schema = value
        for key in ("json_schema", "schema", "parameters"):
            if not is_object_schema(schema) and isinstance(schema.get(key), dict):
                schema = schema[key]
        if is_object_schema(schema):
            found.append(unwrap(text, start, end, schema))
    return found


def find_templates(text: str) -> list[Found]:
    """JSON objects whose values are all left open, or name types, each as the JSON Schema that it stands for."""
    found = []
    for start, end, value in json_objects(text):
        schema = _of_template(value) if value and not is_object_schema(value) else None
        if schema is not None:
            found.append(unwrap(text, start, end, schema))
    return found


def find_fields(text: str, for_json: bool = False) -> list[Found]:
    """Lists of fields in a text, each as a JSON Schema that has no type where the text gives none.

    Args:
        text: The text.
        for_json: JSON is wanted, so that a looser list of things to extract is one of fields.
    """
    found = _listed_inline(text, _INLINE)
    if found:
        return found
    found = _listed_after_label(text)
    return found or (_listed_inline(text, _FOR_JSON) if for_json else [])


def wants_json(text: str) -> bool:
    """Whether a text speaks of JSON."""
    return bool(_JSON.search(text))


def _listed_after_label(text: str) -> list[Found]:
    found: list[Found] = []
    for match in sorted([*_ENGLISH.finditer(text), *_CHINESE.finditer(text)], key=lambda match: match.start()):
        if found and match.start("list") < found[-1].end:
            continue
        listed, end = match["list"].strip(), match.end("list")
        if (
            listed
            and _TEXT_FOLLOWS.search(match[("between")])
            and not _LIST_FOLLOWS.search(text[: match.start()][-40:])
        ):
            continue
        if listed:
            # A sentence may follow the list on its line.
            within = re.search(r"[(（][^)）]*\Z", text[max(0, match.start() - 1) : match.start("list")])
            stop = re.search(r"[)）]" if within else r"(?:\.|\.?\s+(?=from\b))(?:\s|$)|。", listed)
            inline = listed[: stop.start()] if stop else listed
            items = [item for item in _SPLIT.split(inline) if item]
            end = match.start("list") + len(inline)
            named = _named(items, sure=bool(match["sure"]))
        else:
            items, end = _bulleted(text, end)
            named = _named(items, sure=True)
        if named:
            found.append(Found(match.start("list"), end, {"type": "object", "properties": named}, inline=True))
    return found


def _listed_inline(text: str, patterns: tuple[re.Pattern[str], ...]) -> list[Found]:
    for pattern in patterns:
        for match in pattern.finditer(text):
            listed = _HAN_END.sub("", match["list"].strip())
            items = [_DETERMINER.sub("", item, count=1) for item in _SPLIT.split(listed) if item]
            if named := _named(items, sure=True):
                schema = {"type": "object", "properties": named}
                return [Found(match.start("list"), match.start("list") + len(listed), schema, inline=True)]
    return []


def is_object_schema(value: Any) -> bool:
    """Whether it is the JSON Schema of an object with properties, and no object that happens to have a type."""
    if not isinstance(value, dict) or not isinstance(value.get("properties"), dict):
        return False
    kind = value.get("type", "object")
    return kind == "object" and all(isinstance(part, dict | bool) for part in value["properties"].values())


def json_objects(text: str) -> list[tuple[int, int, dict[str, Any]]]:
    """The outermost JSON objects of a text, each with where it begins and ends."""
    decoder, found, at, failed = json.JSONDecoder(), [], 0, 0
    while failed < _MOST_BROKEN and (at := text.find("{", at)) >= 0:
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            at, failed = at + 1, failed + 1
            continue
        if isinstance(value, dict) and is_text(value):
            found.append((at, end, value))
        at = end
    return found


def _of_template(value: dict[str, Any]) -> dict[str, Any] | None:
    properties: dict[str, Any] = {}
    for name, item in value.items():
        if isinstance(item, dict) and item:
            inner = _of_template(item)
            if inner is None:
                return None
            properties[name] = inner
        elif isinstance(item, str) and item.strip().lower() in TYPES:
            properties[name] = {"type": TYPES[item.strip().lower()]}
        elif item is None or item == {} or (isinstance(item, str) and _OPEN_VALUE.fullmatch(item)):
            properties[name] = {}
        elif isinstance(item, list) and all(isinstance(i, str) and _OPEN_VALUE.fullmatch(i) for i in item):
            properties[name] = {"type": "array"}
        else:
            return None
    return {"type": "object", "properties": properties}


def _bulleted(text: str, start: int) -> tuple[list[str], int]:
    items, at = [], start
    while gap := re.compile(r"\s*").match(text, at):
        bullet = _BULLET.match(
            text, gap.end() if "\n" not in text[at : gap.end()] else text.rfind("\n", at, gap.end()) + 1
        )
        if not bullet or text[at : bullet.start()].count("\n") > 2:
            break
        items.append(bullet["item"].strip())
        at = bullet.end()
    return items, (start + len(text[start:at].rstrip()) if items else start)


def _named(items: list[str], sure: bool) -> dict[str, Any]:
    """The fields with what is said of each; none unless every item names one."""
    fields: dict[str, Any] = {}
    for item in items:
        match = _ITEM.fullmatch(item)
        if match is None:
            return {}
        name = match["name"].strip()
        if len(name) > 60 or len(name.split()) > (6 if sure and len(items) > 1 else 3):
            return {}
        if not sure and name.split()[0].lower() in ("the", "a", "an", "his", "her", "their", "its", "what", "how"):
            return {}
        field: dict[str, Any] = {}
        said = [part.strip() for part in (match["kind"] or "").split(",")]
        kind = next((TYPES[part.lower()] for part in said if part.lower() in TYPES), None)
        text = match["text"] or ""
        if kind is None and text.strip().lower() in TYPES:
            kind, text = TYPES[text.strip().lower()], ""
        if kind:
            field["type"] = kind
        rest = "; ".join(part for part in (*(p for p in said if p and p.lower() not in TYPES), text.strip()) if part)
        if rest:
            field["description"] = rest
        fields[name] = field
    return fields if len(fields) == len(items) <= _MOST_FIELDS else {}
