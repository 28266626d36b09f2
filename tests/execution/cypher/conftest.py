"""Executors that tests share, and a throwaway Neo4j."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from qwen_lightning.execution.base import QueryExecutor
from qwen_lightning.execution.cypher.executors import ArcadeDBExecutor, Neo4jExecutor
from tests.execution.cypher.cases import FIXTURES

GRAPHS = FIXTURES / "graphs"
TOOLS = Path(__file__).parents[3] / "tools" / "neo4j"


@pytest.fixture(scope="session")
def neo4j_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An empty Neo4j server, started for the session by the tool that users start it with."""
    missing = [program for program in ("java", "mvn") if shutil.which(program) is None]
    if missing:
        if os.environ.get("CI"):
            pytest.fail(f"{' and '.join(missing)} missing; apt-get install default-jre-headless maven")
        pytest.skip(f"{' and '.join(missing)} missing; apt-get install default-jre-headless maven")
    home = tmp_path_factory.mktemp("neo4j")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["bash", str(TOOLS / "start.sh"), "--home", str(home), "--port", str(port), "--background"]
    started = subprocess.run(command, capture_output=True, text=True)
    assert started.returncode == 0, started.stderr
    yield started.stdout.strip()
    subprocess.run(["bash", str(TOOLS / "stop.sh"), "--home", str(home)], check=True)


@pytest.fixture(scope="session")
def arcadedb() -> Iterator[ArcadeDBExecutor]:
    executor = ArcadeDBExecutor(GRAPHS, workers=1)
    yield executor
    executor.close()


@pytest.fixture(scope="session")
def neo4j(neo4j_url: str) -> Iterator[Neo4jExecutor]:
    executor = Neo4jExecutor(neo4j_url, databases=GRAPHS, workers=1, timeout_s=5.0)  # it plans slowly at first
    yield executor
    executor.close()


@pytest.fixture(params=["arcadedb", "neo4j"])
def impatient(request: pytest.FixtureRequest) -> Iterator[QueryExecutor]:
    """Each engine in turn, with little time for a query."""
    if request.param == "arcadedb":
        executor: QueryExecutor = ArcadeDBExecutor(GRAPHS, workers=1, timeout_s=0.8)
    else:
        url = request.getfixturevalue("neo4j_url")
        executor = Neo4jExecutor(url, databases=GRAPHS, workers=1, timeout_s=0.8)
    yield executor
    executor.close()


@pytest.fixture(scope="session", params=["arcadedb", "neo4j"])
def executor(request: pytest.FixtureRequest) -> QueryExecutor:
    """Each engine in turn: the same cases must have the same verdicts."""
    found: QueryExecutor = request.getfixturevalue(request.param)
    return found
