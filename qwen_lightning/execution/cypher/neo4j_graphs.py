"""Graphs in transactions of a Neo4j server that are never committed."""

from __future__ import annotations

import contextlib
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from qwen_lightning.errors import DataError
from qwen_lightning.execution.cypher.graph import Graph, GraphFile, Node, Relationship
from qwen_lightning.execution.cypher.neo4j_connection import OWN_S, reason

_BATCH = 1000


class UncommittedGraph:
    """A graph in a transaction that stays open and is rolled back at the end, so that no other one ever sees it."""

    def __init__(self, driver: Any, fill: Callable[[Any], None]) -> None:
        self.driver, self.fill = driver, fill
        self.make()

    def make(self) -> None:
        import neo4j

        label = uuid.uuid4().hex
        self.session = self.driver.session()
        # No limit of time: the graph lives as long as the worker; queries are limited by the judge's watch.
        self.transaction = self.session.begin_transaction(metadata={"qwen_lightning": label}, timeout=0)
        self.fill(self.transaction)
        with self.driver.session() as session:
            query = neo4j.Query(
                "SHOW TRANSACTIONS YIELD transactionId, metaData WHERE metaData.qwen_lightning = $label "
                "RETURN transactionId AS name",
                timeout=OWN_S,
            )
            listed = session.run(query, label=label).single()
        self.identity = str(listed["name"])

    def close(self) -> None:
        """Roll back; a transaction that the server ended has nothing left to roll back."""
        import neo4j.exceptions

        with contextlib.suppress(neo4j.exceptions.DriverError, neo4j.exceptions.Neo4jError):
            self.transaction.close()
        self.session.close()


def run_file(transaction: Any, file: GraphFile) -> None:
    """Make the graph of a file.

    Raises:
        DataError: A statement does not run.
    """
    import neo4j.exceptions

    for number, statement in enumerate(file.statements, start=1):
        try:
            transaction.run(statement).consume()
        except neo4j.exceptions.Neo4jError as error:
            raise DataError(f"statement {number} does not run: {reason(error)}", file.path) from None


def read_back(transaction: Any, file: GraphFile) -> Graph:
    """The graph that a transaction sees, with what the file's constraints say."""
    graph, place = Graph(unique=file.unique), {}
    for record in transaction.run("MATCH (n) RETURN n"):
        node = record["n"]
        place[node.element_id] = len(graph.nodes)
        graph.nodes.append(Node(tuple(sorted(node.labels)), dict(sorted(node.items()))))
    for record in transaction.run("MATCH ()-[r]->() RETURN r"):
        each = record["r"]
        ends = place[each.start_node.element_id], place[each.end_node.element_id]
        graph.relationships.append(Relationship(each.type, *ends, dict(sorted(each.items()))))
    return graph


def fill(transaction: Any, graph: Graph) -> None:
    """Make a graph."""
    identities: dict[int, str] = {}
    nodes: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for number, node in enumerate(graph.nodes):
        nodes[node.labels].append(number)
    for labels, numbers in nodes.items():
        name = "".join(f":`{label}`" for label in labels)
        rows = [{"number": number, "properties": graph.nodes[number].properties} for number in numbers]
        for batch in _batches(rows):
            query = (
                f"UNWIND $rows AS row CREATE (n{name}) SET n = row.properties RETURN row.number AS m, elementId(n) AS i"
            )
            identities.update({record["m"]: record["i"] for record in transaction.run(query, rows=batch)})
    types: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for each in graph.relationships:
        ends = {"start": identities[each.start], "end": identities[each.end]}
        types[each.type].append({**ends, "properties": each.properties})
    for kind, rows in types.items():
        for batch in _batches(rows):
            transaction.run(
                "UNWIND $rows AS row MATCH (a), (b) WHERE elementId(a) = row.start AND elementId(b) = row.end "
                f"CREATE (a)-[r:`{kind}`]->(b) SET r = row.properties",
                rows=batch,
            ).consume()


def _batches(rows: list[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(rows), _BATCH):
        yield rows[start : start + _BATCH]
