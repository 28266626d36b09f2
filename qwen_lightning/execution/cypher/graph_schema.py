"""A graph schema read from its text: labels, relationship types, their properties, and which label leads to which.

Two layouts are understood, alone or mixed, with any indentation, bullets and markdown. The listing that Neo4j's tools
print::

    Node properties:
    - **Person**
      - `name`: STRING Example: "Ann"
    Relationship properties:
    - **LENT**
      - `on: DATE`
    The relationships:
    (:Library)-[:LENT]->(:Person)

and a compact one, a pattern a line, types optional::

    (:Person {name: STRING, born: INTEGER})
    (:Library)-[:LENT {on: DATE}]->(:Person)
    LENT {on: DATE}
    Person {name: STRING}
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

from qwen_lightning.errors import DataError

_NAME = r"(?:`[^`]+`|[^\W\d]\w*)"
_PROPERTIES = r"(?:\s*\{(?P<%s>[^}]*)\})?"
_END = r"\(\s*(?:[^\W\d]\w*)?\s*:\s*(?P<%s>" + _NAME + r"(?:\s*[:&|]\s*" + _NAME + r")*)" + _PROPERTIES + r"\s*\)"
_TRIPLE = re.compile(
    (_END % ("source", "source_properties"))
    + r"\s*(?P<left><)?\s*-+\s*\[\s*(?:[^\W\d]\w*)?\s*:\s*(?P<type>"
    + _NAME
    + r"(?:\s*\|\s*:?"
    + _NAME
    + r")*)"
    + (_PROPERTIES % "type_properties")
    + r"\s*\]\s*-+\s*(?P<right>>)?\s*"
    + (_END % ("target", "target_properties"))
)
_NODE = re.compile(_END % ("label", "properties"))
_SECTION = re.compile(
    r"(?P<kind>node|relationship|edge)s?\s*(?:types?\s*)?(?:and their\s*)?(?:propert|label|type)"
    r"|(?P<nodes>nodes?)\s*:?\s*$"
    r"|(?P<triples>(?:the\s+)?(?:relationships|relations|edges|patterns)\b)",
    re.IGNORECASE,
)
_BARE_TYPE = re.compile(r"\[\s*:\s*(?P<name>" + _NAME + r")" + (_PROPERTIES % "properties") + r"\s*\]")
_OWNER = re.compile(r"(?:\*\*|:)?(?P<name>" + _NAME + r")(?:\*\*)?\s*:?\s*(?:\{(?P<properties>.*)\})?\s*$")
#: Several owners on a line: `Person {name: STRING},Movie {title: STRING}`.
_OWNERS = re.compile(rf"(?P<name>{_NAME})\s*\{{(?P<properties>[^{{}}]*)\}}\s*(?:,\s*|$)")
_TYPE = r"[A-Za-z][\w<>]*(?:\s+(?!Example|Min|Max|Available)[A-Z]\w*)*"
_PROPERTY = re.compile(r"`?(?P<name>[^`:{}*]+?)`?\s*:\s*`?(?P<type>" + _TYPE + r")?`?")
_ENTRY = re.compile(r"(?P<name>`[^`]+`|[^\s,:{}\[\]\"']+)\s*(?::\s*(?P<type>[^,]*))?(?:,|$)")


@dataclass(slots=True)
class GraphSchema:
    """What a schema text declares.

    Args:
        labels: Label to its properties, each with its type in upper case (empty where the text gives none).
        types: Relationship type to its properties, likewise.
        triples: (source label, relationship type, target label).
        knows_properties: Properties of nodes are listed, so that one that is missing does not exist.
        knows_type_properties: The same for relationships.
    """

    labels: dict[str, dict[str, str]] = field(default_factory=dict)
    types: dict[str, dict[str, str]] = field(default_factory=dict)
    triples: set[tuple[str, str, str]] = field(default_factory=set)
    knows_properties: bool = False
    knows_type_properties: bool = False


def _names(text: str) -> list[str]:
    return [name.strip("`") for name in re.findall(_NAME, text)]


def _entries(text: str | None) -> dict[str, str]:
    found = {}
    for entry in _ENTRY.finditer((text or "").strip()):
        found[entry["name"].strip("`")] = (entry["type"] or "").strip().upper()
    return found


@lru_cache(maxsize=256)
def read_schema(text: str) -> GraphSchema:
    """Read a schema text. The result is shared: do not change it.

    Raises:
        DataError: It names no label.
    """
    schema = GraphSchema()
    section, owner = "", None
    # Names outside any section: patterns that come later tell a label from a type.
    loose: dict[str, str | None] = {}
    for raw in text.splitlines():
        line = raw.strip()
        if not line:
            continue
        if _read_patterns(schema, line):
            owner = None
            continue
        bulleted = line[:1] in "-*•" and not line.startswith("**")
        body = line.lstrip("-*•").strip() if bulleted else line
        if bulleted and line.lstrip("- ").startswith("**"):
            body = line.lstrip("- ")
        heading = None if bulleted else _SECTION.match(body.lstrip("#* "))
        if heading:
            kind = (heading["kind"] or "node").lower()
            section = "triples" if heading["triples"] else "node" if kind == "node" else "type"
            owner = None
            if "propert" in body.lower():
                schema.knows_properties |= section == "node"
                schema.knows_type_properties |= section == "type"
            continue
        several = list(_OWNERS.finditer(body)) if section in ("node", "type") else []
        if len(several) > 1 and not _OWNERS.sub("", body).strip():
            kept = schema.types if section == "type" else schema.labels
            for one in several:
                _declare(schema, kept, one["name"].strip("`"), one["properties"])
            continue
        owned = _OWNER.fullmatch(body)
        indented = raw[:1].isspace() and owner is not None and not body.startswith("**")
        if owned and not indented and (section != "triples" or owned["properties"] is not None):
            owner = owned["name"].strip("`")
            if not section:
                loose[owner] = owned["properties"]
                continue
            kept = schema.types if section == "type" else schema.labels
            _declare(schema, kept, owner, owned["properties"])
            continue
        entry = _PROPERTY.match(body)
        if entry and owner is not None and section in ("node", "type"):
            kept = schema.types if section == "type" else schema.labels
            kept[owner][entry["name"].strip()] = (entry["type"] or "").upper()
    for name, properties in loose.items():
        is_type = name in schema.types or (name not in schema.labels and name.isupper() and len(name) > 1)
        _declare(schema, schema.types if is_type else schema.labels, name, properties)
    schema.knows_properties |= any(schema.labels.values())
    schema.knows_type_properties |= any(schema.types.values())
    if not schema.labels:
        raise DataError(
            "the graph schema names no label; expected lines such as `(:Person {name: STRING})` and "
            "`(:Person)-[:KNOWS {since: DATE}]->(:Person)`, or Neo4j's listing (Node properties: … "
            "Relationship properties: … The relationships: …)"
        )
    return schema


def _declare(schema: GraphSchema, kept: dict[str, dict[str, str]], name: str, properties: str | None) -> None:
    kept.setdefault(name, {}).update(_entries(properties))
    if properties is not None:
        schema.knows_properties |= kept is schema.labels
        schema.knows_type_properties |= kept is schema.types


def _read_patterns(schema: GraphSchema, line: str) -> bool:
    """Take every pattern of a line; whether there was one."""
    found = False
    at = 0
    # A node may end one relationship and start the next.
    while triple := _TRIPLE.search(line, at):
        found, at = True, triple.start("target") - 1
        at = line.rfind("(", triple.start("type"), triple.start("target"))
        for side in ("source", "target"):
            for label in _names(triple[side]):
                _declare(schema, schema.labels, label, triple[f"{side}_properties"])
        for name in _names(triple["type"]):
            _declare(schema, schema.types, name, triple["type_properties"])
            for source in _names(triple["source"]):
                for target in _names(triple["target"]):
                    if not triple["left"]:
                        schema.triples.add((source, name, target))
                    if triple["left"] or not triple["right"]:
                        schema.triples.add((target, name, source))
    if found:
        return True
    for node in _NODE.finditer(line):
        found = True
        for label in _names(node["label"]):
            _declare(schema, schema.labels, label, node["properties"])
    for bare in _BARE_TYPE.finditer(line):
        found = True
        _declare(schema, schema.types, bare["name"].strip("`"), bare["properties"])
    return found
