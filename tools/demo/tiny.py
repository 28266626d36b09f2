"""A demo small enough for a test: a few records of everything and a Qwen3 of two layers with random weights.

folder/databases/*, folder/data/*.jsonl   as make_data --all writes them
folder/base/                              tokenizer and model
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch

from tools.demo.checkpoint import corpus, make_model, save, train_tokenizer
from tools.demo.make_data import SCALES, DemoData, write_demo


@dataclass(frozen=True)
class TinyDemo(DemoData):
    """Where everything lies below `root`; `file("task_sft")` and the like are the record files."""

    @property
    def base(self) -> Path:
        return self.root / "base"


def make_tiny(folder: Path, seed: int = 0, hidden: int = 64, layers: int = 2) -> TinyDemo:
    """Write the tiny demo below `folder`; the global random state of torch stays as it was."""
    demo = TinyDemo(folder)
    write_demo(folder, seed, SCALES["tiny"], every_task=True)
    tokenizer = train_tokenizer(corpus(Random(seed), 60, every_task=True), vocabulary=1024)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        save(make_model(tokenizer, hidden, layers), tokenizer, demo.base)
    return demo
