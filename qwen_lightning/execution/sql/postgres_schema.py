"""The DDL of what a Postgres role can read, from the server's catalog."""

from __future__ import annotations

from typing import Any

import psycopg

# Tables and views that stand in the search path, outside of the server's own.
_VISIBLE = """
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND NOT c.relispartition
    AND pg_catalog.pg_table_is_visible(c.oid)
    AND (has_table_privilege(c.oid, 'SELECT') OR has_any_column_privilege(c.oid, 'SELECT'))
"""
_COLUMNS = f"""
    SELECT quote_ident(v.relname), string_agg(
        quote_ident(a.attname) || ' ' || format_type(a.atttypid, a.atttypmod)
        || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END, E',\n  ' ORDER BY a.attnum)
    FROM (SELECT c.oid, c.relname {_VISIBLE} AND c.relkind IN ('r', 'p', 'f')) v
    JOIN pg_catalog.pg_attribute a ON a.attrelid = v.oid AND a.attnum > 0 AND NOT a.attisdropped
    GROUP BY v.oid, v.relname ORDER BY v.relname
"""
_KEYS = f"""
    SELECT quote_ident(v.relname), pg_get_constraintdef(k.oid)
    FROM (SELECT c.oid, c.relname {_VISIBLE}) v JOIN pg_catalog.pg_constraint k ON k.conrelid = v.oid
    WHERE k.contype IN ('p', 'u', 'f') ORDER BY k.contype <> 'p', k.conname
"""
_VIEWS = f"""
    SELECT quote_ident(c.relname), pg_get_viewdef(c.oid)
    {_VISIBLE} AND c.relkind IN ('v', 'm') ORDER BY c.relname
"""


def read_ddl(connection: psycopg.Connection[Any]) -> str:
    """CREATE TABLE and CREATE VIEW of what the role can read along its search path; empty where there is nothing."""
    parts = {name: [columns] for name, columns in connection.execute(_COLUMNS).fetchall()}
    for name, key in connection.execute(_KEYS).fetchall():
        if name in parts:
            parts[name].append(key)
    made = ["CREATE TABLE {} (\n  {}\n);".format(name, ",\n  ".join(lines)) for name, lines in parts.items()]
    for name, query in connection.execute(_VIEWS).fetchall():
        made.append(f"CREATE VIEW {name} AS\n{query.strip().rstrip(';')};")
    return "\n".join(made)
