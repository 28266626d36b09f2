"""Executors that tests share, and a throwaway Postgres."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from qwen_lightning.execution.sql.executors import DuckDBExecutor
from tests.execution.sql.cases import DATABASES


@pytest.fixture(scope="session")
def duckdb_executor() -> Iterator[DuckDBExecutor]:
    executor = DuckDBExecutor(DATABASES, workers=2)
    yield executor
    executor.close()


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Postgres server: addresses of its superuser and of a plain role, the latter with a scratch database."""

    superuser: str
    reader: str
    scratch: str


def _binaries() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else None


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with the fixture databases, started for the session; initdb refuses to run as root."""
    import psycopg

    binaries = _binaries()
    if binaries is None:
        if os.environ.get("CI"):
            pytest.fail("Postgres is not installed; apt-get install postgresql")
        pytest.skip("Postgres is not installed; apt-get install postgresql")
    folder = Path(subprocess.check_output(["mktemp", "-d", "/tmp/qwen_pg_XXXXXX"], text=True).strip())
    account = None
    if os.geteuid() == 0:
        names = {entry.pw_name for entry in pwd.getpwall()}
        account = "postgres" if "postgres" in names else "nobody"
        shutil.chown(folder, account)

    def command(*words: str) -> None:
        line = (
            ["su", "-s", "/bin/sh", account, "-c", " ".join(words)] if account else ["/bin/sh", "-c", " ".join(words)]
        )
        subprocess.run(line, check=True, capture_output=True, cwd="/")

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data = folder / "data"
    options = f"'-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off -c shared_buffers=32MB'"
    command(str(binaries / "initdb"), "-D", str(data), "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C")
    command(str(binaries / "pg_ctl"), "-D", str(data), "-o", options, "-l", str(folder / "log"), "-w", "start")
    try:
        superuser = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        with psycopg.connect(superuser, autocommit=True) as connection:
            connection.execute("CREATE ROLE reader LOGIN")
            connection.execute("CREATE DATABASE scratch OWNER reader")
            for path in sorted(DATABASES.glob("*.sql")):
                connection.execute(f'CREATE DATABASE "{path.stem}"')
                with psycopg.connect(f"postgresql://postgres@127.0.0.1:{port}/{path.stem}", autocommit=True) as inner:
                    inner.execute(path.read_text(encoding="utf-8"))
                    inner.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
        yield Cluster(
            superuser, f"postgresql://reader@127.0.0.1:{port}/postgres", f"postgresql://reader@127.0.0.1:{port}/scratch"
        )
    finally:
        command(str(binaries / "pg_ctl"), "-D", str(data), "-m", "immediate", "-w", "stop")
        shutil.rmtree(folder)
