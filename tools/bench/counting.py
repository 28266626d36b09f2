"""A task whose verification costs next to nothing, and batches of random prompts for it."""

from __future__ import annotations

from random import Random

from qwen_lightning.data.batches import GRPOBatch
from qwen_lightning.records import GeneralRecord, RecordBase
from qwen_lightning.rewards.table import RewardTable
from qwen_lightning.tasks.base import VerifiedTask
from qwen_lightning.tasks.registry import TaskRegistry
from qwen_lightning.verdict import Verdict
from tools.bench.cases import RolloutCase, random_ids

GENERAL_TOKENS = 128  # of a general prompt, at most


class Counting(VerifiedTask[RecordBase]):
    """Right is a completion of an even number of characters, which half of them have."""

    name = "counting"
    checks = ("even",)
    decides = "even"

    def system(self, record: RecordBase) -> str:
        return ""

    def verify(self, record: RecordBase, completion: str) -> Verdict:
        return Verdict({"even": float(len(completion) % 2 == 0)})


def counting_parts() -> tuple[TaskRegistry, RewardTable]:
    """The task, and its reward."""
    return TaskRegistry(custom=[Counting()]), RewardTable({"counting": {"even": 1.0}})


def counting_batch(case: RolloutCase, vocabulary: int, random: Random, general: int = 1) -> GRPOBatch:
    """The case's prompts, and `general` others beside them, on which KL alone acts."""
    record = RecordBase(id="task", task="counting", input="?")
    other = GeneralRecord(id="general", task="general", input="?")
    tokens = min(case.prompt_tokens, GENERAL_TOKENS)
    return GRPOBatch(
        task_records=[record] * case.prompts,
        general_records=[other] * general,
        task_prompt_ids=case.draw_prompts(vocabulary, random),
        general_prompt_ids=[random_ids(tokens, vocabulary, random) for _ in range(general)],
    )
