"""The functions and read procedures of Neo4j 5, with what they take and return."""

from __future__ import annotations

from dataclasses import dataclass

# A line: name, arguments (least, or least..most), what the first argument may be, what comes back. `entity` is a node
# or a relationship; `any` says nothing; `same` is the first argument's value, `element` an element of it.
_TABLE = """
all 1 any boolean
exists 1 any boolean
isEmpty 1 string|list|map boolean
coalesce 1..99 any same
elementId 1 entity string
id 1 entity number
endNode 1 relationship node
startNode 1 relationship node
head 1 list element
last 1 list element
length 1 path number
nullIf 2 any same
properties 1 entity|map map
randomUUID 0 any string
size 1 string|list number
timestamp 0 any number
toBoolean 1 string|number|boolean boolean
toBooleanOrNull 1 any boolean
toFloat 1 string|number number
toFloatOrNull 1 any number
toInteger 1 string|number|boolean number
toIntegerOrNull 1 any number
toString 1 scalar string
toStringOrNull 1 any string
toBooleanList 1 list list
toFloatList 1 list list
toIntegerList 1 list list
toStringList 1 list list
type 1 relationship string
valueType 1 any string
char_length 1 string number
character_length 1 string number
keys 1 entity|map list
labels 1 node list
nodes 1 path nodes
relationships 1 path relationships
range 2..3 number list
reverse 1 string|list same
tail 1 list same
abs 1 number number
ceil 1 number number
floor 1 number number
isNaN 1 number boolean
rand 0 any number
round 1..3 number number
sign 1 number number
e 0 any number
exp 1 number number
log 1 number number
log10 1 number number
sqrt 1 number number
acos 1 number number
asin 1 number number
atan 1 number number
atan2 2 number number
cos 1 number number
cosh 1 number number
cot 1 number number
coth 1 number number
degrees 1 number number
haversin 1 number number
pi 0 any number
radians 1 number number
sin 1 number number
sinh 1 number number
tan 1 number number
tanh 1 number number
btrim 1..2 string string
left 2 string string
lower 1 string string
ltrim 1..2 string string
normalize 1..2 string string
replace 3..4 string string
right 2 string string
rtrim 1..2 string string
split 2 string list
substring 2..3 string string
toLower 1 string string
toUpper 1 string string
trim 1..2 string string
upper 1 string string
point 1 map point
point.distance 2 any number
point.withinBBox 3 any boolean
date 0..1 any temporal
date.realtime 0..1 any temporal
date.statement 0..1 any temporal
date.transaction 0..1 any temporal
date.truncate 1..3 any temporal
datetime 0..1 any temporal
datetime.fromepoch 2 number temporal
datetime.fromepochmillis 1 number temporal
datetime.realtime 0..1 any temporal
datetime.statement 0..1 any temporal
datetime.transaction 0..1 any temporal
datetime.truncate 1..3 any temporal
localdatetime 0..1 any temporal
localdatetime.realtime 0..1 any temporal
localdatetime.statement 0..1 any temporal
localdatetime.transaction 0..1 any temporal
localdatetime.truncate 1..3 any temporal
localtime 0..1 any temporal
localtime.realtime 0..1 any temporal
localtime.statement 0..1 any temporal
localtime.transaction 0..1 any temporal
localtime.truncate 1..3 any temporal
time 0..1 any temporal
time.realtime 0..1 any temporal
time.statement 0..1 any temporal
time.transaction 0..1 any temporal
time.truncate 1..3 any temporal
duration 1 any temporal
duration.between 2 any temporal
duration.inDays 2 any temporal
duration.inMonths 2 any temporal
duration.inSeconds 2 any temporal
vector.similarity.cosine 2 any number
vector.similarity.euclidean 2 any number
"""

_AGGREGATES = """
avg 1 number|temporal any
collect 1 any list_of
count 1 any number
max 1 any same
min 1 any same
percentileCont 2 number number
percentileDisc 2 number number
stDev 1 number number
stDevP 1 number number
sum 1 number|temporal any
"""

# Without an argument these tell the time; the rest of the volatile ones change at every call.
_CLOCKS = frozenset(["date", "datetime", "localdatetime", "localtime", "time"])
_VOLATILE = frozenset(("rand", "randomuuid", "timestamp"))

# Procedures that read and return rows, with the columns that they yield.
PROCEDURES: dict[str, tuple[str, ...]] = {
    "db.labels": ("label",),
    "db.relationshiptypes": ("relationshipType",),
    "db.propertykeys": ("propertyKey",),
    "db.schema.visualization": ("nodes", "relationships"),
    "db.schema.nodetypeproperties": ("nodeType", "nodeLabels", "propertyName", "propertyTypes", "mandatory"),
    "db.schema.reltypeproperties": ("relType", "propertyName", "propertyTypes", "mandatory"),
    "db.index.fulltext.querynodes": ("node", "score"),
    "db.index.fulltext.queryrelationships": ("relationship", "score"),
    "db.index.vector.querynodes": ("node", "score"),
    "db.index.vector.queryrelationships": ("relationship", "score"),
}


@dataclass(frozen=True, slots=True)
class Function:
    """One function.

    Args:
        name: As Neo4j writes it.
        least: Fewest arguments.
        most: Most arguments.
        takes: Kinds that its first argument may have; empty for any.
        returns: Kind of its value.
        aggregate: It folds rows.
    """

    name: str
    least: int
    most: int
    takes: frozenset[str]
    returns: str
    aggregate: bool

    def volatile(self, arguments: int) -> bool:
        """Whether its value changes without a change of the data."""
        name = self.name.lower()
        stem, _, member = name.partition(".")
        clock = stem in _CLOCKS and (
            arguments == 0 if not member else member in ("realtime", "statement", "transaction")
        )
        return name in _VOLATILE or clock


_WIDER = {"entity": ("node", "relationship"), "scalar": ("string", "number", "boolean", "temporal", "point")}


def _read(table: str, aggregate: bool) -> dict[str, Function]:
    found = {}
    for line in table.split("\n"):
        if line:
            name, arity, takes, returns = line.split()
            least, _, most = arity.partition("..")
            kinds = {kind for part in takes.split("|") for kind in _WIDER.get(part, (part,)) if kind != "any"}
            found[name.lower()] = Function(
                name, int(least), int(most or least), frozenset(kinds), returns, aggregate
            )  # fmt: skip
    return found


FUNCTIONS = {**_read(_TABLE, False), **_read(_AGGREGATES, True)}
