"""Evaluation: greedy completions, likelihoods and verdicts of records under the adapter in use."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from qwen_lightning.models.chat import ChatRenderer
from qwen_lightning.models.policy import PolicyModel
from qwen_lightning.records import GeneralRecord, RecordBase
from qwen_lightning.regression.scores import ScoreRow
from qwen_lightning.rewards.table import RewardTable
from qwen_lightning.rollout.base import RolloutEngine
from qwen_lightning.rollout.packs import TokenSequence, build_packs, completion_logprobs
from qwen_lightning.tasks.base import VerifiedTask
from qwen_lightning.tasks.checks.answers import MultipleChoice
from qwen_lightning.tasks.general import General
from qwen_lightning.tasks.registry import TaskRegistry
from qwen_lightning.tasks.verification import Verifier
from qwen_lightning.verdict import Verdict


class Evaluator:
    """Runs records through the policy.

    Args:
        policy: The model; the adapter in use answers.
        renderer: Its chat template.
        tasks: Knows prompts, targets and verdicts.
        rewards: Verdict to reward.
        engine: Completes prompts.
        max_new_tokens: Length limit of a completion.
        token_budget: Tokens a forward pass of likelihoods, padding included.
        verify_threads: Completions verified at once.
    """

    def __init__(
        self,
        policy: PolicyModel,
        renderer: ChatRenderer,
        tasks: TaskRegistry,
        rewards: RewardTable,
        engine: RolloutEngine,
        max_new_tokens: int,
        token_budget: int = 16384,
        verify_threads: int = 8,
    ) -> None:
        self.policy, self.renderer, self.tasks, self.rewards, self.engine = policy, renderer, tasks, rewards, engine
        self.max_new_tokens, self.token_budget = max_new_tokens, token_budget
        self.verifier = Verifier(tasks, verify_threads)

    def run(self, records: Sequence[RecordBase]) -> list[ScoreRow]:
        """Score every record, in order: verdict and reward of a greedy completion, NLL of the gold.

        A record whose task has no verifier and that has no gold gets a row without checks.
        """
        texts = self._complete_verified(records)
        verdicts = self.verifier.verify(records, texts)
        losses = self.gold_nll(records)
        choices = self._multiple_choice(records)
        return [
            self._row(record, text, _with_choices(verdict, chosen), nll)
            for record, text, verdict, nll, chosen in zip(records, texts, verdicts, losses, choices, strict=True)
        ]

    def complete(self, records: Sequence[RecordBase]) -> list[str]:
        """Greedy completions, in order."""
        prompts = [self.renderer.prompt_ids(self.tasks[record.task].prompt(record)) for record in records]
        groups = self.engine.generate(self.policy, self.renderer, prompts, 1, self.max_new_tokens, temperature=0.0)
        return [self.renderer.decode(group[0].ids) for group in groups]

    def gold_nll(self, records: Sequence[RecordBase]) -> list[float | None]:
        """Mean negative log-likelihood of the gold's tokens, in nats; None where a record has no gold."""
        with_gold = [index for index, record in enumerate(records) if record.gold is not None]
        sequences = []
        for index in with_gold:
            task = self.tasks[records[index].task]
            example = self.renderer.example(task.prompt(records[index]), task.target(records[index]))
            sequences.append(TokenSequence(example.prompt_ids, example.completion_ids))
        result: list[float | None] = [None] * len(records)
        for index, total, sequence in zip(with_gold, self.likelihoods(sequences), sequences, strict=True):
            result[index] = -total / len(sequence.completion)
        return result

    def likelihoods(self, sequences: Sequence[TokenSequence]) -> list[float]:
        """Log-likelihood of each completion, summed over its tokens, in nats."""
        totals = [0.0] * len(sequences)
        with self.policy.evaluating():
            for pack in build_packs(sequences, range(len(sequences)), self.token_budget, self.policy.device):
                values = completion_logprobs(self.policy, pack, 1.0)[0].sum(dim=1)
                for member, value in zip(pack.members, values.tolist(), strict=True):
                    totals[member] = value
        return totals

    def close(self) -> None:
        """Stop the verifying threads."""
        self.verifier.close()

    def _complete_verified(self, records: Sequence[RecordBase]) -> list[str]:
        """Completions where there is something to verify; "" elsewhere."""
        chosen = [index for index, record in enumerate(records) if self._needs_completion(record)]
        texts = [""] * len(records)
        for index, text in zip(chosen, self.complete([records[index] for index in chosen]), strict=True):
            texts[index] = text
        return texts

    def _needs_completion(self, record: RecordBase) -> bool:
        task = self.tasks[record.task]
        if isinstance(task, General) and isinstance(record, GeneralRecord):
            return any(not check.needs_likelihood for check in task.check_types.of(record).values())
        return isinstance(task, VerifiedTask)

    def _multiple_choice(self, records: Sequence[RecordBase]) -> list[dict[str, float]]:
        """`multiple_choice` checks: 1 where the right choice is the likeliest answer, by its mean token."""
        sequences: list[TokenSequence] = []
        asked: list[tuple[int, str, int, slice]] = []
        for index, record in enumerate(records):
            task = self.tasks[record.task]
            if not (isinstance(task, General) and isinstance(record, GeneralRecord)):
                continue
            for name, check in task.check_types.of(record).items():
                if isinstance(check, MultipleChoice):
                    start = len(sequences)
                    for choice in check.choices:
                        example = self.renderer.example(task.prompt(record), choice)
                        sequences.append(TokenSequence(example.prompt_ids, example.completion_ids))
                    asked.append((index, name, check.right, slice(start, len(sequences))))
        totals = self.likelihoods(sequences)
        means = torch.tensor([total / len(item.completion) for total, item in zip(totals, sequences, strict=True)])
        result: list[dict[str, float]] = [{} for _ in records]
        for index, name, right, span in asked:
            result[index][name] = float(int(means[span].argmax()) == right)
        return result

    def _row(self, record: RecordBase, text: str, verdict: Verdict, nll: float | None) -> ScoreRow:
        return ScoreRow(
            id=record.id,
            task=record.task,
            reward=self.rewards.reward(record, verdict),
            checks=dict(verdict.checks),
            detail=verdict.detail,
            ability=getattr(record, "ability", None),
            nll=nll,
            completion=text,
        )


def _with_choices(verdict: Verdict, chosen: dict[str, float]) -> Verdict:
    """The verdict with the checks that needed likelihoods, `all` among them."""
    if not chosen:
        return verdict
    checks = {**verdict.checks, **chosen}
    return Verdict({**checks, "all": min(checks.values())}, verdict.detail, verdict.gaps)
