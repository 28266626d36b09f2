"""Cypher: static analysis over the graph schema, the engines, and the judge."""
