"""Verifiable checks on an answer: small classes, named in a record by `{"type": name, ...arguments}`."""

from qwen_lightning.tasks.checks.base import Check, CheckResult
from qwen_lightning.tasks.checks.ifeval import IFEVAL_TYPES, from_ifeval
from qwen_lightning.tasks.checks.registry import CheckRegistry, arguments_of

__all__ = ["IFEVAL_TYPES", "Check", "CheckRegistry", "CheckResult", "arguments_of", "from_ifeval"]
