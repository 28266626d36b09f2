"""GRPO data: the prompts of one task, and general ones beside them for the KL term alone."""

from __future__ import annotations

from qwen_lightning.data.base import RecordDataModule
from qwen_lightning.data.batches import GRPOBatch, GRPOBatchSource, PromptStep
from qwen_lightning.data.encoding import Encoded, encode_prompts
from qwen_lightning.data.loader import ResumableLoader
from qwen_lightning.data.prompts import GENERAL_RANGE, PromptSchedule
from qwen_lightning.data.sources import Paths, require_databases, require_general, require_tasks
from qwen_lightning.errors import ConfigError, DataError
from qwen_lightning.records import Located
from qwen_lightning.tasks.base import VerifiedTask
from qwen_lightning.tasks.registry import TaskRegistry


class GRPODataModule(RecordDataModule):
    """Data of a GRPO stage: one task, one dialect.

    Args:
        tasks: The tasks that the records belong to.
        tokenizer: Hub id or folder of the tokenizer; the model's own.
        tokenizer_revision: Its revision on the hub; the model's own.
        prompts: Prompts to train on (bucket C): record files, or a folder of them.
        general_prompts: General prompts (bucket B), on which only the KL term acts.
        general_regression: General records that measure forgetting (bucket D); never trained on.
        task_regression: Task records that measure forgetting (bucket E); never trained on.
        test: Records for `test`; the regression records unless given.
        predict: Records for `predict`; those of `test` unless given.
        prompts_per_step: Task prompts a step, over all devices.
        general_ratio: Share of general prompts among all prompts of an epoch, 0.01 to 0.05.
        epoch_size: Task prompts an epoch; by default as many as there are. Rounded up to whole steps.
        max_seq_len: Most tokens of prompt and completion, for all tasks or by task. Default: 2048, for text2sql and
            text2cypher 4096. A record that is longer is left out and named.
        max_completion_length: Tokens kept free for the completion.
        eval_batch_size: Records a batch in `validate`, `test` and `predict`.
        seed: Seed of the order of the prompts.
        num_workers: Processes that build batches ahead; 0 builds them in the training process.
    """

    def __init__(
        self,
        tasks: TaskRegistry,
        tokenizer: str,
        prompts: list[str] | str | None = None,
        general_prompts: list[str] | str | None = None,
        general_regression: list[str] | str | None = None,
        task_regression: list[str] | str | None = None,
        test: list[str] | str | None = None,
        predict: list[str] | str | None = None,
        prompts_per_step: int = 8,
        general_ratio: float = 0.03,
        epoch_size: int | None = None,
        max_seq_len: int | dict[str, int] | None = None,
        max_completion_length: int = 256,
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
        if max_completion_length < 1:
            raise ConfigError(f"max_completion_length is {max_completion_length}; it must be at least 1")
        low, high = GENERAL_RANGE
        if not low <= general_ratio <= high:
            raise ConfigError(f"general_ratio is {general_ratio}; it must lie between {low} and {high}")
        self.prompts, self.general_prompts = prompts, general_prompts
        self.prompts_per_step, self.general_ratio, self.epoch_size = prompts_per_step, general_ratio, epoch_size
        self.max_completion_length = max_completion_length
        self.encoded, self.encoded_general = Encoded(), Encoded()

    def _training_loader(self) -> ResumableLoader[PromptStep, GRPOBatch]:
        if not len(self.encoded):
            raise RuntimeError("train_dataloader needs setup('fit') first")
        schedule = PromptSchedule(
            task_prompts=len(self.encoded),
            general_prompts=len(self.encoded_general),
            prompts_per_step=self.prompts_per_step,
            general_ratio=self.general_ratio,
            epoch_size=self.epoch_size,
            seed=self.seed,
            world_size=self.world_size,
            rank=self.rank,
        )
        fingerprint = self._fingerprint(
            {"prompts": self.prompts, "general_prompts": self.general_prompts},
            prompts=len(self.encoded),
            general_prompts=len(self.encoded_general),
            prompts_per_step=self.prompts_per_step,
            steps=schedule.steps,
            general=schedule.general,
        )
        source = GRPOBatchSource(self.encoded, self.encoded_general)
        return ResumableLoader(schedule, schedule.steps, source, fingerprint, self.num_workers)

    def _read_training(self) -> list[Located]:
        prompts = self._read("prompts", self.prompts)
        general = self._read("general_prompts", self.general_prompts)
        for setting, items in (("prompts", prompts), ("general_prompts", general)):
            if not items:
                raise ConfigError(f"{setting} is empty; a GRPO stage needs task prompts and general ones beside them")
        require_general(general, "general_prompts")
        require_tasks(prompts, "prompts", "general_prompts")
        self._require_one_verified_task(prompts)
        require_databases(prompts, self.tasks)
        return [*prompts, *general]

    def _encode_training(self) -> None:
        if len(self.encoded):
            return
        self.encoded = self._encode("prompts", self.prompts)
        self.encoded_general = self._encode("general_prompts", self.general_prompts)

    def _encode(self, setting: str, paths: Paths) -> Encoded:
        items = self._read(setting, paths)
        encoded = encode_prompts(items, self.tasks, self.renderer, self.limits, self.max_completion_length)
        self._report_too_long(setting, encoded)
        return encoded

    def _require_one_verified_task(self, prompts: list[Located]) -> None:
        """Refuse what one stage must not train on.

        Raises:
            DataError: A persona record, a task without verifier, or a second task or dialect.
        """
        first = prompts[0].record
        for item in prompts:
            record = item.record
            if record.task == "persona":
                raise DataError("a persona record in GRPO data; persona is trained by SFT alone", item.file, item.line)
            if not isinstance(self.tasks[record.task], VerifiedTask):
                raise DataError(f"{record.task} has no verifier, so GRPO cannot train on it", item.file, item.line)
            if record.task != first.task:
                raise DataError(
                    f"{record.task} record among {first.task} records; a GRPO stage trains one task",
                    item.file,
                    item.line,
                )
            dialect, expected = getattr(record, "dialect", None), getattr(first, "dialect", None)
            if dialect != expected:
                raise DataError(
                    f"dialect {dialect} among {expected} records; a GRPO stage trains one dialect", item.file, item.line
                )
