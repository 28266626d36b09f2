"""The sizes that are measured, as an option spells them."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RolloutCase:
    """`8x8:512/128`: 8 prompts of 512 tokens, 8 completions each of at most 128."""

    prompts: int
    samples: int
    prompt_tokens: int
    new_tokens: int

    def __str__(self) -> str:
        return f"{self.prompts}x{self.samples}:{self.prompt_tokens}/{self.new_tokens}"

    def draw_prompts(self, vocabulary: int, random: Random) -> list[list[int]]:
        """Prompts of random ids; 0 is the padding's."""
        return [random_ids(self.prompt_tokens, vocabulary, random) for _ in range(self.prompts)]


@dataclass(frozen=True, slots=True)
class SFTCase:
    """`4x2048`: micro-batches of 4 rows of 2,048 tokens; `4x~2048`: of as many tokens, of sequences up to that long."""

    rows: int
    length: int
    ragged: bool = False

    def __str__(self) -> str:
        return f"{self.rows}x{'~' if self.ragged else ''}{self.length}"

    def draw_lengths(self, micro_batches: int, random: Random) -> list[int]:
        """Tokens of each sequence of a step; ragged ones are log-uniform from a 32nd of the longest."""
        total = micro_batches * self.rows * self.length
        if not self.ragged:
            return [self.length] * (micro_batches * self.rows)
        least = max(2, self.length // 32)
        lengths: list[int] = []
        while total - sum(lengths) >= least:
            drawn = round(least * (self.length / least) ** random.random())
            lengths.append(min(drawn, total - sum(lengths)))
        return lengths


def random_ids(count: int, vocabulary: int, random: Random) -> list[int]:
    """Ids from 1: 0 is the padding's."""
    return [random.randrange(1, vocabulary) for _ in range(count)]


def rollout_case(text: str) -> RolloutCase:
    """Read `8x8:512/128`."""
    return _read(r"(\d+)x(\d+):(\d+)/(\d+)", text, "8x8:512/128", lambda *sizes: RolloutCase(*map(int, sizes)))


def sft_case(text: str) -> SFTCase:
    """Read `4x2048` or `4x~2048`."""
    return _read(
        r"(\d+)x(~?)(\d+)",
        text,
        "4x2048 or 4x~2048",
        lambda rows, ragged, length: SFTCase(int(rows), int(length), bool(ragged)),
    )


def _read(pattern: str, text: str, example: str, build: Callable[..., T]) -> T:
    match = re.fullmatch(pattern, text)
    if match is None or any(part and not part.strip("0") for part in match.groups()):
        raise argparse.ArgumentTypeError(f"{text!r} is no case; write {example}")
    return build(*match.groups())
