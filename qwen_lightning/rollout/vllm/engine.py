"""VLLMRollout: completions from a vLLM server, which samples with the adapter that is trained."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

from qwen_lightning.errors import ConfigError, ExecutionError
from qwen_lightning.models.chat import ChatRenderer
from qwen_lightning.models.policy import PolicyModel
from qwen_lightning.rollout.base import Completion, RolloutEngine
from qwen_lightning.rollout.vllm.adapters import AdapterSync
from qwen_lightning.rollout.vllm.server import ModelCard, VLLMServer


class VLLMRollout(RolloutEngine):
    """Rollout through a vLLM server (0.10.2 or newer) on this machine or another one.

    The server has the base model and gets the adapter before a rollout whenever it has changed. Start it with
    `VLLM_ALLOW_RUNTIME_LORA_UPDATING=True vllm serve MODEL --enable-lora --max-lora-rank R --max-loras N
    --logprobs-mode processed_logprobs`, quantised like the trainer's, R at least the adapter's rank and N at least
    the number of ranks: each has a copy of its own there, and copies beyond N (by default 1) wait for their turn.

    A fit that ends with an exception leaves its copies in `adapter_dir`, if given, and their names on the server,
    whose memory they leave as others are loaded.

    Args:
        url: Address of the API; its host must be this machine, or share `adapter_dir`.
        model: Name of the base model there; null for the one that has this trainer's `name_or_path`.
        adapter_dir: Folder that adapters are handed over in; null for a temporary one on this machine.
        concurrency: Prompts under way at once.
        timeout_s: Seconds to wait for all samples of a prompt; what took longer is not sent again.
        retries: Times that a request is sent again when the server cannot be reached or is overloaded.
        api_key_env: Environment variable that holds the server's key; none is sent unless given.

    Raises:
        ConfigError: A setting cannot be meant.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000/v1",
        model: str | None = None,
        adapter_dir: str | None = None,
        concurrency: int = 64,
        timeout_s: float = 600.0,
        retries: int = 3,
        api_key_env: str | None = None,
    ) -> None:
        if concurrency < 1:
            raise ConfigError(f"rollout.concurrency is {concurrency}; it must be at least 1")
        self.url, self.model, self.adapter_dir, self.concurrency = url, model, adapter_dir, concurrency
        self._server = VLLMServer(url, api_key_env, timeout_s, retries)
        self._adapters = AdapterSync(self._server, adapter_dir)
        self._processed = {0.0, 1.0}  # temperatures at which log-probs are known to be the sampling distribution's

    def sample(
        self,
        policy: PolicyModel,
        renderer: ChatRenderer,
        prompts: list[list[int]],
        counts: Sequence[int],
        max_new_tokens: int,
        temperature: float = 1.0,
    ) -> list[list[Completion]]:
        """Complete every prompt as often as its own count says, all at once.

        Raises:
            ExecutionError: The server cannot be reached, cannot load the adapter, or fails at a prompt.
            ConfigError: It has another base model, or is too short for a prompt and its completion.
        """
        if not prompts:
            return []
        cards = self._server.models()
        base = self._base(policy, cards)
        longest = max(map(len, prompts)) + max_new_tokens
        if base.max_model_len is not None and longest > base.max_model_len:
            raise ConfigError(
                f"a prompt of {longest - max_new_tokens} tokens and a completion of {max_new_tokens} exceed the "
                f"{base.max_model_len} of vLLM at {self.url}; start the server with --max-model-len {longest}"
            )
        name = self._adapters.name_of(policy, {card.id for card in cards}) or base.id
        if temperature not in self._processed:
            self._server.require_processed(name, prompts[0], temperature)
            self._processed.add(temperature)

        # One request a prompt: the prompts of one request would share the seed, and so the noise.
        seeds: list[int | None] = [None] * len(prompts)
        if temperature > 0:
            seeds = torch.randint(2**62, (len(prompts),)).tolist()

        def complete(prompt: list[int], count: int, seed: int | None) -> list[Completion]:
            return self._server.complete(name, prompt, count, max_new_tokens, temperature, renderer.eos_ids, seed)

        with ThreadPoolExecutor(min(self.concurrency, len(prompts)), "vllm") as threads:
            # At the first failure `map` cancels what has not begun.
            return list(threads.map(complete, prompts, counts, seeds))

    def close(self) -> None:
        """Unload this run's adapters, and drop the connections."""
        try:
            self._adapters.close()
        except (ExecutionError, OSError) as error:  # the run is over: what it trained is safe
            warnings.warn(f"adapters may stay loaded: {error}", stacklevel=2)
        self._server.close()

    def _base(self, policy: PolicyModel, cards: list[ModelCard]) -> ModelCard:
        """The server's base model.

        Raises:
            ConfigError: It is another one than the policy's.
        """
        bases = [card for card in cards if card.parent is None]
        own = str(policy.backbone.name_or_path)
        for card in bases:
            if card.is_base(own) if self.model is None else card.id == self.model:
                return card
        served = ", ".join(card.id if card.root in (None, card.id) else f"{card.id} ({card.root})" for card in bases)
        raise ConfigError(
            f"vLLM at {self.url} has the base model {served or 'none'}, not {self.model or own}; serve that one, or "
            "where it only has another name there, say so in rollout.model"
        )
