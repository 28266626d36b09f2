"""What of a query's plan, as Neo4j itself tells it, is no reading of the graph.

A query's type does not tell it: to Neo4j, LOAD CSV and procedures that reach for files and addresses read too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from qwen_lightning.execution.cypher.functions import PROCEDURES

_READS = "r"
_PROCEDURE = "ProcedureCall"
# Operators that fetch files and addresses, ask other databases, or commit; by the beginnings of their names.
_OUTSIDE = ("LoadCSV", "RunQueryAt", "Transaction")
# A subquery inside an expression has no operators: it stands in the details of the one that has the expression.
# There strings are not told apart from code, so that one which speaks of LOAD CSV may be refused with it.
_NESTED = re.compile(r"\bLOAD\s+CSV\b|ResolvedCall\(([^(]*)", re.IGNORECASE)


def refusal(query_type: str | None, plan: Mapping[str, Any] | None) -> str:
    """Why a query is not run; empty where its plan reads the graph alone.

    Args:
        query_type: The type of the query in its summary.
        plan: The plan that EXPLAIN tells.
    """
    if query_type != _READS or plan is None:
        return "not a query that reads alone"
    for operator in _operators(plan):
        kind = str(operator.get("operatorType"))
        details = str(operator.get("args", {}).get("Details", ""))
        if kind.startswith(_OUTSIDE):
            return f"not a query that reads the graph alone: its plan has {kind.split('@')[0]}"
        if kind.startswith(_PROCEDURE) and not _is_known(details.split("(")[0]):
            return f"{details.split('(')[0][:80]} is none of the read procedures"
        for found in _NESTED.finditer(details):
            if found[1] is None or not _is_known(found[1]):
                return f"not a query that reads the graph alone: its plan has {found[0][:80]}"
    return ""


def _operators(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    left = [plan]
    while left:
        operator = left.pop()
        yield operator
        left += operator.get("children", ())


def _is_known(name: str) -> bool:
    return name.replace("`", "").strip().lower() in PROCEDURES
