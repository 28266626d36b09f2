"""Supervised fine-tuning data: task and general examples, mixed by ratio."""

from __future__ import annotations

from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from qwen_lightning.data.base import RecordDataModule
from qwen_lightning.data.batches import SFTBatch, SFTBatchSource
from qwen_lightning.data.buckets import batch_count, length_buckets
from qwen_lightning.data.encoding import Encoded, encode_examples
from qwen_lightning.data.loader import ResumableLoader
from qwen_lightning.data.mixture import Mixture
from qwen_lightning.data.sources import require_general, require_persona_alone, require_tasks
from qwen_lightning.errors import ConfigError
from qwen_lightning.records import Located
from qwen_lightning.tasks.registry import TaskRegistry


class SFTDataModule(RecordDataModule):
    """Data of a supervised stage: Base-SFT over all tasks, or the persona alone.

    Args:
        tasks: The tasks that the records belong to.
        tokenizer: Hub id or folder of the tokenizer; the model's own.
        tokenizer_revision: Its revision on the hub; the model's own.
        task_sft: Task examples to train on (bucket A): record files, or a folder of them.
        general_sft: General examples to train on (bucket B).
        general_regression: General records that measure forgetting (bucket D); never trained on.
        task_regression: Task records that measure forgetting (bucket E); never trained on.
        test: Records for `test`; the regression records unless given.
        predict: Records for `predict`; those of `test` unless given.
        ratios: Share of each task among the examples; scaled to sum to 1. Default: intent_rewrite 0.32,
            slot_json 0.25, function_call 0.20, text2sql 0.12, text2cypher 0.08, general 0.03.
        epoch_size: Examples an epoch; by default as many as there are records. Small sets repeat.
        batch_size: Examples a device and batch, which is an optimizer step.
        bucket_window: Steps that are sorted by length together. 1 sorts within a step only and keeps its tasks mixed;
            more can save padding where examples have a row each (on a CPU) and a step holds few of them.
        max_seq_len: Most tokens of prompt and completion, for all tasks or by task. Default: 2048, for text2sql and
            text2cypher 4096. A record that is longer is left out and named.
        eval_batch_size: Records a batch in `validate`, `test` and `predict`.
        seed: Seed of the mixture and of the order of the batches.
        num_workers: Processes that build batches ahead; 0 builds them in the training process.
    """

    def __init__(
        self,
        tasks: TaskRegistry,
        tokenizer: str,
        task_sft: list[str] | str | None = None,
        general_sft: list[str] | str | None = None,
        general_regression: list[str] | str | None = None,
        task_regression: list[str] | str | None = None,
        test: list[str] | str | None = None,
        predict: list[str] | str | None = None,
        ratios: dict[str, float] | None = None,
        epoch_size: int | None = None,
        batch_size: int = 8,
        bucket_window: int = 1,
        max_seq_len: int | dict[str, int] | None = None,
        eval_batch_size: int = 8,
        seed: int = 0,
        num_workers: int = 0,
        tokenizer_revision: str | None = None,
    ) -> None:
        super().__init__(
            tasks=tasks,
            tokenizer=tokenizer,
            general_regression=general_regression,
            task_regression=task_regression,
            test=test,
            predict=predict,
            max_seq_len=max_seq_len,
            eval_batch_size=eval_batch_size,
            seed=seed,
            num_workers=num_workers,
            tokenizer_revision=tokenizer_revision,
        )
        for name, value in (("batch_size", batch_size), ("bucket_window", bucket_window)):
            if value < 1:
                raise ConfigError(f"{name} is {value}; it must be at least 1")
        if unknown := set(ratios or ()) - set(tasks):
            raise ConfigError(f"ratios name unknown tasks: {', '.join(sorted(unknown))}; known are {', '.join(tasks)}")
        self.task_sft, self.general_sft = task_sft, general_sft
        self.ratios, self.epoch_size = ratios, epoch_size
        self.batch_size, self.bucket_window = batch_size, bucket_window
        self.encoded = Encoded()
        self.mixture: Mixture | None = None

    def _training_loader(self) -> ResumableLoader[list[int], SFTBatch]:
        if self.mixture is None:
            raise RuntimeError("train_dataloader needs setup('fit') first")
        mixture, lengths = self.mixture, self.encoded.lengths
        world_size, rank = self.world_size, self.rank

        def plan(epoch: int) -> list[list[int]]:
            steps = length_buckets(
                mixture.epoch(epoch), lengths, self.batch_size, world_size, self.bucket_window, self.seed, epoch
            )
            return [step[rank] for step in steps]

        length = batch_count(mixture.size, self.batch_size, world_size)
        fingerprint = self._fingerprint(
            {"task_sft": self.task_sft, "general_sft": self.general_sft},
            examples=len(self.encoded),
            counts=mixture.counts,
            batch_size=self.batch_size,
            bucket_window=self.bucket_window,
        )
        source = SFTBatchSource(self.encoded)
        return ResumableLoader(plan, length, source, fingerprint, self.num_workers)

    def _read_training(self) -> list[Located]:
        task, general = self._read("task_sft", self.task_sft), self._read("general_sft", self.general_sft)
        require_tasks(task, "task_sft", "general_sft")
        require_general(general, "general_sft")
        if not task and not general:
            raise ConfigError("task_sft and general_sft are empty; name the records to train on")
        require_persona_alone([*task, *general])
        return [*task, *general]

    def _encode_training(self) -> None:
        if self.mixture is not None:
            return
        self.encoded = encode_examples(self._read_training(), self.tasks, self.renderer, self.limits)
        self._report_too_long("task_sft and general_sft", self.encoded)
        names = [record.task for record in self.encoded.records]
        self.mixture = Mixture(names, self.ratios, self.epoch_size, self.seed)
        for warning in self.mixture.warnings:
            rank_zero_warn(warning)
