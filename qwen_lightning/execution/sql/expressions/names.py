"""What names in expressions mean."""

from __future__ import annotations

from sqlglot import exp

from qwen_lightning.execution.sql.binding import Relation, Resolved, Scope
from qwen_lightning.execution.sql.catalog import (
    ANY_TYPE,
)
from qwen_lightning.execution.sql.ddl import fold
from qwen_lightning.execution.sql.expressions.base import (
    ExpressionBase,
)


class Names(ExpressionBase):
    """What names in expressions mean."""

    def relation(self, column: exp.Column, scope: Scope) -> Relation | None:
        """The relation that a column's qualifier means."""
        name, around, hidden = fold(column.args.get("table")), scope, False
        current: Scope | None = around
        while current is not None:
            for relation in current.seen():
                if relation.name == name:
                    return relation
            hidden = hidden or any(relation.name == name for relation in current.relations)
            current = current.outer
        if hidden or name in self.binder.query_aliases or name in self.binder.schema.tables:
            self.findings.fault(
                f'invalid reference to FROM-clause entry for table "{name}"'
                if hidden
                else f'missing FROM-clause entry for table "{name}"'
            )
        else:
            self.findings.miss(f'missing FROM-clause entry for table "{name}"')
        return None

    def finds(self, column: exp.Column, scope: Scope) -> bool:
        """Whether a bare name is an input column of this scope."""
        name = fold(column.this)
        return name in scope.merged or any(relation.open or relation.find(name) for relation in scope.relations)

    def _column(self, node: exp.Column, scope: Scope, clause: str) -> str:
        if isinstance(node.this, exp.Star):
            self.relation(node, scope)
            return ANY_TYPE
        if node.args.get("table") is not None:
            return self._qualified(node, scope)
        name = fold(node.this)
        current: Scope | None = scope
        while current is not None:
            if name in current.merged:
                holder = next(r for r in current.relations if r.find(name))
                self.findings.resolved[id(node)] = Resolved(current, holder, holder.find(name) or current.merged[name])
                return current.merged[name].type
            found = [(relation, output) for relation in current.seen() if (output := relation.find(name)) is not None]
            if len(found) > 1:
                self.findings.fault(f'column reference "{name}" is ambiguous')
            if found:
                relation, output = found[0]
                self.findings.resolved[id(node)] = Resolved(current, relation, output)
                return output.type
            if any(relation.open for relation in current.seen()) or any(
                relation.name == name for relation in current.seen()
            ):
                return ANY_TYPE
            current = current.outer
        self.unknown_column(node, scope)
        return ANY_TYPE

    def _qualified(self, node: exp.Column, scope: Scope) -> str:
        relation = self.relation(node, scope)
        if relation is None:
            return ANY_TYPE
        name = fold(node.this)
        output = relation.find(name)
        if output is None:
            if not relation.open:
                self.findings.miss(f"column {relation.name}.{name} does not exist")
            return ANY_TYPE
        current: Scope | None = scope
        while current is not None and relation not in current.relations:
            current = current.outer
        self.findings.resolved[id(node)] = Resolved(current or scope, relation, output)
        return output.type

    def unknown_column(self, node: exp.Column, scope: Scope | None) -> None:
        """A bare name that leads nowhere: an output alias or a name out of sight is a fault, any other is missing."""
        name = fold(node.this)
        current = scope
        while current is not None:
            if name in current.aliases:
                self.findings.fault(f'column "{name}" does not exist here: it is an output name')
                return
            if any(relation.find(name) for relation in current.relations):
                self.findings.fault(f'column "{name}" cannot be referenced from this part of the query')
                return
            current = current.outer
        self.findings.miss(f'column "{name}" does not exist')
