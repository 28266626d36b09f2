"""Connections to a Neo4j server."""

from __future__ import annotations

import logging
from typing import Any

from qwen_lightning.errors import ExecutionError

OWN_S = 60.0  # limit of what is no model's query, over the server's own, which a cold server passes


def connect(url: str, user: str, password: str) -> Any:
    """A driver whose server answers.

    Raises:
        ExecutionError: The server cannot be reached; the message says how to start one.
    """
    import neo4j

    logging.getLogger("neo4j").setLevel(logging.ERROR)
    try:
        driver = neo4j.GraphDatabase.driver(url, auth=(user, password) if user else None, connection_timeout=10)
        driver.verify_connectivity()
    except (neo4j.exceptions.DriverError, neo4j.exceptions.Neo4jError, ValueError) as error:
        raise ExecutionError(
            f"Neo4j at {url} cannot be used: {reason(error)}; start the server (bash tools/neo4j/start.sh brings up "
            "one) or mend url, user and password"
        ) from None
    return driver


def databases_on(url: str, user: str, password: str) -> frozenset[str]:
    """The names of a server's databases.

    Raises:
        ExecutionError: The server cannot be reached.
    """
    driver = connect(url, user, password)
    with driver, driver.session(database="system") as session:
        return frozenset(
            str(record["name"]) for record in session.run("SHOW DATABASES YIELD name WHERE name <> 'system'")
        )


def reason(error: Exception) -> str:
    """What an error of the driver says, in one line."""
    return " ".join((getattr(error, "message", None) or str(error) or type(error).__name__).split())[:200]
