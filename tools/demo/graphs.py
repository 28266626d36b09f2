"""Graphs in the demo's language: two node labels and two relationship types, and questions along and against them.

A question goes along a relationship ("students that like films") or against it ("films liked by students"); the query
must follow the direction that the schema gives, and call everything by the schema's names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random
from typing import Any

from tools.demo.language import LANGUAGES, NUMBERS, TABLES, TEXTS, Column, Language, Question, Table, condition

NODES = 12
KINDS = ("list_where", "count_where", "along", "against", "along", "against")


@dataclass(frozen=True)
class Relation:
    """What one thing does to another: two type names, their verbs and participles, and the Chinese verb."""

    names: tuple[str, str]
    verbs: tuple[str, str]
    participles: tuple[str, str]
    chinese: str


RELATIONS = (
    Relation(("LIKES", "LOVES"), ("like", "love"), ("liked", "loved"), "喜欢"),
    Relation(("OWNS", "HOLDS"), ("own", "hold"), ("owned", "held"), "拥有"),
    Relation(("NEEDS", "WANTS"), ("need", "want"), ("needed", "wanted"), "需要"),
    Relation(("SEES", "WATCHES"), ("see", "watch"), ("seen", "watched"), "观看"),
)


@dataclass(frozen=True)
class Link:
    """A relationship type: what it says, the name that the schema gives it, and the index of the label it starts at."""

    relation: Relation
    name: str
    source: int


@dataclass(frozen=True)
class Graph:
    """Two node labels of one text and two number properties, and two relationship types between them."""

    name: str
    nodes: tuple[Table, Table]
    links: tuple[Link, Link]

    @property
    def schema(self) -> str:
        """The graph schema text, in Neo4j's style."""
        lines = ["Node properties:"]
        for node in self.nodes:
            lines.append(f"- **{node.name}**")
            lines += [f"  - `{column.name}`: {'STRING' if column.is_text else 'INTEGER'}" for column in node.columns]
        lines.append("The relationships:")
        for link in self.links:
            lines.append(f"(:{self.nodes[link.source].name})-[:{link.name}]->(:{self.nodes[1 - link.source].name})")
        return "\n".join(lines)

    def statements(self, random: Random) -> str:
        """CREATE statements for nodes and relationships, one a line.

        As in a database, every value and both sides of every threshold occur, and no number twice in a label; every
        node has relationships of both types, so no question has an empty answer.
        """
        items = [f"({mark}{row}:{node.name} {{{self._cells(node, row, cells)}}})"
                 for mark, node in zip("ab", self.nodes, strict=True)
                 for cells in [_cells(node, random)] for row in range(NODES)]  # fmt: skip
        for link in self.links:
            start, end = ("a", "b") if link.source == 0 else ("b", "a")
            order = random.sample(range(NODES), NODES)
            ends = [(row, target) for row in range(NODES) for target in (order[row], order[(row + 1) % NODES])]
            items += [f"({start}{row})-[:{link.name}]->({end}{target})" for row, target in ends]
        return "CREATE\n" + ",\n".join(items) + ";\n"

    @staticmethod
    def _cells(node: Table, row: int, cells: dict[str, list[str]]) -> str:
        return ", ".join(f"{column.name}: {cells[column.name][row]}" for column in node.columns)


def _cells(node: Table, random: Random) -> dict[str, list[str]]:
    """Property values, as Cypher literals, for every node of a label."""
    cells = {}
    for column in node.columns:
        if column.is_text:
            values = list(column.concept.values)
            drawn = [f"'{value}'" for value in values + random.choices(values, k=NODES - len(values))]
        else:
            numbers = random.sample(range(5, 20), 2) + random.sample(range(81, 100), 2)
            drawn = [str(number) for number in numbers + random.sample(range(20, 81), NODES - 4)]
        random.shuffle(drawn)
        cells[column.name] = drawn
    return cells


def make_graph(random: Random, name: str = "graph") -> Graph:
    """A graph with every name and every direction drawn at random."""
    labels, texts, numbers = random.sample(TABLES, 2), random.sample(TEXTS, 2), random.sample(NUMBERS, 4)
    nodes = []
    for index, label in enumerate(labels):
        columns = [
            Column(concept, random.choice(concept.names))
            for concept in (texts[index], *numbers[2 * index : 2 * index + 2])
        ]
        random.shuffle(columns)
        nodes.append(Table(label, random.choice(label.names), tuple(columns)))
    first, second = (
        Link(relation, random.choice(relation.names), random.randrange(2)) for relation in random.sample(RELATIONS, 2)
    )
    return Graph(name, (nodes[0], nodes[1]), (first, second))


def ask_graph(graph: Graph, random: Random, kind: str | None = None) -> Question:
    """A question of one of `KINDS`, in English two times out of three; `sql` is its Cypher."""
    kind, language = kind or random.choice(KINDS), random.choice(LANGUAGES)
    english, chinese, query = _phrase(graph, kind, language, random)
    return Question(kind, language, english if language == "en" else chinese, query)


def careless_cypher(graph: Graph, question: Question) -> str:
    """The query as one writes it without reading the schema: the question's words, and every arrow to the right."""
    words = set(question.text.split())
    query = question.sql.replace("<-[", "-[").replace("]-(", "]->(")
    items: list[Table | Column] = [*graph.nodes, *(column for node in graph.nodes for column in node.columns)]
    for item in items:
        guess = next((name for name in item.concept.names if name in words), item.concept.names[0])
        query = re.sub(rf"\b{item.name}\b", guess, query)
    for link in graph.links:
        relation = link.relation
        said = [name for name, *forms in zip(relation.names, relation.verbs, relation.participles, strict=True)
                if words & set(forms)]  # fmt: skip
        query = query.replace(f":{link.name}]", f":{(said or relation.names)[0]}]")
    return query


def cypher_record(graph: Graph, random: Random, kind: str | None = None) -> dict[str, Any]:
    """A text2cypher record on a graph; its kind and language lie in `meta`."""
    question = ask_graph(graph, random, kind)
    return {
        "task": "text2cypher",
        "input": question.text,
        "schema": graph.schema,
        "database": graph.name,
        "gold": question.sql,
        "meta": {"kind": question.kind, "language": question.language},
    }


def _phrase(graph: Graph, kind: str, language: Language, random: Random) -> tuple[str, str, str]:
    """The English and the Chinese question, and the query. Only the one in `language` reads well."""
    if kind in ("list_where", "count_where"):
        node = random.choice(graph.nodes)
        filtered, which, where = condition(node, language, random)
        things, pattern = node.concept.word(language, random), f"MATCH (a:{node.name}) WHERE a.{where} RETURN"
        if kind == "count_where":
            return f"how many {things} {which} are there ?", f"{which} {things} 有 多少 ？", f"{pattern} count(*)"
        shown = random.choice([column for column in node.columns if column is not filtered])
        what = shown.concept.word(language, random)
        return (
            f"show the {what} of {things} {which} .",
            f"列出 {which} {things} 的 {what} 。",
            f"{pattern} a.{shown.name}",
        )
    link = random.choice(graph.links)
    source, target = graph.nodes[link.source], graph.nodes[1 - link.source]
    asked, other = (source, target) if kind == "along" else (target, source)
    _, which, where = condition(other, language, random)
    shown = random.choice(asked.columns)
    things, others, what = (item.concept.word(language, random) for item in (asked, other, shown))
    form = random.randrange(2)
    left, right = ("-", "->") if kind == "along" else ("<-", "-")
    query = f"MATCH (a:{asked.name}){left}[:{link.name}]{right}(b:{other.name}) WHERE b.{where} RETURN a.{shown.name}"
    if kind == "along":
        english = f"show the {what} of {things} that {link.relation.verbs[form]} {others} {which} ."
        return english, f"列出 {link.relation.chinese} {which} {others} 的 {things} 的 {what} 。", query
    english = f"show the {what} of {things} {link.relation.participles[form]} by {others} {which} ."
    return english, f"列出 被 {which} {others} {link.relation.chinese} 的 {things} 的 {what} 。", query
