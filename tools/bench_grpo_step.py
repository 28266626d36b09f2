"""How long a whole GRPO step takes: `python -m tools.bench_grpo_step [--cases 8x8:1536/128 ...] [--trl]`.

A step samples, verifies (at next to no cost), computes the reference's log-probs and updates the adapter with KL on,
through the module's own training step; general prompts beside the task's carry KL alone. Tokens are the sampled ones.
The note has how far the engine's log-probs are from the trainer's, on average.

With `--demo FOLDER`, which `tools.demo.make_data`, `tools.demo.make_base` and the SFT stage have filled, the step is
the demo's: its records, its adapter as policy and reference, and its SQL, which is run.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import torch

from qwen_lightning.data.batches import GRPOBatch
from qwen_lightning.models.backbone import Quantization
from qwen_lightning.models.policy import PolicyModel
from qwen_lightning.rollout.base import RolloutEngine
from qwen_lightning.rollout.experience import Experience
from tools.bench.cases import RolloutCase, rollout_case
from tools.bench.counting import counting_batch
from tools.bench.demo_step import CASE, demo_policy, demo_run
from tools.bench.engines import ENGINES, rollout_engines
from tools.bench.flops import ModelFlops, Work
from tools.bench.grpo import add_step, counting_settings, given_module, groups_of
from tools.bench.harness import GivenGRPO, run_steps
from tools.bench.model import NumberedWords, random_policy, stops_for
from tools.bench.options import Options, add_weights, attempt, new_parser, resolve, run_benchmark, share
from tools.bench.report import Row
from tools.bench.timing import free, median

BENCHMARK = "step"
CASES = {"cuda": ["8x8:1536/128", "8x8:512/128"], "cpu": ["8x8:192/32"]}
#: Name to rollout engine and whether the update shares prompts; the baseline first.
WAYS = {
    "generate, one row a completion": (ENGINES[0], False),
    "grouped-resident, shared prompts": (ENGINES[1], True),
    "grouped-merged, shared prompts": (ENGINES[2], True),
}
BASELINE = next(iter(WAYS))


def rows(options: Options) -> Iterator[Row]:
    """A row for each case and way."""
    if options.demo is not None:
        yield from _demo_rows(options)
        return
    for quantization in options.quantization:
        policy = random_policy(options.sizes, quantization, options.dtype, options.device, True, options.seed)
        for case in options.cases:
            name = f"{case} {options.weights(quantization)}"
            for how in WAYS:
                yield attempt(partial(_row, options, policy, case, name, how), options, BENCHMARK, name, how)
        del policy
        free(options.device)
        if options.trl:
            from tools.bench.trl_step import trl_row

            for case in options.cases:
                name = f"{case} {options.weights(quantization)}"
                measured = partial(trl_row, options, quantization, case, BENCHMARK, name)
                yield attempt(measured, options, BENCHMARK, name, "TRL")


def _row(options: Options, policy: PolicyModel, case: RolloutCase, name: str, how: str) -> Row:
    vocabulary = options.sizes.vocabulary
    renderer = NumberedWords(vocabulary, stops_for(options.stop_rate, vocabulary, case.new_tokens))
    engine = _engine(options, how, case.prompt_tokens + case.new_tokens)
    module = given_module(options, policy, renderer, engine, WAYS[how][1], counting_settings(case))
    batch = counting_batch(case, vocabulary, options.random, options.general)
    return _measured(options, module, [batch] * _steps(options, how), name, how)


def _demo_rows(options: Options) -> Iterator[Row]:
    """The demo's own step, done each way from the same adapter, prompts and seed."""
    for quantization in options.quantization:
        name = f"{CASE} {options.weights(quantization)}"
        for how in WAYS:
            yield attempt(partial(_demo_row, options, quantization, name, how), options, BENCHMARK, name, how)


def _demo_row(options: Options, quantization: Quantization, name: str, how: str) -> Row:
    policy, engine = demo_policy(options, quantization), _engine(options, how, 1024)
    module, batches = demo_run(options, policy, engine, WAYS[how][1], _steps(options, how))
    return _measured(options, module, batches, name, how)


def _engine(options: Options, how: str, sequence_tokens: int) -> RolloutEngine:
    return rollout_engines(options, sequence_tokens)[WAYS[how][0]]()


def _steps(options: Options, how: str) -> int:
    return options.warmup + (options.baseline_runs if how == BASELINE else options.runs)


def _measured(options: Options, module: GivenGRPO, batches: Sequence[GRPOBatch], name: str, how: str) -> Row:
    torch.manual_seed(options.seed)
    timing = run_steps(module, batches, options.warmup, options.device)
    model, shared = ModelFlops.of(module.policy), WAYS[how][1]
    tokens, flops = [], []
    for experience in module.experiences[options.warmup :]:
        groups = groups_of(experience)
        each, once = Work.rows(groups), Work.shared(groups)
        sampled, updated = each if how == BASELINE else once, once if shared else each
        flops.append(model.forward(sampled) + model.forward(updated) + model.training(updated))
        tokens.append(each.logits)
    sample, update = median(module.counted("sample")), median(module.updates)
    return Row.of(
        timing,
        BENCHMARK,
        name,
        how,
        tokens=statistics.mean(tokens),
        flops=statistics.mean(flops),
        baseline=how == BASELINE,
        note=f"{sample.clock:.3g} s sample, {update.clock:.3g} s update, log-probs differ by "
        f"{logprob_difference(module.experiences[0]):.1e}",
    )


def logprob_difference(experience: Experience) -> float:
    """Between engine and trainer, on average, in the first step, in which the policy still is the reference."""
    engine = torch.cat([completion.logprobs for completion in experience.completions])
    return float((engine - torch.cat(experience.reference_logprobs).cpu()).abs().mean())


def parser() -> argparse.ArgumentParser:
    """Its options."""
    found = new_parser(__doc__)
    add_weights(found)
    add_step(found)
    found.add_argument("--cases", type=rollout_case, nargs="+", metavar="PROMPTSxSAMPLES:PROMPT/NEW")
    found.add_argument("--stop-rate", type=share, default=0.0, help="share of completions that end before the limit")
    found.add_argument("--demo", type=Path, metavar="FOLDER", help="the demo's step, in place of random weights")
    found.add_argument(
        "--trl",
        action=argparse.BooleanOptionalAction,
        help="TRL's step, too; the default on CUDA where it is installed",
    )
    return found


def parse(argv: Sequence[str] | None = None) -> Options:
    """Options, with the cases of the device."""
    found = resolve(parser(), argv, CASES, rollout_case)
    installed = importlib.util.find_spec("trl") is not None
    if found.trl and not installed:
        parser().error("--trl: TRL is not installed; pip install trl")
    found.trl = installed and found.on_cuda if found.trl is None else found.trl
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    run_benchmark(parser(), parse(argv), rows)


if __name__ == "__main__":
    main()
