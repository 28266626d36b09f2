"""What the pipeline ends with: each adapter's metrics before and after, and the general ability of all."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from qwen_lightning.adapters.manifest import Manifest
from qwen_lightning.tables import render_table

RESULTS = "results"
_HEADER = ("adapter", "metric", "before", "after", "change")
_TITLES = {
    "tasks": "Each adapter on the tasks that it was trained on, on regression records that no stage trained on",
    "general": "General ability",
}
_NOTE = "Before: what the stage started from, the bare base for base-sft."


def write_results(folder: Path, manifests: Mapping[str, Manifest]) -> str:
    """Write `results.json` and `results.md`, and return the tables for the terminal.

    Args:
        folder: Where to.
        manifests: Stage name to its adapter's manifest, in order.
    """
    tables = {"tasks": _rows(manifests, general=False), "general": _rows(manifests, general=True)}
    content = {
        name: {
            "adapter": manifest.name,
            "sha256": manifest.sha256,
            "parent": None if manifest.parent is None else manifest.parent.name,
            "tasks": manifest.tasks,
            "steps": manifest.steps,
            "before": manifest.metrics_before,
            "after": manifest.metrics_after,
            "brake": [action["reason"] for action in manifest.red_lines],
        }
        for name, manifest in manifests.items()
    }
    (folder / f"{RESULTS}.json").write_text(
        json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
    )
    parts = [f"## {_TITLES[name]}\n\n{_markdown(rows)}" for name, rows in tables.items()]
    (folder / f"{RESULTS}.md").write_text("\n\n".join([*parts, _NOTE]) + "\n", encoding="utf-8")
    shown = [f"{_TITLES[name]}\n{render_table(_HEADER, rows, left=2)}" for name, rows in tables.items()]
    return "\n\n".join([*shown, _NOTE])


def _rows(manifests: Mapping[str, Manifest], general: bool) -> list[list[str]]:
    rows = []
    for manifest in manifests.values():
        wanted = {"general"} if general else {*manifest.tasks} - {"general"}
        metrics = [name for name in sorted(manifest.metrics_after) if name.split("/")[0] in wanted]
        for metric in metrics:
            before, after = manifest.metrics_before.get(metric), manifest.metrics_after[metric]
            change = "" if before is None else f"{after - before:+.3f}"
            rows.append([manifest.name, metric, "" if before is None else f"{before:.3f}", f"{after:.3f}", change])
        if not metrics:
            rows.append([manifest.name, "no regression records", "", "", ""])
    return rows


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    lines = [_HEADER, ("---", "---", *["---:"] * 3), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
