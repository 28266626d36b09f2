import json

import pytest

from qwen_lightning.__main__ import main

SCHEMA = "CREATE TABLE visits (id INTEGER PRIMARY KEY, guest TEXT, nights INTEGER);"
ROWS = "INSERT INTO visits VALUES (1, 'Ada', 3), (2, 'Bo', 1), (3, 'Cy', 5), (4, 'Di', 2);"
SQL = {"task": "text2sql", "input": "Guests?", "schema": SCHEMA, "dialect": "postgres", "database": "inn"}
SQL |= {"id": "s", "gold": "SELECT guest FROM visits WHERE nights > 2"}
GENERAL = {
    "id": "g",
    "task": "general",
    "input": "2 + 2?",
    "gold": "4",
    "checks": [{"type": "answer"}, {"type": "no_comma"}],
}
PERSONA = {"id": "p", "task": "persona", "input": "Who are you?"}


@pytest.fixture
def files(tmp_path):
    """Writes records, completions and a databases folder, and returns the arguments of `score`."""
    (tmp_path / "databases").mkdir()
    (tmp_path / "databases" / "inn.sql").write_text(f"{SCHEMA}\n{ROWS}\n", encoding="utf-8")

    def files(records, completions):
        for name, rows in (("r", records), ("c", completions)):
            text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
            (tmp_path / f"{name}.jsonl").write_text(text, encoding="utf-8")
        places = [str(tmp_path / name) for name in ("r.jsonl", "c.jsonl", "out/o.jsonl", "databases")]
        return [
            "score",
            "--records",
            places[0],
            "--completions",
            places[1],
            "--output",
            places[2],
            "--databases",
            places[3],
        ]

    return files


def said(id_, completion):
    return {"id": id_, "completion": completion}


def scores(arguments):
    with open(arguments[6], encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def test_rows_follow_the_completions_with_all_tasks_mixed(files, capsys):
    right, wrong = "select guest from visits where nights >= 3", "SELECT guest FROM visits"
    completions = [said("s", wrong), said("g", "It is 4."), said("s", right), said("g", "5, I think"), said("g", "4")]
    arguments = files([GENERAL, PERSONA, SQL], completions)
    assert main(arguments) == 0
    rows = scores(arguments)
    assert [(row["id"], row["task"]) for row in rows] == [
        ("s", "text2sql"), ("g", "general"), ("s", "text2sql"), ("g", "general"), ("g", "general")
    ]  # fmt: skip
    assert all(list(row) == ["id", "task", "reward", "checks", "detail"] for row in rows)
    assert [row["reward"] for row in rows] == [1.0, None, 3.0, None, None]
    assert rows[0]["checks"]["match"] == 0
    assert rows[2]["checks"] == {"parses": 1, "executes": 1, "references": 1, "dialect": 1, "match": 1}
    assert rows[1]["checks"] == {"answer": 1, "no_comma": 1, "all": 1}
    assert rows[3]["checks"] == {"answer": 0, "no_comma": 0, "all": 0}
    assert rows[3]["detail"]
    out = capsys.readouterr().out
    assert ["text2sql", "reward", "2", "0", "2.0000"] in [line.split() for line in out.splitlines()]
    assert ["general", "answer", "3", "0", "0.6667"] in [line.split() for line in out.splitlines()]


def test_without_a_database_a_check_is_absent_and_never_0(files):
    arguments = files([SQL | {"gold": None, "database": None}], [said("s", SQL["gold"])])
    assert main(arguments) == 0
    (row,) = scores(arguments)
    assert "match" not in row["checks"]
    assert "executes" not in row["checks"]
    assert row["checks"]["references"] == 1


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (said("x", "4"), "unknown id 'x': no record has it"),
        (said("p", "I am Io."), "task 'persona' has no verifier"),
        (said("g", None), "completion is NoneType, not a string"),
        (said(7, "4"), "id is int, not a string"),
        ({"id": "g"}, "has no completion"),
        (["g", "4"], "a completion is a JSON object, not list"),
        ('{"id": "g", "completion": "4"', "not JSON"),
    ],
)
def test_a_faulty_completion_is_named_and_nothing_is_written(files, capsys, tmp_path, line, fault):
    arguments = files([GENERAL, PERSONA], [said("g", "4"), line])
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"{arguments[4]}:2: ")
    assert fault in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_faulty_record_is_named(files, capsys):
    arguments = files([GENERAL, SQL | {"schema": ""}], [])
    assert main(arguments) == 2
    assert capsys.readouterr().err == f"{arguments[2]}:2: text2sql record has no schema\n"


def test_records_files_may_be_several_but_ids_may_not_repeat(files, capsys, tmp_path):
    arguments = files([GENERAL], [said("h", "4"), said("g", "4")])
    more = tmp_path / "more.jsonl"
    more.write_text(json.dumps(GENERAL | {"id": "h"}) + "\n", encoding="utf-8")
    assert main([*arguments, "--records", str(more)]) == 0
    assert [row["id"] for row in scores(arguments)] == ["h", "g"]
    more.write_text(json.dumps(GENERAL) + "\n", encoding="utf-8")
    assert main([*arguments, "--records", str(more)]) == 2
    assert capsys.readouterr().err.startswith(f"{more}:1: id 'g' stands at {arguments[2]}:1 too")


def test_the_output_is_replaced_whole(files, tmp_path):
    arguments = files([GENERAL], [said("g", "4"), said("g", "half a pair: \ud83d")])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "o.jsonl").write_text("old\n" * 100, encoding="utf-8")
    assert main(arguments) == 0
    assert len(scores(arguments)) == 2
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["o.jsonl"]


def test_an_output_that_cannot_be_written(files, capsys, tmp_path):
    arguments = files([GENERAL], [said("g", "4")])
    (tmp_path / "out").write_text("a file", encoding="utf-8")
    assert main(arguments) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_a_multiple_choice_has_no_score(files):
    choice = {"type": "multiple_choice", "choices": ["3", "4"], "answer": 1}
    arguments = files([GENERAL | {"checks": [choice]}], [said("g", "4")])
    assert main(arguments) == 0
    assert scores(arguments)[0]["checks"] == {}
