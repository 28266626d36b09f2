"""How fast supervised training is: `python -m tools.bench_sft [--cases 4x2048 4x~2048 ...] [--peers]`.

A real training step over several micro-batches: forward, loss, backward and optimizer step. Tokens a second count no
padding. A case `4x2048` has sequences of 2,048 tokens, `4x~2048` a mix of lengths up to that with as many tokens. The
baseline is one row an example, buckets of like length, padded.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Iterator, Sequence
from functools import partial

from qwen_lightning.data.batches import SFTBatch
from qwen_lightning.models.policy import PolicyModel
from qwen_lightning.records import RecordBase
from tools.bench.cases import SFTCase, random_ids, sft_case
from tools.bench.flops import ModelFlops, Work
from tools.bench.harness import GivenSFT, run_steps
from tools.bench.model import NumberedWords, random_policy
from tools.bench.options import (
    Options,
    add_training,
    add_weights,
    attempt,
    new_parser,
    resolve,
    run_benchmark,
    share,
    whole,
)
from tools.bench.report import Row
from tools.bench.timing import free, measure
from tools.bench.transformers_sft import TransformersSFT

BENCHMARK = "sft"
CASES = {"cuda": ["4x2048", "8x2048", "4x~2048"], "cpu": ["4x256", "4x~256"]}
#: Name to whether a row holds several examples; the baseline first.
LAYOUTS = {"one row an example": False, "packed": True}


def rows(options: Options) -> Iterator[Row]:
    """A row for each case and layout, then the peers' where they are asked for."""
    for quantization in options.quantization:
        policy = random_policy(options.sizes, quantization, options.dtype, options.device, False, options.seed)
        for case in options.cases:
            name = f"{case} {options.weights(quantization)}"
            for how, packed in LAYOUTS.items():
                yield attempt(partial(_row, options, policy, case, name, how, packed), options, BENCHMARK, name, how)
        del policy
        free(options.device)
        if not options.peers:
            continue
        # A model as transformers makes it; liger's kernels replace its functions for good and come last.
        policy = random_policy(
            options.sizes, quantization, options.dtype, options.device, False, options.seed, kernels="none"
        )
        for how, liger in {"transformers": False, "transformers, liger-kernel": True}.items():
            if liger and not _has_liger(options):
                continue
            for case in options.cases:
                name = f"{case} {options.weights(quantization)}"
                yield attempt(partial(_peer, options, policy, case, name, how, liger), options, BENCHMARK, name, how)
        del policy
        free(options.device)


def draw_batch(options: Options, case: SFTCase) -> SFTBatch:
    """The examples of a step, longest first; the last share of each is its completion."""
    random, vocabulary = options.random, options.sizes.vocabulary
    lengths = sorted(case.draw_lengths(options.micro_batches, random), reverse=True)
    completions = [max(1, min(length - 1, round(length * options.completion_share))) for length in lengths]
    record = RecordBase(id="row", task="general", input="?")
    return SFTBatch(
        records=[record] * len(lengths),
        prompt_ids=[
            random_ids(length - completion, vocabulary, random)
            for length, completion in zip(lengths, completions, strict=True)
        ],
        completion_ids=[random_ids(completion, vocabulary, random) for completion in completions],
    )


def work_of(batch: SFTBatch) -> Work:
    """What a step computes."""
    groups = zip(batch.prompt_ids, batch.completion_ids, strict=True)
    return Work.rows((len(prompt), [len(completion)]) for prompt, completion in groups)


def _row(options: Options, policy: PolicyModel, case: SFTCase, name: str, how: str, packed: bool) -> Row:
    module = GivenSFT(
        policy,
        NumberedWords(options.sizes.vocabulary),
        packed,
        name_or_path="random weights",
        dtype=options.dtype,
        gradient_checkpointing=options.checkpointing_mode,
        warmup_steps=0,
        schedule="constant",
        micro_batch_tokens=case.rows * case.length,
    )
    batch = draw_batch(options, case)
    steps = options.warmup + (options.runs if packed else options.baseline_runs)
    timing = run_steps(module, [batch] * steps, options.warmup, options.device)
    work = work_of(batch)
    flops = ModelFlops.of(policy).training(work)
    return Row.of(timing, BENCHMARK, name, how, tokens=work.tokens, flops=flops, baseline=not packed)


def _peer(options: Options, policy: PolicyModel, case: SFTCase, name: str, how: str, liger: bool) -> Row:
    batch = draw_batch(options, case)
    step = TransformersSFT(policy, batch, case.rows, options.peers_recompute, liger, options.random)
    timing = measure(step, options.device, options.warmup, options.baseline_runs)
    work = work_of(batch)
    return Row.of(timing, BENCHMARK, name, how, tokens=work.tokens, flops=ModelFlops.of(policy).training(work))


def _has_liger(options: Options) -> bool:
    return options.on_cuda and importlib.util.find_spec("liger_kernel") is not None


def parser() -> argparse.ArgumentParser:
    """Its options."""
    found = new_parser(__doc__)
    add_weights(found)
    add_training(found)
    found.add_argument("--cases", type=sft_case, nargs="+", metavar="ROWSxLENGTH")
    found.add_argument("--micro-batches", type=whole(1), default=4, help="of one optimizer step")
    found.add_argument(
        "--completion-share", type=share, default=1.0, help="of an example's tokens, with a loss on them"
    )
    found.add_argument(
        "--peers",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="transformers' own model and loss, too, and with liger-kernel where that is installed and on CUDA",
    )
    return found


def parse(argv: Sequence[str] | None = None) -> Options:
    """Options, with the cases of the device."""
    return resolve(parser(), argv, CASES, sft_case)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    run_benchmark(parser(), parse(argv), rows)


if __name__ == "__main__":
    main()
