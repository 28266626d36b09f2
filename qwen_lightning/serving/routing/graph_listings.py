"""Graph schemas that users write in words, in loose arrows, or as JSON, each brought into the layout of the records.

`Person(name, age)-[ACTED_IN]->Movie(title)`, `节点：疾病(name)，关系：(疾病)-[:有症状]->(症状)`,
`edge RUNS: Service -> Server`, the JSON of `apoc.meta.schema()`: all become lines `(:Person {name, age})` and
`(:Person)-[:ACTED_IN]->(:Movie)`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from qwen_lightning.execution.cypher.graph_schema import read_schema
from qwen_lightning.serving.routing.found import Found
from qwen_lightning.serving.routing.graph_schemas import find_graph_schemas
from qwen_lightning.serving.routing.slot_schemas import json_objects
from qwen_lightning.serving.routing.sql_schemas import unwrap

_NAME = r"(?:`[^`\n]{1,60}`|[^\W\d]\w{0,60})"
_BRACES = r"(?:\s*\{[^{}\n]{0,600}\})?"
_LIST = r"[^(){}（）\[\]\n]{0,300}(?:\([^()\n]{0,40}\)[^(){}（）\[\]\n]{0,300}){0,20}"
#: `(p:Person {name})`, `(Person)`, `Person(name, age)`, `Person`.
_NODE = (
    rf"(?:\(\s*(?P<variable>{_NAME})?\s*:\s*(?P<label>{_NAME})(?P<braces>{_BRACES})\s*\)"
    rf"|\(\s*(?P<bare>{_NAME})(?P<bare_braces>{_BRACES})\s*\)"
    rf"|(?<![\w`])(?P<word>{_NAME})(?:\s?[(（{{](?P<list>{_LIST})[)）}}])?)"
)
_AFTER = re.compile(rf"\s*{_NODE}")
_BEFORE = re.compile(rf"{_NODE}\s*\Z")
_LONGEST_NODE = 700
_MOST_EDGES = 500
_EDGE = re.compile(
    rf"(?P<left>[<＜])?-{{1,2}}\s*\[\s*(?:{_NAME})?\s*:?\s*(?<![^\W\d])(?P<type>{_NAME})(?P<braces>{_BRACES})\s*\]\s*"
    rf"-{{1,2}}(?P<right>[>＞])?|-{{1,2}}\s?:?(?P<plain>{_NAME})\s?-{{1,2}}[>＞]"
)
#: `RUNS: Service -> Server`, `OWNS (Owner->Dog)`, `USES from Recipe to Ingredient`.
_ARROW = re.compile(
    rf"\b(?P<type>[A-Z][A-Z0-9_]{{1,60}})\s?(?:[:：]\s?)?(?:[(（]\s?)?(?P<source>{_NAME})\s?(?:-{{1,2}}>|→"
    rf"|=>)\s?(?P<target>{_NAME})"
    rf"(?:\s?[)）])?|\b(?P<type2>[A-Z][A-Z0-9_]{{1,60}}) from (?P<source2>{_NAME}) to (?P<target2>{_NAME})"
)
#: What follows a label that has its properties: `(name, age)`, `.name`, ` properties: name, age`.
_SAID = (
    rf"(?:\s?[(（{{](?P<list>{_LIST})[)）}}]|\.(?P<property>[^\W\d]\w{{0,60}})"
    r"|(?:\s(?:node )?properties|属性)?\s?[:：](?P<line>[^\n{}\[\]]{1,400}))"
)
#: A query is no schema, though its patterns look alike.
_CLAUSE = re.compile(r"\b(?:match|merge|create)\s*\(|\bRETURN\s+\w|\b(?:MATCH|WHERE)\b", re.ASCII)
_GRAPH = re.compile(
    r"(?a:\b(?:node|label|relation(?:ship)?|edge|graph|neo4j|cypher|memgraph)s?\b)|节点|关系|图谱|图数据|图模式", re.I
)
_ENTRY = re.compile(r"\s*`?(?P<name>[^\W\d]\w{0,60})`?\s*(?:[:：]\s*|\s|[(（])?\s*(?P<type>[A-Za-z][\w<>]*)?[)）]?\s*")
_WORD = re.compile(r"[^\W\d]\w*")
#: What stands between the parts of a schema and asks for nothing.
_BETWEEN = """
node nodes label labels relationship relationships relation relations edge edges type types property properties
graph schema model and with the of neo4j database db are is following string int integer float date boolean
节点 标签 关系 实体 边 属性 类型 有 以及 和 图谱 图 模式 图模式 图模式如下 如下 节点标签 节点有 关系有 实体和关系
"""
_VOCABULARY = frozenset(_BETWEEN.split())


@dataclass(slots=True)
class _Graph:
    """What has been read, in order, and where in the text it stands."""

    labels: dict[str, dict[str, str]] = field(default_factory=dict)
    triples: dict[tuple[str, str, str], str] = field(default_factory=dict)
    spans: list[tuple[int, int]] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """The layout of the records."""
        nodes = [f"(:{label} {{{_joined(properties)}}})" for label, properties in self.labels.items() if properties]
        return "\n".join(nodes + [f"(:{a})-[:{name}{said}]->(:{b})" for (a, name, b), said in self.triples.items()])

    def well_named(self) -> bool:
        """Whether every name can stand in the records' layout as it is."""
        types = [name for _, name, _ in self.triples]
        return all(
            map(_WORD.fullmatch, [*self.labels, *types, *(name for said in self.labels.values() for name in said)])
        )


def _joined(properties: dict[str, str]) -> str:
    return ", ".join(f"{name}: {kind}" if kind else name for name, kind in properties.items())


def find_graph_listings(text: str) -> list[Found]:
    """The graph schema of a text that has it in another layout than the records', as theirs; at most one.

    Where words of the question lie within it, the piece takes no room and is marked inline: the text has to stay whole.
    """
    for start, end, value in json_objects(text):
        graph = _of_json(value)
        if graph is not None and graph.well_named():
            return [unwrap(text, start, end, graph.text())]
    if _CLAUSE.search(text):
        return []
    graph = _drawn(text)
    if not graph.triples or not (len(graph.triples) > 1 or any(graph.labels.values())):
        return []
    region = _region(text, graph)
    if region is None:
        return [Found(graph.spans[0][0], graph.spans[0][0], graph.text(), inline=True)]
    return [unwrap(text, *region, graph.text())]


def find_graphs(text: str) -> list[Found]:
    """The graph schemas of a text: in the records' layouts, or in another where that one says more."""
    strict = find_graph_schemas(text)
    listings = find_graph_listings(text)
    return listings if _declared(listings) > _declared(strict) else strict


def _declared(pieces: list[Found]) -> int:
    """How many relationships and properties of labels the pieces declare."""
    schemas = [read_schema(piece.value) for piece in pieces]
    return sum(len(schema.triples) + sum(map(len, schema.labels.values())) for schema in schemas)


def draws_graph(text: str) -> bool:
    """Whether a text names a relationship between two labels, and is no query."""
    return not _CLAUSE.search(text) and bool(_drawn(text).triples)


def _drawn(text: str) -> _Graph:
    graph = _Graph()
    about_graphs = bool(_GRAPH.search(text))

    def label_of(node: re.Match[str]) -> str | None:
        label = node["label"]
        if label and node["variable"]:
            graph.variables[node["variable"]] = label
        if label is None:
            label = graph.variables.get(node["bare"] or "", node["bare"] or node["word"])
            if not about_graphs:
                return None
        label = label.strip("`")
        said = node["braces"] or node["bare_braces"] or node["list"]
        graph.labels.setdefault(label, {}).update(_entries(said))
        return label

    for edge in islice(_EDGE.finditer(text), _MOST_EDGES):
        start = max(0, edge.start() - _LONGEST_NODE)
        before, after = _BEFORE.search(text[start : edge.start()]), _AFTER.match(text, edge.end())
        if before is None or after is None:
            continue
        source, target = label_of(before), label_of(after)
        if source is None or target is None:
            continue
        name = (edge["type"] or edge["plain"]).strip("`")
        said = _joined(_entries(edge["braces"]))
        triple = (target, name, source) if edge["left"] and not edge["right"] else (source, name, target)
        graph.triples.setdefault(triple, f" {{{said}}}" if said else "")
        graph.spans.append((start + before.start(), after.end()))
    if about_graphs:
        _read_arrows(text, graph)
    if graph.triples:
        _read_labels(text, graph)
        graph.spans.sort()
    return graph


def _read_arrows(text: str, graph: _Graph) -> None:
    for arrow in _ARROW.finditer(text):
        triple = (
            (arrow["source"] or arrow["source2"]).strip("`"),
            arrow["type"] or arrow["type2"],
            (arrow["target"] or arrow["target2"]).strip("`"),
        )
        graph.triples.setdefault(triple, "")
        for label in (triple[0], triple[2]):
            graph.labels.setdefault(label, {})
        graph.spans.append(arrow.span())


def _read_labels(text: str, graph: _Graph) -> None:
    """Properties that are said of the labels apart from the arrows."""
    labels = "|".join(map(re.escape, graph.labels))
    for said in re.finditer(rf"(?<!\w)`?(?P<label>{labels})`?{_SAID}", text):
        label, entries = said["label"], _entries(said["property"] or said["list"] or said["line"])
        if not entries:
            continue
        graph.labels[label].update({name: kind for name, kind in entries.items() if name not in graph.labels[label]})
        graph.spans.append(said.span())


def _entries(text: str | None) -> dict[str, str]:
    """Properties with their types, in upper case; none where an item of the list is no property."""
    found = {}
    for part in re.split(r"[,，、;；]", (text or "").strip().strip("{}").rstrip(".。")):
        if not part.strip():
            continue
        entry = _ENTRY.fullmatch(part)
        if entry is None:
            return {}
        found[entry["name"]] = (entry["type"] or "").upper()
    return found


def _region(text: str, graph: _Graph) -> tuple[int, int] | None:
    """From the first word of the schema to its last; None where other words than a schema's stand between."""
    # Whatever the schema says, as its own words: what it does not say must not be cut out with it.
    names = {word.upper() for word in (*_WORD.findall(graph.text()), *graph.variables)}

    def of_schema(part: str) -> bool:
        words = _WORD.findall(part)
        return all(word.lower() in _VOCABULARY or word.upper() in names for word in words)

    start, end = graph.spans[0]
    for following in graph.spans[1:]:
        if not of_schema(text[end : following[0]]):
            return None
        end = max(end, following[1])
    while start:  # headings above, and what stands before it on its line
        line = text.rfind("\n", 0, start - 1) + 1
        if not of_schema(text[line:start]) or not text[line:start].strip():
            break
        start = line
    sentence = max(text.rfind(mark, 0, start) for mark in ".。?？!！\n:：") + 1
    if text[sentence:start].strip() and of_schema(text[sentence:start]):
        start = sentence
    while end < len(text) and text[end] in ".,;。，；)]} \t`\"'":
        end += 1
    return (start, end) if of_schema(text[start:end]) else None


def _of_json(value: dict[str, Any]) -> _Graph | None:
    """A graph schema as `apoc.meta.schema()` and the frameworks' structured schemas have it; None where it is none."""
    graph = _Graph()
    kinds = {name: said for name, said in value.items() if isinstance(said, dict) and said.get("type") == "node"}
    for label, said in kinds.items():
        graph.labels.setdefault(label, {}).update(_json_properties(said.get("properties")))
        relationships = said.get("relationships")
        for name, relationship in relationships.items() if isinstance(relationships, dict) else ():
            targets = relationship.get("labels") if isinstance(relationship, dict) else None
            if not isinstance(targets, list) or relationship.get("direction") == "in":
                continue
            properties = _joined(_json_properties(relationship.get("properties")))
            for target in map(str, targets):
                graph.labels.setdefault(target, {})
                graph.triples[label, name, target] = f" {{{properties}}}" if properties else ""
    if kinds:
        return graph if graph.triples else None
    nodes: Any = next((value[key] for key in ("nodes", "node_props", "node_properties", "labels") if key in value), {})
    edges = next((value[key] for key in ("relationships", "edges", "relations") if key in value), None)
    of_types: Any = next((value[key] for key in ("rel_props", "relationship_properties") if key in value), {})
    if not isinstance(edges, list) or not edges or not all(isinstance(part, dict | list) for part in (nodes, of_types)):
        return None
    of_types = of_types if isinstance(of_types, dict) else {}
    for node in nodes.items() if isinstance(nodes, dict) else nodes:
        label, said = node if isinstance(node, tuple) else _json_node(node)
        graph.labels[label] = _json_properties(said)
    for edge in edges:
        triple = _json_triple(edge)
        if triple is None:
            return None
        own = edge.get("properties") if isinstance(edge, dict) else None
        properties = _joined(_json_properties(own) or _json_properties(of_types.get(triple[1])))
        for label in (triple[0], triple[2]):
            graph.labels.setdefault(label, {})
        graph.triples[triple] = f" {{{properties}}}" if properties else ""
    return graph


def _json_node(node: Any) -> tuple[str, Any]:
    if isinstance(node, dict):
        label = next((node[key] for key in ("label", "name", "type", "id") if isinstance(node.get(key), str)), "")
        return label, node.get("properties", node.get("attributes"))
    return str(node), None


def _json_triple(edge: Any) -> tuple[str, str, str] | None:
    if isinstance(edge, dict):
        ends = [
            next((edge[key] for key in keys if isinstance(edge.get(key), str)), "")
            for keys in (
                ("start", "from", "source", "start_node", "from_label"),
                ("type", "label", "name", "relationship"),
                ("end", "to", "target", "end_node", "to_label"),
            )
        ]
    else:
        ends = [part for part in edge if isinstance(part, str)] if isinstance(edge, list) else []
    return (ends[0], ends[1], ends[2]) if len(ends) == 3 and all(_WORD.fullmatch(end) for end in ends) else None


def _json_properties(said: Any) -> dict[str, str]:
    if isinstance(said, dict):
        kinds = {name: kind.get("type", "") if isinstance(kind, dict) else kind for name, kind in said.items()}
        return {str(name): kind.upper() if isinstance(kind, str) else "" for name, kind in kinds.items()}
    properties = {}
    for item in said if isinstance(said, list) else ():
        if isinstance(item, str):
            properties[item] = ""
        elif isinstance(item, dict) and (name := item.get("property", item.get("name"))):
            properties[str(name)] = str(item.get("type", "")).upper()
    return properties
