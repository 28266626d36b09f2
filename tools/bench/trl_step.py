"""The same GRPO step done by TRL: `generate`, one row a completion, its own trainer."""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from typing import Any

from transformers import TrainerCallback

from qwen_lightning.models.backbone import Quantization
from tools.bench.cases import RolloutCase
from tools.bench.grpo import BETA, LEARNING_RATE
from tools.bench.model import LORA, NumberedWords, random_backbone
from tools.bench.options import Options
from tools.bench.report import Row
from tools.bench.timing import Lap, Timing, lap, median, peak_memory


def trl_row(options: Options, quantization: Quantization, case: RolloutCase, benchmark: str, name: str) -> Row:
    """A row for TRL's step, in micro-batches of one group.

    It has no prompts that carry KL alone, and its reference is the model without the adapter.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer  # type: ignore[import-not-found]

    words, draw = NumberedWords(options.sizes.vocabulary), options.random
    model = random_backbone(options.sizes, quantization, options.dtype, options.device, options.seed)
    prompts = [" ".join(f"w{token}" for token in ids) for ids in case.draw_prompts(words.vocabulary, options.random)]
    steps = options.warmup + options.baseline_runs
    with tempfile.TemporaryDirectory() as folder:
        config = GRPOConfig(
            output_dir=folder,
            per_device_train_batch_size=case.samples,
            gradient_accumulation_steps=case.prompts,
            num_generations=case.samples,
            max_completion_length=case.new_tokens,
            beta=BETA,
            learning_rate=LEARNING_RATE,
            max_steps=steps,
            temperature=1.0,
            bf16=options.dtype == "bfloat16",
            gradient_checkpointing=options.peers_recompute,
            gradient_checkpointing_kwargs={"use_reentrant": False},
            use_cpu=not options.on_cuda,
            remove_unused_columns=False,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            seed=options.seed,
        )
        trainer = GRPOTrainer(
            model=model,
            reward_funcs=lambda completions, **_: [draw.random() for _ in completions],
            args=config,
            train_dataset=Dataset.from_dict({"prompt": prompts * steps}),
            processing_class=words.tokenizer,
            peft_config=LORA.to_peft(),
        )
        clock = _Clock(options)
        trainer.add_callback(clock)
        sampling: list[Lap] = []
        generate = trainer._generate_single_turn

        def timed(*args: Any, **kwargs: Any) -> Any:
            with lap(options.device, sampling):
                return generate(*args, **kwargs)

        trainer._generate_single_turn = timed
        trainer.train()
    sample = median(sampling[options.warmup :]).clock
    tokens = case.prompts * case.samples * case.new_tokens
    return Row.of(clock.timing, benchmark, name, "TRL", tokens=tokens, note=f"{sample:.3g} s sample")


class _Clock(TrainerCallback):
    """Times every optimizer step after the warm-up."""

    def __init__(self, options: Options) -> None:
        self.options, self.timing = options, Timing()

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        timing = self.timing if state.global_step >= self.options.warmup else Timing()
        self.running = ExitStack()
        self.running.enter_context(peak_memory(self.options.device, timing))
        self.running.enter_context(lap(self.options.device, timing.laps))

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.running.close()
