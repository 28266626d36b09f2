"""The schemas that tool descriptions use, against jsonschema itself and against their own rules."""

import itertools
import random

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from qwen_lightning.errors import DataError
from qwen_lightning.tasks.json_schema import validator
from qwen_lightning.tasks.schema_reading import MAX_DEPTH, read_schema

TREE = {"$defs": {"t": {"type": "object", "properties": {"below": {"$ref": "#/$defs/t"}, "n": {"type": "integer"}}}}}


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ({"type": "dict", "properties": {"type": {"type": "float"}}},
         {"type": "object", "properties": {"type": {"type": "number"}}}),
        ({"type": "tuple", "items": {"type": "any", "description": "x"}}, {"type": "array", "items": {}}),
        ({"type": ["float", "null"]}, {"type": ["number", "null"]}),
        ({"type": ["string", "any"]}, {}),
        ({"enum": ["dict", "float"], "default": "dict"}, {"enum": ["dict", "float"]}),
        ({"type": "string", "enum": ["a"], "nullable": True}, {"type": ["string", "null"], "enum": ["a", None]}),
        ({"anyOf": [{"type": "dict"}, {"not": {"type": "any"}}]}, {"anyOf": [{"type": "object"}, {"not": {}}]}),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "const": {"type": "dict"}},
         {"const": {"type": "dict"}}),
    ],
)  # fmt: skip
def test_names_of_types(written, read):
    assert read_schema(written) == read


def schemas(chance, depth=2):
    """A random schema of the keywords that tools use."""
    kinds = ["string", "integer", "number", "boolean", "null"] + (
        ["array", "object", "anyOf", "oneOf", "allOf"] * (depth > 0)
    )
    kind = chance.choice(kinds)
    if kind == "array":
        limits = chance.choice([{}, {"minItems": 1}, {"uniqueItems": True}, {"maxItems": 2}])
        return {"type": "array", "items": schemas(chance, depth - 1), **limits}
    if kind == "object":
        names = chance.sample("abc", 2)
        closed = chance.choice([{}, {"additionalProperties": False}, {"additionalProperties": {"type": "string"}}])
        patterns = chance.choice([{}, {"patternProperties": {"^c": {"type": "integer"}}}])
        properties = {name: schemas(chance, depth - 1) for name in names}
        return {"type": "object", "properties": properties, "required": names[:1], **closed, **patterns}
    if kind in ("anyOf", "oneOf", "allOf"):
        return {kind: [schemas(chance, depth - 1) for _ in range(2)]}
    bounds = {"string": {"pattern": "^x"}, "integer": {"minimum": 1}, "number": {"maximum": 2.5}}
    return {"type": kind, **chance.choice([{}, bounds.get(kind, {}), {"enum": values(chance, 0)}])}


def values(chance, depth=3):
    """A list of random JSON values."""
    made = [None, True, False, 0, 1, 1.0, 2, 2.5, "", "x", "xy", "b"]
    if depth:
        inner = values(chance, depth - 1)
        made += [[chance.choice(inner) for _ in range(chance.randint(0, 3))] for _ in range(4)]
        made += [{name: chance.choice(inner) for name in chance.sample("abc", chance.randint(0, 3))} for _ in range(6)]
    return made


def test_agrees_with_jsonschema_and_parts_are_implied():
    chance, seen = random.Random(7), {True: 0, False: 0}
    for _ in range(150):
        schema = schemas(chance)
        plain = Draft202012Validator(schema)
        for value in values(chance):
            valid = plain.is_valid(value)
            seen[valid] += 1
            assert validator(schema).is_valid(value) == valid, (schema, value)
            if valid:
                assert all(validator(schema, rules).is_valid(value) for rules in ("optional", "types", "required"))
            if not validator(schema, "types").is_valid(value):
                assert not validator(schema, "exact_types").is_valid(value)
    assert min(seen.values()) > 300


@pytest.mark.parametrize(
    ("rules", "value", "faults"),
    [
        ("all", {}, ["$: 'a' is a required property"]),
        ("optional", {}, []),
        ("types", {"a": 1, "b": {"c": "5"}}, ["$.b.c: '5' is not of type 'integer'"]),
        ("types", {"a": -1, "b": {}}, []),
        ("types", {"a": 1, "b": {"c": 5.0}}, []),
        ("exact_types", {"a": 1, "b": {"c": 5.0}}, ["$.b.c: 5.0 is not of type 'integer'"]),
        ("exact_types", {"a": 1, "b": {"c": True}}, ["$.b.c: True is not of type 'integer'"]),
        ("required", {"a": "not a number", "z": 1}, []),
        ("required", {"b": {}}, ["$: 'a' is a required property"]),
    ],
)
def test_rules(rules, value, faults):
    inner = {"type": "object", "properties": {"c": {"type": "integer"}}, "required": ["c"]}
    schema = {"properties": {"a": {"type": "number", "minimum": 0}, "b": inner}, "required": ["a"]}
    assert [str(fault) for fault in validator(schema, rules).errors(value)] == faults


@pytest.mark.parametrize(
    ("schema", "names", "undeclared"),
    [
        ({"properties": {"a": {}}}, "ab", "b"),
        ({}, "a", "a"),
        ({"properties": {"a": {}}, "additionalProperties": True}, "ab", ""),
        ({"properties": {"a": {}}, "additionalProperties": {"type": "integer"}}, "ab", ""),
        ({"properties": {"a": {}}, "additionalProperties": False}, "a", ""),
        ({"patternProperties": {"^x": {}}}, ["x1", "y1"], ["y1"]),
        ({"allOf": [{"properties": {"a": {}}}], "anyOf": [{"properties": {"b": {}}}, True]}, "abc", "c"),
        ({"$ref": "#/$defs/o", "$defs": {"o": {"properties": {"a": {}}}}}, "ab", "b"),
    ],
)
def test_closed_refuses_what_no_branch_declares(schema, names, undeclared):
    closed = validator(schema, closed=True)
    found = [name for name in names if not closed.is_valid({name: 1})]
    assert found == list(undeclared)
    assert all(validator(schema | {"additionalProperties": True}).is_valid({name: 1}) for name in names)


@pytest.mark.parametrize(
    "schema",
    [{"type": "text"}, {"properties": {"a": {"type": ["string", "text"]}}}, {"items": [{"type": "string"}]},
     {"enum": "a"}, {"required": "a"}, {"$ref": "other.json"}, {"$ref": "#"}, {"anyOf": [{"$ref": "#"}]},
     {"pattern": "["}, {"patternProperties": {"[": {}}}, {"minimum": "1"},
     {"unevaluatedProperties": False, "patternProperties": {"a": {}}}],
    ids=str,
)  # fmt: skip
def test_a_broken_schema_is_a_data_error(schema):
    with pytest.raises(DataError):
        validator(schema)


def test_a_schema_nested_too_deep_is_a_data_error():
    schema = {}
    for _ in range(MAX_DEPTH + 1):
        schema = {"items": schema}
    with pytest.raises(DataError, match="nested deeper"):
        validator(schema)


def test_recursive_schemas_judge_recursive_values():
    schema = TREE | {"$ref": "#/$defs/t"}
    assert validator(schema).is_valid({"below": {"below": {"n": 1}}})
    (fault,) = validator(schema).errors({"below": {"below": {"n": "1"}}})
    assert fault.path == "$.below.below.n"


def corrupted(schema, chance):
    """A schema in which one keyword, at any depth, may hold what it must not."""
    if not isinstance(schema, dict) or not schema:
        return schema
    keyword = chance.choice(list(schema))
    inner = schema[keyword]
    if isinstance(inner, dict | list) and inner and chance.random() < 0.6:
        at = chance.choice(list(inner) if isinstance(inner, dict) else range(len(inner)))
        changed = dict(inner) if isinstance(inner, dict) else list(inner)
        changed[at] = corrupted(changed[at], chance) if isinstance(changed[at], dict) else changed[at]
        return schema | {keyword: changed}
    junk = [None, True, 1, -1, 1.5, "string", "text", [], [1], ["a", "a"], ["string"], {}, {"a": 1}, [{}], [True, 1]]
    return schema | {chance.choice([keyword, keyword, "minItems", "maximum", "$id", "multipleOf"]): chance.choice(junk)}


def test_a_schema_is_broken_where_the_metaschema_says_so():
    chance, seen = random.Random(3), {True: 0, False: 0}
    for _ in range(600):
        schema = corrupted(schemas(chance), chance)
        try:
            Draft202012Validator.check_schema(schema)
            valid = True
        except SchemaError:
            valid = False
        seen[valid] += 1
        if valid:
            assert validator(schema)
        else:
            with pytest.raises(DataError):
                validator(schema)
    assert min(seen.values()) > 100


def test_kept_by_content():
    schema = {"properties": {"a": {"type": "integer"}}}
    kept = validator(schema)
    assert validator({"properties": {"a": {"type": "integer"}}}) is kept
    schema["properties"]["a"]["type"] = "string"
    assert validator(schema) is not kept
    assert kept.is_valid({"a": 1})
    assert not validator(schema).is_valid({"a": 1})


def test_unique_items_tell_what_json_tells():
    unique = validator({"uniqueItems": True})
    items = [0, False, "0", None, [], {}, [0], [False], {"a": 0}, {"a": False}]
    for pair in itertools.permutations(items, 2):
        assert unique.is_valid(list(pair)), pair
    assert not unique.is_valid([1, 1.0])
    assert not unique.is_valid([{"a": [1]}, {"a": [1.0]}])


def test_messages_are_one_short_line():
    (fault,) = validator({"type": "integer"}).errors("long\n" * 10_000)
    assert "\n" not in str(fault)
    assert len(str(fault)) < 200
