"""Which columns identify rows and which lead to other tables: as declared, or as the data and the names show."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from qwen_lightning.execution.sql.catalog import category
from qwen_lightning.execution.sql.dataset import Dataset
from qwen_lightning.execution.sql.ddl import Table, resolve_foreign


@dataclass(frozen=True, slots=True)
class Link:
    """`column` takes its values from `target_column` of `target`."""

    column: str
    target: str
    target_column: str


@dataclass(slots=True)
class Links:
    """Unique column groups and links by table, and the tables in an order that puts parents first."""

    keys: dict[str, list[tuple[str, ...]]] = field(default_factory=dict)
    of: dict[str, list[Link]] = field(default_factory=dict)
    parents_first: list[str] = field(default_factory=list)


def find_links(dataset: Dataset) -> Links:
    """Declared keys and foreign keys; where a table declares none, those that its data and names suggest."""
    found = Links()
    values = {
        (t.name, c): _values(dataset, t, i) for t in dataset.schema.tables.values() for i, c in enumerate(t.columns)
    }
    unique = {place for place, column in values.items() if _is_unique(column)}
    for table in dataset.schema.tables.values():
        declared = [
            Link(key.columns[0], key.target, key.target_columns[0])
            for key in resolve_foreign(dataset.schema, table)
            if len(key.columns) == 1
        ]
        seen = {link.column for link in declared}
        inferred = [
            link
            for column in table.columns
            if column not in seen and (link := _infer_link(dataset, table, column, values, unique))
        ]
        found.of[table.name] = declared + inferred
    targets = {(link.target, link.target_column) for links in found.of.values() for link in links}
    for table in dataset.schema.tables.values():
        keys = list(dict.fromkeys(table.keys))
        for column in table.columns:
            place = (table.name, column)
            if (column,) not in keys and (place in targets or (place in unique and _looks_like_key(table, column))):
                keys.append((column,))
        linked = tuple(link.column for link in found.of[table.name])
        if (
            not any(len(key) == 1 for key in keys)
            and len(linked) > 1
            and linked not in keys
            and _unique_together(dataset, table, linked)
        ):
            keys.append(linked)
        found.keys[table.name] = keys
    found.parents_first = _order(found)
    return found


def _values(dataset: Dataset, table: Table, index: int) -> list[Any]:
    return [row[index] for row in dataset.rows[table.name]]


def _hashable(values: list[Any]) -> bool:
    return not any(isinstance(value, (list, dict)) for value in values)


def _is_unique(values: list[Any]) -> bool:
    return bool(values) and _hashable(values) and None not in values and len(set(values)) == len(values)


def _looks_like_key(table: Table, column: str) -> bool:
    """Unique in the data, and named or placed as keys are."""
    name = column.lower()
    if name.endswith(("id", "code", "key", "uuid", "ssn", "isbn", "vin")) or name in ("no", "number", "num", "nr"):
        return True
    return column == next(iter(table.columns)) and category(table.columns[column]) == "N" and not name.endswith("year")


def _infer_link(
    dataset: Dataset, table: Table, column: str, values: dict[tuple[str, str], list[Any]], unique: set[tuple[str, str]]
) -> Link | None:
    mine = [value for value in values[table.name, column] if value is not None]
    if not mine or not _hashable(mine):
        return None
    kind, present = category(table.columns[column]), set(mine)
    best: tuple[int, Link] | None = None
    for other in dataset.schema.tables.values():
        for target in other.columns:
            if (
                other.name == table.name
                or (other.name, target) not in unique
                or category(other.columns[target]) != kind
            ):
                continue
            score = _name_score(column, other.name, target) or _sparse(values[other.name, target], column, target, mine)
            if score and present <= set(values[other.name, target]) and (best is None or score > best[0]):
                # Two tables that share an id: the one that holds more of them is the parent.
                if (
                    (table.name, column) in unique
                    and len(values[other.name, target]) == len(mine)
                    and other.name > table.name
                ):
                    continue
                best = (score, Link(column, other.name, target))
    return best[1] if best else None


def _name_score(column: str, table: str, target: str) -> int:
    a, t, b = column.lower(), table.lower(), target.lower()
    if a == b:
        return 3 if a not in ("id", "name", "year", "date") else 0
    stem = t.rstrip("s")
    if b in ("id", "code", "name", "no", "key", "uid") and stem[:4] in a:
        return 2
    if a.endswith(b) and len(b) > 3 and b not in ("name", "year", "date", "type"):
        return 2
    if len(stem) > 3 and stem in a and b.endswith(("id", "code", "key", "no")):
        return 2
    if len(a) > 3 and a.rstrip("s") in t and b.endswith("id"):
        return 1
    return 1 if b.endswith(("id", "code")) and (stem == a or (len(a) > 3 and a in b)) else 0


def _sparse(parents: list[Any], column: str, target: str, mine: list[Any]) -> int:
    """Ids from a thinly used range that all stand in another table are no accident."""
    if (
        not target.lower().endswith("id")
        or not column.lower().endswith("id")
        or not isinstance(parents[0], int)
        or len(set(mine)) < 3
    ):
        return 0
    return int(max(parents) - min(parents) > 2 * len(parents) or min(parents) > 50)


def _unique_together(dataset: Dataset, table: Table, columns: tuple[str, ...]) -> bool:
    indices = [list(table.columns).index(column) for column in columns]
    tuples = [tuple(row[index] for index in indices) for row in dataset.rows[table.name]]
    return len(set(tuples)) == len(tuples)


def _order(links: Links) -> list[str]:
    order: list[str] = []
    visiting: set[str] = set()

    def visit(name: str) -> None:
        if name in order or name in visiting:
            return
        visiting.add(name)
        for link in links.of[name]:
            visit(link.target)
        order.append(name)

    for name in links.of:
        visit(name)
    return order
