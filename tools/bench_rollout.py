"""How fast completions are sampled: `python -m tools.bench_rollout [--cases 8x8:512/128 ...]`.

Tokens a second count new tokens, with their log-probs, prefill included. Each engine is compared to `generate` on the
same weights, which decodes as many sequences at once as have their keys and values in two fifths of the GPU's memory.
The merged copy is written in the warm-up; the benchmark of the step has it written anew in each.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch

from qwen_lightning.models.policy import PolicyModel
from qwen_lightning.rollout.base import Completion, RolloutEngine
from tools.bench.cases import RolloutCase, rollout_case
from tools.bench.engines import ENGINES, GENERATE, rollout_engines
from tools.bench.flops import ModelFlops, Work
from tools.bench.model import NumberedWords, random_policy, stops_for
from tools.bench.options import Options, add_weights, attempt, new_parser, resolve, run_benchmark, share
from tools.bench.report import Row
from tools.bench.timing import free, measure

BENCHMARK = "rollout"
CASES = {"cuda": ["8x8:512/128", "32x8:512/256", "32x8:1536/128"], "cpu": ["8x8:128/32"]}


def rows(options: Options) -> Iterator[Row]:
    """A row for each kind of weights, case and engine."""
    for quantization in options.quantization:
        policy = random_policy(options.sizes, quantization, options.dtype, options.device, False, options.seed)
        for case in options.cases:
            name = f"{case} {options.weights(quantization)}"
            tokens = case.prompt_tokens + case.new_tokens
            for how, build in rollout_engines(options, tokens).items():
                if how in options.engines:
                    yield attempt(partial(_row, options, policy, case, name, how, build), options, BENCHMARK, name, how)
        del policy
        free(options.device)


def _row(
    options: Options, policy: PolicyModel, case: RolloutCase, name: str, how: str, build: Callable[[], RolloutEngine]
) -> Row:
    vocabulary = options.sizes.vocabulary
    renderer = NumberedWords(vocabulary, stops_for(options.stop_rate, vocabulary, case.new_tokens))
    prompts, engine, baseline = case.draw_prompts(vocabulary, options.random), build(), how == GENERATE
    found: list[list[Completion]] = []

    def sample() -> None:
        torch.manual_seed(options.seed)
        found[:] = engine.generate(policy, renderer, prompts, case.samples, case.new_tokens)

    if baseline:  # it compiles nothing: two tokens warm it up
        engine.generate(policy, renderer, prompts[:1], 1, 2)
    warmup, runs = (0, options.baseline_runs) if baseline else (options.warmup, options.runs)
    timing = measure(sample, options.device, warmup, runs)
    groups = [(case.prompt_tokens, [len(completion.ids) for completion in group]) for group in found]
    work = Work.rows(groups) if baseline else Work.shared(groups)
    flops, tokens = ModelFlops.of(policy).forward(work), work.logits
    return Row.of(timing, BENCHMARK, name, how, tokens=tokens, flops=flops, baseline=baseline)


def parser() -> argparse.ArgumentParser:
    """Its options."""
    found = new_parser(__doc__)
    add_weights(found, several=True)
    found.add_argument("--cases", type=rollout_case, nargs="+", metavar="PROMPTSxSAMPLES:PROMPT/NEW")
    found.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES), help="these alone")
    found.add_argument("--stop-rate", type=share, default=0.0, help="share of completions that end before the limit")
    return found


def parse(argv: Sequence[str] | None = None) -> Options:
    """Options, with the cases of the device."""
    return resolve(parser(), argv, CASES, rollout_case)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    run_benchmark(parser(), parse(argv), rows)


if __name__ == "__main__":
    main()
