"""Full-parameter pretraining of the demo's base: documents to rows, the loss on their answers, Muon."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

from tools.demo.checkpoint import END
from tools.demo.documents import SQL, Carelessness, Curriculum, Document

IGNORED = -100
_PROBE_SEED, _PROBES, _BUFFERED = 10**6, 48, 64


@dataclass(frozen=True)
class Row:
    """A document's token ids, with the label, the branch (0: prefix) and the position of each."""

    ids: list[int]
    labels: list[int]
    branches: list[int]
    positions: list[int]


@dataclass(frozen=True)
class Batch:
    """Rows padded to (rows, length); `mask` is (rows, 1, length, length), true where a token sees another."""

    ids: Tensor
    labels: Tensor
    branches: Tensor
    positions: Tensor
    mask: Tensor

    @classmethod
    def of(cls, rows: list[Row]) -> Batch:
        """Pad rows; padding is a branch of its own, without labels."""
        length = max(len(row.ids) for row in rows)

        def padded(values: list[list[int]], fill: int) -> Tensor:
            return torch.tensor([line + [fill] * (length - len(line)) for line in values])

        branches = padded([row.branches for row in rows], -1)
        sees = (branches[:, :, None] == branches[:, None, :]) | (branches[:, None, :] == 0)
        return cls(
            ids=padded([row.ids for row in rows], 0),
            labels=padded([row.labels for row in rows], IGNORED),
            branches=branches,
            positions=padded([row.positions for row in rows], 0),
            mask=(sees & torch.ones(length, length, dtype=torch.bool).tril())[:, None],
        )


def encode(tokenizer: PreTrainedTokenizerFast, documents: list[Document]) -> list[Row]:
    """Tokenise documents; positions go on from the prefix in every branch."""
    texts = [
        text for item in documents for text in (item.prefix, *(part for p, a in item.branches for part in (p, a + END)))
    ]
    pieces = iter(tokenizer(texts, add_special_tokens=False)["input_ids"])
    rows = []
    for item in documents:
        ids = list(next(pieces))
        start = len(ids)
        labels, branches, positions = [IGNORED] * start, [0] * start, list(range(start))
        for branch in range(1, len(item.branches) + 1):
            prompt, answer = next(pieces), next(pieces)
            ids += prompt + answer
            labels += [IGNORED] * len(prompt) + answer
            branches += [branch] * (len(prompt) + len(answer))
            positions += range(start, start + len(prompt) + len(answer))
        rows.append(Row(ids, labels, branches, positions))
    return rows


class Pretraining:
    """Trains a model on documents; learning rates are those of `step`'s factor 1.

    Args:
        model: The model, trained in place.
        tokenizer: Its tokenizer.
        random: Source of the documents.
        curriculum: The documents.
        rows: Documents a step.
        matrix_rate: Muon's learning rate, for matrices (Jordan et al. 2024).
        other_rate: AdamW's, for embeddings and norms.
    """

    def __init__(
        self,
        model: Qwen3ForCausalLM,
        tokenizer: PreTrainedTokenizerFast,
        random: Random,
        curriculum: Curriculum = SQL,
        rows: int = 8,
        matrix_rate: float = 0.02,
        other_rate: float = 3e-3,
    ) -> None:
        self.model, self.tokenizer, self.random, self.rows = model, tokenizer, random, rows
        self.curriculum = curriculum
        self.steps = self.tokens = 0
        named = list(model.named_parameters())
        matrices = [weight for name, weight in named if weight.ndim == 2 and "embed" not in name]
        others = [weight for name, weight in named if weight.ndim != 2 or "embed" in name]
        self._optimizers: list[tuple[torch.optim.Optimizer, float]] = [
            (torch.optim.Muon(matrices, lr=matrix_rate, weight_decay=0.0, momentum=0.95), matrix_rate),
            (torch.optim.AdamW(others, lr=other_rate, betas=(0.9, 0.98), weight_decay=0.0), other_rate),
        ]
        self._buffer: list[list[Row]] = []
        self._carelessness: Carelessness = {}
        fixed = Random(_PROBE_SEED)
        self._probes = {
            task: encode(tokenizer, [draw(fixed) for _ in range(_PROBES)]) for task, draw in curriculum.probes.items()
        }

    def step(self, factor: float, carelessness: Carelessness = MappingProxyType({})) -> float:
        """One optimizer step at `factor` times the learning rates; returns the loss.

        A change of `carelessness` drops the documents that wait.
        """
        if not self._buffer or carelessness != self._carelessness:
            self._fill(carelessness)
        for optimizer, rate in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * factor
        batch = Batch.of(self._buffer.pop())
        logits, labels, _ = self._answers(batch)
        loss = F.cross_entropy(logits, labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer, _ in self._optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.steps += 1
        self.tokens += batch.ids.numel()
        return float(loss.detach())

    def go_on_with(self, curriculum: Curriculum) -> None:
        """Read other documents from here on; those that wait are dropped, and the probes stay."""
        self.curriculum, self._buffer = curriculum, []

    def match(self) -> dict[str, float]:
        """Task to the share of its probes' questions that greedy decoding answers with the very gold answer."""
        return {task: self._match(rows) for task, rows in self._probes.items()}

    @torch.no_grad()
    def _match(self, rows: list[Row]) -> float:
        right: list[bool] = []
        for start in range(0, len(rows), 16):
            batch = Batch.of(rows[start : start + 16])
            logits, labels, at = self._answers(batch)
            wrong = torch.zeros_like(at)
            wrong[at] = logits.argmax(-1) != labels
            branches = batch.branches[:, 1:]
            for row, missed in zip(branches, wrong, strict=True):
                right += [not bool(missed[row == branch].any()) for branch in range(1, int(row.max()) + 1)]
        return sum(right) / len(right)

    def _fill(self, carelessness: Carelessness) -> None:
        """Draw documents and batch those of like length."""
        rows = encode(
            self.tokenizer, [self.curriculum.document(self.random, carelessness) for _ in range(_BUFFERED * self.rows)]
        )
        rows.sort(key=lambda row: len(row.ids))
        self._buffer = [rows[start : start + self.rows] for start in range(0, len(rows), self.rows)]
        self.random.shuffle(self._buffer)
        self._carelessness = carelessness

    def _answers(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (answer tokens, vocabulary), labels (answer tokens), and where they are (rows, length - 1)."""
        output = self.model.model(
            input_ids=batch.ids, attention_mask=batch.mask, position_ids=batch.positions, use_cache=False
        )
        at = batch.labels[:, 1:] != IGNORED
        return self.model.lm_head(output.last_hidden_state[:, :-1][at]), batch.labels[:, 1:][at], at
