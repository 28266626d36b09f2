"""What the analysis of one query finds on its way."""

from __future__ import annotations

from dataclasses import dataclass, field

Literal = str | int | float | bool


@dataclass(slots=True)
class Findings:
    """Faults and facts, in the order of their finding.

    Args:
        refused: What Neo4j's compiler would refuse.
        missing: What does not fit the schema.
        reads: Labels and relationship types that patterns can mean.
        literals: (label or type, property, value) compared.
        volatile: A call's value changes without a change of the data.
        order_dependent: The order of rows that no ORDER BY fixes can change the result.
    """

    refused: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    reads: set[str] = field(default_factory=set)
    literals: set[tuple[str, str, Literal]] = field(default_factory=set)
    volatile: bool = False
    order_dependent: bool = False

    def refuse(self, message: str) -> None:
        """Note what Neo4j would refuse, once."""
        if message not in self.refused:
            self.refused.append(message)

    def miss(self, message: str) -> None:
        """Note what the schema does not have, once."""
        if message not in self.missing:
            self.missing.append(message)
