"""The compose files, as Compose itself reads them, and the commands in them as ours."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from qwen_lightning.commands import serve
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


def test_what_compose_refuses_fails(compose: list[str], tmp_path: Path) -> None:
    broken = yaml.safe_load(FILE.read_text("utf-8"))
    broken["services"]["server"]["healtcheck"] = broken["services"]["server"].pop("healthcheck")
    path = tmp_path / "compose.yaml"
    path.write_text(yaml.safe_dump(broken), "utf-8")
    (tmp_path / "neo4j").mkdir()
    shutil.copy(NEO4J, tmp_path / "neo4j")
    with pytest.raises(AssertionError, match="healtcheck"):
        read(compose, path)


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
