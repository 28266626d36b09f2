"""The engine that computes a prompt once: its keys and values serve all completions of its group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal
from weakref import ref

import torch
from lightning.pytorch.utilities import rank_zero_warn

from qwen_lightning.errors import ConfigError
from qwen_lightning.models.chat import ChatRenderer
from qwen_lightning.models.memory import GIB, free_memory
from qwen_lightning.models.policy import PolicyModel
from qwen_lightning.rollout.base import Completion, RolloutEngine
from qwen_lightning.rollout.generate import GenerateRollout
from qwen_lightning.rollout.grouped.cache import CacheShape
from qwen_lightning.rollout.grouped.decoder import Decoder, why_not
from qwen_lightning.rollout.grouped.memory import MARGIN, plan_batches, token_bytes, working_bytes
from qwen_lightning.rollout.grouped.session import DecodingSession
from qwen_lightning.rollout.grouped.weights import DecoderWeights, Placement, merged_bytes

Weights = Literal["auto", "nf4", "bf16"]
_CPU_TOKENS = 65536
_CPU_COPY = 2 * GIB
_PROMPT_ROOM = 256  # prompt rooms on a GPU are multiples of it, so that steps share their buffers and graphs


class GroupedRollout(RolloutEngine):
    """Rollout on the resident model: one prefill and one prompt cache a group, one CUDA graph a decode step.

    Sequences that have ended leave the batch, so that a long one does not hold it. For Qwen3, Qwen2 and Llama;
    other architectures go through `generate`.

    Args:
        weights: What is decoded with. `nf4` is the backbone as it lies in memory, quantised or not, with the adapter
            beside it. `bf16` is a copy in the model's dtype with the adapter merged in, written anew when the adapter
            has changed. `auto` takes the copy where twice `reserve_gib` is free beside it; on a CPU, up to 2 GiB of it.
        batch_size: Most sequences decoded at once.
        batch_tokens: Most tokens whose keys and values are held at once, a prompt's counted once a group. null plans
            them from the free memory of a GPU; on a CPU it is 65,536.
        reserve_gib: GPU memory, in GiB, for the update. Buffers, graphs and the merged copy stay for the next rollout
            where that much is free beside them; else, and where an update needs more, they are freed.
    """

    def __init__(
        self,
        weights: Weights = "auto",
        batch_size: int = 256,
        batch_tokens: int | None = None,
        reserve_gib: float = 14.0,
    ) -> None:
        if batch_size < 1 or (batch_tokens is not None and batch_tokens < 1):
            raise ConfigError(f"batch_size {batch_size} and batch_tokens {batch_tokens} must be at least 1")
        if reserve_gib < 0:
            raise ConfigError(f"reserve_gib is {reserve_gib}; it must be at least 0")
        if weights not in ("auto", "nf4", "bf16"):
            raise ConfigError(f"weights {weights!r} is unknown; use auto, nf4 or bf16")
        self.weights, self.batch_size, self.batch_tokens = weights, batch_size, batch_tokens
        self.reserve = int(reserve_gib * GIB)
        self._weights: DecoderWeights | None = None
        self._decoder: Decoder | None = None
        self._session: DecodingSession | None = None
        self._placed: tuple[ref[PolicyModel], Placement] | None = None
        self._warned = False

    def sample(
        self,
        policy: PolicyModel,
        renderer: ChatRenderer,
        prompts: list[list[int]],
        counts: Sequence[int],
        max_new_tokens: int,
        temperature: float = 1.0,
    ) -> list[list[Completion]]:
        if (obstacle := why_not(policy.backbone)) is not None:
            if not self._warned:
                rank_zero_warn(f"GroupedRollout goes through `generate`, which is slower: {obstacle}")
                self._warned = True
            engine = GenerateRollout(self.batch_size, self.batch_tokens or _CPU_TOKENS)
            return engine.sample(policy, renderer, prompts, counts, max_new_tokens, temperature)
        try:
            # Buffers outlive the call, so they must be no inference tensors. Autocast would cast weights at every step.
            with (
                torch.inference_mode(False),
                policy.evaluating(),
                torch.autocast(policy.device.type, enabled=False),
            ):
                return self._sample(policy, renderer, prompts, counts, max_new_tokens, temperature)
        finally:
            free = free_memory(policy.device)
            if free is not None and free < self.reserve:
                self.release()

    def fingerprint(self, policy: PolicyModel) -> dict[str, Any]:
        return super().fingerprint(policy) | {"weights": self._placement(policy)}

    def release(self) -> None:
        """Free buffers, graphs and the merged copy; the next rollout makes them anew."""
        self._weights = self._decoder = self._session = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_weights": None, "_decoder": None, "_session": None, "_placed": None}

    def _sample(
        self,
        policy: PolicyModel,
        renderer: ChatRenderer,
        prompts: list[list[int]],
        counts: Sequence[int],
        max_new_tokens: int,
        temperature: float,
    ) -> list[list[Completion]]:
        completions: list[list[Completion]] = [[] for _ in prompts]
        if not prompts:
            return completions
        decoder = self._prepared(policy)
        lengths = [len(prompt) for prompt in prompts]
        limit = self._token_limit(decoder, max(lengths) + max_new_tokens, sum(counts))
        rounding = _PROMPT_ROOM if policy.device.type == "cuda" else 1
        held = None if self._session is None else self._session.shape
        for batch in plan_batches(lengths, counts, max_new_tokens, self.batch_size, limit, rounding, held):
            chosen = [prompts[index] for index in batch.prompts]
            session = self._session_for(decoder, batch.shape, renderer.eos_ids, limit)
            groups = session.decode(chosen, batch.counts, max_new_tokens, temperature)
            del session  # it must go where the next batch needs larger buffers
            for index, group in zip(batch.prompts, groups, strict=True):
                completions[index] += group
        return completions

    def _prepared(self, policy: PolicyModel) -> Decoder:
        """The decoder of this policy where it lies now, its weights up to date."""
        weights, decoder = self._weights, self._decoder
        if weights is None or decoder is None or weights.policy is not policy or decoder.device != policy.device:
            weights = decoder = None  # before the new ones take their memory
            self._weights = self._decoder = self._session = None
            self._weights = weights = DecoderWeights(policy, self._placement(policy))
            self._decoder = decoder = Decoder(policy.backbone, weights.layers)
        weights.refresh()
        return decoder

    def _placement(self, policy: PolicyModel) -> Placement:
        """Decided once for a policy: a run must not go from one kind of rounding to another."""
        if self._placed is None or self._placed[0]() is not policy:
            self._placed = ref(policy), self._place(policy)
        return self._placed[1]

    def _place(self, policy: PolicyModel) -> Placement:
        if self.weights != "auto":
            return "resident" if self.weights == "nf4" else "merged"
        copy = merged_bytes(policy)
        free = free_memory(policy.device)
        fits = copy <= _CPU_COPY if free is None else copy + 2 * self.reserve < free
        return "merged" if fits else "resident"

    def _token_limit(self, decoder: Decoder, longest: int, rows: int) -> int:
        """Tokens whose keys and values may be held at once.

        Raises:
            ConfigError: Not even one completion's fit into the memory that is free.
        """
        if self.batch_tokens is not None:
            return self.batch_tokens
        free = free_memory(decoder.device)
        if free is None:
            return _CPU_TOKENS
        held = 0 if self._session is None else self._session.shape.tokens
        spare = free - MARGIN - working_bytes(decoder, min(rows, self.batch_size))
        limit = spare // token_bytes(decoder) + held
        if limit < longest + _PROMPT_ROOM:
            raise ConfigError(
                f"{free / GIB:.1f} GiB of GPU memory are free, too little to decode a sequence of {longest} tokens; "
                "set model.rollout.init_args.weights to nf4, lower its batch_size, or take a smaller max_seq_len"
            )
        return limit

    def _session_for(self, decoder: Decoder, shape: CacheShape, eos_ids: list[int], limit: int) -> DecodingSession:
        """Buffers that hold a batch: the last one's where they do, else new ones, for both where the limit allows."""
        if self._session is not None:
            held = self._session.shape
            if held.covers(shape) and self._session.eos_ids == eos_ids:
                return self._session
            if held.union(shape).tokens <= limit:
                shape = held.union(shape)
            self._session = None  # before the new ones take their memory
        self._session = DecodingSession(decoder, shape, eos_ids, row_buckets=decoder.device.type == "cuda")
        return self._session
