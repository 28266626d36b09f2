import json
import sys

from tools import make_requests


def test_requests_are_written_and_their_routes_counted(tmp_path, capsys, monkeypatch):
    record = {
        "id": "a",
        "task": "text2sql",
        "input": "How many?",
        "schema": "CREATE TABLE a (b INT);",
        "dialect": "postgres",
    }
    records, output = tmp_path / "records.jsonl", tmp_path / "requests.jsonl"
    records.write_text(json.dumps(record) + "\n", encoding="utf-8")
    arguments = ["--records", str(records), "--output", str(output), "--route"]
    monkeypatch.setattr(sys, "argv", ["make_requests", *arguments])
    make_requests.main()
    lines = [json.loads(line) for line in output.open(encoding="utf-8")]
    layouts = make_requests.LAYOUTS["text2sql"]
    assert [line["layout"] for line in lines] == list(layouts)
    assert all(line["task"] == "text2sql" and line["request"]["messages"] for line in lines)
    last = capsys.readouterr().out.strip().splitlines()[-1].split()
    assert last[1:] == ["all", *[str(len(layouts))] * 4]
