"""How one callback finds another."""

from __future__ import annotations

from typing import TypeVar

from lightning import Callback, Trainer

C = TypeVar("C", bound=Callback)


def find_callback(trainer: Trainer, kind: type[C]) -> C | None:
    """The trainer's first callback of a class."""
    return next((callback for callback in trainer.callbacks if isinstance(callback, kind)), None)  # type: ignore[attr-defined]
