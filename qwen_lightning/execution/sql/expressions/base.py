"""What the parts of the expression binder share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from qwen_lightning.execution.sql.binding import Findings, Output, Relation, Scope

if TYPE_CHECKING:
    from qwen_lightning.execution.sql.binder import Binder

CLAUSES_WITHOUT_AGGREGATES = frozenset({"WHERE", "JOIN", "GROUP BY", "FROM", "VALUES", "FILTER"})
CLAUSES_WITHOUT_WINDOWS = frozenset({"WHERE", "JOIN", "GROUP BY", "HAVING", "FROM", "VALUES"})


class ExpressionBase(ABC):
    """State of one query's expressions, and the steps that its parts call on each other.

    Args:
        binder: Binds subqueries.
        findings: Where faults go.
    """

    def __init__(self, binder: Binder, findings: Findings) -> None:
        self.binder, self.findings = binder, findings
        self.ctes: Mapping[str, tuple[list[Output], frozenset[str]]] = {}
        self.windows: set[str] = set()
        self.inside_aggregate = 0

    @abstractmethod
    def type_of(self, node: Any, scope: Scope, clause: str) -> str:
        """The type of an expression; what Postgres would refuse in it goes to the findings."""

    @abstractmethod
    def boolean(self, node: exp.Expr, scope: Scope, clause: str) -> None:
        """Bind a condition."""

    @abstractmethod
    def relation(self, column: exp.Column, scope: Scope) -> Relation | None:
        """The relation that a column's qualifier means."""

    @abstractmethod
    def _apply(self, symbol: str, left: str, right: str, left_node: Any, right_node: Any) -> str:
        """The result type of an operator."""

    @abstractmethod
    def _fits(self, literal: exp.Literal, kind: str) -> None:
        """Whether a string literal can be read as a type: Postgres tries while it plans."""

    @abstractmethod
    def _common(self, word: str, kinds: list[str]) -> str:
        """The type that several expressions resolve to."""
