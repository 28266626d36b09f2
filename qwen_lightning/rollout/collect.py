"""Collector: from prompts to experience, with verification under the reference's forward pass."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future

import torch
from torch import Tensor

from qwen_lightning.models.chat import ChatRenderer
from qwen_lightning.models.policy import PolicyModel
from qwen_lightning.records import RecordBase
from qwen_lightning.rewards.table import RewardTable
from qwen_lightning.rollout.advantages import Scale, flat_groups, group_advantages, reward_std
from qwen_lightning.rollout.base import Completion, RolloutEngine
from qwen_lightning.rollout.experience import Experience
from qwen_lightning.rollout.packs import TokenSequence, sequence_logprobs
from qwen_lightning.tasks.verification import Verifier
from qwen_lightning.verdict import Verdict


class Collector:
    """Samples, judges and scores the completions of one batch of prompts.

    Args:
        policy: The model.
        renderer: Its chat template.
        engine: Where completions are sampled.
        verifier: Judges them, in threads.
        rewards: Verdict to reward.
        group_size: Completions a task prompt.
        max_new_tokens: Length limit of a completion.
        temperature: Of the sampling distribution, and of all log-probs.
        token_budget: Tokens a forward pass, padding included.
        scale: Divisor of the advantages.
        mask_truncated: Whether completions cut by the length limit leave loss and statistics.
        resample: How often groups whose rewards are all equal are sampled anew.
    """

    def __init__(
        self,
        policy: PolicyModel,
        renderer: ChatRenderer,
        engine: RolloutEngine,
        verifier: Verifier,
        rewards: RewardTable,
        group_size: int,
        max_new_tokens: int,
        temperature: float,
        token_budget: int,
        scale: Scale,
        mask_truncated: bool,
        resample: int,
    ) -> None:
        self.policy, self.renderer, self.engine, self.verifier, self.rewards = (
            policy,
            renderer,
            engine,
            verifier,
            rewards,
        )
        self.group_size, self.max_new_tokens, self.temperature = group_size, max_new_tokens, temperature
        self.token_budget, self.scale, self.mask_truncated, self.resample = (
            token_budget,
            scale,
            mask_truncated,
            resample,
        )

    def collect(
        self,
        records: Sequence[RecordBase],
        prompts: Sequence[list[int]],
        general_records: Sequence[RecordBase],
        general_prompts: Sequence[list[int]],
        keep_old: bool,
        gather: Callable[[Tensor], Tensor],
    ) -> Experience:
        """One rollout.

        Args:
            records: Task records, one a group.
            prompts: Their prompts' ids.
            general_records: Records that carry the KL term alone.
            general_prompts: Their prompts' ids.
            keep_old: Whether to compute the old log-probs, for more than one update a rollout.
            gather: All ranks' rewards from this rank's, for the batch scale.

        Raises:
            ExecutionError: The executor cannot work.
        """
        started = time.perf_counter()
        # In one call: general prompts by themselves would take as many decode steps again.
        sampled = self._sample(
            [*prompts, *general_prompts], [self.group_size] * len(prompts) + [1] * len(general_prompts)
        )
        groups, general = sampled[: len(prompts)], sampled[len(prompts) :]
        judged = [self._judge(record, group) for record, group in zip(records, groups, strict=True)]
        for _ in range(self.resample):
            flat = [
                i
                for i, futures in enumerate(judged)
                if bool(flat_groups(self._rewards([records[i]], [groups[i]], [futures])).all())
            ]
            if not flat:
                break
            anew = self._sample([prompts[i] for i in flat], [self.group_size] * len(flat))
            for i, group in zip(flat, anew, strict=True):
                groups[i], judged[i] = group, self._judge(records[i], group)
        experience = self._lay_out(records, prompts, groups, general_records, general_prompts, general)
        sampled_at = time.perf_counter()
        with self.policy.reference():
            experience.reference_logprobs = self.logprobs(experience.sequences)
        if keep_old:
            experience.old_logprobs = self.logprobs(experience.sequences)
        waited_from = time.perf_counter()
        experience.rewards = self._rewards(records, groups, judged)
        experience.verdicts = [future.result() for futures in judged for future in futures]
        experience.seconds = {
            "rollout_seconds": sampled_at - started,
            "verification_wait_seconds": time.perf_counter() - waited_from,
        }
        std = reward_std(gather(experience.rewards)) if self.scale == "batch" else None
        experience.advantages = group_advantages(experience.rewards, self.scale, std)
        return experience

    def logprobs(self, sequences: Sequence[TokenSequence]) -> list[Tensor]:
        """Log-probs of every completion under the adapter in use, without gradient: a (tokens,) tensor each."""
        return sequence_logprobs(self.policy, sequences, self.token_budget, self.temperature)

    def _sample(self, prompts: list[list[int]], counts: list[int]) -> list[list[Completion]]:
        return self.engine.sample(self.policy, self.renderer, prompts, counts, self.max_new_tokens, self.temperature)

    def _judge(self, record: RecordBase, group: Sequence[Completion]) -> list[Future[Verdict]]:
        return self.verifier.submit(
            [record] * len(group), [self.renderer.decode(completion.ids) for completion in group]
        )

    def _rewards(
        self,
        records: Sequence[RecordBase],
        groups: Sequence[Sequence[Completion]],
        judged: Sequence[Sequence[Future[Verdict]]],
    ) -> Tensor:
        """(groups, group size); nan for a completion that has no reward or is masked."""
        rows = []
        for record, group, futures in zip(records, groups, judged, strict=True):
            row = []
            for completion, future in zip(group, futures, strict=True):
                reward = self.rewards.reward(record, future.result())
                masked = reward is None or (completion.truncated and self.mask_truncated)
                row.append(float("nan") if masked else reward)
            rows.append(row)
        return torch.tensor(rows, dtype=torch.float32)

    def _lay_out(
        self,
        records: Sequence[RecordBase],
        prompts: Sequence[list[int]],
        groups: Sequence[Sequence[Completion]],
        general_records: Sequence[RecordBase],
        general_prompts: Sequence[list[int]],
        general: Sequence[Sequence[Completion]],
    ) -> Experience:
        all_records: list[RecordBase] = []
        sequences: list[TokenSequence] = []
        completions: list[Completion] = []
        for record, prompt, group in zip(
            [*records, *general_records], [*prompts, *general_prompts], [*groups, *general], strict=True
        ):
            for completion in group:
                all_records.append(record)
                sequences.append(TokenSequence(prompt, completion.ids))
                completions.append(completion)
        texts = [self.renderer.decode(completion.ids) for completion in completions]
        return Experience(self.group_size, all_records, sequences, completions, texts)
