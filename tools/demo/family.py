"""Every adapter by every metric, on what was never trained on: what each stage of the pipeline has brought, and cost.

python -m tools.demo.family --demo demo --output demo/results/all-seed-0.json
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from qwen_lightning.adapters.store import load_adapter
from qwen_lightning.evaluation.evaluator import Evaluator
from qwen_lightning.execution.cypher.executors import ArcadeDBExecutor
from qwen_lightning.execution.sql.executors import DuckDBExecutor
from qwen_lightning.models.backbone import load_backbone
from qwen_lightning.models.chat import ChatRenderer
from qwen_lightning.models.policy import PolicyModel
from qwen_lightning.records import RecordBase
from qwen_lightning.regression.scores import ScoreRow
from qwen_lightning.rewards.table import RewardTable
from qwen_lightning.rollout.grouped.engine import GroupedRollout
from qwen_lightning.tasks.registry import TaskRegistry
from tools.demo.make_data import DemoData

#: Row to mean and standard error of the mean.
Measures = dict[str, tuple[float, float]]
ADAPTERS = ("persona", "fc", "slot", "sql", "cypher")
COLUMNS = ("base", "base-sft", *ADAPTERS)


@dataclass(frozen=True)
class Row:
    """A row of the table: records file, what is measured of each record, its label, and whose work it is.

    `measure` is a check's name, `exact` for an answer that is gold's to the letter, or `nll`.
    """

    file: str
    measure: str
    label: str
    adapter: str = ""
    task: str = ""


ROWS = {
    "persona": Row("heldout_persona", "exact", "persona: in the captain's voice, exact", "persona"),
    "persona_nll": Row("heldout_persona", "nll", "persona: NLL of the answer (nats a token)", "persona"),
    "fc": Row("heldout_fc", "match", "function calls: match", "fc"),
    "slot": Row("heldout_slot", "f1", "slots: F1", "slot"),
    "grounded": Row("heldout_slot", "grounded", "slots: no value made up", "slot"),
    "sql": Row("heldout_new", "match", "SQL: match on new databases", "sql"),
    "cypher": Row("heldout_cypher", "match", "Cypher: match on new graphs", "cypher"),
    "rewrite": Row("task_regression", "exact", "rewriting: exact", task="intent_rewrite"),
    "general": Row("general_regression", "all", "general: exact"),
    "general_nll": Row("general_regression", "nll", "general: NLL of the answer (nats a token)"),
}


def measure(demo: Path, max_new_tokens: int = 64) -> dict[str, Measures]:
    """Column to row to mean and standard error, from `demo/base` and the adapters in `demo/adapters`.

    Raises:
        AdapterError: An adapter is not there.
    """
    data = DemoData(demo)
    databases = str(data.databases)
    tasks = TaskRegistry(DuckDBExecutor(databases, workers=1), ArcadeDBExecutor(databases, workers=1))
    start, shape, manifest = load_adapter(demo / "adapters" / "base-sft")
    backbone = load_backbone(str(demo / "base"), manifest.quantization, "float32")  # type: ignore[arg-type]
    policy = PolicyModel(backbone, shape, start)
    renderer = ChatRenderer.from_pretrained(str(demo / "base"))
    evaluator = Evaluator(policy, renderer, tasks, RewardTable(), GroupedRollout(), max_new_tokens)
    try:
        with policy.bare():
            results = {"base": _column(evaluator, data)}
        results["base-sft"] = _column(evaluator, data)
        for name in ADAPTERS:
            policy.load_adapter(load_adapter(demo / "adapters" / name)[0])
            results[name] = _column(evaluator, data)
    finally:
        evaluator.close()
        tasks.close()
    return results


def _column(evaluator: Evaluator, data: DemoData) -> Measures:
    files = {name: evaluator.tasks.reader.read(data.file(name)) for name in {row.file for row in ROWS.values()}}
    records = {name: [item.record for item in located] for name, located in files.items()}
    scored = {name: evaluator.run(records[name]) for name in records}
    return {name: _mean(_values(evaluator, records[row.file], scored[row.file], row)) for name, row in ROWS.items()}


def _values(evaluator: Evaluator, records: Sequence[RecordBase], scored: Sequence[ScoreRow], row: Row) -> list[float]:
    """What is measured, record by record; a check that could not be made counts 0."""
    chosen = [pair for pair in zip(records, scored, strict=True) if row.task in ("", pair[0].task)]
    if row.measure == "nll":
        return [score.nll for _, score in chosen if score.nll is not None]
    if row.measure == "exact":
        asked = [record for record, _ in chosen]
        texts = evaluator.complete(asked)
        targets = (evaluator.tasks[record.task].target(record) for record in asked)
        return [float(text == target) for text, target in zip(texts, targets, strict=True)]
    return [score.checks.get(row.measure, 0.0) for _, score in chosen]


def _mean(values: list[float]) -> tuple[float, float]:
    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return mean, math.sqrt(variance / len(values))


def _cell(name: str, value: float) -> str:
    return f"{value:.3f}" if name.endswith("nll") else f"{value:.1%}"


def table(results: Mapping[str, Measures]) -> str:
    """The table in Markdown: a metric a row, an adapter a column, each adapter's own metrics in bold."""
    lines = ["| | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for name, row in ROWS.items():
        cells = [_cell(name, results[column][name][0]) for column in COLUMNS]
        cells = [f"**{cell}**" if column == row.adapter else cell for column, cell in zip(COLUMNS, cells, strict=True)]
        lines.append(f"| {row.label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def gains(results: Mapping[str, Measures]) -> str:
    """Each adapter's own metrics against Base-SFT, with standard errors, in Markdown."""
    lines = ["| adapter | metric | Base-SFT | adapter |", "|---|---|---|---|"]
    for name, row in ROWS.items():
        if row.adapter:
            before, after = (
                f"{_cell(name, mean)} ± {_cell(name, error)}"
                for mean, error in (results[column][name] for column in ("base-sft", row.adapter))
            )
            lines.append(f"| {row.adapter} | {row.label} | {before} | {after} |")
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, default=Path("demo"))
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    results = measure(args.demo)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    print(f"{table(results)}\n\nWith standard errors:\n\n{gains(results)}")


if __name__ == "__main__":
    main()
