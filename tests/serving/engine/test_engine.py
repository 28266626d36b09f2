"""Many completions under many adapters in one batch are what each would be alone."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from qwen_lightning.adapters.manifest import WEIGHTS_FILE
from qwen_lightning.adapters.store import load_adapter, save_adapter
from qwen_lightning.errors import ConfigError, RequestError
from qwen_lightning.models.backbone import load_backbone
from qwen_lightning.models.chat import ChatRenderer
from qwen_lightning.rollout.generate import GenerateRollout
from qwen_lightning.serving.engine.adapters import AdapterLibrary
from qwen_lightning.serving.engine.engine import Engine
from qwen_lightning.serving.engine.kv import BLOCK
from qwen_lightning.serving.engine.runner import Part, Running
from qwen_lightning.serving.generation import (
    AdapterUnavailableError,
    EngineClosedError,
    EngineFailedError,
    Generation,
    GenerationError,
    QueueFullError,
    Sampling,
    Token,
)
from qwen_lightning.serving.limits import Limits
from tests.conftest import REPOSITORY
from tests.serving.conftest import SHAPES, Alone, MakeEngine, write_adapters
from tools.demo.tiny import TinyDemo

Prompts = list[list[int]]
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
MIXED = [*SHAPES, None]
LONG = Sampling(400)


def ids(tokens: list[Token]) -> list[int]:
    return [token.id for token in tokens]


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread does."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


class Gate:
    """Holds an engine's worker before each step until it is let go; `steps` has the tokens of each one's parts."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.steps, self.opened = engine, list[list[int]](), False
        self._step, self._permits = engine._batch.step, threading.Semaphore(0)
        engine._batch.step = self._wait  # type: ignore[method-assign]

    def _wait(self, parts: list[Part]) -> list[tuple[Running, Token]]:
        self.steps.append([part.count for part in parts])
        assert self.opened or self._permits.acquire(timeout=30)
        return self._step(parts)

    def let(self, steps: int) -> None:
        """Let so many steps be made, and wait until the next one's turn has come."""
        until(lambda: bool(self.steps))  # a worker that has not come to its first step would be let one more
        at = len(self.steps) + steps
        self._permits.release(steps)
        until(lambda: len(self.steps) >= at)

    def open(self) -> None:
        """Hold it no longer."""
        self.opened = True
        self._permits.release()

    def first(self) -> Generation:
        """A long completion that the worker has taken up."""
        generation = self.engine.submit([5, 6, 7], "sql", LONG)
        until(lambda: bool(self.steps))
        return generation


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("prefill_tokens", [512, 7])
def test_a_mixed_batch_is_generates_token_for_token(
    make_engine: MakeEngine, prompts: Prompts, alone: Alone, prefill_tokens: int, device: str
) -> None:
    engine = make_engine(device=device, running=16, prefill_tokens=prefill_tokens)
    asked = [(MIXED[index % 4], prompt, 10 + index % 5) for index, prompt in enumerate(prompts + prompts[1:5])]
    generations = [engine.submit(prompt, adapter, Sampling(most)) for adapter, prompt, most in asked]
    for (adapter, prompt, most), generation in zip(asked, generations, strict=True):
        expected, tokens = alone(adapter, prompt, most), generation.tokens()
        assert ids(tokens) == expected.ids
        torch.testing.assert_close(torch.tensor([t.logprob for t in tokens]), expected.logprobs, rtol=0, atol=1e-4)
        assert generation.finish_reason == ("length" if expected.truncated else "stop")
        assert generation.tokens() == []  # it stays ended
    one = prompts[0]
    assert len({tuple(alone(adapter, one, 10).ids) for adapter in MIXED}) == 4  # they do differ


def test_long_runs_of_one_adapter(make_engine: MakeEngine, prompts: Prompts, alone: Alone) -> None:
    """Runs of an adapter's rows have products of their own, between rows of the bare backbone."""
    engine = make_engine(prefill_tokens=4096)
    long = sorted(prompts, key=len)[-4:]
    assert min(map(len, long)) > 32
    gate = Gate(engine)
    first = gate.first()
    generations = [engine.submit(prompt, adapter, Sampling(8)) for adapter, prompt in zip(MIXED, long, strict=True)]
    gate.open()
    for adapter, prompt, generation in zip(MIXED, long, generations, strict=True):
        assert ids(generation.tokens()) == alone(adapter, prompt, 8).ids
    first.cancel()


def test_who_comes_in_mid_flight_joins_the_batch(make_engine: MakeEngine, prompts: Prompts, alone: Alone) -> None:
    engine = make_engine(eos_ids=[])
    gate = Gate(engine)
    first = gate.first()
    gate.let(5)
    second = engine.submit(prompts[1], "fc", Sampling(6))
    gate.let(1)  # it was planned before
    gate.let(6)
    assert ids(second.tokens()) == alone("fc", prompts[1], 6).ids
    assert gate.steps[6:13] == [[1, len(prompts[1])], *[[1, 1]] * 5, [1]]
    assert engine.stats().running == 1
    gate.open()
    assert len(first.tokens()) == 400


def test_a_long_prompt_does_not_hold_the_others(make_engine: MakeEngine) -> None:
    engine = make_engine(eos_ids=[], prefill_tokens=4)
    gate = Gate(engine)
    first = gate.first()
    second = engine.submit([7] * 100, "fc", Sampling(1))
    gate.let(26)
    assert gate.steps[1:27] == [*[[1, 4]] * 25, [1]]
    assert len(second.tokens()) == 1
    assert engine.stats().counts.completion_tokens == 27  # the first one's, meanwhile
    assert engine.stats().counts.prompt_tokens == 103
    first.cancel()
    gate.open()


def test_prompts_share_a_steps_tokens(make_engine: MakeEngine) -> None:
    engine = make_engine(eos_ids=[], prefill_tokens=40)
    gate = Gate(engine)
    first = gate.first()
    rest = [engine.submit([5] * 30, "sql", Sampling(2)) for _ in range(4)]
    gate.open()
    for generation in rest:
        assert len(generation.tokens()) == 2
    first.cancel()
    # The oldest first, each as far as the step goes; those that are through go on token by token.
    assert gate.steps[1:5] == [[1, 30, 10], [1, 1, 20, 20], [1, 1, 10, 30], [1, 1, 1]]


def test_a_short_prompt_does_not_wait_for_the_long_ones_before_it(make_engine: MakeEngine) -> None:
    engine = make_engine(eos_ids=[], prefill_tokens=16)
    gate = Gate(engine)
    first = gate.first()
    long = [engine.submit([5] * 100, None, Sampling(1)) for _ in range(3)]
    short = engine.submit([5] * 12, "fc", Sampling(2))
    gate.open()
    assert len(short.tokens()) == 2
    for generation in long:
        generation.tokens()
    first.cancel()
    # Half of a step is the oldest's all the same.
    assert gate.steps[1:4] == [[1, 8, 8], [1, 12, 4], [1, 16, 1]]


def test_a_cancelled_one_is_gone_at_the_next_step(make_engine: MakeEngine) -> None:
    engine = make_engine(eos_ids=[], running=2, cache_tokens=2048)
    gate = Gate(engine)
    one = gate.first()
    two, waiting = engine.submit([5], "sql", LONG), engine.submit([6], "fc", Sampling(3))
    gate.let(3)
    assert (engine.stats().running, engine.stats().waiting) == (2, 1)
    one.cancel()
    two.cancel()
    gate.let(1)
    assert (engine.stats().running, engine.stats().waiting) == (1, 0)
    gate.open()
    assert len(waiting.tokens()) == 3
    assert gate.steps[3:] == [[1, 1], [1], [1], [1]]  # the step that was planned, then `waiting` alone
    assert 0 < len(one.tokens()) < 5
    assert one.finish_reason == "cancelled"
    assert engine.stats().cache_taken == 0


def test_a_waiting_one_is_cancelled_at_once(make_engine: MakeEngine) -> None:
    engine = make_engine(running=1, waiting=1)
    gate = Gate(engine)
    first = gate.first()
    second = engine.submit([5], "sql", LONG)
    with pytest.raises(QueueFullError, match="try again later"):
        engine.submit([5], "sql", LONG)
    second.cancel()
    assert second.tokens() == []  # while the worker is held
    assert second.finish_reason == "cancelled"
    third = engine.submit([5], "sql", Sampling(1))
    first.cancel()
    gate.open()
    assert len(third.tokens()) == 1
    assert engine.stats().counts.refused == 1


def test_a_full_store_makes_wait_and_not_fail(make_engine: MakeEngine, prompts: Prompts, alone: Alone) -> None:
    longest = max(map(len, prompts)) + 12
    engine = make_engine(cache_tokens=longest + 16)
    generations = [engine.submit(prompt, "fc", Sampling(12)) for prompt in prompts]
    for prompt, generation in zip(prompts, generations, strict=True):
        assert ids(generation.tokens()) == alone("fc", prompt, 12).ids
    kv = engine._batch.runner.kv
    assert kv.taken == 0
    assert kv.keys[0][BLOCK:].any(-1).any(-1).sum() > longest - 16  # most of it was used,
    assert not any(store[:BLOCK].any() for store in (*kv.keys, *kv.values))  # what batches are padded with, never


def test_the_adapter_used_longest_ago_makes_room(make_engine: MakeEngine, prompts: Prompts, alone: Alone) -> None:
    engine = make_engine(adapters=2)

    def ask(adapter: str) -> tuple[str, ...]:
        assert ids(engine.submit(prompts[0], adapter, Sampling(8)).tokens()) == alone(adapter, prompts[0], 8).ids
        return engine.stats().adapters

    assert ask("sql") == ("sql",)
    assert ask("fc") == ("sql", "fc")
    assert ask("sql") == ("fc", "sql")
    assert ask("slot") == ("sql", "slot")
    assert ask("fc") == ("slot", "fc")
    assert engine.stats().adapter_loads == 4
    together = [(adapter, engine.submit(prompts[1], adapter, Sampling(8))) for adapter in [*SHAPES] * 3]
    for adapter, generation in together:  # none is evicted while it answers
        assert ids(generation.tokens()) == alone(adapter, prompts[1], 8).ids


def test_who_waits_for_a_slot_is_overtaken_but_not_for_good(make_engine: MakeEngine) -> None:
    engine = make_engine(adapters=1, running=3)
    admitted: list[str | None] = []
    admit = engine._batch.admit

    def noted(generation: Generation) -> bool:
        done = admit(generation)
        if done:
            admitted.append(generation.adapter)
        return done

    engine._batch.admit = noted  # type: ignore[method-assign]
    gate = Gate(engine)
    first = gate.first()
    rest = [engine.submit([5, 6], name, Sampling(4)) for name in ("fc", "sql", "sql", None, "sql", "fc", "sql")]
    gate.open()
    for generation in rest:
        if generation is rest[3]:
            first.cancel()  # until now its adapter holds the only slot
        generation.tokens()
    assert admitted == ["sql", "sql", "sql", None, "fc", "fc", "sql", "sql"]


def test_a_folder_spoilt_since_the_start_fails_its_own_requests(
    make_engine: MakeEngine,
    adapters: Path,
    tmp_path: Path,
    prompts: Prompts,
    alone: Alone,
    caplog: pytest.LogCaptureFixture,
) -> None:
    root = Path(shutil.copytree(adapters, tmp_path / "adapters"))
    engine = make_engine(root, adapters=1)
    good = engine.submit(prompts[0], "sql", Sampling(8))
    (root / "fc" / WEIGHTS_FILE).write_bytes(b"half")
    bad = engine.submit(prompts[0], "fc", Sampling(8))
    with pytest.raises(AdapterUnavailableError, match="'fc' cannot be loaded"):
        bad.tokens()
    assert re.search("fc.*sha256", caplog.text)
    assert ids(good.tokens()) == alone("sql", prompts[0], 8).ids
    assert ids(engine.submit(prompts[0], "slot", Sampling(8)).tokens()) == alone("slot", prompts[0], 8).ids
    assert engine.stats().counts.finished == {"length": 2, "error": 1}
    assert engine.stats().cache_taken == 0


def test_a_seed_draws_the_same_alone_and_in_company(make_engine: MakeEngine, prompts: Prompts) -> None:
    engine = make_engine(eos_ids=[])
    settings = [
        Sampling(20, temperature=0.9, seed=3),
        Sampling(20, temperature=0.9, seed=-3),
        Sampling(20, temperature=1.2, top_p=0.6, seed=3),
        Sampling(20),
    ]
    asked = [(MIXED[index % 4], prompts[index % 3], own) for index, own in enumerate(settings * 3)]
    lonely = [ids(engine.submit(prompt, adapter, own).tokens()) for adapter, prompt, own in asked]
    crowd = [engine.submit(prompt, adapter, own) for adapter, prompt, own in asked]
    assert [ids(generation.tokens()) for generation in crowd] == lonely
    one = [ids(engine.submit(prompts[0], "sql", own).tokens()) for own in (*settings, Sampling(20, temperature=0.9))]
    assert len({tuple(tokens) for tokens in one}) == 5


def test_top_logprobs_and_logprobs_are_the_models_own(make_engine: MakeEngine, prompts: Prompts) -> None:
    engine = make_engine(eos_ids=[])
    with_some = engine.submit(prompts[0], "sql", Sampling(5, temperature=1.0, seed=1, top_logprobs=4))
    with_more = engine.submit(prompts[1], "fc", Sampling(5, top_logprobs=20))
    without = engine.submit(prompts[1], "fc", Sampling(5, temperature=2.0, seed=1))
    for token in with_some.tokens():
        logprobs = [logprob for _, logprob in token.top_logprobs]
        assert len(logprobs) == 4
        assert logprobs == sorted(logprobs, reverse=True)
        assert token.logprob <= logprobs[0] + 1e-6
    for token in with_more.tokens():
        assert token.top_logprobs[0] == (token.id, pytest.approx(token.logprob))
        assert len(token.top_logprobs) == 20
    first = without.tokens()[0]
    assert first.top_logprobs == ()
    again = engine.submit(prompts[1], "fc", Sampling(1, top_logprobs=20)).tokens()[0]
    known = dict(again.top_logprobs)
    if first.id in known:
        assert first.logprob == pytest.approx(known[first.id], abs=1e-4)  # temperature 2 did not change it


def test_stop_ids_of_ones_own(make_engine: MakeEngine, prompts: Prompts) -> None:
    engine = make_engine(eos_ids=[])
    free = ids(engine.submit(prompts[0], "sql", Sampling(20)).tokens())
    stopped = engine.submit(prompts[0], "sql", Sampling(20, stop_ids=(free[7],)))
    other = engine.submit(prompts[0], "sql", Sampling(20))
    place = free.index(free[7])
    assert ids(stopped.tokens()) == free[: place + 1]
    assert stopped.finish_reason == "stop"
    assert ids(other.tokens()) == free


def test_a_step_that_fails_fails_its_completions_alone(make_engine: MakeEngine, prompts: Prompts, alone: Alone) -> None:
    engine = make_engine()
    step = engine._batch.runner.step

    def fails(parts: Any) -> Any:
        engine._batch.runner.step = step  # type: ignore[method-assign]
        raise RuntimeError("the device is full\nand more")

    engine._batch.runner.step = fails  # type: ignore[method-assign]
    bad = engine.submit(prompts[0], "sql", Sampling(8))
    with pytest.raises(GenerationError, match=r"RuntimeError: the device is full\)"):
        bad.tokens()
    assert ids(engine.submit(prompts[0], "sql", Sampling(8)).tokens()) == alone("sql", prompts[0], 8).ids
    counts = engine.stats().counts
    assert (counts.failed_steps, counts.finished["error"], engine.stats().cache_taken) == (1, 1, 0)


def test_nobody_waits_for_an_engine_that_is_lost(make_engine: MakeEngine, prompts: Prompts) -> None:
    engine = make_engine(running=2)
    gate = Gate(engine)
    first = gate.first()
    others = [engine.submit(prompts[0], "sql", Sampling(8)) for _ in range(3)]
    assert engine.healthy

    def lost(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no device any more")

    engine._batch.runner.step = engine._batch.runner.kv.give = lost  # type: ignore[method-assign]
    gate.open()
    for generation in (first, *others):
        with pytest.raises(GenerationError, match="no device any more"):
            generation.tokens()
    engine._worker.join(30)
    assert engine.status == "the model has failed; start the server anew"
    assert "RuntimeError: no device any more" in str(engine.failure)
    with pytest.raises(EngineFailedError, match=r"no device any more.*; start the server anew"):
        engine.submit(prompts[0], "sql")


def test_no_number_is_no_token(make_engine: MakeEngine, prompts: Prompts, alone: Alone) -> None:
    engine = make_engine(cache_tokens=512)
    assert ids(engine.submit(prompts[0], "sql", Sampling(8)).tokens()) == alone("sql", prompts[0], 8).ids
    slot = engine._batch.adapters._loaded["sql"]
    for layer in engine._batch.runner.weights.layers:
        layer.out._slot(slot)[0].fill_(3e38)  # type: ignore[attr-defined]
    gate = Gate(engine)
    first = gate.first()
    longer = max(prompts, key=len)
    bad, good = engine.submit(longer, "sql", Sampling(8)), engine.submit(prompts[0], "slot", Sampling(8))
    gate.open()
    for generation in (first, bad):
        with pytest.raises(GenerationError, match="adapter 'sql' gave a token no finite probability"):
            generation.tokens()
    assert ids(good.tokens()) == alone("slot", prompts[0], 8).ids
    kv = engine._batch.runner.kv
    assert all(bool(store.isfinite().all()) for store in (*kv.keys, *kv.values))
    after = [engine.submit(prompt, "slot", Sampling(8)) for prompt in prompts]  # in the room that it had
    assert [ids(generation.tokens()) for generation in after] == [alone("slot", prompt, 8).ids for prompt in prompts]


def test_a_prompt_that_is_cancelled_leaves_no_nan(
    make_engine: MakeEngine, adapters: Path, tmp_path: Path, prompts: Prompts, alone: Alone
) -> None:
    root = Path(shutil.copytree(adapters, tmp_path / "adapters"))
    state, lora, manifest = load_adapter(root / "sql")
    save_adapter(root / "sql", {name: torch.full_like(t, 1e30) for name, t in state.items()}, lora, manifest)
    engine = make_engine(root, prefill_tokens=32, cache_tokens=256)
    gate = Gate(engine)
    bad = engine.submit([5] * 112, "sql", Sampling(144))
    gate.let(2)  # the third is planned, and leaves a part of the prompt
    kv = engine._batch.runner.kv
    assert not all(bool(store.isfinite().all()) for store in (*kv.keys, *kv.values))
    bad.cancel()
    gate.open()
    assert bad.tokens() == []
    assert all(bool(store.isfinite().all()) for store in (*kv.keys, *kv.values))
    good = [engine.submit(prompt, "fc", Sampling(8)) for prompt in prompts]  # in the room that it had
    assert [ids(generation.tokens()) for generation in good] == [alone("fc", prompt, 8).ids for prompt in prompts]


def test_what_a_reader_ended_counts_as_what_it_says(make_engine: MakeEngine) -> None:
    engine = make_engine(eos_ids=[], running=2)
    gate = Gate(engine)
    one, two, waiting = gate.first(), engine.submit([5], None, LONG), engine.submit([6], "fc", LONG)
    gate.let(2)
    waiting.cancel("stop")
    one.cancel("stop")
    one.cancel()  # as a reader does that leaves its iteration
    two.cancel()
    gate.open()
    for generation in (one, two, waiting):
        generation.tokens()
    assert [generation.finish_reason for generation in (one, two, waiting)] == ["stop", "cancelled", "stop"]
    assert engine.stats().counts.finished == {"stop": 2, "cancelled": 1}


def test_a_reader_in_an_event_loop(make_engine: MakeEngine, prompts: Prompts, alone: Alone) -> None:
    engine = make_engine()

    async def read(adapter: str | None) -> list[int]:
        return [token.id async for token in engine.submit(prompts[0], adapter, Sampling(12))]

    async def all_at_once() -> list[list[int]]:
        return await asyncio.gather(*map(read, MIXED))

    assert asyncio.run(all_at_once()) == [alone(adapter, prompts[0], 12).ids for adapter in MIXED]

    async def leaves() -> None:
        async for _ in engine.submit(prompts[0], "sql", LONG):
            break

    async def is_cancelled() -> None:
        async def read() -> None:
            async for _ in engine.submit(prompts[0], "sql", LONG):
                reading.set()

        reading = asyncio.Event()
        task = asyncio.create_task(read())
        await reading.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    engine.eos_ids = frozenset()
    gate = Gate(engine)
    for count, goes in enumerate((leaves, is_cancelled), 1):
        gate._permits.release(3)
        asyncio.run(goes())
        gate._permits.release(3)
        until(lambda: engine.stats().running == 0)  # nobody would read the rest
        assert engine.stats().counts.finished["cancelled"] == count


@pytest.mark.parametrize("grace", [30.0, 0.0])
def test_closing_finishes_or_fails_what_there_is(make_engine: MakeEngine, grace: float) -> None:
    engine = make_engine(eos_ids=[], running=1)
    gate = Gate(engine)
    running, waiting = gate.first(), engine.submit([6], "fc", Sampling(3))
    closing = threading.Thread(target=engine.close, args=(grace,))
    closing.start()
    until(lambda: not engine.healthy)
    with pytest.raises(EngineClosedError, match="shutting down"):
        engine.submit([5], "sql", LONG)
    gate.open()
    closing.join(30)
    assert not engine._worker.is_alive()
    if grace:
        assert len(running.tokens()) == 400
        assert len(waiting.tokens()) == 3
    else:
        for generation in (running, waiting):
            with pytest.raises(EngineClosedError, match="shut down before"):
                generation.tokens()
    assert engine.stats().cache_taken == engine.stats().running == engine.stats().waiting == 0


def test_a_second_close_ends_the_grace(make_engine: MakeEngine) -> None:
    engine = make_engine(eos_ids=[])
    gate = Gate(engine)
    running = gate.first()
    closing = threading.Thread(target=engine.close, args=(1000.0,))
    closing.start()
    until(lambda: not engine.healthy)
    gate.let(2)
    again = threading.Thread(target=engine.close)
    again.start()
    until(lambda: engine._deadline is not None and engine._deadline < time.monotonic())
    gate.open()
    closing.join(30)
    again.join(30)
    assert not engine._worker.is_alive()
    with pytest.raises(EngineClosedError, match="shut down before"):
        running.tokens()


def test_two_hundred_at_once_and_none_is_lost_or_swapped(
    make_engine: MakeEngine, prompts: Prompts, alone: Alone
) -> None:
    """From many threads, of random lengths, some of them cancelled; the first tokens say whose answer it is."""
    engine = make_engine(eos_ids=[], running=24, waiting=200, adapters=2, cache_tokens=4096, prefill_tokens=64)
    random = Random(0)
    known = {(adapter, row): alone(adapter, prompt, 3) for adapter in MIXED for row, prompt in enumerate(prompts[:6])}
    asked = [(random.choice(MIXED), random.randrange(6), random.randint(3, 40)) for _ in range(200)]
    found: dict[int, list[int]] = {}

    def ask(first: int) -> None:
        mine = range(first, 200, 8)
        generations = {n: engine.submit(prompts[asked[n][1]], asked[n][0], Sampling(asked[n][2])) for n in mine}
        for number, generation in generations.items():
            if number % 10 == 3:
                generation.cancel()
            found[number] = ids(generation.tokens())

    threads = [threading.Thread(target=ask, args=(first,)) for first in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 200
    for number, (adapter, row, most) in enumerate(asked):
        expected = known[adapter, row]
        common = min(len(found[number]), len(expected.ids))
        assert found[number][:common] == expected.ids[:common]
        assert len(found[number]) == most or number % 10 == 3
    stats = engine.stats()
    assert (stats.running, stats.waiting, stats.cache_taken) == (0, 0, 0)
    assert sum(stats.counts.finished.values()) == 200
    assert stats.counts.finished["error"] == 0
    assert sum(engine._batch.adapters._users.values()) == 0


@pytest.mark.parametrize(
    ("prompt", "adapter", "sampling", "message"),
    [
        ([5], "cypher", {}, "model: there is no adapter 'cypher'; there are fc, slot, sql"),
        ([], "sql", {}, "the prompt is empty"),
        ([5, 99999], "sql", {}, "ids outside of the model's 0 … 1029"),
        ([-1], "sql", {}, "ids outside"),
        ([5] * 200, "sql", {"max_tokens": 57}, "200 tokens and a completion of up to 57 are more than the 256"),
        ([5], "sql", {"max_tokens": 0}, "max_tokens: 0 is"),
        ([5], "sql", {"temperature": -0.1}, "temperature: -0.1"),
        ([5], "sql", {"temperature": float("nan")}, "temperature: nan"),
        ([5], "sql", {"top_p": 0.0}, "top_p: 0.0"),
        ([5], "sql", {"top_logprobs": 21}, "top_logprobs: 21 .* 0 to 20"),
    ],
)
def test_requests_that_cannot_be_met(
    make_engine: MakeEngine, prompt: list[int], adapter: str, sampling: dict[str, Any], message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        make_engine(length=256).submit(prompt, adapter, Sampling(**sampling))


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"running": 0}, "running is 0"),
        ({"waiting": -1}, "waiting is -1"),
        ({"length": 10**6}, "the model was made for"),
        ({"length": 512, "cache_tokens": 256}, "keys and values of 256 tokens are held"),
        ({"cache_tokens": 3}, "16 make a block"),
    ],
)
def test_limits_that_cannot_be_meant(make_engine: MakeEngine, limits: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_engine(**limits)


@pytest.mark.parametrize("kind", ["nf4", "llama", "qwen2"])
def test_other_weights_and_architectures(
    kind: str, demo: TinyDemo, tmp_path: Path, renderer: ChatRenderer, prompts: Prompts
) -> None:
    """Quantised weights, biases, heads that share keys, a head of its own or the embeddings."""

    def backbone() -> PreTrainedModel:
        if kind == "nf4":
            return load_backbone(str(demo.base), "nf4", "float32")
        shape = {
            "vocab_size": len(renderer.tokenizer),
            "hidden_size": 48,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 6,
            "num_key_value_heads": 2,
            "head_dim": 8,
        }
        torch.manual_seed(0)
        llama = kind == "llama"
        model = LlamaForCausalLM(LlamaConfig(**shape)) if llama else Qwen2ForCausalLM(Qwen2Config(**shape))
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                torch.nn.init.normal_(parameter)
        return model.requires_grad_(False).eval()

    policies = write_adapters(backbone, tmp_path, SHAPES, kind, "none")
    engine = Engine(backbone(), AdapterLibrary.open(tmp_path), renderer.eos_ids)
    asked = list(zip([*SHAPES] * 2, prompts, strict=False))
    generations = [engine.submit(prompt, name, Sampling(12)) for name, prompt in asked]
    for (name, prompt), generation in zip(asked, generations, strict=True):
        expected = GenerateRollout().generate(policies[name], renderer, [prompt], 1, 12, 0.0)[0][0]
        tokens = generation.tokens()
        assert ids(tokens) == expected.ids
        torch.testing.assert_close(torch.tensor([t.logprob for t in tokens]), expected.logprobs, rtol=0, atol=1e-4)
    engine.close()


def test_an_architecture_that_the_decoder_does_not_compute(adapters: Path) -> None:
    config = MistralConfig(
        vocab_size=64, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    with pytest.raises(ConfigError, match=r"the architecture is mistral.*export the adapters and serve them with vLLM"):
        Engine(MistralForCausalLM(config), AdapterLibrary([]), [0], Limits())


def test_an_interpreter_that_ends_amid_a_step_ends_cleanly(demo: TinyDemo) -> None:
    """A thread that it meets inside torch would abort the process."""
    code = (
        "import sys, time\n"
        "from qwen_lightning.models.backbone import load_backbone\n"
        "from qwen_lightning.serving.engine.adapters import AdapterLibrary\n"
        "from qwen_lightning.serving.engine.engine import Engine\n"
        "from qwen_lightning.serving.generation import Sampling\n"
        "engine = Engine(load_backbone(sys.argv[1], 'none', 'float32'), AdapterLibrary([]), [])\n"
        "for _ in range(32):\n"
        "    engine.submit([5, 6, 7, 8], None, Sampling(max_tokens=100))\n"
        "while engine.stats().counts.completion_tokens < 32:\n"
        "    time.sleep(0.01)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(demo.base)], cwd=REPOSITORY, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
