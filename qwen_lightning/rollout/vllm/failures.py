"""What is said of a vLLM server that does not do as asked, and what to do about it."""

from __future__ import annotations

from qwen_lightning.errors import ExecutionError

START = (
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True vllm serve MODEL --enable-lora --max-lora-rank R --max-loras N "
    "--logprobs-mode processed_logprobs (R: at least the adapter's rank; N: at least the number of ranks)"
)
MODE = "start the server with --logprobs-mode processed_logprobs"
LONGER = "start the server with a larger --max-model-len"
#: A part of what vLLM says when it refuses, and what to do about it.
_REMEDIES = {
    "max_lora_rank": "start the server with a --max-lora-rank of at least the adapter's r",
    "LoRA is not enabled": "start the server with --enable-lora",
    "No adapter found": "give a rollout.adapter_dir that the server can read under the same path",
    "maximum context length": LONGER,
    "does not exist": "it has lost the adapter: resume from the last checkpoint",
}


class Refusal(ExecutionError):
    """A request that the server answered with an error.

    Args:
        url: Address of the API.
        path: What was asked for.
        status: HTTP status.
        said: vLLM's own words; None where the path is none that it knows.
    """

    def __init__(self, url: str, path: str, status: int, said: object) -> None:
        said_whole = "no such path" if said is None else " ".join(str(said).split())
        self.said = said_whole.partition(", please check the stack trace")[0]
        remedy = next((remedy for part, remedy in _REMEDIES.items() if part in self.said), None)
        if said is None and path.endswith("_lora_adapter"):
            remedy = "start the server with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True and --enable-lora"
        if status in (401, 403):
            remedy = "name the environment variable with its key in rollout.api_key_env"
        super().__init__(f"vLLM at {url} refuses {path} ({status}): {self.said}" + (f"; {remedy}" if remedy else ""))


class Busy(Refusal):
    """A refusal that passes."""


class Unreachable(ExecutionError):
    """A request that came to no server, or whose reply was lost."""
