"""The serving benchmark: one adapter, four, and one request after the other, in one run."""

from __future__ import annotations

import json
from pathlib import Path

from tools import bench_serving


def test_every_way_has_a_row_and_answers_all_requests(tmp_path: Path) -> None:
    path = tmp_path / "serving.json"
    quick = ["--device", "cpu", "--shape", "tiny", "--runs", "1", "--warmup", "0"]
    bench_serving.main([*quick, "--cases", "3x2:16/4", "--json", str(path)])
    rows = json.loads(path.read_text("utf-8"))["rows"]
    assert [row["case"] for row in rows] == ["3x2:16/4 nf4"] * 3 + ["3x2:16/4 fp32"] * 3
    assert [row["how"] for row in rows] == [*bench_serving.WAYS] * 2
    for row in rows:
        assert row["tokens"] == 3 * 2 * 4
        assert row["tokens_per_second"] > 0
        base = next(other for other in rows if other["case"] == row["case"])
        assert (row["ratio"] or 1) == row["tokens_per_second"] / base["tokens_per_second"]
