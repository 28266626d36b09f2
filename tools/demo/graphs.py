"""Graphs in the demo's language: two node labels and a relationship type, and questions along and against it.

A question goes along a relationship ("students that like films") or against it ("films liked by students"); the query
must follow the direction that the schema gives, and call labels and properties by the schema's names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random
from typing import Any

from tools.demo.language import LANGUAGES, NUMBERS, TABLES, TEXTS, Column, Language, Question, Table, condition

NODES = 12
KINDS = ("along", "against", "count_along", "count_against")


@dataclass(frozen=True)
class Relation:
    """What one thing does to another: the type's name, its verb and participle, and the Chinese verb."""

    name: str
    verb: str
    participle: str
    chinese: str


RELATIONS = (
    Relation("LIKES", "like", "liked", "喜欢"),
    Relation("OWNS", "own", "owned", "拥有"),
    Relation("NEEDS", "need", "needed", "需要"),
    Relation("SEES", "see", "seen", "观看"),
)


@dataclass(frozen=True)
class Graph:
    """Two node labels of a text and a number property, and a relationship type from label `source` to the other."""

    name: str
    nodes: tuple[Table, Table]
    relation: Relation
    source: int

    @property
    def ends(self) -> tuple[Table, Table]:
        """The labels that the relationship starts and ends at."""
        return self.nodes[self.source], self.nodes[1 - self.source]

    @property
    def schema(self) -> str:
        """The graph schema text, in Neo4j's style."""
        lines = ["Node properties:"]
        for node in self.nodes:
            lines.append(f"- **{node.name}**")
            lines += [f"  - `{column.name}`: {'STRING' if column.is_text else 'INTEGER'}" for column in node.columns]
        start, end = self.ends
        return "\n".join([*lines, "The relationships:", f"(:{start.name})-[:{self.relation.name}]->(:{end.name})"])

    def statements(self, random: Random) -> str:
        """CREATE statements for nodes and relationships, one a line.

        As in a database, every value and both sides of every threshold occur, and no number twice in a label; every
        node has relationships, so no question has an empty answer.
        """
        items = [f"({mark}{row}:{node.name} {{{self._cells(node, row, cells)}}})"
                 for mark, node in zip("ab", self.nodes, strict=True)
                 for cells in [_cells(node, random)] for row in range(NODES)]  # fmt: skip
        start, end = "ab" if self.source == 0 else "ba"
        order = random.sample(range(NODES), NODES)
        ends = [(row, target) for row in range(NODES) for target in (order[row], order[(row + 1) % NODES])]
        items += [f"({start}{row})-[:{self.relation.name}]->({end}{target})" for row, target in ends]
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
    labels, texts, numbers = random.sample(TABLES, 2), random.sample(TEXTS, 2), random.sample(NUMBERS, 2)
    nodes = []
    for index, label in enumerate(labels):
        columns = [Column(concept, random.choice(concept.names)) for concept in (texts[index], numbers[index])]
        random.shuffle(columns)
        nodes.append(Table(label, random.choice(label.names), tuple(columns)))
    return Graph(name, (nodes[0], nodes[1]), random.choice(RELATIONS), random.randrange(2))


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
    along, relation = kind.endswith("along"), graph.relation
    asked, other = graph.ends if along else graph.ends[::-1]
    _, which, where = condition(other, language, random)
    shown = random.choice(asked.columns)
    things, others, what = (item.concept.word(language, random) for item in (asked, other, shown))
    left, right = ("-", "->") if along else ("<-", "-")
    pattern = f"MATCH (a:{asked.name}){left}[:{relation.name}]{right}(b:{other.name}) WHERE b.{where} RETURN"
    english = f"that {relation.verb}" if along else f"{relation.participle} by"
    chinese = f"{relation.chinese} {which} {others} 的" if along else f"被 {which} {others} {relation.chinese} 的"
    if kind.startswith("count"):
        return f"count {things} {english} {others} {which} .", f"{chinese} {things} 有 多少 ？", f"{pattern} count(*)"
    return (
        f"show the {what} of {things} {english} {others} {which} .",
        f"列出 {chinese} {things} 的 {what} 。",
        f"{pattern} a.{shown.name}",
    )
