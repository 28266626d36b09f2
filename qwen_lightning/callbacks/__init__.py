"""Callbacks: a concern a file. Importing them here gives them short names in YAML."""

from qwen_lightning.callbacks.adapter_checkpoint import AdapterCheckpoint
from qwen_lightning.callbacks.completions import CompletionsWriter
from qwen_lightning.callbacks.progress import RunProgress
from qwen_lightning.callbacks.red_line_brake import RedLineBrake
from qwen_lightning.callbacks.regression_eval import RegressionEval
from qwen_lightning.callbacks.sample_table import SampleTable
from qwen_lightning.callbacks.signals import SignalCheckpoint
from qwen_lightning.callbacks.target_kl import TargetKL

__all__ = [
    "AdapterCheckpoint",
    "CompletionsWriter",
    "RedLineBrake",
    "RegressionEval",
    "RunProgress",
    "SampleTable",
    "SignalCheckpoint",
    "TargetKL",
]
