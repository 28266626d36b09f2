"""AdapterSync: keeps a vLLM server's copies of the adapters equal to the trainer's."""

from __future__ import annotations

import copy
import os
import shutil
import uuid
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from qwen_lightning.errors import ExecutionError
from qwen_lightning.models.policy import PolicyModel
from qwen_lightning.rollout.vllm.server import VLLMServer

_WEIGHTS_FILE = "adapter_model.safetensors"  # as peft and vLLM name it


@dataclass(frozen=True, slots=True)
class _Copy:
    """What the server has of an adapter: its name there, the folder that it was read from, and what lies in it."""

    name: str
    folder: Path
    config: dict[str, Any]
    state: dict[str, Tensor]

    def equals(self, config: dict[str, Any], state: dict[str, Tensor]) -> bool:
        return (
            self.config == config
            and self.state.keys() == state.keys()
            and all(torch.equal(tensor, state[name]) for name, tensor in self.state.items())
        )


class AdapterSync:
    """Writes adapters for a server and loads them there, each time under a name that was never used before.

    A name stands for the same weights for ever, so that the server's prefix cache cannot mix two policies. Only
    adapters travel: the server's base model stays as it is.

    Args:
        server: The server.
        folder: Where adapters are written, for the server to read; None for a temporary folder.
    """

    def __init__(self, server: VLLMServer, folder: str | None) -> None:
        self._server, self._given = server, folder
        self._copies: dict[str, _Copy] = {}
        self._temporary: TemporaryDirectory[str] | None = None

    def name_of(self, policy: PolicyModel, present: Collection[str]) -> str | None:
        """The server's name for the adapter in use, loaded and up to date; None for the bare backbone.

        Args:
            policy: The model.
            present: Names that the server has now; a copy that it lost is loaded anew.

        Raises:
            ExecutionError: The server cannot load it.
        """
        adapter = policy.adapter_in_use
        if adapter is None:
            return None
        config = copy.copy(policy.peft.peft_config[adapter])
        config.inference_mode = True
        # Compared as a whole: in-place updates do not all raise a tensor's version.
        state = {name: tensor.detach().cpu() for name, tensor in policy.adapter_state(adapter).items()}
        old = self._copies.get(adapter)
        if old is not None and old.name in present and old.equals(config.to_dict(), state):
            return old.name
        # New even after a load that failed here: it may have succeeded there. Runs and ranks may share the server.
        name = f"{adapter}-{uuid.uuid4().hex}"
        folder = self._root() / name
        folder.mkdir(parents=True)
        kept = {key: tensor.clone().contiguous() for key, tensor in state.items()}  # on a CPU it is the parameter
        save_file(kept, folder / _WEIGHTS_FILE, {"format": "pt"})
        config.save_pretrained(str(folder))
        try:
            self._server.load_adapter(name, folder)
        except ExecutionError:
            shutil.rmtree(folder)
            raise
        self._copies[adapter] = _Copy(name, folder, config.to_dict(), kept)
        if old is not None:
            self._drop(old)
        return name

    def close(self) -> None:
        """Unload all copies, and remove their folders.

        Raises:
            ExecutionError: The server cannot be reached or refuses.
        """
        while self._copies:
            self._drop(self._copies.popitem()[1])

    def _drop(self, old: _Copy) -> None:
        try:
            self._server.unload_adapter(old.name)
        finally:
            with suppress(FileNotFoundError):  # who cleans temporary folders may have been here
                shutil.rmtree(old.folder)

    def _root(self) -> Path:
        if self._given is not None:
            return Path(self._given).resolve()
        if self._temporary is None:
            self._temporary = TemporaryDirectory(prefix="qwen-lightning-adapters-")
            os.chmod(self._temporary.name, 0o755)  # the server may run as another user
        return Path(self._temporary.name)
