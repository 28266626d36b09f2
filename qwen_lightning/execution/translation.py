"""Postgres to DuckDB: sqlglot's translation, with what it leaves silently different put right or refused."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping

from sqlglot import exp
from sqlglot.errors import SqlglotError

from qwen_lightning.execution.binding import Call
from qwen_lightning.execution.ddl import fold

# Now is frozen for the life of a worker, so that gold and completion see the same clock.
_NOW = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)


class Untranslatable(Exception):
    """DuckDB lacks, or silently does differently, what the query uses; the message names it."""


def to_duckdb(native: exp.Expression, calls: Mapping[int, Call], namespace: str) -> str:
    """DuckDB text of a query.

    Args:
        native: sqlglot's tree of the Postgres query.
        calls: The query's function calls with their types, by position in the text.
        namespace: The DuckDB schema that holds the tables.

    Raises:
        Untranslatable: The query needs what DuckDB has not.
    """
    tree = native.copy()
    for table in list(tree.find_all(exp.Table)):
        if isinstance(table.this, exp.Identifier) and not is_cte_reference(table):
            table.set("db", exp.to_identifier(namespace, quoted=True))
            table.set("catalog", None)
    for column in tree.find_all(exp.Column):
        column.set("db", None)
        column.set("catalog", None)
    try:
        return tree.sql("duckdb")
    except (SqlglotError, RecursionError, ValueError) as error:
        raise Untranslatable(str(error).splitlines()[0][:120]) from None


def is_cte_reference(table: exp.Table) -> bool:
    """Whether a table name means a CTE that is in sight where it stands."""
    if table.args.get("db") is not None:
        return False
    name = fold(table.this)
    child: exp.Expression = table
    node = table.parent
    while node is not None:
        clause = node if isinstance(node, exp.With) else node.args.get("with_")
        if isinstance(node, exp.With):
            for cte in node.expressions:
                if cte is child:
                    if node.args.get("recursive") and fold(cte.args["alias"].this) == name:
                        return True
                    break
                if fold(cte.args["alias"].this) == name:
                    return True
            if node.args.get("recursive") and any(fold(cte.args["alias"].this) == name for cte in node.expressions):
                return True
        elif clause is not None and child is not clause and any(fold(cte.args["alias"].this) == name for cte in clause.expressions):
            return True
        child, node = node, node.parent
    return False
