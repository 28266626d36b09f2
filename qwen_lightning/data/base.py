"""What the datamodules of all stages share: the regression buckets, evaluation loaders, overlap, hashes."""

from __future__ import annotations

import hashlib
import logging
import warnings
from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from qwen_lightning.data.batches import EvalBatch, EvalLoader, GRPOBatch, SFTBatch
from qwen_lightning.data.encoding import Encoded, TooLong, describe_too_long, sequence_limits
from qwen_lightning.data.loader import ResumableLoader
from qwen_lightning.data.overlap import refuse_overlap
from qwen_lightning.data.sources import Paths, files_in, read_records, require_databases, require_general, require_tasks
from qwen_lightning.errors import ConfigError
from qwen_lightning.hashing import file_sha256
from qwen_lightning.models.chat import ChatRenderer
from qwen_lightning.records import Located, RecordBase
from qwen_lightning.tasks.registry import TaskRegistry

log = logging.getLogger(__name__)


class RecordDataModule(LightningDataModule, ABC):
    """Base of the datamodules.

    Attributes:
        general_regression_records: Bucket D, after `setup`.
        task_regression_records: Bucket E, after `setup`.
        trained_tasks: Tasks of the training buckets, general aside, after `setup` for `fit`.
        data_hashes: SHA-256 by file, of every file that was read.
        too_long: Every record that was left out of training because it exceeds `max_seq_len`.
    """

    def __init__(
        self,
        tasks: TaskRegistry,
        tokenizer: str,
        general_regression: Paths,
        task_regression: Paths,
        test: Paths,
        predict: Paths,
        max_seq_len: int | dict[str, int] | None,
        eval_batch_size: int,
        seed: int,
        num_workers: int,
        tokenizer_revision: str | None,
    ) -> None:
        super().__init__()
        if eval_batch_size < 1:
            raise ConfigError(f"eval_batch_size is {eval_batch_size}; it must be at least 1")
        self.tasks, self.tokenizer, self.tokenizer_revision = tasks, tokenizer, tokenizer_revision
        self.general_regression, self.task_regression = general_regression, task_regression
        self.test, self.predict = test, predict
        self.limits = sequence_limits(max_seq_len, tasks)
        self.eval_batch_size, self.seed, self.num_workers = eval_batch_size, seed, num_workers
        # A rank without a share of a small evaluation set has nothing to do, which is no mistake.
        self.allow_zero_length_dataloader_with_multiple_devices = True
        self.general_regression_records: list[RecordBase] = []
        self.task_regression_records: list[RecordBase] = []
        self.trained_tasks: list[str] = []
        self.data_hashes: dict[str, str] = {}
        self.too_long: list[TooLong] = []
        self._buckets: dict[str, list[Located]] = {}
        self._loader: ResumableLoader[Any, Any] | None = None
        self._resumed_state: dict[str, Any] = {}

    @cached_property
    def renderer(self) -> ChatRenderer:
        """Chat rendering with the model's tokenizer."""
        return ChatRenderer.from_pretrained(self.tokenizer, self.tokenizer_revision)

    @property
    def world_size(self) -> int:
        """Number of devices."""
        return self.trainer.world_size if self.trainer else 1

    @property
    def rank(self) -> int:
        """This device."""
        return self.trainer.global_rank if self.trainer else 0

    def setup(self, stage: str) -> None:
        """Read what a stage needs: the training buckets for `fit`, only the evaluated files otherwise.

        Raises:
            ConfigError: A setting that cannot be meant.
            DataError: A bad record, a record in the wrong bucket, or regression data that is trained on.
        """
        if stage == "fit":
            self.read_buckets()
            self._encode_training()
            self._loader, self._resumed_state = None, {}
            return
        self._read_regression()
        if stage == "test":
            require_databases(self._read("test", self.test), self.tasks)
        elif stage == "predict":
            self._read("predict", self.predict)
            self._read("test", self.test)

    def read_buckets(self) -> None:
        """Read and check all that `fit` reads, without tokenising it.

        Raises:
            ConfigError: A setting that cannot be meant.
            DataError: A bad record, a record in the wrong bucket, or regression data that is trained on.
        """
        held_out = self._read_regression()
        trained = self._read_training()
        refuse_overlap(trained, held_out)
        self.trained_tasks = sorted({item.record.task for item in trained} - {"general"})

    def val_dataloader(self) -> EvalLoader | list[EvalLoader]:
        """The regression records for `validate`; nothing within `fit`, where the regression callback evaluates."""
        if self.trainer is not None and self.trainer.state.fn == "fit":
            warnings.filterwarnings("ignore", "Total length of `list` across ranks is zero")  # it is meant
            return []
        return self._eval_loader(self._regression(), "general_regression and task_regression")

    def test_dataloader(self) -> EvalLoader:
        """The records of `test`, or else the regression records."""
        return self._eval_loader(
            self._records("test") or self._regression(), "test, general_regression and task_regression"
        )

    def predict_dataloader(self) -> EvalLoader:
        """The records of `predict`, or else those that `test` takes."""
        records = self._records("predict") or self._records("test") or self._regression()
        return self._eval_loader(records, "predict, test, general_regression and task_regression")

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Move tensors; batches of records and token ids stay as they are."""
        if isinstance(batch, SFTBatch | GRPOBatch | EvalBatch):
            return batch
        return super().transfer_batch_to_device(batch, device, dataloader_idx)

    def train_dataloader(self) -> ResumableLoader[Any, Any]:
        """Batches to train on, from where a resumed checkpoint left off; call `setup` first."""
        # A trainer that asks again within one fit (reload_dataloaders_every_n_epochs) must not begin anew.
        state = self._loader.state_dict() if self._loader else self._resumed_state
        self._loader = self._training_loader()
        if state:
            self._loader.load_state_dict(state)
        return self._loader

    def state_dict(self) -> dict[str, Any]:
        """Where the training loader stands.

        The trainer saves this of the loader, too, but restores it within an epoch only.
        """
        return self._loader.state_dict() if self._loader else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the state for the training loader, which is not there yet."""
        self._resumed_state = state_dict

    def _read_regression(self) -> list[Located]:
        """Read and check the regression buckets; return all their records."""
        general = self._read("general_regression", self.general_regression)
        require_general(general, "general_regression")
        tasks = self._read("task_regression", self.task_regression)
        require_tasks(tasks, "task_regression", "general_regression")
        require_databases(tasks, self.tasks)
        self.general_regression_records = [item.record for item in general]
        self.task_regression_records = [item.record for item in tasks]
        return [*general, *tasks]

    @abstractmethod
    def _read_training(self) -> list[Located]:
        """Read and check the training buckets; return all their records."""

    @abstractmethod
    def _encode_training(self) -> None:
        """Tokenise the training buckets, once."""

    @abstractmethod
    def _training_loader(self) -> ResumableLoader[Any, Any]:
        """The batches of this rank, from the first."""

    def _read(self, setting: str, paths: Paths) -> list[Located]:
        """The records of a setting, read once."""
        if setting not in self._buckets:
            files = files_in(paths, setting)
            self._buckets[setting] = read_records(self.tasks.reader, files)
            self.data_hashes.update({str(path): file_sha256(path) for path in files})
        return self._buckets[setting]

    def _records(self, setting: str) -> list[RecordBase]:
        return [item.record for item in self._buckets.get(setting, [])]

    def _regression(self) -> list[RecordBase]:
        return [*self.general_regression_records, *self.task_regression_records]

    def _eval_loader(self, records: list[RecordBase], settings: str) -> EvalLoader:
        if not records:
            raise ConfigError(f"there is nothing to evaluate: {settings} are empty")
        if len(records) < self.world_size:
            raise ConfigError(f"{len(records)} records for {self.world_size} devices; use fewer devices")
        return EvalLoader(records, self.eval_batch_size, self.rank, self.world_size)

    def _report_too_long(self, setting: str, encoded: Encoded) -> None:
        """Say which records were left out; refuse to go on without any.

        Raises:
            ConfigError: All records of a setting are too long.
        """
        if not encoded.too_long:
            return
        self.too_long += encoded.too_long
        line = f"{setting}: {describe_too_long(encoded.too_long, len(encoded) + len(encoded.too_long))}"
        if not len(encoded):
            raise ConfigError(line)
        rank_zero_warn(line)
        for entry in encoded.too_long:
            log.info("too long: %s", entry)

    def _fingerprint(self, buckets: dict[str, Paths], **settings: Any) -> dict[str, Any]:
        """What the order of the batches depends on: hashes of the training data, and settings, as plain values."""
        hashes = [self.data_hashes[str(path)] for name, paths in buckets.items() for path in files_in(paths, name)]
        data = hashlib.sha256("".join(hashes).encode()).hexdigest()
        return {"data": data, "seed": self.seed, "devices": self.world_size, **settings}
