"""What an engine keeps between rollouts, and gives back."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from qwen_lightning.errors import ConfigError
from qwen_lightning.models.chat import ChatRenderer
from qwen_lightning.models.memory import GIB
from qwen_lightning.models.policy import PolicyModel
from qwen_lightning.rollout.grouped import engine as engine_module
from qwen_lightning.rollout.grouped.engine import GroupedRollout
from qwen_lightning.rollout.grouped.session import DecodingSession

Prompts = list[list[int]]


@pytest.fixture
def no_collector() -> Iterator[None]:
    """What is not freed by counting references is found."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def free_is(monkeypatch: pytest.MonkeyPatch, gib: float) -> None:
    """Let the engine plan as on a GPU that has this much free."""
    monkeypatch.setattr(engine_module, "free_memory", lambda device: int(gib * GIB))


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("weights", ["bf16", "nf4"])
def test_what_is_released_is_gone_at_once(
    policy: PolicyModel, renderer: ChatRenderer, prompts: Prompts, weights: Any
) -> None:
    engine = GroupedRollout(weights)
    engine.generate(policy, renderer, prompts[:3], 2, 4)
    kept = [weakref.ref(engine._session), weakref.ref(engine._decoder)]
    assert all(reference() is not None for reference in kept)
    engine.close()
    assert [reference() for reference in kept] == [None, None]
    assert engine.generate(policy, renderer, prompts[:1], 1, 4, 0.0)  # makes it all anew


@pytest.mark.usefixtures("no_collector")
def test_buffers_go_before_larger_ones_come(
    policy: PolicyModel, renderer: ChatRenderer, prompts: Prompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: list[weakref.ref[DecodingSession]] = []

    class Watched(DecodingSession):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            assert not any(reference() for reference in alive)
            alive.append(weakref.ref(self))
            super().__init__(*args, **kwargs)

    monkeypatch.setattr(engine_module, "DecodingSession", Watched)
    engine = GroupedRollout()
    for count, tokens in ((1, 4), (3, 4), (2, 3), (4, 6)):
        engine.generate(policy, renderer, prompts[:count], 2, tokens)
    assert len(alive) == 3  # the third rollout found room in the second's
    engine.generate(policy, renderer, prompts, 40, 6)  # several batches, longest first
    assert len(alive) == 4


def test_buffers_stay_where_memory_is_left(
    policy: PolicyModel, renderer: ChatRenderer, prompts: Prompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = GroupedRollout("bf16", reserve_gib=14)
    for free, kept in ((20.0, True), (13.9, False), (14.0, True)):
        free_is(monkeypatch, free)
        engine.generate(policy, renderer, prompts[:2], 2, 4)
        assert (engine._session is not None) == kept


def test_a_copy_where_there_is_memory_for_it_and_the_update(
    policy: PolicyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    for weights, free, expected in (
        ("auto", 28.0, "resident"),
        ("auto", 28.1, "merged"),
        ("nf4", 80.0, "resident"),
        ("bf16", 1.0, "merged"),
    ):
        free_is(monkeypatch, free)
        engine = GroupedRollout(weights, reserve_gib=14)  # type: ignore[arg-type]
        assert engine.fingerprint(policy)["weights"] == expected
        free_is(monkeypatch, 54.0 - free)
        engine.release()
        assert engine.fingerprint(policy)["weights"] == expected  # of the same policy, for good


def test_too_little_memory_is_said(
    policy: PolicyModel, renderer: ChatRenderer, prompts: Prompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    free_is(monkeypatch, 1.0)
    with pytest.raises(ConfigError, match=r"1\.0 GiB of GPU memory are free, too little .*weights to nf4"):
        GroupedRollout("nf4").generate(policy, renderer, prompts, 2, 4)


def test_a_failed_rollout_leaves_an_engine_that_works(
    policy: PolicyModel, renderer: ChatRenderer, prompts: Prompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = GroupedRollout()
    expected = engine.generate(policy, renderer, prompts[:3], 1, 6, 0.0)
    with monkeypatch.context() as patch:

        def fail(*_: Any) -> None:
            raise KeyboardInterrupt

        patch.setattr(DecodingSession, "_cut", fail)
        with pytest.raises(KeyboardInterrupt):
            engine.generate(policy, renderer, prompts[::-1], 3, 5)
    found = engine.generate(policy, renderer, prompts[:3], 1, 6, 0.0)
    assert [group[0].ids for group in found] == [group[0].ids for group in expected]


def test_buffers_of_an_evaluation_serve_in_training(
    policy: PolicyModel, renderer: ChatRenderer, prompts: Prompts
) -> None:
    for weights in ("bf16", "nf4"):
        engine = GroupedRollout(weights)  # type: ignore[arg-type]
        with torch.inference_mode():  # as Lightning validates
            expected = engine.generate(policy, renderer, prompts[:3], 1, 6, 0.0)
        found = engine.generate(policy, renderer, prompts[:3], 1, 6, 0.0)
        assert [group[0].ids for group in found] == [group[0].ids for group in expected]


def test_a_used_engine_can_be_copied_and_sent(policy: PolicyModel, renderer: ChatRenderer, prompts: Prompts) -> None:
    engine = GroupedRollout("nf4", batch_size=7)
    expected = engine.generate(policy, renderer, prompts[:2], 1, 5, 0.0)
    for other in (copy.deepcopy(engine), pickle.loads(pickle.dumps(engine))):
        assert (other.weights, other.batch_size) == ("nf4", 7)
        found = other.generate(policy, renderer, prompts[:2], 1, 5, 0.0)
        assert [group[0].ids for group in found] == [group[0].ids for group in expected]


def test_no_prompts(policy: PolicyModel, renderer: ChatRenderer) -> None:
    assert GroupedRollout().generate(policy, renderer, [], 4, 8) == []
