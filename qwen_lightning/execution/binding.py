from __future__ import annotations
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Call:
    name: str
    arguments: tuple[str, ...]
    result: str
