"""A stage ends by what ends the pipeline, and is never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from qwen_lightning.errors import ConfigError
from qwen_lightning.pipeline.processes import Processes
from tests.conftest import REPOSITORY

_STAGE = """
import pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[1])
def end(number, frame):
    (folder / signal.Signals(number).name).touch()
    signal.signal(number, signal.SIG_DFL)
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, end)
(folder / "began").touch()
while not (folder / "finish").exists():
    time.sleep(0.01)
time.sleep(0.1)
sys.exit(4)
"""
_PIPELINE = """
import pathlib, sys
from qwen_lightning.pipeline.processes import Processes
folder, stage = pathlib.Path(sys.argv[1]), sys.argv[2]
with Processes(folder) as processes:
    sys.exit(processes.run([sys.executable, "-c", stage, str(folder)]))
"""


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def pipeline(tmp_path: Path) -> subprocess.Popen[bytes]:
    """A pipeline whose stage notes the signals that it gets, and ends when told to."""
    command = [sys.executable, "-c", _PIPELINE, str(tmp_path), _STAGE]
    process = subprocess.Popen(command, cwd=REPOSITORY, start_new_session=True)
    wait_for((tmp_path / "began").exists)
    return process


def end(folder: Path) -> None:
    (folder / "finish").touch()


@pytest.mark.parametrize("to", ["pipeline", "group"])
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_the_stage_and_never_twice_as_one_kind(
    pipeline: subprocess.Popen[bytes], tmp_path: Path, sent: signal.Signals, to: str
) -> None:
    other = signal.SIGINT if sent == signal.SIGTERM else signal.SIGTERM
    pipeline.send_signal(sent) if to == "pipeline" else os.killpg(pipeline.pid, sent)
    wait_for((tmp_path / other.name).exists)
    if to == "group":
        wait_for((tmp_path / sent.name).exists)
    end(tmp_path)
    assert pipeline.wait(60) == 4  # the stage's own end: a second signal of a kind would have killed it


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_a_stage_whose_pipeline_is_killed_is_told_to_end_and_waited_for(
    pipeline: subprocess.Popen[bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match=rf"another pipeline works there \(process {pipeline.pid}\)"):
        Processes(tmp_path).__enter__()
    pipeline.kill()
    pipeline.wait(60)
    wait_for((tmp_path / "SIGTERM").exists)
    threading.Timer(1, end, [tmp_path]).start()
    with Processes(tmp_path) as processes:
        assert "waiting for it" in capsys.readouterr().out
        assert (tmp_path / "finish").exists()
        assert processes.run([sys.executable, "-c", "import sys; sys.exit(3)"]) == 3
