"""Variants of a graph on which a right query still matches its gold and a lucky one no longer does.

A variant keeps what queries may rely on (labels, which types join which labels, which properties a label has, keys that
are unique, single relationships between two nodes) and changes what they may not: how many nodes and relationships
there are, which values stand together, extremes, duplicates.
The idea is the test suites of Zhong et al. 2020 (Semantic Evaluation for Text-to-SQL with Distilled Test Suites).
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from qwen_lightning.execution.cypher.graph import Graph, Node, Relationship


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a query looks for.

    Args:
        literals: (label or type, property, value).
        reads: Labels and relationship types.
    """

    literals: frozenset[tuple[str, str, Any]] = frozenset()
    reads: frozenset[str] = frozenset()


# A variant of a large graph grows by no more than this.
_MAX_NEW = 200
_FEWEST_NEW = 8
_DROPPED = 0.04
_REWIRED = 0.2


def shuffled(graph: Graph, seed: str) -> Graph:
    """The same graph, made in another order."""
    rng = random.Random(seed)
    order = rng.sample(range(len(graph.nodes)), len(graph.nodes))
    place = {old: new for new, old in enumerate(order)}
    relationships = [
        Relationship(each.type, place[each.start], place[each.end], each.properties) for each in graph.relationships
    ]
    rng.shuffle(relationships)
    return Graph([graph.nodes[old] for old in order], relationships, graph.unique)


def perturbed(graph: Graph, seed: str, duplicates: bool, wanted: Wanted | None = None) -> Graph:
    """One variant.

    Args:
        graph: The original.
        seed: Decides the variant, together with the data.
        duplicates: Whether text that happens to be unique may repeat.
        wanted: What a query looks for: its values and relationships are then frequent.
    """
    return shuffled(_Maker(graph, random.Random(seed), duplicates, wanted or Wanted()).make(), seed)


class _Maker:
    def __init__(self, graph: Graph, rng: random.Random, duplicates: bool, wanted: Wanted) -> None:
        self.rng, self.duplicates = rng, duplicates
        self.nodes = [Node(node.labels, dict(node.properties)) for node in graph.nodes]
        self.relationships = [
            Relationship(each.type, each.start, each.end, dict(each.properties)) for each in graph.relationships
        ]
        self.unique = graph.unique
        self.literals: dict[str, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
        for kind, key, value in sorted(wanted.literals, key=repr):
            self.literals[kind][key].append(value)
        self.reads = wanted.reads
        self.single = _single_types(graph.relationships)
        self.pairs = {(each.type, each.start, each.end) for each in graph.relationships}
        self.values = _Values(self.nodes, self.relationships)

    def make(self) -> Graph:
        self._permute(self._by_kind(self.nodes))
        self._permute(self._by_kind(self.relationships))
        self._rewire()
        self._grow()
        self._strew()
        self._knit()
        return self._thinned()

    def _by_kind(self, things: Iterable[Any]) -> dict[Any, list[Any]]:
        groups: dict[Any, list[Any]] = defaultdict(list)
        for thing in things:
            groups[_kind(thing)].append(thing)
        return groups

    def _permute(self, groups: dict[Any, list[Any]]) -> None:
        """Permute each property among half of those that have it: values stay, what stands beside them changes."""
        for things in groups.values():
            for key in sorted({key for thing in things for key in thing.properties}):
                chosen = [thing for thing in things if key in thing.properties and self.rng.random() < 0.5]
                values = [thing.properties[key] for thing in chosen]
                self.rng.shuffle(values)
                for thing, value in zip(chosen, values, strict=True):
                    thing.properties[key] = value

    def _rewire(self) -> None:
        """Move some relationships to another node of the same labels that may stand there."""
        ends: dict[tuple[str, bool, tuple[str, ...]], list[int]] = defaultdict(list)
        for each in self.relationships:
            ends[each.type, True, self.nodes[each.start].labels].append(each.start)
            ends[each.type, False, self.nodes[each.end].labels].append(each.end)
        for each in self.relationships:
            if self.rng.random() >= _REWIRED:
                continue
            start = self.rng.random() < 0.5
            labels = self.nodes[each.start if start else each.end].labels
            new = self.rng.choice(ends[each.type, start, labels])
            self._move(each, new if start else each.start, each.end if start else new)

    def _move(self, each: Relationship, start: int, end: int) -> bool:
        if not self._free(each.type, start, end, loop=each.start == each.end):
            return False
        self.pairs.discard((each.type, each.start, each.end))
        self.pairs.add((each.type, start, end))
        each.start, each.end = start, end
        return True

    def _free(self, kind: str, start: int, end: int, loop: bool = False) -> bool:
        return (loop or start != end) and not (kind in self.single and (kind, start, end) in self.pairs)

    def _grow(self) -> None:
        """Clone nodes, with relationships like those of the node that they are made from."""
        linked: dict[int, list[Relationship]] = defaultdict(list)
        for each in self.relationships:
            linked[each.start].append(each)
            if each.end != each.start:
                linked[each.end].append(each)
        by_label: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for number, node in enumerate(self.nodes):
            by_label[node.labels].append(number)
        # Several clones of every kind, however rare it is.
        bases = [
            self.rng.choice(members)
            for members in by_label.values()
            for _ in range(min(_MAX_NEW // len(by_label) + 1, _FEWEST_NEW + len(members) // 4))
        ]
        for base in bases:
            self._clone(base, linked[base])

    def _clone(self, base: int, links: list[Relationship]) -> None:
        original = self.nodes[base]
        number = len(self.nodes)
        twin = self.duplicates and self.rng.random() < 0.7
        properties = {key: self._value(original.labels, key, value, twin) for key, value in original.properties.items()}
        self.nodes.append(Node(original.labels, properties))
        for each in links:
            if self.rng.random() < 0.35:
                continue
            start = number if each.start == base else each.start
            end = number if each.end == base else each.end
            if self._free(each.type, start, end, loop=each.start == each.end):
                self.pairs.add((each.type, start, end))
                values = {
                    key: self._value((each.type,), key, value, self.duplicates and self.rng.random() < 0.5)
                    for key, value in each.properties.items()
                }
                self.relationships.append(Relationship(each.type, start, end, values))

    def _value(self, kinds: tuple[str, ...], key: str, value: Any, twin: bool) -> Any:
        known = self.values.of(kinds, key)
        if any((kind, key) in self.unique for kind in kinds):
            return self.values.fresh(value, known, self.rng)
        if twin:
            return value
        roll = self.rng.random()
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            return self.rng.choice(known) if roll < 0.5 else value
        if isinstance(value, str):
            if not self.duplicates and self.values.distinct(kinds, key):
                return self.values.fresh(value, known, self.rng)
            return self.rng.choice(known) if roll < 0.4 else value
        return _jitter(value, known, self.rng, extreme=roll > 0.7)

    def _strew(self) -> None:
        """Put the values that a query looks for where it may find them."""
        things: list[Node | Relationship] = [*self.nodes, *self.relationships]
        for thing in things:
            for kind in _kind(thing):
                for key, values in self.literals.get(kind, {}).items():
                    if (kind, key) not in self.unique and self.rng.random() < 0.3:
                        fitting = [v for v in values if key not in thing.properties or _alike(v, thing.properties[key])]
                        if fitting:
                            thing.properties[key] = _near(self.rng.choice(fitting), self.rng)

    def _knit(self) -> None:
        """Give the nodes that a query looks for the relationships that it reads, and join anew what these join."""
        types = sorted({each.type for each in self.relationships} & self.reads)
        ends = {
            kind: [(each.start, each.end, each.properties) for each in self.relationships if each.type == kind]
            for kind in types
        }
        sought = [number for number, node in enumerate(self.nodes) if self._sought(node)][:_MAX_NEW]
        for kind in types:
            starts = {self.nodes[start].labels for start, _, _ in ends[kind]}
            targets = {self.nodes[end].labels for _, end, _ in ends[kind]}
            for number in sought:
                for _ in range(2):
                    start, end, properties = self.rng.choice(ends[kind])
                    if self.nodes[number].labels in starts:
                        self._join(kind, number, end, properties)
                    if self.nodes[number].labels in targets:
                        self._join(kind, start, number, properties)
            for other in types:
                for start, end, _ in self.rng.sample(ends[other], min(len(ends[other]), 20)) if other != kind else ():
                    if self.nodes[start].labels in starts and self.nodes[end].labels in targets:
                        self._join(kind, start, end, self.rng.choice(ends[kind])[2])
            for start, end, properties in self.rng.sample(ends[kind], min(len(ends[kind]), 10)):
                if self.nodes[end].labels in starts and self.nodes[start].labels in targets:
                    self._join(kind, end, start, properties)

    def _join(self, kind: str, start: int, end: int, properties: dict[str, Any]) -> None:
        if self._free(kind, start, end):
            self.pairs.add((kind, start, end))
            self.relationships.append(Relationship(kind, start, end, dict(properties)))

    def _thinned(self) -> Graph:
        """Drop a few nodes, and a few relationships beside."""
        counts = Counter(node.labels for node in self.nodes)
        dropped = {
            number
            for number, node in enumerate(self.nodes)
            if counts[node.labels] > 4 and self.rng.random() < _DROPPED and not self._sought(node)
        }
        place: dict[int, int] = {}
        for number in range(len(self.nodes)):
            if number not in dropped:
                place[number] = len(place)
        kept = [
            Relationship(each.type, place[each.start], place[each.end], each.properties)
            for each in self.relationships
            if each.start in place and each.end in place and self.rng.random() >= _DROPPED
        ]
        return Graph([node for number, node in enumerate(self.nodes) if number in place], kept, self.unique)

    def _sought(self, node: Node) -> bool:
        return any(
            node.properties.get(key) in values
            for label in node.labels
            for key, values in self.literals.get(label, {}).items()
        )


class _Values:
    """The values of each property of each kind in the original."""

    def __init__(self, nodes: list[Node], relationships: list[Relationship]) -> None:
        self.known: dict[tuple[tuple[str, ...], str], list[Any]] = defaultdict(list)
        things: list[Node | Relationship] = [*nodes, *relationships]
        for thing in things:
            for key, value in thing.properties.items():
                self.known[_kind(thing), key].append(value)
        self.serial = 0
        self._distinct: dict[tuple[tuple[str, ...], str], bool] = {}

    def of(self, kinds: tuple[str, ...], key: str) -> list[Any]:
        return self.known[kinds, key]

    def distinct(self, kinds: tuple[str, ...], key: str) -> bool:
        place = (kinds, key)
        if place not in self._distinct:
            texts = [value for value in self.known[place] if isinstance(value, str)]
            self._distinct[place] = len(texts) > 1 and len(set(texts)) == len(texts)
        return self._distinct[place]

    def fresh(self, value: Any, known: list[Any], rng: random.Random) -> Any:
        """A value that no other node has."""
        self.serial += 1
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            return value
        if isinstance(value, str):
            return f"{value} {rng.choice('BCDFGHJKLM')}{self.serial}"
        return max(item for item in known if isinstance(item, (int, float))) + self.serial


def _kind(thing: Node | Relationship) -> tuple[str, ...]:
    return thing.labels if isinstance(thing, Node) else (thing.type,)


def _single_types(relationships: list[Relationship]) -> set[str]:
    """The types that join two nodes at most once each way."""
    seen: Counter[tuple[str, int, int]] = Counter((each.type, each.start, each.end) for each in relationships)
    repeated = {kind for (kind, _, _), count in seen.items() if count > 1}
    return {each.type for each in relationships} - repeated


def _alike(literal: Any, value: Any) -> bool:
    numbers = (int, float)
    return type(literal) is type(value) or (
        isinstance(literal, numbers) and isinstance(value, numbers) and not isinstance(value, bool)
    )


def _near(value: Any, rng: random.Random) -> Any:
    """A literal, or a number beside it, which a strict comparison needs."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    return value + rng.choice((-1, 0, 0, 1))


def _jitter(value: float, known: list[Any], rng: random.Random, extreme: bool) -> Any:
    """A number near another one, or one beyond all that are known."""
    numbers = [item for item in known if isinstance(item, (int, float)) and not isinstance(item, bool)]
    low, high = min(numbers), max(numbers)
    kind = type(value)
    spread = max((high - low) / 8, 1)
    if extreme:
        moved = high + spread * rng.random() + 1 if rng.random() < 0.6 or low >= 0 > low - spread else low - spread
    else:
        moved = value + rng.choice((-1, 1)) * max(1, rng.random() * spread)
    result = kind(moved) if kind is int else round(moved, 2)
    return result if low < 0 or result >= 0 else abs(result)
