"""The executors of Cypher: ArcadeDB as the embedded default, Neo4j where an address is configured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from qwen_lightning.errors import ConfigError
from qwen_lightning.execution.cypher.graph import graph_names, graph_path
from qwen_lightning.execution.cypher.judge import CypherJudge
from qwen_lightning.execution.pool import WorkerPool
from qwen_lightning.execution.pooled import PooledExecutor
from qwen_lightning.execution.worker import WorkerSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class ArcadeDBSpec(WorkerSpec):
    """A worker with ArcadeDB on the graphs of a folder, in `variants` variants each."""

    databases: str
    variants: int

    def build(self) -> CypherJudge:
        from qwen_lightning.execution.cypher.arcadedb_engine import ArcadeDBEngine

        return CypherJudge(ArcadeDBEngine(Path(self.databases), self.variants, self.timeout_s), self.timeout_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Neo4jSpec(WorkerSpec):
    """A worker with connections to a Neo4j server."""

    url: str
    user: str
    password: str
    databases: str
    graph: str
    variants: int

    def build(self) -> CypherJudge:
        from qwen_lightning.execution.cypher.neo4j_engine import Neo4jEngine

        folder = Path(self.databases) if self.databases else None
        engine = Neo4jEngine(self.url, self.user, self.password, folder, self.graph, self.variants, self.timeout_s)
        return CypherJudge(engine, self.timeout_s)


class ArcadeDBExecutor(PooledExecutor):
    """Judges Cypher on ArcadeDB, in worker processes with a Java machine each (about 300 MB).

    Args:
        databases: Databases folder (`<name>.cypher`); None: static checks alone.
        workers: Worker processes.
        timeout_s: Limit of one query, seconds.
        variants: Variants of the data on which `match` must hold, the original included.
        recycle_after: Jobs after which a worker is replaced.
    """

    def __init__(
        self,
        databases: str | Path | None = None,
        workers: int = 2,
        timeout_s: float = 2.0,
        variants: int = 3,
        recycle_after: int = 20000,
    ) -> None:
        self.databases = _checked(databases, workers, variants, timeout_s)
        spec = ArcadeDBSpec(databases=str(self.databases or ""), variants=variants, timeout_s=timeout_s)
        self._pool = WorkerPool(spec, workers, recycle_after)

    def has_database(self, name: str) -> bool:
        return graph_path(self.databases, name) is not None

    def database_names(self) -> list[str]:
        return graph_names(self.databases)

    def close(self) -> None:
        super().close()
        if self._pool.was_started:
            from qwen_lightning.execution.cypher.scratch import sweep

            sweep()


class Neo4jExecutor(PooledExecutor):
    """Judges Cypher on a real Neo4j 5, with the same checks.

    Nothing is ever written to the server. Without `databases`, queries run in read transactions on the graph that it
    holds, and `match` is decided on that alone, which the detail says. With `databases`, the server must be empty:
    each worker makes the graphs and their variants in transactions that it never commits and that nobody else sees.

    Args:
        url: `neo4j://host:port` or `bolt://host:port`.
        user: Its user; empty where the server asks for none.
        password: The user's password.
        databases: Databases folder (`<name>.cypher`), for an empty server.
        graph: Name by which records call the graph that the server's home database holds; without it, a record's
            database is the server's database of that name.
        workers: Worker processes.
        timeout_s: Limit of one query, seconds.
        variants: Variants of the data on which `match` must hold, the original included.
        recycle_after: Jobs after which a worker is replaced.
    """

    def __init__(
        self,
        url: str,
        user: str = "",
        password: str = "",
        databases: str | Path | None = None,
        graph: str = "",
        workers: int = 2,
        timeout_s: float = 2.0,
        variants: int = 3,
        recycle_after: int = 20000,
    ) -> None:
        self.databases = _checked(databases, workers, variants, timeout_s)
        if graph and databases is not None:
            raise ConfigError("Neo4jExecutor takes databases (an empty server) or graph (one that holds it), not both")
        self.url, self.user, self.password, self.graph = url, user, password, graph
        self._known: frozenset[str] | None = None
        spec = Neo4jSpec(
            url=url,
            user=user,
            password=password,
            databases=str(self.databases or ""),
            graph=graph,
            variants=variants,
            timeout_s=timeout_s,
        )
        self._pool = WorkerPool(spec, workers, recycle_after)

    def has_database(self, name: str) -> bool:
        if self.databases is not None:
            return graph_path(self.databases, name) is not None
        return name in self._on_server()

    def database_names(self) -> list[str]:
        return graph_names(self.databases) if self.databases is not None else sorted(self._on_server())

    def _on_server(self) -> frozenset[str]:
        if self.graph:
            return frozenset({self.graph})
        if self._known is None:
            from qwen_lightning.execution.cypher.neo4j_connection import databases_on

            self._known = databases_on(self.url, self.user, self.password)
        return self._known


def _checked(databases: str | Path | None, workers: int, variants: int, timeout_s: float) -> Path | None:
    if databases is not None and not Path(databases).is_dir():
        raise ConfigError(f"databases folder {databases} is not there; give a folder of <name>.cypher")
    if workers < 1 or variants < 1 or timeout_s <= 0:
        raise ConfigError("workers and variants are at least 1, timeout_s is above 0")
    return None if databases is None else Path(databases).resolve()
