"""Variants of a database's rows on which a right query still matches its gold and a lucky one no longer does.

A variant keeps what queries may rely on (keys stay unique, links between tables hold, values stay in their columns'
domains) and changes what they may not: how many rows there are, which values stand together, extremes, duplicates.
The idea is the test suites of Zhong et al. 2020 (Semantic Evaluation for Text-to-SQL with Distilled Test Suites).
"""

from __future__ import annotations

import datetime
import random
import re
from decimal import Decimal
from typing import Any

from qwen_lightning.execution.sql.dataset import Dataset, Row
from qwen_lightning.execution.sql.ddl import Table
from qwen_lightning.execution.sql.links import Links, find_links
from qwen_lightning.execution.sql.wanted import Wanted

# A variant of a large table holds a sample of it.
MAX_ROWS = 3000
_MAX_TWINS = 400
_NO_NAME = re.compile(r"\d|@|/|www\.")


def shuffled(dataset: Dataset, seed: str) -> dict[str, list[Row]]:
    """The same rows in another physical order."""
    rng = random.Random(seed)
    return {name: rng.sample(rows, len(rows)) for name, rows in dataset.rows.items()}


def perturbed(dataset: Dataset, seed: str, duplicates: bool, wanted: Wanted | None = None) -> dict[str, list[Row]]:
    """One variant.

    Args:
        dataset: The original.
        seed: Decides the variant, together with the data.
        duplicates: Whether text that happens to be unique may repeat.
        wanted: What a query looks for: the values are strewn over new rows, which then share few parents, so that
            conditions on several of them meet.
    """
    if dataset.links is None:
        dataset.links = find_links(dataset)
    return _Maker(dataset, dataset.links, random.Random(seed), duplicates, wanted).make()


class _Maker:
    def __init__(
        self, dataset: Dataset, links: Links, rng: random.Random, duplicates: bool, wanted: Wanted | None
    ) -> None:
        self.dataset, self.links, self.rng, self.duplicates = dataset, links, rng, duplicates
        self.directed, self.literals = wanted is not None, wanted.values if wanted is not None else {}
        self.joins = [pair for join in wanted.joins for pair in (join, join[::-1])] if wanted is not None else []
        self.made: dict[str, list[Row]] = {}

    def make(self) -> dict[str, list[Row]]:
        for name in self.links.parents_first:
            self.made[name] = self._table(self.dataset.schema.tables[name])
        return {name: self.made[name] for name in self.dataset.rows}

    def _table(self, table: Table) -> list[Row]:
        rows = [list(row) for row in self.dataset.rows[table.name]]
        sampled = len(rows) > MAX_ROWS
        if sampled:
            rows = [list(row) for row in self.rng.sample(self.dataset.rows[table.name], MAX_ROWS)]
        keys = self.links.keys[table.name]
        columns = list(table.columns)
        positions = {column: index for index, column in enumerate(columns)}
        parents = {
            positions[link.column]: self._parent_values(link.target, link.target_column)
            for link in self.links.of[table.name]
        }
        for (name, column), (other, target) in self.joins:
            if name == table.name and other in self.made and other != name and column in positions:
                parents.setdefault(positions[column], self._parent_values(other, target))
        if sampled:
            for index, values in parents.items():
                kept = set(values)
                for row in rows:
                    if row[index] is not None and row[index] not in kept and values:
                        row[index] = self.rng.choice(values)
        values = [_Column([row[index] for row in rows]) for index in range(len(columns))]
        keyed = {positions[column] for key in keys for column in key}
        free = [index for index in range(len(columns)) if index not in keyed]
        self._permute(rows, free)
        grown = [list(row) for row in rows]
        taken = [{tuple(row[positions[c]] for c in key) for row in rows} for key in keys]
        for base, twin in self._bases(rows):
            clone = self._clone(table, base, twin, columns, free, parents, values)
            if self._settle_keys(clone, keys, taken, positions, parents, values):
                grown.append(clone)
        self.rng.shuffle(grown)
        return [tuple(row) for row in grown]

    def _parent_values(self, table: str, column: str) -> list[Any]:
        index = list(self.dataset.schema.tables[table].columns).index(column)
        values = [row[index] for row in self.made.get(table, self.dataset.rows[table]) if row[index] is not None]
        return values

    def _permute(self, rows: list[list[Any]], free: list[int]) -> None:
        """Permute each free column among half the rows: values stay, what stands beside them changes."""
        for index in free:
            chosen = [i for i in range(len(rows)) if self.rng.random() < 0.5]
            values = [rows[i][index] for i in chosen]
            self.rng.shuffle(values)
            for i, value in zip(chosen, values, strict=True):
                rows[i][index] = value

    def _bases(self, rows: list[list[Any]]) -> list[tuple[list[Any], bool]]:
        """The rows that new ones are made from, and whether a new one is the old one's twin, alike but for keys."""
        if not rows:
            return []
        if self.duplicates and not self.directed:
            return [(row, True) for row in (rows if len(rows) <= _MAX_TWINS else self.rng.sample(rows, _MAX_TWINS))]
        count = min(60, 8 + len(rows) // 3) if self.directed else min(200, 2 + len(rows) // 3)
        return [(self.rng.choice(rows), False) for _ in range(count)]

    def _clone(
        self,
        table: Table,
        base: list[Any],
        twin: bool,
        columns: list[str],
        free: list[int],
        parents: dict[int, list[Any]],
        values: list[_Column],
    ) -> list[Any]:
        clone = list(base)
        for index in free:
            wanted = self.literals.get((table.name, columns[index]))
            if index in parents:
                known = parents[index]
                moves = 0.8 if self.directed else 0.2 if twin else 0.5
                if known and clone[index] is not None and self.rng.random() < moves:
                    clone[index] = self.rng.choice(known[-6:] if self.directed else known)
            elif wanted and self.rng.random() < 0.6:
                clone[index] = self.rng.choice(list(wanted))
            elif twin:
                clone[index] = self._alike(clone[index], values[index])
            else:
                clone[index] = self._value(clone[index], values[index])
        return clone

    def _alike(self, value: Any, column: _Column) -> Any:
        """A twin's value: the same, but no second maximum or minimum where there was one, which would make ties."""
        if column.low is None or value not in (column.low, column.high) or column.values.count(value) > 1:
            return value
        inner = [other for other in column.values if other is not None and other not in (column.low, column.high)]
        return self.rng.choice(inner) if inner else value

    def _value(self, value: Any, column: _Column) -> Any:
        roll = self.rng.random()
        if isinstance(value, bool) or value is None:
            return self.rng.choice(column.values) if roll < 0.5 else value
        if isinstance(value, str):
            if not self.duplicates and column.unique and column.names:
                return f"{value} {self.rng.choice('BCDFGHJKLM')}{self.rng.randint(2, 99)}"
            if self.directed and roll < 0.5:
                return self.rng.choice(column.values[:3])
            return self.rng.choice(column.values) if roll < 0.4 and (self.duplicates or not column.unique) else value
        if isinstance(value, (bytes, list, dict, tuple)) or (roll < 0.35 and value not in (column.low, column.high)):
            return value
        return _jitter(value, column, self.rng, extreme=roll > 0.75)

    def _settle_keys(
        self,
        clone: list[Any],
        keys: list[tuple[str, ...]],
        taken: list[set[tuple[Any, ...]]],
        positions: dict[str, int],
        parents: dict[int, list[Any]],
        values: list[_Column],
    ) -> bool:
        """Give the clone keys that no other row has; False where none is to be had."""
        for key, seen in zip(keys, taken, strict=True):
            indices = [positions[column] for column in key]
            for _ in range(12):
                for index in indices:
                    if index in parents:
                        if parents[index]:
                            clone[index] = self.rng.choice(parents[index])
                    elif len(indices) == 1 or index == indices[-1] or clone[index] is None or self.rng.random() < 0.5:
                        clone[index] = self._fresh(clone[index], values[index], len(indices) == 1)
                found = tuple(clone[index] for index in indices)
                if found not in seen or None in found:
                    break
            else:
                return False
        for key, seen in zip(keys, taken, strict=True):
            seen.add(tuple(clone[positions[column]] for column in key))
        return True

    def _fresh(self, value: Any, column: _Column, alone: bool) -> Any:
        if isinstance(value, bool) or value is None:
            return value
        if isinstance(value, (int, float, Decimal)):
            column.top = (column.high if column.top is None else column.top) + self.rng.choice((1, 1, 2))
            return type(value)(column.top) if alone else self.rng.choice(column.values) or value
        if isinstance(value, (datetime.date, datetime.timedelta)):
            return _jitter(value, column, self.rng, extreme=True)
        return _next_code(value, self.rng) if isinstance(value, str) else value


class _Column:
    """A column's values in the original, and what is asked of them often."""

    def __init__(self, values: list[Any]) -> None:
        self.values = values
        self.top: Any = None
        self.low: Any = None
        self.high: Any = None
        known = [value for value in values if value is not None]
        first = known[0] if known else None
        ordered = isinstance(first, (int, float, Decimal, datetime.date, datetime.timedelta)) and not isinstance(
            first, bool
        )
        if ordered:
            self.low, self.high = min(known), max(known)
        texts = [value for value in known if isinstance(value, str)]
        self.unique = len(texts) == len(values) > 1 and len(set(texts)) == len(texts)
        # Text that is a name, not a number, date, code or address in disguise: a suffix leaves it what it is.
        self.names = bool(texts) and all(text[:1].isalpha() and not _NO_NAME.search(text) for text in texts)
        self.places = max(
            (-int(v.as_tuple().exponent) for v in known if isinstance(v, Decimal) and v.is_finite()), default=2
        )


def _next_code(value: str, rng: random.Random) -> str:
    """A code of the same shape: letters for letters, digits for digits, from the second half on."""
    keep = len(value) // 2
    fresh = [rng.choice("0123456789") if c.isdigit() else rng.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ") if c.isupper() else
             rng.choice("abcdefghijklmnopqrstuvwxyz") if c.islower() else c for c in value[keep:]]  # fmt: skip
    return value[:keep] + "".join(fresh)


def _jitter(value: Any, column: _Column, rng: random.Random, extreme: bool) -> Any:
    """A value near another one, or one beyond all that the column holds."""
    low, high = column.low, column.high
    if isinstance(value, datetime.date):
        step = datetime.timedelta(days=rng.randint(1, 20))
        try:
            if not extreme:
                return min(max(value + rng.choice((-1, 1)) * step, low), high)
            # Each extreme lies beyond the last, so that no two tie.
            if rng.random() < 0.5:
                column.high = high + step
                return column.high
            column.low = low - step
            return column.low
        except OverflowError:
            return value
    if isinstance(value, datetime.timedelta):
        return value + datetime.timedelta(minutes=rng.randint(1, 90))
    if not isinstance(value, (int, float, Decimal)) or value != value or low is None:
        return rng.choice(column.values)
    kind: Any = type(value)
    spread = max((high - low) / 8, 1)
    if extreme:
        moved = high + kind(spread) if rng.random() < 0.6 or 0 <= low < spread else low - kind(spread)
        column.low, column.high = min(low, moved), max(high, moved)
    else:
        moved = value + rng.choice((-1, 1)) * kind(
            max(1, rng.random() * float(spread)) if kind is int else rng.random() * float(spread)
        )
    if isinstance(value, (float, Decimal)):
        moved = round(moved, column.places)
    return moved if low < 0 or moved >= 0 else abs(moved)
