"""How fast GRPO's update is: `python -m tools.bench_update [--cases 8x8:1536/128 ...]`.

A real training step on completions of random ids. Timed are packing, forward, loss with KL, backward and the optimizer
step, but not sampling and the reference. Tokens a second count every completion with its prompt, however often the
prompt is computed, so that the layouts compare.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from functools import partial

import torch

from qwen_lightning.models.chat import ChatRenderer
from qwen_lightning.models.policy import PolicyModel
from qwen_lightning.rollout.base import Completion, RolloutEngine
from tools.bench.cases import RolloutCase, random_ids, rollout_case
from tools.bench.counting import counting_batch
from tools.bench.flops import ModelFlops, Work
from tools.bench.grpo import add_step, counting_settings, given_module, groups_of
from tools.bench.harness import run_steps
from tools.bench.model import NumberedWords, random_policy
from tools.bench.options import Options, add_weights, attempt, new_parser, resolve, run_benchmark
from tools.bench.report import Row
from tools.bench.timing import free

BENCHMARK = "update"
CASES = {"cuda": ["8x8:1536/128", "8x8:512/256"], "cpu": ["4x8:192/32"]}
#: Name to whether a prompt stands once a group; the baseline first.
LAYOUTS = {"one row a completion": False, "shared prompts": True}


class RandomCompletions(RolloutEngine):
    """Completions of random ids, at once."""

    def __init__(self, options: Options) -> None:
        self.random, self.vocabulary = options.random, options.sizes.vocabulary

    def sample(
        self,
        policy: PolicyModel,
        renderer: ChatRenderer,
        prompts: list[list[int]],
        counts: Sequence[int],
        max_new_tokens: int,
        temperature: float = 1.0,
    ) -> list[list[Completion]]:
        return [[self._draw(max_new_tokens) for _ in range(count)] for count in counts]

    def _draw(self, tokens: int) -> Completion:
        # Nearly what random weights give any token; the update only reports how far its own are from it.
        logprobs = torch.full((tokens,), -float(torch.tensor(self.vocabulary).log()))
        return Completion(random_ids(tokens, self.vocabulary, self.random), logprobs, truncated=True)


def rows(options: Options) -> Iterator[Row]:
    """A row for each case and layout of the packs."""
    for quantization in options.quantization:
        policy = random_policy(options.sizes, quantization, options.dtype, options.device, True, options.seed)
        for case in options.cases:
            name = f"{case} {options.weights(quantization)}"
            for how, shared in LAYOUTS.items():
                yield attempt(partial(_row, options, policy, case, name, how, shared), options, BENCHMARK, name, how)
        del policy
        free(options.device)


def _row(options: Options, policy: PolicyModel, case: RolloutCase, name: str, how: str, shared: bool) -> Row:
    vocabulary, baseline = options.sizes.vocabulary, not shared
    engine, settings = RandomCompletions(options), counting_settings(case)
    module = given_module(options, policy, NumberedWords(vocabulary), engine, shared, settings)
    batch = counting_batch(case, vocabulary, options.random, options.general)
    steps = options.warmup + (options.baseline_runs if baseline else options.runs)
    timing = run_steps(module, [batch] * steps, options.warmup, options.device)
    timing.laps = module.updates
    groups = groups_of(module.experiences[-1])
    each, once = Work.rows(groups), Work.shared(groups)
    flops = ModelFlops.of(policy).training(once if shared else each)
    return Row.of(timing, BENCHMARK, name, how, tokens=each.tokens, flops=flops, baseline=baseline)


def parser() -> argparse.ArgumentParser:
    """Its options."""
    found = new_parser(__doc__)
    add_weights(found)
    add_step(found)
    found.add_argument("--cases", type=rollout_case, nargs="+", metavar="PROMPTSxSAMPLES:PROMPT/NEW")
    return found


def parse(argv: Sequence[str] | None = None) -> Options:
    """Options, with the cases of the device."""
    return resolve(parser(), argv, CASES, rollout_case)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    run_benchmark(parser(), parse(argv), rows)


if __name__ == "__main__":
    main()
