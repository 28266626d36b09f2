"""What the graph that a Neo4j server holds is made of: names from the server, types of properties from a sample."""

from __future__ import annotations

from typing import Any

from qwen_lightning.execution.cypher.neo4j_values import read_value
from qwen_lightning.execution.cypher.schema_text import Inventory, note, type_name
from qwen_lightning.execution.cypher.values import Budget

_SAMPLED = 500  # nodes of each label, and relationships of each type


def sample(transaction: Any) -> Inventory:
    """Labels, relationship types and what they join, whole; properties of the first nodes and relationships of each.

    Args:
        transaction: One that reads.

    Raises:
        Neo4jError: The server refuses.
    """
    found = Inventory()
    shape = transaction.run("CALL db.schema.visualization()").single()
    for node in shape["nodes"]:
        (label,) = node.labels
        found.labels[label] = {}
        query = f"MATCH (n:{_quoted(label)}) RETURN n AS thing LIMIT {_SAMPLED}"
        _note(found.labels[label], transaction.run(query))
    for each in shape["relationships"]:
        ends = [next(iter(end.labels)) for end in each.nodes]
        found.triples.add((ends[0], each.type, ends[1]))
    for kind in {kind for _, kind, _ in found.triples}:
        found.types[kind] = {}
        query = f"MATCH ()-[r:{_quoted(kind)}]->() RETURN r AS thing LIMIT {_SAMPLED}"
        _note(found.types[kind], transaction.run(query))
    return found


def _note(known: dict[str, str], records: Any) -> None:
    for record in records:
        note(known, dict(record["thing"].items()), lambda value: type_name(read_value(value, Budget())))


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
