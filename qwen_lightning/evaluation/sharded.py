"""Evaluation over all ranks: each takes its share of the records, all get all rows."""

from __future__ import annotations

from collections.abc import Sequence

import torch.distributed as dist

from qwen_lightning.evaluation.evaluator import Evaluator
from qwen_lightning.records import RecordBase
from qwen_lightning.regression.scores import ScoreRow


def run_sharded(evaluator: Evaluator, records: Sequence[RecordBase]) -> list[ScoreRow]:
    """Rows of all records, in their order, on every rank. All ranks must call it."""
    if not (dist.is_available() and dist.is_initialized()):
        return evaluator.run(records)
    world, rank = dist.get_world_size(), dist.get_rank()
    shards: list[list[ScoreRow]] = [[]] * world
    dist.all_gather_object(shards, evaluator.run(records[rank::world]))
    return [shards[i % world][i // world] for i in range(len(records))]
