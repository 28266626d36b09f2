"""The soak of the server, in short; and that it finds what it is there to find."""

from __future__ import annotations

import json
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from qwen_lightning.serving.answers import Answer
from qwen_lightning.serving.http.errors import HTTPFault
from tests.serving.live import Serve
from tools import soak_serving
from tools.demo.tiny import TinyDemo
from tools.soak.answers import Said, compare
from tools.soak.findings import Findings
from tools.soak.load import FAULTS, Tally
from tools.soak.throughput import Side, Throughput

FILES = ("task_sft", "general_sft", "persona_sft")


def soak(demo: TinyDemo, path: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    records = [str(demo.file(name)) for name in FILES]
    short = ["--answers", "80", "--questions", "24", "--max-tokens", "12", "--turn-seconds", "0.1", "--together", "6"]
    code = soak_serving.main(["--output", str(path), *short, "--records", *records, *arguments])
    return code, json.loads(path.read_text("utf-8"))


def test_a_server_stands_it(demo: TinyDemo, adapters: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    small = ["--running", "6", "--waiting", "3"]
    code, found = soak(
        demo, tmp_path / "R.json", "--adapters", str(adapters), "--clients", "16", "--seconds", "1", "--", *small
    )
    told, held = capfd.readouterr().out, found["conditions"]
    # Times, and with them the exit code, are the machine's.
    assert all(held[name] for name in held if name not in ("idle", "throughput", "memory")), told
    assert code == (not all(held.values()))
    assert {"idle", "throughput", "memory", *FAULTS} < held.keys()
    assert found["counts"]["whole"] + found["counts"]["stream"] >= 80
    assert found["counts"]["refused"] > 0
    assert found["adapters"].keys() == {"sql", "fc", "slot", "base"}
    assert found["metrics"]["adapter_loads_total"] == 3
    assert found["throughput"]["mixed"]["tokens"] > 0


def said(*tokens: str, head: tuple[str, str, str] = ("sql", "text2sql", "sql"), prompt: int = 9) -> Said:
    likely = [{"a": -0.5, "b": -0.50001, "c": -3.0} for _ in tokens]
    found = [(token, likely[0][token]) for token in tokens]
    return Said("id", head, "".join(tokens), [], found, likely, "stop", (prompt, len(tokens)))


def test_a_near_tie_excuses_another_token_and_nothing_else() -> None:
    alone = said("a", "a")
    for other, likeness in (
        (said("a", "a"), "same"),
        (said("a", "b", "c"), "near tie"),
        (said("a", "c"), "other"),
        (said("b", "c", head=("fc", "function_call", "fc")), "other"),
        (said("b", "a", prompt=10), "other"),
    ):
        assert compare(alone, other, False, 1e-4)[0] == likeness, other
    assert compare(alone, said("a", "b"), True, 1e-4)[0] == "other"


@pytest.mark.parametrize(("ties", "held"), [(1, True), (2, False)])
def test_near_ties_are_few(ties: int, held: bool) -> None:
    tally = Tally(Counter({"whole": 60, "stream": 40, "near tie": ties}))
    speed, metrics = Throughput(Side(1, 1.0), Side(1, 1.0)), {"failed_steps_total": 0.0}
    found = Findings(1, 1.0, tally, [], 0.0, metrics, speed, frozenset(), frozenset())
    assert {condition.name: condition.held for condition in found.conditions()}["ties"] is held


def test_it_finds_what_a_server_does_wrong(
    serve: Serve, demo: TinyDemo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server, steps, streams = serve(running=6, waiting=3), count(), count()
    step, ended, response = server.engine._batch.step, Answer.ended, HTTPFault.response

    def swapping(parts):  # type: ignore[no-untyped-def]
        tokens = step(parts)
        if len(tokens) > 4 and next(steps) % 10 == 0:
            (first, one), (second, other), *rest = tokens
            return [(first, other), (second, one), *rest]
        return tokens

    def cut(self, outcome):  # type: ignore[no-untyped-def]
        return [] if next(streams) % 10 == 0 else ended(self, outcome)

    def headless(self):  # type: ignore[no-untyped-def]
        answer = response(self)
        if self.status == 429:
            del answer.headers["retry-after"]
        return answer

    server.engine._batch.step = swapping  # type: ignore[method-assign]
    monkeypatch.setattr(Answer, "ended", cut)
    monkeypatch.setattr(HTTPFault, "response", headless)
    url = f"http://127.0.0.1:{server.port}"
    code, found = soak(demo, tmp_path / "R.json", "--url", url, "--clients", "16", "--seconds", "1")
    told = capsys.readouterr().out
    assert code == 1
    for kind, words in {"swapped": "its answer alone", "lost": "ended without", "error": "429 without"}.items():
        assert found["conditions"][kind] is False
        assert found["counts"][kind] > 0
        assert words in told
    assert "memory" not in found["conditions"]
