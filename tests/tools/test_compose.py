"""The compose files, as Compose itself reads them, and the commands in them as ours."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from qwen_lightning.commands import serve
from qwen_lightning.commands.workbench import load_workbench
from tests.conftest import REPOSITORY

FILE, NEO4J = REPOSITORY / "tools" / "compose.yaml", REPOSITORY / "tools" / "neo4j" / "compose.yaml"


@pytest.fixture(scope="module")
def compose() -> list[str]:
    """Compose as a plugin of docker, or on its own."""
    if shutil.which("docker") and not subprocess.run(["docker", "compose", "version"], capture_output=True).returncode:
        return ["docker", "compose"]
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    missing = "neither docker compose nor docker-compose is there"
    return (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)


def read(compose: list[str], path: Path, **variables: str) -> dict[str, Any]:
    """The services after variables and `extends`; a file that Compose refuses fails."""
    done = subprocess.run(
        [*compose, "-f", str(path), "config"], env={**os.environ, **variables}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return yaml.safe_load(done.stdout)["services"]


@pytest.fixture(scope="module")
def services(compose: list[str]) -> dict[str, Any]:
    return read(compose, FILE, ADAPTERS="demo/adapters", DATABASES="demo/databases", FOLDER="/srv/here")


def test_the_server_is_started_as_the_command_wants_it(services: dict[str, Any]) -> None:
    said = services["server"]
    assert said["command"][0] == "serve"
    parser = argparse.ArgumentParser(exit_on_error=False)
    serve.add_arguments(parser)
    args = parser.parse_args(said["command"][1:])
    assert (args.adapters, args.databases, args.host) == ("demo/adapters", "demo/databases", "0.0.0.0")
    assert args.api_key_env in said["environment"]
    assert args.port == 8000
    assert "8000" in str(said["ports"])
    assert "/srv/here" in str(said["volumes"][0])
    devices = said["deploy"]["resources"]["reservations"]["devices"]
    assert [(device["driver"], device["capabilities"]) for device in devices] == [("nvidia", ["gpu"])]


def test_the_server_asks_the_neo4j_that_is_started_where_it_is_told_to(
    compose: list[str], services: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def config_of(said: dict[str, Any]) -> str:
        return said["server"]["command"][said["server"]["command"].index("--config") + 1]

    monkeypatch.chdir(REPOSITORY)  # where the image runs has the same paths
    assert load_workbench([config_of(services)])[0]["text2cypher"].executor is None
    chosen = read(compose, FILE, CONFIG="configs/serving/neo4j.yaml")
    executor = load_workbench([config_of(chosen)])[0]["text2cypher"].executor
    address = urlsplit(executor.url)
    assert address.scheme == "bolt"
    assert str(address.port) in str(chosen[address.hostname]["ports"])
    assert str(address.port) in str(chosen[address.hostname]["healthcheck"]["test"])


def test_both_files_start_the_same_neo4j(compose: list[str], services: dict[str, Any]) -> None:
    of_all, alone = services["neo4j"], read(compose, NEO4J)["neo4j"]
    assert of_all["image"].startswith("neo4j:5.26")
    for name in ("image", "environment", "ports"):
        assert of_all[name] == alone[name]


def test_all_services_that_are_ours_run_the_image_that_the_dockerfile_makes(services: dict[str, Any]) -> None:
    assert sorted(services) == ["neo4j", "server", "tensorboard"]
    for name in ("server", "tensorboard"):
        assert services[name]["image"] == "qwen_lightning"
        context = services[name]["build"]["context"]
        assert (Path(context) / "Dockerfile").is_file()
    assert services["tensorboard"]["entrypoint"] == ["tensorboard"]
