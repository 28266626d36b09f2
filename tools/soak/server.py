"""The server under test: started in a process of its own, and what that process takes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psutil
from prometheus_client.parser import text_string_to_metric_families

KEY = "key-of-the-soak"


@dataclass(frozen=True)
class Target:
    """A server.

    Args:
        url: Without `/v1`.
        key: API key that it wants.
        process: Its process, where it is known.
    """

    url: str
    key: str
    process: psutil.Process | None

    def rss(self) -> float:
        """Memory that is resident, in MiB."""
        assert self.process is not None
        return self.process.memory_info().rss / 2**20

    def cpu_seconds(self) -> float:
        """Processor time so far."""
        assert self.process is not None
        times = self.process.cpu_times()
        return times.user + times.system

    def metrics(self) -> dict[str, float]:
        """`/metrics` without prefix; completions by finish reason are `completions_total:REASON`."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=30) as answer:
            text = answer.read().decode()
        found = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                reason = sample.labels.get("reason")
                name = sample.name.removeprefix("qwen_lightning_")
                found[f"{name}:{reason}" if reason else name] = sample.value
        return found


@contextmanager
def serving(adapters: str, arguments: Sequence[str]) -> Iterator[Target]:
    """Run `serve` on a free port, with an API key; it is ended as an operator would, and must end cleanly.

    Raises:
        SystemExit: It does not start; its own words went to stderr.
    """
    environment = {**os.environ, "SOAK_KEY": KEY}
    command = [sys.executable, "-m", "qwen_lightning", "serve", "--adapters", adapters, "--port", "0"]
    with subprocess.Popen(
        [*command, "--api-key-env", "SOAK_KEY", *arguments], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            address = re.search(r"(http://\S+)/v1", process.stdout.readline())
            if address is None:
                raise SystemExit("the server did not start")
            yield Target(address[1], KEY, psutil.Process(process.pid))
            process.terminate()
            if process.wait(60):
                raise SystemExit(f"the server ended with exit code {process.returncode}")
        finally:
            process.kill()
