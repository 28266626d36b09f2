"""Rows as they come, one table at the end, and the figures as JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from tools.bench.timing import Lap, Timing, median

PACKAGES = ("transformers", "peft", "bitsandbytes", "triton", "liger-kernel", "trl")
OUT_OF_MEMORY = "out of memory"


@dataclass(slots=True)
class Row:
    """One case done one way.

    Args:
        benchmark: `rollout`, `update`, `step` or `sft`.
        case: Its sizes.
        how: What did the work.
        unit: What `tokens` counts.
        laps: Of each timed run; none where memory ran out.
        tokens: Of one run.
        flops: Operations of one run, by the formula of `flops`.
        peak: Most bytes allocated on the device.
        note: What else there is to say.
        baseline: Whether the case's other rows are compared to this one.
    """

    benchmark: str
    case: str
    how: str
    laps: list[Lap] = field(default_factory=list)
    tokens: float = 0.0
    flops: float = 0.0
    peak: int | None = None
    note: str = ""
    baseline: bool = False

    @classmethod
    def of(cls, timing: Timing, benchmark: str, case: str, how: str, **values: Any) -> Row:
        """A row with a timing's laps and peak."""
        return cls(benchmark, case, how, timing.laps, peak=timing.peak, **values)

    @property
    def median(self) -> Lap | None:
        """The median run."""
        return median(self.laps) if self.laps else None

    @property
    def rate(self) -> float | None:
        """Tokens a second of the median run."""
        return self.tokens / self.median.clock if self.median else None


class Report:
    """Prints a header, each row when it is there, and the table of all.

    Args:
        device: Where the work is done.
        settings: Name to value, for the header.
        product: Operations a second of a large matrix product on the device.
        ballast: Memory of the device that is only held back; no row's peak counts it.
    """

    HEADER = ("benchmark", "case", "how", "s", "s (least)", "CPU s", "tokens/s", "ratio", "MFU", "GiB", "note")

    def __init__(
        self, device: torch.device, settings: dict[str, Any], product: float, ballast: torch.Tensor | None = None
    ) -> None:
        self.machine, self.versions = machine(device), versions()
        self.settings, self.product, self.ballast = settings, product, ballast
        self.rows: list[Row] = []
        for line in self.head():
            print(line, flush=True)

    def head(self) -> list[str]:
        """Machine, versions and settings."""
        return [
            f"machine: {self.machine}",
            "versions: " + ", ".join(f"{name} {number}" for name, number in self.versions.items()),
            "settings: " + ", ".join(f"{name} {value}" for name, value in self.settings.items()),
            f"matrix product: {self.product / 1e12:.2f} TFLOP/s; MFU is a share of it, ratio that of a case's "
            "tokens a second to its first row's",
        ]

    def add(self, row: Row) -> None:
        """Keep a row, and print it now: a run that is cut off has said what it knew."""
        if row.peak is not None and self.ballast is not None:
            row.peak -= self.ballast.nbytes
        self.rows.append(row)
        print("… " + "  ".join(cell for cell in self.cells(row) if cell), flush=True)

    def ratio(self, row: Row) -> float | None:
        """A row's tokens a second over those of its case's baseline."""
        base = next((r for r in self.rows if r.baseline and (r.benchmark, r.case) == (row.benchmark, row.case)), None)
        return row.rate / base.rate if base and base is not row and base.rate and row.rate else None

    def cells(self, row: Row) -> list[str]:
        """A row of the table."""
        middle, rate, ratio = row.median, row.rate, self.ratio(row)
        if middle is None or rate is None:
            return [row.benchmark, row.case, row.how, *[""] * (len(self.HEADER) - 4), row.note]
        share = row.flops / middle.clock / self.product
        return [
            row.benchmark,
            row.case,
            row.how,
            seconds(middle.clock),
            seconds(min(lap.clock for lap in row.laps)),
            seconds(middle.computed) if row.peak is None else "",
            f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}",
            "1" if row.baseline else f"{ratio:.2f}" if ratio else "",
            f"{100 * share:.1f} %" if share else "",
            f"{row.peak / 2**30:.1f}" if row.peak is not None else "",
            row.note,
        ]

    def table(self) -> str:
        """All rows, in Markdown with aligned columns; a column that is empty throughout is left out."""
        rows = [list(self.HEADER), *map(self.cells, self.rows)]
        kept = [column for column in range(len(self.HEADER)) if any(row[column] for row in rows[1:])]
        widths = {column: max(3, *(len(row[column]) for row in rows)) for column in kept}
        text = {0, 1, 2, len(self.HEADER) - 1}
        lines = [
            "| " + " | ".join(f"{row[i]:{'<' if i in text else '>'}{widths[i]}}" for i in kept) + " |" for row in rows
        ]
        rule = "|" + "|".join(f":{'-' * (widths[i] + 1)}" if i in text else f"{'-' * (widths[i] + 1)}:" for i in kept)
        return "\n".join([lines[0], rule + "|", *lines[1:]])

    def finish(self, path: Path | None) -> None:
        """Print the table below its header, and write the figures where a path is given."""
        print("", *self.head(), "", self.table(), sep="\n", flush=True)
        if path is None:
            return
        found = {
            "machine": self.machine,
            "versions": self.versions,
            "settings": self.settings,
            "matrix_product_flops": self.product,
            "rows": [{**asdict(row), "tokens_per_second": row.rate, "ratio": self.ratio(row)} for row in self.rows],
        }
        path.write_text(json.dumps(found, indent=1, default=str) + "\n", encoding="utf-8")


def seconds(value: float) -> str:
    """Three digits."""
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def machine(device: torch.device) -> str:
    """The device, in words; for a CPU its threads and how loaded it is."""
    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory / 2**30
        return f"{torch.cuda.get_device_name(device)}, {memory:.0f} GiB"
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"CPU {processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads used, "
        f"load {load} (1, 5 and 15 minutes)"
    )


def processor() -> str:
    """The processor's name."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    names: Sequence[str] = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Package to version, of those that are installed."""
    found = {"python": platform.python_version(), "torch": torch.__version__}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
