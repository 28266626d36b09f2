"""The executors of SQL: DuckDB as the embedded default, Postgres where an address is configured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from qwen_lightning.errors import ConfigError
from qwen_lightning.execution.pool import WorkerPool
from qwen_lightning.execution.pooled import PooledExecutor
from qwen_lightning.execution.sql.judge import SQLJudge
from qwen_lightning.execution.worker import WorkerSpec

_GIGABYTE = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class DuckDBSpec(WorkerSpec):
    """A worker with DuckDB on the databases of a folder, in `variants` variants each."""

    databases: str
    variants: int

    def build(self) -> SQLJudge:
        from qwen_lightning.execution.sql.duckdb_engine import DuckDBEngine

        return SQLJudge(DuckDBEngine(Path(self.databases), self.variants), self.timeout_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresSpec(WorkerSpec):
    """A worker with connections to a Postgres server; variants are built at `scratch_url` from a databases folder."""

    databases: str
    variants: int
    url: str
    scratch_url: str

    def build(self) -> SQLJudge:
        from qwen_lightning.execution.sql.postgres_engine import PostgresEngine

        folder = Path(self.databases) if self.databases else None
        engine = PostgresEngine(self.url, folder, self.scratch_url, self.variants, self.timeout_s)
        return SQLJudge(engine, self.timeout_s)


class DuckDBExecutor(PooledExecutor):
    """Judges SQL on DuckDB, translated from Postgres, in sandboxed worker processes.

    Args:
        databases: Databases folder (`<name>.sql` or `<name>.duckdb`); None: static checks alone.
        workers: Worker processes.
        timeout_s: Limit of one query, seconds.
        variants: Variants of the data on which `match` must hold, the original included.
        memory_gb: Limit of a worker's address space.
        recycle_after: Jobs after which a worker is replaced.
    """

    def __init__(
        self,
        databases: str | Path | None = None,
        workers: int = 2,
        timeout_s: float = 2.0,
        variants: int = 3,
        memory_gb: float = 3.0,
        recycle_after: int = 5000,
    ) -> None:
        if databases is not None and not Path(databases).is_dir():
            raise ConfigError(
                f"databases folder {databases} is not there; give a folder of <name>.sql or <name>.duckdb"
            )
        if workers < 1 or variants < 1 or timeout_s <= 0:
            raise ConfigError("workers and variants are at least 1, timeout_s is above 0")
        self.databases = None if databases is None else Path(databases).resolve()
        spec = DuckDBSpec(
            databases=str(self.databases or ""),
            variants=variants,
            timeout_s=timeout_s,
            memory_bytes=int(memory_gb * _GIGABYTE),
        )
        self._pool = WorkerPool(spec, workers, recycle_after)

    def has_database(self, name: str) -> bool:
        return database_path(self.databases, name) is not None

    def database_names(self) -> list[str]:
        return _names(self.databases)


class PostgresExecutor(PooledExecutor):
    """Judges SQL on a real Postgres, with the same checks.

    Args:
        url: `postgresql://user:password@host:port/database`. The role must be no superuser. A record's database is the
            server's database of that name, or the schema of that name in the address's own database.
        databases: Databases folder, from which variants of the data are built.
        scratch_url: Address of a database in which the role may create schemas; without it (or without a databases
            folder) `match` is decided on the original data alone, and the detail says so.
        workers: Worker processes.
        timeout_s: Limit of one query, seconds.
        variants: Variants of the data on which `match` must hold, the original included.
        memory_gb: Limit of a worker's address space.
        recycle_after: Jobs after which a worker is replaced.
    """

    def __init__(
        self,
        url: str,
        databases: str | Path | None = None,
        scratch_url: str = "",
        workers: int = 2,
        timeout_s: float = 2.0,
        variants: int = 3,
        memory_gb: float = 3.0,
        recycle_after: int = 5000,
    ) -> None:
        if databases is not None and not Path(databases).is_dir():
            raise ConfigError(
                f"databases folder {databases} is not there; give a folder of <name>.sql or <name>.duckdb"
            )
        if workers < 1 or variants < 1 or timeout_s <= 0:
            raise ConfigError("workers and variants are at least 1, timeout_s is above 0")
        self.url, self.scratch_url = url, scratch_url
        self.databases = None if databases is None else Path(databases).resolve()
        self._known: set[str] | None = None
        spec = PostgresSpec(
            databases=str(self.databases or ""),
            variants=variants,
            timeout_s=timeout_s,
            memory_bytes=int(memory_gb * _GIGABYTE),
            url=url,
            scratch_url=scratch_url,
        )
        self._pool = WorkerPool(spec, workers, recycle_after)

    def has_database(self, name: str) -> bool:
        return name in self._on_server() or (bool(self.scratch_url) and database_path(self.databases, name) is not None)

    def database_names(self) -> list[str]:
        return sorted(self._on_server() | set(_names(self.databases) if self.scratch_url else ()))

    def _on_server(self) -> set[str]:
        if self._known is None:
            from qwen_lightning.execution.sql.postgres_engine import databases_on

            self._known = set().union(*databases_on(self.url))
        return self._known

    def close(self) -> None:
        super().close()
        if self.scratch_url and self._pool.was_started:
            from qwen_lightning.execution.sql.postgres_engine import drop_abandoned

            drop_abandoned(self.scratch_url)


def _names(folder: Path | None) -> list[str]:
    """The databases in a databases folder."""
    files = folder.iterdir() if folder is not None else ()
    return sorted({path.stem for path in files if path.suffix in (".sql", ".duckdb") and path.is_file()})


def database_path(folder: Path | None, name: str) -> Path | None:
    """The file of a database in a databases folder."""
    if folder is None or Path(name).name != name:
        return None
    return next((path for suffix in (".sql", ".duckdb") if (path := folder / (name + suffix)).is_file()), None)
