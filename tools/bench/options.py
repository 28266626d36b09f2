"""The options that all benchmarks have, and how one is run."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import torch

from qwen_lightning.errors import ConfigError, QwenLightningError
from qwen_lightning.models.backbone import DType, Quantization
from qwen_lightning.models.checkpointing import CheckpointingMode
from tools.bench.report import OUT_OF_MEMORY, Report, Row
from tools.bench.shapes import SHAPES, Shape
from tools.bench.timing import free, matrix_product

Rows = Callable[["Options"], Iterator[Row]]
_CHECKPOINTING: dict[str, CheckpointingMode] = {"auto": "auto", "all": True, "none": False}


class Options(argparse.Namespace):
    """Parsed options; what was not given depends on the device."""

    device: torch.device
    shape: str
    dtype: DType
    quantization: list[Quantization]
    cases: list[Any]
    warmup: int
    runs: int
    baseline_runs: int
    checkpointing: str
    memory_gib: float | None
    seed: int
    json: Path | None

    @property
    def sizes(self) -> Shape:
        """Of the model."""
        return SHAPES[self.shape]

    @property
    def torch_dtype(self) -> torch.dtype:
        """Type of the computation."""
        return getattr(torch, self.dtype)

    @property
    def on_cuda(self) -> bool:
        """Whether the device is a GPU."""
        return self.device.type == "cuda"

    @property
    def random(self) -> Random:
        """A generator of its own for each use, so that a case's ids do not depend on the cases before it."""
        return Random(self.seed)

    @property
    def cache_bytes(self) -> int:
        """Bytes of keys and values that `generate` may hold: two fifths of a GPU's, which leaves room for copies."""
        if not self.on_cuda:
            return 8 * 2**30
        memory = torch.cuda.get_device_properties(self.device).total_memory
        return int(0.4 * min(memory, (self.memory_gib or math.inf) * 2**30))

    @property
    def checkpointing_mode(self) -> CheckpointingMode:
        """As the modules take it."""
        return _CHECKPOINTING[self.checkpointing]

    @property
    def peers_recompute(self) -> bool:
        """Whether the peers recompute all layers: they know all or none, and are run on GPUs with all."""
        return self.on_cuda if self.checkpointing == "auto" else self.checkpointing == "all"

    def weights(self, quantization: str) -> str:
        """Their name in a table: `nf4`, or the dtype where they are not quantised."""
        return "nf4" if quantization == "nf4" else {"bfloat16": "bf16", "float32": "fp32"}[self.dtype]

    def shown(self) -> dict[str, Any]:
        """Name to value, for the header."""
        hidden = {"json", "device", "cases"}
        return {
            name.replace("_", " "): " ".join(map(str, value)) if isinstance(value, list) else value
            for name, value in vars(self).items()
            if name not in hidden and value is not None
        }


def new_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with what all benchmarks have."""
    parser = argparse.ArgumentParser(description=(description or "").split("\n\n")[0])
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--shape", choices=list(SHAPES), help="the model's; qwen3-8b on CUDA, demo on a CPU")
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], help="bfloat16 on CUDA, float32 on a CPU")
    parser.add_argument("--warmup", type=whole(0), default=1, help="runs before the timed ones")
    parser.add_argument("--runs", type=whole(1), default=3, help="timed runs, of which the table has the median")
    parser.add_argument("--baseline-runs", type=whole(1), help="the baselines'; 1 on CUDA, --runs on a CPU")
    parser.add_argument("--memory-gib", type=positive, metavar="GIB", help="let no more than so much of a GPU be used")
    parser.add_argument("--seed", type=int, default=0, help="of weights, ids and samples")
    parser.add_argument("--json", type=json_file, metavar="FILE", help="write the figures there")
    return parser


def add_weights(parser: argparse.ArgumentParser, several: bool = False) -> None:
    """Add `--quantization`."""
    kinds = ["nf4", "none"]
    default = kinds if several else kinds[:1]
    parser.add_argument("--quantization", nargs="+" if several else 1, choices=kinds, default=default)


def add_training(parser: argparse.ArgumentParser) -> None:
    """Add `--checkpointing`."""
    parser.add_argument(
        "--checkpointing",
        choices=list(_CHECKPOINTING),
        default="auto",
        help="layers recomputed in backward: all, none, or as free memory asks for",
    )


def positive(text: str) -> float:
    """A number above 0."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not above 0")
    return value


def share(text: str) -> float:
    """A number from 0 to 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share; give a number from 0 to 1")
    return value


def json_file(text: str) -> Path:
    """A file that can be written."""
    path = Path(text)
    if not path.absolute().parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: there is no such folder")
    return path


def resolve(
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None,
    cases: Mapping[str, Sequence[str]],
    read: Callable[[str], Any],
) -> Options:
    """Parse, and fill in what depends on the device; `cases` are its default ones, as `read` understands them."""
    options = parser.parse_args(argv, Options())
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch finds no CUDA device")
    cuda = torch.cuda.is_available() and str(options.device) != "cpu"
    options.device = torch.device("cuda", torch.cuda.current_device()) if cuda else torch.device("cpu")
    options.shape = options.shape or ("qwen3-8b" if cuda else "demo")
    options.dtype = options.dtype or ("bfloat16" if cuda else "float32")
    options.baseline_runs = options.baseline_runs or (1 if cuda else options.runs)
    if options.memory_gib is not None:
        if not cuda:
            parser.error("--memory-gib: there is no GPU whose memory could be held back")
        if (free := torch.cuda.mem_get_info(options.device)[0] / 2**30) < options.memory_gib:
            parser.error(f"--memory-gib {options.memory_gib}: {free:.1f} GiB are free")
    options.cases = options.cases or [read(case) for case in cases[options.device.type]]
    return options


def new_report(options: Options, *others: Options) -> Report:
    """A report with the settings of all and the device's measured best; it holds what memory is to be held back."""
    product, ballast = matrix_product(options.device, options.torch_dtype), None
    if options.memory_gib is not None:
        # Whoever plans by the memory that is free then plans for a smaller card.
        free_bytes, _ = torch.cuda.mem_get_info(options.device)
        held = max(0, free_bytes - int(options.memory_gib * 2**30))
        ballast = torch.empty(held, dtype=torch.uint8, device=options.device)
    settings = {name: value for each in (options, *others) for name, value in each.shown().items()}
    return Report(options.device, settings, product, ballast)


def run_benchmark(parser: argparse.ArgumentParser, options: Options, rows: Rows) -> None:
    """Measure, print the table, write the figures."""
    report = new_report(options)
    add_rows(parser, options, rows, report)
    report.finish(options.json)


def add_rows(parser: argparse.ArgumentParser, options: Options, rows: Rows, report: Report) -> None:
    """Add a benchmark's rows to a report; a setting that cannot be meant is one line, after the rows that there are."""
    try:
        for row in rows(options):
            report.add(row)
    except QwenLightningError as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")


def attempt(measured: Callable[[], Row], options: Options, benchmark: str, case: str, how: str) -> Row:
    """A row, or one that says that memory ran out: the next case may well fit."""
    try:
        row = measured()
    except (torch.OutOfMemoryError, ConfigError) as error:
        # A module says in its own words that a pack does not fit.
        if torch.OutOfMemoryError not in (type(error), type(error.__cause__)):
            raise
        row = Row(benchmark, case, how, note=OUT_OF_MEMORY)
    free(options.device)  # out here, where a fault's frames no longer hold the tensors
    return row


def whole(least: int) -> Callable[[str], int]:
    """Reads a whole number that is not below `least`."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least}")
        return int(text)

    return read
