"""What names mean: relations, scopes, and what was found out about a query while its names were bound."""

from __future__ import annotations

from dataclasses import dataclass, field

from qwen_lightning.execution.sql.catalog import ANY_TYPE
from qwen_lightning.execution.sql.wanted import Wanted


@dataclass(frozen=True, slots=True)
class Call:
    """A function call: its name, the types of its arguments and of its result."""

    name: str
    arguments: tuple[str, ...]
    result: str


@dataclass(frozen=True, slots=True)
class Output:
    """A column that a query returns. `source` is the (table, column) whose values it passes on."""

    name: str
    type: str
    constant: bool = False
    source: tuple[str, str] | None = None


@dataclass(slots=True, eq=False)
class Relation:
    """What a FROM item offers. An open relation has columns that could not be inferred."""

    name: str
    columns: list[Output]
    table: str | None = None
    open: bool = False
    group: int = 0

    def find(self, column: str) -> Output | None:
        """The column of that name."""
        return next((output for output in self.columns if output.name == column), None)


@dataclass(slots=True, eq=False)
class Scope:
    """The relations that names of one SELECT can mean, and the scope around it."""

    outer: Scope | None = None
    relations: list[Relation] = field(default_factory=list)
    merged: dict[str, Output] = field(default_factory=dict)
    aliases: set[str] = field(default_factory=set)
    # While the FROM clause is bound: the comma-separated item whose relations an ON may name; None: all.
    group: int | None = None

    def seen(self) -> list[Relation]:
        """The relations in sight."""
        return [r for r in self.relations if self.group is None or r.group == self.group]


@dataclass(frozen=True, slots=True)
class Resolved:
    """Where a column name leads: the scope, the relation there, the column."""

    scope: Scope
    relation: Relation
    output: Output


@dataclass(slots=True)
class Findings:
    """Everything that binding a query brings to light."""

    faults: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    calls: dict[int, Call] = field(default_factory=dict)
    wanted: Wanted = field(default_factory=Wanted)
    resolved: dict[int, Resolved] = field(default_factory=dict)
    # Positions in the text of columns that stand ungrouped because a grouped primary key determines them.
    dependent: set[int] = field(default_factory=set)
    volatile: bool = False
    order_dependent: bool = False

    def fault(self, message: str) -> None:
        """Something that Postgres refuses."""
        if message not in self.faults:
            self.faults.append(message)

    def miss(self, message: str) -> None:
        """A table or column that the schema lacks."""
        if message not in self.missing:
            self.missing.append(message)
        self.fault(message)

    def alien(self, message: str) -> None:
        """Syntax or a function that is not Postgres's."""
        if message not in self.foreign:
            self.foreign.append(message)
        self.fault(message)


UNKNOWN_OUTPUT = Output("?", ANY_TYPE)
