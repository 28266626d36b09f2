"""Before and after: the demo's held-out questions under the bare base, Base-SFT and the SQL adapter.

python -m tools.demo.table measure --demo demo --output demo/results/seed-0.json
python -m tools.demo.table seeds demo/results/seed-*.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from qwen_lightning.adapters.store import load_adapter
from qwen_lightning.evaluation.evaluator import Evaluator
from qwen_lightning.execution.sql.executors import DuckDBExecutor
from qwen_lightning.models.backbone import load_backbone
from qwen_lightning.models.chat import ChatRenderer
from qwen_lightning.models.policy import PolicyModel
from qwen_lightning.records import RecordBase
from qwen_lightning.rewards.table import RewardTable
from qwen_lightning.rollout.grouped.engine import GroupedRollout
from qwen_lightning.tasks.registry import TaskRegistry
from tools.demo.make_data import DemoData

Measures = dict[str, float]
STAGES = {"base": "base", "sft": "Base-SFT", "sql": "SQL (GRPO)"}
#: Stage to its adapter's folder below `adapters`; None for the bare base.
ADAPTERS: dict[str, str | None] = {"base": None, "sft": "base-sft", "sql": "sql"}
ROWS = {
    "match_new": "SQL match, databases never trained on",
    "match_seen": "SQL match, new questions on seen databases",
    "general": "general, exact match",
    "general_nll": "general, NLL of the answer (nats a token)",
    "others": "other tasks, exact match",
}


def measure(demo: Path, max_new_tokens: int = 64, adapters: Mapping[str, str | None] = ADAPTERS) -> dict[str, Measures]:
    """Every row of the table for every stage, from `demo/base` and the adapters in `demo/adapters`.

    Raises:
        AdapterError: An adapter is not there.
    """
    data = DemoData(demo)
    tasks = TaskRegistry(DuckDBExecutor(str(data.databases), workers=2))
    records = {name: [item.record for item in tasks.reader.read(data.file(name))] for name in _FILES}
    start, shape, manifest = load_adapter(demo / "adapters" / "base-sft")
    backbone = load_backbone(str(demo / "base"), manifest.quantization, "float32")  # type: ignore[arg-type]
    policy = PolicyModel(backbone, shape, start)
    renderer = ChatRenderer.from_pretrained(str(demo / "base"))
    evaluator = Evaluator(policy, renderer, tasks, RewardTable(), GroupedRollout(), max_new_tokens)
    results = {}
    try:
        for stage, adapter in adapters.items():
            if adapter is None:
                with policy.bare():
                    results[stage] = _stage(evaluator, records)
            else:
                policy.load_adapter(load_adapter(demo / "adapters" / adapter)[0])
                results[stage] = _stage(evaluator, records)
    finally:
        evaluator.verifier.close()
        tasks.close()
    return results


_FILES = ("heldout_new", "heldout_seen", "general_regression", "task_regression")


def _stage(evaluator: Evaluator, records: Mapping[str, Sequence[RecordBase]]) -> Measures:
    general = evaluator.run(records["general_regression"])
    others = [record for record in records["task_regression"] if record.task != "text2sql"]
    answers = zip(others, evaluator.complete(others), strict=True)
    return {
        "match_new": _mean([row.checks.get("match", 0.0) for row in evaluator.run(records["heldout_new"])]),
        "match_seen": _mean([row.checks.get("match", 0.0) for row in evaluator.run(records["heldout_seen"])]),
        "general": _mean([row.checks["all"] for row in general]),
        "general_nll": _mean([row.nll for row in general if row.nll is not None]),
        "others": _mean([float(text == evaluator.tasks[record.task].target(record)) for record, text in answers]),
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def cell(name: str, value: float) -> str:
    """A value of the row `name`, as the table has it."""
    return f"{value:.3f}" if name.endswith("nll") else f"{value:.1%}"


def before_and_after(results: Mapping[str, Measures], stages: Mapping[str, str] = STAGES) -> str:
    """The table of one run, in Markdown: `stages` are its columns and their headings."""
    lines = ["| | " + " | ".join(stages.values()) + " |", "|---" * (len(stages) + 1) + "|"]
    for name, label in ROWS.items():
        lines.append(f"| {label} | " + " | ".join(cell(name, results[stage][name]) for stage in stages) + " |")
    return "\n".join(lines)


def over_seeds(results: Mapping[str, Mapping[str, Measures]]) -> str:
    """Base-SFT → SQL a seed, and the gain on databases never trained on, in Markdown."""
    lines = ["| seed | " + " | ".join(ROWS.values()) + " | gain, points |", "|---" * (len(ROWS) + 2) + "|"]
    gains = []
    for seed, stages in results.items():
        before, after = stages["sft"], stages["sql"]
        gains.append(100 * (after["match_new"] - before["match_new"]))
        cells = [f"{cell(name, before[name])} → {cell(name, after[name])}" for name in ROWS]
        lines.append(f"| {seed} | " + " | ".join(cells) + f" | {gains[-1]:+.1f} |")
    lines.append("| mean |" + " |" * len(ROWS) + f" {_mean(gains):+.1f} |")
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    one = verbs.add_parser("measure", help="measure one run and print its table")
    one.add_argument("--demo", type=Path, default=Path("demo"))
    one.add_argument("--output", type=Path, required=True)
    many = verbs.add_parser("seeds", help="print the table of several measured runs")
    many.add_argument("files", type=Path, nargs="+")
    args = parser.parse_args()
    if args.verb == "measure":
        results = measure(args.demo)
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
        print(before_and_after(results))
    else:
        print(over_seeds({path.stem.removeprefix("seed-"): json.loads(path.read_text("utf-8")) for path in args.files}))


if __name__ == "__main__":
    main()
