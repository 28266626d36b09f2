"""How many tokens' keys and values are held."""

from __future__ import annotations

import pytest

from qwen_lightning.errors import ConfigError
from qwen_lightning.rollout.grouped.memory import token_bytes, working_bytes
from qwen_lightning.serving.engine import runner
from qwen_lightning.serving.engine.weights import BARE
from qwen_lightning.serving.generation import Generation, Sampling
from tests.serving.conftest import MakeEngine


def test_a_cpus_store_is_what_can_be_needed(make_engine: MakeEngine) -> None:
    assert make_engine(running=4, length=100).stats().cache_tokens == 4 * 112  # whole blocks
    engine = make_engine()
    assert engine.stats().cache_tokens == 65536  # 64 of 1,024
    assert engine.max_length == 1024


def test_a_gpus_store_is_planned_by_what_is_free(make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = make_engine()._batch.runner.decoder
    beside, held = working_bytes(decoder, 64), token_bytes(decoder) * (decoder.layers + 2) // decoder.layers

    def with_free(tokens: int) -> int:
        monkeypatch.setattr(runner, "free_memory", lambda device: int((beside + tokens * held) / 0.9) + 1000)
        return make_engine(length=1024).stats().cache_tokens

    assert with_free(5000) == 4992
    assert with_free(10**6) == 65536  # no more than can be needed
    with pytest.raises(ConfigError, match="keys and values of 992 tokens are held; raise cache_tokens"):
        with_free(1000)
    monkeypatch.setattr(runner, "free_memory", lambda device: 1000)
    with pytest.raises(ConfigError, match="there is memory for 0 tokens' keys and values"):
        make_engine()


def test_singles_attend_with_those_of_like_length(make_engine: MakeEngine) -> None:
    engine = make_engine()
    running = [
        runner.Running(
            Generation([5] * length, None, Sampling(), lambda _: None), BARE, engine._batch.runner.kv.take(600)
        )
        for length in (2, 255, 256, 511, 512)
    ]
    for one in running:
        one.computed = len(one.ids) - 1
    assert [runner.Part(one, 1).bucket for one in running] == [8, 8, 9, 9, 10]
    running[0].computed = 0
    assert runner.Part(running[0], 2).bucket == -1
