"""Canonical values of a graph query as JSON's."""

from __future__ import annotations

from typing import Any

from qwen_lightning.execution.cypher.values import Structure
from qwen_lightning.execution.json_values import duration, json_value


def json_of(value: Any) -> Any:
    """A canonical value as JSON's.

    A node is an object with `labels` and `properties`; a relationship one with `type` and `properties`, and `start` and
    `end` where the engine tells them; a path one with `path`, its nodes and relationships in turn; a point one with
    `srid` and `coordinates`.
    """
    if not isinstance(value, Structure):
        return [json_of(item) for item in value] if isinstance(value, (list, tuple)) else json_value(value)
    kind, *parts = value
    if kind == "(node)":
        labels, properties = parts
        return {"labels": list(labels), "properties": _object(properties)}
    if kind == "(relationship)":
        name, properties, start, end = parts
        ends = {"start": json_of(start), "end": json_of(end)} if any(start[1:]) or any(end[1:]) else {}
        return {"type": name, "properties": _object(properties), **ends}
    if kind == "(path)":
        return {"path": [json_of(part) for part in parts]}
    if kind == "(map)":
        return _object(parts)
    if kind == "(point)":
        return {"srid": parts[0], "coordinates": [json_value(part) for part in parts[1:]]}
    return duration(*parts) if kind == "(duration)" else json_value(parts[0])


def _object(entries: Any) -> dict[str, Any]:
    return {key: json_of(item) for key, item in entries}
