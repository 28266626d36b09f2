"""The benchmark of verdicts, on few of them."""

from __future__ import annotations

import pytest

from tools.bench_verdicts import main


def test_a_row_a_task(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = ["intent_rewrite", "slot_json", "function_call", "text2sql"]
    monkeypatch.setattr("sys.argv", ["bench_verdicts", "--verdicts", "40", "--workers", "1", "--tasks", *tasks])
    main()
    header, _, *rows = (line.split() for line in capsys.readouterr().out.splitlines())
    assert header == ["task", "verdicts", "seconds", "a", "second", "right", "wrong", "gap"]
    assert [row[0] for row in rows] == tasks
    for row in rows:
        right, wrong, gap = map(int, row[4:])
        assert right >= 10
        assert right + wrong + gap == int(row[1]) == 40
