"""All benchmarks of speed, in one table: `python -m tools.bench [--only rollout update step sft]`.

Options that all of them have may follow; for the others, run the benchmark by itself.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from tools import bench_grpo_step, bench_rollout, bench_sft, bench_update
from tools.bench.options import add_rows, json_file, new_report

BENCHMARKS = {"rollout": bench_rollout, "update": bench_update, "step": bench_grpo_step, "sft": bench_sft}


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="tools.bench", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--only", nargs="+", choices=list(BENCHMARKS), default=list(BENCHMARKS))
    parser.add_argument("--json", type=json_file, metavar="FILE", help="write the figures there")
    known, rest = parser.parse_known_args(argv)
    # What one of them does not know is refused before any of them runs.
    parsed = {name: BENCHMARKS[name].parse(rest) for name in dict.fromkeys(known.only)}
    report = new_report(*parsed.values())
    for name, options in parsed.items():
        add_rows(parser, options, BENCHMARKS[name].rows, report)
    report.finish(known.json)


if __name__ == "__main__":
    main()
