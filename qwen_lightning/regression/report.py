"""Before and after, as a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from qwen_lightning.regression.red_lines import LineReport
from qwen_lightning.regression.scores import ScoreRow, by_metric
from qwen_lightning.regression.significance import compare
from qwen_lightning.tables import render_table


def comparison_table(before: Sequence[ScoreRow], after: Sequence[ScoreRow], reports: Sequence[LineReport] = ()) -> str:
    """Metric, before, after, change with its 95 % interval, and how its red line stands."""
    stands = {
        report.line.metric: "crossed" if report.crossing else f"within {report.line.max_drop:g}" for report in reports
    }
    old, new = by_metric(before), by_metric(after)
    lines = []
    for name in sorted(old.keys() & new.keys()):
        found = compare(old[name], [new[name]])
        interval = f"{found.low:+.3f} to {found.high:+.3f}"
        lines.append(
            [name, f"{found.before:.3f}", f"{found.after:.3f}", f"{found.change:+.3f}", interval, stands.get(name, "")]
        )
    return render_table(["metric", "before", "after", "change", "95 % interval", "red line"], lines)
