"""Make the demo's base, a small Qwen3: `python -m tools.demo.make_base --output demo/base --seed 0 [--all]`.

Three stages, each with a measured stop, so that every seed starts its adapters from about the same place:

1. clean text until the model looks names up in a schema it never saw;
2. the learning rate falls to nothing, still on clean text;
3. careless text, in which most queries use the question's words in place of the schema's names, until that habit
   has brought the match down to a set level. What GRPO can win back is this habit over a skill that is there.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import torch

from tools.demo.checkpoint import corpus, make_model, save, train_tokenizer
from tools.demo.documents import EVERY_TASK, SQL, by_need
from tools.demo.pretraining import Pretraining


@dataclass(frozen=True)
class Recipe:
    """Sizes, stops and rates of the three stages; rates are factors of Pretraining's.

    `careless_shares` are the tasks' whose habit needs another share than `carelessness` to survive Base-SFT.
    """

    every_task: bool = False
    hidden: int = 128
    layers: int = 4
    vocabulary: int = 1400
    tokenizer_texts: int = 2000
    warmup: int = 60
    first_lookup: float = 0.5
    lookup: float = 0.85
    check_every: int = 50
    max_steps: int = 1600
    decay: int = 300
    carelessness: float = 0.6
    careless_shares: dict[str, float] = field(default_factory=dict)
    careless_match: float = 0.45
    careless_rate: float = 0.15
    careless_warmup: int = 10
    careless_check_every: int = 10
    careless_max_steps: int = 150
    careless_decay: int = 20


#: With --all: lessons of every task, each to be learned before the careless stage and each to have its habit after it.
EVERY_TASK_RECIPE = Recipe(
    every_task=True,
    vocabulary=1600,
    lookup=0.65,
    max_steps=1600,
    careless_shares={"slot_json": 0.8},
    careless_check_every=20,
    careless_max_steps=100,
)


def make_base(folder: Path, seed: int, recipe: Recipe, say: Callable[[str], None] = print) -> None:
    """Train tokenizer and model and write them to `folder`."""
    random, start = Random(f"demo base {seed}"), time.monotonic()
    tokenizer = train_tokenizer(corpus(random, recipe.tokenizer_texts, recipe.every_task), recipe.vocabulary)
    torch.manual_seed(seed)
    model = make_model(tokenizer, recipe.hidden, recipe.layers)
    training = Pretraining(model, tokenizer, random, EVERY_TASK if recipe.every_task else SQL)

    def report(stage: str, loss: float, matches: dict[str, float] | None = None) -> None:
        speed = training.tokens / max(time.monotonic() - start, 1e-9)
        shares = ", ".join(f"{task} {match:.1%}" for task, match in (matches or training.match()).items())
        say(f"{stage}: step {training.steps}, loss {loss:.3f}, match: {shares}, {speed:,.0f} tokens/s")

    for step in range(1, recipe.max_steps + 1):
        loss = training.step(min(1.0, step / recipe.warmup))
        if step % recipe.check_every == 0 or step == recipe.max_steps:
            matches = training.match()
            report("learning to look names up", loss, matches)
            if min(matches.values()) >= recipe.lookup:
                break
            if recipe.every_task and matches["text2sql"] >= recipe.first_lookup:
                training.go_on_with(by_need(matches))
    for step in range(1, recipe.decay + 1):
        loss = training.step(1 - step / (recipe.decay + 1))
    report("settled", loss)
    shares = dict.fromkeys(training.curriculum.probes, recipe.carelessness) | recipe.careless_shares
    for step in range(1, recipe.careless_max_steps + 1):
        loss = training.step(recipe.careless_rate * min(1.0, step / recipe.careless_warmup), shares)
        if step % recipe.careless_check_every == 0 and max(training.match().values()) <= recipe.careless_match:
            break
    for step in range(1, recipe.careless_decay + 1):
        loss = training.step(recipe.careless_rate * (1 - step / (recipe.careless_decay + 1)), shares)
    report("careless", loss)
    save(model, tokenizer, folder)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("demo/base"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--all", action="store_true", help="every task, for all six adapters")
    args = parser.parse_args()
    make_base(args.output, args.seed, EVERY_TASK_RECIPE if args.all else Recipe(), lambda line: print(line, flush=True))


if __name__ == "__main__":
    main()
