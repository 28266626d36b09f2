"""How fast a server's engine answers: `python -m tools.bench_serving [--cases 16x4:128/64 ...]`.

All requests come at once; tokens a second count new tokens, prompts included in the time. Requests that all go through
one adapter are compared to requests that take turns with four, in the same engine, and to one request after the other.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import torch
from transformers import PreTrainedModel

from qwen_lightning.adapters.manifest import Manifest
from qwen_lightning.adapters.store import save_adapter
from qwen_lightning.models.policy import PolicyModel
from qwen_lightning.serving.engine.adapters import AdapterLibrary
from qwen_lightning.serving.engine.engine import Engine
from qwen_lightning.serving.generation import Sampling
from qwen_lightning.serving.limits import Limits
from tools.bench.cases import RolloutCase, rollout_case
from tools.bench.model import LORA, random_backbone
from tools.bench.options import Options, add_weights, attempt, new_parser, resolve, run_benchmark
from tools.bench.report import Row
from tools.bench.timing import free, measure

BENCHMARK = "serving"
CASES = {"cuda": ["16x4:512/128", "64x4:512/128"], "cpu": ["16x4:128/64"]}
ONE, FOUR, ALONE = "one adapter", "four adapters", "one at a time"
WAYS = (ONE, FOUR, ALONE)
_ADAPTERS = ("first", "second", "third", "fourth")


def rows(options: Options) -> Iterator[Row]:
    """A row for each kind of weights, case and way."""
    for quantization in options.quantization:
        with TemporaryDirectory() as folder:
            backbone = random_backbone(options.sizes, quantization, options.dtype, options.device, options.seed)
            backbone, library = _with_adapters(backbone, Path(folder), options)
            for case in options.cases:
                name = f"{case} {options.weights(quantization)}"
                for how in WAYS:
                    row = partial(_row, options, backbone, library, case, name, how)
                    yield attempt(row, options, BENCHMARK, name, how)
        del backbone, library
        free(options.device)


def _with_adapters(backbone: PreTrainedModel, folder: Path, options: Options) -> tuple[PreTrainedModel, AdapterLibrary]:
    """The bare backbone, and random adapters of it."""
    policy = PolicyModel(backbone, LORA)
    torch.manual_seed(options.seed)
    for name in _ADAPTERS:
        state = {key: 0.02 * torch.randn_like(tensor) for key, tensor in policy.adapter_state().items()}
        manifest = Manifest(name=name, stage="sft", base_model=options.shape, quantization="none")
        save_adapter(folder / name, state, LORA, manifest)
    return cast(PreTrainedModel, policy.peft.unload()), AdapterLibrary.open(folder)


def _row(
    options: Options, backbone: PreTrainedModel, library: AdapterLibrary, case: RolloutCase, name: str, how: str
) -> Row:
    requests = case.prompts * case.samples
    one_prompt = case.prompt_tokens + case.new_tokens
    limits = Limits(
        running=1 if how == ALONE else case.prompts,
        waiting=requests,
        length=one_prompt,
        cache_tokens=case.prompts * (one_prompt + 16),
        adapters=len(_ADAPTERS),
    )
    names = _ADAPTERS if how == FOUR else _ADAPTERS[:1]
    random = options.random
    vocabulary = options.sizes.vocabulary
    prompts = [prompt for _ in range(case.samples) for prompt in case.draw_prompts(vocabulary, random)]
    engine = Engine(backbone, library, [], limits)

    def answer() -> None:
        sampling = Sampling(case.new_tokens, temperature=1.0, seed=options.seed)
        asked = [engine.submit(prompt, names[index % len(names)], sampling) for index, prompt in enumerate(prompts)]
        for generation in asked:
            generation.tokens()

    try:
        timing = measure(answer, options.device, options.warmup, options.runs)
    finally:
        engine.close()
    return Row.of(timing, BENCHMARK, name, how, tokens=requests * case.new_tokens, baseline=how == ONE)


def parser() -> argparse.ArgumentParser:
    """Its options."""
    found = new_parser(__doc__)
    add_weights(found, several=True)
    found.add_argument(
        "--cases", type=rollout_case, nargs="+", metavar="ATxTURNS:PROMPT/NEW", help="requests at once, and how often"
    )
    return found


def parse(argv: Sequence[str] | None = None) -> Options:
    """Options, with the cases of the device."""
    return resolve(parser(), argv, CASES, rollout_case)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    run_benchmark(parser(), parse(argv), rows)


if __name__ == "__main__":
    main()
