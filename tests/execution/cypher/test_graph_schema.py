"""Schema texts: Neo4j's listing, the compact form, and what is neither."""

from __future__ import annotations

import pytest

from qwen_lightning.errors import DataError
from qwen_lightning.execution.cypher.analysis import analyse
from qwen_lightning.execution.cypher.graph_schema import read_schema
from tests.execution.cypher.cases import library_schema

COMPACT = """
(:Ship {name: STRING, built: INTEGER})
(:Port {name: STRING})
(:Ship)-[:CALLS_AT {on: DATE}]->(:Port)-[:IN]->(:Country {code})
"""


def test_the_listing():
    schema = read_schema(library_schema())
    assert set(schema.labels) == {"Book", "Author", "Reader", "Branch", "Genre"}
    assert schema.labels["Author"] == {"name": "STRING", "born": "DATE", "country": "STRING"}
    assert schema.types["KNOWS"] == {"since": "INTEGER"}
    assert schema.types["MEMBER_OF"] == {}
    assert len(schema.triples) == 9
    assert ("Reader", "MEMBER_OF", "Branch") in schema.triples


def test_the_compact_form():
    schema = read_schema(COMPACT)
    assert schema.labels == {
        "Ship": {"name": "STRING", "built": "INTEGER"},
        "Port": {"name": "STRING"},
        "Country": {"code": ""},
    }
    assert schema.types == {"CALLS_AT": {"on": "DATE"}, "IN": {}}
    assert schema.triples == {("Ship", "CALLS_AT", "Port"), ("Port", "IN", "Country")}


@pytest.mark.parametrize(
    "text",
    [
        "(a:A {x: STRING})<-[r:R]-(b:B)",
        "(:B)-[:R]->(:A {x: STRING})",
        "A {x: STRING}\nB {}\n(:B)-[:R]->(:A)",
        "Node properties:\nA {x: STRING}\nB {}\nThe relationships are the following:\n(:B)-[:R]->(:A)",
        "# Nodes\n* **A**\n  * x: STRING\n* **B**\n# Relationships\n* (:B)-[:R]->(:A)",
        "Node labels:\n- A\n  - x: STRING\n- B\nRelationships:\n- (:`B`)-[:`R`]->(:`A`)",
    ],
)
def test_layouts_that_mean_the_same(text):
    schema = read_schema(text)
    assert {label: set(kept) for label, kept in schema.labels.items()} == {"A": {"x"}, "B": set()}
    assert schema.triples == {("B", "R", "A")}


def test_several_owners_on_a_line():
    schema = read_schema(
        "Node properties:\nPerson {name: STRING, born: INTEGER},Movie {title: STRING}\n"
        "Relationship properties:\nACTED_IN {role: STRING}, RATED {stars: INTEGER}\n"
        "The relationships:\n(:Person)-[:ACTED_IN]->(:Movie),(:Person)-[:RATED]->(:Movie)"
    )
    assert schema.labels == {"Person": {"name": "STRING", "born": "INTEGER"}, "Movie": {"title": "STRING"}}
    assert schema.types == {"ACTED_IN": {"role": "STRING"}, "RATED": {"stars": "INTEGER"}}
    assert schema.triples == {("Person", "ACTED_IN", "Movie"), ("Person", "RATED", "Movie")}


def test_a_schema_without_properties_faults_none():
    schema = "(:A)-[:R]->(:B)"
    assert analyse("MATCH (a:A)-[r:R]->(b) RETURN a.x, r.y, b.z", schema).references
    assert not analyse("MATCH (a:A)<-[:R]-(b) RETURN a.x", schema).references


def test_a_schema_without_relationships_faults_no_direction():
    assert analyse("MATCH (a:A)<-[:R]-(b) RETURN a.x", "(:A {x: STRING})").references


@pytest.mark.parametrize("text", ["CREATE TABLE a (b int);", "nothing of the kind", '{"labels": []}', "-----"])
def test_nonsense_is_an_error_that_says_what_is_expected(text):
    with pytest.raises(DataError, match="names no label; expected lines such as"):
        read_schema(text)
