"""The converters of Spider and Defog, on folders of their shape."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from qwen_lightning.execution.sql.executors import DuckDBExecutor
from qwen_lightning.records import RecordReader, SQLRecord
from qwen_lightning.tasks.text2sql import Text2SQL

TOOLS = Path(__file__).parents[2] / "tools"
DATABASE = """CREATE TABLE "boat" (
  "boat_id" BIGINT,
  "name" TEXT,
  "user" TEXT,
  "length" NUMERIC(5,1)
);
CREATE TABLE "trip" ("trip_id" BIGINT, "boat_id" BIGINT, "day" DATE);
INSERT INTO "boat" ("boat_id", "name", "user", "length") VALUES
(1, 'Anna; the first', 'kim', 7.5), (2, 'Bris', 'lou', 11.0), (3, 'Ceto', 'kim', 9.2);
INSERT INTO "trip" VALUES (1, 1, '2023-06-01'), (2, 1, '2023-06-03'), (3, 3, '2023-07-09');
"""
GROUPED = "SELECT b.name, count(*) FROM boat b JOIN trip t ON t.boat_id = b.boat_id GROUP BY b.boat_id"


def write(folder: Path, name: str, rows: list[dict[str, Any]]) -> None:
    (folder / "databases").mkdir(parents=True, exist_ok=True)
    (folder / "databases" / "harbour.sql").write_text(DATABASE, encoding="utf-8")
    (folder / name).write_text(
        "".join(json.dumps({"db_id": "harbour", **row}) + "\n" for row in rows), encoding="utf-8"
    )


def convert(tool: str, source: Path, output: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(TOOLS / tool), "--input", str(source), "--output", str(output)],
        capture_output=True,
        text=True,
    )


def records(output: Path) -> list[SQLRecord]:
    found = [item.record for item in RecordReader().read(output / "records.jsonl")]
    return [record for record in found if isinstance(record, SQLRecord)]


def test_spider(tmp_path: Path) -> None:
    write(tmp_path / "in", "questions.jsonl", [
        {"question": "How many boats?", "gold_postgres": "SELECT count(*) FROM boat;", "pg_runs": True},
        {"question": "How many boats?", "gold_postgres": "SELECT count(*) FROM boat;", "pg_runs": True},
        {"question": "Trips of each boat?", "gold_postgres": GROUPED},
        {"question": "Broken?", "gold_postgres": "SELECT nothing", "pg_runs": False},
    ])  # fmt: skip
    done = convert("prepare_spider.py", tmp_path / "in", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "2 records" in done.stdout
    assert "1 that stand twice" in done.stdout
    assert "1 with a gold that Postgres refuses" in done.stdout
    assert "harbour.boat(boat_id)" in done.stdout
    made = records(tmp_path / "out")
    assert len({record.id for record in made}) == 2
    first = made[0]
    assert first.schema_text.splitlines() == [
        'CREATE TABLE boat (boat_id BIGINT, name TEXT, "user" TEXT, length NUMERIC(5,1), PRIMARY KEY (boat_id));',
        "CREATE TABLE trip (trip_id BIGINT, boat_id BIGINT, day DATE);",
    ]
    assert first.meta is not None
    assert first.meta["licence"] == "CC BY-SA 4.0"
    task = Text2SQL(DuckDBExecutor(tmp_path / "out" / "databases", workers=1))
    try:
        for record in made:
            assert record.gold is not None
            assert task.verify(record, record.gold).checks == dict.fromkeys(task.checks, 1.0)
    finally:
        task.close()


def test_defog(tmp_path: Path) -> None:
    write(tmp_path / "in", "questions_gen_postgres.jsonl", [
        {"question": "Which boats?", "instructions": "Sort by name.", "category": "order_by",
         "gold_postgres": "SELECT {name, boat_id} FROM boat GROUP BY {} ORDER BY name;SELECT name FROM boat;"},
    ])  # fmt: skip
    write(tmp_path / "in", "idk.jsonl", [{"question": "Who sails?", "gold_postgres": "SELECT 'no'"}])
    done = convert("prepare_defog.py", tmp_path / "in", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "1 that the data cannot answer" in done.stdout
    (made,) = records(tmp_path / "out")
    assert made.gold == "SELECT name, boat_id FROM boat GROUP BY name, boat_id ORDER BY name"
    assert made.input == "Which boats?\nSort by name."
    assert made.meta == {
        "source": "defog-ai/sql-eval",
        "licence": "Apache-2.0",
        "set": "questions_gen",
        "category": "order_by",
    }


@pytest.mark.parametrize("tool", ["prepare_spider.py", "prepare_defog.py"])
def test_faults_are_one_line(tool: str, tmp_path: Path) -> None:
    done = convert(tool, tmp_path / "nowhere", tmp_path / "out")
    assert done.returncode == 2
    assert "is no folder" in done.stderr
    name = {"prepare_spider.py": "questions.jsonl", "prepare_defog.py": "x_postgres.jsonl"}[tool]
    write(tmp_path / "in", name, [{"question": "?"}])
    done = convert(tool, tmp_path / "in", tmp_path / "out")
    assert done.returncode == 2
    assert f"{name}:1: has no gold_postgres" in done.stderr
    assert "Traceback" not in done.stderr
