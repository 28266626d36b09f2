"""Graph patterns: variables that they bind, and what the schema's triples leave of each one's labels and types."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from lark import Tree

from qwen_lightning.execution.cypher.kinds import NODE, PATH, RELATIONSHIP, Labels, Scope, Value, list_of, varying
from qwen_lightning.execution.cypher.names import Names
from qwen_lightning.execution.cypher.parsing import Node
from qwen_lightning.execution.cypher.trees import child, children, integer, tokens, variable_of

Evaluate = Callable[[Node, Scope], Value]
# Hops of a variable-length relationship that are followed label by label; a longer one may lead anywhere it can end.
_MOST_HOPS = 8


@dataclass(slots=True)
class Hop:
    """One relationship of a pattern, between two nodes by their keys."""

    source: str
    key: str
    target: str
    # "->", "<-" or "--".
    direction: str
    least: int = 1
    most: int | None = 1


@dataclass(slots=True)
class Patterns:
    """The patterns of one MATCH (or subquery, or pattern expression) as a graph of keys; variables are their own key.

    Args:
        names: The schema's checks.
        outer: Variables bound before.
        introduces: Whether new variables may be bound.
    """

    names: Names
    outer: Scope
    introduces: bool = True
    nodes: dict[str, Labels | None] = field(default_factory=dict)
    relationships: dict[str, frozenset[str] | None] = field(default_factory=dict)
    bound: Scope = field(default_factory=dict)
    hops: list[Hop] = field(default_factory=list)
    maps: list[tuple[str, Node]] = field(default_factory=list)
    wheres: list[Node] = field(default_factory=list)
    # Variables inside a quantified group: single within it, lists outside.
    grouped: list[str] = field(default_factory=list)
    _anonymous: int = 0

    def add(self, pattern: Node) -> None:
        """Take one pattern of a comma-separated list, or a `pattern_expression`."""
        variable = variable_of(pattern) if tokens(pattern, "EQUAL") else None
        path = child(pattern, "path", "shortest") or pattern
        if variable is not None:
            self._declare(variable, "path")
        if path.data == "shortest":
            self.add_shortest(path)
        else:
            self._path(path, False)

    def add_shortest(self, tree: Node) -> None:
        """Take a `shortestPath(…)` or `allShortestPaths(…)`."""
        path = children(tree)[0]
        if len(children(path)) != 3 or len(children(path, "relationship")) != 1:
            self.names.findings.refuse("shortestPath() takes one relationship between two nodes")
        self._path(path, False)
        if self.hops and self.hops[-1].least > 1:
            self.names.findings.refuse("shortestPath() can have no least length but 0 or 1")

    def _path(self, path: Node, grouped: bool) -> tuple[str, str] | None:
        """Walk a path; its first and last node."""
        parts = children(path, "node", "marked_node", "relationship", "group")
        first = last = None
        pending: Node | None = None
        after_group = False
        for part in parts:
            if part.data == "relationship":
                if pending is not None:
                    self.names.findings.refuse("two relationships follow each other without a node between them")
                pending = part
                continue
            if part.data == "group":
                quantifier = child(part, "quantifier")
                variable = variable_of(part)
                if variable is not None:
                    self._declare(variable, "path")
                inner = children(part, "path")[0]
                ends = self._path(inner, grouped or quantifier is not None)
                self.wheres.extend(children(part, "where"))
                least = 1 if quantifier is None else _bounds(quantifier)[0]
                start, end = ends if ends is not None and least > 0 else (self._unnamed(), self._unnamed())
                # The nodes at a group's edges are the group's first and last.
                if last is not None and pending is None:
                    self.hops.append(Hop(last, "", start, "=="))
            else:
                start = end = self._node(part, grouped)
                if last is not None and pending is None:
                    if not after_group:
                        self.names.findings.refuse("two nodes follow each other without a relationship between them")
                    self.hops.append(Hop(last, "", start, "=="))
            if pending is not None and last is not None:
                self._relationship(pending, last, start, grouped)
                pending = None
            first = first if first is not None else start
            last, after_group = end, part.data == "group"
        if pending is not None:
            self.names.findings.refuse("a path ends with a relationship")
        return None if first is None or last is None else (first, last)

    def _unnamed(self) -> str:
        self._anonymous += 1
        key = f" {self._anonymous}"
        self.nodes[key] = self._all_labels()
        return key

    def _all_labels(self) -> Labels:
        return frozenset(frozenset((label,)) for label in self.names.schema.labels)

    def _node(self, tree: Node, grouped: bool) -> str:
        variable = variable_of(tree)
        if variable is None:
            key = self._unnamed()
        else:
            key = variable
            known = self._declare(variable, "node", grouped)
            if key not in self.nodes:
                self.nodes[key] = known.labels if known is not None else self._all_labels()
        for labels in children(tree, "labels"):
            self.state(key, children(labels)[0])
        self._filters(tree, key)
        return key

    def state(self, key: str, labels: Node) -> None:
        """Take a label expression that a node (or a relationship's type) of the pattern must satisfy."""
        if key in self.nodes:
            if tokens(labels, "COLON"):
                self.names.findings.refuse("labels are separated by | alone, not by |:")
            fresh = self.outer.get(key) is None and self.nodes[key] == self._all_labels()
            self.nodes[key] = self.names.narrowed_labels(labels, None if fresh else self.nodes[key])
        elif key in self.relationships:
            self.relationships[key] = self.names.narrowed_types(labels, self.relationships[key])

    def _filters(self, tree: Node, key: str) -> None:
        for properties in children(tree, "properties"):
            if not children(properties):
                self.names.findings.refuse("a pattern's properties are a literal map, not a parameter")
            self.maps.extend((key, item) for item in children(properties, "map"))
        self.wheres.extend(children(tree, "where"))

    def _relationship(self, tree: Node, source: str, target: str, grouped: bool) -> None:
        variable = variable_of(tree)
        length, quantifier = child(tree, "length"), child(tree, "quantifier")
        least, most = _bounds(length) if length is not None else (1, 1)
        if quantifier is not None:
            least, most = _bounds(quantifier)
        many = length is not None or quantifier is not None
        if variable is None:
            self._anonymous += 1
            key = f" {self._anonymous}"
        else:
            key = variable
            self._declare(variable, "list" if length is not None else "relationship", grouped or quantifier is not None)
        known = self.outer.get(key)
        types = frozenset(self.names.schema.types) if self.names.knows_types else None
        if known is not None:
            types = known.types if known.kind == "relationship" else None
        labels = child(tree, "labels")
        if labels is not None:
            if tokens(children(labels)[0], "COLON") and (variable or many or child(tree, "properties")):
                self.names.findings.refuse("types are separated by | alone, not by |:")
            types = self.names.narrowed_types(children(labels)[0], types)
        self.relationships[key] = types
        marks = {token.type for token in tokens(tree, "LEFT", "RIGHT")}
        direction = "->" if marks == {"RIGHT"} else "<-" if marks == {"LEFT"} else "--"
        self.hops.append(Hop(source, key, target, direction, least if many else 1, most if many else 1))
        self._filters(tree, key)

    def _declare(self, variable: str, kind: str, grouped: bool = False) -> Value | None:
        """Bind a variable, or meet it again; what was known of it."""
        findings = self.names.findings
        known = self.outer.get(variable)
        if known is not None:
            if known.stored:
                findings.refuse(f"variable {variable} is a property and cannot be a {kind}")
            if kind == "path" or (kind == "list" and known.kind not in ("any", "list")):
                findings.refuse(f"variable {variable} is already declared")
            elif known.kind not in ("any", "null", kind):
                findings.refuse(f"variable {variable} is a {known.kind} and cannot be a {kind}")
            return known if known.kind == kind else Value(kind)
        if variable in self.bound:
            kept = self.bound[variable].kind
            if kept != kind:
                findings.refuse(f"variable {variable} is a {kept} and cannot be a {kind}")
            elif kind == "path":
                findings.refuse(f"variable {variable} is already declared")
            return None
        if not self.introduces:
            findings.refuse(f"a pattern expression cannot introduce the variable {variable}")
        self.bound[variable] = {"node": NODE, "relationship": RELATIONSHIP, "path": PATH}.get(kind, Value(kind))
        if grouped:
            self.grouped.append(variable)
        return None

    def resolve(self) -> None:
        """Narrow labels and types by the schema's triples, both ways, until nothing changes; fault what cannot be."""
        if self.names.schema.triples:
            faulty: set[int] = set()
            changed = True
            while changed:
                changed = False
                for at, hop in enumerate(self.hops):
                    if at in faulty:
                        continue
                    before = (self.nodes.get(hop.source), self.relationships.get(hop.key), self.nodes.get(hop.target))
                    if not self._narrow(hop):
                        faulty.add(at)
                    after = (self.nodes.get(hop.source), self.relationships.get(hop.key), self.nodes.get(hop.target))
                    changed |= before != after
        reads = self.names.findings.reads
        for labels in self.nodes.values():
            reads.update(label for one in labels or () for label in one)
        for types in self.relationships.values():
            reads.update(types or ())

    def _narrow(self, hop: Hop) -> bool:
        source, target = self.nodes[hop.source], self.nodes[hop.target]
        if hop.direction == "==":
            if source is None or target is None:
                return True
            both = source & target
            if both:
                self.nodes[hop.source] = self.nodes[hop.target] = both
            return True
        types = self.relationships[hop.key]
        triples = [one for one in self.names.schema.triples if types is None or one[1] in types]
        forward = [(one[0], one[1], one[2]) for one in triples] if hop.direction != "<-" else []
        backward = [(one[2], one[1], one[0]) for one in triples] if hop.direction != "->" else []
        steps = forward + backward
        if hop.least == 0:
            return True
        if hop.most == 1:
            steps = [one for one in steps if _can(source, one[0]) and _can(target, one[2])]
        else:
            steps = self._reached(steps, source, target, hop)
        if not steps:
            self._fault(hop, types, source, target)
            return False
        if source is not None:
            starts = {one[0] for one in steps} if hop.most == 1 else {one[0] for one in steps if _can(source, one[0])}
            self.nodes[hop.source] = frozenset(one for one in source if one & starts)
        if target is not None:
            ends = {one[2] for one in steps}
            self.nodes[hop.target] = frozenset(one for one in target if one & ends)
        if types is not None:
            self.relationships[hop.key] = frozenset(one[1] for one in steps)
        return True

    def _reached(
        self, steps: Sequence[tuple[str, str, str]], source: Labels | None, target: Labels | None, hop: Hop
    ) -> list[tuple[str, str, str]]:
        """The steps, where a chain of them leads from source to target within the hop's bounds; else none."""
        here = {one[0] for one in steps if _can(source, one[0])}
        most = hop.most if hop.most is not None else max(hop.least, _MOST_HOPS)
        for count in range(1, min(most, _MOST_HOPS) + 1):
            here = {one[2] for one in steps if one[0] in here}
            if not here:
                return []
            if count >= hop.least and any(_can(target, label) for label in here):
                return list(steps)
        return list(steps) if most > _MOST_HOPS else []

    def _fault(self, hop: Hop, types: frozenset[str] | None, source: Labels | None, target: Labels | None) -> None:
        named = "|".join(sorted(types)[:4]) if types is not None and len(types) <= 4 else "…"
        reverse = any(
            (types is None or one[1] in types) and _can(source, one[2 if hop.direction == "->" else 0])
            and _can(target, one[0 if hop.direction == "->" else 2])
            for one in self.names.schema.triples
        )  # fmt: skip
        arrow = {"->": ("-", "->"), "<-": ("<-", "-"), "--": ("-", "-")}[hop.direction]
        text = f"(:{_shown(source)}){arrow[0]}[:{named}]{arrow[1]}(:{_shown(target)})"
        why = "; it points the other way" if reverse and hop.direction != "--" and hop.most == 1 else ""
        self.names.findings.miss(f"the schema has no {text}{why}")

    def scope(self) -> Scope:
        """All variables after the pattern, those that were bound before narrowed by it."""
        found = dict(self.outer)
        for key, value in self.bound.items():
            found[key] = self._value(key, value)
        for key, value in self.outer.items():
            if key in self.nodes and value.kind == "node":
                found[key] = replace(value, labels=self.nodes[key])
            elif key in self.relationships and value.kind == "relationship":
                found[key] = replace(value, types=self.relationships[key])
        for key in self.grouped:
            found[key] = list_of(found[key])
        return found

    def inside(self) -> Scope:
        """The variables as the pattern's own maps and WHEREs see them."""
        return {**self.scope(), **{key: self._value(key, self.bound[key]) for key in self.grouped}}

    def _value(self, key: str, value: Value) -> Value:
        if value.kind == "node":
            return varying(replace(value, labels=self.nodes.get(key)))
        if value.kind == "relationship":
            return varying(replace(value, types=self.relationships.get(key)))
        if value.kind == "list":
            return list_of(Value("relationship", types=self.relationships.get(key)))
        return varying(value)

    def filters(self) -> Iterator[tuple[Value, Node]]:
        """Each property map with the node or relationship that it filters."""
        for key, tree in self.maps:
            if key in self.nodes:
                yield Value("node", labels=self.nodes[key]), tree
            else:
                yield Value("relationship", types=self.relationships.get(key)), tree


def _can(labels: Labels | None, label: str) -> bool:
    return labels is None or any(label in one for one in labels)


def _shown(labels: Labels | None) -> str:
    if labels is None or len(labels) > 3:
        return "…"
    return "|".join(sorted("&".join(sorted(one)) for one in labels))


def _bounds(tree: Node) -> tuple[int, int | None]:
    """Least and most repetitions of `*`, `*2..3`, `+`, `{2}` or `{2,3}`."""
    marks = [item for item in tree.children if not isinstance(item, Tree)]
    numbers = [integer(item) for item in marks if item.type == "INT"]
    if marks[0].type == "PLUS":
        return 1, None
    between = next((at for at, item in enumerate(marks) if item.type in ("RANGE", "COMMA")), None)
    if between is None:
        if numbers:
            return numbers[0], numbers[0]
        return (1 if tree.data == "length" else 0), None
    before = [integer(item) for item in marks[:between] if item.type == "INT"]
    after = [integer(item) for item in marks[between:] if item.type == "INT"]
    default = 1 if tree.data == "length" else 0
    return (before[0] if before else default), (after[0] if after else None)
