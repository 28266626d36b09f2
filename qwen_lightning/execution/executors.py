"""The executors of SQL: DuckDB as the embedded default, Postgres where an address is configured."""

from __future__ import annotations

from pathlib import Path

from qwen_lightning.errors import ConfigError
from qwen_lightning.execution.base import QueryExecutor, QueryJob, QueryOutcome
from qwen_lightning.execution.pool import WorkerPool
from qwen_lightning.execution.worker import WorkerSpec

_GIGABYTE = 1 << 30


class DuckDBExecutor(QueryExecutor):
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
        self, databases: str | Path | None = None, workers: int = 2, timeout_s: float = 2.0, variants: int = 3, memory_gb: float = 3.0,
        recycle_after: int = 5000,
    ) -> None:  # fmt: skip
        if databases is not None and not Path(databases).is_dir():
            raise ConfigError(f"databases folder {databases} is not there; give a folder of <name>.sql or <name>.duckdb")
        if workers < 1 or variants < 1 or timeout_s <= 0:
            raise ConfigError("workers and variants are at least 1, timeout_s is above 0")
        self.databases = None if databases is None else Path(databases).resolve()
        spec = WorkerSpec("duckdb", str(self.databases or ""), variants, timeout_s, int(memory_gb * _GIGABYTE))
        self._pool = WorkerPool(spec, workers, recycle_after)

    def judge(self, job: QueryJob) -> QueryOutcome:
        return self._pool.judge(job)

    def has_database(self, name: str) -> bool:
        if self.databases is None or Path(name).name != name:
            return False
        return any((self.databases / (name + suffix)).is_file() for suffix in (".sql", ".duckdb"))

    def close(self) -> None:
        self._pool.close()
